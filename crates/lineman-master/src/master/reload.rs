//! The reloads of a program that is up: replace, then retire, one slot after the other. Those of
//! different slots go on side by side; one that finds another at its slots follows it, and hurries it.
//! A machine over the slots: it starts, signals and tells nothing itself.

mod handover;
mod moved;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::backoff::Failures;
use super::drain_limits::DrainLimits;
use super::event::{MasterAction, Source, note};
use super::exit::ExitReason;
use super::slot::{Outlook, Slot, SlotId, SlotWorker, Slots, WorkerKey};
use super::stop::Tally;
use crate::control::ExitCode;
use crate::control::answers::Answers;
use crate::control::request::{Answer, ReloadTo};
use crate::limit::finite;
use crate::service::{Reload, StartManner};
use crate::terminal::units::{self, plural};
pub(super) use handover::HANDOVER;
use handover::manner;
use moved::Moved;

/// The reloads under way, and the one that waits for them.
#[derive(Debug, Default)]
pub(super) struct Reloads {
    /// No two have a slot in common.
    under_way: Vec<Round>,
    /// What was asked for meanwhile of slots that one of them has, merged into one.
    next: Option<Round>,
}

/// One reload: of the whole program, or of the slots that were named.
#[derive(Debug)]
pub(super) struct Round {
    /// How long connections get: the longest that was asked for by the callers it was merged from.
    limits: DrainLimits,
    /// What those asked for that wait for it to end: the shortest of it.
    hurry: DrainLimits,
    slots: BTreeSet<SlotId>,
    /// Those to come.
    due: BTreeSet<SlotId>,
    /// The slots it leaves as they are.
    staying: BTreeSet<SlotId>,
    watchers: Vec<Watcher>,
    awaited: Awaited,
    /// What happened to connections.
    pub(super) tally: Tally,
    replaced: usize,
    /// What was told of the program that its successors run.
    told: Vec<String>,
    /// What has moved.
    moved: Moved,
    /// How many connections that cannot move are closed a second.
    drain_rate: Option<u32>,
    /// What its successors are started from.
    source: Source,
}

/// A caller that waits for a reload.
#[derive(Debug)]
struct Watcher {
    answers: Answers,
    /// Whether all that was named stays as it is: it was not asked for by mistake.
    in_vain: bool,
}

/// What a reload waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    /// The next slot is due.
    Nothing,
    /// The successor must get ready.
    Successor(WorkerKey),
    /// The successor must get ready to take over.
    Dormant(WorkerKey),
    /// What the one process serves moves to the other one.
    Handover { from: WorkerKey, to: WorkerKey },
    /// The successor has ended, and the process before it must say, by then, whether anything had moved.
    LastWord { from: WorkerKey, until: Instant },
    /// The old processes of this slot must end.
    End(SlotId),
}

impl Awaited {
    fn slot(self) -> Option<SlotId> {
        match self {
            Self::Nothing => None,
            Self::Successor(key)
            | Self::Dormant(key)
            | Self::Handover { to: key, .. }
            | Self::LastWord { from: key, .. } => Some(key.slot),
            Self::End(slot) => Some(slot),
        }
    }
}

impl Reloads {
    /// Returns whether no reload is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Returns the one that is at work on this slot.
    pub(super) fn at(&self, slot: SlotId) -> Option<&Round> {
        self.under_way.iter().find(|round| round.concerns(slot))
    }

    /// Returns the one that is at work on this slot.
    pub(super) fn at_mut(&mut self, slot: SlotId) -> Option<&mut Round> {
        self.under_way.iter_mut().find(|round| round.concerns(slot))
    }

    /// A reload was asked for: it begins, or follows those that are in its way.
    pub(super) fn asked(
        &mut self,
        asked: Round,
        slots: &mut Slots,
        now: Instant,
    ) -> Vec<MasterAction> {
        let waiting = self.under_way.iter().chain(&self.next);
        if !waiting.into_iter().any(|round| round.overlaps(&asked)) {
            tracing::info!("reloading");
            return self.begin(asked, slots);
        }
        tracing::info!("asked to reload meanwhile: it follows");
        let wish = asked.limits;
        let mut actions = asked.tell(match self.next {
            Some(_) => "a reload is under way; this one joins the next",
            None => "a reload is under way; another one follows",
        });
        merge(&mut self.next, asked);
        actions.extend(self.hurry(wish, slots, now));
        actions
    }

