//! `check`: everything that a start looks at before it binds its first socket, and what it would run.

use lineman_wire::handover::RecordFormats;

use super::arguments::Check;
use super::log_flags::RunMode;
use super::{Failure, Outcome, ask, bare_plan};
use crate::control::ExitCode;
use crate::control::folder::RuntimeFolder;
use crate::control::request::{Answer, Request};
use crate::error::chain;
use crate::master::{self, Plan, places};
use crate::program::{ClusterPeer, Program};
use crate::service::{Description, Listen, Ports, Reload};
use crate::terminal::table::{Align, Table};
use crate::terminal::{Printer, log};

/// Runs `check`: prints the services, then what is wrong with them, all of it.
pub(super) fn check(program: &dyn Program, folder: RuntimeFolder, how: &Check) -> Outcome {
    let plan = bare_plan(program, folder)?;
    Printer::data(&text(&plan));
    let mut problems = Vec::new();
    // A log in a folder that cannot be used need not be said as well.
    let place = match plan.folder.check() {
        Ok(()) => RunMode::Daemon,
        Err(error) => {
            problems.push(chain(&error));
            RunMode::Terminal
        }
    };
    match how.log.wanted(program.config(), &plan.folder, place) {
        Ok(wanted) => problems.extend(wanted.problems()),
        Err(Failure { text, .. }) => problems.push(text),
    }
    problems.extend(log::with_warnings_on_stderr(|| program.problems()));
    problems.extend(places::problems(&plan.services));
    problems.extend(health(&plan));
    problems.extend(handover(program.formats(), &plan));
    if how.cluster {
        problems.extend(cluster(program.peers()));
    }
    if problems.is_empty() {
        Ok(ExitCode::Ok)
    } else {
        Err(Failure::new(ExitCode::Failed, problems.join("\nerror: ")))
    }
}

/// Says whether the processes of this program, which may be newer than what runs, would take the connections
/// of those that run; returns a line for each that would not. Without a master there is nothing to say.
fn handover(ours: RecordFormats, plan: &Plan) -> Vec<String> {
    let hands_over = |name: &str| {
        let mut services = plan.services.iter();
        services.any(|service| service.name == name && service.reload == Reload::HandOver)
    };
    let status = ask(&plan.folder, &Request::Status).and_then(|mut call| call.next());
    let Ok(Some(Answer::Status(status))) = status else { return Vec::new() };
    let mut problems = Vec::new();
    for slot in status.slots.iter().filter(|slot| hands_over(&slot.service)) {
        let (Some(pid), "ready") = (slot.pid, &*slot.state) else { continue };
        let name = &slot.name;
        match (slot.formats, slot.formats.and_then(|theirs| theirs.common(ours))) {
            (_, Some(format)) => {
                Printer::note(&format!("{name} (pid {pid}) would hand over, in format {format}"));
            }
            (Some(theirs), None) => problems.push(format!(
                "{name} (pid {pid}) hands over in {theirs}, and this program takes {ours}: `restart`"
            )),
            (None, None) => problems.push(format!(
                "{name} (pid {pid}) runs a program that cannot hand over: `restart` replaces it"
            )),
        }
    }
    problems
}

/// Returns all that stands in the way of a start as planned, as far as that can be seen beside a
/// program that runs.
pub(super) fn problems(program: &dyn Program, plan: &Plan) -> Vec<String> {
    let folder = plan.folder.check().err().map(|error| chain(&error));
    let mut problems: Vec<String> = folder.into_iter().collect();
    problems.extend(plan.log.problems());
    // With a certificate made at the start the files of others are not read.
    if !plan.self_signed {
        problems.extend(program.problems());
    }
    if plan.given.is_empty() {
        problems.extend(places::problems(&plan.services));
    }
    problems.extend(health(plan));
    problems
}

fn health(plan: &Plan) -> Option<String> {
    master::health::check(&plan.config).err().map(|problem| problem.to_string())
}

/// Prints what the services need of other machines; returns what is wrong with it.
fn cluster(peers: Vec<ClusterPeer>) -> Vec<String> {
    if peers.is_empty() {
        Printer::note("no service of this program needs another machine");
        return Vec::new();
    }
    let mut table = Table::new(&[
        ("cluster", Align::Left),
        ("address", Align::Left),
        ("time", Align::Right),
        ("answer", Align::Left),
    ]);
    for ClusterPeer { role, address, took, outcome } in &peers {
        let answer = outcome.as_ref().map_or("-", |answer| answer).to_owned();
        let time = format!("{} ms", took.as_millis());
        table.row([(*role).to_owned(), address.clone(), time, answer]);
    }
    Printer::data(&format!("\n{}", table.text()));
    peers.into_iter().filter_map(|peer| peer.outcome.err()).collect()
}

fn text(plan: &Plan) -> String {
    let mut table = Table::new(&[
        ("service", Align::Left),
        ("kind", Align::Left),
        ("listen", Align::Left),
        ("processes", Align::Right),
        ("on reload", Align::Left),
    ]);
    for service in &plan.services {
        let mut addresses = addresses(service).into_iter();
        let first = addresses.next().unwrap_or_else(|| "-".to_owned());
        let (name, kind) = (service.name.clone(), service.kind.to_owned());
        let reload = match service.reload {
            Reload::Replace => "replaced",
            Reload::HandOver => "handed over",
            Reload::Keep => "stays",
        };
        table.row([name, kind, first, service.count.to_string(), reload.to_owned()]);
        for address in addresses {
            table.row([String::new(), String::new(), address]);
        }
    }
    let (name, program) = (&plan.config.name, plan.program.display());
    let folder = plan.folder.path().display();
    format!("{name}  {program}\nruntime folder {folder}\n\n{}", table.text())
}

fn addresses(service: &Description) -> Vec<String> {
    let listeners = service.listeners.iter();
    listeners
        .map(|listen| {
            let last = last_port(listen, service.count);
            let last = last.map_or_else(String::new, |port| format!("-{port}"));
            format!("{}://{}{last}", listen.scheme, listen.address)
        })
        .collect()
}

/// Returns the port of the last process where each has one of its own, and the first one's is fixed.
fn last_port(listen: &Listen, count: usize) -> Option<u16> {
    let first = listen.endpoint().ok()?.port()?;
    let more = u16::try_from(count).ok()?.checked_sub(1)?;
    let counted = listen.ports == Ports::PerSlot && first != 0 && more != 0;
    if counted { first.checked_add(more) } else { None }
}
