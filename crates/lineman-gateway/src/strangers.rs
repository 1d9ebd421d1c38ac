//! Peers of an inner port that have not shown the key yet: few, and not for long, whatever they send.
//!
//! Kept by the register and by a gateway's inner port, which close those that it names. It reads no clock.

use std::collections::BTreeMap;
use std::time::Duration;

use lineman::connection::CloseReason;
use tokio::time::Instant;

use crate::recurrence::Recurrence;

/// How many there may be by default: a peer of the cluster is one for a round trip.
pub(crate) const STRANGERS: usize = 64;

/// How long one stays however many come: what it said may be here and not read yet, as where a hundred
/// processes of the cluster connect at once.
const GRACE: Duration = Duration::from_millis(250);

/// So many times the bound is the end of that.
const BURST: usize = 16;

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

    /// A peer is there. Returns those that have to give way, if there are too many: the oldest.
    pub(crate) fn come(&mut self, peer: u64, now: Instant) -> Vec<u64> {
        self.since.insert(peer, now);
        let bound = self.bound.max(1);
        let mut given_way = Vec::new();
        while let Some(oldest) = self.since.first_entry() {
            let settled = now.saturating_duration_since(*oldest.get()) >= GRACE;
            given_way.push(*oldest.key());
            let count = self.since.len();
            if count <= bound || !settled && count <= bound.saturating_mul(BURST) {
                given_way.pop();
                break;
            }
            self.since.pop_first();
        }
        given_way
    }

    /// A peer has shown the key, or is refused.
    pub(crate) fn leave(&mut self, peer: u64) {
        self.since.remove(&peer);
    }

    /// A peer's connection has ended; returns whether that was a refusal of what it sent before the key.
    pub(crate) fn end(&mut self, peer: u64, reason: &CloseReason) -> bool {
        let fault = matches!(reason, CloseReason::Protocol { .. } | CloseReason::TooBig);
        self.since.remove(&peer).is_some() && fault
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
        assert_eq!(strangers.come(1, begun), [0; 0]);
        assert_eq!(strangers.come(2, at(1)), [0; 0]);
        assert_eq!(strangers.come(3, at(2)), [1]);
        strangers.leave(2);
        assert_eq!((strangers.come(4, at(3)), strangers.len()), (Vec::new(), 2));
        assert_eq!(strangers.late(at(6)), [0; 0]);
        assert_eq!(strangers.late(at(7)), [3]);
        assert_eq!(strangers.late(at(8)), [3, 4]);
        // Many at once have a moment, up to a bound.
        let given_way = (5..100).map(|peer| strangers.come(peer, at(8)).len());
        assert_eq!(given_way.collect::<Vec<_>>()[..3], [1, 1, 0]);
        assert_eq!(strangers.len(), 2 * BURST);
        assert_eq!(strangers.come(100, at(9)).len(), 2 * BURST - 1);
        assert_eq!(Strangers { time: Duration::ZERO, ..strangers }.late(at(99)), [0; 0]);
    }
}