    /// Begins a reload that nothing is in the way of.
    pub(super) fn begin(&mut self, mut round: Round, slots: &Slots) -> Vec<MasterAction> {
        let mut actions = vec![MasterAction::Reloading];
        round.due.clone_from(&round.slots);
        let staying: BTreeSet<_> = round.staying.iter().map(|&id| slots[id].service).collect();
        for service in staying {
            let text = format!("{}: stays, a reload does not replace it", slots[service].name);
            actions.extend(round.tell(&text));
        }
        let workers = round.staying.iter().flat_map(|&id| &slots[id].workers);
        actions.extend(workers.filter(|worker| worker.is_ready()).map(SlotWorker::reload));
        self.under_way.push(round);
        actions
    }

    /// Shortens the drains of the reloads that the next one waits for to what its caller would wait:
    /// a plain reload does not wait an hour for the visitors of a graceful one.
    fn hurry(&mut self, wish: DrainLimits, slots: &mut Slots, now: Instant) -> Vec<MasterAction> {
        let mut actions = Vec::new();
        let Some(next) = &self.next else { return actions };
        for round in self.under_way.iter_mut().filter(|round| round.overlaps(next)) {
            let limit = |round: &Round, slot| round.limit(slots.drain_limit(slot));
            let before: Vec<_> = round.open().map(|slot| (slot, limit(round, slot))).collect();
            round.hurry = round.hurry.and_shorter(wish);
            let after = before.iter().map(|&(slot, before)| (before, limit(round, slot)));
            let shortened = after.filter(|(before, after)| after < before);
            let Some(longest) = shortened.map(|(_, after)| after).max() else { continue };
            let longest = units::limit(longest);
            tracing::info!(limit = longest, "a reload is hurried by another one");
            actions.extend(round.tell(&format!(
                "hurried by another reload: connections get {longest} at most from now on"
            )));
            let Awaited::End(slot) = round.awaited else { continue };
            let (limit, stop_limit) = (limit(round, slot), slots.config.stop_limit);
            for worker in slots[slot].workers.iter_mut().filter(|worker| worker.is_draining()) {
                if worker.deadline() > Some(now + finite(limit)) {
                    actions.push(worker.drain(now, limit, stop_limit, round.drain_rate));
                }
            }
        }
        actions
    }

    /// Goes as far as the reloads under way can go now.
    pub(super) fn advance(&mut self, slots: &mut Slots, now: Instant) -> Vec<MasterAction> {
        let mut actions = Vec::new();
        let mut at = 0;
        // Those that begin meanwhile come last.
        while let Some(round) = self.under_way.get_mut(at) {
            if let Awaited::End(slot) = round.awaited
                && !slots[slot].workers.iter().any(SlotWorker::is_leaving)
            {
                round.replaced += 1;
                round.awaited = Awaited::Nothing;
            }
            if let Some(problem) = round.has_waited(slots, now) {
                actions.extend(self.fail(at, slots, &problem));
            } else if round.awaited != Awaited::Nothing {
                at += 1;
            } else if let Some(slot) = round.due.pop_first() {
                let manner = match manner(slots, slot) {
                    Ok(manner) => manner,
                    Err(problem) => {
                        actions.extend(self.fail(at, slots, &problem));
                        continue;
                    }
                };
                let (key, source) = (slots.next_process(slot), round.source);
                round.awaited = match manner {
                    StartManner::Fresh => Awaited::Successor(key),
                    StartManner::Dormant => Awaited::Dormant(key),
                };
                actions.push(MasterAction::Start(key, source, manner));
            } else {
                let (round, next) = self.end(at, slots);
                actions.extend(round.finished());
                actions.extend(next);
            }
        }
        actions
    }

    /// A process was started.
    pub(super) fn started(&self, key: WorkerKey, slots: &mut Slots) {
        let slot = &mut slots[key.slot];
        if self.of_successor(key).is_some() && slot.outlook != Outlook::Running {
            // A person who reloads after a crash loop has changed something.
            slot.failures = Failures::default();
        }
    }

