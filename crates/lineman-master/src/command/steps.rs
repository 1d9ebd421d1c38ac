//! `stop` and `reload`: what the master does step by step, on stderr, and the result on stdout.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::arguments::{Leave, Reload, Upgrade};
use super::progress::Display;
use super::{Failure, Outcome, PendingAnswers, ask, cut_off};
use crate::control::ExitCode;
use crate::control::folder::RuntimeFolder;
use crate::control::request::{Answer, Manner, ReloadTo, Request};
use crate::terminal::Printer;

/// How long a master that has stopped everything may take to end itself.
const END_LIMIT: Duration = Duration::from_secs(10);

/// Runs `stop`: returns when the master is gone.
pub(super) fn stop(folder: &RuntimeFolder, how: &Leave) -> Outcome {
    let request = Request::Stop { manner: how.manner(), timeout_ms: how.timeout_ms() };
    let master = MasterProcess::watch(folder)?;
    let (code, text) = follow(ask(folder, &request)?)?;
    master.wait_for_its_end()?;
    conclude(code, &text)
}

/// Runs `reload`: returns when every process has been replaced.
pub(super) fn reload(folder: &RuntimeFolder, how: &Reload) -> Outcome {
    let request = Request::Reload {
        service: how.service.clone(),
        manner: how.leave.manner(),
        timeout_ms: how.leave.timeout_ms(),
        drain_rate: how.drain_rate,
        to: how.target(),
    };
    let (code, text) = follow(ask(folder, &request)?)?;
    conclude(code, &text)
}

/// Runs `upgrade`: returns when the master's place has been taken, or was not.
pub(super) fn upgrade(folder: &RuntimeFolder, how: &Upgrade) -> Outcome {
    let mut call = ask(folder, &Request::Upgrade)?;
    while let Some(answer) = call.next()? {
        match answer {
            Answer::Done { code, text } => return conclude(code, &text),
            Answer::Note { text } => Printer::note(&text),
            _ => {}
        }
    }
    // It was executed: what came of it, the program in its place says.
    let (code, text) = follow(ask(folder, &Request::Upgraded)?)?;
    let outcome = conclude(code, &text)?;
    if !how.reload {
        return Ok(outcome);
    }
    let (service, manner) = (None, Manner::Plain);
    let (timeout_ms, drain_rate, to) = (None, None, ReloadTo::Newest);
    let request = Request::Reload { service, manner, timeout_ms, drain_rate, to };
    let (code, text) = follow(ask(folder, &request)?)?;
    conclude(code, &text)
}

fn conclude(code: ExitCode, text: &str) -> Outcome {
    match code {
        ExitCode::Ok | ExitCode::Killed => {
            Printer::data(text);
            Ok(code)
        }
        _ => Err(Failure::new(code, text)),
    }
}

fn follow(mut call: PendingAnswers<'_>) -> Result<(ExitCode, String), Failure> {
    let mut display = Display::new();
    while let Some(answer) = call.next()? {
        match answer {
            Answer::Done { code, text } => return Ok((code, text)),
            Answer::Note { text } => display.note(&text),
            Answer::Progress(progress) => display.step(&progress),
            _ => {}
        }
    }
    Err(cut_off())
}

/// The master's process. Held by a descriptor, so that another process of the same number, later,
/// is not taken for it; `None` when it was gone before we could.
struct MasterProcess {
    pid: u32,
    process: Option<OwnedFd>,
}

impl MasterProcess {
    fn watch(folder: &RuntimeFolder) -> Result<Self, Failure> {
        let pid = super::running(folder)?.pid;
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let process = number.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        Ok(Self { pid, process })
    }

    fn wait_for_its_end(&self) -> Result<(), Failure> {
        let Some(process) = &self.process else { return Ok(()) };
        let end = Instant::now() + END_LIMIT;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let limit = Timespec::try_from(left).ok();
            let mut watched = [PollFd::new(process, PollFlags::IN)];
            match poll(&mut watched, limit.as_ref()) {
                Ok(0) => break,
                Err(Errno::INTR) => {}
                Ok(_) | Err(_) => return Ok(()),
            }
        }
        let text = format!("pid {} has stopped its processes but does not end", self.pid);
        Err(Failure::new(ExitCode::Failed, text))
    }
}
