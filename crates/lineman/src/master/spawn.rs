//! Starts worker processes: the program's own file, with the slot in the environment and the sockets
//! at fixed descriptor numbers.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use command_fds::{CommandFdExt as _, FdMapping};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use super::WorkerArguments;
use super::activation;
use super::event::{Event, WorkerKey};
use super::exit::Evidence;
use super::log_file::LogFiles;
use super::slot::{Slot, Worker, WorkerState};
use super::startup_output::StartupOutput;
use crate::control::environment::{self, CONTROL_DESCRIPTOR, FIRST_LISTENER};
use crate::control::frame::{self, Inbox};
use crate::control::message::FromWorker;
use crate::limit::finite;
use crate::os::identity::Identity;

/// How long after a process's end its last messages may take: they are in the socket already.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What a process is started from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Program<'a> {
    /// The program's file.
    pub(super) file: &'a Path,
    /// Its arguments.
    pub(super) arguments: WorkerArguments,
    /// What its environment has beside the master's.
    pub(super) environment: &'a [(String, String)],
    /// Who it runs as, if not as the master.
    pub(super) identity: Option<&'a Identity>,
    /// Where log and printed output go.
    pub(super) log_files: &'a LogFiles,
    /// The folder of the certificate that all TLS uses, if it was made at the start.
    pub(super) self_signed: Option<&'a Path>,
}

/// Starts the next process of the slot at `position` and returns it; the slot is not changed beyond
/// its generation. Its listeners listen again, also when this fails: the next turn of the loop parks
/// those that nobody reads (`lending`).
pub(super) fn spawn(
    program: Program<'_>,
    slot: &mut Slot,
    position: usize,
    ready_limit: Duration,
    events: &mpsc::Sender<Event>,
) -> io::Result<Worker> {
    slot.generation += 1;
    let generation = slot.generation;
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let ours = UnixStream::from_std(ours)?;

    let mut mappings = vec![FdMapping { parent_fd: theirs.into(), child_fd: CONTROL_DESCRIPTOR }];
    for (child_fd, listener) in (FIRST_LISTENER..).zip(&slot.listeners) {
        listener.unpark()?;
        mappings.push(FdMapping { parent_fd: listener.lend()?, child_fd });
    }
    let (output, ends) = StartupOutput::new(program.log_files.stderr()?)?;
    let stderr = FIRST_LISTENER + i32::try_from(slot.listeners.len()).map_err(io::Error::other)?;
    mappings.push(FdMapping { parent_fd: ends.later, child_fd: stderr });
    let mut command = std::process::Command::new(program.file);
    match program.arguments {
        WorkerArguments::Slot => command.args([environment::WORKER_VERB, &slot.name]),
        WorkerArguments::Same => command.args(std::env::args_os().skip(1)),
    };
    if let Some(identity) = program.identity {
        identity.put_on(&mut command);
    }
    // After those of the user: whoever names one means it.
    for (name, value) in program.environment {
        command.env(name, value);
    }
    command
        .env(environment::SLOT.name, &slot.name)
        .env(environment::MASTER.name, std::process::id().to_string())
        .env(environment::GENERATION.name, generation.to_string())
        .env(environment::LISTENERS.name, slot.listeners.len().to_string())
        .env(environment::STDERR.name, stderr.to_string())
        .stderr(ends.startup)
        .env_remove(environment::REPORT.name)
        .stdin(Stdio::null());
    program.log_files.put_on(&mut command)?;
    match program.self_signed {
        Some(folder) => command.env(environment::SELF_SIGNED.name, folder),
        None => command.env_remove(environment::SELF_SIGNED.name),
    };
    activation::prepare(&mut command, &slot.listeners);
    command.fd_mappings(mappings).map_err(io::Error::other)?;
    let mut child = Command::from(command).spawn()?;

    let pid = child.id().ok_or_else(|| io::Error::other("the process ended at once"))?;
    let handle = handle(pid).inspect_err(|_| {
        // Without a handle it could not be stopped later.
        if let Err(error) = child.start_kill() {
            tracing::debug!(pid, %error, "cannot kill");
        }
    })?;
    let (inbox, outbox) = frame::halves(ours);
    let key = WorkerKey { slot: position, generation };
    let pump = tokio::spawn(outbox.clone().pump());
    let events = events.clone();
    // Ends with the process it watches.
    tokio::spawn(async move {
        let (status, said) = watch(key, child, inbox, output, &events).await;
        pump.abort();
        forward(&events, Event::Exited { worker: key, status, said }).await;
    });
    tracing::info!(slot = slot.name, pid, generation, "started");
    Ok(Worker {
        generation,
        pid,
        handle,
        started: Instant::now(),
        state: WorkerState::Starting(Instant::now() + finite(ready_limit)),
        ready_at: None,
        outbox,
        questions: HashMap::new(),
        evidence: Evidence::default(),
        cut: 0,
    })
}

