//! Everything that can happen to the master, as one enum: its loop is fed with nothing else.

use std::process::ExitStatus;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use crate::control::message::FromWorker;
use crate::control::server::Asked;
use crate::{Error, os};

/// How many events wait for the loop. Whoever brings one waits while it is full: worker sockets and
/// callers are then read later, nothing is lost.
const QUEUE: usize = 1024;

/// Names one process for the master's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct WorkerKey {
    /// The slot's position in the master's list.
    pub(super) slot: usize,
    /// The process's number within the slot.
    pub(super) generation: u64,
}

/// What happened.
#[derive(Debug)]
pub(super) enum Event {
    /// A worker said something.
    Said {
        /// Which one.
        worker: WorkerKey,
        /// What.
        message: FromWorker,
    },
    /// A worker sent what is no message.
    NotUnderstood {
        /// Which one.
        worker: WorkerKey,
        /// What was wrong.
        problem: String,
    },
    /// A worker has ended, and everything it said before has been delivered.
    Exited {
        /// Which one.
        worker: WorkerKey,
        /// How; `None` when the operating system did not say.
        status: Option<ExitStatus>,
        /// What it said on stderr before it was a worker.
        said: Option<String>,
    },
    /// The command line asks.
    Asked(Asked),
    /// A listing wants its next slice.
    Slice {
        /// Of which worker.
        worker: WorkerKey,
        /// Where it begins.
        from: usize,
        /// Where the answer goes; dropped when there will be none.
        answer: oneshot::Sender<FromWorker>,
    },
    /// A signal came.
    Signal(Wish),
    /// A deadline has passed.
    Tick,
}

/// What a signal to the master means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// SIGINT, SIGHUP unless it is ignored: stop at once; a second one kills.
    Stop,
    /// SIGQUIT, SIGTERM: stop when the connections are gone, within the limit.
    StopGracefully,
    /// SIGUSR1.
    Reload,
    /// SIGUSR2.
    ReloadGracefully,
}

/// Returns the queue of the master's loop.
pub(super) fn queue() -> (mpsc::Sender<Event>, mpsc::Receiver<Event>) {
    mpsc::channel(QUEUE)
}

/// Turns signals into events, for the master's life. SIGPIPE is ignored by the runtime of the
/// language; SIGABRT and SIGTSTP keep their meaning, so core dumps and Ctrl-Z work. A SIGHUP that was
/// ignored when the program started, by `nohup`, stays ignored.
pub(super) fn take_signals(events: &mpsc::Sender<Event>) -> Result<(), Error> {
    let meanings = [
        (SignalKind::interrupt(), Wish::Stop),
        (SignalKind::hangup(), Wish::Stop),
        (SignalKind::quit(), Wish::StopGracefully),
        (SignalKind::terminate(), Wish::StopGracefully),
        (SignalKind::user_defined1(), Wish::Reload),
        (SignalKind::user_defined2(), Wish::ReloadGracefully),
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
                if events.send(Event::Signal(wish)).await.is_err() {
                    return;
                }
            }
        });
    }
    Ok(())
}
