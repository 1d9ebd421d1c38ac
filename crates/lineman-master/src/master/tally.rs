//! The sum of a stop or reload: what it says at its end, and the exit code.

use std::fmt;

use crate::control::ExitCode;
use crate::terminal::units::plural;

/// What happened to the connections of processes that left.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    /// How many connections were closed with 1001 because they had not ended by themselves.
    pub(super) cut: usize,
    /// How many processes had to be killed.
    pub(super) killed: usize,
}

impl Tally {
    /// Returns the exit code of the command.
    pub(super) fn code(self) -> ExitCode {
        if self.killed > 0 { ExitCode::Killed } else { ExitCode::Ok }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} closed with 1001", plural(self.cut, "connection", "connections"))?;
        if self.killed > 0 {
            write!(formatter, ", {} killed", plural(self.killed, "process", "processes"))?;
        }
        Ok(())
    }
}
