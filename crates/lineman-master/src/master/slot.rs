//! A slot and the processes in it: their states, deadlines and what is known of their end.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::process::{Signal, pidfd_send_signal};
use tokio::sync::oneshot;

use super::backoff::Failures;
use super::event::WorkerKey;
use super::exit::{Evidence, ExitReason};
use super::listeners::Listener;
use crate::control::frame::Outbox;
use crate::control::message::{FromWorker, ToWorker};
use crate::limit::finite;

/// How much longer than a limit the master waits before it acts, so that a worker that keeps the
/// limit is not caught by a scheduler's delay.
const GRACE: Duration = Duration::from_millis(250);

/// The most questions a worker may leave unanswered; each is a caller that waits a second at most.
const QUESTIONS: usize = 256;

/// One slot: a place for one process of a service.
#[derive(Debug)]
pub(super) struct Slot {
    /// `service/index`.
    pub(super) name: String,
    /// The service's position in the master's list.
    pub(super) service: usize,
    /// The slot's number within the service.
    pub(super) index: usize,
    /// Its sockets, in the order of the service's description.
    pub(super) listeners: Vec<Listener>,
    /// Its processes: the serving one first; during a reload two.
    pub(super) workers: Vec<Worker>,
    /// What becomes of it while it has no process.
    pub(super) outlook: Outlook,
    /// How many processes were started for it.
    pub(super) generation: u64,
    /// How often its process had to be started again because it had ended by itself.
    pub(super) restarts: u64,
    /// How its last process ended that was not asked to; how any ended, while there is none.
    pub(super) last_exit: Option<LastExit>,
    /// Its failures since it was last healthy.
    pub(super) failures: Failures,
    /// Who accepts at its listeners while it is down.
    pub(super) lent_to: Option<WorkerKey>,
    /// The listeners, by position, that this one has still to be given.
    pub(super) unlent: BTreeSet<usize>,
}

/// How and when a process of a slot ended.
#[derive(Debug, Clone)]
pub(super) struct LastExit {
    /// Why.
    pub(super) reason: ExitReason,
    /// When.
    pub(super) at: Instant,
}

/// What becomes of a slot that has no process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outlook {
    /// It has a process, or gets one in this turn of the loop.
    Running,
    /// It gets one at this time.
    BackingOff(Instant),
    /// It crashed too often: nothing happens until a reload.
    Failed,
    /// The program stops.
    Stopped,
}

/// The state of a slot or process as people see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SlotState {
    /// The process was started and is not ready yet.
    Starting,
    /// The process serves.
    Ready,
    /// The process waits until its connections end.
    Draining,
    /// The process closes its connections, or was killed.
    Stopping,
    /// The process ended by itself; the next one starts after a pause.
    BackingOff,
    /// The process ended by itself too often.
    Failed,
    /// The program stops and the process is gone.
    Stopped,
}

impl SlotState {
    /// Returns its name in `status`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Stopping => "stopping",
            Self::BackingOff => "backing-off",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

impl Slot {
    /// Returns a slot that has not run yet.
    pub(super) fn new(name: &str, service: usize, index: usize, listeners: Vec<Listener>) -> Self {
        Self {
            name: format!("{name}/{index}"),
            service,
            index,
            listeners,
            workers: Vec::new(),
            outlook: Outlook::Running,
            generation: 0,
            restarts: 0,
            last_exit: None,
            failures: Failures::default(),
            lent_to: None,
            unlent: BTreeSet::new(),
        }
    }

    /// Returns the state of a slot without a process.
    pub(super) fn state(&self) -> SlotState {
        match self.outlook {
            Outlook::Running => SlotState::Starting,
            Outlook::BackingOff(_) => SlotState::BackingOff,
            Outlook::Failed => SlotState::Failed,
            Outlook::Stopped => SlotState::Stopped,
        }
    }

    /// Returns the process of this generation.
    pub(super) fn worker(&mut self, generation: u64) -> Option<&mut Worker> {
        self.workers.iter_mut().find(|worker| worker.generation == generation)
    }

