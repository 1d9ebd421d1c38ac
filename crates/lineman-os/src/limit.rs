//! A limit of time from a setting, made safe to add to the clock. A setting without a limit says
//! `Duration::MAX`, and no clock goes that far. Everything that turns a setting into a time of day
//! comes through here; it knows no clock itself.

use std::time::Duration;

/// Longer than any process waits, and still within what a timer wheel takes (two years).
const FAR: Duration = Duration::from_hours(365 * 24);

/// Returns the limit, or a year if it is longer.
pub fn finite(limit: Duration) -> Duration {
    limit.min(FAR)
}

/// Returns the limit, or none if it is zero: as a setting, zero turns a limit off.
pub fn zero_is_none(limit: Duration) -> Duration {
    if limit.is_zero() { Duration::MAX } else { limit }
}

/// Returns whether this limit never passes in the life of a process.
pub fn is_none(limit: Duration) -> bool {
    limit >= FAR
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_limit_that_means_none_fits_the_clock() {
        assert_eq!(finite(Duration::from_secs(30)), Duration::from_secs(30));
        assert!(Instant::now().checked_add(finite(Duration::MAX)).is_some());
        assert!(is_none(zero_is_none(Duration::ZERO)));
        assert_eq!(zero_is_none(Duration::from_nanos(1)), Duration::from_nanos(1));
    }
}
