//! Every way a worker process can end; the same words in the log, `status` and what commands say.

use std::fmt;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use crate::terminal::plain::one_line;
use crate::terminal::units;

/// The exit code of a Rust program whose main thread panicked.
const PANIC_CODE: i32 = 101;

/// Why a worker process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExitReason {
    /// It was told to leave, by a stop or a reload, and did.
    Asked,
    /// Its service did not start; the error and its causes.
    FailedToStart(String),
    /// It was not ready in time and was killed.
    NotReady(Duration),
    /// It was to take over, did not in time, and was killed.
    NothingTakenOver(Duration),
    /// It was to take over, what was to move did not, and it was killed.
    NotNeeded,
    /// It was told to leave, did not in time, and was killed.
    KilledAfterLimit,
    /// Its loop stood still for too long and it was killed, as the program wishes; what it was doing.
    Stuck(String),
    /// It answered nothing for so long and was killed, as the program wishes.
    Silent(Duration),
    /// It did not speak the master's language and was killed.
    NotUnderstood,
    /// It panicked; what the panic said and where.
    Panicked(String),
    /// It ended by itself with this code.
    Code(i32),
    /// A signal ended it.
    Signal(i32),
    /// The operating system did not say.
    Unknown,
}

/// What the master knows of a process beside its exit status.
#[derive(Debug, Clone, Default)]
pub(super) struct Evidence {
    /// Why the master killed it, if it did.
    pub(super) killed: Option<ExitReason>,
    /// The reason it gave for not starting.
    pub(super) failed: Option<String>,
    /// What it said on stderr before it was a worker.
    pub(super) said: Option<String>,
    /// Whether it has ever been ready.
    pub(super) was_ready: bool,
    pub(super) panicked: Option<String>,
    /// Whether it had been told to leave.
    pub(super) asked: bool,
}

impl ExitReason {
    /// Tells from the exit status and what was known before.
    pub(super) fn tell(status: Option<ExitStatus>, evidence: Evidence) -> Self {
        let Some(status) = status else { return Self::Unknown };
        let code = status.code();
        let broke = code == Some(PANIC_CODE)
            || status.signal() == Some(rustix::process::Signal::ABORT.as_raw());
        match evidence {
            Evidence { killed: Some(reason), .. } if status.signal().is_some() => reason,
            Evidence { failed: Some(reason), .. } => Self::FailedToStart(reason),
            Evidence { said: Some(said), was_ready: false, asked: false, .. } => {
                let end = status.to_string();
                Self::FailedToStart(format!("{end}: {}", one_line(&said)))
            }
            Evidence { panicked: Some(panic), .. } if broke => Self::Panicked(panic),
            Evidence { asked: true, .. } if status.success() => Self::Asked,
            _ => match (code, status.signal()) {
                (Some(code), _) => Self::Code(code),
                (None, Some(signal)) => Self::Signal(signal),
                (None, None) => Self::Unknown,
            },
        }
    }

    /// Returns whether the process had to be killed although it had been told to leave.
    pub(super) fn was_forced(&self) -> bool {
        matches!(self, Self::KilledAfterLimit)
    }
}

impl fmt::Display for ExitReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked => formatter.write_str("asked to leave"),
            Self::FailedToStart(reason) => write!(formatter, "failed to start: {reason}"),
            Self::NotReady(limit) => {
                write!(formatter, "killed: not ready within {}", units::limit(*limit))
            }
            Self::NothingTakenOver(limit) => {
                write!(formatter, "killed: took nothing over within {}", units::limit(*limit))
            }
            Self::NotNeeded => formatter.write_str("killed: nothing moved to it"),
            Self::KilledAfterLimit => formatter.write_str("killed: did not leave in time"),
            Self::Stuck(doing) => write!(formatter, "killed: its loop was blocked by {doing}"),
            Self::Silent(silent) => {
                write!(formatter, "killed: it answered nothing for {}", units::limit(*silent))
            }
            Self::NotUnderstood => formatter.write_str("killed: not understood by the master"),
            Self::Panicked(panic) => write!(formatter, "panicked: {panic}"),
            Self::Code(code) => write!(formatter, "exit code {code}"),
            Self::Signal(signal) => match signal_name(*signal) {
                Some(name) => write!(formatter, "signal {signal} ({name})"),
                None => write!(formatter, "signal {signal}"),
            },
            Self::Unknown => formatter.write_str("unknown"),
        }
    }
}

fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        10 => "SIGUSR1",
        11 => "SIGSEGV",
        12 => "SIGUSR2",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        31 => "SIGSYS",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(raw: i32, evidence: Evidence, expected: &str) {
        let reason = ExitReason::tell(Some(ExitStatus::from_raw(raw)), evidence);
        assert_eq!(reason.to_string(), expected);
    }

    #[test]
    fn the_reason_names_what_happened() {
        let asked = Evidence { asked: true, ..Evidence::default() };
        let panicked =
            Evidence { panicked: Some("oh at x.rs:1:1".to_owned()), ..Evidence::default() };
        let killed = Evidence { killed: Some(ExitReason::KilledAfterLimit), ..Evidence::default() };
        let failed = Evidence { failed: Some("no file".to_owned()), ..Evidence::default() };
        check(0, asked.clone(), "asked to leave");
        check(3 << 8, asked, "exit code 3");
        check(0, Evidence::default(), "exit code 0");
        check(9, Evidence::default(), "signal 9 (SIGKILL)");
        check(10, Evidence::default(), "signal 10 (SIGUSR1)");
        check(12, Evidence::default(), "signal 12 (SIGUSR2)");
        check(101 << 8, panicked.clone(), "panicked: oh at x.rs:1:1");
        // A panic that a handler's caller caught is not what ended the process later.
        check(9, panicked, "signal 9 (SIGKILL)");
        check(9, killed, "killed: did not leave in time");
        check(1 << 8, failed, "failed to start: no file");
        let said = Evidence { said: Some("no such library".to_owned()), ..Evidence::default() };
        check(127 << 8, said.clone(), "failed to start: exit status: 127: no such library");
        check(3 << 8, Evidence { was_ready: true, ..said }, "exit code 3");
    }
}
