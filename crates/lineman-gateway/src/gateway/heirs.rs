//! Heirs: should this process and a business die together, another business tells the end of its clients.
//!
//! Each business has an heir among the others, on another machine if there is one. Each second it is told what
//! has changed of the clients that the first one has: who came, with the session, and who went. What changed in
//! the last second before both die is lost with them.

use lineman_wire::link::{ADDRESSES, Event, Note, Witness, Witnessed};

use super::core::Core;
use super::links::{Link, LinkId};
use super::outlet::Outlet;

/// How many clients an heir is told of in a second, for each business: a reload of all businesses tells of all
/// clients anew, and must not be what links are full of.
const A_SECOND: usize = 8 * 1024;

/// An heir that has more than so many bytes to read is told nothing for now.
const FULL: usize = 1024 * 1024;

impl<C: Outlet> Core<C> {
    /// Something of a client has changed that an heir should know.
    pub(super) fn note_for_heir(&mut self, link: Option<LinkId>, id: u32) {
        let link = link.and_then(|link| self.links.get_mut(link));
        if let Some(link) = link.filter(|link| link.heir.is_some()) {
            link.unwitnessed.insert(id);
        }
    }

    /// A business has no clients any more: its heir has nothing to tell.
    pub(super) fn disinherit(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(id) else { return };
        link.unwitnessed.clear();
        if let Some(heir) = link.heir.take() {
            let worker_key = link.worker_key().to_owned();
            self.tell_heir(heir, &worker_key, true, Vec::new());
        }
    }

    /// Tells each heir what has changed; due each second.
    pub(super) fn see_to_heirs(&mut self) {
        if !self.policy.heirs {
            return;
        }
        let owners: Vec<LinkId> = self.links.ids().collect();
        for owner in owners {
            let anew = self.choose_heir(owner);
            self.tell_changes(owner, anew);
        }
    }

    /// Sees to it that a business has an heir that works; returns whether it is a new one.
    fn choose_heir(&mut self, owner: LinkId) -> bool {
        let Some(link) = self.links.get(owner) else { return false };
        let works = |heir: LinkId| self.links.get(heir).is_some_and(Link::can_inherit);
        if link.clients.is_empty() || link.heir.is_some_and(works) {
            return false;
        }
        let machine = |link: &Link| link.outlet().peer().ip();
        let (own, owners) = (self.identity.lan_ip, machine(link));
        let burden = |id: LinkId| {
            let heir = self.links.get(id)?;
            let place = machine(heir);
            let near = place == owners || place == own || place.is_loopback();
            let others = self.links.iter().filter(|link| link.heir == Some(id)).count();
            Some((near, others, id))
        };
        let others = self.links.ids().filter(|&id| id != owner && works(id));
        let heir = others.filter_map(burden).min().map(|(.., id)| id);
        let Some(link) = self.links.get_mut(owner) else { return false };
        link.heir = heir;
        link.unwitnessed.clear();
        if heir.is_some() {
            link.unwitnessed.extend(&link.clients);
        }
        heir.is_some()
    }

    /// A business has something to say to another one, perhaps.
    pub(super) fn relay(&mut self, from: LinkId, note: &Note) {
        let Some(link) = self.links.get(from) else { return };
        let worker_key = link.worker_key().to_owned();
        let now = self.now;
        let named = |link: &&mut Link| link.settles() && link.worker_key() == note.worker_key;
        if let Some(link) = self.links.iter_mut().find(named).filter(|link| !link.full) {
            link.push_event(Event::Relay(Note { worker_key, ..*note }), now);
        }
    }

    fn tell_changes(&mut self, owner: LinkId, anew: bool) {
        let Some(link) = self.links.get(owner) else { return };
        let Some(heir) = link.heir.filter(|_| !link.unwitnessed.is_empty()) else { return };
        let full = |heir: &Link| heir.full || heir.outlet().queued_bytes() > FULL;
        if self.links.get(heir).is_none_or(full) {
            return;
        }
        let worker_key = link.worker_key().to_owned();
        let changed: Vec<u32> = link.unwitnessed.iter().copied().take(A_SECOND).collect();
        let witnessed = |&connection_id: &u32| {
            let client = self.clients.get(connection_id);
            match client.filter(|client| client.link == Some(owner)) {
                None => Witnessed::Gone { connection_id },
                Some(client) => {
                    let peer = client.connection.peer();
                    let (ip, port) = (peer.ip().to_canonical(), peer.port());
                    let session = client.session.bytes().clone();
                    Witnessed::Here { connection_id, ip, port, session }
                }
            }
        };
        let clients = changed.iter().map(witnessed).collect();
        if let Some(link) = self.links.get_mut(owner) {
            for id in &changed {
                link.unwitnessed.remove(id);
            }
        }
        self.tell_heir(heir, &worker_key, anew, clients);
    }

    fn tell_heir(&mut self, heir: LinkId, worker_key: &str, anew: bool, clients: Vec<Witnessed>) {
        let gateway_port = self.identity.clients_port;
        let now = self.now;
        let Some(link) = self.links.get_mut(heir).filter(|link| link.can_inherit()) else { return };
        let mut anew = anew;
        // Sessions may be long: each packet has a part that is far below its bound.
        let mut parts = Witness::parts(clients);
        if parts.is_empty() && anew {
            parts.push(Vec::new());
        }
        for clients in parts {
            let worker_key = worker_key.to_owned();
            let anew = std::mem::take(&mut anew);
            let mut witness = Witness { worker_key, anew, gateway_port, clients };
            if link.version() < ADDRESSES {
                witness.hide_addresses();
            }
            link.push_event(Event::Witness(witness), now);
        }
    }
}

impl Link {
    /// Says whether it may be told of other businesses' clients.
    fn can_inherit(&self) -> bool {
        self.settles() && self.is_open()
    }

    /// Returns what its business calls itself, wherever it is.
    pub(super) fn worker_key(&self) -> &str {
        self.key.strip_prefix(&format!("{}:", self.outlet().peer().ip())).unwrap_or(&self.key)
    }
}
