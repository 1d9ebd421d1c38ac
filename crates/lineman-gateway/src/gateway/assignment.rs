//! Which business gets a client's events: chosen once, kept while its link lives, and held while
//! there is no business at all.

use std::collections::{BTreeMap, VecDeque};
use std::iter;
use std::net::SocketAddr;

use bytes::Bytes;
use lineman::connection::CloseReason;
use lineman_wire::link::{Command, Packet, flags};
use rustc_hash::{FxHashMap, FxHashSet};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::client_session::ClientSession;
use super::clients::Presence;
use super::core::Core;
use super::identity::Departed;
use super::links::{Intake, Link, LinkId};
use super::outlet::Outlet;
use super::router::BusinessChoice;
use super::share::{is_too_long, tell};
use super::unconfirmed::Unconfirmed;

/// What may be kept of clients that are gone and that no business could be told of, in bytes: a hundred
/// thousand of them with small sessions.
const GONE: usize = 16 * 1024 * 1024;

/// What one costs beside its session.
const PER_GONE: usize = 128;

/// Clients without a business: connected, not read, waiting.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Held {
    /// Since when each waits, in the order of their ids.
    #[serde(with = "crate::written")]
    since: BTreeMap<u32, Instant>,
    /// The handshakes of those that no business was told of yet.
    #[serde(with = "crate::written")]
    handshakes: FxHashMap<u32, Bytes>,
    /// Events that have left on no link, of clients that are on their way to another one.
    #[serde(with = "crate::written")]
    unsent: FxHashMap<u32, Vec<Packet>>,
    gone: Gone,
}

/// Clients that went while there was no business, as much of them as [`GONE`] allows.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Gone {
    by_id: BTreeMap<u32, Departed>,
    /// Since when, the oldest first.
    #[serde(with = "crate::written")]
    order: VecDeque<(Instant, u32)>,
    size: usize,
}

impl Gone {
    /// Keeps one; returns how many had to be forgotten for it.
    fn keep(&mut self, id: u32, departed: Departed, now: Instant) -> u64 {
        self.size += size_of_gone(&departed);
        self.by_id.insert(id, departed);
        self.order.push_back((now, id));
        let mut forgotten = 0;
        while self.size > GONE && self.forget_oldest() {
            forgotten += 1;
        }
        forgotten
    }

    /// Forgets those that went before; returns how many.
    fn forget(&mut self, too_long: impl Fn(&Instant) -> bool) -> u64 {
        let mut forgotten = 0;
        while self.order.front().is_some_and(|(since, _)| too_long(since)) && self.forget_oldest() {
            forgotten += 1;
        }
        forgotten
    }

    fn forget_oldest(&mut self) -> bool {
        let Some((_, id)) = self.order.pop_front() else { return false };
        if let Some(departed) = self.by_id.remove(&id) {
            self.size -= size_of_gone(&departed);
        }
        true
    }
}

/// Returns what one counts against [`GONE`].
fn size_of_gone(departed: &Departed) -> usize {
    let unsent: usize = departed.unsent.iter().map(Packet::wire_length).sum();
    departed.session.bytes().len() + unsent + PER_GONE
}

impl Held {
    pub(super) fn len(&self) -> usize {
        self.since.len()
    }

    /// Says whether an id is still in use, though its client is gone.
    pub(super) fn remembers(&self, id: u32) -> bool {
        self.gone.by_id.contains_key(&id)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        let Self { since, handshakes, unsent, gone } = self;
        let nothing_waits = since.is_empty() && handshakes.is_empty() && unsent.is_empty();
        nothing_waits && gone.by_id.is_empty()
    }

    pub(super) fn forget(&mut self, id: u32) {
        self.since.remove(&id);
        self.handshakes.remove(&id);
        self.unsent.remove(&id);
    }

    /// Takes the events that have left on no link.
    pub(super) fn take_unsent(&mut self, id: u32) -> Vec<Packet> {
        self.unsent.remove(&id).unwrap_or_default()
    }

    pub(super) fn keep_handshake(&mut self, id: u32, handshake: Bytes) {
        if !handshake.is_empty() {
            self.handshakes.insert(id, handshake);
        }
    }
}

impl<C: Outlet> Core<C> {
    /// Gives a client to a business, or holds it until there is one.
    pub(super) fn assign(&mut self, id: u32) {
        let way = match self.clients.get(id) {
            Some(client) => {
                self.policy.router.way(client.route, client.uid.as_ref().map(|uid| &*uid.name))
            }
            None => return,
        };
        match self.links.choose(way, self.now) {
            Some(link) => self.give(id, link),
            None => self.hold(id),
        }
    }

