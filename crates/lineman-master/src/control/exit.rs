//! The exit codes of the command line; they travel in answers too, so that the master decides them.

use serde::{Deserialize, Serialize};

/// How a command ended, as its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ExitCode {
    /// 0: done.
    Ok,
    /// 1: it failed; stderr says why.
    Failed,
    /// 2: the command line is wrong.
    Usage,
    /// 3: no master is running.
    NotRunning,
    /// 4: a master is running already.
    AlreadyRunning,
    /// 5: stopped, but some processes had to be killed.
    Killed,
    /// 6: running, but a slot has failed.
    Degraded,
    /// 7: the program ended itself, as a slot failed as often as `App::give_up_after` lets it.
    GaveUp,
}

impl ExitCode {
    /// All of them, for the help text.
    pub(crate) const ALL: [Self; 8] = [
        Self::Ok,
        Self::Failed,
        Self::Usage,
        Self::NotRunning,
        Self::AlreadyRunning,
        Self::Killed,
        Self::Degraded,
        Self::GaveUp,
    ];

    /// Returns the number the process exits with.
    pub(crate) const fn number(self) -> i32 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NotRunning => 3,
            Self::AlreadyRunning => 4,
            Self::Killed => 5,
            Self::Degraded => 6,
            Self::GaveUp => 7,
        }
    }

    /// Returns its meaning for the help text.
    pub(crate) const fn meaning(self) -> &'static str {
        match self {
            Self::Ok => "done",
            Self::Failed => "failed; stderr says why",
            Self::Usage => "the command line is wrong",
            Self::NotRunning => "not running",
            Self::AlreadyRunning => "already running",
            Self::Killed => "stopped, but some processes had to be killed",
            Self::Degraded => "running, but a slot has failed (`status`)",
            Self::GaveUp => "gave up: a slot failed too often",
        }
    }
}
