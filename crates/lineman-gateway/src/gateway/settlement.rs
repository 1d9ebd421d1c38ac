//! A business is lost, and perhaps back: what becomes of the clients in dispute, and of their ends.

use std::collections::BTreeSet;
use std::collections::btree_map::Entry;

use bytes::Bytes;
use lineman_wire::link::Command;

use super::clients::Presence;
use super::core::Core;
use super::disputes::{KeptBack, LostClients};
use super::identity::Departed;
use super::links::{Intake, LinkId, Settling};
use super::outlet::Outlet;
use super::share::tell;
use super::unconfirmed::Unconfirmed;

impl<C: Outlet> Core<C> {
    /// A link is lost without a release: its business may tell the end of the clients that it had.
    pub(super) fn dispute(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(id) else { return };
        let orphans = self.disputes.disown(id);
        for orphan in &orphans {
            self.disputes.keep_unsent(*orphan, self.held.take_unsent(*orphan));
            self.held.forget(*orphan);
        }
        if !link.settles() || link.state == Intake::Released {
            return;
        }
        let mut lost = LostClients::default();
        let mut unheard = BTreeSet::new();
        let (words, mut adopted) = link.unconfirmed.take();
        for (id, word) in words {
            match word {
                // Another one has heard that it is here.
                Unconfirmed::Start(Presence::Told, _) => drop(adopted.insert(id)),
                // Another one is told that it is here: as a rule this one was not.
                Unconfirmed::Start(before, handshake) => {
                    unheard.insert(id);
                    self.disputes.doubt(id);
                    if let Some(client) = self.clients.get_mut(id) {
                        client.presence = before;
                        self.held.keep_handshake(id, handshake);
                    }
                }
                // What was not sent was put there already. One of which it may have heard nothing at all, it
                // has not kept, and may not have told the end either.
                Unconfirmed::End(departed) => {
                    if let Entry::Vacant(place) = link.departed.entry(id) {
                        place.insert(departed);
                        if !adopted.contains(&id) {
                            lost.ends.insert(id);
                        }
                    }
                }
            }
        }
        lost.clients.extend(&link.clients);
        for (id, departed) in std::mem::take(&mut link.departed) {
            let heard = !unheard.contains(&id);
            lost.clients.insert(id);
            self.disputes.keep_back(id, KeptBack { departed, owner: None, heard });
        }
        lost.clients.extend(orphans);
        self.disputes.open(&link.key, lost, self.now);
    }

    /// A link is open: if its business was lost before, it says first which clients it has kept.
    pub(super) fn await_settlement(&mut self, id: LinkId, former: Option<LinkId>) {
        if let Some(link) = self.links.get_mut(id).filter(|link| link.settles())
            && (former.is_some() || self.disputes.has(&link.key))
        {
            link.settling = Settling::Awaited;
        }
    }

    /// A business is back, and says which clients it has kept.
    pub(super) fn settle(&mut self, from: LinkId, kept: &[u32], ended: &[u32]) {
        let Some(link) = self.links.get_mut(from).filter(|link| link.settles()) else { return };
        link.settling = Settling::Done;
        let (business, before) = (link.key.clone(), self.counts.returned_clients);
        let settled = self.disputes.settle(&business, kept, ended);
        let begun = kept.iter().copied().collect();
        for link in self.links.iter_mut() {
            link.unconfirmed.begun_elsewhere(&begun);
        }
        for id in kept {
            // It has heard that this one is here, and no other was told since. If another one has told the end, it
            // may have heard that before.
            let client = self.clients.get_mut(*id).filter(|client| client.link.is_none());
            if let Some(client) = client.filter(|client| client.presence == Presence::None) {
                client.presence = Presence::Told;
            }
        }
        for id in settled.returned {
            self.return_client(id);
        }
        let clients = self.counts.returned_clients - before;
        if clients > 0 {
            tracing::warn!(business, clients, "business is back, clients are announced again");
        }
        let ids = settled.told.iter().map(|(id, _)| *id).collect();
        let announced = self.links.announced(&ids);
        for (id, KeptBack { departed, owner, .. }) in settled.told {
            // The one that has it may be about to tell the application that it is here.
            if owner.is_some_and(|owner| announced.contains(&(owner, id))) {
                self.depart(id, departed, owner);
            } else if let Some(link) = owner.and_then(|link| self.links.get_mut(link)) {
                let forget = self.identity.packet(Command::Forget, id, departed.address);
                link.push(&forget, self.now);
            }
        }
        self.tell_ends(settled.owed);
        self.release_held();
    }

    /// A business has heard that these clients are here: of others that may have heard so, too, it is of no matter.
    pub(super) fn begun(&mut self, clients: &[u32]) {
        let owed = clients.iter().filter_map(|id| self.disputes.begin(*id)).collect();
        self.tell_ends(owed);
    }

    /// The end of a client was told, but it is connected: its business is to hear that, now or when it gets one.
    fn return_client(&mut self, id: u32) {
        let client = self.clients.get_mut(id);
        let Some(client) = client.filter(|client| client.presence == Presence::Told) else {
            return;
        };
        self.counts.returned_clients += 1;
        client.presence = Presence::Undone;
        let link = client.link.and_then(|link| self.links.get_mut(link));
        let Some(link) = link.filter(|link| link.state == Intake::Open) else { return };
        let start = Unconfirmed::Start(client.presence, Bytes::new());
        client.presence = Presence::Told;
        client.session.tell_anew();
        let packet = self.identity.packet(link.return_command(), id, client.connection.peer());
        let waits = tell(client, link, packet, self.now);
        link.await_word(id, start);
        if waits {
            self.make_wait(id);
        }
    }

    /// A client is gone whose end may have been told, or be told yet: keeps it back, unless its business could
    /// not be told to forget it. Where no business is known to have heard that it was here, its end is owed only if
    /// one says so.
    pub(super) fn keep_back(
        &mut self,
        id: u32,
        departed: Departed,
        link: Option<LinkId>,
        presence: Presence,
    ) {
        let owner = link.and_then(|link| self.links.get_mut(link));
        if owner.as_ref().is_some_and(|owner| !owner.settles()) {
            self.disputes.forget(id);
            return self.depart(id, departed, link);
        }
        if let Some(owner) = owner {
            owner.clients.remove(&id);
        }
        let heard = presence == Presence::Told;
        self.disputes.keep_back(id, KeptBack { departed, owner: link, heard });
    }

    /// Another process may have the place of a business that was lost.
    pub(super) fn replace_business(&mut self, key: &str) {
        let owed = self.disputes.replaced(key);
        self.tell_ends(owed);
    }

    /// Tells ends that were kept back for too long.
    pub(super) fn expire_disputes(&mut self) {
        let owed = self.disputes.expire(self.policy.partition_limit, self.now);
        self.tell_ends(owed);
    }

    fn tell_ends(&mut self, owed: Vec<(u32, KeptBack)>) {
        for (id, KeptBack { departed, owner, .. }) in owed {
            match owner.filter(|&link| self.links.get(link).is_some()) {
                Some(link) => self.depart(id, departed, Some(link)),
                None => self.report_end(id, departed),
            }
        }
    }
}
