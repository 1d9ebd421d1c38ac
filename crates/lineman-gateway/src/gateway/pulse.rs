//! The pulse of a link: how much its business has under way, and for how long it has handled nothing.
//!
//! [`super::links`] feeds it, `stalls` and the choice of a business read it. It reads no clock.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// What counts as no delay at all: a business on another continent reports within this.
const PROMPT_MS: u128 = 128;

/// So many events under way are no load: a turn of a busy gateway brings as many.
pub(super) const LIGHT_EVENTS: u32 = 64;

/// The same in bytes, where events are not reported: one read of one client.
pub(super) const LIGHT_BYTES: u32 = 64 * 1024;

/// What was sent and what was handled, in events, or in bytes where the business does not report.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Pulse {
    /// Sent so far; wraps.
    sent: u32,
    /// Handled so far, and all that came of it has left; wraps. The rest is lost if the business dies now.
    confirmed: u32,
    /// Dealt with so far, as far as is known; wraps. It may be ahead: another gateway reads slowly.
    done: u32,
    /// Since when nothing of what is under way was handled.
    #[serde(with = "crate::written")]
    progressed: Instant,
    /// When the business last reported, be it that nothing was handled.
    #[serde(with = "crate::written")]
    reported: Instant,
    /// It was asked for a sign of life, and has given none since.
    asked: bool,
    /// While it is stalled: how much it had been sent when that was found.
    stalled: Option<u32>,
    /// What is no load.
    light: u32,
}

impl Pulse {
    pub(super) fn new(light: u32, now: Instant) -> Self {
        Self {
            sent: 0,
            confirmed: 0,
            done: 0,
            progressed: now,
            reported: now,
            asked: false,
            stalled: None,
            light,
        }
    }

    /// So much is sent.
    pub(super) fn sent(&mut self, amount: u32, now: Instant) {
        if self.behind() == 0 {
            self.progressed = now;
            if !self.asked {
                self.reported = now;
            }
        }
        self.sent = self.sent.wrapping_add(amount);
    }

    /// The business has handled this much in all, and nothing that came of it is left there.
    pub(super) fn handled(&mut self, total: u32, now: Instant) {
        self.confirmed = total;
        self.done(total, now);
    }

    /// The business has dealt with this much in all.
    pub(super) fn done(&mut self, total: u32, now: Instant) {
        if total.wrapping_sub(self.done).cast_signed() > 0 {
            self.done = total;
            self.progressed = now;
        }
        self.reported = now;
        self.asked = false;
        // What it had then is done: only now is it as good as any other.
        self.stalled.take_if(|sent| sent.wrapping_sub(self.done).cast_signed() <= 0);
    }

    /// The business is asked for a sign of life: now it owes one, though it may have nothing to do.
    pub(super) fn asked(&mut self, now: Instant) {
        if !self.asked && self.behind() == 0 {
            self.reported = now;
        }
        self.asked = true;
    }

    /// The business's loop goes on, and has dealt with this much in all: what is left are handlers that
    /// wait, which say nothing against it.
    pub(super) fn alive(&mut self, total: u32, now: Instant) {
        self.done(total, now);
        self.stalled = None;
    }

    /// Nothing before this counts: it has dealt with something, or we could not hear it.
    pub(super) fn progress(&mut self, now: Instant) {
        self.progressed = now;
        self.reported = now;
    }

    /// Returns how much was sent and not confirmed as handled.
    pub(super) fn outstanding(&self) -> u32 {
        self.sent.wrapping_sub(self.confirmed)
    }

    /// Returns how much was sent in all; wraps.
    pub(super) fn sent_so_far(&self) -> u32 {
        self.sent
    }

    /// Returns whether as much is dealt with as was sent when [`Self::sent_so_far`] said so.
    pub(super) fn has_done(&self, sent: u32) -> bool {
        sent.wrapping_sub(self.done).cast_signed() <= 0
    }

    /// Returns how much was sent and is not known to be dealt with.
    fn behind(&self) -> u32 {
        self.sent.wrapping_sub(self.done)
    }

    /// Returns for how long it has had something to do and done nothing.
    pub(super) fn without_progress(&self, now: Instant) -> Duration {
        if self.behind() == 0 {
            return Duration::ZERO;
        }
        now.saturating_duration_since(self.progressed)
    }

    /// Returns for how long it has had something to do, or owed a sign of life, and reported nothing.
    pub(super) fn without_report(&self, now: Instant) -> Duration {
        if self.behind() == 0 && !self.asked {
            return Duration::ZERO;
        }
        now.saturating_duration_since(self.reported)
    }

    /// Takes it for stalled from now on; returns whether it was not before.
    pub(super) fn stall(&mut self) -> bool {
        self.stalled.replace(self.sent).is_none()
    }

    pub(super) fn is_stalled(&self) -> bool {
        self.stalled.is_some()
    }

