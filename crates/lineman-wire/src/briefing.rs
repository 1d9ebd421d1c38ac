//! What a process knows that the next one of its slot needs, as it crosses from the one to the other by
//! way of their master, which reads none of it. Plain text of a bound length.

use serde::{Deserialize, Serialize};

/// The most bytes of a briefing: the addresses of a thousand gateways, and little beside a worker's other
/// messages, as it is told each second.
pub const MAX_BRIEFING: usize = 64 * 1024;

/// What a process has of the one before it in its slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Predecessor {
    /// What it told last, at most a second ago while it served; what that means, its service knows.
    pub briefing: String,
    /// Whether it serves: it goes on if this process, its successor in a reload, does not get ready.
    pub serves: bool,
}

/// Returns a briefing unless it is longer than [`MAX_BRIEFING`]: then the next process has none.
pub fn bounded(briefing: Option<String>) -> Option<String> {
    briefing.filter(|text| text.len() <= MAX_BRIEFING)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_briefing_is_whole_or_none() {
        let text = |length| Some("x".repeat(length));
        assert_eq!(bounded(text(MAX_BRIEFING)), text(MAX_BRIEFING));
        assert_eq!((bounded(text(MAX_BRIEFING + 1)), bounded(None)), (None, None));
    }
}
