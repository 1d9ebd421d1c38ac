//! The messages between the master and a worker, in both directions.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use lineman_wire::briefing::Predecessor;
use lineman_wire::handover::{HandedOver, MoveOrder, RecordFormats};
use lineman_wire::ticket_keys::TicketKeys;
use serde::{Deserialize, Serialize};

use super::report::Lag;
use super::{Complaints, Row, Stats};
use crate::service::sketch::Sketch;

/// What the master tells a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "tell", rename_all = "snake_case")]
pub(crate) enum ToWorker {
    /// Answer with [`FromWorker::Status`].
    Status {
        /// Comes back in the answer.
        token: u64,
    },
    /// Answer with [`FromWorker::Rows`]: a slice of the connections.
    Connections {
        /// Comes back in the answer.
        token: u64,
        /// Where the slice begins: 0, or what the last answer said.
        from: usize,
        /// The most rows to answer with.
        limit: usize,
    },
    /// Seal session tickets with these keys from now on; said first, and whenever they change.
    TicketKeys {
        /// The newest and the one before.
        keys: TicketKeys,
        /// What is known of the process before, said first. It is a part of this message so that a program
        /// from before there was any, which reads past it, can be reloaded into as well.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        predecessor: Option<Predecessor>,
        /// The order to take over what another process of the slot serves, said first, over the socket of
        /// [`environment::HANDOVER`](super::environment::HANDOVER).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        take_over: Option<MoveOrder>,
    },
    /// Give what can move to the process at the other end of the socket that the message carries; said to
    /// one alone that has told its formats. Answer with [`FromWorker::HandedOver`] or
    /// [`FromWorker::HandoverFailed`].
    HandOver { order: MoveOrder },
    /// A reload leaves this process as it is: run what the service does then.
    Reload {
        /// What the program hands to its workers from now on, if it hands them something.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        handed: Option<Handed>,
    },
    /// Accept at this listener of a slot that is down as well; the message carries it.
    Borrow {
        /// The slot it belongs to.
        lender: String,
    },
    /// Leave the listeners that were borrowed from this slot: it is back.
    Return { lender: String },
    /// Use the file that the message carries in the place of these streams from now on.
    Log { streams: Streams },
    /// Stop accepting, wait until the connections end by themselves, then leave.
    Drain {
        /// How long to wait before those left are closed with 1001.
        limit: Duration,
        /// How long those closed may take to go.
        stop_limit: Duration,
        /// How many connections a second are told meanwhile that their service restarts (1012); none if it
        /// is not said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rate: Option<u32>,
    },
    /// Close everything with 1001 and leave.
    Stop {
        /// How long those closed may take to go.
        stop_limit: Duration,
    },
}

/// The text that a program hands to its workers. Logs cannot show it, for there may be secrets in it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Handed(pub(crate) String);

impl fmt::Debug for Handed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Handed(..)")
    }
}

/// Which streams of a process a log file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Streams {
    /// Both: what the program prints is in the log.
    Both,
    /// The log's lines alone.
    Stderr,
    /// What the program prints.
    Stdout,
}

/// What a worker tells the master.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub(crate) enum FromWorker {
    Ready {
        /// All services of the program that the worker runs, which may be newer than the master's;
        /// none from a program that is too old to say.
        #[serde(default)]
        services: Vec<Sketch>,
        /// What the next process of the slot is to know.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        briefing: Option<String>,
        /// In which formats the process hands over, if its service does.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        formats: Option<RecordFormats>,
        /// Whether it waits for what it takes over, and does not serve before.
        #[serde(default)]
        dormant: bool,
    },
    /// It has taken over, and serves.
    TookOver,
    /// It has handed over, and has what could not move.
    HandedOver { report: HandedOver },
    /// It has not handed over, and goes on as before.
    HandoverFailed { reason: String },
    /// The service has not started; the process ends.
    Failed {
        /// The error and its causes, in one line.
        reason: String,
    },
    /// The answer to [`ToWorker::Status`].
    Status {
        token: u64,
        /// What the table counts; boxed, as it is larger than all the rest together.
        stats: Box<Stats>,
        /// What the service counts.
        gauges: BTreeMap<String, u64>,
        #[serde(default)]
        lag: Lag,
        /// What the service says in words.
        #[serde(default)]
        condition: Complaints,
        /// What the next process of the slot is to know. Told with each answer, as an older master takes
        /// no other message than those it knows.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        briefing: Option<String>,
    },
    /// The answer to [`ToWorker::Connections`].
    Rows {
        token: u64,
        rows: Vec<Row>,
        /// Where the next slice begins; `None` after the last.
        next: Option<usize>,
    },
    /// A drain goes on; said a few times a second.
    Draining {
        /// How many connections are left.
        left: usize,
    },
    /// Every connection is gone and the process ends.
    Leaving {
        /// How many connections were closed with 1001 because they had not ended by themselves.
        cut: usize,
        /// How many handlers, callbacks of timers and blocking calls were not done.
        #[serde(default)]
        unfinished: usize,
    },
    /// The loop stands still; said by the watchdog.
    Stuck { still: Duration, doing: String },
    /// Code of the worker panicked; whether the process survives shows later.
    Panicked {
        message: String,
        /// File, line and column.
        location: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_way() {
        let told = ToWorker::Drain {
            limit: Duration::from_millis(1500),
            stop_limit: Duration::from_secs(2),
            rate: None,
        };
        let text = serde_json::to_string(&told).unwrap();
        assert_eq!(serde_json::from_str::<ToWorker>(&text).unwrap(), told);

        let said = FromWorker::Status {
            token: 7,
            stats: Box::new(Stats { connections: 3, ..Stats::default() }),
            gauges: BTreeMap::from([("clients".to_owned(), 3)]),
            lag: Lag { p99_us: 900, max_us: 15_000 },
            condition: Complaints::default(),
            briefing: Some("a\"b".to_owned()),
        };
        let text = serde_json::to_string(&said).unwrap();
        assert_eq!(serde_json::from_str::<FromWorker>(&text).unwrap(), said);
    }

    #[test]
    fn a_message_is_tagged_by_its_name() {
        let said = serde_json::from_str(r#"{"say":"ready"}"#);
        assert_eq!(
            said.ok(),
            Some(FromWorker::Ready {
                services: Vec::new(),
                briefing: None,
                formats: None,
                dormant: false
            })
        );
    }
}
