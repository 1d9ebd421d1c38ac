//! What the master reports about itself: the start table, `status`, and the steps of a command.
//!
//! These types are the stable machine form of `status --json`: fields are added, never renamed.

use std::collections::BTreeMap;

use lineman_wire::handover::RecordFormats;
use serde::{Deserialize, Serialize};

use super::Stats;

/// So many ends of a slot's processes in a row are a crash loop. A fault that passes takes fewer, as the
/// pauses before them are six seconds together.
pub(crate) const CRASH_LOOP: u32 = 8;

/// What `start` shows when everything is up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StartReport {
    pub(crate) lineman: String,
    pub(crate) program: String,
    pub(crate) pid: u32,
    /// The services in the order they were added.
    pub(crate) services: Vec<ServiceReport>,
    /// The fingerprint of the certificate that all TLS uses, if it was made at this start.
    #[serde(default)]
    pub(crate) self_signed: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServiceReport {
    pub(crate) name: String,
    /// What it speaks.
    pub(crate) kind: String,
    /// The addresses it listens on; with a port for each slot, each of them is listed.
    pub(crate) listen: Vec<ListenReport>,
    /// How many processes it should have.
    pub(crate) processes: usize,
    pub(crate) ready: usize,
    /// `replace`, `hand-over` or `keep`: what a reload does with it.
    pub(crate) reload: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ListenReport {
    /// What it is for.
    pub(crate) label: String,
    /// The address in force, with the port the kernel chose where it was asked to.
    pub(crate) address: String,
    /// The scheme people use to reach it.
    pub(crate) scheme: String,
    /// Whether a browser can open it.
    pub(crate) page: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct StatusReport {
    pub(crate) lineman: String,
    pub(crate) program: String,
    /// The file the master starts workers from.
    pub(crate) executable: String,
    pub(crate) pid: u32,
    /// What the master is doing: `starting`, `up`, `reloading`, `stopping`.
    pub(crate) state: String,
    /// When it started, in seconds since 1970.
    pub(crate) started_at: u64,
    /// How long ago that was, in milliseconds.
    pub(crate) uptime_ms: u64,
    /// The machine's load averages of 1, 5 and 15 minutes.
    pub(crate) load: Option<[f64; 3]>,
    /// The log's file; null when it goes to stderr.
    #[serde(default)]
    pub(crate) log: Option<String>,
    /// The services in the order they were added.
    pub(crate) services: Vec<ServiceReport>,
    /// The processes: those of a slot one after the other, the serving one first. A slot without a
    /// process has one entry whose `pid` is null.
    pub(crate) slots: Vec<SlotReport>,
    /// The sums over all processes that answered.
    pub(crate) totals: Totals,
}

/// One process, or one slot that has none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SlotReport {
    /// `service/index`.
    #[serde(rename = "slot")]
    pub(crate) name: String,
    pub(crate) service: String,
    /// The slot's number within the service.
    pub(crate) index: usize,
    pub(crate) pid: Option<u32>,
    /// `starting`, `ready`, `stalled` (ready, and it has answered nothing for long), `draining`,
    /// `stopping`, `backing-off`, `failed` (a crash loop: the next attempt comes later and later),
    /// `stopped`.
    pub(crate) state: String,
    /// How many processes were started for the slot up to this one.
    pub(crate) generation: u64,
    /// Which build the process runs, in eight digits; those of two processes differ if their files do.
    #[serde(default)]
    pub(crate) build: Option<String>,
    /// In which formats the process hands over, if its service does.
    #[serde(default)]
    pub(crate) formats: Option<RecordFormats>,
    /// How long ago the process was started, in milliseconds.
    pub(crate) uptime_ms: Option<u64>,
    /// How often the slot's process had to be started again because it had ended by itself.
    pub(crate) restarts: u64,
    /// How often in a row it did, before any of them had been ready for ten seconds.
    #[serde(default)]
    pub(crate) failures: u32,
    /// When the slot gets its next process, in milliseconds from now; null when it has one.
    #[serde(default)]
    pub(crate) next_start_in_ms: Option<u64>,
    /// How the slot's last process ended that was not asked to leave; while there is none, `asked to
    /// leave`.
    pub(crate) last_exit: Option<String>,
    /// How long ago that was, in milliseconds.
    #[serde(default)]
    pub(crate) last_exit_ago_ms: Option<u64>,
    /// Whether the process answered in time; a busy one does not, and its counters are null.
    pub(crate) answered: bool,
    /// What its table counts.
    pub(crate) stats: Option<Stats>,
    /// What its service counts.
    pub(crate) gauges: BTreeMap<String, u64>,
    /// What its service says is not as it should be, a line each.
    #[serde(default)]
    pub(crate) remarks: Vec<String>,
    /// Why clients are better off at another machine than at this process, if they are.
    #[serde(default)]
    pub(crate) unfit: Option<String>,
    /// Resident memory in bytes.
    pub(crate) memory_bytes: Option<u64>,
    /// CPU time used since the process started, in milliseconds.
    pub(crate) cpu_ms: Option<u64>,
    /// How late its loop was in about the last minute, in microseconds: what 99 of 100 looks did not
    /// exceed.
    pub(crate) lag_p99_us: Option<u64>,
    pub(crate) lag_max_us: Option<u64>,
}

/// How late the loop of a process was in about the last minute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lag {
    /// What 99 of 100 looks did not exceed, in microseconds.
    pub(crate) p99_us: u64,
    pub(crate) max_us: u64,
}