    /// A process is ready: if it is a successor, those before it retire.
    pub(super) fn ready(
        &mut self,
        key: WorkerKey,
        slots: &mut Slots,
        now: Instant,
    ) -> Option<Vec<MasterAction>> {
        let at = self.of_successor(key)?;
        let round = self.under_way.get_mut(at)?;
        round.awaited = Awaited::End(key.slot);
        let limit = round.limit(slots.drain_limit(key.slot));
        let (stop_limit, slot) = (slots.config.stop_limit, &mut slots[key.slot]);
        let mut actions = Vec::new();
        for worker in &mut slot.workers {
            if worker.key != key && !worker.is_leaving() {
                tracing::info!(slot = slot.name, pid = worker.pid, ?limit, "retiring");
                actions.push(worker.drain(now, limit, stop_limit, round.drain_rate));
            }
        }
        Some(actions)
    }

    /// A process was not started: if it is a successor, its reload fails.
    pub(super) fn not_started(
        &mut self,
        key: WorkerKey,
        slots: &Slots,
        reason: &str,
    ) -> Option<Vec<MasterAction>> {
        let at = self.of_successor(key)?;
        Some(self.fail(at, slots, reason))
    }

    /// A process has ended: if it is a successor, its reload fails, unless all has moved to it.
    pub(super) fn ended(
        &mut self,
        key: WorkerKey,
        slots: &Slots,
        reason: &ExitReason,
        now: Instant,
    ) -> Option<Vec<MasterAction>> {
        if self.of_handover(key).is_some() {
            return self.ended_while_handing_over(key, slots, reason, now);
        }
        let at = self.of_successor(key)?;
        let problem = successor_problem(slots, key.slot, reason);
        Some(self.fail(at, slots, &problem))
    }

    /// Ends a reload that has failed.
    fn fail(&mut self, at: usize, slots: &Slots, reason: &str) -> Vec<MasterAction> {
        tracing::error!(reason, "the reload failed");
        let (round, next) = self.end(at, slots);
        let rest = match round.due.len() {
            0 => String::new(),
            rest => format!("; {} not reloaded", plural(rest, "more slot", "more slots")),
        };
        let text = format!("the reload failed: {reason}{rest}");
        round.done(ExitCode::Failed, &text).chain(next).collect()
    }

    /// Ends the reloads under way, and those to come, because the program stops.
    pub(super) fn abandon(&mut self) -> Vec<MasterAction> {
        let rounds = self.under_way.drain(..).chain(self.next.take());
        rounds.flat_map(|round| round.abandon()).collect()
    }

    /// Returns the place of the one whose successor this process is.
    fn of_successor(&self, key: WorkerKey) -> Option<usize> {
        self.under_way.iter().position(|round| match round.awaited {
            Awaited::Successor(to) | Awaited::Dormant(to) | Awaited::Handover { to, .. } => {
                to == key
            }
            Awaited::Nothing | Awaited::LastWord { .. } | Awaited::End(_) => false,
        })
    }

    /// Takes a reload out, and begins the next one if that waited for it alone.
    fn end(&mut self, at: usize, slots: &Slots) -> (Round, Vec<MasterAction>) {
        let ended = self.under_way.remove(at);
        let waits = |next: &Round| self.under_way.iter().any(|round| round.overlaps(next));
        let Some(next) = self.next.take_if(|next| !waits(next)) else {
            return (ended, Vec::new());
        };
        tracing::info!("reloading once more, as asked meanwhile");
        (ended, self.begin(next, slots))
    }
}

impl Round {
    /// Returns the reload of these slots, or of all.
    pub(super) fn new(
        limits: DrainLimits,
        only: Option<Vec<SlotId>>,
        answers: Option<Answers>,
        all: &Slots,
    ) -> Self {
        let is_named = only.is_some();
        let named = only.unwrap_or_else(|| all.ids().collect());
        let (slots, staying): (BTreeSet<_>, BTreeSet<_>) =
            named.into_iter().partition(|&id| all.service(id).reload != Reload::Keep);
        let in_vain = is_named && slots.is_empty();
        Self {
            limits,
            hurry: DrainLimits::default(),
            slots,
            due: BTreeSet::new(),
            staying,
            watchers: answers.into_iter().map(|answers| Watcher { answers, in_vain }).collect(),
            awaited: Awaited::Nothing,
            tally: Tally::default(),
            replaced: 0,
            told: Vec::new(),
            moved: Moved::default(),
            drain_rate: None,
            source: Source::Path,
        }
    }

