//! What is due on a connection: deadlines by name, several at once, of which the table's wheel has
//! the earliest, and the pace of what has to go on. A silent connection has none and owns no memory for
//! them. It reads no clock.

use std::hash::{Hash as _, Hasher};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::time::delay_queue::Key;

use crate::limit::finite;

/// What a connection has to have done by a certain time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Deadline {
    /// To connect, or to be through with layers and handshake.
    Handshake,
    /// To go on with the message that has begun.
    Message,
    /// To wait for its rate; what is due then is to read it again.
    Rate,
    /// To take what was said before our end; what is due then is a look at how far that is.
    Farewell,
    /// To end its side after we have ended ours.
    End,
    /// To answer our farewell, to be gone.
    Close,
}

/// In the order of their declaration.
const ALL: [Deadline; 6] = [
    Deadline::Handshake,
    Deadline::Message,
    Deadline::Rate,
    Deadline::Farewell,
    Deadline::End,
    Deadline::Close,
];

/// How something flows that may take its time but has to go on: a message that has begun, or what was
/// said before our end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flow {
    began: Instant,
    went_on: Instant,
    /// Bytes that count, since it began.
    moved: u64,
    /// The largest of each of two counts so far.
    seen: [u64; 2],
}

/// A pace, written down: how long ago it began and went on, and its counts.
pub(super) type SavedFlow = (Duration, Duration, u64, [u64; 2]);

impl Flow {
    /// Begins at these counts.
    pub(super) fn new(seen: [u64; 2], now: Instant) -> Self {
        Self { began: now, went_on: now, moved: 0, seen }
    }

    /// Two counts of the flow by now; what counts is the lesser increase.
    pub(super) fn goes_on(&mut self, counts: [u64; 2], now: Instant) {
        let [first, second] = [0, 1].map(|which| counts[which].saturating_sub(self.seen[which]));
        self.seen = [0, 1].map(|which| counts[which].max(self.seen[which]));
        let moved = first.min(second);
        if moved > 0 {
            self.moved = self.moved.saturating_add(moved);
            self.went_on = now;
        }
    }

    /// Returns by when it has to go on, and on the whole to be faster than `rate` bytes a second beyond
    /// the first `stall`. Invariant: it is never earlier than it was before.
    pub(super) fn until(&self, stall: Duration, rate: u32) -> Instant {
        let stalls = self.went_on + finite(stall);
        let Some(earned) = self.moved.checked_div(u64::from(rate)) else { return stalls };
        stalls.min(self.began + finite(stall.saturating_add(Duration::from_secs(earned))))
    }

    /// Returns how long ago it began.
    pub(super) fn lasts(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.began)
    }

    fn save(&self, now: Instant) -> SavedFlow {
        let idle = now.saturating_duration_since(self.went_on);
        (self.lasts(now), idle, self.moved, self.seen)
    }

    fn restore((began, went_on, moved, seen): SavedFlow, now: Instant) -> Self {
        let at = |ago| now.checked_sub(ago).unwrap_or(now);
        Self { began: at(began), went_on: at(went_on), moved, seen }
    }
}

/// The deadlines of one connection.
#[derive(Debug, Default)]
pub(super) struct Due(Option<Box<Times>>);

#[derive(Debug, Default)]
struct Times {
    at: [Option<Instant>; ALL.len()],
    /// The one in the wheel, and its time.
    armed: Option<(Key, Instant)>,
    /// How the message that has begun comes.
    message: Option<Flow>,
    /// How what was said before our end is taken.
    farewell: Option<Flow>,
}

/// What the wheel has to do, for the earliest deadline to be in it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Rearm {
    pub(super) remove: Option<Key>,
    pub(super) insert: Option<Instant>,
}

impl Due {
    /// Sets a deadline, in place of the one of this name.
    pub(super) fn set(&mut self, deadline: Deadline, at: Instant) {
        self.0.get_or_insert_default().at[deadline as usize] = Some(at);
    }

