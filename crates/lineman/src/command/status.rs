//! `status`: the head, a table of processes that fits 100 columns, and what is worth a line beneath.

use std::time::Duration;

use super::arguments::Format;
use super::start::listen_cells;
use super::{Failure, Outcome, ask, cut_off};
use crate::control::ExitCode;
use crate::control::folder::RuntimeFolder;
use crate::control::report::{Slot, Status, Totals};
use crate::control::request::{Answer, Request};
use crate::terminal::table::{Align, Table};
use crate::terminal::{Printer, units};

/// The columns. What is read side by side is side by side: in and out share a column.
const COLUMNS: [(&str, Align); 11] = [
    ("slot", Align::Left),
    ("pid", Align::Right),
    ("state", Align::Left),
    ("uptime", Align::Right),
    ("restarts", Align::Right),
    ("conns", Align::Right),
    ("msgs in/out", Align::Right),
    ("bytes in/out", Align::Right),
    ("queued", Align::Right),
    ("mem", Align::Right),
    ("cpu", Align::Right),
];

/// Runs `status`.
pub(super) fn status(folder: &RuntimeFolder, how: &Format) -> Outcome {
    let mut call = ask(folder, &Request::Status)?;
    while let Some(answer) = call.next()? {
        match answer {
            Answer::Status(status) if how.json => {
                let text = serde_json::to_string_pretty(&status).map_err(std::io::Error::from)?;
                Printer::data(&text);
            }
            Answer::Status(status) => Printer::data(&text(&status)),
            Answer::Note { text } => Printer::note(&text),
            Answer::Done { code: ExitCode::Ok, .. } => return Ok(ExitCode::Ok),
            Answer::Done { code, text } => return Err(Failure::new(code, text)),
            _ => {}
        }
    }
    Err(cut_off())
}

fn text(status: &Status) -> String {
    let mut lines = head(status);
    lines.push(String::new());
    let mut table = Table::new(&COLUMNS);
    for slot in &status.slots {
        table.row(row_of(slot));
    }
    table.row(totals(status));
    lines.extend(table.lines());
    let remarks: Vec<String> = status.slots.iter().flat_map(remarks).collect();
    if !remarks.is_empty() {
        lines.push(String::new());
        lines.extend(remarks);
    }
    lines.join("\n")
}

fn head(status: &Status) -> Vec<String> {
    let uptime = units::duration(Duration::from_millis(status.uptime_ms));
    let Status { lineman, program, pid, state, .. } = status;
    let load = status.load.map_or_else(String::new, |[one, five, fifteen]| {
        format!("  load {one:.2} {five:.2} {fifteen:.2}")
    });
    let services = units::plural(status.services.len(), "service", "services");
    let processes = units::plural(status.totals.processes, "process", "processes");
    let mut lines = vec![
        format!("Lineman {lineman}  {program}  pid {pid}  {state}  uptime {uptime}{load}"),
        format!("{services}, {processes}"),
    ];
    for service in &status.services {
        let (name, ready, wanted) = (&service.name, service.ready, service.processes);
        let listen = listen_cells(service).join(" ");
        lines.push(
            format!("  {name}  {}  {ready}/{wanted} ready  {listen}", service.kind)
                .trim_end()
                .to_owned(),
        );
    }
    lines
}

fn row_of(slot: &Slot) -> Vec<String> {
    let unknown = || "-".to_owned();
    let shown = if slot.pid.is_some() && !slot.answered && slot.state == "ready" {
        // It serves, and has not answered within a second: its loop is stuck.
        "busy".to_owned()
    } else {
        slot.state.clone()
    };
    let mut cells = vec![
        slot.name.clone(),
        slot.pid.map_or_else(unknown, |pid| pid.to_string()),
        shown,
        slot.uptime_ms
            .map_or_else(unknown, |uptime| units::duration(Duration::from_millis(uptime))),
        slot.restarts.to_string(),
    ];
    match &slot.stats {
        None => cells.extend([unknown(), unknown(), unknown(), unknown()]),
        Some(stats) => cells.extend([
            units::count(stats.connections),
            format!("{}/{}", units::count(stats.messages_in), units::count(stats.messages_out)),
            format!("{}/{}", units::bytes(stats.bytes_in), units::bytes(stats.bytes_out)),
            units::bytes(stats.queued_bytes),
        ]),
    }
    cells.push(slot.memory_bytes.map_or_else(unknown, units::bytes));
    cells.push(slot.cpu_ms.map_or_else(unknown, cpu));
    cells
}

