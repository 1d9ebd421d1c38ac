//! Messages to many clients: a part of the clients in each turn, so that the others are served between.
//!
//! A client gets what was sent to it in order: one that a waiting message still owes is given it before
//! anything later. What waits is bounded: beyond that the peer that sends is not read.

use std::collections::VecDeque;

use rustc_hash::FxHashSet;

use super::core::Core;
use super::orders::hand_over;
use super::outlet::Outlet;

/// The bytes of one part, so that the kernel has taken them within some milliseconds.
const PART_BYTES: usize = 2 * 1024 * 1024;

/// The most clients of one part, each of which costs a write of some microseconds; and the least.
const PART_CLIENTS: (usize, usize) = (16, 1024);

/// How many may wait, and how many bytes they may have; half of it lets the senders go on.
const WAITING: usize = 64;
const WAITING_BYTES: usize = 16 * 1024 * 1024;

/// One message on its way to many.
#[derive(Debug)]
struct FanOut<F> {
    form: F,
    /// Whom it is for, ascending; twice for those that get it twice.
    ids: Vec<u32>,
    /// How many of them have it.
    done: usize,
    /// Those of the others that have it.
    ahead: FxHashSet<u32>,
    /// Clients of one part.
    part: usize,
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

    /// Takes the next part.
    fn next_part(&mut self) -> Vec<u32> {
        let rest = self.ids.get(self.done..).unwrap_or_default();
        let part = rest.get(..self.part).unwrap_or(rest);
        self.done += part.len();
        part.iter().copied().filter(|id| !self.ahead.contains(id)).collect()
    }
}

/// The messages that wait, in their order.
#[derive(Debug)]
pub(super) struct FanOuts<F> {
    waiting: VecDeque<FanOut<F>>,
    bytes: usize,
}

impl<F> Default for FanOuts<F> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), bytes: 0 }
    }
}

impl<F> FanOuts<F> {
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

impl<C: Outlet> Core<C> {
    /// Sends a message of this length to clients, now or in parts.
    pub(super) fn fan_out(&mut self, mut ids: Vec<u32>, form: C::Form, length: usize) {
        let (least, most) = PART_CLIENTS;
        let part = (PART_BYTES / length.max(1)).clamp(least, most);
        // Behind others that wait it waits, too, unless it is for so few that these can be caught up with.
        let at_once = if self.fan_outs.len() == 0 { part } else { least };
        if ids.len() <= at_once {
            return ids.into_iter().for_each(|id| self.deliver(id, &form));
        }
        ids.sort_unstable();
        let bytes = length + ids.len() * size_of::<u32>();
        self.fan_outs.bytes += bytes;
        let ahead = FxHashSet::default();
        self.fan_outs.waiting.push_back(FanOut { form, ids, done: 0, ahead, part, bytes });
        if self.fan_outs.len() == 1 {
            self.go_on_with_fan_outs();
        }
    }

    /// Sends one client what it understands already, behind what it is owed.
    pub(super) fn deliver(&mut self, id: u32, form: &C::Form) {
        self.catch_up(id);
        if let Some(client) = self.clients.get(id) {
            hand_over(client, form, self.policy.slow_client, &mut self.counts);
        }
    }

    /// Gives a client all that waits for it.
    pub(super) fn catch_up(&mut self, id: u32) {
        for fan_out in &mut self.fan_outs.waiting {
            let times = fan_out.owes(id);
            if times > 0 {
                fan_out.ahead.insert(id);
            }
            let Some(client) = self.clients.get(id) else { continue };
            for _ in 0..times {
                hand_over(client, &fan_out.form, self.policy.slow_client, &mut self.counts);
            }
        }
    }

    /// Sends the next part of the oldest message that waits.
    pub(super) fn go_on_with_fan_outs(&mut self) {
        let Some(fan_out) = self.fan_outs.waiting.front_mut() else { return };
        for id in fan_out.next_part() {
            if let Some(client) = self.clients.get(id) {
                hand_over(client, &fan_out.form, self.policy.slow_client, &mut self.counts);
            }
        }
        if fan_out.done == fan_out.ids.len() {
            self.fan_outs.bytes -= fan_out.bytes;
            self.fan_outs.waiting.pop_front();
        }
        if self.fan_outs.has_room() {
            for peer in std::mem::take(&mut self.unread_peers) {
                if let Some(peer) = self.peers.get(&peer) {
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