    /// Takes the process of this generation out.
    pub(super) fn remove(&mut self, generation: u64) -> Option<Worker> {
        let position = self.workers.iter().position(|worker| worker.generation == generation)?;
        Some(self.workers.remove(position))
    }

    /// Remembers how a process ended. That one was asked to leave is no news, and hides no crash.
    pub(super) fn note_exit(&mut self, reason: ExitReason) {
        let wanted = |reason: &ExitReason| *reason == ExitReason::Asked;
        if !wanted(&reason) || self.last_exit.as_ref().is_none_or(|last| wanted(&last.reason)) {
            self.last_exit = Some(LastExit { reason, at: Instant::now() });
        }
    }

    /// Returns whether a process of it serves.
    pub(super) fn is_ready(&self) -> bool {
        self.workers.iter().any(Worker::is_ready)
    }

    /// Returns whether no process of it serves or is about to: those that leave do not count.
    pub(super) fn is_vacant(&self) -> bool {
        self.workers.iter().all(Worker::is_leaving)
    }

    /// Returns when something is due, if anything is.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let pause = match self.outlook {
            Outlook::BackingOff(until) if self.is_vacant() => Some(until),
            _ => None,
        };
        self.workers.iter().filter_map(Worker::deadline).chain(pause).min()
    }
}

/// One process.
pub(super) struct Worker {
    /// Its number within the slot.
    pub(super) generation: u64,
    /// Its process id.
    pub(super) pid: u32,
    /// A handle of the process: a signal through it cannot hit another one.
    pub(super) handle: OwnedFd,
    /// When it was started.
    pub(super) started: Instant,
    /// What it does.
    pub(super) state: WorkerState,
    /// Since when it serves, or served: kept when it is told to leave, or killed.
    pub(super) ready_at: Option<Instant>,
    /// The way to it.
    pub(super) outbox: Outbox<ToWorker>,
    /// Who waits for an answer of it, by token.
    pub(super) questions: HashMap<u64, oneshot::Sender<FromWorker>>,
    /// What is known of its end before it comes.
    pub(super) evidence: Evidence,
    /// How many connections it cut when it left.
    pub(super) cut: usize,
}

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WorkerState {
    /// It starts, and is killed when it is not ready by then.
    Starting(Instant),
    /// It serves.
    Ready,
    /// It waits until its connections end, and is told to stop when they have not by then.
    Draining(Instant),
    /// It closes its connections, and is killed when it is not gone by then.
    Stopping(Instant),
    /// It was killed and will be gone in an instant.
    Killed,
}

impl Worker {
    /// Returns its name for events.
    pub(super) fn key(&self, slot: usize) -> WorkerKey {
        WorkerKey { slot, generation: self.generation }
    }

    /// Returns whether it serves.
    pub(super) fn is_ready(&self) -> bool {
        self.state == WorkerState::Ready
    }

    /// Returns whether it was told to leave.
    pub(super) fn is_leaving(&self) -> bool {
        match self.state {
            WorkerState::Starting(_) | WorkerState::Ready => false,
            WorkerState::Draining(_) | WorkerState::Stopping(_) | WorkerState::Killed => true,
        }
    }

    /// Returns whether it waits until its connections end.
    pub(super) fn is_draining(&self) -> bool {
        matches!(self.state, WorkerState::Draining(_))
    }

    /// Returns whether it closes its connections without waiting.
    pub(super) fn is_stopping(&self) -> bool {
        matches!(self.state, WorkerState::Stopping(_) | WorkerState::Killed)
    }

    /// Returns its state as people see it.
    pub(super) fn shown_state(&self) -> SlotState {
        match self.state {
            WorkerState::Starting(_) => SlotState::Starting,
            WorkerState::Ready => SlotState::Ready,
            WorkerState::Draining(_) => SlotState::Draining,
            WorkerState::Stopping(_) | WorkerState::Killed => SlotState::Stopping,
        }
    }

