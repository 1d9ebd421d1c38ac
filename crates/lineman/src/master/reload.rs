//! A reload: replace, then retire, one slot after the other.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::backoff::Failures;
use super::event::WorkerKey;
use super::exit::ExitReason;
use super::slot::{Outlook, Worker};
use super::supervisor::{Phase, Supervisor};
use super::tally::Tally;
use crate::control::ExitCode;
use crate::control::report::Step as Shown;
use crate::control::request::{Answer, Manner};
use crate::control::server::Answers;
use crate::service::Reload;
use crate::terminal::units::plural;

/// How long `reload -g` waits for the connections of each process: an hour outlives nearly every
/// visit, and there is an end to it all the same.
const GRACEFUL_LIMIT: Duration = Duration::from_hours(1);

/// One reload of the whole program.
#[derive(Debug)]
pub(super) struct Round {
    manner: Manner,
    timeout: Option<Duration>,
    /// The slots that were named; `None` for all that a reload replaces.
    only: Option<Vec<usize>>,
    /// Who waits for it.
    pub(super) watchers: Vec<Answers>,
    /// Whether all that was named stays as it is.
    stays: bool,
    /// The slots to come.
    slots: VecDeque<usize>,
    /// What it waits for.
    pub(super) step: Step,
    /// What happened to connections.
    pub(super) tally: Tally,
    replaced: usize,
}

/// What a reload waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing: the next slot is due.
    Next,
    /// The successor must get ready.
    Starting(WorkerKey),
    /// The old process of this slot must go.
    Retiring(usize),
}

impl Round {
    fn new(
        manner: Manner,
        timeout: Option<Duration>,
        only: Option<Vec<usize>>,
        watchers: Vec<Answers>,
    ) -> Self {
        Self {
            manner,
            timeout,
            only,
            stays: false,
            watchers,
            slots: VecDeque::new(),
            step: Step::Next,
            tally: Tally::default(),
            replaced: 0,
        }
    }

    /// Takes in what was asked for while another reload was waiting as well.
    fn merge(&mut self, later: Self) {
        self.manner = later.manner;
        self.timeout = later.timeout.or(self.timeout);
        self.only = match (self.only.take(), later.only) {
            (Some(mut only), Some(more)) => {
                only.extend(more);
                Some(only)
            }
            // One of them wants all.
            (None, _) | (_, None) => None,
        };
        self.watchers.extend(later.watchers);
    }

    /// Returns whether it is at work on this slot.
    pub(super) fn concerns(&self, position: usize) -> bool {
        match self.step {
            Step::Next => true,
            Step::Starting(key) => key.slot == position,
            Step::Retiring(slot) => slot == position,
        }
    }

    fn tell(&self, text: &str) {
        for watcher in &self.watchers {
            watcher.give(Answer::Note { text: text.to_owned() });
        }
    }

    fn done(&self, code: ExitCode, text: &str) {
        for watcher in &self.watchers {
            watcher.done(code, text);
        }
    }
}

impl Supervisor {
    /// Begins a reload, or has it follow the one under way.
    pub(super) fn reload(
        &mut self,
        manner: Manner,
        timeout: Option<Duration>,
        only: Option<Vec<usize>>,
        answers: Option<Answers>,
    ) {
        self.log_files.look_now();
        let asked = Round::new(manner, timeout, only, answers.into_iter().collect());
        match &mut self.phase {
            Phase::Starting(_) => {
                asked.done(ExitCode::Failed, "cannot reload: the program is still starting");
            }
            Phase::Stopping(_) => {
                asked.done(ExitCode::Failed, "cannot reload: the program is stopping");
            }
            Phase::Up { round: round @ None, .. } => {
                tracing::info!(?manner, "reloading");
                *round = Some(asked);
                self.plan_round();
            }
            Phase::Up { next: Some(next), .. } => {
                tracing::info!(?manner, "asked to reload meanwhile: joins the next one");
                asked.tell("a reload is under way; this one joins the next");
                next.merge(asked);
            }
            Phase::Up { next: next @ None, .. } => {
                tracing::info!(?manner, "asked to reload meanwhile: another one follows");
                asked.tell("a reload is under way; another one follows");
                *next = Some(asked);
            }
        }
    }

    fn plan_round(&mut self) {
        let Phase::Up { round: Some(round), .. } = &mut self.phase else { return };
        self.notify.reloading();
        let replaced = |service: usize| {
            self.services.get(service).is_some_and(|service| service.reload == Reload::Replace)
        };
        let named = |at: usize| round.only.as_ref().is_none_or(|only| only.contains(&at));
        let slots: Vec<_> = self.slots.iter().enumerate().filter(|(at, _)| named(*at)).collect();
        let concerned = slots.iter().map(|(_, slot)| slot.service);
        let staying: BTreeSet<_> = concerned.filter(|&service| !replaced(service)).collect();
        let slots = slots.iter().filter(|(_, slot)| replaced(slot.service));
        let slots = slots.map(|(at, _)| *at).collect();
        round.slots = slots;
        round.stays = round.only.is_some() && round.slots.is_empty();
        for service in staying.iter().filter_map(|&service| self.services.get(service)) {
            round.tell(&format!("{}: stays, a reload does not replace it", service.name));
        }
        self.hooks.reloading();
        for (at, slot) in self.slots.iter_mut().enumerate() {
            let named = round.only.as_ref().is_none_or(|only| only.contains(&at));
            if named && staying.contains(&slot.service) {
                slot.workers.iter_mut().filter(|worker| worker.is_ready()).for_each(Worker::reload);
            }
        }
    }

