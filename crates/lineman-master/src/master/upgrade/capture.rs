//! The master that is replaced: has the new program say whether it understands, comes to rest, writes down what it
//! knows, and executes it. What fails leaves it as it was.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::path::Path;
use std::process::Stdio;
use std::rc::Rc;
use std::time::{Duration, Instant};

use command_fds::{CommandFdExt as _, FdMapping};
use rustix::fs::{MemfdFlags, memfd_create};
use tokio::process::Command;
use tokio::sync::mpsc;

use super::state::{ImageState, ListenerState, MasterState, ProcessState, SlotState, UNDERSTOOD};
use super::{execute, keep};
use crate::control::ExitCode;
use crate::control::answers::Answers;
use crate::control::environment;
use crate::control::request::Answer;
use crate::master::attend::{self, Attendee};
use crate::master::event::MasterEvent;
use crate::master::executable::Image;
use crate::master::listeners::Listener;
use crate::master::notify::ShownState;
use crate::master::slot::{SlotId, SlotWorker, WorkerKey};
use crate::master::spawn::WorkerProcess;
use crate::master::supervisor::Supervisor;
use crate::os;

/// How long the new program may take to say whether it understands: as long as one to get ready.
const CHECK_LIMIT: Duration = Duration::from_secs(10);

/// The descriptor at which it finds what it is asked about.
const CHECK_DESCRIPTOR: RawFd = 3;

/// How long a process may take to take what was told to it.
const FLUSH: Duration = Duration::from_millis(500);

impl Supervisor {
    /// Begins an upgrade: asks the new program whether it understands.
    pub(in crate::master) fn begin_upgrade(&mut self, answers: Answers) {
        let begun = self.rest().and_then(|()| {
            if self.upgrading.is_some() {
                return Err("an upgrade is under way".to_owned());
            }
            let image = self
                .images
                .open_path()
                .map_err(|error| format!("cannot open {}: {error}", self.program.display()))?;
            let (state, _) = self.state(&BTreeMap::new()).map_err(|error| error.to_string())?;
            let asking = ask(&image, &self.program, &state).map_err(|error| error.to_string())?;
            Ok((image, asking))
        });
        match begun {
            Ok((image, asking)) => {
                self.upgrading = Some((answers, image));
                let events = self.events.clone();
                tokio::spawn(async move {
                    let outcome = answered(asking).await;
                    if events.send(MasterEvent::UpgradeChecked(outcome)).await.is_err() {
                        tracing::debug!("the master's loop has ended");
                    }
                });
            }
            Err(problem) => answers.done(ExitCode::Failed, format!("not upgraded: {problem}")),
        }
    }

    /// Executes the program that has said that it understands; returns when there was none, or it failed.
    pub(in crate::master) async fn upgrade(&mut self, queue: &mut mpsc::Receiver<MasterEvent>) {
        let Some(checked) = self.checked.take() else { return };
        let Some((answers, image)) = self.upgrading.take() else { return };
        let problem = match checked {
            Ok(()) => {
                let text = format!("executing build {} in the master's place", image.build());
                answers.give(Answer::Note { text });
                self.leave_to(&image, queue).await
            }
            Err(problem) => format!("the new program cannot take over: {problem}"),
        };
        tracing::error!(problem, "not upgraded");
        let text = format!("not upgraded: {problem}; nothing has changed");
        answers.done(ExitCode::Failed, text);
    }

