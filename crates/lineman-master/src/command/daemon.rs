//! `start -d`: the program once more, in a session of its own, and its report of how the start went.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;

use command_fds::{CommandFdExt as _, FdMapping};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::arguments::Start;
use super::{Failure, Outcome, start};
use crate::control::ExitCode;
use crate::control::answers::Answers;
use crate::control::client::{self, Call};
use crate::control::environment::{self, CONTROL_DESCRIPTOR};
use crate::control::request::Answer;
use crate::master::{self, Plan};
use crate::terminal::Printer;
use crate::{Error, os};

/// Starts the daemon and waits until everything is up or has failed.
pub(super) fn start(plan: &Plan, how: &Start) -> Outcome {
    plan.folder.create()?;
    let (ours, theirs) =
        UnixStream::pair().map_err(|source| Error::Os { action: "make a socket pair", source })?;
    let interrupts = Interrupts::take()?;
    let daemon = spawn(plan, theirs)?;
    interrupts.explain(daemon, &plan.config.name);
    let mut report = Call::on(ours);
    while let Some(answer) = report.next()? {
        match answer {
            Answer::Started(report) if !how.quiet => Printer::data(&start::table(&report)),
            Answer::Done { code: ExitCode::Ok, .. } => return Ok(ExitCode::Ok),
            Answer::Done { code, text } => return Err(Failure::new(code, text)),
            Answer::Note { text } => Printer::note(&text),
            _ => {}
        }
    }
    let text = format!("the daemon ended while it started: see {}", log(plan).display());
    Err(Failure::new(ExitCode::Failed, text))
}

fn log(plan: &Plan) -> PathBuf {
    plan.log.log.clone().unwrap_or_else(|| plan.folder.log())
}

/// The signals by which people give up waiting. The daemon has a session of its own and gets none.
struct Interrupts {
    runtime: Runtime,
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupts {
    fn take() -> Result<Self, Error> {
        let failed = |source| Error::Os { action: "take signals", source };
        let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let take = |kind| {
            let _entered = runtime.enter();
            signal(kind).map_err(failed)
        };
        let interrupt = take(SignalKind::interrupt())?;
        let terminate = take(SignalKind::terminate())?;
        Ok(Self { runtime, interrupt, terminate })
    }

    /// From a thread of its own, says at the first of them what becomes of the daemon, and ends this
    /// process.
    fn explain(mut self, daemon: u32, name: &str) {
        let text = format!(
            "pid {daemon} goes on starting (`{name} status` shows it, `{name} stop` ends it)"
        );
        std::thread::spawn(move || {
            self.runtime.block_on(async {
                tokio::select! {
                    _ = self.interrupt.recv() => {}
                    _ = self.terminate.recv() => {}
                }
            });
            Printer::error(&format!("interrupted: {text}"));
            super::leave(ExitCode::Failed)
        });
    }
}

fn spawn(plan: &Plan, report: UnixStream) -> Result<u32, Error> {
    let (stdout, stderr) = plan.log.streams()?;
    let failed = |source| Error::Os { action: "start the daemon", source };
    let mut command = Command::new(&plan.program);
    command
        // The same line once more, as the program's own flags may be in it; the report makes it the
        // daemon, whatever the verb is.
        .args(std::env::args_os().skip(1))
        .env(environment::REPORT.name, CONTROL_DESCRIPTOR.to_string())
        .stdin(os::empty_stdin().map_err(failed)?)
        .stdout(stdout)
        .stderr(stderr);
    let watched = std::env::var(environment::WATCHDOG_PID.name).ok();
    if watched.is_some_and(|pid| pid.parse() == Ok(std::process::id())) {
        // The manager means the program it has started, which from now on is the daemon.
        command.env_remove(environment::WATCHDOG_PID.name);
    }
    let mapping = FdMapping { parent_fd: OwnedFd::from(report), child_fd: CONTROL_DESCRIPTOR };
    let collision = |_| failed(std::io::ErrorKind::InvalidInput.into());
    command.fd_mappings(vec![mapping]).map_err(collision)?;
    os::signals::unblock_in(&mut command);
    // Never waited for: this process ends first, and then it is no child of ours.
    command.spawn().map(|child| child.id()).map_err(failed)
}

/// Returns the report socket if this process is the daemon, which it enters a session of its own for.
pub(super) fn report_socket() -> Result<Option<UnixStream>, Failure> {
    if std::env::var_os(environment::REPORT.name).is_none() {
        return Ok(None);
    }
    let adopted = os::adopt(CONTROL_DESCRIPTOR).map_err(|error| {
        let name = environment::REPORT.name;
        Failure::new(ExitCode::Usage, format!("{name} is for `start -d` alone, unset it: {error}"))
    })?;
    // A hook may start a program of Lineman's.
    os::environment::forget(&[environment::REPORT.name]);
    // Refused only to the leader of a group, and then there is a session already.
    if let Err(error) = rustix::process::setsid() {
        Printer::note(&format!("no session of its own: {error}"));
    }
    Ok(Some(UnixStream::from(adopted)))
}

/// Runs the master as the daemon.
pub(super) fn run(plan: &Plan, mut report: UnixStream) -> ExitCode {
    let (answers, mut receiver) = Answers::channel();
    let reporting = std::thread::spawn(move || {
        while let Some(answer) = receiver.blocking_recv() {
            // The command that started it may be gone: the daemon goes on.
            let done = matches!(answer, Answer::Done { .. });
            if client::write(&mut report, &answer).is_err() || done {
                return;
            }
        }
    });
    let code = master::run(plan, &answers);
    drop(answers);
    if reporting.join().is_err() {
        tracing::warn!("the start could not be reported");
    }
    code
}
