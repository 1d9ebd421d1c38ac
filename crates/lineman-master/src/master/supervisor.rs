//! The master's loop and its state: slots, the command under way, and what to do on each event.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc, oneshot};

use super::event::{Event, Wish, WorkerKey};
use super::exit::ExitReason;
use super::hooks::Hooks;
use super::listeners::Listener;
use super::log_file::LogFiles;
use super::notify::Notify;
use super::orphans::Orphans;
use super::rounds::{Round, Rounds};
use super::slot::{Outlook, Slot, Worker, WorkerState};
use super::status::{LISTS, SLICE};
use super::stop::Stop;
use super::tls::Tls;
use super::{Plan, WorkerArguments, spawn};
use crate::Error;
use crate::config::Config;
use crate::control::ExitCode;
use crate::control::answers::Answers;
use crate::control::lock::Holder;
use crate::control::message::{FromWorker, ToWorker};
use crate::control::report::{Progress, Step};
use crate::control::request::{Answer, Manner, Request};
use crate::control::server::Asked;
use crate::os::identity::Identity;
use crate::service::Description;

/// The loop looks at its deadlines at least this often; they are exact, this is for a clock that
/// jumps.
const LONGEST_SLEEP: Duration = Duration::from_mins(1);

/// How the program ended.
#[derive(Debug)]
pub(super) struct Verdict {
    /// What the master's process exits with.
    pub(super) code: ExitCode,
    /// Why it did not start.
    pub(super) failure: Option<String>,
}

/// The master's state.
#[derive(Debug)]
pub(super) struct Supervisor {
    pub(super) config: Config,
    pub(super) program: PathBuf,
    pub(super) services: Vec<Description>,
    pub(super) slots: Vec<Slot>,
    pub(super) phase: Phase,
    pub(super) holder: Holder,
    pub(super) started: Instant,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) tls: Tls,
    pub(super) log_files: LogFiles,
    pub(super) hooks: Rc<Hooks>,
    workers: WorkerArguments,
    identities: Vec<Option<Identity>>,
    pub(super) notify: Notify,
    pub(super) orphans: Orphans,
    /// Places for lists of connections.
    pub(super) lists: Arc<Semaphore>,
    /// What the program of the last process that got ready wants otherwise.
    pub(super) drift: Vec<String>,
    /// The last question's token.
    token: u64,
}

/// What the master as a whole is doing.
#[derive(Debug)]
pub(super) enum Phase {
    /// Not every slot has been ready yet.
    Starting(Starting),
    /// Everything has been ready once; the reloads under way.
    Up(Rounds),
    /// The program stops.
    Stopping(Stop),
}

/// A start under way.
#[derive(Debug)]
pub(super) struct Starting {
    /// Who waits for it.
    report: Answers,
    /// Reloads that were asked for meanwhile, merged into one.
    pub(super) next: Option<Round>,
}

impl Supervisor {
    /// Returns the state before anything was started.
    pub(super) fn new(
        plan: &Plan,
        sockets: Vec<Vec<Vec<Listener>>>,
        log_files: LogFiles,
        holder: Holder,
        report: Answers,
        events: mpsc::Sender<Event>,
    ) -> Result<Self, Error> {
        let tls = Tls::new(plan)?;
        let orphans = Orphans::watch(&events)?;
        let mut slots = Vec::new();
        for (service, (description, sockets)) in plan.services.iter().zip(sockets).enumerate() {
            for (index, listeners) in sockets.into_iter().enumerate() {
                slots.push(Slot::new(&description.name, service, index, listeners));
            }
        }
        Ok(Self {
            config: plan.config.clone(),
            program: plan.program.clone(),
            services: plan.services.clone(),
            slots,
            phase: Phase::Starting(Starting { report, next: None }),
            holder,
            started: Instant::now(),
            events,
            tls,
            log_files,
            hooks: Rc::clone(&plan.hooks),
            workers: plan.workers,
            identities: plan.identities.clone(),
            notify: Notify::from_environment(),
            orphans,
            lists: Arc::new(Semaphore::new(LISTS)),
            drift: Vec::new(),
            token: 0,
        })
    }

