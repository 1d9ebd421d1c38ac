//! Processes of a program under test: found by the folder they run in, held by a pidfd.
//!
//! A pidfd is never somebody else's process, even when the number is given away again; so nothing
//! here can signal a process that the test did not start.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal};

use crate::limit::LIMIT;

/// A process, alive or dead.
#[derive(Debug)]
pub struct Process {
    pid: i32,
    handle: OwnedFd,
}

impl Process {
    /// Takes hold of a process.
    ///
    /// # Errors
    /// When no process has this number.
    pub fn open(pid: i32) -> Result<Self> {
        let number = Pid::from_raw(pid).context("a pid above zero")?;
        let handle = rustix::process::pidfd_open(number, PidfdFlags::empty());
        let handle = handle.with_context(|| format!("process {pid} is not there"))?;
        Ok(Self { pid, handle })
    }

    /// Returns every process whose environment has `variable` set to `folder`.
    pub(crate) fn all_in(variable: &str, folder: &Path) -> Vec<Self> {
        let wanted = [variable.as_bytes(), b"=", folder.as_os_str().as_encoded_bytes()].concat();
        let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
        let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let ours = |pid: &i32| {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|&byte| byte == 0).any(|entry| entry == wanted)
        };
        // Held first and looked at afterwards: the number cannot change hands in between.
        pids.filter_map(|pid| Self::open(pid).ok())
            .filter(|process| ours(&process.pid) && process.is_alive())
            .collect()
    }

    /// Returns its number.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Sends a signal; a process that has ended does not mind.
    pub fn signal(&self, signal: Signal) {
        // The one error is that the process is gone, which is what most signals are for.
        if rustix::process::pidfd_send_signal(&self.handle, signal).is_err() {}
    }

    /// Sends SIGKILL.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends SIGSTOP: it stands still and keeps everything it has.
    pub fn suspend(&self) {
        self.signal(Signal::STOP);
    }

    /// Sends SIGCONT: it goes on after [`Process::suspend`].
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Returns whether it still runs.
    pub fn is_alive(&self) -> bool {
        !self.gone_within(Duration::ZERO)
    }

    /// Waits, on this thread, until it has ended or `limit` has passed; returns whether it ended.
    pub(crate) fn gone_within(&self, limit: Duration) -> bool {
        let mut watched = [PollFd::new(&self.handle, PollFlags::IN)];
        let limit = Timespec::try_from(limit).ok();
        matches!(rustix::event::poll(&mut watched, limit.as_ref()), Ok(1..))
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// When it has not within [`crate::LIMIT`].
    pub async fn gone(&self) -> Result<()> {
        let held = Self { pid: self.pid, handle: self.handle.try_clone()? };
        // A thread that waits in the kernel: watching a descriptor from tokio takes unsafe code.
        let gone = tokio::task::spawn_blocking(move || held.gone_within(LIMIT)).await?;
        ensure!(gone, "waited {LIMIT:?} in vain for process {} to end", self.pid);
        Ok(())
    }

    /// Returns the memory it holds at this moment, in bytes, without pages of its program file and
    /// its libraries.
    ///
    /// # Errors
    /// When it has ended.
    pub fn resident_bytes(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.pid);
        let status =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kibibytes: u64 = kibibytes.with_context(|| format!("no RssAnon in {path}"))?.parse()?;
        Ok(kibibytes * 1024)
    }
}
