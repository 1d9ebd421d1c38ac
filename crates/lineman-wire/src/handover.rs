//! What crosses between a master and its workers about a handover: one process of a slot gives its
//! connections to the next. Plain data; the connections themselves never come this way.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The forms of a connection's record that this build reads and writes; another form that is not understood
/// by a build before gets another number.
pub const FORMATS: RangeInclusive<u16> = 1..=1;

/// What both ends of a handover are told by their master.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandoverTerms {
    /// A number of this one handover that both ends are told: they know each other by it.
    pub nonce: u64,
    /// How long the giving process may stand still in all.
    pub still: Duration,
    /// How long it may stand still while nothing moves; then it goes on and gives nothing.
    pub stall: Duration,
}

impl HandoverTerms {
    /// Returns the usual terms: 2 s in all, and 100 ms while nothing moves. A build for tests is slower
    /// and has 1 s for that.
    #[must_use]
    pub const fn new(nonce: u64) -> Self {
        let stall = if cfg!(debug_assertions) { 1000 } else { 100 };
        Self { nonce, still: Duration::from_secs(2), stall: Duration::from_millis(stall) }
    }
}

/// What the giving process says of a handover that has come to its commit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandedOver {
    /// Connections that moved.
    pub moved: u64,
    /// Connections that did not, by the reason; the giving process drains them.
    pub left: BTreeMap<String, u64>,
    /// How long nothing was served.
    pub pause: Duration,
    /// How long connections were copied before that, while they were served.
    pub ahead: Duration,
    /// Bytes that crossed.
    pub bytes: u64,
}

/// What the taking process says of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenOver {
    /// Connections that it has now.
    pub taken: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_crosses_as_it_is() {
        let report = HandedOver {
            moved: 3,
            left: BTreeMap::from([("its handler is at work".to_owned(), 2)]),
            pause: Duration::from_micros(1500),
            ahead: Duration::from_millis(40),
            bytes: 12_345,
        };
        let text = serde_json::to_string(&report).expect("text");
        assert_eq!(serde_json::from_str::<HandedOver>(&text).expect("a report"), report);
        let terms = HandoverTerms::new(7);
        assert!(terms.stall < terms.still && FORMATS.contains(&1));
    }
}