    /// Returns when something is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.state {
            WorkerState::Starting(until)
            | WorkerState::Draining(until)
            | WorkerState::Stopping(until) => Some(until),
            WorkerState::Ready | WorkerState::Killed => None,
        }
    }

    /// Tells it that a reload leaves it as it is.
    pub(super) fn reload(&mut self) {
        self.tell(&ToWorker::Reload);
    }

    /// Tells it to leave when its connections are gone; one that has been told gets another limit.
    pub(super) fn drain(&mut self, limit: Duration, stop_limit: Duration) {
        self.evidence.asked = true;
        self.state = WorkerState::Draining(Instant::now() + finite(limit) + GRACE);
        self.tell(&ToWorker::Drain { limit, stop_limit });
    }

    /// Tells it to close its connections and leave.
    pub(super) fn stop(&mut self, stop_limit: Duration) {
        self.evidence.asked = true;
        self.state = WorkerState::Stopping(Instant::now() + finite(stop_limit) + GRACE);
        self.tell(&ToWorker::Stop { stop_limit });
    }

    /// Kills it.
    pub(super) fn kill(&mut self, reason: ExitReason) {
        self.state = WorkerState::Killed;
        self.evidence.killed = Some(reason);
        if let Err(error) = pidfd_send_signal(&self.handle, Signal::KILL) {
            tracing::debug!(pid = self.pid, %error, "cannot kill");
        }
    }

    /// Asks it something; the answer, if one comes, goes to `answer`.
    pub(super) fn ask(
        &mut self,
        token: u64,
        question: &ToWorker,
        answer: oneshot::Sender<FromWorker>,
    ) {
        self.questions.retain(|_, waiting| !waiting.is_closed());
        if self.questions.len() < QUESTIONS && self.tell(question) {
            self.questions.insert(token, answer);
        }
    }

    /// Tells it something. A full queue is a worker that does not read: it shows as busy, and one
    /// that was told to leave is killed at its deadline.
    fn tell(&self, message: &ToWorker) -> bool {
        let told = self.outbox.send(message);
        if let Err(error) = &told {
            tracing::debug!(pid = self.pid, %error, "a worker was not told");
        }
        told.is_ok()
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = formatter.debug_struct("Worker");
        debug.field("generation", &self.generation).field("pid", &self.pid);
        debug.field("state", &self.state).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use rustix::process::{Pid, PidfdFlags, pidfd_open};
    use tokio::net::UnixStream;

    use super::*;
    use crate::control::frame;

    /// Returns a process that waits for its end, and what a master knows of it.
    fn worker() -> (Child, Worker) {
        let child = Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = Pid::from_child(&child);
        let (ours, _) = UnixStream::pair().unwrap();
        let (_, outbox) = frame::halves::<FromWorker, ToWorker>(ours);
        let worker = Worker {
            generation: 1,
            pid: child.id(),
            handle: pidfd_open(pid, PidfdFlags::empty()).unwrap(),
            started: Instant::now(),
            state: WorkerState::Ready,
            ready_at: Some(Instant::now()),
            outbox,
            questions: HashMap::new(),
            evidence: Evidence::default(),
            cut: 0,
        };
        (child, worker)
    }

    #[tokio::test]
    async fn a_process_that_the_watchdog_kills_has_been_ready_all_the_same() {
        let (mut child, mut worker) = worker();
        let since = worker.ready_at;
        worker.kill(ExitReason::Stuck("a handler".to_owned()));
        assert!(!worker.is_ready());
        assert!(since.is_some());
        assert_eq!(worker.ready_at, since, "its failures are forgiven by how long it served");
        child.wait().unwrap();
    }

    #[test]
    fn what_was_asked_for_hides_no_crash() {
        let mut slot = Slot::new("echo", 0, 0, Vec::new());
        let shown = |slot: &Slot| slot.last_exit.as_ref().map(|last| last.reason.to_string());
        slot.note_exit(ExitReason::Asked);
        assert_eq!(shown(&slot).unwrap(), "asked to leave");
        for (reason, expected) in [
            (ExitReason::Signal(9), "signal 9 (SIGKILL)"),
            (ExitReason::Asked, "signal 9 (SIGKILL)"),
            (ExitReason::Code(3), "exit code 3"),
        ] {
            slot.note_exit(reason);
            assert_eq!(shown(&slot).unwrap(), expected);
        }
    }
}
