//! How long a reload lets connections end by themselves: what all callers asked for, put together.
//! A pure value; `reload` acts on it.

use std::time::Duration;

use crate::control::request::Manner;

/// How long `reload -g` waits for the connections of each process: an hour outlives nearly every
/// visit, and there is an end to it all the same.
const GRACEFUL_LIMIT: Duration = Duration::from_hours(1);

/// The limits that were asked for; none by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct DrainLimits {
    /// A caller asked plainly: each service's own limit.
    plain: bool,
    /// A caller asked with `-g`.
    graceful: bool,
    /// A caller gave a limit.
    given: Option<Duration>,
}

impl DrainLimits {
    /// Returns what a caller asked for in this manner.
    pub(super) fn of(manner: Manner, timeout: Option<Duration>) -> Self {
        match (timeout, manner) {
            (Some(limit), _) => Self { given: Some(limit), ..Self::default() },
            (None, Manner::Plain) => Self { plain: true, ..Self::default() },
            (None, Manner::Graceful) => Self { graceful: true, ..Self::default() },
        }
    }

    /// Returns both, to take the [`DrainLimits::longest`] of.
    pub(super) fn and_longer(self, other: Self) -> Self {
        let given = self.given.max(other.given);
        Self { plain: self.plain | other.plain, graceful: self.graceful | other.graceful, given }
    }

    /// Returns both, to take the [`DrainLimits::shortest`] of.
    pub(super) fn and_shorter(self, other: Self) -> Self {
        let given = self.given.into_iter().chain(other.given).min();
        Self { given, ..self.and_longer(other) }
    }

    /// Returns the longest limit that was asked for; `own` is that of the service.
    pub(super) fn longest(self, own: Duration) -> Duration {
        self.wishes(own).max().unwrap_or(own)
    }

    /// Returns the shortest limit that was asked for, if any was.
    pub(super) fn shortest(self, own: Duration) -> Option<Duration> {
        self.wishes(own).min()
    }

    fn wishes(self, own: Duration) -> impl Iterator<Item = Duration> {
        let plain = self.plain.then_some(own);
        let graceful = self.graceful.then_some(GRACEFUL_LIMIT);
        plain.into_iter().chain(graceful).chain(self.given)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Duration = Duration::from_secs(30);

    fn seconds(seconds: u64) -> DrainLimits {
        DrainLimits::of(Manner::Plain, Some(Duration::from_secs(seconds)))
    }

    #[test]
    fn the_longest_limit_of_callers_that_ask_together_counts() {
        let (plain, graceful) =
            (DrainLimits::of(Manner::Plain, None), DrainLimits::of(Manner::Graceful, None));
        let cases = [
            (plain, plain, OWN),
            (plain, graceful, GRACEFUL_LIMIT),
            // A limit by hand does not shorten that of a service for another caller.
            (plain, seconds(5), OWN),
            (plain, seconds(60), Duration::from_mins(1)),
            (seconds(60), seconds(5), Duration::from_mins(1)),
            (graceful, seconds(7200), Duration::from_hours(2)),
        ];
        for (one, other, expected) in cases {
            assert_eq!(one.and_longer(other).longest(OWN), expected, "{one:?} {other:?}");
            assert_eq!(other.and_longer(one).longest(OWN), expected, "{other:?} {one:?}");
        }
    }

    #[test]
    fn the_shortest_limit_of_callers_that_hurry_counts() {
        let (plain, graceful) =
            (DrainLimits::of(Manner::Plain, None), DrainLimits::of(Manner::Graceful, None));
        assert_eq!(DrainLimits::default().shortest(OWN), None);
        assert_eq!(DrainLimits::default().and_shorter(plain).shortest(OWN), Some(OWN));
        assert_eq!(plain.and_shorter(graceful).shortest(OWN), Some(OWN));
        assert_eq!(seconds(60).and_shorter(seconds(5)).shortest(OWN), Some(Duration::from_secs(5)));
        assert_eq!(seconds(60).and_shorter(plain).shortest(OWN), Some(OWN));
    }
}
