//! `status`: the head, a table of processes as wide as the terminal, and what is worth a line beneath.
//! Live, it is another module's.

use std::time::Duration;

use super::start::listen_cells;
use super::{Failure, Outcome, arguments, ask, cut_off, live};
use crate::control::folder::RuntimeFolder;
use crate::control::report::{SlotReport, StatusReport, Totals};
use crate::control::request::{Answer, Request};
use crate::control::{ExitCode, Stats};
use crate::terminal::table::{Align, Table};
use crate::terminal::{Printer, screen, units};

/// The columns. What is read side by side is side by side: in and out share a column.
const COLUMNS: [(&str, Align); 14] = [
    ("slot", Align::Left),
    ("pid", Align::Right),
    ("state", Align::Left),
    ("uptime", Align::Right),
    ("restarts", Align::Right),
    ("conns", Align::Right),
    ("msgs in/out", Align::Right),
    ("bytes in/out", Align::Right),
    ("queued", Align::Right),
    ("errors", Align::Right),
    ("lag p99", Align::Right),
    ("mem", Align::Right),
    ("cpu", Align::Right),
    ("build", Align::Left),
];

/// What a narrow terminal goes without: first what stands beneath the table as well, or changes
/// no decision.
const EXPENDABLE: [&str; 10] = [
    "build",
    "restarts",
    "errors",
    "queued",
    "uptime",
    "cpu",
    "pid",
    "mem",
    "msgs in/out",
    "bytes in/out",
];

/// Runs `status`.
pub(super) fn status(folder: &RuntimeFolder, how: &arguments::Status) -> Outcome {
    if how.live {
        return live::live(folder, how);
    }
    let mut found = ExitCode::Ok;
    let mut call = ask(folder, &Request::Status)?;
    while let Some(answer) = call.next()? {
        match answer {
            Answer::Status(status) if how.format.json => {
                found = code(&status);
                let text = serde_json::to_string_pretty(&status).map_err(std::io::Error::from)?;
                Printer::data(&text);
            }
            Answer::Status(status) => {
                found = code(&status);
                let width = screen::stdout().map(|size| size.columns);
                Printer::data(&text(&status, width));
            }
            Answer::Note { text } => Printer::note(&text),
            Answer::Done { code: ExitCode::Ok, .. } => return Ok(found),
            Answer::Done { code, text } => return Err(Failure::new(code, text)),
            _ => {}
        }
    }
    Err(cut_off())
}

/// Returns what the command exits with.
fn code(status: &StatusReport) -> ExitCode {
    if status.slots.iter().any(SlotReport::has_failed) { ExitCode::Degraded } else { ExitCode::Ok }
}

/// Returns the text for a terminal as wide as this; without a terminal everything is shown.
fn text(status: &StatusReport, width: Option<usize>) -> String {
    let mut lines = vec![title(status)];
    lines.extend(services(status));
    lines.push(String::new());
    let mut table = Table::new(&COLUMNS);
    for slot in &status.slots {
        table.row(row_of(slot));
    }
    table.row(totals(status));
    if let Some(width) = width {
        table = table.fit(width, &EXPENDABLE);
    }
    lines.extend(table.lines());
    let remarks: Vec<String> = status.slots.iter().flat_map(remarks).collect();
    if !remarks.is_empty() {
        lines.push(String::new());
        lines.extend(remarks);
    }
    lines.join("\n")
}

/// Returns the line about the program as a whole.
pub(super) fn title(status: &StatusReport) -> String {
    let uptime = units::duration(Duration::from_millis(status.uptime_ms));
    let StatusReport { lineman, program, pid, state, .. } = status;
    let load = status.load.map_or_else(String::new, |[one, five, fifteen]| {
        format!("  load {one:.2} {five:.2} {fifteen:.2}")
    });
    format!("Lineman {lineman}  {program}  pid {pid}  {state}  uptime {uptime}{load}")
}

/// Returns how many services and processes there are, and how many slots have failed.
pub(super) fn sums(status: &StatusReport) -> String {
    let services = units::plural(status.services.len(), "service", "services");
    let processes = units::plural(status.totals.processes, "process", "processes");
    let failed = match status.slots.iter().filter(|slot| slot.has_failed()).count() {
        0 => String::new(),
        failed => format!(", {} failed", units::plural(failed, "slot", "slots")),
    };
    format!("{services}, {processes}{failed}")
}

