//! Buries processes that nobody else can: as process 1 of a container, or as a subreaper, the master
//! inherits what its workers' children leave behind. It never takes the exit status of a worker.

use nix::errno::Errno;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::event::Event;
use super::supervisor::Supervisor;
use crate::Error;

/// The most orphans buried in one turn of the loop: a storm of them leaves commands their turn.
const AT_ONCE: usize = 256;

/// Whether orphans come to this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Orphans {
    /// They do.
    Ours,
    /// Another process takes them.
    NotOurs,
}

impl Orphans {
    /// Asks the kernel, and has the loop turn whenever a child ends if they are ours.
    pub(super) fn watch(events: &mpsc::Sender<Event>) -> Result<Self, Error> {
        let subreaper = rustix::process::child_subreaper().is_ok_and(|setting| setting.is_some());
        if std::process::id() != 1 && !subreaper {
            return Ok(Self::NotOurs);
        }
        let failed = |source| Error::Os { action: "take signals", source };
        let mut ended = signal(SignalKind::child()).map_err(failed)?;
        let events = events.clone();
        // Ends with the loop.
        tokio::spawn(async move {
            while ended.recv().await.is_some() && !events.is_closed() {
                // A full queue turns the loop as well.
                drop(events.try_send(Event::Tick));
            }
        });
        Ok(Self::Ours)
    }
}

impl Supervisor {
    /// Takes the exit status of every ended child that is no worker.
    ///
    /// Looked at first and taken by number: a call for any child would take that of a worker, which
    /// the runtime waits for. A worker that ended in this moment hides the orphans behind it until
    /// the runtime has taken its status; the event of its end turns the loop again.
    pub(super) fn bury_orphans(&self) {
        if self.orphans == Orphans::NotOurs {
            return;
        }
        let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        for _ in 0..AT_ONCE {
            let ended = match waitid(Id::All, look) {
                Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..)) => pid,
                // Nobody has ended; or there is no child at all.
                Ok(_) | Err(Errno::ECHILD) => return,
                Err(error) => return tracing::warn!(%error, "cannot look for orphans"),
            };
            if self.is_worker(ended) {
                return;
            }
            match waitpid(ended, Some(WaitPidFlag::WNOHANG)) {
                Ok(_) => tracing::debug!(pid = ended.as_raw(), "an orphan has ended"),
                Err(error) => return tracing::warn!(%error, "cannot take an orphan's status"),
            }
        }
        drop(self.events.try_send(Event::Tick));
    }

    fn is_worker(&self, pid: Pid) -> bool {
        let workers = self.slots.iter().flat_map(|slot| &slot.workers);
        let mut pids = workers.filter_map(|worker| i32::try_from(worker.pid).ok());
        pids.any(|worker| worker == pid.as_raw())
    }
}
