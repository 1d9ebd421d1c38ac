//! Peers that are not ours: scripts of `tests/peers` in Python, Node and PHP, programs like curl.
//!
//! A peer says lines on stdout and has a deadline for each; one that hangs or fails makes an error
//! with all it has said. It dies with the value that holds it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lineman_testkit::{LIMIT, Process};
use serde_json::Value;
use tempfile::NamedTempFile;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// A program of somebody else's that runs.
#[derive(Debug)]
pub struct Peer {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
    /// What it has said so far, for messages.
    said: Vec<String>,
    /// A file and no pipe: nobody has to read it while the peer runs.
    complaints: NamedTempFile,
}

impl Peer {
    /// Starts a Python script of `tests/peers`.
    ///
    /// # Errors
    /// When the Python that `cargo xtask test` sets up is not there.
    pub fn python(script: &str, arguments: &[&str]) -> Result<Self> {
        let python = tools("python-tools")?.join("bin/python");
        let mut command = Command::new(python);
        command.arg("-u").arg(peers().join(script)).args(arguments);
        Self::start(script, command)
    }

    /// Starts a Node script of `tests/peers`.
    ///
    /// # Errors
    /// When the packages that `cargo xtask test` installs are not there.
    pub fn node(script: &str, arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new("node");
        command.env("NODE_PATH", tools("node-tools")?.join("node_modules"));
        command.arg(peers().join(script)).args(arguments);
        Self::start(script, command)
    }

