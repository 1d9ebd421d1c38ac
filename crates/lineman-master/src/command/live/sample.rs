//! Two looks at a program, and what happened in between: rates of each process and their sums. Pure;
//! it neither asks nor prints.

use std::collections::HashMap;
use std::time::Instant;

use serde::Serialize;

use crate::control::report::{SlotReport, StatusReport, Totals};

/// The status at one moment.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    /// What the master said.
    pub(super) status: StatusReport,
    /// When it said so.
    pub(super) taken: Instant,
}

/// What a process did each second between two looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct Rates {
    /// Messages handed to handlers.
    #[serde(rename = "messages_in_per_second")]
    pub(super) messages_in: f64,
    /// Messages accepted by `send`.
    #[serde(rename = "messages_out_per_second")]
    pub(super) messages_out: f64,
    /// Bytes received.
    #[serde(rename = "bytes_in_per_second")]
    pub(super) bytes_in: f64,
    /// Bytes given to the kernel.
    #[serde(rename = "bytes_out_per_second")]
    pub(super) bytes_out: f64,
    /// CPU time; 100 is a whole core.
    pub(super) cpu_percent: f64,
}

/// One process, or one slot that has none.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct ProcessRow<'a> {
    /// What the master says of it.
    #[serde(flatten)]
    pub(super) slot: &'a SlotReport,
    /// What it did; `None` when it was not there at both looks, or did not answer.
    #[serde(flatten)]
    pub(super) rates: Option<Rates>,
}

/// What two looks say together.
#[derive(Debug, Clone)]
pub(super) struct Comparison<'a> {
    /// The last one.
    pub(super) status: &'a StatusReport,
    /// Its processes.
    pub(super) lines: Vec<ProcessRow<'a>>,
    /// The sums of the rates; `None` when there are none.
    pub(super) rates: Option<Rates>,
}

impl<'a> Comparison<'a> {
    /// Compares the last look with the one before; without one there are no rates.
    pub(super) fn new(before: Option<&Sample>, last: &'a Sample) -> Self {
        let seconds = before.map(|before| last.taken.saturating_duration_since(before.taken));
        let seconds = seconds.map(|time| time.as_secs_f64()).filter(|seconds| *seconds > 0.0);
        let before = before.iter().flat_map(|before| &before.status.slots);
        let known: HashMap<_, &SlotReport> = before.map(|slot| (key(slot), slot)).collect();
        let line = |slot: &'a SlotReport| {
            let old = known.get(&key(slot)).zip(seconds);
            ProcessRow { slot, rates: old.and_then(|(old, time)| Rates::between(old, slot, time)) }
        };
        let lines: Vec<ProcessRow<'_>> = last.status.slots.iter().map(line).collect();
        let rates = lines.iter().filter_map(|line| line.rates).reduce(Rates::plus);
        Self { status: &last.status, lines, rates }
    }

    /// Returns `status --json` with the rates in each slot, and their sums in `totals`.
    pub(super) fn json(&self) -> serde_json::Result<String> {
        #[derive(Serialize)]
        struct Sums<'a> {
            #[serde(flatten)]
            totals: &'a Totals,
            #[serde(flatten)]
            rates: Option<Rates>,
        }
        let mut value = serde_json::to_value(self.status)?;
        value["slots"] = serde_json::to_value(&self.lines)?;
        let sums = Sums { totals: &self.status.totals, rates: self.rates };
        value["totals"] = serde_json::to_value(sums)?;
        serde_json::to_string(&value)
    }
}

/// A process is the same as long as its slot and its number are.
fn key(slot: &SlotReport) -> (&str, Option<u32>) {
    (&slot.name, slot.pid)
}

impl Rates {
    fn between(before: &SlotReport, last: &SlotReport, seconds: f64) -> Option<Self> {
        let (old, new) = (before.stats.as_ref()?, last.stats.as_ref()?);
        let rate = |old: u64, new: u64| per_second(new.saturating_sub(old), seconds);
        Some(Self {
            messages_in: rate(old.messages_in, new.messages_in),
            messages_out: rate(old.messages_out, new.messages_out),
            bytes_in: rate(old.bytes_in, new.bytes_in),
            bytes_out: rate(old.bytes_out, new.bytes_out),
            // A thousandth of a second each second is a tenth of a percent.
            cpu_percent: rate(before.cpu_ms?, last.cpu_ms?) / 10.0,
        })
    }