    /// Returns it with so many connections a second closed that cannot move, and with successors of another
    /// executable.
    pub(super) fn with(self, drain_rate: Option<u32>, to: ReloadTo) -> Self {
        let source = match to {
            ReloadTo::Newest => Source::Path,
            ReloadTo::Before => Source::Before,
        };
        Self { drain_rate, source, ..self }
    }

    fn overlaps(&self, other: &Self) -> bool {
        !self.slots.is_disjoint(&other.slots)
    }

    /// Returns whether it is at work on this slot.
    fn concerns(&self, slot: SlotId) -> bool {
        self.awaited.slot().map_or_else(|| self.slots.contains(&slot), |at| at == slot)
    }

    /// Returns the slots whose connections have not had their limit yet.
    fn open(&self) -> impl Iterator<Item = SlotId> {
        self.awaited.slot().into_iter().chain(self.due.iter().copied())
    }

    /// Returns how long connections get, in a service with this limit of its own.
    fn limit(&self, own: Duration) -> Duration {
        let asked = self.limits.longest(own);
        self.hurry.shortest(own).map_or(asked, |hurry| asked.min(hurry))
    }

    /// Returns where those who wait for it are answered.
    pub(super) fn watchers(&self) -> impl Iterator<Item = &Answers> {
        self.watchers.iter().map(|watcher| &watcher.answers)
    }

    pub(super) fn tell(&self, text: &str) -> Vec<MasterAction> {
        self.watchers().map(|watcher| note(watcher, text)).collect()
    }

    /// Tells each of these lines, unless an earlier successor had it told.
    pub(super) fn note(&mut self, lines: Vec<String>) -> Vec<MasterAction> {
        let mut actions = Vec::new();
        for line in lines {
            if !self.told.contains(&line) {
                actions.extend(self.tell(&line));
                self.told.push(line);
            }
        }
        actions
    }

    pub(super) fn abandon(&self) -> Vec<MasterAction> {
        self.done(ExitCode::Failed, "the reload was given up: the program stops").collect()
    }

    pub(super) fn done(&self, code: ExitCode, text: &str) -> impl Iterator<Item = MasterAction> {
        self.watchers().map(move |watcher| {
            MasterAction::Answer(watcher.clone(), Answer::Done { code, text: text.to_owned() })
        })
    }

    fn finished(&self) -> Vec<MasterAction> {
        tracing::info!(replaced = self.replaced, "reloaded");
        let text = match self.replaced {
            0 => "reloaded: no process was replaced, every service stays".to_owned(),
            count => {
                let replaced = plural(count, "process", "processes");
                format!("reloaded: {replaced} replaced, {}{}", self.moved, self.tally)
            }
        };
        let done = |watcher: &Watcher| {
            let (code, text) = if watcher.in_vain {
                (ExitCode::Failed, "nothing was replaced: `restart` does that".to_owned())
            } else {
                (ExitCode::Ok, text.clone())
            };
            MasterAction::Answer(watcher.answers.clone(), Answer::Done { code, text })
        };
        self.watchers.iter().map(done).collect()
    }
}

/// Has a reload wait, with those that wait already: the gentler manner and the longer limit count, so
/// that no connection gets less than was asked for.
pub(super) fn merge(next: &mut Option<Round>, asked: Round) {
    match next {
        Some(next) => {
            next.limits = next.limits.and_longer(asked.limits);
            // What was wished last: there is one binary and one rate for all of it.
            (next.source, next.drain_rate) = (asked.source, asked.drain_rate.or(next.drain_rate));
            next.slots.extend(asked.slots);
            next.staying.extend(asked.staying);
            next.watchers.retain(|watcher| !watcher.answers.is_gone());
            next.watchers.extend(asked.watchers);
        }
        None => *next = Some(asked),
    }
}

fn what_is_kept(slot: &Slot) -> String {
    slot.workers.first().map_or_else(
        || "no process serves this slot".to_owned(),
        |old| format!("the old process goes on (pid {})", old.pid),
    )
}

/// Returns what is told of a successor that has ended.
fn successor_problem(slots: &Slots, slot: SlotId, reason: &ExitReason) -> String {
    let (slot, kept) = (&slots[slot], what_is_kept(&slots[slot]));
    let problem = match reason {
        ExitReason::FailedToStart(_) | ExitReason::Panicked(_) => reason.to_string(),
        other => format!("did not start: {other}"),
    };
    format!("{}: the successor {problem}; {kept}", slot.name)
}

#[cfg(test)]
#[path = "reload_tests.rs"]
mod tests;