    /// Comes to rest and executes the program; returns why it goes on all the same.
    async fn leave_to(
        &mut self,
        image: &Rc<Image>,
        queue: &mut mpsc::Receiver<MasterEvent>,
    ) -> String {
        let mut attended = BTreeMap::new();
        let keys: Vec<WorkerKey> = self.processes.keys().copied().collect();
        for key in keys {
            let process = self.processes.get_mut(&key);
            let Some(mut task) = process.and_then(WorkerProcess::pause) else { continue };
            let ended = loop {
                tokio::select! {
                    ended = &mut task => break ended.ok().flatten(),
                    Some(event) = queue.recv() => self.handle(event),
                }
            };
            attended.extend(ended.map(|ended| (key, ended)));
        }
        while let Ok(event) = queue.try_recv() {
            self.handle(event);
        }
        let problem = self.rest().err().unwrap_or_else(|| match self.leave(image, &attended) {
            Ok(error) | Err(error) => error.to_string(),
        });
        for (key, attended) in attended {
            if let Some(process) = self.processes.get_mut(&key) {
                let outbox = process.outbox.clone();
                process.attendance = Some(attend::attend(key, attended, outbox, &self.events));
            }
        }
        problem
    }

    fn leave(
        &self,
        image: &Rc<Image>,
        attended: &BTreeMap<WorkerKey, Attendee>,
    ) -> io::Result<io::Error> {
        for process in self.processes.values() {
            process.outbox.flush_within(FLUSH)?;
            if !process.outbox.is_flushed() {
                return Err(io::Error::other(format!("pid {} does not read", process.pid)));
            }
        }
        let (state, _held) = self.state(attended)?;
        let file = written(&state, MemfdFlags::empty())?;
        let variables = [(environment::UPGRADE.name, file.as_raw_fd().to_string())];
        tracing::info!(build = image.build(), "upgrading");
        Ok(execute(&image.place(&self.program), &self.program, &variables))
    }

    /// Returns why an upgrade cannot be made now, if something is under way.
    fn rest(&self) -> Result<(), String> {
        if self.machine.stage() != ShownState::Up {
            let stage = self.machine.stage().name();
            return Err(format!("the program is {stage}: try again when it is up"));
        }
        for (_, slot) in self.machine.slots.iter() {
            let is_one = slot.workers.len() == 1 && slot.loan.is_none();
            if !is_one || !slot.workers.iter().all(SlotWorker::is_ready) {
                return Err(format!("{} has not one process that serves: try again", slot.name));
            }
        }
        Ok(())
    }

    /// Writes down what the next program is to know, with descriptors that it will have.
    fn state(
        &self,
        attended: &BTreeMap<WorkerKey, Attendee>,
    ) -> io::Result<(MasterState, Vec<OwnedFd>)> {
        let mut kept = WrittenOnce::default();
        let executable = Image::open(Path::new("/proc/self/exe"), None)?;
        let (lock, control) = {
            let files = self.files.borrow();
            (kept.hold(keep(&files.lock)?), kept.hold(keep(&files.control)?))
        };
        let (keys, keys_since, fingerprint) = self.tls.written();
        let slots = self.machine.slots.ids();
        let slots = slots.map(|id| self.slot_state(id, attended, &mut kept));
        let slots = slots.collect::<io::Result<_>>()?;
        let build = executable.build();
        let executable = executable.written(&mut |descriptor| kept.hold(descriptor))?.file;
        let state = MasterState {
            format: MasterState::FORMAT,
            build,
            started_at: self.holder.started_at,
            running_ms: since(self.started),
            lock,
            control,
            executable,
            keys,
            keys_since_ms: since(keys_since),
            fingerprint,
            listeners: kept.listeners.into_iter().map(|(_, state)| state).collect(),
            images: kept.images.into_iter().map(|(_, state)| state).collect(),
            slots,
        };
        Ok((state, kept.descriptors))
    }

