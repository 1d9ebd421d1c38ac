//! How often something happened that peers can bring about at will, so that the log has a line in ten
//! seconds about it, and not one for each time. It reads no clock and writes no log.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// How often the log has a line.
const QUIET: Duration = Duration::from_secs(10);

/// One sum, for `status` and the log.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Recurrence {
    count: u64,
    /// How many of them the log has told of.
    told: u64,
    #[serde(with = "crate::written")]
    told_at: Option<Instant>,
}

impl Recurrence {
    pub(crate) fn add(&mut self) {
        self.count += 1;
    }

    /// As [`Recurrence::add`], where the log has a line of its own about it.
    pub(crate) fn add_told(&mut self) {
        self.count += 1;
        self.told += 1;
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Returns whether the log may have a line about it at once.
    pub(crate) fn is_quiet(&self, now: Instant) -> bool {
        self.told_at.is_none_or(|at| now.saturating_duration_since(at) >= QUIET)
    }

    /// Returns how many there were since the log told of it last, if it is time to tell again.
    pub(crate) fn untold(&mut self, now: Instant) -> Option<u64> {
        if !self.is_quiet(now) || self.told == self.count {
            return None;
        }
        self.told_at = Some(now);
        Some(self.count - std::mem::replace(&mut self.told, self.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_log_has_a_line_at_once_and_then_a_sum() {
        let now = Instant::now();
        let mut recurrence = Recurrence::default();
        assert_eq!(recurrence.untold(now), None);
        recurrence.add();
        assert_eq!(recurrence.untold(now), Some(1));
        (0..5).for_each(|_| recurrence.add());
        assert_eq!(recurrence.untold(now + QUIET / 2), None);
        assert_eq!(recurrence.untold(now + QUIET), Some(5));
        assert_eq!((recurrence.untold(now + QUIET * 3), recurrence.count()), (None, 6));
        recurrence.add_told();
        assert_eq!((recurrence.untold(now + QUIET * 5), recurrence.count()), (None, 7));
    }
}