/// The sums of [`StatusReport`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Totals {
    /// How many processes there are, without the master.
    pub(crate) processes: usize,
    #[serde(flatten)]
    pub(crate) stats: Stats,
    /// The sum of their resident memory, in bytes; pages they share count for each.
    pub(crate) memory_bytes: u64,
    /// The sum of their CPU time, in milliseconds.
    pub(crate) cpu_ms: u64,
    /// The largest of their lags (p99), in microseconds.
    #[serde(default)]
    pub(crate) lag_p99_us: u64,
    /// The largest of their largest lags, in microseconds.
    #[serde(default)]
    pub(crate) lag_max_us: u64,
    #[serde(default)]
    pub(crate) failed: usize,
}

impl SlotReport {
    /// Returns whether its processes end in a loop: also while the next attempt is under way.
    pub(crate) fn has_failed(&self) -> bool {
        self.state == "failed" || self.state == "starting" && self.failures >= CRASH_LOOP
    }
}

impl Totals {
    /// Returns the sums over `slots`.
    pub(crate) fn of(slots: &[SlotReport]) -> Self {
        let mut totals = Self::default();
        for slot in slots {
            totals.processes += usize::from(slot.pid.is_some());
            totals.memory_bytes += slot.memory_bytes.unwrap_or(0);
            totals.cpu_ms += slot.cpu_ms.unwrap_or(0);
            totals.lag_p99_us = totals.lag_p99_us.max(slot.lag_p99_us.unwrap_or(0));
            totals.lag_max_us = totals.lag_max_us.max(slot.lag_max_us.unwrap_or(0));
            totals.failed += usize::from(slot.has_failed());
            if let Some(stats) = &slot.stats {
                totals.stats.add(stats);
            }
        }
        totals
    }
}

/// One step of a stop or reload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    pub(crate) slot: String,
    pub(crate) pid: u32,
    pub(crate) step: Step,
    /// How many connections it has left; `None` when it does not matter.
    pub(crate) left: Option<usize>,
    /// How long until those left are closed, in milliseconds; `None` when it does not matter.
    pub(crate) remaining_ms: Option<u64>,
}

/// What a process does in a stop or reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Step {
    /// The successor was started.
    Starting,
    /// The successor serves.
    Ready,
    /// The process waits until its connections end.
    Draining,
    /// The process closes its connections.
    Stopping,
    Ended,
    /// The process had to be killed.
    Killed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_flat() {
        let text = serde_json::to_value(Totals::default()).unwrap();
        assert_eq!(text["connections"], 0);
        assert_eq!(text["processes"], 0);
    }
}
