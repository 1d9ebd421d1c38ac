//! What came of an attack: a row of the table, and whether it was withstood.

use std::fmt;
use std::time::Duration;

use anyhow::Result;

use crate::attack::{Attack, Effort, Ends};
use crate::ledger::{Kind, Ledger, Phase};
use crate::target::{Memory, most_after};

/// The head of the table. A row has the kind of client that was delayed most, and the process that
/// grew most.
pub(crate) const HEAD: &str = "\
| attack | played | most delayed | p50 ms, quiet → attack | p99 ms, quiet → attack → after | lost | memory MiB, before → peak → after | verdict |
|---|---|---|---|---|---|---|---|";

/// How many times as long as in quiet a round trip may take at the 99th percentile, in the long form.
const MOST_DELAY: u32 = 5;

/// Below this no delay is judged: attackers, innocents and servers share the cores here.
const LEAST_DELAY: Duration = Duration::from_millis(50);

/// How many reasons of losses are shown.
const REASONS: usize = 4;

/// What came of one attack.
#[derive(Debug)]
pub(crate) struct Outcome {
    row: String,
    faults: Vec<String>,
}

/// Everything that was seen of an attack.
pub(crate) struct Seen {
    pub(crate) ledger: Ledger,
    pub(crate) played: Result<String>,
    pub(crate) deaths: Vec<String>,
    pub(crate) lost_events: u64,
    pub(crate) before: Memory,
    pub(crate) after: Memory,
}

impl Outcome {
    pub(crate) fn of(attack: &Attack, effort: Effort, seen: &Seen) -> Self {
        let mut faults = Vec::new();
        lost(attack, seen, &mut faults);
        if attack.ends == Ends::Nothing {
            faults.extend(seen.deaths.iter().map(|death| format!("died: {death}")));
        }
        memory(seen, &mut faults);
        if effort.judges_delay {
            // The clients of a business that stands still, or is gone, wait for it or for another.
            let judged = |kind: &Kind| attack.ends != Ends::Killed || *kind != Kind::Gateway;
            let kinds = seen.ledger.kinds().filter(judged);
            faults.extend(kinds.filter_map(|kind| delay(&seen.ledger, kind)));
        }
        if let Err(error) = &seen.played {
            faults.push(format!("{error:#}"));
        }
        Self { row: row(attack, seen), faults }
    }

    /// Returns what is said of an attack that could not be played.
    pub(crate) fn none(attack: &Attack, error: &anyhow::Error) -> Self {
        let row = format!("| {} | – | – | – | – | – | – |", attack.name);
        Self { row, faults: vec![format!("not played: {error:#}")] }
    }

    /// Returns whether the attack was withstood.
    pub(crate) fn is_good(&self) -> bool {
        self.faults.is_empty()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.is_good() { "withstood".to_owned() } else { self.faults.join("; ") };
        write!(formatter, "{} {verdict} |", self.row)
    }
}

fn lost(attack: &Attack, seen: &Seen, faults: &mut Vec<String>) {
    let Ledger { messages, connections, losses, .. } = &seen.ledger;
    let is_counted =
        attack.ends == Ends::Killed && *connections == 0 && *messages <= seen.lost_events;
    if !is_counted && (*messages > 0 || *connections > 0) {
        let reasons = losses.iter().map(|(reason, times)| format!("{times} × {reason}"));
        let reasons = reasons.take(REASONS).collect::<Vec<_>>().join(", ");
        faults.push(format!("lost ({} known to the gateway): {reasons}", seen.lost_events));
    }
}

fn memory(seen: &Seen, faults: &mut Vec<String>) {
    for (slot, before) in &seen.before {
        let Some(after) = seen.after.get(slot) else { continue };
        if *after > most_after(*before) {
            faults.push(format!("memory: {slot} keeps {} MiB of {}", mebi(*after), mebi(*before)));
        }
    }
}

/// Says what is wrong with the delay of a kind of client, if anything is.
fn delay(ledger: &Ledger, kind: Kind) -> Option<String> {
    let p99 = |phase| ledger.percentile(kind, phase, 99.0);
    let (quiet, attack) = (p99(Phase::Quiet)?, p99(Phase::Attack)?);
    let is_long = attack > LEAST_DELAY && attack > quiet * MOST_DELAY;
    is_long.then(|| format!("delay: {kind} {:.0} × of quiet", attack.div_duration_f64(quiet)))
}

fn row(attack: &Attack, seen: &Seen) -> String {
    let ledger = &seen.ledger;
    let time = |kind, phase, percent| {
        let time = ledger.percentile(kind, phase, percent);
        time.map_or("–".to_owned(), |time| format!("{:.1}", time.as_secs_f64() * 1000.0))
    };
    let worst = ledger.kinds().max_by_key(|kind| ledger.percentile(*kind, Phase::Attack, 99.0));
    let times = worst.map_or("– | – | –".to_owned(), |kind| {
        let [p50, p99] = [50.0, 99.0].map(|percent| {
            let phases = [Phase::Quiet, Phase::Attack, Phase::After];
            phases.map(|phase| time(kind, phase, percent))
        });
        format!("{kind} | {} → {} | {}", p50[0], p50[1], p99.join(" → "))
    });
    let grown = |slot: &&String| {
        let peak = ledger.peaks.get(*slot).copied().unwrap_or_default();
        peak.saturating_sub(seen.before.get(*slot).copied().unwrap_or_default())
    };
    let memory = seen.before.keys().max_by_key(grown).map_or("–".to_owned(), |slot| {
        let held = |memory: &Memory| memory.get(slot).copied().map_or("–".to_owned(), mebi);
        let [before, peak, after] = [&seen.before, &ledger.peaks, &seen.after].map(held);
        format!("{slot} {before} → {peak} → {after}")
    });
    let lost = match (ledger.messages, ledger.connections) {
        (0, 0) => "0".to_owned(),
        (messages, connections) => format!("{messages} messages, {connections} connections"),
    };
    let played = seen.played.as_deref().unwrap_or("–");
    format!("| {} | {played} | {times} | {lost} | {memory} |", attack.name)
}

fn mebi(bytes: u64) -> String {
    let tenths = bytes * 10 / (1024 * 1024);
    format!("{}.{}", tenths / 10, tenths % 10)
}
