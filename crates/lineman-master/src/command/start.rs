//! `start` and `restart`: the master in this process, or in a daemon's.

use super::arguments::{Restart, Start};
use super::{Failure, Outcome, check, daemon, steps};
use crate::control::ExitCode;
use crate::control::answers::Answers;
use crate::control::client;
use crate::control::report;
use crate::control::request::Answer;
use crate::master::{self, Plan};
use crate::program::Program;
use crate::terminal::Printer;
use crate::terminal::table::{Align, Table};

pub(super) fn start(plan: &Plan, how: &Start) -> Outcome {
    if let Some(holder) = client::living(&plan.folder)? {
        return Err(Failure::new(ExitCode::AlreadyRunning, master::already_running(&holder)));
    }
    check_given(plan, how)?;
    if how.daemon { daemon::start(plan, how) } else { Ok(foreground(plan, how)) }
}

fn check_given(plan: &Plan, how: &Start) -> Result<(), Failure> {
    if how.daemon && !plan.given.is_empty() {
        let text = "the service manager gave its sockets to this process alone: start without -d";
        return Err(Failure::new(ExitCode::Usage, text));
    }
    Ok(())
}

/// Runs `restart`. What runs is stopped only when nothing is known that the start would fail of.
pub(super) fn restart(program: &dyn Program, plan: &Plan, how: &Restart) -> Outcome {
    if let Some(holder) = client::living(&plan.folder)? {
        check_given(plan, &how.start)?;
        let mut problems = check::problems(program, plan);
        if !problems.is_empty() {
            problems.push(format!("not restarted: pid {} goes on as it was", holder.pid));
            return Err(Failure::new(ExitCode::Failed, problems.join("\nerror: ")));
        }
        // Those that had to be killed are gone as well, and that was said.
        steps::stop(&plan.folder, &how.leave)?;
    } else {
        Printer::note("not running: starting it");
    }
    start(plan, &how.start)
}

fn foreground(plan: &Plan, how: &Start) -> ExitCode {
    let (answers, mut receiver) = Answers::channel();
    let quiet = how.quiet;
    // A thread of its own: a terminal that was stopped with Ctrl-S must not stop the master.
    let printing = std::thread::spawn(move || {
        while let Some(answer) = receiver.blocking_recv() {
            match answer {
                Answer::Started(report) if !quiet => {
                    Printer::data(&table(&report));
                    Printer::note("Press Ctrl-C to stop.");
                }
                Answer::Done { code, text } if code != ExitCode::Ok => Printer::error(&text),
                Answer::Note { text } => Printer::note(&text),
                _ => {}
            }
        }
    });
    let code = master::run(plan, &answers);
    drop(answers);
    if printing.join().is_err() {
        Printer::error("the start could not be shown");
    }
    code
}

/// Returns the table of services, and the addresses a browser can open.
pub(super) fn table(report: &report::StartReport) -> String {
    let report::StartReport { lineman, program, pid, services, self_signed } = report;
    let mut table = Table::new(&[
        ("service", Align::Left),
        ("kind", Align::Left),
        ("listen", Align::Left),
        ("processes", Align::Right),
        ("state", Align::Left),
    ]);
    for service in services {
        let state = if service.ready == service.processes { "ok" } else { "incomplete" };
        let row = |listen| {
            let (name, kind) = (service.name.clone(), service.kind.clone());
            [name, kind, listen, service.processes.to_string(), state.to_owned()]
        };
        let mut addresses = listen_cells(service).into_iter();
        table.row(row(addresses.next().unwrap_or_else(|| "-".to_owned())));
        for address in addresses {
            table.row([String::new(), String::new(), address]);
        }
    }
    let mut text = format!("Lineman {lineman}  {program}  pid {pid}\n\n{}\n", table.text());
    let listens = services.iter().flat_map(|service| &service.listen);
    let pages: Vec<String> =
        listens.filter(|listen| listen.page && !is_unix(listen)).map(page).collect();
    if !pages.is_empty() {
        text.push('\n');
    }
    for page in pages {
        text.extend(["open ", &page, "\n"]);
    }
    if let Some(fingerprint) = self_signed {
        text.push_str("\nTLS is self-signed, for development only: browsers will warn\nSHA-256 ");
        text.extend([fingerprint, "\n"]);
    }
    text
}

/// How many addresses of one kind are shown: many slots have as many ports, chosen by the kernel.
const CELLS: usize = 4;

/// Returns the addresses of a service as cells: ports that follow each other, one for each slot, are
/// one range. Of many that do not, the first ones are shown; `status --json` has them all.
pub(super) fn listen_cells(service: &report::ServiceReport) -> Vec<String> {
    let of_one_kind = service.listen.chunk_by(|one, next| one.label == next.label);
    of_one_kind.flat_map(cells).collect()
}