    /// Takes a deadline away; returns whether it was there. The next message has a pace of its own.
    pub(super) fn clear(&mut self, deadline: Deadline) -> bool {
        let Some(times) = &mut self.0 else { return false };
        if deadline == Deadline::Message {
            times.message = None;
        }
        times.at[deadline as usize].take().is_some()
    }

    /// Takes all of them away.
    pub(super) fn clear_all(&mut self) {
        if let Some(times) = &mut self.0 {
            (times.at, times.message, times.farewell) = <_>::default();
        }
    }

    /// Returns the pace of the message that has begun.
    pub(super) fn message(&mut self) -> &mut Option<Flow> {
        &mut self.0.get_or_insert_default().message
    }

    /// Returns the pace of what was said before our end.
    pub(super) fn farewell(&mut self) -> &mut Option<Flow> {
        &mut self.0.get_or_insert_default().farewell
    }

    /// Adds what tells one moment of them from another.
    pub(super) fn stamp(&self, stamp: &mut impl Hasher) {
        if let Some(times) = &self.0 {
            times.at.hash(stamp);
        }
    }

    /// Writes down the paces of a message and of a farewell.
    pub(super) fn saved_paces(&self, now: Instant) -> [Option<SavedFlow>; 2] {
        let paces = self.0.as_ref().map(|times| [times.message, times.farewell]);
        paces.unwrap_or_default().map(|pace| pace.map(|pace| pace.save(now)))
    }

    /// Goes on with what [`Due::saved_paces`] returned.
    pub(super) fn restore_paces(&mut self, saved: [Option<SavedFlow>; 2], now: Instant) {
        if saved != [None; 2] {
            let times = self.0.get_or_insert_default();
            let paces = saved.map(|pace| pace.map(|pace| Flow::restore(pace, now)));
            [times.message, times.farewell] = paces;
        }
    }

    pub(super) fn has(&self, deadline: Deadline) -> bool {
        self.at(deadline).is_some()
    }

    /// Returns when a deadline passes.
    pub(super) fn at(&self, deadline: Deadline) -> Option<Instant> {
        self.0.as_ref()?.at[deadline as usize]
    }

    #[cfg(test)]
    pub(super) fn owns_nothing(&self) -> bool {
        self.0.is_none()
    }

    /// Returns all of them, with the time that is left until each.
    pub(super) fn left(&self, now: Instant) -> Vec<(Deadline, Duration)> {
        let left = |deadline| Some((deadline, self.at(deadline)?.saturating_duration_since(now)));
        ALL.into_iter().filter_map(left).collect()
    }

    /// Takes the earliest deadline that has passed.
    pub(super) fn take_passed(&mut self, now: Instant) -> Option<Deadline> {
        let (at, deadline) = self.earliest().filter(|(at, _)| *at <= now)?;
        let times = self.0.as_mut()?;
        debug_assert_eq!(times.at[deadline as usize], Some(at));
        times.at[deadline as usize] = None;
        Some(deadline)
    }

    fn earliest(&self) -> Option<(Instant, Deadline)> {
        let times = ALL.into_iter().filter_map(|deadline| Some((self.at(deadline)?, deadline)));
        times.min_by_key(|(at, _)| *at)
    }

    /// Returns what the wheel has to do now. Tell [`Due::armed`] of what was inserted.
    pub(super) fn rearm(&mut self) -> Rearm {
        let earliest = self.earliest().map(|(at, _)| at);
        let Some(times) = &mut self.0 else { return Rearm::default() };
        if earliest.is_none() && times.armed.is_none() {
            self.0 = None;
            return Rearm::default();
        }
        if times.armed.map(|(_, at)| at) == earliest {
            return Rearm::default();
        }
        let remove = times.armed.take().map(|(key, _)| key);
        if earliest.is_none() {
            self.0 = None;
        }
        Rearm { remove, insert: earliest }
    }