    /// There is another router: clients go by it when they are given to a business next. What they asked for when
    /// they came is known of those alone that are held.
    pub(super) fn route_anew(&mut self) {
        let ids: Vec<u32> = self.clients.iter().map(|(id, _)| id).collect();
        for id in ids {
            let handshake = self.held.handshakes.get(&id).cloned().unwrap_or_default();
            if let Some(client) = self.clients.get_mut(id) {
                client.route = self.policy.router.key(client.connection.peer().ip(), &handshake);
            }
        }
    }

    fn hold(&mut self, id: u32) {
        let Some(client) = self.clients.get_mut(id) else { return };
        client.link = None;
        client.connection.pause();
        self.held.since.insert(id, self.now);
        self.renew_share(id);
    }

    fn give(&mut self, id: u32, to: LinkId) {
        self.renew_share(id);
        let (Some(client), Some(link)) = (self.clients.get_mut(id), self.links.get_mut(to)) else {
            return;
        };
        client.link = Some(to);
        link.clients.insert(id);
        if link.heir.is_some() {
            link.unwitnessed.insert(id);
        }
        self.held.since.remove(&id);
        client.session.tell_anew();
        let peer = client.connection.peer();
        let about = |command| self.identity.packet(command, id, peer);
        let now = self.now;
        let mut waits = false;
        let first = match client.presence {
            Presence::None => Some(Command::OnConnect),
            Presence::Undone => Some(link.return_command()),
            Presence::Told => None,
        };
        if let Some(first) = first {
            // What others have to say is of before as soon as it has heard, see `Core::begun`; one that confirms
            // nothing is taken to.
            if !link.settles() {
                self.disputes.forget(id);
            }
            let handshake = self.held.handshakes.remove(&id);
            let start = Unconfirmed::Start(client.presence, handshake.clone().unwrap_or_default());
            let handshake = handshake.map(|body| {
                let packet = about(Command::OnWebSocketConnect);
                Packet { flags: packet.flags & !flags::SCALAR, body, ..packet }
            });
            for packet in iter::once(about(first)).chain(handshake) {
                if is_too_long(&packet, &client.session) {
                    // Another business's session, as a rule, and the handshake beside it.
                    self.counts.too_long.add();
                    client.connection.close(CloseReason::TooBig);
                    self.ended.push(id);
                } else {
                    waits |= tell(client, link, packet, now);
                }
            }
            link.await_word(id, start);
        } else if link.extension {
            link.push(&client.session.put_into(about(Command::Adopt), link), now);
            link.await_adoption(id);
        }
        client.presence = Presence::Told;
        for packet in self.held.unsent.remove(&id).into_iter().flatten() {
            waits |= tell(client, link, packet, now);
        }
        if link.reads() {
            client.connection.resume();
        } else {
            client.connection.pause();
        }
        if waits {
            self.make_wait(id);
        }
    }

    /// Tells a business of a client that is gone.
    pub(super) fn report_end(&mut self, id: u32, mut departed: Departed) {
        let choice = self.links.choose(BusinessChoice::LeastBusy, self.now);
        let Some(link) = choice.and_then(|id| self.links.get_mut(id)) else {
            return self.keep_gone(id, departed);
        };
        let packet = |command| self.identity.packet(command, id, departed.address);
        let (adopt, close) = (packet(Command::Adopt), packet(Command::OnClose));
        departed.session.tell_anew();
        if link.extension {
            link.push(&departed.session.put_into(adopt, link), self.now);
            link.await_adoption(id);
        }
        for packet in std::mem::take(&mut departed.unsent).into_iter().chain([close]) {
            link.push(&departed.session.put_into(packet, link), self.now);
        }
        link.await_word(id, Unconfirmed::End(departed));
    }

    /// Keeps a client that is gone until there is a business to be told.
    fn keep_gone(&mut self, id: u32, departed: Departed) {
        self.counts.forgotten_clients += self.held.gone.keep(id, departed, self.now);
    }

    /// A client that a business knows of is gone.
    pub(super) fn depart(&mut self, id: u32, mut departed: Departed, link: Option<LinkId>) {
        match link.and_then(|link| self.links.get_mut(link)) {
            None => self.keep_gone(id, departed),
            Some(link) => {
                link.clients.remove(&id);
                if link.state == Intake::Draining {
                    link.departed.insert(id, departed);
                    return;
                }
                let packet = self.identity.packet(Command::OnClose, id, departed.address);
                link.push(&departed.session.put_into(packet, link), self.now);
                link.await_word(id, Unconfirmed::End(departed));
            }
        }
    }