    /// Runs until the program has stopped.
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Event>) -> Verdict {
        tracing::info!(program = %self.program.display(), slots = self.slots.len(), "starting");
        for position in 0..self.slots.len() {
            if let Err(reason) = self.start_worker(position) {
                self.fail_start(&reason);
                break;
            }
        }
        loop {
            let verdict = self.advance();
            self.bury_orphans();
            self.tell_manager();
            if let Some(verdict) = verdict {
                return verdict;
            }
            let pause = self.pause();
            let event = match tokio::time::timeout(pause, queue.recv()).await {
                Ok(Some(event)) => event,
                // `self` holds a sender, so the queue is never closed; a tick is harmless.
                Ok(None) | Err(_) => Event::Tick,
            };
            self.handle(event);
        }
    }

    fn pause(&self) -> Duration {
        let others = self.stop_deadline().into_iter().chain(self.notify.deadline());
        let others = others.chain(self.log_files.next_look()).chain(self.orphans.deadline());
        let next = self.slots.iter().filter_map(Slot::deadline).chain(others).min();
        let now = Instant::now();
        next.map_or(LONGEST_SLEEP, |next| next.saturating_duration_since(now).min(LONGEST_SLEEP))
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Said { worker, message } => self.said(worker, message),
            Event::NotUnderstood { worker, problem } => {
                if let Some(worker) = self.worker(worker) {
                    tracing::error!(pid = worker.pid, problem, "a worker is not understood");
                    worker.kill(ExitReason::NotUnderstood);
                }
            }
            Event::Exited { worker, status, said } => {
                if let Some(worker) = self.worker(worker) {
                    worker.evidence.said = said;
                }
                self.exited(worker, status);
            }
            Event::Asked(asked) => self.asked(asked),
            Event::Slice { worker, from, answer } => {
                let token = self.next_token();
                if let Some(worker) = self.worker(worker) {
                    worker.ask(token, &ToWorker::Connections { token, from, limit: SLICE }, answer);
                }
            }
            Event::Signal(wish) => self.wished(wish),
            Event::Tick => {}
        }
    }

    fn asked(&mut self, Asked { request, answers }: Asked) {
        if matches!(request, Request::Stop { .. } | Request::Reload { .. }) {
            tracing::info!(?request, "asked by the command line");
        }
        match request {
            Request::Stop { manner, timeout_ms } => {
                self.stop(manner, timeout_ms.map(Duration::from_millis), Some(answers));
            }
            Request::Reload { service, manner, timeout_ms } => {
                let timeout = timeout_ms.map(Duration::from_millis);
                match self.slots_named(service.as_deref()) {
                    Ok(only) => self.reload(manner, timeout, only, Some(answers)),
                    Err(unknown) => answers.done(ExitCode::Failed, unknown),
                }
            }
            Request::Health { probe } => self.answer_health(probe, &answers),
            Request::Status => self.report_status(answers),
            Request::Connections { service } => self.list_connections(service.as_deref(), answers),
        }
    }

    fn wished(&mut self, wish: Wish) {
        tracing::info!(?wish, "signal");
        match wish {
            Wish::Stop if self.is_stopping_at_once() => self.kill_all(),
            Wish::Stop => self.stop(Manner::Plain, None, None),
            Wish::StopGracefully => self.stop(Manner::Graceful, None, None),
            Wish::Reload => self.reload(Manner::Plain, None, None, None),
            Wish::ReloadGracefully => self.reload(Manner::Graceful, None, None, None),
        }
    }

    /// Acts on deadlines and on the command under way; returns the verdict when all is over.
    fn advance(&mut self) -> Option<Verdict> {
        let now = Instant::now();
        for position in 0..self.slots.len() {
            self.expire(position, now);
        }
        self.renew_ticket_keys(now);
        self.tend_log_files(now);
        match &self.phase {
            Phase::Starting(_) => self.finish_start(),
            Phase::Up(_) => self.advance_reloads(),
            Phase::Stopping(_) => {
                let verdict = self.advance_stop(now);
                self.tend_listeners();
                return verdict;
            }
        }
        self.tend_listeners();
        None
    }

    fn expire(&mut self, position: usize, now: Instant) {
        let (ready_limit, stop_limit) = (self.config.ready_limit, self.config.stop_limit);
        let Some(slot) = self.slots.get_mut(position) else { return };
        for worker in slot.workers.iter_mut().filter(|worker| worker.deadline() <= Some(now)) {
            match worker.state {
                WorkerState::Starting(_) => worker.kill(ExitReason::NotReady(ready_limit)),
                WorkerState::Draining(_) => worker.stop(stop_limit),
                WorkerState::Stopping(_) => worker.kill(ExitReason::KilledAfterLimit),
                WorkerState::Ready | WorkerState::Killed => {}
            }
        }
        if let Outlook::BackingOff(until) = slot.outlook
            && until <= now
            && slot.is_vacant()
        {
            slot.restarts += 1;
            if let Err(reason) = self.start_worker(position) {
                tracing::error!(reason, "cannot start a worker");
                self.replace_crashed(position, None, true);
            }
        }
    }

    fn finish_start(&mut self) {
        if !self.slots.iter().all(Slot::is_ready) {
            return;
        }
        let up = Phase::Up(Rounds::default());
        if let Phase::Starting(Starting { report, next }) = std::mem::replace(&mut self.phase, up) {
            tracing::info!(took = ?self.started.elapsed(), "up");
            report.give(Answer::Started(self.start_report()));
            report.done(ExitCode::Ok, "");
            if let Some(round) = next {
                tracing::info!("reloading, as asked during the start");
                self.begin_round(round);
            }
        }
    }

    /// Starts the next process of a slot and returns its name.
    pub(super) fn start_worker(&mut self, position: usize) -> Result<WorkerKey, String> {
        let ready_limit = self.config.ready_limit;
        let slot = self.slots.get_mut(position).ok_or("there is no such slot")?;
        let service = self.services.get(slot.service).ok_or("there is no such service")?;
        let identity = self.identities.get(slot.service).and_then(Option::as_ref);
        let worker = {
            let program = spawn::Program {
                file: &self.program,
                arguments: self.workers,
                environment: &service.environment,
                identity,
                log_files: &self.log_files,
                self_signed: self.tls.self_signed_folder(),
            };
            spawn::spawn(program, slot, position, ready_limit, &self.events)
        };
        let worker = worker.map_err(|error| {
            let identity = identity.map_or_else(String::new, |identity| format!(" as {identity}"));
            format!("{}: cannot execute {}{identity}: {error}", slot.name, self.program.display())
        })?;
        self.tls.give_keys(&worker);
        let (key, pid) = (worker.key(position), worker.pid);
        // Not before: one that cannot be started leaves the slot as it was, failed or in its back-off.
        slot.outlook = Outlook::Running;
        slot.workers.push(worker);
        self.progress(position, pid, Step::Starting, None, None);
        Ok(key)
    }

    /// Returns who watches what becomes of this slot.
    pub(super) fn watchers(&self, position: usize) -> Vec<&Answers> {
        match &self.phase {
            Phase::Stopping(stop) => stop.watchers.iter().collect(),
            Phase::Up(rounds) => {
                rounds.at(position).into_iter().flat_map(Round::watchers).collect()
            }
            Phase::Starting(_) => Vec::new(),
        }
    }

    /// Tells whoever watches the command under way.
    pub(super) fn progress(
        &self,
        position: usize,
        pid: u32,
        what: Step,
        left: Option<usize>,
        remaining: Option<Duration>,
    ) {
        let Some(slot) = self.slots.get(position) else { return };
        let remaining_ms = remaining.and_then(|left| u64::try_from(left.as_millis()).ok());
        for caller in self.watchers(position) {
            let slot = slot.name.clone();
            caller.give(Answer::Progress(Progress { slot, pid, step: what, left, remaining_ms }));
        }
    }

    /// Asks a worker for its status; the receiver ends without a value when no answer comes.
    pub(super) fn ask_status(&mut self, key: WorkerKey) -> oneshot::Receiver<FromWorker> {
        let (answer, receiver) = oneshot::channel();
        let token = self.next_token();
        if let Some(worker) = self.worker(key) {
            worker.ask(token, &ToWorker::Status { token }, answer);
        }
        receiver
    }

    pub(super) fn worker(&mut self, key: WorkerKey) -> Option<&mut Worker> {
        self.slots.get_mut(key.slot)?.worker(key.generation)
    }

    fn next_token(&mut self) -> u64 {
        self.token += 1;
        self.token
    }

    pub(super) fn note_left(&mut self, position: usize, cut: usize, reason: &ExitReason) {
        let tally = match &mut self.phase {
            Phase::Stopping(stop) => Some(&mut stop.tally),
            Phase::Up(rounds) => rounds.at_mut(position).map(|round| &mut round.tally),
            Phase::Starting(_) => None,
        };
        let Some(tally) = tally else { return };
        tally.cut += cut;
        tally.killed += usize::from(reason.was_forced());
    }
}
