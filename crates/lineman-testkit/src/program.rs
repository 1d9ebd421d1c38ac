//! A Lineman program under test: its binary, its environment, a runtime folder of its own.
//!
//! Verbs are run as a user runs them, through the binary; nothing here speaks the control socket.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::limit::{COMMAND_LIMIT, polled, within};
use crate::{Output, Process, Status};

/// The variable that tells a program where its runtime folder is. It names every process too.
const RUNTIME_DIR: &str = "LINEMAN_RUNTIME_DIR";

/// How long the processes of a dropped program get to stop before they are killed.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// A program, running or not. Dropping it stops what it started and prints its log.
#[derive(Debug)]
pub struct Program {
    binary: PathBuf,
    folder: TempDir,
    environment: Vec<(OsString, OsString)>,
    arguments: Vec<OsString>,
    /// The variable that holds the verb and its flags, where they cannot be arguments.
    verbs_in: Option<&'static str>,
}

/// What a service manager tells a process it starts: the tests may run under one, and the program
/// under test would take it for its own.
const OF_A_MANAGER: [&str; 6] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
];

/// Returns whether the program under test must not see a variable of this process: a developer's own
/// settings, and what is meant for this process alone.
fn is_kept_away(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b"LINEMAN_") || OF_A_MANAGER.iter().any(|of| *of == name)
}

/// What the test harness prints before a test.
const HARNESS: &str = "\nrunning 1 test\n";

impl Program {
    /// Returns the program at the path `binary`, not yet started.
    ///
    /// # Errors
    /// When there is no such file, or no room for a runtime folder.
    pub fn new(binary: impl Into<PathBuf>) -> Result<Self> {
        let binary = binary.into();
        if !binary.is_file() {
            bail!("{} is not there: build it first", binary.display());
        }
        let folder = tempfile::Builder::new().prefix("lineman-test-").tempdir()?;
        let environment = vec![
            (RUNTIME_DIR.into(), folder.path().as_os_str().to_owned()),
            ("NO_COLOR".into(), "1".into()),
        ];
        Ok(Self { binary, folder, environment, arguments: Vec::new(), verbs_in: None })
    }

