//! What a command of a program printed, and how it ended.

use anyhow::{Result, bail};

/// A command that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// What was called, for messages.
    pub command: String,
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Everything it wrote to stdout.
    pub stdout: String,
    /// Everything it wrote to stderr.
    pub stderr: String,
}

impl Output {
    /// Returns the output if the exit code is `code`.
    ///
    /// # Errors
    /// When it is another one: the error shows everything that was printed.
    pub fn expect_code(self, code: i32) -> Result<Self> {
        if self.code != Some(code) {
            bail!("expected exit code {code}:\n{self}");
        }
        Ok(self)
    }

    /// Returns the output if `text` stands in stdout or stderr.
    ///
    /// # Errors
    /// When it does not: the error shows everything that was printed.
    pub fn expect_text(self, text: &str) -> Result<Self> {
        if !self.stdout.contains(text) && !self.stderr.contains(text) {
            bail!("expected {text:?} in what was printed:\n{self}");
        }
        Ok(self)
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { command, code, stdout, stderr } = self;
        match code {
            Some(code) => writeln!(formatter, "`{command}` ended with code {code}")?,
            None => writeln!(formatter, "`{command}` was ended by a signal")?,
        }
        write!(formatter, "-- stdout --\n{stdout}-- stderr --\n{stderr}--")
    }
}
