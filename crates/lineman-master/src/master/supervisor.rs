//! The master's loop: it brings events to the machine and carries out what that returns. It alone has
//! the processes and the sockets; it decides nothing about them.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc, oneshot};

use super::drain_limits::DrainLimits;
use super::event::{MasterAction, MasterEvent, ProgramEnd, SignalMeaning, Source};
use super::executable::{Image, Images};
use super::hooks::{Handover, Hooks};
use super::listeners::Listener;
use super::log_file::LogFiles;
use super::machine::Machine;
use super::notify::Notify;
use super::orphans::Orphans;
use super::reload::Round;
use super::slot::{ServiceId, SlotId, Slots, WorkerKey};
use super::spawn::{WorkerProcess, WorkerProcesses};
use super::status::{LISTS, SLICE};
use super::tls::MasterTls;
use super::{Plan, RuntimeDescriptors, Sockets, WorkerArguments, backoff, life_sign, spawn};
use crate::Error;
use crate::control::ExitCode;
use crate::control::answers::Answers;
use crate::control::lock::Holder;
use crate::control::message::{FromWorker, Handed, ToWorker};
use crate::control::request::{Answer, Request};
use crate::control::server::Asked;
use crate::os::identity::Identity;
use crate::service::StartManner;

#[derive(Debug)]
pub(super) struct Supervisor {
    pub(super) machine: Machine,
    pub(super) processes: WorkerProcesses,
    pub(super) listeners: BTreeMap<SlotId, Vec<Listener>>,
    pub(super) program: PathBuf,
    pub(super) images: Images,
    pub(super) holder: Holder,
    /// What of the runtime folder stays open across an upgrade.
    pub(super) files: Rc<RefCell<RuntimeDescriptors>>,
    /// The caller of the upgrade under way, and what is executed.
    pub(super) upgrading: Option<(Answers, Rc<Image>)>,
    /// What the new program has said.
    pub(super) checked: Option<Result<(), String>>,
    /// What came of the last upgrade.
    pub(super) came: Option<String>,
    pub(super) started: Instant,
    pub(super) events: mpsc::Sender<MasterEvent>,
    pub(super) tls: MasterTls,
    pub(super) log_files: LogFiles,
    hooks: Rc<Hooks>,
    workers: WorkerArguments,
    /// The user and group of the processes of a service, if not the master's.
    identities: BTreeMap<ServiceId, Identity>,
    notify: Notify,
    orphans: Orphans,
    /// When processes are asked for a sign of life.
    next_look: Instant,
    /// Places for lists of connections.
    pub(super) lists: Arc<Semaphore>,
    token: u64,
    verdict: Option<ProgramEnd>,
}

impl Supervisor {
    /// Returns the state before anything was started.
    pub(super) fn new(
        plan: &Plan,
        sockets: Sockets,
        log_files: LogFiles,
        (holder, files): (Holder, Rc<RefCell<RuntimeDescriptors>>),
        report: Answers,
        events: mpsc::Sender<MasterEvent>,
    ) -> Result<Self, Error> {
        let tls = MasterTls::new(plan)?;
        let orphans = Orphans::watch(&events)?;
        let mut slots = Slots::new(plan.config.clone(), plan.services.clone());
        let mut listeners = BTreeMap::new();
        for (id, sockets) in slots.ids().zip(sockets.into_iter().flatten()) {
            let pairs = sockets.iter().zip(&slots.service(id).listeners);
            slots[id].listeners = pairs.map(|(socket, listen)| socket.reach(listen)).collect();
            listeners.insert(id, sockets);
        }
        let identities = slots.services().map(|(id, _)| id).zip(plan.identities.iter().cloned());
        let identities = identities.filter_map(|(id, identity)| Some((id, identity?))).collect();
        let started = Instant::now();
        Ok(Self {
            machine: Machine::new(slots, report, backoff::jitter, started),
            processes: WorkerProcesses::new(),
            listeners,
            program: plan.program.clone(),
            images: Images::new(plan.program.clone()),
            holder,
            files,
            upgrading: None,
            checked: None,
            came: None,
            started,
            events,
            tls,
            log_files,
            hooks: Rc::clone(&plan.hooks),
            workers: plan.workers,
            identities,
            notify: Notify::from_environment(),
            orphans,
            next_look: started,
            lists: Arc::new(Semaphore::new(LISTS)),
            token: 0,
            verdict: None,
        })
    }

