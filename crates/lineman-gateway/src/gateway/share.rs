//! What one client may have under way at its business: beyond it the gateway stops reading that client,
//! so that no other one waits behind what it sends.
//!
//! A business of ours reports by client what it has handled. Of a PHP one only what has not left on the
//! link is known, in bytes.

use std::time::Duration;

use lineman_wire::link::{Allowance, MAX_PACKET, Packet};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::client_session::ClientSession;
use super::clients::ConnectedClient;
use super::core::Core;
use super::links::{Link, LinkId};
use super::outlet::Outlet;

/// How soon it is looked whether the bytes of a client have left on a link that reports nothing.
pub(super) const LOOK: Duration = Duration::from_millis(10);

/// So many times as long as a silent client one may wait with none of its events handled.
const WAITING_TIMES: u32 = 8;

/// What a client has under way.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct ClientShare {
    under_way: Allowance,
    /// Where its last packet ends among all bytes of its link.
    end: u64,
    /// It is at the bound, and not read.
    waits: bool,
    /// For how many ticks of its heartbeat it has been so.
    ticks: u32,
}

impl ClientShare {
    pub(super) fn waits(&self) -> bool {
        self.waits
    }

    /// Counts a tick of the heartbeat; returns whether it has waited for too long. Its silence is ours, but
    /// its peer may be gone, and nothing would tell.
    pub(super) fn tick(&mut self, limit: u32) -> bool {
        self.ticks = self.ticks.saturating_add(1);
        limit > 0 && self.ticks > limit.saturating_mul(2 * WAITING_TIMES)
    }
}

/// Sends a packet about a client to its business, with the session if that does not have it; returns whether the client has met its bound.
pub(super) fn tell<C>(
    client: &mut ConnectedClient<C>,
    link: &mut Link,
    packet: Packet,
    now: Instant,
) -> bool {
    let packet = client.session.put_into(packet, link);
    let share = &mut client.share;
    if !link.credits && share.end <= link.left() {
        share.under_way = Allowance::default();
    }
    share.under_way.add(link.push(&packet, now));
    share.end = link.pushed();
    // How many events a link has that were not handled, PHP does not tell.
    let events = if link.credits { link.share.events } else { u32::MAX };
    let met = share.under_way.is_at(Allowance { events, ..link.share });
    met && !std::mem::replace(&mut share.waits, true)
}

/// Returns whether a packet is too long for any link: with the session, which not every one needs.
pub(super) fn is_too_long(packet: &Packet, session: &ClientSession) -> bool {
    packet.length_for(0) + session.bytes().len() > MAX_PACKET
}

impl Link {
    /// Lets each of its clients have other amounts under way. A business that gives back what it has handled does so
    /// by what it was told when it came, and goes on with that.
    pub(super) fn allow(&mut self, share: Allowance) {
        if !self.credits {
            (self.most, self.share) = (share, share);
        }
    }
}

impl<C: Outlet> Core<C> {
    /// A client has met its bound: it is not read for now.
    pub(super) fn make_wait(&mut self, id: u32) {
        let Some(client) = self.clients.get(id) else { return };
        client.connection.pause();
        self.waiting.insert(id);
        if client.link.and_then(|link| self.links.get(link)).is_some_and(|link| !link.credits) {
            self.looked_for.insert(id);
        }
        self.counts.share_reached.add();
    }

    /// A business has handled events of a client.
    pub(super) fn credit(&mut self, link: LinkId, id: u32, handled: Allowance) {
        let Some(client) = self.clients.get_mut(id).filter(|client| client.link == Some(link))
        else {
            return;
        };
        let Some(bound) = self.links.get(link).map(|link| link.share) else { return };
        client.share.under_way.remove(handled);
        if client.share.waits && !client.share.under_way.is_at(bound) {
            self.read_on(id);
        }
    }

    /// Each client of a link may have less under way from now on, or more again.
    pub(super) fn change_share(&mut self, id: LinkId, share: Allowance) {
        let Some(link) = self.links.get_mut(id) else { return };
        let most = link.most;
        let (events, bytes) = (share.events.min(most.events), share.bytes.min(most.bytes));
        link.share = Allowance { events: events.max(1), bytes: bytes.max(1) };
        let bound = link.share;
        let may = |number: &u32| {
            let client = self.clients.get(*number).filter(|client| client.link == Some(id));
            client.is_some_and(|client| !client.share.under_way.is_at(bound))
        };
        let may_go_on: Vec<u32> = self.waiting.iter().copied().filter(may).collect();
        for id in may_go_on {
            self.read_on(id);
        }
    }

    /// The client is below its bound again.
    fn read_on(&mut self, id: u32) {
        self.stop_waiting(id);
        let Some(client) = self.clients.get_mut(id) else { return };
        (client.share.waits, client.share.ticks) = (false, 0);
        if client.link.and_then(|link| self.links.get(link)).is_some_and(Link::reads) {
            client.connection.resume();
        }
    }

    /// The client is another business's from now on, or gone: nothing of it is under way there.
    pub(super) fn renew_share(&mut self, id: u32) {
        self.stop_waiting(id);
        if let Some(client) = self.clients.get_mut(id) {
            client.share = ClientShare::default();
        }
    }

    /// The client is not among those that wait any more.
    pub(super) fn stop_waiting(&mut self, id: u32) {
        self.waiting.remove(&id);
        self.looked_for.remove(&id);
    }

    /// Looks which clients of links that report nothing may go on: those whose bytes have left.
    pub(super) fn look(&mut self) {
        let left = |id: &u32| {
            let client = self.clients.get(*id)?;
            let link = self.links.get(client.link?)?;
            (client.share.end <= link.left()).then_some(*id)
        };
        let left: Vec<u32> = self.looked_for.iter().filter_map(left).collect();
        for id in left {
            self.renew_share(id);
            self.read_on(id);
        }
    }

    /// Returns how soon to look what may go on, if anything waits for that; asked after each input.
    pub(super) fn look_after(&self) -> Option<Duration> {
        if self.fan_outs.len() > 0 {
            return Some(Duration::ZERO);
        }
        let looked_for = (!self.looked_for.is_empty()).then_some(LOOK);
        self.roll_after().into_iter().chain(looked_for).min()
    }
}