    /// Returns how little a business is to be given more: age first, of what it has not done or of a question that
    /// it has not answered, in doublings, so that what every one has now and then is no difference; then what is
    /// under way.
    pub(super) fn load(&self, now: Instant) -> (u32, u32) {
        let unanswered = if self.asked { self.without_report(now) } else { Duration::ZERO };
        let age = self.without_progress(now).max(unanswered).as_millis() / PROMPT_MS;
        let age = age.checked_ilog2().map_or(0, |doublings| doublings + 1);
        let amount = (self.behind() / self.light).checked_ilog2().map_or(0, |log| log + 1);
        (age, amount)
    }
}

/// How little a business is to be given more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Burden {
    /// Whether it is stalled, and whether its link is full.
    pub(super) trouble: (bool, bool),
    /// Its age and amount, see [`Pulse::load`].
    pub(super) load: (u32, u32),
}

impl Burden {
    /// Returns whether a business so near is worth less than one far away with the other burden.
    ///
    /// A load is in doublings, and a difference of one is chance. What a way of 80 ms costs each message, a
    /// business costs that has done nothing for four times as long as another one, or has eight times as much
    /// to do.
    pub(super) fn is_far_above(self, other: Self) -> bool {
        let (age, amount) = self.load;
        let much_above = age >= other.load.0 + 2 || amount >= other.load.1 + 3;
        self.trouble > other.trouble || self.trouble == other.trouble && much_above
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn time_counts_while_events_are_under_way() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut pulse = Pulse::new(LIGHT_EVENTS, begun);
        assert_eq!(pulse.without_progress(at(100)), Duration::ZERO);
        pulse.sent(1, at(100));
        pulse.sent(1, at(101));
        assert_eq!(pulse.without_progress(at(103)), Duration::from_secs(3));
        pulse.alive(0, at(103));
        assert_eq!(pulse.without_progress(at(104)), Duration::from_secs(4), "it handled none");
        assert_eq!(pulse.without_report(at(104)), Duration::from_secs(1), "but it reports");
        pulse.handled(1, at(104));
        assert_eq!(pulse.without_progress(at(106)), Duration::from_secs(2));
        pulse.handled(2, at(106));
        assert_eq!((pulse.outstanding(), pulse.without_report(at(200))), (0, Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stalled_one_is_back_when_it_has_handled_what_it_had() {
        let now = Instant::now();
        let mut pulse = Pulse::new(LIGHT_EVENTS, now);
        (0..3).for_each(|_| pulse.sent(1, now));
        assert!(pulse.stall() && pulse.is_stalled());
        pulse.sent(1, now);
        pulse.handled(2, now);
        assert!(pulse.is_stalled(), "one of them is left");
        pulse.handled(3, now);
        assert!(!pulse.is_stalled(), "what came later does not count");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_dealt_with_counts_before_it_is_confirmed() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut pulse = Pulse::new(1, begun);
        (0..8).for_each(|_| pulse.sent(1, begun));
        assert!(pulse.stall());
        pulse.alive(6, at(10));
        assert!(!pulse.is_stalled(), "its loop goes on");
        assert_eq!(pulse.load(at(10)), (0, 2));
        assert_eq!(
            (pulse.outstanding(), pulse.without_progress(at(11))),
            (8, Duration::from_secs(1))
        );
        pulse.handled(2, at(12));
        assert_eq!(
            (pulse.outstanding(), pulse.without_progress(at(13))),
            (6, Duration::from_secs(3))
        );
        pulse.progress(at(13));
        pulse.alive(8, at(14));
        assert_eq!((pulse.outstanding(), pulse.without_progress(at(99))), (6, Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_has_nothing_to_do_owes_an_answer() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut pulse = Pulse::new(LIGHT_EVENTS, begun);
        pulse.asked(at(100));
        pulse.asked(at(101));
        pulse.sent(1, at(102));
        assert_eq!(
            pulse.without_report(at(103)),
            Duration::from_secs(3),
            "since the first question"
        );
        assert_eq!(pulse.without_progress(at(103)), Duration::from_secs(1));
        pulse.handled(1, at(104));
        assert_eq!(pulse.without_report(at(200)), Duration::ZERO, "whatever it says is an answer");
        pulse.asked(at(200));
        assert_eq!(pulse.load(at(200)), (0, 0));
        assert_eq!(pulse.load(at(201)), (3, 0), "others are asked to do things rather");
        pulse.alive(1, at(201));
        assert_eq!(pulse.load(at(300)), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn load_is_age_and_then_number() {
        let now = Instant::now();
        let mut pulse = Pulse::new(LIGHT_EVENTS, now);
        (0..LIGHT_EVENTS - 1).for_each(|_| pulse.sent(1, now));
        assert_eq!(pulse.load(now + Duration::from_millis(127)), (0, 0));
        pulse.sent(1, now);
        assert_eq!(pulse.load(now + Duration::from_millis(128)), (1, 1));
        assert_eq!(pulse.load(now + Duration::from_secs(1)), (3, 1));
        pulse.handled(LIGHT_EVENTS, now);
        assert_eq!(pulse.load(now + Duration::from_secs(1)), (0, 0));
    }
}
