//! What comes of a process that runs: its words and its end, as events for the master's loop. Called by `spawn`
//! for one that was started, and by `upgrade` for one that the program before has started.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;
use tokio::process::Child;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::event::MasterEvent;
use super::slot::WorkerKey;
use super::startup_output::StartupOutput;
use crate::control::frame::{self, Inbox, Outbox};
use crate::control::message::{FromWorker, ToWorker};

/// How long after a process's end its last messages may take: they are in the socket already.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How the end of a process is waited for.
#[derive(Debug)]
pub(super) enum Exit {
    Child(Box<Child>),
    /// It was started by the program before.
    Adopted {
        pid: u32,
        /// Readable from the end of the process on.
        handle: AsyncFd<OwnedFd>,
    },
}

impl Exit {
    async fn wait(&mut self) -> io::Result<ExitStatus> {
        match self {
            Self::Child(child) => child.wait().await,
            Self::Adopted { pid, handle } => {
                drop(handle.readable().await?);
                let pid = Pid::from_raw(i32::try_from(*pid).map_err(io::Error::other)?);
                match waitpid(pid, Some(WaitPidFlag::WNOHANG))? {
                    WaitStatus::Exited(_, code) => Ok(ExitStatus::from_raw(code << 8)),
                    WaitStatus::Signaled(_, signal, _) => Ok(ExitStatus::from_raw(signal as i32)),
                    _ => Err(io::Error::other("it has not ended")),
                }
            }
        }
    }
}

/// A process that is attended to.
#[derive(Debug)]
pub(super) struct Attendee {
    pub(super) exit: Exit,
    pub(super) inbox: Inbox<FromWorker>,
    pub(super) output: StartupOutput,
}

impl Attendee {
    /// Returns what it has said that is no whole message yet.
    pub(super) fn unread(&self) -> Vec<u8> {
        self.inbox.unread().to_vec()
    }
}

/// The task that attends to a process.
#[derive(Debug)]
pub(super) struct Attendance {
    pub(super) pause: watch::Sender<bool>,
    /// Ends with the process, or with what it takes to go on if it was paused.
    pub(super) task: JoinHandle<Option<Attendee>>,
}

/// Returns what it takes to attend to a process that the program before has started.
pub(super) fn adopt(
    pid: u32,
    handle: OwnedFd,
    stream: UnixStream,
    unread: &[u8],
) -> io::Result<(Attendee, OwnedFd, Outbox<ToWorker>)> {
    let (inbox, outbox) = frame::halves_with(stream, unread);
    let exit = Exit::Adopted { pid, handle: crate::os::watch_readable(handle.try_clone()?)? };
    Ok((Attendee { exit, inbox, output: StartupOutput::of_worker() }, handle, outbox))
}

/// Attends to a process until it has ended.
pub(super) fn attend(
    key: WorkerKey,
    mut attended: Attendee,
    outbox: Outbox<ToWorker>,
    events: &mpsc::Sender<MasterEvent>,
) -> Attendance {
    let (pause, paused) = watch::channel(false);
    let events = events.clone();
    let task = tokio::spawn(async move {
        let pump = tokio::spawn(outbox.pump());
        let end = watch(key, &mut attended, paused, &events).await;
        pump.abort();
        let Some((status, said)) = end else { return Some(attended) };
        forward(&events, MasterEvent::Exited { worker: key, status, said }).await;
        None
    });
    Attendance { pause, task }
}

/// Delivers what a worker says until it ends, the last words included, and returns how; `None` when it is paused:
/// nothing is lost then.
pub(super) async fn watch(
    worker: WorkerKey,
    attended: &mut Attendee,
    mut paused: watch::Receiver<bool>,
    events: &mpsc::Sender<MasterEvent>,
) -> Option<(Option<ExitStatus>, Option<String>)> {
    let Attendee { exit, inbox, output } = attended;
    let mut by_output = paused.clone();
    let status = {
        // One future for the whole life: a message that waits for room in the queue is not in the
        // inbox any more, and would be gone with the future.
        let said = async {
            let output = async {
                tokio::select! {
                    () = output.pass_on() => {}
                    () = is_paused(&mut by_output) => {}
                }
            };
            tokio::join!(deliver(worker, inbox, &mut paused, events), output).0
        };
        let mut said = std::pin::pin!(said);
        tokio::select! {
            status = exit.wait() => {
                // The end of the process closed socket and pipe, so this ends with what is in them.
                if tokio::time::timeout(LAST_WORDS, said).await.is_err() {
                    tracing::debug!(?worker, "a child of it outlives the process");
                }
                status
            }
            end = &mut said => match end {
                Delivered::Paused => return None,
                Delivered::All => exit.wait().await,
            },
        }
    };
    Some((status.ok(), output.said()))
}

/// Why no more words come.
enum Delivered {
    All,
    Paused,
}

async fn is_paused(paused: &mut watch::Receiver<bool>) {
    if paused.wait_for(|paused| *paused).await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn deliver(
    worker: WorkerKey,
    inbox: &mut Inbox<FromWorker>,
    paused: &mut watch::Receiver<bool>,
    events: &mpsc::Sender<MasterEvent>,
) -> Delivered {
    loop {
        let next = tokio::select! {
            next = inbox.next() => next,
            () = is_paused(paused) => return Delivered::Paused,
        };
        match next {
            Ok(Some(message)) => {
                let message = Box::new(message);
                forward(events, MasterEvent::Said { worker, message }).await;
            }
            Ok(None) => return Delivered::All,
            Err(error) => {
                let problem = error.to_string();
                forward(events, MasterEvent::NotUnderstood { worker, problem }).await;
                return Delivered::All;
            }
        }
    }
}

async fn forward(events: &mpsc::Sender<MasterEvent>, event: MasterEvent) {
    if events.send(event).await.is_err() {
        tracing::debug!("the master's loop has ended");
    }
}
