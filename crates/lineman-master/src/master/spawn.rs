//! Starts worker processes: the program's own file, with the slot in the environment and the sockets
//! at fixed descriptor numbers. Called by `supervisor`; a process it started is a [`WorkerProcess`].

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::os::fd::{OwnedFd, RawFd};
use std::path::Path;
use std::rc::Rc;

use command_fds::{CommandFdExt as _, FdMapping};
use lineman_wire::handover::{MoveLimits, MoveOrder};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::net::UnixStream;
use tokio::process::Command;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::WorkerArguments;
use super::activation;
use super::attend::{Attendance, Attendee, Exit, attend};
use super::event::MasterEvent;
use super::executable::Image;
use super::listeners::Listener;
use super::log_file::LogFiles;
use super::slot::WorkerKey;
use super::startup_output::StartupOutput;
use crate::control::environment::{self, CONTROL_DESCRIPTOR, FIRST_LISTENER, Variable};
use crate::control::frame::{self, Outbox};
use crate::control::message::{FromWorker, ToWorker};
use crate::os::identity::Identity;
use crate::os::signals;
use crate::service::StartManner;

/// The most questions a worker may leave unanswered; each is a caller that waits a second at most.
const QUESTIONS: usize = 256;

/// What a process is started from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Executable<'a> {
    pub(super) image: &'a Rc<Image>,
    /// The path it was opened at.
    pub(super) path: &'a Path,
    pub(super) arguments: WorkerArguments,
    /// What its environment has beside the master's.
    pub(super) environment: &'a [(String, String)],
    /// The user and group it runs as, if not those of the master.
    pub(super) identity: Option<&'a Identity>,
    /// Where log and printed output go.
    pub(super) log_files: &'a LogFiles,
    /// The folder of the certificate that all TLS uses, if it was made at the start.
    pub(super) self_signed: Option<&'a Path>,
    /// What the program hands to its workers.
    pub(super) handed: Option<&'a str>,
    /// Whether it waits for what it takes over.
    pub(super) manner: StartManner,
}

/// One process, as the supervisor has it.
pub(super) struct WorkerProcess {
    pub(super) pid: u32,
    /// What it was started from.
    pub(super) image: Rc<Image>,
    /// A handle of the process: a signal through it cannot hit another one.
    handle: OwnedFd,
    pub(super) outbox: Outbox<ToWorker>,
    /// The socket to it for the process whose connections it takes over, until that has it.
    pub(super) handover: Option<(OwnedFd, MoveOrder)>,
    /// What brings its words and its end.
    pub(super) attendance: Option<Attendance>,
    /// Which text of the program's it was handed.
    pub(super) handed: u64,
    /// Where answers of it are awaited, by token.
    pub(super) questions: HashMap<u64, oneshot::Sender<FromWorker>>,
}

/// The processes that were started and whose end was not heard of yet.
pub(super) type WorkerProcesses = BTreeMap<WorkerKey, WorkerProcess>;

impl WorkerProcess {
    pub(super) fn new(
        pid: u32,
        image: Rc<Image>,
        handle: OwnedFd,
        outbox: Outbox<ToWorker>,
    ) -> Self {
        Self {
            pid,
            image,
            handle,
            outbox,
            handover: None,
            attendance: None,
            handed: 0,
            questions: HashMap::new(),
        }
    }

    /// Has no more come of it; what is not whole is in the end of the task. `None` if it has ended.
    pub(super) fn pause(&mut self) -> Option<JoinHandle<Option<Attendee>>> {
        let Attendance { pause, task } = self.attendance.take()?;
        if pause.send(true).is_err() {
            tracing::debug!(pid = self.pid, "it has ended already");
        }
        Some(task)
    }

    pub(super) fn kill(&self) {
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
    pub(super) fn tell(&self, message: &ToWorker) -> bool {
        let told = self.outbox.send(message);
        if let Err(error) = &told {
            tracing::debug!(pid = self.pid, %error, "a worker was not told");
        }
        told.is_ok()
    }
}

impl fmt::Debug for WorkerProcess {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("WorkerProcess").field("pid", &self.pid).finish_non_exhaustive()
    }
}

