//! The command line: parses it, and runs `start` here or asks the running master for the rest.
//!
//! Called by `App::run` in every process that is no worker. It signals no process; what it wants of the
//! master goes over the control socket.

pub mod arguments;
pub mod log_flags;
pub mod size;
mod start;
mod daemon;
mod steps;
mod progress;
mod status;
mod live;
mod connections;
pub mod logs;
mod check;
mod health;
pub mod duration;

use std::ffi::OsString;
use std::io;
use std::time::Duration;

use clap::FromArgMatches as _;

use crate::control::ExitCode;
use crate::control::client::{self, Call};
use crate::control::folder::{Choice, RuntimeFolder};
use crate::control::lock::Holder;
use crate::control::request::{Answer, Probe, Request};
use crate::error::chain;
use crate::master::activation::{self, Given};
use crate::master::upgrade::{self, ExecutedFor};
use crate::master::{Plan, WorkerArguments};
use crate::program::Program;
use crate::terminal::Printer;
use crate::{Error, os};
use arguments::{Arguments, CommandLine, Verb};
use log_flags::RunMode;

/// How a command ends: well, with a code that has been explained, or with an error to print.
type Outcome = Result<ExitCode, Failure>;

/// Why a command failed.
#[derive(Debug)]
struct Failure {
    code: ExitCode,
    text: String,
}

impl Failure {
    fn new(code: ExitCode, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(ExitCode::Failed, chain(&error))
    }
}

/// Parses a line of arguments, the first of them the program. One that is wrong is explained, and
/// ends the process.
pub fn parse<T: Into<OsString> + Clone>(
    name: &str,
    line: impl IntoIterator<Item = T>,
) -> Arguments {
    let matches = arguments::command(name).get_matches_from(line);
    CommandLine::from_arg_matches(&matches).unwrap_or_else(|error| error.exit()).arguments
}

/// Runs the command that the arguments name. A command that fails says so and ends the process with
/// its code.
pub fn run(program: &dyn Program, arguments: &Arguments, workers: WorkerArguments) {
    // One that takes a master's place begins so when it has taken the signals.
    if !upgrade::is_begun()
        && let Err(error) = os::signals::begin_afresh()
    {
        Printer::note(&format!("signals are as they were inherited: {error}"));
    }
    // Before the next step, which makes every inherited descriptor look like one of our own.
    let report = match daemon::report_socket() {
        Ok(report) => report,
        Err(failure) => {
            Printer::error(&failure.text);
            leave(failure.code)
        }
    };
    let upgrade = match upgrade::take() {
        Ok(upgrade) => upgrade,
        Err(problem) => {
            Printer::error(&problem);
            leave(ExitCode::Failed)
        }
    };
    if let Some(upgrade) = upgrade {
        return go_on(program, arguments, workers, upgrade);
    }
    let given = activation::take();
    if let Err(error) = os::close_inherited_on_exec() {
        Printer::note(&format!("cannot look at inherited descriptors: {error}"));
    }
    let choice = Choice::from_environment(
        arguments.runtime_dir.as_deref(),
        program.config().runtime_dir.as_deref(),
    );
    let folder = RuntimeFolder::resolve(&program.config().name, &choice);
    let plan = |folder, how| plan(program, folder, how, workers, given);
    let outcome = match &arguments.verb {
        Verb::Start(how) => match report {
            Some(report) => plan(folder, how).map(|plan| daemon::run(&plan, report)),
            None => plan(folder, how).and_then(|plan| start::start(&plan, how)),
        },
        Verb::Restart(how) => match report {
            Some(report) => plan(folder, &how.start).map(|plan| daemon::run(&plan, report)),
            None => plan(folder, &how.start).and_then(|plan| start::restart(program, &plan, how)),
        },
        Verb::Logs(how) => logs::logs(&folder, program, how),
        Verb::Check(how) => check::check(program, folder, how),
        Verb::Completions(how) => {
            let name = program.config().name.clone();
            let mut command = arguments.whole(&name);
            clap_complete::generate(how.shell, &mut command, name, &mut io::stdout());
            Ok(ExitCode::Ok)
        }
        Verb::Stop(how) => steps::stop(&folder, how),
        Verb::Reload(how) => steps::reload(&folder, how),
        Verb::Upgrade(how) => steps::upgrade(&folder, how),
        Verb::Status(how) => status::status(&folder, how),
        Verb::Health(how) => health::health(&folder, how),
        Verb::Connections(how) => connections::connections(&folder, how),
    };
    finish(outcome);
}

