//! When a slot whose process ended by itself gets the next one: a pure function of its failures.

use std::time::{Duration, Instant};

use crate::control::report::CRASH_LOOP;

/// The first pause; the failure before it is answered at once, as most are single.
const FIRST: Duration = Duration::from_millis(100);

/// The longest pause after a process that did not get ready: long enough that attempts for hours cost
/// next to nothing, short enough that a database that comes back is noticed soon.
const LONGEST: Duration = Duration::from_secs(30);

/// The longest pause after one that had been ready: the program can be started, so one client may be
/// what ends it, and no client is served in a pause.
const LONGEST_SERVED: Duration = Duration::from_secs(5);

/// A process that served this long was healthy: what came before is forgotten.
const HEALTHY: Duration = Duration::from_secs(10);

/// The failures of one slot since it was last healthy.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Failures {
    count: u32,
}

impl Failures {
    /// Forgets the failures before a process that has been ready since `ready`, if that was healthy.
    pub(super) fn forgive(&mut self, ready: Option<Instant>, now: Instant) {
        if ready.is_some_and(|since| now.saturating_duration_since(since) >= HEALTHY) {
            self.count = 0;
        }
    }

    /// Counts a failure; returns the pause before the next process. There always is a next one.
    /// `jitter` is between 0 and 1 and keeps slots that failed together from coming back together.
    pub(super) fn count(&mut self, ready: Option<Instant>, jitter: f64) -> Duration {
        self.count = self.count.saturating_add(1);
        let longest = if ready.is_some() { LONGEST_SERVED } else { LONGEST };
        pause(self.count, longest, jitter)
    }

    /// Returns how many there were in a row.
    pub(super) fn number(self) -> u32 {
        self.count
    }

    /// Returns whether they are a crash loop.
    pub(super) fn are_a_loop(self) -> bool {
        self.count >= CRASH_LOOP
    }

    /// Returns whether the latest one is worth a line in the log: the first ones are, then every
    /// doubling of their number.
    pub(super) fn are_news(self) -> bool {
        self.count < CRASH_LOOP || self.count.is_power_of_two()
    }
}

fn pause(failures: u32, longest: Duration, jitter: f64) -> Duration {
    let Some(doublings) = failures.checked_sub(2) else { return Duration::ZERO };
    let pause = FIRST.saturating_mul(2_u32.saturating_pow(doublings)).min(longest);
    // A quarter up or down.
    pause.mul_f64(0.75 + jitter.clamp(0.0, 1.0) / 2.0)
}

/// Returns a random number between 0 and 1; one half when the system has no randomness to give.
pub(super) fn jitter() -> f64 {
    getrandom::u32().map_or(0.5, |number| f64::from(number) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_is_answered_at_once_and_the_pauses_double() {
        let pauses = |longest| -> Vec<u128> {
            (1..=12).map(|count| pause(count, longest, 0.5).as_millis()).collect()
        };
        let doubled = [0, 100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000];
        assert_eq!(pauses(LONGEST), doubled);
        assert_eq!(pauses(LONGEST_SERVED), doubled.map(|pause| pause.min(5000)));
    }

    #[test]
    fn jitter_moves_a_pause_by_a_quarter() {
        assert_eq!(pause(2, LONGEST, 0.0), Duration::from_millis(75));
        assert_eq!(pause(2, LONGEST, 1.0), Duration::from_millis(125));
    }

    #[test]
    fn eight_failures_in_a_row_are_a_loop_and_no_number_is_the_last() {
        let mut failures = Failures::default();
        for _ in 0..7 {
            failures.count(None, 0.5);
            assert!(!failures.are_a_loop() && failures.are_news());
        }
        for _ in 7..10_000 {
            assert!(failures.count(None, 0.5) <= LONGEST);
            assert!(failures.are_a_loop());
        }
        let mut failures = Failures { count: u32::MAX };
        assert_eq!(failures.count(None, 0.5), LONGEST);
    }

    #[test]
    fn a_loop_is_told_of_whenever_its_length_has_doubled() {
        let told = (8..100).filter(|&count| Failures { count }.are_news());
        assert_eq!(told.collect::<Vec<_>>(), [8, 16, 32, 64]);
    }

    #[test]
    fn health_forgives() {
        let start = Instant::now();
        let ready = |seconds| Some(start + Duration::from_secs(seconds));
        let later = start + Duration::from_secs(30);
        for (ready, number) in [(None, 5), (ready(21), 5), (ready(20), 0)] {
            let mut failures = Failures { count: 5 };
            failures.forgive(ready, later);
            assert_eq!(failures.number(), number);
        }
    }
}