fn cells(listens: &[report::ListenReport]) -> Vec<String> {
    let follows = |one: &report::ListenReport, next: &report::ListenReport| {
        let (Some((host, port)), Some((next_host, next_port))) = (place(one), place(next)) else {
            return false;
        };
        host == next_host && port.checked_add(1) == Some(next_port)
    };
    let mut cells: Vec<_> = listens.chunk_by(follows).map(cell).collect();
    if cells.len() > CELLS {
        let more = cells.len() - (CELLS - 1);
        cells.truncate(CELLS - 1);
        cells.push(format!("and {more} more"));
    }
    cells
}

fn cell(listens: &[report::ListenReport]) -> String {
    match listens {
        [first, .., last] => {
            let port = place(last).map_or_else(String::new, |(_, port)| port.to_string());
            format!("{}..{port}", shown(first))
        }
        [only] => shown(only),
        [] => String::new(),
    }
}

fn place(listen: &report::ListenReport) -> Option<(&str, u16)> {
    let (host, port) = listen.address.rsplit_once(':')?;
    Some((host, port.parse().ok()?))
}

fn shown(listen: &report::ListenReport) -> String {
    let report::ListenReport { scheme, address, .. } = listen;
    if is_unix(listen) { format!("{scheme}+{address}") } else { format!("{scheme}://{address}") }
}

fn is_unix(listen: &report::ListenReport) -> bool {
    listen.address.starts_with("unix:")
}

fn page(listen: &report::ListenReport) -> String {
    // What listens everywhere listens on this machine; a browser wants an address.
    let address = listen.address.replace("0.0.0.0:", "127.0.0.1:").replace("[::]:", "[::1]:");
    let scheme = if matches!(&*listen.scheme, "wss" | "https") { "https" } else { "http" };
    format!("{scheme}://{address}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen(label: &str, scheme: &str, address: &str) -> report::ListenReport {
        report::ListenReport {
            label: label.to_owned(),
            address: address.to_owned(),
            scheme: scheme.to_owned(),
            page: label == "clients",
        }
    }

    fn service(
        name: &str,
        listen: Vec<report::ListenReport>,
        processes: usize,
    ) -> report::ServiceReport {
        report::ServiceReport {
            name: name.to_owned(),
            kind: "websocket".to_owned(),
            listen,
            processes,
            ready: processes,
            reload: "replace".to_owned(),
        }
    }

    #[test]
    fn a_unix_socket_has_its_protocol_before_it_and_no_page() {
        let listen = vec![listen("clients", "ws", "unix:/run/chat.sock")];
        let services = vec![service("gateway", listen, 2)];
        let (lineman, program) = ("1.2.3".to_owned(), "chat".to_owned());
        let text =
            table(&report::StartReport { lineman, program, pid: 42, services, self_signed: None });
        assert!(text.contains("  ws+unix:/run/chat.sock  "), "{text}");
        assert!(!text.contains("open"), "{text}");
    }

    #[test]
    fn of_many_addresses_the_first_are_shown() {
        let links =
            (0..20).map(|link| listen("links", "link", &format!("127.0.0.1:{}", 4000 + 2 * link)));
        let cells = listen_cells(&service("gateway", links.collect(), 20));
        let shown = ["link://127.0.0.1:4000", "link://127.0.0.1:4002", "link://127.0.0.1:4004"];
        assert_eq!(cells, [&shown[..], &["and 17 more"]].concat());
    }

    #[test]
    fn the_start_table_shows_services_and_pages() {
        let gateway = vec![
            listen("clients", "ws", "0.0.0.0:7272"),
            listen("links", "tcp", "127.0.0.1:4000"),
            listen("links", "tcp", "127.0.0.1:4001"),
            listen("links", "tcp", "127.0.0.1:3999"),
        ];
        let services = vec![service("gateway", gateway, 2), service("jobs", Vec::new(), 1)];
        let report = report::StartReport {
            lineman: "1.2.3".to_owned(),
            program: "chat".to_owned(),
            pid: 42,
            services,
            self_signed: Some("AB:CD".to_owned()),
        };
        assert_eq!(
            table(&report),
            "Lineman 1.2.3  chat  pid 42\n\
             \n\
             service  kind       listen                      processes  state\n\
             gateway  websocket  ws://0.0.0.0:7272                   2  ok\n\
             \x20                   tcp://127.0.0.1:4000..4001\n\
             \x20                   tcp://127.0.0.1:3999\n\
             jobs     websocket  -                                   1  ok\n\
             \n\
             open http://127.0.0.1:7272\n\
             \n\
             TLS is self-signed, for development only: browsers will warn\n\
             SHA-256 AB:CD\n"
        );
    }
}