/// Goes on in a master's place, or says whether it could.
fn go_on(
    program: &dyn Program,
    arguments: &Arguments,
    workers: WorkerArguments,
    upgrade: ExecutedFor,
) {
    if let Err(error) = os::close_inherited_on_exec() {
        Printer::note(&format!("cannot look at inherited descriptors: {error}"));
    }
    let choice = Choice::from_environment(
        arguments.runtime_dir.as_deref(),
        program.config().runtime_dir.as_deref(),
    );
    let folder = RuntimeFolder::resolve(&program.config().name, &choice);
    let plan = match &arguments.verb {
        Verb::Start(how) => plan(program, folder, how, workers, Ok(Vec::new())),
        Verb::Restart(how) => plan(program, folder, &how.start, workers, Ok(Vec::new())),
        _ => Err(Failure::new(ExitCode::Usage, "an upgrade is for a master alone")),
    };
    let plan = plan.map_err(|failure| failure.text);
    let plan = plan.as_ref().map_err(Clone::clone);
    finish(Ok(match upgrade {
        ExecutedFor::Check(state) => upgrade::answer_check(plan, &state),
        ExecutedFor::Resume(inherited) => upgrade::resume(plan, inherited),
    }));
}

/// Returns what is to be started; a program that describes something impossible is told here.
fn plan(
    program: &dyn Program,
    folder: RuntimeFolder,
    how: &arguments::Start,
    workers: WorkerArguments,
    given: Result<Vec<Given>, Error>,
) -> Result<Plan, Failure> {
    let given = given?;
    let place = if how.daemon { RunMode::Daemon } else { RunMode::Terminal };
    let log = how.log.wanted(program.config(), &folder, place)?;
    let plan = bare_plan(program, folder);
    let plan = plan.map_err(|error| Failure::new(ExitCode::Failed, chain(&error)))?;
    Ok(Plan { self_signed: how.self_signed, workers, given, log, ..plan })
}

/// Returns what would be started without any flag.
fn bare_plan(program: &dyn Program, folder: RuntimeFolder) -> Result<Plan, Error> {
    Plan::new(program.config().clone(), program.descriptions(), program.hooks(), folder)
}

/// Says why the command failed, if it did; returns when it did not.
fn finish(outcome: Outcome) {
    match outcome {
        Ok(ExitCode::Ok) => {}
        Ok(code) => leave(code),
        Err(failure) => {
            Printer::error(&failure.text);
            leave(failure.code)
        }
    }
}

#[expect(
    clippy::exit,
    reason = "exit codes are part of the command line, and `main` has only 0 and 1"
)]
fn leave(code: ExitCode) -> ! {
    std::process::exit(code.number())
}

/// Returns the running master, or the failure that there is none.
fn running(folder: &RuntimeFolder) -> Result<Holder, Failure> {
    client::running(folder)?.ok_or_else(|| not_running(folder))
}

fn not_running(folder: &RuntimeFolder) -> Failure {
    if let Some(roots) = roots(folder) {
        return roots;
    }
    let text = format!("not running (no master holds {})", folder.lock().display());
    Failure::new(ExitCode::NotRunning, text)
}

/// The failure that nothing runs where this user's is, but something in root's folder; `None` when
/// nothing does.
fn roots(folder: &RuntimeFolder) -> Option<Failure> {
    let roots = folder.of_root().filter(RuntimeFolder::is_listened_at)?;
    let closed = chain(&roots.check_readable().err()?);
    let ours = folder.lock();
    let text = format!("{closed}; nothing of yours runs (no master holds {})", ours.display());
    Some(Failure::new(ExitCode::Failed, text))
}

/// How long a question may go unanswered: the master asks its processes for a second at most.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// How long a command that takes as long as its work takes hears nothing before it looks whether the
/// master's loop answers at all, and how long that may take.
const SILENCE: Duration = Duration::from_secs(5);

/// The answers of the running master.
#[derive(Debug)]
struct PendingAnswers<'a> {
    call: Call,
    folder: &'a RuntimeFolder,
    pid: u32,
    /// Whether the work may take long.
    waits_long: bool,
    /// Whether the master has answered anything.
    is_heard: bool,
}