fn totals(status: &Status) -> Vec<String> {
    let Totals { stats, memory_bytes, cpu_ms, .. } = &status.totals;
    let restarts: u64 = status.slots.iter().map(|slot| slot.restarts).sum();
    vec![
        "total".to_owned(),
        String::new(),
        String::new(),
        String::new(),
        restarts.to_string(),
        units::count(stats.connections),
        format!("{}/{}", units::count(stats.messages_in), units::count(stats.messages_out)),
        format!("{}/{}", units::bytes(stats.bytes_in), units::bytes(stats.bytes_out)),
        units::bytes(stats.queued_bytes),
        units::bytes(*memory_bytes),
        cpu(*cpu_ms),
    ]
}

/// Returns the lines of one process that a table has no room for: gauges that are not zero, faults
/// that were counted, how the process before it ended.
fn remarks(slot: &Slot) -> Vec<String> {
    let mut counts: Vec<(String, u64)> = slot.gauges.clone().into_iter().collect();
    if let Some(stats) = &slot.stats {
        counts.push(("refused".to_owned(), stats.refused));
        counts.push(("handler_errors".to_owned(), stats.handler_errors));
        counts.push(("protocol_errors".to_owned(), stats.protocol_errors));
        counts.push(("datagrams_dropped".to_owned(), stats.datagrams_dropped));
    }
    let counts: Vec<String> = counts
        .into_iter()
        .filter(|(_, value)| *value != 0)
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    let mut lines = Vec::new();
    if !counts.is_empty() {
        lines.push(format!("{}: {}", slot.name, counts.join(", ")));
    }
    // A reload's exits are what was wanted.
    if let Some(reason) =
        slot.last_exit.as_ref().filter(|_| slot.restarts > 0 || slot.pid.is_none())
    {
        lines.push(format!("{}: last exit: {reason}", slot.name));
    }
    lines
}

fn cpu(millis: u64) -> String {
    match Duration::from_millis(millis) {
        time if time < Duration::from_mins(1) => format!("{:.1}s", time.as_secs_f64()),
        time => units::duration(time),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Stats;
    use crate::control::report::{Listen, Service};
    use std::collections::BTreeMap;

    fn slot(index: usize, stats: Option<Stats>) -> Slot {
        Slot {
            name: format!("chat-gateway/{index}"),
            service: "chat-gateway".to_owned(),
            index,
            pid: Some(123_456),
            state: "ready".to_owned(),
            generation: 1,
            uptime_ms: Some(184_000),
            restarts: 2,
            last_exit: Some("signal 9 (SIGKILL)".to_owned()),
            answered: stats.is_some(),
            stats,
            gauges: BTreeMap::from([("clients".to_owned(), 7), ("lost_events".to_owned(), 0)]),
            memory_bytes: Some(12 << 20),
            cpu_ms: Some(1200),
        }
    }

    fn status_of(slots: Vec<Slot>) -> Status {
        let listen = Listen {
            label: "clients".to_owned(),
            address: "0.0.0.0:7272".to_owned(),
            scheme: "ws".to_owned(),
            page: true,
        };
        let service = Service {
            name: "chat-gateway".to_owned(),
            kind: "gateway".to_owned(),
            listen: vec![listen],
            processes: 2,
            ready: 2,
            reload: "replace".to_owned(),
        };
        Status {
            lineman: "1.2.3".to_owned(),
            program: "chat".to_owned(),
            executable: "/bin/chat".to_owned(),
            pid: 42,
            state: "up".to_owned(),
            started_at: 0,
            uptime_ms: 3_600_000,
            load: Some([0.5, 0.25, 0.1]),
            services: vec![service],
            totals: Totals::of(&slots),
            slots,
        }
    }

    #[test]
    fn the_table_fits_a_terminal_of_100_columns() {
        let stats = Stats {
            connections: 20_000,
            messages_in: 123_456_789,
            messages_out: 123_456_789,
            bytes_in: 5 << 30,
            bytes_out: 5 << 30,
            queued_bytes: 1023,
            ..Stats::default()
        };
        let text = text(&status_of(vec![slot(0, Some(stats)), slot(1, None)]));
        let widest = text.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(108), "{widest:?}\n{text}");
    }

    #[test]
    fn a_process_that_does_not_answer_is_busy() {
        let text = text(&status_of(vec![slot(1, None)]));
        assert!(text.contains("chat-gateway/1  123456  busy"), "{text}");
    }

    #[test]
    fn what_is_not_zero_has_a_line() {
        let text = text(&status_of(vec![slot(0, Some(Stats { refused: 3, ..Stats::default() }))]));
        assert!(text.contains("chat-gateway/0: clients 7, refused 3\n"), "{text}");
        assert!(text.ends_with("chat-gateway/0: last exit: signal 9 (SIGKILL)"), "{text}");
    }
}
