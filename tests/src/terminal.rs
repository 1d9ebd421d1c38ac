//! A terminal of its own for a command: a pseudo-terminal made by util-linux's `script`, which a test
//! reads and types on.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use lineman_testkit::{Process, Program, within};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// What the shell around the command does: sets the size, says the command's process, and when it
/// has ended its code and whether the terminal is as it was. `$PROGRAM` and `$ARGUMENTS` are what is
/// run.
const SHELL: &str = r#"stty cols "$WIDTH" rows "$HEIGHT"; before=$(stty -g)
sh -c 'echo "process $$."; exec "$PROGRAM" $ARGUMENTS'; code=$?
[ "$before" = "$(stty -g)" ] && echo "restored, code $code.""#;

/// A command on a terminal.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    keyboard: ChildStdin,
    screen: ChildStdout,
    written: Vec<u8>,
    /// The same as text.
    seen: String,
}

impl Terminal {
    /// Runs a command of the program on a terminal of this size.
    ///
    /// # Errors
    /// When `script` is not there.
    pub fn run(program: &Program, arguments: &[&str], (width, height): (u16, u16)) -> Result<Self> {
        let command = program.command(&[]);
        let environment = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
        let mut child = Command::new("script")
            .args(["-qec", SHELL, "/dev/null"])
            .envs(environment)
            .env("PROGRAM", command.get_program())
            .env("ARGUMENTS", arguments.join(" "))
            .env("WIDTH", width.to_string())
            .env("HEIGHT", height.to_string())
            .env("TERM", "xterm-256color")
            .env("SHELL", "/bin/sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot run `script`, a part of util-linux")?;
        let keyboard = child.stdin.take().context("a stdin")?;
        let screen = child.stdout.take().context("a stdout")?;
        Ok(Self { child, keyboard, screen, written: Vec::new(), seen: String::new() })
    }

    /// Waits until this was written on the terminal, and returns everything that was so far.
    ///
    /// # Errors
    /// When the command ends before: the error shows what was written.
    pub async fn until(&mut self, wanted: &str) -> Result<&str> {
        self.until_it(wanted, |seen| seen.contains(wanted)).await
    }

    /// Waits until what was written is as wanted, and returns it.
    ///
    /// # Errors
    /// When it never is: the error names `what` and shows what was written.
    pub async fn until_it(&mut self, what: &str, holds: impl Fn(&str) -> bool) -> Result<&str> {
        let what = format!("{what:?} on the terminal");
        let waited = within(&what, async {
            while !holds(&self.seen) {
                self.more().await?;
            }
            anyhow::Ok(())
        });
        let waited = waited.await.and_then(|waited| waited);
        waited.with_context(|| format!("on the terminal is {:?}", self.seen))?;
        Ok(&self.seen)
    }

    async fn more(&mut self) -> Result<()> {
        let mut bytes = [0; 4096];
        let count = self.screen.read(&mut bytes).await?;
        ensure!(count > 0, "the terminal was closed");
        self.written.extend_from_slice(&bytes[..count]);
        // As a whole, for the end of a piece may be the middle of a character.
        self.seen = String::from_utf8_lossy(&self.written).into_owned();
        Ok(())
    }

    /// Types on the keyboard.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub async fn types(&mut self, keys: &str) -> Result<()> {
        self.keyboard.write_all(keys.as_bytes()).await?;
        self.keyboard.flush().await.context("cannot type")
    }

    /// Returns the command's process.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn process(&mut self) -> Result<Process> {
        self.until("process ").await?;
        let seen = self.until(".\r\n").await?;
        let pid = seen.split("process ").nth(1).and_then(|rest| rest.split('.').next());
        Process::open(pid.context("a number")?.parse()?)
    }

    /// Gives the terminal of this process of its another size, and tells the process.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn resize(&self, process: &Process, (width, height): (u16, u16)) -> Result<()> {
        let terminal = std::fs::File::open(format!("/proc/{}/fd/1", process.pid()))?;
        let size = Winsize { ws_col: width, ws_row: height, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(terminal, size).context("cannot resize the terminal")
    }

    /// Waits until the command has ended with this code and left the terminal as it was; returns
    /// everything that was written.
    ///
    /// # Errors
    /// When it ends otherwise.
    pub async fn restored(mut self, code: i32) -> Result<String> {
        self.until(&format!("restored, code {code}.")).await?;
        within("the terminal to be closed", self.child.wait()).await??;
        Ok(self.seen)
    }
}