    fn plus(self, other: Self) -> Self {
        Self {
            messages_in: self.messages_in + other.messages_in,
            messages_out: self.messages_out + other.messages_out,
            bytes_in: self.bytes_in + other.bytes_in,
            bytes_out: self.bytes_out + other.bytes_out,
            cpu_percent: self.cpu_percent + other.cpu_percent,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate has no fifteen digits")]
fn per_second(count: u64, seconds: f64) -> f64 {
    count as f64 / seconds
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::command::status;
    use crate::control::Stats;
    use std::collections::BTreeMap;
    use std::time::Duration;

    pub(in super::super) fn slot(index: usize, pid: u32, stats: Option<Stats>) -> SlotReport {
        let (last_exit, last_exit_ago_ms, gauges) = (None, None, BTreeMap::new());
        let slot = status::tests::slot(index, stats);
        SlotReport { pid: Some(pid), restarts: 0, last_exit, last_exit_ago_ms, gauges, ..slot }
    }

    pub(in super::super) fn sample(taken: Instant, slots: Vec<SlotReport>) -> Sample {
        let status = StatusReport {
            lineman: "1.2.3".to_owned(),
            program: "chat".to_owned(),
            executable: "/bin/chat".to_owned(),
            pid: 42,
            state: "up".to_owned(),
            started_at: 0,
            uptime_ms: 3_600_000,
            log: None,
            load: Some([0.5, 0.25, 0.1]),
            services: Vec::new(),
            totals: Totals::of(&slots),
            slots,
        };
        Sample { status, taken }
    }

    pub(in super::super) fn counted(messages_in: u64, bytes_out: u64) -> Stats {
        Stats { connections: 3, messages_in, bytes_out, ..Stats::default() }
    }

    #[test]
    fn rates_are_differences_for_each_second() {
        let start = Instant::now();
        let before = sample(
            start,
            vec![slot(0, 7, Some(counted(100, 1000))), slot(1, 8, Some(counted(0, 0)))],
        );
        let mut busy = slot(0, 7, Some(counted(150, 5000)));
        busy.cpu_ms = Some(1200 + 1500);
        let last =
            sample(start + Duration::from_secs(2), vec![busy, slot(1, 8, Some(counted(10, 0)))]);
        let compared = Comparison::new(Some(&before), &last);
        let expected =
            Rates { messages_in: 25.0, bytes_out: 2000.0, cpu_percent: 75.0, ..Rates::default() };
        assert_eq!(compared.lines[0].rates, Some(expected));
        assert_eq!(compared.rates, Some(Rates { messages_in: 30.0, ..expected }));
    }

    #[test]
    fn what_was_not_there_at_both_looks_has_no_rates() {
        let start = Instant::now();
        let before = sample(start, vec![slot(0, 7, Some(counted(100, 0))), slot(1, 8, None)]);
        let after = start + Duration::from_secs(1);
        let last =
            sample(after, vec![slot(0, 9, Some(counted(1, 0))), slot(1, 8, Some(counted(5, 0)))]);
        for before in [Some(&before), None] {
            let compared = Comparison::new(before, &last);
            assert!(compared.lines.iter().all(|line| line.rates.is_none()), "{compared:?}");
            assert_eq!(compared.rates, None);
        }
        // No time has passed: no division by it.
        let compared = Comparison::new(Some(&last), &last);
        assert_eq!(compared.rates, None);
    }

    #[test]
    fn json_is_the_status_with_rates_in_it() {
        let start = Instant::now();
        let before = sample(start, vec![slot(0, 7, Some(counted(100, 0)))]);
        let last = sample(start + Duration::from_secs(1), vec![slot(0, 7, Some(counted(150, 0)))]);
        let text = Comparison::new(Some(&before), &last).json().unwrap();
        for once in ["\"slots\":", "\"totals\":", "\"program\":"] {
            assert_eq!(text.matches(once).count(), 1, "{once} in {text}");
        }
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["slots"][0]["slot"], "chat-gateway/0");
        assert_eq!(json["slots"][0]["messages_in_per_second"], 50.0);
        assert_eq!(json["totals"]["messages_in_per_second"], 50.0);
        assert_eq!(json["totals"]["connections"], 3);
    }
}
