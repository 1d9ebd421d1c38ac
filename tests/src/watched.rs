//! A command of a program that a test watches while it runs: what it says on stderr, line by line.

use std::process::Stdio;

use anyhow::{Context, Result};
use lineman_testkit::{Output, Program, within};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};

/// A command under way. Dropping it kills it.
#[derive(Debug)]
pub struct Watched {
    command: String,
    child: Child,
    lines: Lines<BufReader<ChildStderr>>,
    said: String,
}

impl Watched {
    /// Starts a command of `program`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(program: &Program, arguments: &[&str]) -> Result<Self> {
        let mut command = Command::from(program.command(arguments));
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn()?;
        let stderr = child.stderr.take().context("stderr is piped")?;
        let lines = BufReader::new(stderr).lines();
        Ok(Self { command: arguments.join(" "), child, lines, said: String::new() })
    }

    /// Waits for a line on stderr that has all `parts`, and returns it.
    ///
    /// # Errors
    /// When it does not come, or the command ends before.
    pub async fn says(&mut self, parts: &[&str]) -> Result<String> {
        let line = async {
            while let Some(line) = self.lines.next_line().await? {
                self.said.push_str(&line);
                self.said.push('\n');
                if parts.iter().all(|part| line.contains(part)) {
                    return Ok(line);
                }
            }
            anyhow::bail!("`{}` ended without {parts:?}:\n{}", self.command, self.said)
        };
        within(&format!("`{}` to say {parts:?}", self.command), line).await?
    }

    /// Waits for its end and returns everything it printed.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn ended(mut self) -> Result<Output> {
        let mut stdout = self.child.stdout.take().context("stdout is piped")?;
        let (mut printed, command) = (String::new(), self.command.clone());
        let end = async {
            while let Some(line) = self.lines.next_line().await? {
                self.said.push_str(&line);
                self.said.push('\n');
            }
            stdout.read_to_string(&mut printed).await?;
            anyhow::Ok(self.child.wait().await?)
        };
        let status = within(&format!("`{command}` to end"), end).await??;
        Ok(Output { command, code: status.code(), stdout: printed, stderr: self.said })
    }
}
