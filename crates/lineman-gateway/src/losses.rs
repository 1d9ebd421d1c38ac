//! Losses of the link to one peer, and how often it was opened again, for the log: a line at once, and then one for
//! all that follow within ten seconds. It reads no clock and writes no log.

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::recurrence::Recurrence;

/// What was lost with links to one peer.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct LinkLosses {
    times: Recurrence,
    untold: Toll,
    openings: Recurrence,
}

/// What the log has a line about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Toll {
    /// How often the link was lost.
    pub(crate) times: u64,
    /// Why, the last time.
    pub(crate) reason: String,
    /// Its clients, all times together.
    pub(crate) clients: u64,
    /// Events that were not handled, or are not known to be.
    pub(crate) events: u64,
}

impl LinkLosses {
    /// A link is lost.
    pub(crate) fn add(&mut self, reason: String, clients: u64, events: u64) {
        self.times.add();
        self.untold.reason = reason;
        self.untold.clients += clients;
        self.untold.events += events;
    }

    /// Returns what the log is to be told, if it is time to.
    pub(crate) fn untold(&mut self, now: Instant) -> Option<Toll> {
        let times = self.times.untold(now)?;
        Some(Toll { times, ..std::mem::take(&mut self.untold) })
    }

    /// A link is opened.
    pub(crate) fn open(&mut self) {
        self.openings.add();
    }

    /// Returns how often one was opened that the log is to be told of, if it is time to.
    pub(crate) fn untold_openings(&mut self, now: Instant) -> Option<u64> {
        self.openings.untold(now)
    }

    /// Returns whether nothing happened of late, and the log knows it all.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        let is_quiet = self.times.is_quiet(now) && self.openings.is_quiet(now);
        self.untold == Toll::default() && is_quiet
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_loss_is_told_at_once_and_others_in_one_line() {
        let now = Instant::now();
        let mut losses = LinkLosses::default();
        assert!(losses.is_over(now));
        losses.add("reset".to_owned(), 3, 1);
        let toll = Toll { times: 1, reason: "reset".to_owned(), clients: 3, events: 1 };
        assert_eq!(losses.untold(now), Some(toll));
        losses.add("reset".to_owned(), 1, 1);
        losses.add("silent".to_owned(), 2, 0);
        assert_eq!(losses.untold(now + Duration::from_secs(9)), None);
        let later = now + Duration::from_secs(10);
        assert!(!losses.is_over(later));
        let toll = Toll { times: 2, reason: "silent".to_owned(), clients: 3, events: 1 };
        assert_eq!(losses.untold(later), Some(toll));
        assert!(!losses.is_over(later) && losses.is_over(later + Duration::from_secs(10)));
    }
}
