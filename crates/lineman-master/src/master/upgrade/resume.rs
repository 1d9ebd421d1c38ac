//! The program that takes a master's place: says whether it could, and goes on where the one before was. Until it
//! has all it needs it can still give the place back.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::net::UnixStream;

use super::LeftState;
use super::state::{MasterState, UNDERSTOOD};
use crate::control::ExitCode;
use crate::control::lock::{self, Holder, Lock};
use crate::master::attend;
use crate::master::executable::Image;
use crate::master::listeners::Listener;
use crate::master::log_file::LogFiles;
use crate::master::slot::{SlotId, SlotWorker, WorkerKey, WorkerState};
use crate::master::spawn::{self, WorkerProcess};
use crate::master::supervisor::Supervisor;
use crate::master::{MASTER, Plan, Sockets, go_on, log};
use crate::terminal::Printer;

/// Says whether the program that is planned could take the place of the master with this state.
pub(crate) fn answer_check(plan: Result<&Plan, String>, state: &MasterState) -> ExitCode {
    match plan.and_then(|plan| state.check(plan)) {
        Ok(()) => {
            Printer::data(UNDERSTOOD);
            ExitCode::Ok
        }
        Err(problem) => {
            Printer::error(&problem);
            ExitCode::Failed
        }
    }
}

/// Goes on in the place of the master before, until the program is stopped.
pub(crate) fn resume(plan: Result<&Plan, String>, inherited: LeftState) -> ExitCode {
    let prepared = plan.and_then(|plan| {
        inherited.state.check(plan)?;
        let failed = |error: &dyn std::fmt::Display| error.to_string();
        let log_files = LogFiles::open(&plan.log).map_err(|error| crate::error::chain(&error))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| failed(&error))?;
        let handle = |slot: &super::state::SlotState| spawn::handle(slot.process.pid);
        let handles = inherited.state.slots.iter().map(handle).collect::<io::Result<Vec<_>>>();
        Ok((plan, log_files, runtime, handles.map_err(|error| failed(&error))?))
    });
    let (plan, log_files, runtime, handles) = match prepared {
        Ok(prepared) => prepared,
        Err(problem) => {
            let program = crate::master::executable::resolve().unwrap_or_default();
            Printer::error(&inherited.go_back(&program, &problem));
            return ExitCode::Failed;
        }
    };
    log::start(MASTER, plan.log.format);
    log::panics::log_all();
    let LeftState { state, mut descriptors, returned, .. } = inherited;
    let own = descriptors.remove(&state.lock).zip(descriptors.remove(&state.control));
    let Some((lock, control)) = own else { return ExitCode::Failed };
    let log = plan.log.log.clone().map(lock::LogPath);
    let started_at = state.started_at;
    let holder = Holder { started_at, log, ..Holder::this(&plan.program) };
    let lock = Lock::of_this_process(plan.folder.lock(), lock);
    let resumed = Resumed { state, descriptors, handles, returned };
    go_on(plan, &runtime, log_files, (holder, lock), control, resumed)
}

/// What a master goes on with.
#[derive(Debug)]
pub(in crate::master) struct Resumed {
    state: MasterState,
    descriptors: BTreeMap<RawFd, OwnedFd>,
    /// Handles of the processes, in the order of the slots.
    handles: Vec<OwnedFd>,
    returned: Option<String>,
}

impl Resumed {
    fn take(&mut self, number: RawFd) -> io::Result<OwnedFd> {
        let missing = || io::Error::other(format!("descriptor {number} is missing"));
        self.descriptors.remove(&number).ok_or_else(missing)
    }

