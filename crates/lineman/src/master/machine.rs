//! What the supervisor does on what workers say and on their ends: ready, panicked, crashed.

use std::process::ExitStatus;
use std::time::{Duration, Instant};

use super::backoff::{self, Verdict as Next};
use super::event::WorkerKey;
use super::exit::ExitReason;
use super::hooks::WorkerExit;
use super::slot::{Outlook, WorkerState};
use super::supervisor::{Phase, Supervisor};
use crate::control::message::FromWorker;
use crate::control::report::Step;
use crate::service::sketch::{Sketch, differences};
use crate::terminal::plain::one_line;

/// The pause after a reload's successor has failed where nothing served before: it has just failed
/// for a person who watches, and at once it would only fail again.
const AFTER_RELOAD: Duration = Duration::from_secs(1);

impl Supervisor {
    pub(super) fn said(&mut self, key: WorkerKey, message: FromWorker) {
        let Some(slot) = self.slots.get_mut(key.slot) else { return };
        let name = slot.name.clone();
        let Some(worker) = slot.worker(key.generation) else { return };
        let pid = worker.pid;
        match message {
            FromWorker::Ready { services } => {
                self.compare(key.slot, &services);
                self.ready(key);
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
                if self.config.watchdog.restart {
                    worker.kill(ExitReason::Stuck(doing));
                }
            }
            FromWorker::Draining { left } => {
                let remaining = worker.deadline().map(|until| until - Instant::now().min(until));
                self.progress(key.slot, pid, Step::Draining, Some(left), remaining);
            }
            FromWorker::Leaving { cut } => worker.cut = cut,
            FromWorker::Status { token, .. } | FromWorker::Rows { token, .. } => {
                if let Some(waiting) = worker.questions.remove(&token)
                    && waiting.send(message).is_err()
                {
                    tracing::debug!(slot = name, "an answer came too late");
                }
            }
        }
    }

    /// Tells of what the program of a new process wants otherwise than the one that is running: a
    /// reload replaces processes and nothing else.
    fn compare(&mut self, position: usize, wanted: &[Sketch]) {
        let had: Vec<_> = self.services.iter().map(Sketch::of).collect();
        let drift = match wanted {
            [] => Vec::new(),
            wanted => differences(&had, wanted),
        };
        let drift: Vec<_> = drift.iter().map(|line| one_line(line).into_owned()).collect();
        if drift != self.drift {
            for line in &drift {
                tracing::warn!("{line}");
            }
        }
        self.drift.clone_from(&drift);
        if let Phase::Up(rounds) = &mut self.phase
            && let Some(round) = rounds.at_mut(position)
        {
            round.note(drift);
        }
    }

    fn ready(&mut self, key: WorkerKey) {
        let Some(slot) = self.slots.get_mut(key.slot) else { return };
        let Some(worker) = slot.worker(key.generation) else { return };
        // A worker that was told to leave while it started may have said this before it heard.
        if !matches!(worker.state, WorkerState::Starting(_)) {
            return;
        }
        worker.state = WorkerState::Ready;
        worker.ready_at = Some(Instant::now());
        worker.evidence.was_ready = true;
        let (pid, took) = (worker.pid, worker.started.elapsed());
        tracing::info!(slot = slot.name, pid, ?took, "ready");
        // The serving one comes first.
        slot.workers
            .sort_by_key(|worker| !worker.is_ready() || worker.generation != key.generation);
        self.successor_ready(key);
    }

    pub(super) fn exited(&mut self, key: WorkerKey, status: Option<ExitStatus>) {
        let Some(slot) = self.slots.get_mut(key.slot) else { return };
        let Some(worker) = slot.remove(key.generation) else { return };
        let leaving = worker.is_leaving() && worker.evidence.asked;
        let (pid, cut, ready) = (worker.pid, worker.cut, worker.ready_at);
        let uptime = worker.started.elapsed();
        let reason = ExitReason::tell(status, worker.evidence);
        if leaving {
            tracing::info!(slot = slot.name, pid, %reason, cut, ?uptime, "ended");
        } else {
            tracing::error!(slot = slot.name, pid, %reason, ?uptime, "ended by itself");
        }
        slot.note_exit(reason.clone());
        let (name, asked) = (slot.name.clone(), leaving);
        self.hooks.exited(&WorkerExit { slot: name, pid, reason: reason.clone(), uptime, asked });
        let Some(slot) = self.slots.get(key.slot) else { return };
        let vacant = slot.is_vacant();
        let step = if reason.was_forced() { Step::Killed } else { Step::Ended };
        self.progress(key.slot, pid, step, None, None);
        self.note_left(key.slot, cut, &reason);
        if leaving {
            self.note_death(key.slot, pid, &reason);
        }
        let failed_successor = self.successor_ended(key, &reason);
        if leaving || !vacant {
            return;
        }
        match &self.phase {
            Phase::Starting(_) => {
                let slot = self.slots.get(key.slot).map(|slot| slot.name.clone());
                self.fail_start(&format!("{}: {reason}", slot.unwrap_or_default()));
            }
            Phase::Stopping(ending) if !ending.still_serves() => {}
            Phase::Stopping(_) | Phase::Up { .. } => {
                self.replace_crashed(key.slot, ready, failed_successor);
            }
        }
    }

    /// Gives a slot whose process ended by itself its next one, now or later.
    pub(super) fn replace_crashed(
        &mut self,
        position: usize,
        ready: Option<Instant>,
        after_reload: bool,
    ) {
        let Some(slot) = self.slots.get_mut(position) else { return };
        let now = Instant::now();
        let mut next = slot.failures.count(now, ready, backoff::jitter());
        if after_reload && next == Next::Again(Duration::ZERO) {
            next = Next::Again(AFTER_RELOAD);
        }
        match next {
            Next::Again(Duration::ZERO) => {
                slot.restarts += 1;
                if let Err(reason) = self.start_worker(position) {
                    tracing::error!(reason, "cannot start a worker");
                    self.replace_crashed(position, None, true);
                }
            }
            Next::Again(pause) => {
                tracing::warn!(slot = slot.name, ?pause, "backing off");
                slot.outlook = Outlook::BackingOff(now + pause);
            }
            Next::GiveUp => {
                tracing::error!(
                    slot = slot.name,
                    "failed: it ended too often, a reload tries again"
                );
                slot.outlook = Outlook::Failed;
            }
        }
    }
}