    /// Starts a PHP script of `tests/peers`; none where there is no PHP, which a test says.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn php(script: &str, arguments: &[&str]) -> Result<Option<Self>> {
        let mut there = std::process::Command::new("php");
        if there.arg("--version").stdout(Stdio::null()).status().is_err() {
            return Ok(None);
        }
        let mut command = Command::new("php");
        command.arg(peers().join(script)).args(arguments);
        Self::start(script, command).map(Some)
    }

    /// Starts a program on the search path, such as `curl`.
    ///
    /// # Errors
    /// When it is not installed.
    pub fn program(name: &str, arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(name);
        command.args(arguments);
        Self::start(name, command)
    }

    /// Starts a program of ours that is a client: no master, no runtime folder.
    ///
    /// # Errors
    /// When it was not built.
    pub fn ours(name: &str, arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(crate::programs::built(name, "lineman-tests")?);
        command.args(arguments);
        Self::start(name, command)
    }

    fn start(name: &str, mut command: Command) -> Result<Self> {
        let complaints = NamedTempFile::new()?;
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(complaints.reopen()?)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {name} (`cargo xtask test` installs it)"))?;
        let input = child.stdin.take();
        let lines = BufReader::new(child.stdout.take().context("a pipe")?).lines();
        Ok(Self { name: name.to_owned(), child, input, lines, said: Vec::new(), complaints })
    }

    /// Takes hold of its process.
    ///
    /// # Errors
    /// When it has ended.
    pub fn process(&self) -> Result<Process> {
        let pid = self.child.id().with_context(|| format!("{} has ended", self.name))?;
        Process::open(i32::try_from(pid)?)
    }

    /// Reads lines until this one.
    ///
    /// # Errors
    /// As [`Peer::line`].
    pub async fn says(&mut self, wanted: &str) -> Result<()> {
        while self.line().await? != wanted {}
        Ok(())
    }

    /// Waits for the next line it says.
    ///
    /// # Errors
    /// When it ends instead or says nothing in time.
    pub async fn line(&mut self) -> Result<String> {
        match tokio::time::timeout(LIMIT, self.lines.next_line()).await {
            Ok(Ok(Some(line))) => {
                self.said.push(line.clone());
                Ok(line)
            }
            Ok(Ok(None)) => bail!("{} ended; it said\n{}", self.name, self.all_it_said()?),
            Ok(Err(error)) => Err(error).context(self.all_it_said()?),
            Err(_) => {
                bail!("{} was silent for {LIMIT:?}; it said\n{}", self.name, self.all_it_said()?)
            }
        }
    }

    /// Waits for the line in which a server names its port, `port 4711`.
    ///
    /// # Errors
    /// When it says something else.
    pub async fn port(&mut self) -> Result<u16> {
        let line = self.line().await?;
        let port = line.strip_prefix("port ").and_then(|port| port.parse().ok());
        port.with_context(|| format!("{} named no port but said {line:?}", self.name))
    }

    /// Types something for it to read.
    ///
    /// # Errors
    /// When it does not read any more.
    pub async fn tell(&mut self, text: &str) -> Result<()> {
        let input = self.input.as_mut().context("its input is closed")?;
        input.write_all(text.as_bytes()).await?;
        input.flush().await?;
        Ok(())
    }

    /// Types something that is all it gets to read.
    ///
    /// # Errors
    /// When it does not read any more.
    pub async fn tell_all(&mut self, text: &str) -> Result<()> {
        self.tell(text).await?;
        drop(self.input.take());
        Ok(())
    }

    /// Closes its input, waits until it has ended well, and returns the lines it had yet to say.
    ///
    /// # Errors
    /// When it has not ended within `limit`, or with another code than 0.
    pub async fn ended(mut self, limit: Duration) -> Result<Vec<String>> {
        drop(self.input.take());
        let (code, lines) = self.ended_somehow(limit).await?;
        ensure!(code == Some(0), "{} failed ({code:?}):\n{}", self.name, self.all_it_said()?);
        Ok(lines)
    }

    /// Waits until it has ended, and returns its exit code and all it said, on stdout and then on
    /// stderr. Its input stays as it is.
    ///
    /// # Errors
    /// When it has not ended within [`LIMIT`].
    pub async fn output(mut self) -> Result<(Option<i32>, String)> {
        let (code, _) = self.ended_somehow(LIMIT).await?;
        Ok((code, self.all_it_said()?))
    }

    /// Waits until it has ended well, and returns its last line, as JSON.
    ///
    /// # Errors
    /// As [`Peer::ended`] within [`LIMIT`]; when the line is no JSON.
    pub async fn verdict(self) -> Result<Value> {
        let name = self.name.clone();
        let lines = self.ended(LIMIT).await?;
        let last = lines.last().with_context(|| format!("{name} said nothing"))?;
        serde_json::from_str(last).with_context(|| format!("{name} said {last:?}"))
    }

    async fn ended_somehow(&mut self, limit: Duration) -> Result<(Option<i32>, Vec<String>)> {
        let heard = self.said.len();
        let end = async {
            // Kept line by line, so that what a peer said before it hung is not lost.
            while let Some(line) = self.lines.next_line().await? {
                self.said.push(line);
            }
            self.child.wait().await
        };
        let Ok(status) = tokio::time::timeout(limit, end).await else {
            bail!("{} had not ended after {limit:?}; it said\n{}", self.name, self.all_it_said()?);
        };
        Ok((status?.code(), self.said.get(heard..).unwrap_or_default().to_vec()))
    }

    /// Returns all it has said so far: what was read of its stdout, then its stderr.
    ///
    /// # Errors
    /// When the file with that cannot be read.
    pub fn all_it_said(&self) -> Result<String> {
        let complaints = std::fs::read(self.complaints.path())?;
        let said = self.said.join("\n");
        Ok(format!("{said}\n{}", String::from_utf8_lossy(&complaints)).trim().to_owned())
    }
}

/// Returns the folder of the scripts.
fn peers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers")
}

/// Returns a folder of tools, beside the profile's folder this test was built into.
fn tools(name: &str) -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let folder = test.ancestors().nth(3).context("a test in a target folder")?.join(name);
    ensure!(
        folder.join("installed").is_file(),
        "{} is not there: `cargo xtask test` makes it",
        folder.display()
    );
    Ok(folder)
}
