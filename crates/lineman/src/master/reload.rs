//! A reload: replace, then retire, one slot after the other. Reloads of different slots go on side by
//! side; one that finds another at its slots follows it, and hurries it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::backoff::Failures;
use super::drain_limits::DrainLimits;
use super::event::WorkerKey;
use super::exit::ExitReason;
use super::rounds::{Round, Rounds, Step, Watcher, queue};
use super::slot::{Outlook, Worker};
use super::supervisor::{Phase, Supervisor};
use super::tally::Tally;
use crate::control::ExitCode;
use crate::control::answers::Answers;
use crate::control::report::Step as Shown;
use crate::control::request::Manner;
use crate::limit::finite;
use crate::service::Reload;
use crate::terminal::units::{self, plural};

impl Supervisor {
    /// Begins a reload, or has it follow those that are in its way.
    pub(super) fn reload(
        &mut self,
        manner: Manner,
        timeout: Option<Duration>,
        only: Option<Vec<usize>>,
        answers: Option<Answers>,
    ) {
        self.log_files.look_now();
        let wish = DrainLimits::of(manner, timeout);
        let asked = self.round(wish, only, answers);
        match &mut self.phase {
            Phase::Stopping(_) => {
                asked.done(ExitCode::Failed, "cannot reload: the program is stopping");
            }
            Phase::Starting(starting) => {
                tracing::info!(?manner, "asked to reload during the start: it follows");
                asked.tell("the program is starting; this reload follows");
                queue(&mut starting.next, asked);
            }
            Phase::Up(rounds) if rounds.is_in_the_way_of(&asked) => {
                tracing::info!(?manner, "asked to reload meanwhile: it follows");
                asked.tell(match rounds.next {
                    Some(_) => "a reload is under way; this one joins the next",
                    None => "a reload is under way; another one follows",
                });
                queue(&mut rounds.next, asked);
                self.hurry_reloads(wish);
            }
            Phase::Up(_) => {
                tracing::info!(?manner, "reloading");
                self.begin_round(asked);
            }
        }
    }

    /// Returns the reload of these slots, or of all.
    fn round(
        &self,
        patience: DrainLimits,
        only: Option<Vec<usize>>,
        answers: Option<Answers>,
    ) -> Round {
        let is_named = only.is_some();
        let named = only.unwrap_or_else(|| (0..self.slots.len()).collect());
        let (slots, staying): (BTreeSet<_>, BTreeSet<_>) =
            named.into_iter().partition(|&position| self.is_replaced(position));
        let in_vain = is_named && slots.is_empty();
        Round {
            patience,
            hurry: DrainLimits::default(),
            slots,
            due: BTreeSet::new(),
            staying,
            watchers: answers.into_iter().map(|answers| Watcher { answers, in_vain }).collect(),
            step: Step::Next,
            tally: Tally::default(),
            replaced: 0,
            told: Vec::new(),
        }
    }

    /// Returns whether a reload replaces the processes of this slot.
    fn is_replaced(&self, position: usize) -> bool {
        let service = self.slots.get(position).and_then(|slot| self.services.get(slot.service));
        service.is_some_and(|service| service.reload == Reload::Replace)
    }

    /// Begins a reload that nothing is in the way of.
    pub(super) fn begin_round(&mut self, mut round: Round) {
        self.notify.reloading();
        self.hooks.reloading();
        round.due.clone_from(&round.slots);
        let slots = round.staying.iter().filter_map(|&position| self.slots.get(position));
        let staying: BTreeSet<_> = slots.map(|slot| slot.service).collect();
        for service in staying.iter().filter_map(|&service| self.services.get(service)) {
            round.tell(&format!("{}: stays, a reload does not replace it", service.name));
        }
        for &position in &round.staying {
            let Some(slot) = self.slots.get_mut(position) else { continue };
            slot.workers.iter_mut().filter(|worker| worker.is_ready()).for_each(Worker::reload);
        }
        if let Phase::Up(rounds) = &mut self.phase {
            rounds.under_way.push(round);
        }
    }

    /// Shortens the drains of the reloads that the next one waits for to what its caller would wait:
    /// a plain reload does not wait an hour for the visitors of a graceful one.
    fn hurry_reloads(&mut self, wish: DrainLimits) {
        let Phase::Up(Rounds { under_way, next: Some(next) }) = &mut self.phase else { return };
        let (now, stop_limit) = (Instant::now(), self.config.stop_limit);
        for round in under_way.iter_mut().filter(|round| round.overlaps(next)) {
            let own = |position: usize| {
                let slot = self.slots.get(position)?;
                self.services.get(slot.service)?.drain_limit
            };
            let own = |position| own(position).unwrap_or(self.config.drain_limit);
            let before: Vec<_> = round.open().map(|slot| (slot, round.limit(own(slot)))).collect();
            round.hurry = round.hurry.and_shorter(wish);
            let shortened =
                before.into_iter().map(|(slot, was)| (slot, was, round.limit(own(slot))));
            let shortened: Vec<_> = shortened.filter(|(_, was, limit)| limit < was).collect();
            let Some(&(_, _, longest)) = shortened.iter().max_by_key(|(_, _, limit)| *limit) else {
                continue;
            };
            let longest = units::limit(longest);
            tracing::info!(limit = longest, "a reload is hurried by another one");
            round.tell(&format!(
                "hurried by another reload: connections get {longest} at most from now on"
            ));
            let Step::Retiring(position) = round.step else { continue };
            let limit = round.limit(own(position));
            let Some(slot) = self.slots.get_mut(position) else { continue };
            for worker in slot.workers.iter_mut().filter(|worker| worker.is_draining()) {
                if worker.deadline() > Some(now + finite(limit)) {
                    worker.drain(limit, stop_limit);
                }
            }
        }
    }

