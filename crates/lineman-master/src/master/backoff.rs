//! When a slot whose process ended by itself gets the next one: a pure function of its failures.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The first pause; the failure before it is answered at once, as most are single.
const FIRST: Duration = Duration::from_millis(100);

/// The longest pause: long enough not to burn a core on a program that cannot start, short enough
/// that a database that comes back is noticed soon.
const LONGEST: Duration = Duration::from_secs(10);

/// A process that served this long was healthy: what came before is forgotten.
const HEALTHY: Duration = Duration::from_secs(10);

/// So many failures in a row …
const LIMIT: usize = 8;

/// … within this time are a crash loop.
const WINDOW: Duration = Duration::from_mins(1);

/// The failures of one slot since it was last healthy.
#[derive(Debug, Clone, Default)]
pub(super) struct Failures {
    count: u32,
    /// The times of the last ones; never more than [`LIMIT`].
    recent: VecDeque<Instant>,
}

impl Failures {
    /// Counts a failure of a process that had been ready since `ready`, if it ever was; returns the
    /// pause before the next process, or `None` to give up until a reload or restart. `jitter` is
    /// between 0 and 1 and keeps slots that failed together from coming back together.
    pub(super) fn count(
        &mut self,
        now: Instant,
        ready: Option<Instant>,
        jitter: f64,
    ) -> Option<Duration> {
        if ready.is_some_and(|since| now.duration_since(since) >= HEALTHY) {
            *self = Self::default();
        }
        self.count = self.count.saturating_add(1);
        self.recent.push_back(now);
        if self.recent.len() == LIMIT
            && let Some(first) = self.recent.pop_front()
            && now.duration_since(first) <= WINDOW
        {
            return None;
        }
        Some(pause(self.count, jitter))
    }
}

fn pause(failures: u32, jitter: f64) -> Duration {
    let Some(doublings) = failures.checked_sub(2) else { return Duration::ZERO };
    let pause = FIRST.saturating_mul(2_u32.saturating_pow(doublings)).min(LONGEST);
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
        let pauses: Vec<u128> = (1..=9).map(|count| pause(count, 0.5).as_millis()).collect();
        assert_eq!(pauses, [0, 100, 200, 400, 800, 1600, 3200, 6400, 10_000]);
    }

    #[test]
    fn jitter_moves_a_pause_by_a_quarter() {
        assert_eq!(pause(2, 0.0), Duration::from_millis(75));
        assert_eq!(pause(2, 1.0), Duration::from_millis(125));
    }

    #[test]
    fn eight_failures_within_a_minute_are_a_loop() {
        let (start, mut failures) = (Instant::now(), Failures::default());
        for second in 0..7 {
            let pause = failures.count(start + Duration::from_secs(second), None, 0.5);
            assert!(pause.is_some(), "failure {second}");
        }
        assert_eq!(failures.count(start + Duration::from_secs(7), None, 0.5), None);
    }

    #[test]
    fn slow_failures_go_on_with_the_long_pause() {
        let (start, mut failures) = (Instant::now(), Failures::default());
        for failure in 0..20 {
            let pause = failures.count(start + Duration::from_secs(failure * 20), None, 0.5);
            assert!(pause.is_some(), "failure {failure}");
        }
    }

    #[test]
    fn health_forgives() {
        let (start, mut failures) = (Instant::now(), Failures::default());
        for _ in 0..5 {
            failures.count(start, None, 0.5);
        }
        let later = start + Duration::from_secs(30);
        let ready = Some(start + Duration::from_secs(5));
        assert_eq!(failures.count(later, ready, 0.5), Some(Duration::ZERO));
    }
}