    /// A business is there: every client that waits is given to one.
    pub(super) fn release_held(&mut self) {
        let waiting: Vec<u32> = self.held.since.keys().copied().collect();
        for id in waiting {
            self.assign(id);
        }
        for (id, departed) in std::mem::take(&mut self.held.gone).by_id {
            self.report_end(id, departed);
        }
    }

    /// Moves the clients of a link to other businesses: in order, each with its session.
    pub(super) fn move_clients(&mut self, from: LinkId) {
        self.disinherit(from);
        let Some(link) = self.links.get_mut(from) else { return };
        let clients = std::mem::take(&mut link.clients);
        let departed = std::mem::take(&mut link.departed);
        for id in clients {
            self.assign(id);
        }
        for (id, departed) in departed {
            self.report_end(id, departed);
        }
    }

    /// A link is gone: its clients go elsewhere, and what it had not handled is lost.
    pub(super) fn lose_link(&mut self, id: LinkId, reason: &str) {
        let Some(link) = self.links.get_mut(id) else { return };
        if link.state == Intake::Open {
            // Nothing new may go to it while its clients move.
            link.state = Intake::Draining;
        }
        let unsent = link.take_unsent();
        let lost = link.outstanding().saturating_sub(unsent.len() as u64);
        self.counts.lost_events += lost;
        let clients = link.clients.len();
        if link.state == Intake::Released {
            tracing::info!(business = link.key, "business has left");
        } else {
            let losses = self.losses.entry(link.key.clone()).or_default();
            losses.add(reason.to_owned(), clients as u64, lost);
            self.tell_of_losses();
        }
        self.keep_unsent(id, unsent);
        self.dispute(id);
        self.move_clients(id);
        self.links.remove(id);
        self.link_rounds.remove(id);
        self.answer_settles();
    }

    /// Keeps what a link that is lost was not sent for the businesses that its clients get.
    fn keep_unsent(&mut self, link: LinkId, unsent: Vec<Packet>) {
        let Some(link) = self.links.get_mut(link) else { return };
        let told_before = link.unconfirmed.told_before();
        let mut not_announced = FxHashSet::default();
        for packet in unsent {
            let id = packet.connection_id;
            match packet.command {
                // Another business has heard that meanwhile.
                Command::OnConnect | Command::OnWebSocketConnect if told_before.contains(&id) => {}
                Command::OnConnect => {
                    not_announced.insert(id);
                    if let Some(client) = self.clients.get_mut(id) {
                        client.presence = Presence::None;
                    }
                }
                Command::Returned => {
                    if let Some(client) = self.clients.get_mut(id) {
                        client.presence = Presence::Undone;
                    }
                }
                Command::OnWebSocketConnect if not_announced.contains(&id) => {
                    self.held.keep_handshake(id, packet.body);
                }
                Command::OnClose => {
                    let address = SocketAddr::from((packet.client_ip, packet.client_port));
                    let session = ClientSession::of(&packet);
                    let departed = Departed { address, session, unsent: Vec::new() };
                    link.departed.insert(id, departed);
                }
                _ => self.held.unsent.entry(id).or_default().push(packet),
            }
        }
        link.departed.retain(|&id, departed| {
            departed.unsent.extend(self.held.take_unsent(id));
            self.held.forget(id);
            let is_known = !not_announced.contains(&id);
            if !is_known {
                self.counts.lost_events += departed.unsent.len() as u64;
            }
            is_known
        });
    }

    /// Closes the clients that have waited too long for a business.
    pub(super) fn give_up_held(&mut self) {
        let limit = self.policy.no_business_limit;
        let (now, held) = (self.now, &mut self.held);
        let too_long = |since: &Instant| now.saturating_duration_since(*since) >= limit;
        self.counts.forgotten_clients += held.gone.forget(too_long);
        let late: Vec<u32> =
            held.since.iter().filter(|(_, since)| too_long(since)).map(|(&id, _)| id).collect();
        for id in late {
            self.end(id, CloseReason::Unavailable("no business is connected".to_owned()));
        }
    }

    /// Says whether a client's messages are read, so that its silence is its own.
    pub(super) fn is_read(&self, link: Option<LinkId>) -> bool {
        link.and_then(|link| self.links.get(link)).is_some_and(Link::reads)
    }
}
