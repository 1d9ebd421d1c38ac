//! Messages to many clients: a part of the clients in each turn, so that the others are served between.
//!
//! A client gets what was sent to it in order: one that a waiting message still owes is given it before
//! anything later. What waits is bounded: beyond that the peer that sends is not read.

use std::collections::VecDeque;

use lineman::connection::{CloseReason, SendError};
use lineman_wire::link::Event;
use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};

use super::SlowClient;
use super::choices::Forms;
use super::clients::ConnectedClient;
use super::core::{Core, Counts, Policy};
use super::links::LinkId;
use super::outlet::Outlet;

/// The bytes that go out in one turn, so that the kernel has taken them within some milliseconds; of a
/// message that is longer it is one client's.
const TURN_BYTES: usize = 2 * 1024 * 1024;

/// The most clients of one turn: each costs a write of some microseconds.
const TURN_CLIENTS: usize = 1024;

/// So few clients get a message ahead of others that wait: what these have for them is looked up.
const FEW: usize = 16;

/// How many may wait, and how many bytes they may have; half of it lets the senders go on.
const WAITING: usize = 64;
const WAITING_BYTES: usize = 16 * 1024 * 1024;

/// One message on its way to many.
#[derive(Debug, Serialize, Deserialize)]
struct FanOut<F> {
    form: Forms<F>,
    /// The clients that it is for, ascending; twice for those that get it twice.
    ids: Vec<u32>,
    /// How many of them have it.
    done: usize,
    /// Those of the others that have it.
    ahead: FxHashSet<u32>,
    /// The bytes for one client.
    length: usize,
    /// What it counts against the bound.
    bytes: usize,
}

impl<F> FanOut<F> {
    /// Returns how often it is still to be given to a client.
    fn owes(&self, id: u32) -> usize {
        let rest = self.ids.get(self.done..).unwrap_or_default();
        if rest.binary_search(&id).is_err() || self.ahead.contains(&id) {
            return 0;
        }
        rest.partition_point(|other| *other <= id) - rest.partition_point(|other| *other < id)
    }

    /// Takes the next client that has not got it, if what is left of the turn is enough.
    fn next(&mut self, turn: &mut TurnRoom) -> Option<u32> {
        while let Some(id) = self.ids.get(self.done)
            && self.ahead.contains(id)
        {
            self.done += 1;
        }
        let &id = self.ids.get(self.done)?;
        turn.takes(self.length).then(|| {
            self.done += 1;
            id
        })
    }

    fn is_done(&self) -> bool {
        self.done == self.ids.len()
    }
}

/// What is left of a turn.
struct TurnRoom {
    clients: usize,
    bytes: usize,
}

impl TurnRoom {
    fn whole() -> Self {
        Self { clients: TURN_CLIENTS, bytes: TURN_BYTES }
    }

    /// Takes a client's message out of what is left, if it fits or is the first.
    fn takes(&mut self, length: usize) -> bool {
        let first = self.clients == TURN_CLIENTS;
        if self.clients == 0 || length > self.bytes && !first {
            return false;
        }
        self.clients -= 1;
        self.bytes = self.bytes.saturating_sub(length);
        true
    }
}

/// The messages that wait, in their order.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct FanOuts<F> {
    waiting: VecDeque<FanOut<F>>,
    bytes: usize,
    /// How many have been done.
    done: u64,
    /// The links that want to be told when so many are done, in the order of these numbers.
    asked: VecDeque<(u64, LinkId)>,
}

impl<F> Default for FanOuts<F> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), bytes: 0, done: 0, asked: VecDeque::new() }
    }
}

impl<F> FanOuts<F> {
    /// Returns the same with each message in another form.
    pub(super) fn map<G, E>(&self, make: impl Fn(&F) -> Result<G, E>) -> Result<FanOuts<G>, E> {
        let Self { waiting, bytes, done, asked } = self;
        let map = |fan_out: &FanOut<F>| {
            let FanOut { form, ids, done, ahead, length, bytes } = fan_out;
            let (ids, done, ahead) = (ids.clone(), *done, ahead.clone());
            Ok(FanOut { form: form.map(&make)?, ids, done, ahead, length: *length, bytes: *bytes })
        };
        let waiting = waiting.iter().map(map).collect::<Result<_, E>>()?;
        Ok(FanOuts { waiting, bytes: *bytes, done: *done, asked: asked.clone() })
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    fn is_full(&self) -> bool {
        self.len() >= WAITING || self.bytes >= WAITING_BYTES
    }

    fn has_room(&self) -> bool {
        self.len() <= WAITING / 2 && self.bytes <= WAITING_BYTES / 2
    }
}

/// Sends to one client, with the stated answer if it does not read; returns whether that has ended it.
fn send<C: Outlet>(
    client: &ConnectedClient<C>,
    form: &Forms<C::Form>,
    policy: &Policy<C::Form>,
    counts: &mut Counts,
) -> bool {
    match (client.connection.send(form.to(client.spoken)), policy.slow_client) {
        (Err(SendError::Full), SlowClient::DropMessage) => counts.dropped_messages += 1,
        (Err(SendError::Full), SlowClient::Close) => {
            counts.slow_clients += 1;
            client.connection.close(CloseReason::SlowPeer);
            return true;
        }
        // Its end is on its way here.
        (Ok(()) | Err(_), _) => {}
    }
    false
}

impl<C: Outlet> Core<C> {
    /// Sends one client what it understands already.
    pub(super) fn hand_over(&mut self, id: u32, form: &Forms<C::Form>) {
        let Some(client) = self.clients.get(id) else { return };
        if send(client, form, &self.policy, &mut self.counts) {
            self.ended.push(id);
        }
    }

