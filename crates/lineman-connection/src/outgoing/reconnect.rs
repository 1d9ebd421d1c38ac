//! When a connection that ended is tried again: exponential back-off with full jitter.

use std::time::Duration;

/// Whether and when an outgoing connection is made again after it ended or failed.
///
/// The wait before the n-th attempt in a row is drawn at random between zero and a bound, which
/// doubles with each failure up to a maximum: many clients of a server that was away do not come back
/// all at once. A connection that was up for a while counts as a success, and the bound is the first
/// again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reconnect {
    first: Duration,
    max: Duration,
    reset_after: Duration,
}

impl Default for Reconnect {
    /// Waits up to one second at first and up to one minute in the end; a minute up is a success.
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            max: Duration::from_mins(1),
            reset_after: Duration::from_mins(1),
        }
    }
}

impl Reconnect {
    /// Sets the bound of the first wait. Default 1 s.
    #[must_use]
    pub fn first(self, first: Duration) -> Self {
        Self { first, ..self }
    }

    /// Sets what the bound never exceeds. Default 1 minute.
    #[must_use]
    pub fn max(self, max: Duration) -> Self {
        Self { max, ..self }
    }

    /// Sets how long a connection has to be up for the bound to begin anew. Default 1 minute.
    #[must_use]
    pub fn reset_after(self, time: Duration) -> Self {
        Self { reset_after: time, ..self }
    }

    /// Returns how many failures in a row there are after a connection that was up for `up`, or never.
    pub(super) fn failures(&self, before: u32, up: Option<Duration>) -> u32 {
        match up {
            Some(up) if up >= self.reset_after => 1,
            Some(_) | None => before.saturating_add(1),
        }
    }

    /// Returns the wait after so many failures in a row; `random` is any number.
    pub(super) fn wait(&self, failures: u32, random: u64) -> Duration {
        let factor = 2_u32.saturating_pow(failures.saturating_sub(1));
        let bound = self.first.saturating_mul(factor).min(self.max);
        let nanos = u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX);
        // A remainder's slight preference for small numbers does not matter here.
        Duration::from_nanos(random % nanos.saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_maximum_and_are_drawn_between() {
        let policy = Reconnect::default();
        for (failures, bound) in
            [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (40, 60), (u32::MAX, 60)]
        {
            let bound = Duration::from_secs(bound);
            let nanos = u64::try_from(bound.as_nanos()).unwrap();
            assert_eq!(policy.wait(failures, 0), Duration::ZERO);
            assert_eq!(policy.wait(failures, nanos), bound);
            assert_eq!(policy.wait(failures, nanos + 1), Duration::ZERO);
            assert_eq!(policy.wait(failures, nanos / 2), bound / 2);
            for random in [1, 7, u64::MAX, u64::MAX / 3] {
                assert!(policy.wait(failures, random) <= bound);
            }
        }
        let forever = policy.first(Duration::MAX).max(Duration::MAX);
        assert_eq!(forever.wait(9, u64::MAX), Duration::ZERO);
    }

    #[test]
    fn a_while_up_is_a_success() {
        let policy = Reconnect::default().reset_after(Duration::from_secs(5));
        assert_eq!(policy.failures(7, None), 8);
        assert_eq!(policy.failures(7, Some(Duration::from_secs(4))), 8);
        assert_eq!(policy.failures(7, Some(Duration::from_secs(5))), 1);
        assert_eq!(policy.failures(u32::MAX, None), u32::MAX);
    }
}