fn handle(pid: u32) -> io::Result<std::os::fd::OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::other("the process id is out of range"))?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

/// Delivers what a worker says until it ends, the last words included.
async fn watch(
    worker: WorkerKey,
    mut child: Child,
    mut inbox: Inbox<FromWorker>,
    mut output: StartupOutput,
    events: &mpsc::Sender<Event>,
) -> (Option<ExitStatus>, Option<String>) {
    let status = {
        // One future for the whole life: a message that waits for room in the queue is not in the
        // inbox any more, and would be gone with the future.
        let said = async { tokio::join!(deliver(worker, &mut inbox, events), output.pass_on()) };
        let mut said = std::pin::pin!(said);
        tokio::select! {
            status = child.wait() => {
                // The end of the process closed socket and pipe, so this ends with what is in them.
                if tokio::time::timeout(LAST_WORDS, said).await.is_err() {
                    tracing::debug!(?worker, "a child of it outlives the process");
                }
                status
            }
            _ = &mut said => child.wait().await,
        }
    };
    (status.ok(), output.said())
}

async fn deliver(worker: WorkerKey, inbox: &mut Inbox<FromWorker>, events: &mpsc::Sender<Event>) {
    loop {
        match inbox.next().await {
            Ok(Some(message)) => forward(events, Event::Said { worker, message }).await,
            Ok(None) => return,
            Err(error) => {
                let problem = error.to_string();
                forward(events, Event::NotUnderstood { worker, problem }).await;
                return;
            }
        }
    }
}

async fn forward(events: &mpsc::Sender<Event>, event: Event) {
    if events.send(event).await.is_err() {
        tracing::debug!("the master's loop has ended");
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::net::UnixStream as Pair;

    use super::*;

    #[tokio::test]
    async fn the_end_of_a_process_loses_no_message_that_waits_for_the_loop() {
        let (ours, mut theirs) = Pair::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let (inbox, _outbox) =
            frame::halves::<FromWorker, FromWorker>(UnixStream::from_std(ours).unwrap());
        let body = serde_json::to_vec(&FromWorker::Leaving { cut: 7 }).unwrap();
        theirs.write_all(&u32::try_from(body.len() + 4).unwrap().to_be_bytes()).unwrap();
        theirs.write_all(&body).unwrap();
        drop(theirs);
        let nowhere = std::fs::File::options().write(true).open("/dev/null").unwrap();
        let (output, ends) = StartupOutput::new(nowhere.into()).unwrap();
        drop(ends);
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let (pid, stdin) = (child.id().unwrap(), child.stdin.take());

        // A loop that has much to do.
        let (events, mut queue) = mpsc::channel(1);
        events.try_send(Event::Tick).unwrap();
        let key = WorkerKey { slot: 0, generation: 1 };
        let watching = tokio::spawn(async move { watch(key, child, inbox, output, &events).await });
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        drop(stdin);
        // Until its status was taken.
        while Path::new(&format!("/proc/{pid}")).exists() {
            tokio::task::yield_now().await;
        }
        assert!(matches!(queue.recv().await, Some(Event::Tick)));
        let next = queue.recv().await;
        assert!(
            matches!(next, Some(Event::Said { message: FromWorker::Leaving { cut: 7 }, .. })),
            "{next:?}"
        );
        watching.await.unwrap();
    }
}