    /// Returns the sockets of all slots.
    pub(in crate::master) fn sockets(&mut self, plan: &Plan) -> io::Result<Sockets> {
        let listens: Vec<_> = plan
            .services
            .iter()
            .flat_map(|service| (0..service.count).map(|_| &service.listeners))
            .collect();
        let mut known: BTreeMap<usize, Listener> = BTreeMap::new();
        let mut slots = Vec::new();
        for (at, listens) in listens.into_iter().enumerate() {
            let places = self.state.slots.get(at).map(|slot| slot.listeners.clone());
            let mut own = Vec::new();
            for (place, listen) in places.unwrap_or_default().into_iter().zip(listens) {
                if let Some(listener) = known.get(&place) {
                    own.push(listener.clone());
                    continue;
                }
                let missing = || io::Error::other("a listener is missing");
                let number = self.state.listeners.get(place).ok_or_else(missing)?.socket;
                let socket = self.take(number)?;
                let state = self.state.listeners.get(place).ok_or_else(missing)?;
                let listener = Listener::again(listen, socket, state)?;
                known.insert(place, listener.clone());
                own.push(listener);
            }
            slots.push(own);
        }
        let mut slots = slots.into_iter();
        Ok(plan
            .services
            .iter()
            .map(|service| slots.by_ref().take(service.count).collect())
            .collect())
    }

    /// Gives a supervisor that has started nothing the processes that run.
    pub(in crate::master) fn give(
        mut self,
        to: &mut Supervisor,
        folder: &std::path::Path,
    ) -> io::Result<String> {
        let now = Instant::now();
        let ago = |millis: u64| now.checked_sub(Duration::from_millis(millis)).unwrap_or(now);
        let mut images = Vec::new();
        for image in std::mem::take(&mut self.state.images) {
            let folder = image.folder.map(|number| self.take(number)).transpose()?;
            images.push(Rc::new(Image::again(self.take(image.file)?, folder)?));
        }
        let image = |place: usize| {
            let missing = || io::Error::other("an executable is missing");
            images.get(place).map(Rc::clone).ok_or_else(missing)
        };
        to.started = ago(self.state.running_ms);
        to.tls.go_on(
            self.state.keys.clone(),
            ago(self.state.keys_since_ms),
            folder,
            self.state.fingerprint.take(),
        );
        let ids: Vec<SlotId> = to.machine.slots.ids().collect();
        let handles = std::mem::take(&mut self.handles);
        let states = std::mem::take(&mut self.state.slots);
        let count = states.len();
        for ((id, state), handle) in ids.into_iter().zip(states).zip(handles) {
            let process = state.process;
            let stream = std::os::unix::net::UnixStream::from(self.take(process.control)?);
            stream.set_nonblocking(true)?;
            let stream = UnixStream::from_std(stream)?;
            let key = WorkerKey { slot: id, generation: process.generation };
            let ran = image(process.image)?;
            let ready_limit = to.machine.slots.config.ready_limit;
            let slot = &mut to.machine.slots[id];
            (slot.generation, slot.restarts) = (process.generation, state.restarts);
            slot.briefing = state.briefing;
            let mut worker =
                SlotWorker::new(key, process.pid, ago(process.running_ms), ready_limit);
            worker.state = WorkerState::Ready;
            worker.ready_at = Some(ago(process.ready_ms));
            worker.evidence.was_ready = true;
            worker.formats = process.formats;
            slot.workers.push(worker);
            let served = state.served.map(image).transpose()?;
            let before = state.before.map(image).transpose()?;
            to.images.go_on(id, served, before);
            let adopted = attend::adopt(process.pid, handle, stream, &process.unread)?;
            let (attended, handle, outbox) = adopted;
            let attendance = attend::attend(key, attended, outbox.clone(), &to.events);
            let mut known = WorkerProcess::new(process.pid, ran, handle, outbox);
            known.attendance = Some(attendance);
            to.processes.insert(key, known);
        }
        to.machine.go_on();
        let this = Image::open(std::path::Path::new("/proc/self/exe"), None)?;
        let (before, build) = (&self.state.build, this.build());
        if let Some(problem) = self.returned {
            return Ok(format!("went back: {problem}"));
        }
        let stay = if count == 1 { "process stays" } else { "processes stay" };
        Ok(format!("upgraded from build {before} to {build}: {count} {stay}"))
    }
}