/// Asks the running master.
fn ask<'a>(folder: &'a RuntimeFolder, request: &Request) -> Result<PendingAnswers<'a>, Failure> {
    let Holder { pid, .. } = running(folder)?;
    if os::procfs::is_suspended(pid) {
        return Err(hangs(pid, Duration::ZERO));
    }
    let call = match Call::new(folder, request) {
        Ok(call) => call,
        Err(Error::File { source, .. }) if source.kind() == io::ErrorKind::TimedOut => {
            return Err(hangs(pid, client::CONNECT_LIMIT));
        }
        Err(error) => return Err(unanswered(folder, silent(pid, &chain(&error)))),
    };
    let waits_long =
        matches!(request, Request::Stop { .. } | Request::Reload { .. } | Request::Upgrade);
    call.answers_within(if waits_long { SILENCE } else { ANSWER_LIMIT })?;
    Ok(PendingAnswers { call, folder, pid, waits_long, is_heard: false })
}

impl PendingAnswers<'_> {
    /// Returns the next answer, or `None` when the master is gone.
    fn next(&mut self) -> Result<Option<Answer>, Failure> {
        loop {
            match self.call.next() {
                Err(error) if error.kind() != io::ErrorKind::TimedOut => return Err(error.into()),
                Ok(None) if !self.is_heard => return Err(unanswered(self.folder, cut_off())),
                Ok(answer) => {
                    self.is_heard = true;
                    return Ok(answer);
                }
                Err(_) if self.waits_long && self.is_live() => {}
                Err(_) => return Err(hangs(self.pid, ANSWER_LIMIT)),
            }
        }
    }

    /// Returns whether the master's loop answers. One that is gone has nothing to answer, and the next
    /// look at the call shows that.
    fn is_live(&self) -> bool {
        let is_late = |error: &io::Error| error.kind() == io::ErrorKind::TimedOut;
        let request = Request::Health { probe: Probe::Live };
        match Call::new(self.folder, &request) {
            Ok(mut call) => {
                let answer = call.answers_within(SILENCE).and_then(|()| call.next());
                !answer.is_err_and(|error| is_late(&error))
            }
            Err(Error::File { source, .. }) => !is_late(&source),
            Err(_) => true,
        }
    }
}

/// The failure of a question that was not answered: that no master runs, if that is so by now. One that was
/// just killed holds its lock, and takes callers, for a moment longer.
fn unanswered(folder: &RuntimeFolder, failure: Failure) -> Failure {
    match client::living(folder) {
        Ok(None) => not_running(folder),
        Ok(Some(_)) | Err(_) => failure,
    }
}

fn silent(pid: u32, problem: &str) -> Failure {
    Failure::new(ExitCode::Failed, format!("pid {pid} does not answer: {problem}"))
}

/// The failure that a master does nothing any more.
fn hangs(pid: u32, waited: Duration) -> Failure {
    if os::procfs::is_suspended(pid) {
        let problem = format!("it is suspended (hint: `kill -CONT {pid}` lets it go on)");
        return silent(pid, &problem);
    }
    let hint = format!("`kill -KILL {pid}` ends it, and its workers leave by themselves");
    silent(pid, &format!("it has said nothing for {} s (hint: {hint})", waited.as_secs()))
}

/// The failure that the master went away in the middle of an answer.
fn cut_off() -> Failure {
    Failure::new(ExitCode::Failed, "the master ended before it had answered: its log says why")
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(ExitCode::Failed, format!("cannot read the master's answer: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::path::Path;

    use super::*;
    use crate::control::lock::Lock;

    #[test]
    fn a_master_that_is_gone_before_it_answers_is_not_running() {
        let place = tempfile::tempdir().unwrap();
        let wanted = Some(place.path().join("chat"));
        let folder = RuntimeFolder::resolve("chat", &Choice { wanted, ..Choice::default() });
        folder.create().unwrap();
        let lock = Lock::take(&folder.lock(), &Holder::this(Path::new("/bin/chat"))).unwrap();
        let listener = UnixListener::bind(folder.path().join("control.sock")).unwrap();
        let master = std::thread::spawn(move || {
            let (caller, _) = listener.accept().unwrap();
            drop(caller);
            drop((listener, lock));
        });
        // It may be gone before it is asked, too.
        let answer = ask(&folder, &Request::Status).and_then(|mut call| call.next());
        let failure = answer.unwrap_err();
        assert_eq!(failure.code, ExitCode::NotRunning, "{}", failure.text);
        master.join().unwrap();
    }
}