    fn slot_state(
        &self,
        id: SlotId,
        attended: &BTreeMap<WorkerKey, Attendee>,
        kept: &mut WrittenOnce,
    ) -> io::Result<SlotState> {
        let slot = &self.machine.slots[id];
        let gone = || io::Error::other("a process has ended");
        let worker = slot.workers.first().ok_or_else(gone)?;
        let process = self.processes.get(&worker.key).ok_or_else(gone)?;
        let listeners = self.listeners.get(&id).into_iter().flatten();
        let unread = attended.get(&worker.key).map(Attendee::unread).unwrap_or_default();
        let state = ProcessState {
            pid: process.pid,
            generation: worker.key.generation,
            image: kept.image(&process.image)?,
            control: kept.hold(process.outbox.keep()?),
            unread,
            formats: worker.formats,
            running_ms: since(worker.started),
            ready_ms: worker.ready_at.map_or(0, since),
        };
        Ok(SlotState {
            name: slot.name.clone(),
            listeners: listeners.map(|one| kept.listener(one)).collect::<io::Result<_>>()?,
            restarts: slot.restarts,
            briefing: slot.briefing.clone(),
            served: self.images.served_by(id).map(|image| kept.image(image)).transpose()?,
            before: self.images.before(id).map(|image| kept.image(image)).transpose()?,
            process: state,
        })
    }
}

/// What is written once, and named by its place from then on; and the descriptors that stay open.
#[derive(Debug, Default)]
struct WrittenOnce {
    descriptors: Vec<OwnedFd>,
    listeners: Vec<(Listener, ListenerState)>,
    images: Vec<(Rc<Image>, ImageState)>,
}

impl WrittenOnce {
    fn hold(&mut self, descriptor: OwnedFd) -> RawFd {
        let number = descriptor.as_raw_fd();
        self.descriptors.push(descriptor);
        number
    }

    fn listener(&mut self, listener: &Listener) -> io::Result<usize> {
        if let Some(place) = self.listeners.iter().position(|(known, _)| listener.is_same(known)) {
            return Ok(place);
        }
        let state = listener.written(&mut |descriptor| self.hold(descriptor))?;
        self.listeners.push((listener.clone(), state));
        Ok(self.listeners.len() - 1)
    }

    fn image(&mut self, image: &Rc<Image>) -> io::Result<usize> {
        if let Some(place) = self.images.iter().position(|(known, _)| Rc::ptr_eq(known, image)) {
            return Ok(place);
        }
        let state = image.written(&mut |descriptor| self.hold(descriptor))?;
        self.images.push((Rc::clone(image), state));
        Ok(self.images.len() - 1)
    }
}

fn since(then: Instant) -> u64 {
    millis(then.elapsed())
}

/// Starts the new program to say whether it understands.
fn ask(
    image: &Image,
    program: &Path,
    state: &MasterState,
) -> io::Result<(Command, Option<OwnedFd>)> {
    let parent_fd = written(state, MemfdFlags::CLOEXEC)?;
    let (mut command, held) = image.command(program, CHECK_DESCRIPTOR + 1)?;
    command
        .args(std::env::args_os().skip(1))
        .env(environment::UPGRADE_CHECK.name, CHECK_DESCRIPTOR.to_string())
        .stdin(os::empty_stdin()?)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mappings = vec![FdMapping { parent_fd, child_fd: CHECK_DESCRIPTOR }];
    command.fd_mappings(mappings).map_err(io::Error::other)?;
    os::signals::unblock_in(&mut command);
    let mut command = Command::from(command);
    command.kill_on_drop(true);
    Ok((command, held))
}

/// Returns what it says.
/// It is executed by the descriptor, if it cannot be by its path.
async fn answered((mut asking, _held): (Command, Option<OwnedFd>)) -> Result<(), String> {
    let output = match tokio::time::timeout(CHECK_LIMIT, asking.output()).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => return Err(format!("it has said nothing within {CHECK_LIMIT:?}")),
    };
    let said = String::from_utf8_lossy(&output.stdout);
    if output.status.success() && said.lines().any(|line| line == UNDERSTOOD) {
        return Ok(());
    }
    let problem = String::from_utf8_lossy(&output.stderr);
    match problem.lines().rev().find(|line| !line.trim().is_empty()) {
        Some(line) => Err(crate::terminal::plain::one_line(line).into_owned()),
        None => Err(format!("it does not know the master's state ({})", output.status)),
    }
}

fn written(state: &MasterState, flags: MemfdFlags) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create("lineman-master", flags)?);
    file.write_all(&serde_json::to_vec(state)?)?;
    Ok(file.into())
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
