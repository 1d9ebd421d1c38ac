//! What innocent clients write down: how long each round trip took, by kind of client and phase, what
//! they lost, and how much memory each process held at most.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::target::Memory;

/// The longest round trip that is told apart from longer ones, in microseconds.
const LONGEST: u64 = 300_000_000;

/// Significant digits: a latency on a shared machine has no more.
const DIGITS: u8 = 2;

/// Where in the course of an attack a message was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Quiet,
    Attack,
    After,
    /// A last message, and the end.
    Parting,
}

/// What an innocent client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A WebSocket of the service `plain`, which echoes.
    Echo,
    /// A client behind the gateway: the business echoes.
    Gateway,
    /// One that comes to the gateway, says something, hears it, and goes.
    Newcomer,
    /// HTTP/1.1 on the service `plain`.
    Http,
    /// HTTP/2 over TLS.
    Secure,
}

impl Kind {
    /// Returns how often such a client says something, where nothing delays it.
    pub(crate) fn pace(self) -> Duration {
        match self {
            // A handshake each time.
            Self::Newcomer => Duration::from_millis(100),
            Self::Echo | Self::Gateway | Self::Http | Self::Secure => Duration::from_millis(20),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Echo => "echo",
            Self::Gateway => "gateway",
            Self::Newcomer => "newcomer",
            Self::Http => "http",
            Self::Secure => "http2",
        })
    }
}

/// The ledger of one attack.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    trips: BTreeMap<(Kind, Phase), Histogram<u64>>,
    /// Messages that were said and never answered.
    pub(crate) messages: u64,
    /// Connections that ended, or were not let in.
    pub(crate) connections: u64,
    /// What happened, in words, and how often.
    pub(crate) losses: BTreeMap<String, u64>,
    /// The most that each slot held.
    pub(crate) peaks: Memory,
}

impl Ledger {
    /// Adds a round trip. One that took long stands for those, too, that would have begun meanwhile.
    pub(crate) fn trip(&mut self, kind: Kind, phase: Phase, time: Duration) {
        let new = || Histogram::new_with_bounds(1, LONGEST, DIGITS).expect("bounds that are sound");
        let trips = self.trips.entry((kind, phase)).or_insert_with(new);
        let micros =
            |time: Duration| u64::try_from(time.as_micros()).unwrap_or(LONGEST).min(LONGEST);
        trips.record_correct(micros(time), micros(kind.pace())).expect("a value within the bounds");
    }

    /// Adds a connection's end, and the messages it had not answered.
    pub(crate) fn lost_connection(&mut self, kind: Kind, messages: usize, reason: &anyhow::Error) {
        self.connections += 1;
        self.lost_messages(kind, messages, &format!("{reason:#}"));
    }

    pub(crate) fn lost_messages(&mut self, kind: Kind, messages: usize, reason: &str) {
        self.messages += messages as u64;
        *self.losses.entry(format!("{kind}: {reason}")).or_default() += 1;
    }

    /// Returns the round trip, of a kind of client in a phase, that so many of a hundred are below.
    pub(crate) fn percentile(&self, kind: Kind, phase: Phase, percent: f64) -> Option<Duration> {
        let trips = self.trips.get(&(kind, phase))?;
        Some(Duration::from_micros(trips.value_at_percentile(percent)))
    }

    /// Returns the kinds of clients that there were.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = Kind> {
        self.trips.keys().filter(|(_, phase)| *phase == Phase::Quiet).map(|(kind, _)| *kind)
    }
}
