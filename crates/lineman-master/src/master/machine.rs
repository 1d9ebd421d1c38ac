//! What the master knows and decides, as one value: it is told what happened and when, and returns
//! what is to be done. Called by `supervisor` alone; there is no process, no socket and no clock in here.

use std::time::{Duration, Instant};

use super::drain_limits::DrainLimits;
use super::event::{MasterAction, SignalMeaning, progress};
use super::exit::ExitReason;
use super::lending;
use super::notify::ShownState;
use super::reload::{HANDOVER, Reloads, Round};
use super::slot::{Outlook, Slot, SlotId, SlotWorker, Slots, WorkerKey, WorkerState};
use super::start::Starting;
use super::stop::{self, Stop, Tally};
use crate::control::answers::Answers;
use crate::control::message::FromWorker;
use crate::control::report::Step;
use crate::control::request::{Manner, Probe};
use crate::control::{Complaints, ExitCode};
use crate::service::sketch::Sketch;
use crate::terminal::plain::one_line;

/// The slots, and the machine that is at work on them.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) slots: Slots,
    pub(super) phase: MasterPhase,
    /// What the program of the last process that got ready wants otherwise.
    drift: Vec<String>,
    /// Returns a number between 0 and 1 that spreads the ends of back-offs.
    pub(super) jitter: fn() -> f64,
}

/// What the master as a whole is doing.
#[derive(Debug)]
pub(super) enum MasterPhase {
    /// Not every slot has been ready yet.
    Starting(Starting),
    /// Everything has been ready once.
    Up(Reloads),
    Stopping(Stop),
}

impl Machine {
    /// Returns the state before anything was started. The start is reported to `report`.
    pub(super) fn new(slots: Slots, report: Answers, jitter: fn() -> f64, now: Instant) -> Self {
        let phase = MasterPhase::Starting(Starting::new(&slots, report, now));
        Self { slots, phase, drift: Vec::new(), jitter }
    }

    /// Goes on with processes that serve already.
    pub(super) fn go_on(&mut self) {
        self.phase = MasterPhase::Up(Reloads::default());
    }

    /// Begins with the first slot.
    pub(super) fn begin(&mut self) -> Option<MasterAction> {
        let MasterPhase::Starting(starting) = &mut self.phase else { return None };
        starting.start_next(&mut self.slots)
    }

    /// Returns what people and the service manager see of it.
    pub(super) fn stage(&self) -> ShownState {
        match &self.phase {
            MasterPhase::Starting(_) => ShownState::Starting,
            MasterPhase::Up(reloads) if reloads.is_idle() => ShownState::Up,
            MasterPhase::Up(_) => ShownState::Reloading,
            MasterPhase::Stopping(_) => ShownState::Stopping,
        }
    }

    /// Answers a probe. Every master that answers is live. Ready is a program that has been up as a
    /// whole, that was not told to stop, and that has a ready process for every service now that does
    /// not say itself that clients are better off elsewhere: a reload does not change that, a service whose last
    /// process crashed does until its successor is ready. What services remark is told with either answer.
    pub(super) fn health(&self, probe: Probe) -> (ExitCode, String) {
        let missing = self.slots.services().find(|(service, _)| !self.slots.serves(*service));
        let with_remarks = |text: String| {
            let lines = std::iter::once(text).chain(self.remarks());
            lines.collect::<Vec<_>>().join("\n")
        };
        let not_ready = |why: &str| (ExitCode::Failed, with_remarks(format!("not ready: {why}")));
        match (probe, self.stage(), missing) {
            (Probe::Live, ..) => (ExitCode::Ok, "live".to_owned()),
            (Probe::Ready, stage @ (ShownState::Starting | ShownState::Stopping), _) => {
                not_ready(stage.name())
            }
            (Probe::Ready, ShownState::Up | ShownState::Reloading, Some((_, service))) => {
                not_ready(&format!("{} has no ready process", service.name))
            }
            (Probe::Ready, ShownState::Up | ShownState::Reloading, None) => {
                match self.slots.unfit() {
                    Some(why) => not_ready(&why),
                    None => {
                        (ExitCode::Ok, with_remarks(format!("ready: {}", self.slots.condition())))
                    }
                }
            }
        }
    }