    /// Goes as far as the reloads under way can go now.
    pub(super) fn advance_reloads(&mut self) {
        let mut at = 0;
        while matches!(&self.phase, Phase::Up(rounds) if at < rounds.under_way.len()) {
            if self.advance_round(at) {
                at += 1;
            }
        }
    }

    /// Goes as far as this reload can go now; returns whether it goes on after that.
    fn advance_round(&mut self, at: usize) -> bool {
        loop {
            let Some(round) = self.round_at(at) else { return false };
            match round.step {
                Step::Starting(_) => return true,
                Step::Retiring(slot) => {
                    let slot = self.slots.get(slot);
                    if slot.is_some_and(|slot| slot.workers.iter().any(Worker::is_leaving)) {
                        return true;
                    }
                    if let Some(round) = self.round_at(at) {
                        round.replaced += 1;
                        round.step = Step::Next;
                    }
                }
                Step::Next => match round.due.pop_first() {
                    None => {
                        self.finish_round(at);
                        return false;
                    }
                    Some(slot) => match self.replace(slot) {
                        Ok(key) => {
                            if let Some(round) = self.round_at(at) {
                                round.step = Step::Starting(key);
                            }
                        }
                        Err(reason) => {
                            self.fail_round(at, &reason);
                            return false;
                        }
                    },
                },
            }
        }
    }

    fn round_at(&mut self, at: usize) -> Option<&mut Round> {
        let Phase::Up(rounds) = &mut self.phase else { return None };
        rounds.under_way.get_mut(at)
    }

    fn replace(&mut self, position: usize) -> Result<WorkerKey, String> {
        let was = self.slots.get(position).map(|slot| slot.outlook);
        let key = self.start_worker(position)?;
        if let Some(slot) = self.slots.get_mut(position)
            && was != Some(Outlook::Running)
        {
            // Whoever reloads after a crash loop has changed something.
            slot.failures = Failures::default();
        }
        Ok(key)
    }

    /// A process is ready: if it is a successor, those before it retire.
    pub(super) fn successor_ready(&mut self, key: WorkerKey) {
        let stop_limit = self.config.stop_limit;
        let Phase::Up(rounds) = &mut self.phase else { return };
        let Some(at) = rounds.of_successor(key) else { return };
        let Some(round) = rounds.under_way.get_mut(at) else { return };
        round.step = Step::Retiring(key.slot);
        let Some(slot) = self.slots.get_mut(key.slot) else { return };
        let own = self.services.get(slot.service).and_then(|service| service.drain_limit);
        let limit = round.limit(own.unwrap_or(self.config.drain_limit));
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

    /// Ends the reload whose successor the process was that ended; returns whether there is one.
    pub(super) fn successor_ended(&mut self, key: WorkerKey, reason: &ExitReason) -> bool {
        let Phase::Up(rounds) = &self.phase else { return false };
        let Some(at) = rounds.of_successor(key) else { return false };
        let slot = self.slots.get(key.slot);
        let name = slot.map_or("", |slot| slot.name.as_str());
        let old = slot.and_then(|slot| slot.workers.first());
        let kept = old.map_or_else(
            || "no process serves this slot".to_owned(),
            |old| format!("the old process goes on (pid {})", old.pid),
        );
        let text = format!("{name}: the successor {}; {kept}", successor_problem(reason));
        self.fail_round(at, &text);
        true
    }

    fn fail_round(&mut self, at: usize, reason: &str) {
        tracing::error!(reason, "the reload failed");
        let Some(round) = self.end_round(at) else { return };
        let rest = match round.due.len() {
            0 => String::new(),
            rest => format!("; {} not reloaded", plural(rest, "more slot", "more slots")),
        };
        round.done(ExitCode::Failed, &format!("the reload failed: {reason}{rest}"));
    }

    fn finish_round(&mut self, at: usize) {
        let Some(round) = self.end_round(at) else { return };
        tracing::info!(replaced = round.replaced, "reloaded");
        let text = match round.replaced {
            0 => "nothing to reload: every service stays".to_owned(),
            count => {
                let replaced = plural(count, "process", "processes");
                format!("reloaded: {replaced} replaced, {}", round.tally)
            }
        };
        for Watcher { answers, in_vain } in &round.watchers {
            if *in_vain {
                answers.done(ExitCode::Failed, "nothing was replaced: `restart` does that");
            } else {
                answers.done(ExitCode::Ok, text.clone());
            }
        }
    }

    /// Takes a reload out, and begins the next one if that waited for it alone.
    fn end_round(&mut self, at: usize) -> Option<Round> {
        let Phase::Up(rounds) = &mut self.phase else { return None };
        let ended = rounds.under_way.remove(at);
        if let Some(next) = rounds.due() {
            tracing::info!("reloading once more, as asked meanwhile");
            self.begin_round(next);
        }
        Some(ended)
    }

    /// Ends the reloads under way, and those to come, because the program stops.
    pub(super) fn abandon_reloads(&mut self) {
        let (under_way, next) = match &mut self.phase {
            Phase::Up(rounds) => (std::mem::take(&mut rounds.under_way), rounds.next.take()),
            Phase::Starting(starting) => (Vec::new(), starting.next.take()),
            Phase::Stopping(_) => return,
        };
        for round in under_way.into_iter().chain(next) {
            round.done(ExitCode::Failed, "the reload was given up: the program stops");
        }
    }
}

fn successor_problem(reason: &ExitReason) -> String {
    match reason {
        ExitReason::FailedToStart(_) | ExitReason::Panicked(_) => reason.to_string(),
        other => format!("did not start: {other}"),
    }
}