    /// Goes as far as the reload under way can go now.
    pub(super) fn advance_reload(&mut self) {
        loop {
            let Phase::Up { round: Some(round), .. } = &mut self.phase else { return };
            match round.step {
                Step::Starting(_) => return,
                Step::Retiring(slot) => {
                    let slot = self.slots.get(slot);
                    if slot.is_some_and(|slot| slot.workers.iter().any(Worker::is_leaving)) {
                        return;
                    }
                    round.replaced += 1;
                    round.step = Step::Next;
                }
                Step::Next => match round.slots.pop_front() {
                    None => self.finish_round(),
                    Some(slot) => self.replace(slot),
                },
            }
        }
    }

    fn replace(&mut self, position: usize) {
        if let Some(slot) = self.slots.get_mut(position) {
            // Whoever reloads after a crash loop has changed something.
            if slot.outlook != Outlook::Running {
                slot.failures = Failures::default();
            }
        }
        match self.start_worker(position) {
            Ok(key) => {
                if let Phase::Up { round: Some(round), .. } = &mut self.phase {
                    round.step = Step::Starting(key);
                }
            }
            Err(reason) => self.fail_round(&reason),
        }
    }

    /// Sends the processes before this one into retirement.
    pub(super) fn retire_others(&mut self, key: WorkerKey) {
        let stop_limit = self.config.stop_limit;
        let Phase::Up { round: Some(round), .. } = &mut self.phase else { return };
        round.step = Step::Retiring(key.slot);
        let Some(slot) = self.slots.get_mut(key.slot) else { return };
        let own = self.services.get(slot.service).and_then(|service| service.drain_limit);
        let limit = round.timeout.unwrap_or(match round.manner {
            Manner::Plain => own.unwrap_or(self.config.drain_limit),
            Manner::Graceful => GRACEFUL_LIMIT,
        });
        let mut pid = 0;
        for worker in &mut slot.workers {
            if worker.generation == key.generation {
                pid = worker.pid;
            } else if !worker.is_leaving() {
                tracing::info!(slot = slot.name, pid = worker.pid, ?limit, "retiring");
                worker.drain(limit, stop_limit);
            }
        }
        self.progress(key.slot, pid, Shown::Ready, None, None);
    }

    /// Ends the reload if the process that ended was its successor; returns whether it was.
    pub(super) fn successor_ended(&mut self, key: WorkerKey, reason: &ExitReason) -> bool {
        let Phase::Up { round: Some(round), .. } = &self.phase else { return false };
        if round.step != Step::Starting(key) {
            return false;
        }
        let slot = self.slots.get(key.slot);
        let name = slot.map_or("", |slot| slot.name.as_str());
        let old = slot.and_then(|slot| slot.workers.first());
        let kept = old.map_or_else(
            || "no process serves this slot".to_owned(),
            |old| format!("the old process goes on (pid {})", old.pid),
        );
        let text = format!("{name}: the successor {}; {kept}", successor_problem(reason));
        self.fail_round(&text);
        true
    }

    fn fail_round(&mut self, reason: &str) {
        tracing::error!(reason, "the reload failed");
        self.end_round(ExitCode::Failed, |round| {
            let rest = round.slots.len();
            let rest = match rest {
                0 => String::new(),
                _ => format!("; {} not reloaded", plural(rest, "more slot", "more slots")),
            };
            format!("the reload failed: {reason}{rest}")
        });
    }

    fn finish_round(&mut self) {
        if matches!(&self.phase, Phase::Up { round: Some(Round { stays: true, .. }), .. }) {
            // Said by name, so it was not asked for by mistake.
            let text = "nothing was replaced: `restart` does that";
            return self.end_round(ExitCode::Failed, |_| text.to_owned());
        }
        tracing::info!("reloaded");
        self.end_round(ExitCode::Ok, |round| match round.replaced {
            0 => "nothing to reload: every service stays".to_owned(),
            count => {
                let replaced = plural(count, "process", "processes");
                format!("reloaded: {replaced} replaced, {}", round.tally)
            }
        });
    }

    fn end_round(&mut self, code: ExitCode, text: impl FnOnce(&Round) -> String) {
        let Phase::Up { round, next } = &mut self.phase else { return };
        if let Some(ended) = round.take() {
            ended.done(code, &text(&ended));
        }
        if let Some(next) = next.take() {
            tracing::info!("reloading once more, as asked meanwhile");
            *round = Some(next);
            self.plan_round();
        }
    }

    /// Ends the reloads under way because the program stops.
    pub(super) fn abandon_reloads(&mut self) {
        if let Phase::Up { round, next } = &mut self.phase {
            for round in [round.take(), next.take()].into_iter().flatten() {
                round.done(ExitCode::Failed, "the reload was given up: the program stops");
            }
        }
    }
}

fn successor_problem(reason: &ExitReason) -> String {
    match reason {
        ExitReason::FailedToStart(_) | ExitReason::Panicked(_) => reason.to_string(),
        other => format!("did not start: {other}"),
    }
}