    pub(super) fn armed(&mut self, key: Key, at: Instant) {
        self.0.get_or_insert_default().armed = Some((key, at));
    }

    /// The wheel has given back what was armed.
    pub(super) fn disarmed(&mut self) {
        if let Some(times) = &mut self.0 {
            times.armed = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn two_deadlines_pass_one_after_the_other_in_either_order() {
        let start = Instant::now();
        for first in ALL {
            for second in ALL.into_iter().filter(|&deadline| deadline != first) {
                let mut due = Due::default();
                due.set(second, seconds(start, 2));
                due.set(first, seconds(start, 1));
                assert_eq!(due.take_passed(start), None);
                assert_eq!(due.take_passed(seconds(start, 1)), Some(first));
                assert_eq!(due.take_passed(seconds(start, 1)), None, "{second:?} is later");
                assert!(due.has(second) && !due.has(first));
                assert_eq!(due.take_passed(seconds(start, 3)), Some(second));
                assert_eq!(due.take_passed(seconds(start, 3)), None);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_wheel_has_the_earliest_and_a_connection_without_deadlines_owns_nothing() {
        let start = Instant::now();
        let mut wheel = tokio_util::time::DelayQueue::new();
        let mut due = Due::default();
        assert_eq!(due.rearm(), Rearm::default());
        let mut turn = |due: &mut Due| {
            let Rearm { remove, insert } = due.rearm();
            remove.map(|key| wheel.remove(&key));
            if let Some(at) = insert {
                due.armed(wheel.insert_at((), at), at);
            }
            (remove.is_some(), insert)
        };
        due.set(Deadline::End, seconds(start, 9));
        assert_eq!(turn(&mut due), (false, Some(seconds(start, 9))));
        due.set(Deadline::Rate, seconds(start, 10));
        assert_eq!(turn(&mut due), (false, None), "the end is earlier");
        due.set(Deadline::Message, seconds(start, 1));
        assert_eq!(turn(&mut due), (true, Some(seconds(start, 1))));
        assert!(due.clear(Deadline::Message) && !due.clear(Deadline::Message));
        assert_eq!(turn(&mut due), (true, Some(seconds(start, 9))));
        due.clear_all();
        assert_eq!(turn(&mut due), (true, None));
        assert!(due.0.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_flows_has_the_stall_again_and_again_and_what_trickles_has_it_once() {
        let start = Instant::now();
        let stall = Duration::from_secs(10);
        let [mut flows, mut trickles, mut stands] = [Flow::new([5, 7], start); 3];
        for second in 1..=20 {
            flows.goes_on([5 + second * 100, 7 + second * 500], seconds(start, second));
            trickles.goes_on([5 + second * 500, 7 + second], seconds(start, second));
            // What was there before does not count again.
            stands.goes_on([5 + second, 7 - second % 2], seconds(start, second));
        }
        assert_eq!(flows.until(stall, 100), seconds(start, 20 + 10));
        assert_eq!(trickles.until(stall, 100), seconds(start, 10));
        assert_eq!(trickles.until(stall, 0), seconds(start, 20 + 10), "any pace is good enough");
        assert_eq!(stands.until(stall, 0), seconds(start, 10));
        let moved = Flow::restore(flows.save(seconds(start, 21)), seconds(start, 21));
        assert_eq!(moved, flows);
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_takes_its_pace_along() {
        let mut due = Due::default();
        due.set(Deadline::Message, Instant::now());
        due.message().replace(Flow::new([0; 2], Instant::now()));
        due.farewell().replace(Flow::new([1; 2], Instant::now()));
        assert_eq!(due.take_passed(Instant::now()), Some(Deadline::Message));
        assert!(due.message().is_some(), "its time may be prolonged");
        due.clear(Deadline::Message);
        assert!(due.message().is_none() && due.farewell().is_some());
        due.clear_all();
        assert!(due.farewell().is_none());
    }
}
