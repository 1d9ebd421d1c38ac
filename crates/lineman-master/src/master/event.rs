//! Everything that can happen to the master, and everything that it does: its loop is fed with the
//! one and carries out the other, in between is `machine`.

use std::process::ExitStatus;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use super::hooks::WorkerExit;
use super::slot::{SlotId, WorkerKey};
use crate::control::ExitCode;
use crate::control::answers::Answers;
use crate::control::message::{FromWorker, ToWorker};
use crate::control::report::{Progress, Step};
use crate::control::request::Answer;
use crate::control::server::Asked;
use crate::service::StartManner;
use crate::{Error, os};

/// How many events wait for the loop. While it is full their senders wait: worker sockets and callers
/// are then read later, nothing is lost.
const QUEUE: usize = 1024;

#[derive(Debug)]
pub(super) enum MasterEvent {
    Said {
        worker: WorkerKey,
        /// A worker's numbers are large, and the other events are not.
        message: Box<FromWorker>,
    },
    /// A worker sent what is no message.
    NotUnderstood {
        worker: WorkerKey,
        problem: String,
    },
    /// A worker has ended, and everything it said before has been delivered.
    Exited {
        worker: WorkerKey,
        /// `None` when the operating system did not say.
        status: Option<ExitStatus>,
        /// What it said on stderr before it was a worker.
        said: Option<String>,
    },
    Asked(Asked),
    /// A list of connections wants its next slice.
    Slice {
        worker: WorkerKey,
        /// Where it begins.
        from: usize,
        /// Where the answer goes; dropped when there will be none.
        answer: oneshot::Sender<FromWorker>,
    },
    Signal(SignalMeaning),
    /// The new program has said whether it could take the master's place, or why not.
    UpgradeChecked(Result<(), String>),
    /// A deadline has passed.
    Tick,
}

impl From<Asked> for MasterEvent {
    fn from(asked: Asked) -> Self {
        Self::Asked(asked)
    }
}

/// What a signal to the master means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SignalMeaning {
    /// SIGINT, SIGHUP unless it is ignored: stop at once; a second one kills.
    Stop,
    /// SIGQUIT, SIGTERM: stop when the connections are gone, within the limit.
    StopGracefully,
    Reload,
    ReloadGracefully,
}

#[derive(Debug)]
pub(super) enum MasterAction {
    /// Start this process; the outcome goes to `Machine::started`.
    Start(WorkerKey, Source, StartManner),
    /// Have the one process hand over to the other one; what cannot be told goes to
    /// `Machine::not_handed_over`.
    HandOver {
        from: WorkerKey,
        to: WorkerKey,
    },
    /// Remember what this process was started from: it serves.
    Serves(WorkerKey),
    Tell(WorkerKey, ToWorker),
    Kill(WorkerKey),
    /// Hand a slot's listener to a process; the outcome goes to `Machine::lent`.
    Lend {
        lender: SlotId,
        nth: usize,
        to: WorkerKey,
    },
    /// Stop listening there until the slot has a process again, or the listener is lent.
    Park {
        slot: SlotId,
        nth: usize,
    },
    Answer(Answers, Answer),
    /// Answer the caller that waits for the start: everything is up.
    Up(Answers),
    /// Tell hooks and service manager that a reload begins.
    Reloading,
    /// Tell the hook that a process has ended.
    Exited(WorkerExit),
    /// End: every process is gone.
    Stopped(ProgramEnd),
}

/// Which executable a process is started from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// What the program's path leads to now.
    Path,
    /// The one that the slot's last ready process runs, or ran: a deploy takes effect with a reload,
    /// which looks whether it gets ready, and not with a crash.
    LastServed,
    /// The one that the slot ran before that.
    Before,
}

/// How the program ended.
#[derive(Debug)]
pub(super) struct ProgramEnd {
    /// What the master's process exits with.
    pub(super) code: ExitCode,
    /// Why it did not start, or gave up.
    pub(super) failure: Option<String>,
}

/// Tells a caller something in one line.
pub(super) fn note(watcher: &Answers, text: &str) -> MasterAction {
    MasterAction::Answer(watcher.clone(), Answer::Note { text: text.to_owned() })
}

/// Tells a caller what a process does.
pub(super) fn progress(
    watcher: &Answers,
    slot: &str,
    pid: u32,
    step: Step,
    left: Option<usize>,
    remaining: Option<Duration>,
) -> MasterAction {
    let remaining_ms = remaining.and_then(|left| u64::try_from(left.as_millis()).ok());
    let slot = slot.to_owned();
    let answer = Answer::Progress(Progress { slot, pid, step, left, remaining_ms });
    MasterAction::Answer(watcher.clone(), answer)
}

/// Returns the queue of the master's loop.
pub(super) fn queue() -> (mpsc::Sender<MasterEvent>, mpsc::Receiver<MasterEvent>) {
    mpsc::channel(QUEUE)
}

/// Turns signals into events, for the master's life. SIGPIPE is ignored by the runtime of the
/// language; SIGABRT and SIGTSTP keep their meaning, so core dumps and Ctrl-Z work. A SIGHUP that was
/// ignored when the program started, by `nohup`, stays ignored.
pub(super) fn take_signals(events: &mpsc::Sender<MasterEvent>) -> Result<(), Error> {
    let meanings = [
        (SignalKind::interrupt(), SignalMeaning::Stop),
        (SignalKind::hangup(), SignalMeaning::Stop),
        (SignalKind::quit(), SignalMeaning::StopGracefully),
        (SignalKind::terminate(), SignalMeaning::StopGracefully),
        (SignalKind::user_defined1(), SignalMeaning::Reload),
        (SignalKind::user_defined2(), SignalMeaning::ReloadGracefully),
    ];
    let survives_its_terminal = os::procfs::ignores_hangup();
    for (kind, wish) in meanings {
        if survives_its_terminal && kind == SignalKind::hangup() {
            continue;
        }
        let mut stream =
            signal(kind).map_err(|source| Error::Os { action: "take signals", source })?;
        let events = events.clone();
        // Ends with the loop: the queue is closed then, and the runtime with it.
        tokio::spawn(async move {
            while stream.recv().await.is_some() {
                if events.send(MasterEvent::Signal(wish)).await.is_err() {
                    return;
                }
            }
        });
    }
    Ok(())
}