fn services(status: &StatusReport) -> Vec<String> {
    let mut lines = vec![sums(status)];
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

/// Returns the state as people see it.
pub(super) fn shown_state(slot: &SlotReport) -> String {
    if slot.pid.is_some() && !slot.answered && slot.state == "ready" {
        // It serves, and has not answered within a second: its loop is stuck.
        "busy".to_owned()
    } else {
        slot.state.clone()
    }
}

fn row_of(slot: &SlotReport) -> Vec<String> {
    let unknown = || "-".to_owned();
    let mut cells = vec![
        slot.name.clone(),
        slot.pid.map_or_else(unknown, |pid| pid.to_string()),
        shown_state(slot),
        slot.uptime_ms
            .map_or_else(unknown, |uptime| units::duration(Duration::from_millis(uptime))),
        slot.restarts.to_string(),
    ];
    match &slot.stats {
        None => cells.extend([unknown(), unknown(), unknown(), unknown(), unknown()]),
        Some(stats) => cells.extend([
            units::count(stats.connections),
            format!("{}/{}", units::count(stats.messages_in), units::count(stats.messages_out)),
            format!("{}/{}", units::bytes(stats.bytes_in), units::bytes(stats.bytes_out)),
            units::bytes(stats.queued_bytes),
            units::count(errors(stats)),
        ]),
    }
    cells.push(slot.lag_p99_us.map_or_else(unknown, units::micros));
    cells.push(slot.memory_bytes.map_or_else(unknown, units::bytes));
    cells.push(slot.cpu_ms.map_or_else(unknown, cpu));
    // Which life of the slot, and of which build.
    let build = slot.build.as_ref().map(|build| format!("{}:{build}", slot.generation));
    cells.push(build.unwrap_or_else(unknown));
    cells
}

/// Returns how often a handler failed or a peer broke its protocol.
pub(super) fn errors(stats: &Stats) -> u64 {
    stats.handler_errors + stats.protocol_errors
}

fn totals(status: &StatusReport) -> Vec<String> {
    let Totals { stats, memory_bytes, cpu_ms, lag_p99_us, .. } = &status.totals;
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
        units::count(errors(stats)),
        // The worst of them: lags have no sum.
        units::micros(*lag_p99_us),
        units::bytes(*memory_bytes),
        cpu(*cpu_ms),
        String::new(),
    ]
}