    /// Runs until the program has stopped.
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<MasterEvent>) -> ProgramEnd {
        tracing::info!(program = %self.program.display(), slots = self.listeners.len(), "starting");
        let first = self.machine.begin();
        self.carry_out(first);
        loop {
            self.turn();
            if let Some(verdict) = self.verdict.take() {
                return verdict;
            }
            let event = match tokio::time::timeout(self.pause(), queue.recv()).await {
                Ok(Some(event)) => event,
                // `self` holds a sender, so the queue is never closed; a tick is harmless.
                Ok(None) | Err(_) => MasterEvent::Tick,
            };
            self.handle(event);
            if self.checked.is_some() {
                self.upgrade(&mut queue).await;
            }
        }
    }

    fn turn(&mut self) {
        let now = Instant::now();
        self.tls.renew(now, &self.processes);
        self.log_files.tend(now, &self.processes);
        let actions = self.machine.advance(now);
        self.carry_out(actions);
        let actions = self.machine.tend_listeners(now);
        self.carry_out(actions);
        if self.next_look <= now {
            self.next_look = now + life_sign::PERIOD;
            let actions = self.machine.look_for_life();
            self.carry_out(actions);
        }
        let processes = &self.processes;
        self.orphans.reap(now, |pid| processes.values().any(|process| process.pid == pid));
        self.notify.turn(self.machine.stage(), || self.machine.slots.condition(), now);
    }

    fn pause(&self) -> Duration {
        let now = Instant::now();
        let others = self.machine.deadline(now).into_iter().chain(self.notify.deadline());
        let others = others.chain(self.log_files.next_look()).chain(self.orphans.deadline());
        let next = others.fold(self.next_look, Instant::min);
        next.saturating_duration_since(now)
    }

    pub(super) fn handle(&mut self, event: MasterEvent) {
        let now = Instant::now();
        match event {
            MasterEvent::Said { worker, message } => self.said(worker, *message, now),
            MasterEvent::NotUnderstood { worker, problem } => {
                let kill = self.machine.not_understood(worker, &problem);
                self.carry_out(kill);
            }
            MasterEvent::Exited { worker, status, said } => {
                self.processes.remove(&worker);
                let actions = self.machine.exited(worker, status, said, now);
                self.carry_out(actions);
            }
            MasterEvent::Asked(asked) => self.asked(asked, now),
            MasterEvent::Slice { worker, from, answer } => {
                self.ask(worker, answer, |token| ToWorker::Connections {
                    token,
                    from,
                    limit: SLICE,
                });
            }
            MasterEvent::Signal(wish) => {
                if matches!(wish, SignalMeaning::Reload | SignalMeaning::ReloadGracefully) {
                    self.log_files.look_now();
                    if let Err(problems) = self.renew(None) {
                        return problems.iter().for_each(|problem| {
                            tracing::error!("the reload is refused: {problem}");
                        });
                    }
                }
                let actions = self.machine.wished(wish, now);
                self.carry_out(actions);
            }
            MasterEvent::UpgradeChecked(outcome) => self.checked = Some(outcome),
            MasterEvent::Tick => {}
        }
    }

    fn said(&mut self, worker: WorkerKey, mut message: FromWorker, now: Instant) {
        if let FromWorker::Status { briefing, .. } = &mut message {
            self.machine.briefed(worker, briefing.take());
        }
        if let FromWorker::Status { token, .. } | FromWorker::Rows { token, .. } = message {
            self.machine.answered(worker);
            if let FromWorker::Status { condition, .. } = &message {
                self.machine.note_condition(worker, condition);
            }
            let process = self.processes.get_mut(&worker);
            if let Some(waiting) = process.and_then(|process| process.questions.remove(&token))
                && waiting.send(message).is_err()
            {
                tracing::debug!(?worker, "an answer came too late");
            }
            return;
        }
        if let (FromWorker::Ready { .. }, Some(process)) = (&message, self.processes.get(&worker)) {
            self.hand_over_newer(process);
        }
        let actions = self.machine.said(worker, message, now);
        self.carry_out(actions);
    }

    fn asked(&mut self, Asked { request, answers }: Asked, now: Instant) {
        if matches!(request, Request::Stop { .. } | Request::Reload { .. }) {
            tracing::info!(?request, "asked by the command line");
        }
        let limit = |millis: Option<u64>| millis.map(Duration::from_millis);
        let actions = match request {
            Request::Stop { manner, timeout_ms } => {
                self.machine.stop(manner, limit(timeout_ms), Some(answers), now)
            }
            Request::Reload { service, manner, timeout_ms, drain_rate, to } => {
                match self.machine.slots.named(service.as_deref()) {
                    Ok(only) => {
                        self.log_files.look_now();
                        // What is handed over is for all.
                        if only.is_none()
                            && let Err(problems) = self.renew(Some(&answers))
                        {
                            tracing::error!("a reload is refused: {}", problems.join("; "));
                            let text = problems.join("\nerror: ");
                            return answers.done(ExitCode::Failed, text);
                        }
                        if only.is_some() && self.hooks.handover.is_some() {
                            let text =
                                "the settings stay: a reload of the whole program reads them";
                            answers.give(Answer::Note { text: text.to_owned() });
                        }
                        let limits = DrainLimits::of(manner, limit(timeout_ms));
                        let slots = &self.machine.slots;
                        let round = Round::new(limits, only, Some(answers), slots);
                        self.machine.begin_reload(round.with(drain_rate, to), now)
                    }
                    Err(unknown) => return answers.done(ExitCode::Failed, unknown),
                }
            }
            Request::Health { probe } => {
                let (code, text) = self.machine.health(probe);
                return answers.done(code, text);
            }
            Request::Upgrade => return self.begin_upgrade(answers),
            Request::Upgraded => {
                let (code, text) = match &self.came {
                    Some(came) if came.starts_with("went back") => (ExitCode::Failed, &**came),
                    Some(came) => (ExitCode::Ok, &**came),
                    None => (ExitCode::Failed, "this master was not upgraded"),
                };
                return answers.done(code, text);
            }
            Request::Status => return self.report_status(answers),
            Request::Connections { service } => {
                return self.list_connections(service.as_deref(), answers);
            }
        };
        self.carry_out(actions);
    }

    /// Has the program make anew what it hands to workers, and tells the caller of the reload what is new in it.
    fn renew(&self, caller: Option<&Answers>) -> Result<(), Vec<String>> {
        let Some(handover) = &self.hooks.handover else { return Ok(()) };
        for line in handover.renew()? {
            tracing::info!("from this reload on: {line}");
            if let Some(caller) = caller {
                caller.give(Answer::Note { text: line });
            }
        }
        Ok(())
    }

    /// Hands a process that has got ready what it was not started with: a reload has come meanwhile.
    fn hand_over_newer(&self, process: &WorkerProcess) {
        let Some(handover) = &self.hooks.handover else { return };
        if handover.current().1 != process.handed {
            process.tell(&ToWorker::Reload { handed: self.handed() });
        }
    }

    fn handed(&self) -> Option<Handed> {
        self.hooks.handover.as_ref().map(|handover| Handed(handover.current().0.to_string()))
    }

    /// Carries out these actions, and before the next one those that come of one.
    fn carry_out(&mut self, actions: impl IntoIterator<Item = MasterAction>) {
        let mut queue: VecDeque<MasterAction> = actions.into_iter().collect();
        while let Some(action) = queue.pop_front() {
            for next in self.carry_out_one(action).into_iter().rev() {
                queue.push_front(next);
            }
        }
    }

    /// Carries out one action; returns what the machine wants after its outcome.
    fn carry_out_one(&mut self, action: MasterAction) -> Vec<MasterAction> {
        match action {
            MasterAction::Start(key, source, manner) => {
                let outcome = self.start(key, source, manner);
                return self.machine.started(key, outcome, Instant::now());
            }
            MasterAction::HandOver { from, to } => {
                if let Err(error) = self.order_handover(from, to) {
                    return self.machine.not_handed_over(from, &error.to_string());
                }
            }
            MasterAction::Serves(key) => {
                if let Some(process) = self.processes.get(&key) {
                    self.images.served(key.slot, &process.image);
                }
            }
            MasterAction::Lend { lender, nth, to } => {
                let outcome = self.lend(lender, nth, to);
                if let Err(error) = &outcome {
                    tracing::debug!(nth, %error, "cannot lend a listener");
                }
                return self.machine.lent(lender, nth, outcome.is_ok()).into_iter().collect();
            }
            MasterAction::Park { slot, nth } => {
                if let Some(listener) = self.listeners.get(&slot).and_then(|all| all.get(nth)) {
                    listener.park();
                }
            }
            MasterAction::Tell(key, message) => {
                if let Some(process) = self.processes.get(&key) {
                    process.tell(&match message {
                        ToWorker::Reload { .. } => ToWorker::Reload { handed: self.handed() },
                        other => other,
                    });
                }
            }
            MasterAction::Kill(key) => {
                if let Some(process) = self.processes.get(&key) {
                    process.kill();
                }
            }
            MasterAction::Answer(to, answer) => to.give(answer),
            MasterAction::Up(report) => {
                report.give(Answer::Started(self.start_report()));
                report.done(ExitCode::Ok, "");
            }
            MasterAction::Reloading => {
                self.notify.reloading();
                self.hooks.reloading();
            }
            MasterAction::Exited(exit) => self.hooks.exited(&exit),
            MasterAction::Stopped(verdict) => {
                self.hooks.stopped();
                self.verdict = Some(verdict);
            }
        }
        Vec::new()
    }

    /// Starts a process and returns its number.
    fn start(
        &mut self,
        key: WorkerKey,
        source: Source,
        manner: StartManner,
    ) -> Result<u32, String> {
        let image = self.images.open(key.slot, source);
        let slots = &self.machine.slots;
        let (slot, service) = (&slots[key.slot], slots.service(key.slot));
        let identity = self.identities.get(&slot.service);
        let listeners = self.listeners.get(&key.slot).map_or(&[][..], Vec::as_slice);
        let handed = self.hooks.handover.as_ref().map(Handover::current);
        let process = image.and_then(|image| {
            let program = spawn::Executable {
                image: &image,
                path: &self.program,
                arguments: self.workers,
                environment: &service.environment,
                identity,
                log_files: &self.log_files,
                self_signed: self.tls.self_signed_folder(),
                handed: handed.as_ref().map(|(text, _)| &**text),
                manner,
            };
            spawn::spawn(program, &slot.name, key, listeners, &self.events)
        });
        let mut process = process.map_err(|error| {
            let identity = identity.map_or_else(String::new, |identity| format!(" as {identity}"));
            format!("{}: cannot execute {}{identity}: {error}", slot.name, self.program.display())
        })?;
        self.tls.give_first_keys(&process, self.machine.predecessor(key.slot));
        process.handed = handed.map_or(0, |(_, version)| version);
        let pid = process.pid;
        self.processes.insert(key, process);
        Ok(pid)
    }

    /// Has one process hand over to the other one, over the socket that only the two will have.
    fn order_handover(&mut self, from: WorkerKey, to: WorkerKey) -> io::Result<()> {
        let gone = || io::Error::other("the process has ended");
        let taking = self.processes.get_mut(&to).ok_or_else(gone)?;
        let (socket, order) = taking.handover.take().ok_or_else(gone)?;
        let giving = self.processes.get(&from).ok_or_else(gone)?;
        let message = ToWorker::HandOver { order };
        giving.outbox.send_with(&message, socket).map_err(io::Error::other)
    }

    /// Hands a slot's listener to a process of its neighbour.
    fn lend(&self, lender: SlotId, nth: usize, to: WorkerKey) -> io::Result<()> {
        let listener = self.listeners.get(&lender).and_then(|all| all.get(nth));
        let (Some(listener), Some(process)) = (listener, self.processes.get(&to)) else {
            return Ok(());
        };
        listener.unpark()?;
        let message = ToWorker::Borrow { lender: self.machine.slots[lender].name.clone() };
        process.outbox.send_with(&message, listener.lend()?).map_err(io::Error::other)
    }

    /// Asks a worker for its status; the receiver ends without a value when no answer comes.
    pub(super) fn ask_status(&mut self, key: WorkerKey) -> oneshot::Receiver<FromWorker> {
        let (answer, receiver) = oneshot::channel();
        self.ask(key, answer, |token| ToWorker::Status { token });
        receiver
    }

    fn ask(
        &mut self,
        key: WorkerKey,
        answer: oneshot::Sender<FromWorker>,
        question: impl FnOnce(u64) -> ToWorker,
    ) {
        self.token += 1;
        if let Some(process) = self.processes.get_mut(&key) {
            process.ask(self.token, &question(self.token), answer);
        }
    }
}
