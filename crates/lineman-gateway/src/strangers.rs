//! Peers of an inner port that have not shown the key yet: few, and not for long, whatever they send.
//!
//! Kept by the register and by a gateway's inner port, which close those that it names. It reads no clock.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::recurrence::Recurrence;

/// How many there may be by default: a peer of the cluster is one for a round trip.
pub(crate) const STRANGERS: usize = 64;

/// How long one may take by default to show the key.
pub(crate) const LOGIN_TIME: Duration = Duration::from_secs(5);

/// The most bytes that one may send: a peer of the cluster introduces itself in some hundred.
pub(crate) const LOGIN_BYTES: usize = 4 * 1024;

/// Those of one port.
#[derive(Debug)]
pub(crate) struct Strangers {
    /// How many there may be.
    bound: usize,
    /// How long each may take; zero for ever.
    time: Duration,
    /// Since when each is there. Later ones have greater numbers.
    since: BTreeMap<u64, Instant>,
    pub(crate) refused: Recurrence,
}

impl Strangers {
    pub(crate) fn new(bound: usize, time: Duration) -> Self {
        Self { bound, time, since: BTreeMap::new(), refused: Recurrence::default() }
    }

    /// A peer is there. Returns the one that has to give way, if there are too many: the oldest.
    pub(crate) fn come(&mut self, peer: u64, now: Instant) -> Option<u64> {
        self.since.insert(peer, now);
        let over = self.since.len() > self.bound.max(1);
        over.then(|| self.since.pop_first()).flatten().map(|(peer, _)| peer)
    }

    /// A peer has shown the key, or is gone.
    pub(crate) fn leave(&mut self, peer: u64) {
        self.since.remove(&peer);
    }

    /// Returns those that have taken too long.
    pub(crate) fn late(&self, now: Instant) -> Vec<u64> {
        let late = |since: &Instant| now.saturating_duration_since(*since) >= self.time;
        let peers = self.since.iter().take_while(|(_, since)| !self.time.is_zero() && late(since));
        peers.map(|(&peer, _)| peer).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.since.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_oldest_gives_way_and_nothing_renews_a_stay() {
        let begun = Instant::now();
        let mut strangers = Strangers::new(2, LOGIN_TIME);
        let at = |seconds| begun + Duration::from_secs(seconds);
        assert_eq!(strangers.come(1, begun), None);
        assert_eq!(strangers.come(2, at(1)), None);
        assert_eq!(strangers.come(3, at(2)), Some(1));
        strangers.leave(2);
        assert_eq!((strangers.come(4, at(3)), strangers.len()), (None, 2));
        assert_eq!(strangers.late(at(6)), [0; 0]);
        assert_eq!(strangers.late(at(7)), [3]);
        assert_eq!(strangers.late(at(8)), [3, 4]);
        assert_eq!(Strangers { time: Duration::ZERO, ..strangers }.late(at(99)), [0; 0]);
    }
}
