//! What the master and two processes of a slot say of a handover: the order to it, and what came of it.
//! Plain data; what the two processes say to each other is not here.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The formats of records a build reads and writes. Two builds hand over to each other if they have one
/// in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordFormats {
    /// The oldest one.
    pub oldest: u32,
    /// The newest one.
    pub newest: u32,
}

impl RecordFormats {
    /// Returns the newest format that both have.
    pub fn common(self, other: Self) -> Option<u32> {
        let newest = self.newest.min(other.newest);
        (newest >= self.oldest.max(other.oldest)).then_some(newest)
    }
}

impl fmt::Display for RecordFormats {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { oldest, newest } = self;
        if oldest == newest {
            write!(formatter, "format {newest}")
        } else {
            write!(formatter, "formats {oldest} to {newest}")
        }
    }
}

/// What both processes of a handover have from their master.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveOrder {
    /// The same for both, and new for each handover: each proves with it that it is the one meant.
    pub nonce: [u8; 16],
    /// How long it may take.
    pub limits: MoveLimits,
}

impl fmt::Debug for MoveOrder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A nonce in a log is none.
        formatter.debug_struct("MoveOrder").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// How long a handover may take; what exceeds one of these is given up, and the old process goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveLimits {
    /// All of it.
    pub whole: Duration,
    /// How long the old process may stand still.
    pub still: Duration,
    /// How long nothing may move while it stands still.
    pub quiet: Duration,
}

impl MoveLimits {
    /// Returns the limits of a handover that nothing else limits: 60 s in all, as a copy of 100,000
    /// connections takes seconds on a busy machine; 2 s still, the most that a client takes for a hitch; 100 ms
    /// quiet, many times what a process that is there takes to be scheduled. A build for tests is slower, and so
    /// are machines that run tests: it has 1 s for that.
    pub const fn new() -> Self {
        let quiet = if cfg!(debug_assertions) { 1000 } else { 100 };
        Self {
            whole: Duration::from_mins(1),
            still: Duration::from_secs(2),
            quiet: Duration::from_millis(quiet),
        }
    }
}

impl Default for MoveLimits {
    fn default() -> Self {
        Self::new()
    }
}

/// What came of a handover, as the old process counts it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HandedOver {
    /// How many connections have moved.
    pub moved: u64,
    /// How many could not, by why.
    pub left: BTreeMap<String, u64>,
    /// How long the process stood still.
    pub pause: Duration,
    /// How long it was served meanwhile, before that.
    pub ahead: Duration,
    /// How many bytes were under way in the connections that have moved: unread or unsent.
    pub bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_hand_over_in_the_newest_format_of_both() {
        let formats = |oldest, newest| RecordFormats { oldest, newest };
        assert_eq!(formats(1, 1).common(formats(1, 2)), Some(1));
        assert_eq!(formats(2, 3).common(formats(1, 2)), Some(2));
        assert_eq!(formats(1, 2).common(formats(3, 4)), None);
        assert_eq!(formats(3, 4).common(formats(1, 2)), None);
        assert_eq!(
            [formats(1, 1), formats(1, 2)].map(|all| all.to_string()),
            ["format 1", "formats 1 to 2"]
        );
    }

    #[test]
    fn a_nonce_stays_out_of_logs() {
        let order = MoveOrder { nonce: [7; 16], limits: MoveLimits::new() };
        assert!(!format!("{order:?}").contains('7'));
    }
}