    /// Returns when the next [`Machine::advance`] is due.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        let of_phase = match &self.phase {
            MasterPhase::Stopping(stop) => stop.deadline(now),
            MasterPhase::Up(reloads) => reloads.deadline(),
            MasterPhase::Starting(_) => None,
        };
        self.slots.deadline().into_iter().chain(of_phase).min()
    }

    /// Acts on deadlines, and goes as far as the machine at work can go now.
    pub(super) fn advance(&mut self, now: Instant) -> Vec<MasterAction> {
        let ids = self.slots.ids();
        let mut actions: Vec<_> = ids.flat_map(|id| self.expire(id, now)).collect();
        actions.extend(match &mut self.phase {
            MasterPhase::Starting(_) => self.finish_start(now),
            MasterPhase::Up(reloads) => reloads.advance(&mut self.slots, now),
            MasterPhase::Stopping(stop) => stop.advance(&mut self.slots, now),
        });
        actions
    }

    /// Lends, takes back and parks listeners; called when what [`Machine::advance`] wanted is done.
    pub(super) fn tend_listeners(&mut self, now: Instant) -> Vec<MasterAction> {
        let serves = match &self.phase {
            MasterPhase::Starting(_) => false,
            MasterPhase::Up(_) => true,
            MasterPhase::Stopping(stop) => stop.still_serves(now),
        };
        if serves { lending::advance(&mut self.slots, now) } else { Vec::new() }
    }

    /// A listener was handed over, or was not.
    pub(super) fn lent(
        &mut self,
        lender: SlotId,
        nth: usize,
        is_done: bool,
    ) -> Option<MasterAction> {
        lending::lent(&mut self.slots, lender, nth, is_done)
    }

    fn expire(&mut self, id: SlotId, now: Instant) -> Vec<MasterAction> {
        let (ready_limit, stop_limit) =
            (self.slots.config.ready_limit, self.slots.config.stop_limit);
        let slot = &mut self.slots[id];
        let due = slot.workers.iter_mut().filter(|worker| worker.deadline() <= Some(now));
        let act = |worker: &mut SlotWorker| match worker.state {
            WorkerState::Starting(_) => Some(worker.kill(ExitReason::NotReady(ready_limit))),
            WorkerState::Draining(_) => Some(worker.stop(now, stop_limit)),
            WorkerState::Stopping(_) => Some(worker.kill(ExitReason::KilledAfterLimit)),
            WorkerState::Dormant(_) => Some(worker.kill(ExitReason::NothingTakenOver(HANDOVER))),
            WorkerState::Ready | WorkerState::Killed => None,
        };
        let mut actions: Vec<_> = due.filter_map(act).collect();
        if slot.outlook.next_start().is_some_and(|at| at <= now) && slot.is_vacant() {
            actions.push(self.restart(id));
        }
        actions
    }

    fn finish_start(&mut self, now: Instant) -> Vec<MasterAction> {
        let MasterPhase::Starting(starting) = &mut self.phase else { return Vec::new() };
        let Some((up, reload)) = starting.finish(&self.slots, now) else { return Vec::new() };
        let (mut reloads, mut actions) = (Reloads::default(), vec![up]);
        if let Some(round) = reload {
            tracing::info!("reloading, as asked during the start");
            actions.extend(reloads.begin(round, &self.slots));
            actions.extend(reloads.advance(&mut self.slots, now));
        }
        self.phase = MasterPhase::Up(reloads);
        actions
    }

    /// A process was started, with this number, or was not.
    pub(super) fn started(
        &mut self,
        key: WorkerKey,
        outcome: Result<u32, String>,
        now: Instant,
    ) -> Vec<MasterAction> {
        let pid = match outcome {
            Ok(pid) => pid,
            Err(reason) => return self.not_started(key, &reason, now),
        };
        if let MasterPhase::Up(reloads) = &self.phase {
            reloads.started(key, &mut self.slots);
        }
        let ready_limit = self.slots.config.ready_limit;
        let slot = &mut self.slots[key.slot];
        // Not before: one that cannot be started leaves the slot as it was, failed or in its back-off.
        slot.outlook = Outlook::Running;
        slot.workers.push(SlotWorker::new(key, pid, now, ready_limit));
        if slot.failures.are_news() {
            tracing::info!(slot = slot.name, pid, generation = key.generation, "started");
        }
        let mut actions = self.progress(key.slot, pid, Step::Starting, None, None);
        if let MasterPhase::Starting(starting) = &mut self.phase {
            actions.extend(starting.start_next(&mut self.slots));
        }
        actions
    }

    /// Returns a line for each thing that is not as it should be in the words of the services, and names
    /// the slot.
    fn remarks(&self) -> Vec<String> {
        let of_slot = |(_, slot): (SlotId, &Slot)| {
            let remarks = slot.serving().map(|worker| &worker.condition.remarks);
            let name = slot.name.clone();
            let line = move |remark: &String| format!("{name}: {}", one_line(remark));
            remarks.into_iter().flatten().map(line).collect::<Vec<_>>()
        };
        self.slots.iter().flat_map(of_slot).collect()
    }

    /// A service has said how it is.
    pub(super) fn note_condition(&mut self, key: WorkerKey, condition: &Complaints) {
        if let Some(worker) = self.slots.worker(key) {
            worker.condition.clone_from(condition);
        }
    }

    /// A worker said something. Answers to questions are not for the machine.
    pub(super) fn said(
        &mut self,
        key: WorkerKey,
        message: FromWorker,
        now: Instant,
    ) -> Vec<MasterAction> {
        let name = self.slots[key.slot].name.clone();
        let restarts_stuck = self.slots.config.watchdog.restart;
        // It stands still for a moment, and has limits of its own.
        let hands_over = self.hands_over(key);
        let Some(worker) = self.slots.worker(key) else { return Vec::new() };
        let pid = worker.pid;
        match message {
            FromWorker::Ready { services, briefing, formats, dormant } => {
                worker.formats = formats;
                let mut actions = self.compare(key.slot, &services);
                actions.extend(if dormant { self.dormant(key, now) } else { self.ready(key, now) });
                self.briefed(key, briefing);
                return actions;
            }
            FromWorker::Failed { reason } => {
                worker.evidence.failed = Some(one_line(&reason).into_owned());
            }
            FromWorker::Panicked { message, location } => {
                let (message, location) = (one_line(&message), one_line(&location));
                let (message, location) = (&*message, &*location);
                tracing::warn!(slot = name, pid, message, location, "a worker panicked");
                worker.evidence.panicked = Some(format!("{message} at {location}"));
            }
            FromWorker::Stuck { still, doing } => {
                let doing = one_line(&doing).into_owned();
                tracing::error!(slot = name, pid, ?still, doing, "a worker's loop is blocked");
                if restarts_stuck && !hands_over {
                    return vec![worker.kill(ExitReason::Stuck(doing))];
                }
            }
            FromWorker::Draining { left } => {
                let remaining = worker.deadline().map(|end| end.saturating_duration_since(now));
                return self.progress(key.slot, pid, Step::Draining, Some(left), remaining);
            }
            FromWorker::Leaving { cut, unfinished } => {
                (worker.cut, worker.unfinished) = (cut, unfinished);
            }
            FromWorker::TookOver => return self.took_over(key, now),
            FromWorker::HandedOver { report } => return self.handed_over(key, &report, now),
            FromWorker::HandoverFailed { reason } => {
                return self.not_handed_over(key, &one_line(&reason));
            }
            FromWorker::Status { .. } | FromWorker::Rows { .. } => {}
        }
        Vec::new()
    }

    /// A worker sent what is no message.
    pub(super) fn not_understood(&mut self, key: WorkerKey, problem: &str) -> Option<MasterAction> {
        let worker = self.slots.worker(key)?;
        tracing::error!(pid = worker.pid, problem, "a worker is not understood");
        Some(worker.kill(ExitReason::NotUnderstood))
    }

    /// Tells of what the program of a new process wants otherwise than the one that is running: a
    /// reload replaces processes and nothing else.
    fn compare(&mut self, slot: SlotId, wanted: &[Sketch]) -> Vec<MasterAction> {
        let drift = self.slots.drift(wanted);
        if drift != self.drift {
            for line in &drift {
                tracing::warn!("{line}");
            }
        }
        self.drift.clone_from(&drift);
        let MasterPhase::Up(reloads) = &mut self.phase else { return Vec::new() };
        reloads.at_mut(slot).map(|round| round.note(drift)).unwrap_or_default()
    }

    fn ready(&mut self, key: WorkerKey, now: Instant) -> Vec<MasterAction> {
        let Some(worker) = self.slots.worker(key) else { return Vec::new() };
        // A worker that was told to leave while it started may have said this before it heard.
        if !matches!(worker.state, WorkerState::Starting(_)) {
            return Vec::new();
        }
        if let Some(actions) = self.not_dormant(key) {
            return actions;
        }
        self.serves(key, now)
    }

    /// A process serves from now on; if it is a successor, those before it retire.
    pub(super) fn serves(&mut self, key: WorkerKey, now: Instant) -> Vec<MasterAction> {
        let Some(worker) = self.slots.worker(key) else { return Vec::new() };
        worker.state = WorkerState::Ready;
        worker.ready_at = Some(now);
        worker.evidence.was_ready = true;
        let (pid, took) = (worker.pid, now.saturating_duration_since(worker.started));
        let slot = &mut self.slots[key.slot];
        tracing::info!(slot = slot.name, pid, ?took, "ready");
        // The serving one comes first.
        slot.workers.sort_by_key(|worker| !worker.is_ready() || worker.key != key);
        let mut actions = vec![MasterAction::Serves(key)];
        let MasterPhase::Up(reloads) = &mut self.phase else { return actions };
        let Some(retiring) = reloads.ready(key, &mut self.slots, now) else { return actions };
        actions.extend(retiring);
        actions.extend(self.progress(key.slot, pid, Step::Ready, None, None));
        actions
    }

    pub(super) fn wished(&mut self, wish: SignalMeaning, now: Instant) -> Vec<MasterAction> {
        tracing::info!(?wish, "signal");
        match (wish, &self.phase) {
            (SignalMeaning::Stop, MasterPhase::Stopping(stop)) if stop.is_at_once() => {
                stop::kill_all(&mut self.slots)
            }
            (SignalMeaning::Stop, _) => self.stop(Manner::Plain, None, None, now),
            (SignalMeaning::StopGracefully, _) => self.stop(Manner::Graceful, None, None, now),
            (SignalMeaning::Reload, _) => self.reload(Manner::Plain, None, None, None, now),
            (SignalMeaning::ReloadGracefully, _) => {
                self.reload(Manner::Graceful, None, None, None, now)
            }
        }
    }

    /// Begins a reload of these slots, or of all, or has it follow those that are in its way.
    pub(super) fn reload(
        &mut self,
        manner: Manner,
        timeout: Option<Duration>,
        only: Option<Vec<SlotId>>,
        answers: Option<Answers>,
        now: Instant,
    ) -> Vec<MasterAction> {
        let asked = Round::new(DrainLimits::of(manner, timeout), only, answers, &self.slots);
        self.begin_reload(asked, now)
    }

    /// Begins this reload, or has it follow those that are in its way.
    pub(super) fn begin_reload(&mut self, asked: Round, now: Instant) -> Vec<MasterAction> {
        match &mut self.phase {
            MasterPhase::Stopping(_) => {
                asked.done(ExitCode::Failed, "cannot reload: the program is stopping").collect()
            }
            MasterPhase::Starting(starting) => starting.reload(asked),
            MasterPhase::Up(reloads) => reloads.asked(asked, &mut self.slots, now),
        }
    }

    /// Stops the program; a stop that is under way is joined, and hurried if this one is in more of
    /// a hurry.
    pub(super) fn stop(
        &mut self,
        manner: Manner,
        timeout: Option<Duration>,
        answers: Option<Answers>,
        now: Instant,
    ) -> Vec<MasterAction> {
        let (mut actions, delay, failure) = match &mut self.phase {
            MasterPhase::Stopping(stop) => {
                return stop.join(manner, timeout, answers, &mut self.slots, now);
            }
            MasterPhase::Starting(starting) => {
                let failure = "stopped before everything was up".to_owned();
                (starting.abandon(), Duration::ZERO, Some((ExitCode::Failed, failure)))
            }
            MasterPhase::Up(reloads) if manner == Manner::Graceful => {
                (reloads.abandon(), self.slots.config.drain_delay, None)
            }
            MasterPhase::Up(reloads) => (reloads.abandon(), Duration::ZERO, None),
        };
        tracing::info!(?manner, "stopping");
        let (mut stop, told) = Stop::begin(manner, timeout, delay, answers, now);
        stop.failure = failure;
        self.phase = MasterPhase::Stopping(stop);
        actions.extend(told);
        actions
    }

    pub(super) fn tally(&mut self, slot: SlotId) -> Option<&mut Tally> {
        match &mut self.phase {
            MasterPhase::Stopping(stop) => Some(&mut stop.tally),
            MasterPhase::Up(reloads) => reloads.at_mut(slot).map(|round| &mut round.tally),
            MasterPhase::Starting(_) => None,
        }
    }

    /// Returns where the callers are answered that watch what becomes of this slot.
    pub(super) fn watchers(&self, slot: SlotId) -> Vec<&Answers> {
        match &self.phase {
            MasterPhase::Stopping(stop) => stop.watchers.iter().collect(),
            MasterPhase::Up(reloads) => {
                reloads.at(slot).into_iter().flat_map(Round::watchers).collect()
            }
            MasterPhase::Starting(_) => Vec::new(),
        }
    }

    pub(super) fn progress(
        &self,
        slot: SlotId,
        pid: u32,
        step: Step,
        left: Option<usize>,
        remaining: Option<Duration>,
    ) -> Vec<MasterAction> {
        let name = &self.slots[slot].name;
        let tell = |watcher| progress(watcher, name, pid, step, left, remaining);
        self.watchers(slot).into_iter().map(tell).collect()
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
