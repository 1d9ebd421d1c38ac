//! Peers of an inner port that have not shown the key yet: few, and not for long, whatever they send.
//!
//! Kept by the register and by a gateway's inner port, which close those that it names. It reads no clock.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use lineman::connection::CloseReason;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::outage::{Outage, why};
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

/// How many peers that were refused are remembered, so that each is told of once and then in sums.
const REMEMBERED: usize = 64;

/// How long one is remembered that does not come again: as long as twice the longest pause of ours.
const MEMORY: Duration = Duration::from_mins(2);

/// Those of one port.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Strangers {
    /// How many there may be. Each process has its own settings.
    #[serde(skip)]
    bound: usize,
    /// How long each may take; zero for ever.
    #[serde(skip)]
    time: Duration,
    /// Since when each is there. Later ones have greater numbers.
    #[serde(with = "crate::written")]
    since: BTreeMap<u64, Instant>,
    pub(crate) refused: Recurrence,
    /// Peers that were refused, by their address and the reason; when they came last.
    #[serde(with = "crate::written")]
    named: BTreeMap<(IpAddr, String), (Instant, Outage)>,
}

impl Strangers {
    /// Puts other bounds in force.
    pub(crate) fn set(&mut self, bound: usize, time: Duration) {
        (self.bound, self.time) = (bound, time);
    }

    pub(crate) fn new(bound: usize, time: Duration) -> Self {
        Self {
            bound,
            time,
            since: BTreeMap::new(),
            refused: Recurrence::default(),
            named: BTreeMap::new(),
        }
    }

    /// Returns them with the bounds of others.
    pub(crate) fn with_bounds_of(self, other: &Self) -> Self {
        Self { bound: other.bound, time: other.time, ..self }
    }

    /// Forgets those that are gone.
    pub(crate) fn keep(&mut self, is_there: impl Fn(u64) -> bool) {
        self.since.retain(|peer, _| is_there(*peer));
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

    /// A peer is refused: a misconfigured one, as a rule, or a probe of something else, which will try again. Returns
    /// how often it has come, if the log is to tell of it now.
    pub(crate) fn refuse(&mut self, address: IpAddr, problem: &str, now: Instant) -> Option<u32> {
        self.named.retain(|_, (last, _)| now.saturating_duration_since(*last) < MEMORY);
        let key = (address, problem.to_owned());
        if let Some((last, outage)) = self.named.get_mut(&key) {
            *last = now;
            outage.again(problem);
        } else if self.named.len() < REMEMBERED {
            self.named.insert(key.clone(), (now, Outage::new(problem, now)));
        }
        let Some((_, outage)) = self.named.get_mut(&key) else {
            // So many cannot all be ours: they are told of in one sum.
            self.refused.add();
            return None;
        };
        self.refused.add_told();
        outage.is_due(now).then(|| outage.attempts())
    }

    /// A peer's connection has ended; returns why it is refused, if that was a refusal of what it sent before the key.
    pub(crate) fn end(&mut self, peer: u64, reason: &CloseReason) -> Option<String> {
        let fault = matches!(
            reason,
            CloseReason::Protocol { .. } | CloseReason::TooBig | CloseReason::Tls(_)
        );
        let was_stranger = self.since.remove(&peer).is_some();
        (was_stranger && fault).then(|| match reason {
            CloseReason::Tls(_) => why(reason),
            _ => "not our protocol, or too much before the secret key".to_owned(),
        })
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

/// The setter of a builder with their bound in a field `strangers`.
macro_rules! stranger_settings {
    () => {
        /// Sets how many peers of the cluster's port there may be that have not shown the key yet; beyond it the
        /// oldest of them is closed, unless it has just come, and counted as `refused_strangers`. Each has 5 s, and
        /// 4 KiB. In a cluster without a key it is those that have not said anything whole. Default 64, at least 1.
        #[must_use]
        pub fn strangers(mut self, bound: usize) -> Self {
            self.strangers = bound;
            self
        }
    };
}

pub(crate) use stranger_settings;

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

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_is_refused_again_and_again_is_told_of_once_and_then_in_sums() {
        let begun = Instant::now();
        let mut strangers = Strangers::new(2, LOGIN_TIME);
        let mut refuse = |host: u8, problem: &str, seconds| {
            let address = IpAddr::from([10, 0, 0, host]);
            strangers.refuse(address, problem, begun + Duration::from_secs(seconds))
        };
        let told: Vec<_> = (0..100).filter_map(|second| refuse(1, "wrong key", second)).collect();
        assert_eq!(told, [1, 61]);
        assert_eq!(refuse(2, "wrong key", 100), Some(1), "another machine");
        assert_eq!(refuse(1, "wrong cluster", 111), Some(1), "another reason");
        assert_eq!(refuse(2, "wrong key", 250), Some(1), "it was forgotten");
        let many = (3..=255).filter_map(|host| refuse(host, "wrong key", 250));
        assert_eq!(many.count(), REMEMBERED - 1);
        assert_eq!(strangers.refused.count(), 103 + 253);
        assert_eq!(strangers.refused.untold(begun), Some(253 - 63), "the rest is a sum");
    }
}
