//! `stop` and `reload`: what the master does step by step, on stderr, and the result on stdout.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::arguments::{Leave, Reload};
use super::{Failure, Outcome, ask, cut_off};
use crate::control::ExitCode;
use crate::control::client::Call;
use crate::control::folder::RuntimeFolder;
use crate::control::report::{Progress, Step};
use crate::control::request::{Answer, Request};
use crate::terminal::{Printer, units};

/// How long a master that has stopped everything may take to end itself.
const END_LIMIT: Duration = Duration::from_secs(10);

/// How often a drain is mentioned when nothing changes but the time.
const MENTION_EVERY: Duration = Duration::from_secs(5);

/// Runs `stop`: returns when the master is gone.
pub(super) fn stop(folder: &RuntimeFolder, how: &Leave) -> Outcome {
    let request = Request::Stop { manner: how.manner(), timeout_ms: how.timeout_ms() };
    let master = Master::watch(folder)?;
    let (code, text) = follow(ask(folder, &request)?)?;
    master.wait_for_its_end()?;
    conclude(code, &text)
}

/// Runs `reload`: returns when every process has been replaced.
pub(super) fn reload(folder: &RuntimeFolder, how: &Reload) -> Outcome {
    let Reload { service, leave } = how;
    let (service, manner) = (service.clone(), leave.manner());
    let request = Request::Reload { service, manner, timeout_ms: leave.timeout_ms() };
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

fn follow(mut call: Call) -> Result<(ExitCode, String), Failure> {
    let mut mentioned = Mentioned::default();
    while let Some(answer) = call.next()? {
        match answer {
            Answer::Done { code, text } => return Ok((code, text)),
            Answer::Note { text } => Printer::note(&text),
            Answer::Progress(progress) if mentioned.is_news(&progress, Instant::now()) => {
                Printer::note(&line(&progress));
            }
            _ => {}
        }
    }
    Err(cut_off())
}

/// The master's process. Held by a descriptor, so that another process of the same number, later,
/// is not taken for it; `None` when it was gone before we could.
struct Master {
    pid: u32,
    process: Option<OwnedFd>,
}

impl Master {
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

/// What was said of each process last: a drain reports several times a second.
#[derive(Debug, Default)]
struct Mentioned {
    last: HashMap<u32, (Step, Option<usize>, Instant)>,
}

impl Mentioned {
    fn is_news(&mut self, progress: &Progress, now: Instant) -> bool {
        let Progress { pid, step, left, .. } = progress;
        let old = self.last.get(pid).is_some_and(|(was, had, at)| {
            let same = (was, had) == (step, left) || (*step == Step::Draining && left.is_none());
            // Several people leave at once as a rule: one line a second tells that as well.
            let lately = now.duration_since(*at) < Duration::from_secs(1) && *left != Some(0);
            (was == step) && (lately || (same && now.duration_since(*at) < MENTION_EVERY))
        });
        if !old {
            self.last.insert(*pid, (*step, *left, now));
        }
        !old
    }
}

fn line(progress: &Progress) -> String {
    let Progress { slot, pid, step, left, remaining_ms } = progress;
    let what = match step {
        Step::Starting => "started as the successor",
        Step::Ready => "serves",
        Step::Draining => "draining",
        Step::Stopping => "stopping",
        Step::Ended => "ended",
        Step::Killed => "killed: it did not end in time",
    };
    let left = left.map_or_else(String::new, |left| {
        format!(", {} left", units::plural(left, "connection", "connections"))
    });
    let remaining = remaining_ms.map_or_else(String::new, |remaining| {
        format!(", {} at most", units::duration(Duration::from_millis(remaining)))
    });
    format!("{slot} (pid {pid}): {what}{left}{remaining}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draining(left: usize) -> Progress {
        Progress {
            slot: "echo/0".to_owned(),
            pid: 7,
            step: Step::Draining,
            left: Some(left),
            remaining_ms: Some(24_000),
        }
    }

    #[test]
    fn a_drain_is_one_line() {
        let expected = "echo/0 (pid 7): draining, 1 connection left, 24s at most";
        assert_eq!(line(&draining(1)), expected);
    }

    #[test]
    fn a_drain_is_mentioned_once_a_second_and_less_when_nothing_changes() {
        let (start, mut mentioned) = (Instant::now(), Mentioned::default());
        let at = |millis| start + Duration::from_millis(millis);
        assert!(mentioned.is_news(&draining(5), at(0)));
        assert!(!mentioned.is_news(&draining(4), at(250)));
        assert!(mentioned.is_news(&draining(3), at(1250)));
        assert!(!mentioned.is_news(&draining(3), at(2500)));
        assert!(mentioned.is_news(&draining(3), at(6500)));
    }
}
