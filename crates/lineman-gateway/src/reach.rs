//! Whether the machine at the other end of a link is there: by what it has acknowledged of what it was sent.
//!
//! A machine acknowledges by itself, whatever its processes do, and it is asked each second on a link that is
//! silent. So this tells a machine without power, or a cut cable, from a process that hangs or reads nothing,
//! and says the same of every peer, whatever it speaks. Both ends of a link look. It reads no clock.

use std::net::IpAddr;
use std::time::Duration;

use lineman::connection::{Acknowledgement, PeerTimeout};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// How many bytes may wait to be sent on a link by default; `GatewayWorker`'s bound at both ends.
pub(crate) const LINK_QUEUE: usize = 10 * 1024 * 1024;

/// The least that can be set: what one client may send at once.
pub(crate) const LEAST_LINK_QUEUE: usize = 64 * 1024;

/// How long the other end of a link may be unreachable by default: several times what a lost packet or a route
/// that changes takes, and short enough for people to wait.
const LINK_TIMEOUT: Duration = Duration::from_secs(15);

/// How often each link is looked at: far below [`DOUBT`], for one call to the kernel.
const LOOK: Duration = Duration::from_millis(250);

/// A machine that has acknowledged nothing for so long is in doubt: above what a lost packet costs, and it costs
/// little to be wrong, for what is sent behind a lost packet waits anyway.
const DOUBT: Duration = Duration::from_secs(1);

/// A look that comes so late was held up by this process or its machine, which cannot judge others then.
const LATE: Duration = Duration::from_secs(3);

/// When the other end of a link is not relied on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReachLimits {
    timeout: Duration,
}

impl ReachLimits {
    /// Returns those of links that this machine has at this address, or `None` where they are not looked at: as
    /// it is set, or by default within one machine.
    pub(crate) fn new(set: Option<Duration>, at: IpAddr) -> Option<Self> {
        let default = if at.is_loopback() { Duration::ZERO } else { LINK_TIMEOUT };
        let timeout = set.unwrap_or(default);
        (!timeout.is_zero()).then_some(Self { timeout })
    }

    /// Returns how the sockets of the links are set up.
    pub(crate) fn peer_timeout(self) -> PeerTimeout {
        PeerTimeout::Watch(self.timeout)
    }

    /// Returns how often links are to be looked at.
    pub(crate) fn look(self) -> Duration {
        LOOK.min(self.timeout / 8).max(Duration::from_millis(1))
    }

    fn doubt(self) -> Duration {
        DOUBT.min(self.timeout / 4)
    }

    /// A link that was silent is asked a moment after its end was lost; then it is looked at.
    fn lost(self) -> Duration {
        let asked = self.peer_timeout().probes_every() + self.look() * 2;
        self.timeout.saturating_sub(asked).max(self.timeout / 2)
    }
}

/// Returns how the socket to a register at this address is set up: what it gets it reads at once.
pub(crate) fn register_timeout(at: IpAddr) -> Option<PeerTimeout> {
    (!at.is_loopback()).then_some(PeerTimeout::Break(LINK_TIMEOUT))
}

/// What can be said of the other end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Reached {
    /// It answers, as far as is known.
    #[default]
    Yes,
    /// It has not answered for a moment.
    InDoubt,
    /// It has not answered for so long that it is given up.
    No,
}

/// What is known of one link.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct LinkReach {
    #[serde(with = "crate::written")]
    looked: Option<Instant>,
    /// Since when an answer is awaited.
    #[serde(with = "crate::written")]
    since: Option<Instant>,
}

impl LinkReach {
    /// Looks: the kernel says what was acknowledged, or nothing of a connection that has ended.
    pub(crate) fn look(
        &mut self,
        said: Option<Acknowledgement>,
        limits: ReachLimits,
        now: Instant,
    ) -> Reached {
        let before = self.looked.replace(now);
        let late = before.is_some_and(|before| now.saturating_duration_since(before) >= LATE);
        let Some(Acknowledgement { awaited: true, last }) = said else {
            self.since = None;
            return Reached::Yes;
        };
        let since = *self.since.get_or_insert(now);
        if late {
            self.since = Some(now);
            return Reached::Yes;
        }
        // Of what is sent all the time something is always awaited, and an idle one's last answer is old.
        match last.min(now.saturating_duration_since(since)) {
            silent if silent >= limits.lost() => Reached::No,
            silent if silent >= limits.doubt() => Reached::InDoubt,
            _ => Reached::Yes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn awaited(milliseconds: u64) -> Acknowledgement {
        Acknowledgement { awaited: true, last: Duration::from_millis(milliseconds) }
    }

    fn limits(timeout: u64) -> ReachLimits {
        ReachLimits { timeout: Duration::from_secs(timeout) }
    }

    #[tokio::test(start_paused = true)]
    async fn a_machine_that_does_not_answer_is_in_doubt_and_then_lost() {
        let (limits, begun) = (limits(15), Instant::now());
        let mut reach = LinkReach::default();
        let mut said = Vec::new();
        for tick in 0..60 {
            let now = begun + LOOK * tick;
            // It was silent for a minute before it was asked.
            let last = 60_000 + 250 * u64::from(tick);
            let reached = reach.look(Some(awaited(last)), limits, now);
            if said.last().is_none_or(|(_, before)| *before != reached) {
                said.push((u64::from(tick) * 250, reached));
            }
        }
        assert_eq!(said, [(0, Reached::Yes), (1000, Reached::InDoubt), (13_500, Reached::No)]);
    }

    #[tokio::test(start_paused = true)]
    async fn answers_and_silence_of_ours_say_that_it_is_there() {
        let (limits, begun) = (limits(15), Instant::now());
        let mut reach = LinkReach::default();
        // Data under way all the time, each acknowledged within 100 ms.
        for tick in 0..200 {
            assert_eq!(reach.look(Some(awaited(100)), limits, begun + LOOK * tick), Reached::Yes);
        }
        let now = begun + Duration::from_mins(1);
        assert_eq!(reach.look(Some(awaited(60_000)), limits, now), Reached::Yes, "we stood still");
        assert_eq!(reach.look(Some(awaited(60_000)), limits, now + LOOK), Reached::Yes);
        let answered = Some(Acknowledgement { awaited: false, last: Duration::from_mins(2) });
        assert_eq!(reach.look(answered, limits, now + DOUBT), Reached::Yes, "all is acknowledged");
        assert_eq!(reach.look(Some(awaited(90_000)), limits, now + DOUBT * 2), Reached::Yes);
        assert_eq!(reach.look(None, limits, now + DOUBT * 3), Reached::Yes);
    }

    #[test]
    fn the_limit_is_met_and_short_ones_as_well() {
        for timeout in [1, 2, 3, 15, 60, 3600] {
            let limits = limits(timeout);
            assert!(limits.doubt() * 2 <= limits.lost() && limits.look() * 2 <= limits.doubt());
            assert!(limits.lost() <= limits.timeout);
        }
        let [here, there] = ["127.0.0.1", "192.0.2.1"].map(|ip| ip.parse().unwrap());
        let timeout = |set, at| ReachLimits::new(set, at).map(|limits| limits.timeout);
        let second = Some(Duration::from_secs(1));
        assert_eq!((timeout(None, here), timeout(None, there)), (None, Some(LINK_TIMEOUT)));
        assert_eq!((timeout(second, here), timeout(Some(Duration::ZERO), there)), (second, None));
    }
}