/// Returns the lines of one process that a table has no room for: gauges that are not zero, faults
/// that were counted, how the process before it ended.
pub(super) fn remarks(slot: &SlotReport) -> Vec<String> {
    let mut counts: Vec<(String, u64)> = slot.gauges.clone().into_iter().collect();
    if let Some(stats) = &slot.stats {
        counts.push(("refused".to_owned(), stats.refused));
        counts.push(("budget_held".to_owned(), stats.budget_held));
        counts.push(("budget_refused".to_owned(), stats.budget_refused));
        counts.push(("budget_closed".to_owned(), stats.budget_closed));
        counts.push(("limited_requests".to_owned(), stats.limited_requests));
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
    if let Some(why) = &slot.unfit {
        lines.push(format!("{}: not ready: {why}", slot.name));
    }
    lines.extend(slot.remarks.iter().map(|remark| format!("{}: {remark}", slot.name)));
    if slot.has_failed() {
        let next = slot.next_start_in_ms.map_or_else(
            || "the next attempt is under way".to_owned(),
            |next| format!("next attempt in {}", units::duration(Duration::from_millis(next))),
        );
        lines.push(format!("{}: failed {} times in a row, {next}", slot.name, slot.failures));
    }
    // A reload's exits are what was wanted.
    if let Some(reason) =
        slot.last_exit.as_ref().filter(|_| slot.restarts > 0 || slot.pid.is_none())
    {
        let ago = slot.last_exit_ago_ms.map_or_else(String::new, |ago| {
            format!(", {} ago", units::duration(Duration::from_millis(ago)))
        });
        lines.push(format!("{}: last exit: {reason}{ago}", slot.name));
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
pub(super) mod tests {
    use super::*;
    use crate::control::report::{ListenReport, ServiceReport};
    use std::collections::BTreeMap;

    pub(in super::super) fn slot(index: usize, stats: Option<Stats>) -> SlotReport {
        SlotReport {
            name: format!("chat-gateway/{index}"),
            service: "chat-gateway".to_owned(),
            index,
            pid: Some(123_456),
            state: "ready".to_owned(),
            generation: 1,
            build: Some("9fa2c1b0".to_owned()),
            formats: None,
            uptime_ms: Some(184_000),
            restarts: 2,
            failures: 0,
            next_start_in_ms: None,
            last_exit: Some("signal 9 (SIGKILL)".to_owned()),
            last_exit_ago_ms: Some(63_000),
            answered: stats.is_some(),
            stats,
            gauges: BTreeMap::from([("clients".to_owned(), 7), ("lost_events".to_owned(), 0)]),
            remarks: Vec::new(),
            unfit: None,
            memory_bytes: Some(12 << 20),
            cpu_ms: Some(1200),
            lag_p99_us: Some(1234),
            lag_max_us: Some(5678),
        }
    }

    fn status_of(slots: Vec<SlotReport>) -> StatusReport {
        let listen = ListenReport {
            label: "clients".to_owned(),
            address: "0.0.0.0:7272".to_owned(),
            scheme: "ws".to_owned(),
            page: true,
        };
        let service = ServiceReport {
            name: "chat-gateway".to_owned(),
            kind: "gateway".to_owned(),
            listen: vec![listen],
            processes: 2,
            ready: 2,
            reload: "replace".to_owned(),
        };
        StatusReport {
            lineman: "1.2.3".to_owned(),
            program: "chat".to_owned(),
            executable: "/bin/chat".to_owned(),
            pid: 42,
            state: "up".to_owned(),
            started_at: 0,
            uptime_ms: 3_600_000,
            load: Some([0.5, 0.25, 0.1]),
            log: None,
            services: vec![service],
            totals: Totals::of(&slots),
            slots,
        }
    }

    #[test]
    fn the_table_is_as_wide_as_the_terminal() {
        let many = Stats {
            connections: 20_000,
            messages_in: 123_456_789,
            messages_out: 123_456_789,
            bytes_in: 5 << 30,
            bytes_out: 5 << 30,
            queued_bytes: 1023,
            ..Stats::default()
        };
        let status = status_of(vec![slot(0, Some(many)), slot(1, None)]);
        for (width, kept) in [(60, "conns"), (80, "bytes in/out"), (100, "pid"), (140, "restarts")]
        {
            let text = text(&status, Some(width));
            let table = text.lines().skip_while(|line| !line.starts_with("slot"));
            let widest = table.map(|line| line.chars().count()).max();
            assert!(widest <= Some(width), "{widest:?} instead of {width}:\n{text}");
            assert!(text.contains(kept), "{kept} is not in\n{text}");
        }
        let everything = text(&status, None);
        for (name, _) in COLUMNS {
            assert!(everything.contains(name), "{name} is not in\n{everything}");
        }
    }

    #[test]
    fn a_failed_slot_degrades_the_program() {
        let failed = SlotReport { pid: None, state: "failed".to_owned(), ..slot(1, None) };
        let failed = SlotReport { failures: 9, next_start_in_ms: Some(12_000), ..failed };
        let status = status_of(vec![slot(0, Some(Stats::default())), failed.clone()]);
        assert_eq!(code(&status), ExitCode::Degraded);
        let shown = text(&status, None);
        assert!(shown.contains("1 service, 1 process, 1 slot failed\n"));
        let line = "chat-gateway/1: failed 9 times in a row, next attempt in 12s\n";
        assert!(shown.contains(line), "{shown}");
        let attempt = SlotReport { state: "starting".to_owned(), next_start_in_ms: None, ..failed };
        assert_eq!(code(&status_of(vec![attempt])), ExitCode::Degraded, "still");
        assert_eq!(code(&status_of(vec![slot(0, None)])), ExitCode::Ok);
    }

    #[test]
    fn a_process_that_does_not_answer_is_busy() {
        let text = text(&status_of(vec![slot(1, None)]), None);
        assert!(text.contains("chat-gateway/1  123456  busy"), "{text}");
        assert!(text.contains("  1:9fa2c1b0\n"), "{text}");
    }

    #[test]
    fn what_a_service_says_has_a_line() {
        let unfit = Some("no business for 40 s".to_owned());
        let slot = SlotReport { remarks: vec!["links 1 of 2".to_owned()], unfit, ..slot(1, None) };
        let shown = text(&status_of(vec![slot]), None);
        let lines =
            "chat-gateway/1: not ready: no business for 40 s\nchat-gateway/1: links 1 of 2\n";
        assert!(shown.contains(lines), "{shown}");
    }

    #[test]
    fn what_is_not_zero_has_a_line() {
        let stats = Stats { refused: 3, ..Stats::default() };
        let text = text(&status_of(vec![slot(0, Some(stats))]), None);
        assert!(text.contains("chat-gateway/0: clients 7, refused 3\n"), "{text}");
        let stats = Stats { budget_held: 1, budget_refused: 2, budget_closed: 3, ..stats };
        let lines = remarks(&slot(0, Some(stats)));
        let expected = "refused 3, budget_held 1, budget_refused 2, budget_closed 3";
        assert!(lines.iter().any(|line| line.ends_with(expected)), "{lines:?}");
        assert!(
            text.ends_with("chat-gateway/0: last exit: signal 9 (SIGKILL), 1m 3s ago"),
            "{text}"
        );
    }
}
