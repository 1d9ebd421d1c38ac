//! What a reload tells of what has moved: a line for each process, and their sum.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use lineman_wire::handover::HandedOver;

use crate::master::exit::ExitReason;
use crate::terminal::units::{self, plural};

/// What has moved in a reload.
#[derive(Debug, Default)]
pub(super) struct Moved {
    /// What came of each handover, together, with the longest of the times.
    sum: Option<HandedOver>,
    /// How the successor ended that may have taken over.
    pub(super) end: Option<ExitReason>,
}

impl Moved {
    /// Counts a handover.
    pub(super) fn add(&mut self, report: &HandedOver) {
        let sum = self.sum.get_or_insert_default();
        sum.moved = sum.moved.saturating_add(report.moved);
        sum.bytes = sum.bytes.saturating_add(report.bytes);
        sum.pause = sum.pause.max(report.pause);
        for (why, count) in &report.left {
            let left = sum.left.entry(why.clone()).or_default();
            *left = left.saturating_add(*count);
        }
    }
}

impl fmt::Display for Moved {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(sum) = &self.sum else { return Ok(()) };
        write!(
            formatter,
            "{} moved{}, longest pause {}, ",
            connections(sum.moved),
            left(&sum.left),
            time(sum.pause)
        )
    }
}

/// Returns what a caller is told of one handover.
pub(super) fn line(slot: &str, report: &HandedOver) -> String {
    let HandedOver { moved, left: not_moved, pause, ahead, bytes } = report;
    let (moved, not_moved, bytes) = (connections(*moved), left(not_moved), units::bytes(*bytes));
    let (pause, ahead) = (time(*pause), time(*ahead));
    format!(
        "{slot}: {moved} moved{not_moved}; paused for {pause}, copied ahead for {ahead}, {bytes} under way"
    )
}

fn connections(count: u64) -> String {
    plural(usize::try_from(count).unwrap_or(usize::MAX), "connection", "connections")
}

fn left(not_moved: &BTreeMap<String, u64>) -> String {
    if not_moved.is_empty() {
        return String::new();
    }
    let reasons: Vec<_> = not_moved.iter().map(|(why, count)| format!("{why}: {count}")).collect();
    let count = not_moved.values().fold(0_u64, |sum, count| sum.saturating_add(*count));
    format!(", {count} left ({})", reasons.join(", "))
}

fn time(time: Duration) -> String {
    units::micros(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
}