/// Starts this process of a slot. Its listeners listen again, also when this fails: the next turn of
/// the loop parks those that no process reads (`lending`).
pub(super) fn spawn(
    program: Executable<'_>,
    slot: &str,
    key: WorkerKey,
    listeners: &[Listener],
    events: &mpsc::Sender<MasterEvent>,
) -> io::Result<WorkerProcess> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let ours = UnixStream::from_std(ours)?;

    let mut mappings = vec![FdMapping { parent_fd: theirs.into(), child_fd: CONTROL_DESCRIPTOR }];
    for (child_fd, listener) in (FIRST_LISTENER..).zip(listeners) {
        listener.unpark()?;
        mappings.push(FdMapping { parent_fd: listener.lend()?, child_fd });
    }
    let (output, ends) = StartupOutput::new(program.log_files.stderr()?)?;
    let stderr = FIRST_LISTENER + i32::try_from(listeners.len()).map_err(io::Error::other)?;
    mappings.push(FdMapping { parent_fd: ends.later, child_fd: stderr });
    let handed = program.handed.map(in_memory).transpose()?;
    let has_text = handed.is_some();
    mappings.extend(handed.map(|parent_fd| FdMapping { parent_fd, child_fd: stderr + 1 }));
    let (handover, taking) = handover(program.manner)?.unzip();
    let takes_over = taking.is_some();
    mappings.extend(taking.map(|parent_fd| FdMapping { parent_fd, child_fd: stderr + 2 }));
    let (mut command, _held) = program.image.command(program.path, stderr + 3)?;
    match program.arguments {
        WorkerArguments::Slot => command.args([environment::WORKER_VERB, slot]),
        WorkerArguments::Same => command.args(std::env::args_os().skip(1)),
    };
    if let Some(identity) = program.identity {
        identity.put_on(&mut command);
    }
    // After that of the identity: a variable that is named is meant.
    for (name, value) in program.environment {
        command.env(name, value);
    }
    command
        .env(environment::SLOT.name, slot)
        .env(environment::MASTER.name, std::process::id().to_string())
        .env(environment::GENERATION.name, key.generation.to_string())
        .env(environment::LISTENERS.name, listeners.len().to_string())
        .env(environment::STDERR.name, stderr.to_string())
        .stderr(ends.startup)
        .env_remove(environment::REPORT.name)
        .stdin(crate::os::empty_stdin()?);
    program.log_files.put_on(&mut command)?;
    name_descriptor(&mut command, environment::HANDED, has_text.then_some(stderr + 1));
    name_descriptor(&mut command, environment::HANDOVER, takes_over.then_some(stderr + 2));
    match program.self_signed {
        Some(folder) => command.env(environment::SELF_SIGNED.name, folder),
        None => command.env_remove(environment::SELF_SIGNED.name),
    };
    activation::prepare(&mut command, listeners);
    command.fd_mappings(mappings).map_err(io::Error::other)?;
    signals::unblock_in(&mut command);
    let mut child = Command::from(command).spawn()?;

    let pid = child.id().ok_or_else(|| io::Error::other("the process ended at once"))?;
    let handle = handle(pid).inspect_err(|_| {
        // Without a handle it could not be stopped later.
        if let Err(error) = child.start_kill() {
            tracing::debug!(pid, %error, "cannot kill");
        }
    })?;
    let (inbox, outbox) = frame::halves(ours);
    let attended = Attendee { exit: Exit::Child(Box::new(child)), inbox, output };
    let attendance = Some(attend(key, attended, outbox.clone(), events));
    let process = WorkerProcess::new(pid, Rc::clone(program.image), handle, outbox);
    Ok(WorkerProcess { handover, attendance, ..process })
}

/// Says at which descriptor something is, if it is there.
fn name_descriptor(command: &mut std::process::Command, variable: Variable, at: Option<RawFd>) {
    match at {
        Some(number) => command.env(variable.name, number.to_string()),
        None => command.env_remove(variable.name),
    };
}

/// Returns what the two processes of a handover have of it: the giving one's end of a socket and the order,
/// and the taking one's end.
fn handover(manner: StartManner) -> io::Result<Option<((OwnedFd, MoveOrder), OwnedFd)>> {
    if manner == StartManner::Fresh {
        return Ok(None);
    }
    let (giving, taking) = std::os::unix::net::UnixStream::pair()?;
    let mut order = MoveOrder { nonce: [0; 16], limits: MoveLimits::new() };
    getrandom::fill(&mut order.nonce).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(Some(((giving.into(), order), taking.into())))
}

/// Returns a file that is in memory alone, with a text to read from its beginning: there is no file that others could
/// read, and a worker has it whatever user it runs as.
fn in_memory(text: &str) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create("lineman", MemfdFlags::CLOEXEC)?);
    file.write_all(text.as_bytes())?;
    file.rewind()?;
    Ok(file.into())
}

pub(super) fn handle(pid: u32) -> io::Result<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::other("the process id is out of range"))?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::net::UnixStream as Pair;

    use super::*;
    use crate::config::Config;
    use crate::master::attend::watch;
    use crate::master::slot::Slots;
    use crate::service::Description;

    #[tokio::test]
    async fn the_end_of_a_process_loses_no_message_that_waits_for_the_loop() {
        let (ours, mut theirs) = Pair::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let (inbox, _outbox) =
            frame::halves::<FromWorker, FromWorker>(UnixStream::from_std(ours).unwrap());
        let body = serde_json::to_vec(&FromWorker::Leaving { cut: 7, unfinished: 0 }).unwrap();
        theirs.write_all(&u32::try_from(body.len() + 4).unwrap().to_be_bytes()).unwrap();
        theirs.write_all(&body).unwrap();
        drop(theirs);
        let nowhere = File::options().write(true).open("/dev/null").unwrap();
        let (output, ends) = StartupOutput::new(nowhere.into()).unwrap();
        drop(ends);
        let mut child = Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let (pid, stdin) = (child.id().unwrap(), child.stdin.take());

        // A loop that has much to do.
        let (events, mut queue) = mpsc::channel(1);
        events.try_send(MasterEvent::Tick).unwrap();
        let mut slots =
            Slots::new(Config::new("echo".to_owned()), vec![Description::new("echo", "text")]);
        let key = slots.next_process(slots.ids().next().unwrap());
        let mut attended = Attendee { exit: Exit::Child(Box::new(child)), inbox, output };
        let (_pause, paused) = tokio::sync::watch::channel(false);
        let watching =
            tokio::spawn(async move { watch(key, &mut attended, paused, &events).await });
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        drop(stdin);
        // Until its status was taken.
        while Path::new(&format!("/proc/{pid}")).exists() {
            tokio::task::yield_now().await;
        }
        assert!(matches!(queue.recv().await, Some(MasterEvent::Tick)));
        let next = queue.recv().await;
        assert!(
            matches!(
                &next,
                Some(MasterEvent::Said { message, .. })
                    if matches!(**message, FromWorker::Leaving { cut: 7, .. })
            ),
            "{next:?}"
        );
        watching.await.unwrap();
    }
}