    /// Sets an environment variable of every command and process of the program.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Puts arguments before the verb of every command: flags of the program's own.
    #[must_use]
    pub fn args<T: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = T>) -> Self {
        self.arguments = arguments.into_iter().map(Into::into).collect();
        self
    }

    /// Passes verbs in an environment variable, as JSON.
    pub(crate) fn with_verbs_in(mut self, variable: &'static str) -> Self {
        self.verbs_in = Some(variable);
        self
    }

    /// Returns the runtime folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs a command of the program to its end, whatever that is.
    ///
    /// # Errors
    /// When it cannot be started or does not end within [`COMMAND_LIMIT`](crate::COMMAND_LIMIT).
    pub async fn run(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = tokio::process::Command::from(self.command(arguments));
        let command = command.stdin(Stdio::null()).kill_on_drop(true).output();
        let shown = self.shown(arguments);
        let output = tokio::time::timeout(COMMAND_LIMIT, command).await;
        let late = || format!("waited {COMMAND_LIMIT:?} in vain for `{shown}` to end");
        let output = output.with_context(late)??;
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(Output {
            command: shown,
            code: output.status.code(),
            stdout: stdout.strip_prefix(HARNESS).map(str::to_owned).unwrap_or(stdout),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Runs `start -d`, which returns when everything is up.
    ///
    /// # Errors
    /// When it fails; the error shows what it printed.
    pub async fn start(&self) -> Result<Output> {
        self.run(&["start", "-d"]).await?.expect_code(0)
    }

    /// Runs `stop`.
    ///
    /// # Errors
    /// When it fails; the error shows what it printed.
    pub async fn stop(&self) -> Result<Output> {
        self.run(&["stop"]).await?.expect_code(0)
    }

    /// Runs `reload`.
    ///
    /// # Errors
    /// When it fails; the error shows what it printed.
    pub async fn reload(&self) -> Result<Output> {
        self.run(&["reload"]).await?.expect_code(0)
    }

    /// Reloads one slot, `service/index`, or all those of a service, and returns when its processes are
    /// replaced: the others go on as they are.
    ///
    /// # Errors
    /// When it fails, or there is none of this name; the error shows what it printed.
    pub async fn reload_only(&self, slot_or_service: &str) -> Result<Output> {
        self.run(&["reload", slot_or_service]).await?.expect_code(0)
    }

    /// Runs `start` in the foreground and returns when the program is up.
    ///
    /// # Errors
    /// When it ends instead, or does not get up.
    pub async fn foreground(&self) -> Result<Foreground> {
        let console = self.folder().join("console.out");
        let output = fs::File::create(&console)?;
        let child = tokio::process::Command::from(self.command(&["start"]))
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()?;
        let process = Process::open(i32::try_from(child.id().context("a child that runs")?)?)?;
        let foreground = Foreground { process, child, console };
        self.until("the program to be up", |status| status.state == "up").await?;
        Ok(foreground)
    }

    /// Asks for the status.
    ///
    /// # Errors
    /// When the program is not running, or its report is not understood.
    pub async fn status(&self) -> Result<Status> {
        let output = self.run(&["status", "--json"]).await?;
        // 6: running, but a slot has failed.
        let output = if output.code == Some(6) { output } else { output.expect_code(0)? };
        serde_json::from_str(&output.stdout).with_context(|| format!("no status in:\n{output}"))
    }

    /// Waits until the status is as wanted, and returns it.
    ///
    /// # Errors
    /// When it never is: the error names `what`.
    pub async fn until(
        &self,
        what: &str,
        mut holds: impl FnMut(&Status) -> bool,
    ) -> Result<Status> {
        polled(what, async || self.status().await.ok().filter(&mut holds)).await
    }

    /// Takes hold of the process that serves a slot, `service/index`.
    ///
    /// # Errors
    /// When the slot has none.
    pub async fn process(&self, slot: &str) -> Result<Process> {
        let status = self.status().await?;
        let pid = status.slot(slot)?.pid.with_context(|| format!("{slot} has no process"))?;
        Process::open(pid)
    }

    /// Takes hold of the master.
    ///
    /// # Errors
    /// When the program is not running.
    pub async fn master(&self) -> Result<Process> {
        Process::open(self.status().await?.pid)
    }

    /// Kills the process that serves a slot with SIGKILL, and returns it when it is gone.
    ///
    /// # Errors
    /// When the slot has no process.
    pub async fn kill(&self, slot: &str) -> Result<Process> {
        let process = self.process(slot).await?;
        process.kill();
        process.gone().await?;
        Ok(process)
    }

    /// Waits until another process than `old` serves a slot.
    ///
    /// # Errors
    /// When none does in time.
    pub async fn replaced(&self, slot: &str, old: &Process) -> Result<Status> {
        let what = format!("{slot} to have another process than {}", old.pid());
        let is_new = |status: &Status| {
            status.slot(slot).is_ok_and(|slot| slot.is_ready() && slot.pid != Some(old.pid()))
        };
        self.until(&what, is_new).await
    }

    /// Returns every process the program has started and that still runs: master, workers, commands.
    pub fn processes(&self) -> Vec<Process> {
        Process::all_in(RUNTIME_DIR, self.folder())
    }

    /// Waits until no process of the program is left.
    ///
    /// # Errors
    /// When one stays.
    pub async fn all_gone(&self) -> Result<()> {
        for process in self.processes() {
            process.gone().await?;
        }
        Ok(())
    }

    /// Returns the log of the daemon.
    pub fn log(&self) -> String {
        let entries = fs::read_dir(self.folder()).into_iter().flatten().flatten();
        let logs = entries.map(|entry| entry.path()).filter(|path| {
            path.extension().is_some_and(|extension| extension == "log" || extension == "out")
        });
        logs.map(|path| fs::read(path).unwrap_or_default())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .collect()
    }

    fn stop_on_this_thread(&self) {
        let mut command = self.command(&["stop"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let Ok(mut stop) = command.spawn() else { return };
        let held = i32::try_from(stop.id()).ok().and_then(|pid| Process::open(pid).ok());
        if held.is_none_or(|process| !process.gone_within(STOP_LIMIT)) {
            // Whatever it was told to do did not happen; the caller kills what is left.
            drop(stop.kill());
        }
        drop(stop.wait());
    }

    /// Returns a command of the program, for a test that wants its own way with stdin and stdout.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        for (name, _) in std::env::vars_os() {
            if is_kept_away(&name) {
                command.env_remove(name);
            }
        }
        command.args(&self.arguments);
        match self.verbs_in {
            Some(variable) => {
                command.env(variable, serde_json::Value::from(arguments.to_vec()).to_string())
            }
            None => command.args(arguments),
        };
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    fn shown(&self, arguments: &[&str]) -> String {
        let name = self.binary.file_name().unwrap_or(self.binary.as_os_str());
        [&[&*name.to_string_lossy()], arguments].concat().join(" ")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if !self.processes().is_empty() {
            self.stop_on_this_thread();
        }
        // Workers that have lost their master leave by themselves; these did not, or had no time.
        for process in self.processes() {
            process.kill();
            process.gone_within(STOP_LIMIT);
        }
        print(&self.log());
    }
}

/// Prints a log, its end if it is long. The test harness keeps it and shows it with a failure.
#[expect(clippy::print_stderr, reason = "the harness captures what is printed, nothing else")]
fn print(log: &str) {
    const SHOWN: usize = 400;
    let lines = log.lines().count();
    if lines > SHOWN {
        eprintln!("({} lines of log before these)", lines - SHOWN);
    }
    for line in log.lines().skip(lines.saturating_sub(SHOWN)) {
        eprintln!("{line}");
    }
}

/// A program that runs in the foreground.
#[derive(Debug)]
pub struct Foreground {
    process: Process,
    child: tokio::process::Child,
    console: PathBuf,
}

impl Foreground {
    /// Returns its process, the master.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn ended(mut self) -> Result<Output> {
        let status = within("the foreground program to end", self.child.wait()).await??;
        Ok(Output {
            command: "start".to_owned(),
            code: status.code(),
            stdout: fs::read_to_string(&self.console)?,
            stderr: String::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_meant_for_this_process_is_kept_away() {
        for name in ["LINEMAN_LOG", "NOTIFY_SOCKET", "WATCHDOG_USEC", "LISTEN_FDS", "LISTEN_PID"] {
            assert!(is_kept_away(OsStr::new(name)), "{name}");
        }
        // A program's own.
        for name in ["LISTEN_ADDRESS", "PATH", "WATCHDOG"] {
            assert!(!is_kept_away(OsStr::new(name)), "{name}");
        }
    }
}
