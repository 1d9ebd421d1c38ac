//! What is due on a connection: deadlines by name, several at once, of which the table's wheel has
//! the earliest. A silent connection has none and owns no memory for them. It reads no clock.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::time::delay_queue::Key;

/// What a connection has to have done by a certain time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Deadline {
    /// To connect, or to be through with layers and handshake.
    Handshake,
    /// To finish the message that has begun.
    Message,
    /// To wait for its rate; what is due then is to read it again.
    Rate,
    /// To end its side after we have ended ours.
    End,
    /// To take our farewell, to answer it, to be gone.
    Close,
}

/// In the order of their declaration.
const ALL: [Deadline; 5] =
    [Deadline::Handshake, Deadline::Message, Deadline::Rate, Deadline::End, Deadline::Close];

/// The deadlines of one connection.
#[derive(Debug, Default)]
pub(super) struct Due(Option<Box<Times>>);

#[derive(Debug, Default)]
struct Times {
    at: [Option<Instant>; ALL.len()],
    /// The one in the wheel, and its time.
    armed: Option<(Key, Instant)>,
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

    /// Takes a deadline away; returns whether it was there.
    pub(super) fn clear(&mut self, deadline: Deadline) -> bool {
        self.0.as_mut().is_some_and(|times| times.at[deadline as usize].take().is_some())
    }

    /// Takes all of them away.
    pub(super) fn clear_all(&mut self) {
        if let Some(times) = &mut self.0 {
            times.at = <_>::default();
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
        let (at, deadline) = self.earliest()?;
        (at <= now && self.clear(deadline)).then_some(deadline)
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
}
