//! Reaps processes that no other can: as process 1 of a container, or as a subreaper, the master
//! inherits the children of its workers' children. It never takes the exit status of a worker, and
//! leaves a hook that started a process in the master itself some time to ask for it.

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::event::MasterEvent;
use crate::Error;
use crate::control::environment;

/// The most orphans reaped in one turn of the loop: a storm of them leaves commands their turn.
const AT_ONCE: usize = 256;

/// How long an ended process is left to the hook that may have started it: one that asks later how it
/// ended, on a thread of its own, finds out. Nothing but its number is held meanwhile.
const GRACE: Duration = Duration::from_secs(10);

/// How often it is looked whether one has been left for long enough.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The processes that come to this one, and have ended.
#[derive(Debug)]
pub(super) struct Orphans {
    /// Whether they come here; if not, another process takes them.
    ours: bool,
    grace: Duration,
    /// When each was first seen to have ended.
    ended: HashMap<Pid, Instant>,
    next_look: Option<Instant>,
}

impl Orphans {
    /// Asks the kernel, and has the loop turn whenever a child ends if they are ours.
    pub(super) fn watch(events: &mpsc::Sender<MasterEvent>) -> Result<Self, Error> {
        let subreaper = rustix::process::child_subreaper().is_ok_and(|setting| setting.is_some());
        let ours = std::process::id() == 1 || subreaper;
        if ours {
            let failed = |source| Error::Os { action: "take signals", source };
            let mut ended = signal(SignalKind::child()).map_err(failed)?;
            let events = events.clone();
            // Ends with the loop.
            tokio::spawn(async move {
                while ended.recv().await.is_some() && !events.is_closed() {
                    // A full queue turns the loop as well.
                    drop(events.try_send(MasterEvent::Tick));
                }
            });
        }
        let grace = std::env::var(environment::ORPHAN_GRACE_MS.name).ok();
        let grace = grace.and_then(|grace| grace.parse().ok()).map(Duration::from_millis);
        Ok(Self { ours, ..Self::with_grace(grace.unwrap_or(GRACE)) })
    }

    fn with_grace(grace: Duration) -> Self {
        Self { ours: true, grace, ended: HashMap::new(), next_look: None }
    }

    /// Returns when the next turn of the loop is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.next_look
    }

    /// Takes the exit status of every child that has ended long enough ago and is no worker: those are
    /// waited for by the runtime.
    pub(super) fn reap(&mut self, now: Instant, is_worker: impl Fn(u32) -> bool) {
        if !self.ours || self.next_look.is_some_and(|due| now < due) {
            return;
        }
        self.next_look = None;
        // A question to the kernel whose answer is nearly always none; the list is longer.
        let Some(first) = one_that_has_ended() else {
            self.ended.clear();
            return;
        };
        let is_ours = |pid: Pid| u32::try_from(pid.as_raw()).is_ok_and(&is_worker);
        // A kernel without that list leaves this one, and the others come after it.
        let all = children().into_iter().chain([first]);
        let there: Vec<Pid> = all.filter(|&pid| !is_ours(pid) && has_ended(pid)).collect();
        self.ended.retain(|pid, _| there.contains(pid));
        for &pid in &there {
            self.ended.entry(pid).or_insert(now);
        }
        let left_for = |since: Instant| now.saturating_duration_since(since);
        let due = self.ended.iter().filter(|&(_, &since)| left_for(since) >= self.grace);
        let due: Vec<Pid> = due.map(|(&pid, _)| pid).take(AT_ONCE).collect();
        let more = due.len() == AT_ONCE;
        for pid in due {
            self.ended.remove(&pid);
            match waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
                Ok(_) => tracing::debug!(pid = pid.as_raw(), "an orphan has ended"),
                // The hook that started it was quicker.
                Err(Errno::ECHILD) => {}
                Err(error) => tracing::warn!(%error, "cannot take an orphan's status"),
            }
        }
        let pause = if more { Duration::ZERO } else { LOOK_EVERY.min(self.grace) };
        self.next_look = Some(now + pause);
    }
}

/// Asked without taking the status, which may be awaited elsewhere: by the runtime for a worker.
const LOOK: WaitPidFlag =
    WaitPidFlag::WEXITED.union(WaitPidFlag::WNOHANG).union(WaitPidFlag::WNOWAIT);

fn one_that_has_ended() -> Option<Pid> {
    match waitid(Id::All, LOOK) {
        Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..)) => Some(pid),
        // None has ended; or there is no child at all.
        Ok(_) | Err(Errno::ECHILD) => None,
        Err(error) => {
            tracing::warn!(%error, "cannot look for orphans");
            None
        }
    }
}

fn has_ended(pid: Pid) -> bool {
    matches!(waitid(Id::Pid(pid), LOOK), Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)))
}

/// Returns the children of this process, those that have ended included. Each of its threads has a
/// list of its own; a child that ends while it is read may be missing until the next look.
fn children() -> Vec<Pid> {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let lists =
        threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let numbers = |list: String| -> Vec<i32> {
        list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
    };
    lists.flat_map(numbers).map(Pid::from_raw).collect()
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    /// Returns a child that has ended with 7, and the closure that tells it from those of other tests.
    fn ended() -> (Child, impl Fn(u32) -> bool) {
        let child = Command::new("sh").args(["-c", "exit 7"]).spawn().unwrap();
        let ours = Pid::from_raw(i32::try_from(child.id()).unwrap());
        waitid(Id::Pid(ours), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).unwrap();
        (child, move |pid| Pid::from_raw(pid.cast_signed()) != ours)
    }

    #[test]
    fn a_hook_that_started_a_process_can_ask_how_it_ended() {
        let (mut child, not_ours) = ended();
        let mut orphans = Orphans::with_grace(GRACE);
        let now = Instant::now();
        orphans.reap(now, &not_ours);
        assert_eq!(orphans.deadline(), Some(now + LOOK_EVERY));
        orphans.reap(now + GRACE / 2, &not_ours);
        assert_eq!(child.wait().unwrap().code(), Some(7));
    }

    #[test]
    fn no_process_is_left_for_ever() {
        let (mut child, not_ours) = ended();
        let mut orphans = Orphans::with_grace(GRACE);
        let now = Instant::now();
        orphans.reap(now, &not_ours);
        orphans.reap(now + GRACE, &not_ours);
        let taken = child.wait().unwrap_err();
        assert_eq!(taken.raw_os_error(), Some(Errno::ECHILD as i32));
    }
}