    /// Sends a message of this length to clients, now or in parts.
    pub(super) fn fan_out(&mut self, mut ids: Vec<u32>, form: Forms<C::Form>, length: usize) {
        let turn = (TURN_BYTES / length.max(1)).clamp(1, TURN_CLIENTS);
        // Behind others that wait it waits, too, unless it is for so few that these can be caught up with.
        let at_once = if self.fan_outs.len() == 0 { turn } else { turn.min(FEW) };
        if ids.len() <= at_once {
            return ids.into_iter().for_each(|id| self.deliver(id, &form));
        }
        ids.sort_unstable();
        let bytes = length + ids.len() * size_of::<u32>();
        self.fan_outs.bytes += bytes;
        let ahead = FxHashSet::default();
        self.fan_outs.waiting.push_back(FanOut { form, ids, done: 0, ahead, length, bytes });
        if self.fan_outs.len() == 1 {
            self.go_on_with_fan_outs();
        }
    }

    /// Sends one client what it understands already, behind what it is owed.
    pub(super) fn deliver(&mut self, id: u32, form: &Forms<C::Form>) {
        self.catch_up(id);
        self.hand_over(id, form);
    }

    /// Gives a client all that waits for it.
    pub(super) fn catch_up(&mut self, id: u32) {
        let Self { clients, fan_outs, policy, counts, ended, .. } = self;
        for fan_out in &mut fan_outs.waiting {
            let times = fan_out.owes(id);
            if times > 0 {
                fan_out.ahead.insert(id);
            }
            let Some(client) = clients.get(id) else { continue };
            for _ in 0..times {
                ended.extend(send(client, &fan_out.form, policy, counts).then_some(id));
            }
        }
    }

    /// Sends what one turn takes of the messages that wait, the oldest first.
    pub(super) fn go_on_with_fan_outs(&mut self) {
        let mut turn = TurnRoom::whole();
        let Self { clients, fan_outs, policy, counts, ended, .. } = self;
        while let Some(fan_out) = fan_outs.waiting.front_mut() {
            while let Some(id) = fan_out.next(&mut turn) {
                if let Some(client) = clients.get(id) {
                    ended.extend(send(client, &fan_out.form, policy, counts).then_some(id));
                }
            }
            if !fan_out.is_done() {
                break;
            }
            fan_outs.bytes -= fan_out.bytes;
            fan_outs.done += 1;
            fan_outs.waiting.pop_front();
        }
        self.confirm_fan_outs();
        self.let_senders_go_on();
    }

    /// Sends all that waits: the clients are about to be closed.
    pub(super) fn finish_fan_outs(&mut self) {
        while self.fan_outs.len() > 0 {
            self.go_on_with_fan_outs();
        }
    }

    /// Tells a business when all that it has sent so far is in the queues of its clients.
    pub(super) fn synchronise(&mut self, link: LinkId) {
        let sent = self.fan_outs.done + self.fan_outs.len() as u64;
        self.fan_outs.asked.push_back((sent, link));
        self.confirm_fan_outs();
    }

    fn confirm_fan_outs(&mut self) {
        let done = self.fan_outs.done;
        while let Some((_, link)) = self.fan_outs.asked.pop_front_if(|(sent, _)| *sent <= done) {
            if let Some(link) = self.links.get_mut(link) {
                link.push_event(Event::Synced, self.now);
            }
        }
    }

    /// Reads the peers again that were held, if there is room.
    fn let_senders_go_on(&mut self) {
        if self.fan_outs.has_room() {
            for peer in std::mem::take(&mut self.unread_peers) {
                // One that does not read its answers is not read for that.
                if let Some(peer) = self.peers.get(&peer).filter(|peer| !peer.full) {
                    peer.outlet.resume();
                }
                // What it reported meanwhile comes only now.
                if let Some(link) = self.links.get_mut(peer) {
                    link.pulse.progress(self.now);
                }
            }
        }
    }

    /// Stops reading a peer while too much waits that it or others have sent.
    pub(super) fn hold_sender(&mut self, peer: u64) {
        if self.fan_outs.is_full()
            && let Some(sender) = self.peers.get(&peer)
            && self.unread_peers.insert(peer)
        {
            tracing::debug!(peer = %sender.outlet.peer(), "too many messages to many, not read");
            sender.outlet.pause();
            self.counts.fan_outs_full.add();
        }
    }
}
