//! The reloads under way, and what waits for them: which slots they have, what each waits for, how
//! long connections get. State alone; `reload` acts on it.

use std::collections::BTreeSet;
use std::time::Duration;

use super::drain_limits::DrainLimits;
use super::event::WorkerKey;
use super::tally::Tally;
use crate::control::ExitCode;
use crate::control::answers::Answers;
use crate::control::request::Answer;

/// The reloads of a program that is up.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    /// Those under way; no two have a slot in common.
    pub(super) under_way: Vec<Round>,
    /// What was asked for meanwhile of slots that one of them has, merged into one.
    pub(super) next: Option<Round>,
}

impl Rounds {
    /// Returns whether no reload is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Returns the one that is at work on this slot.
    pub(super) fn at(&self, position: usize) -> Option<&Round> {
        self.under_way.iter().find(|round| round.concerns(position))
    }

    /// Returns the one that is at work on this slot.
    pub(super) fn at_mut(&mut self, position: usize) -> Option<&mut Round> {
        self.under_way.iter_mut().find(|round| round.concerns(position))
    }

    /// Returns the place of the one whose successor this process is.
    pub(super) fn of_successor(&self, key: WorkerKey) -> Option<usize> {
        self.under_way.iter().position(|round| round.step == Step::Starting(key))
    }

    pub(super) fn is_in_the_way_of(&self, asked: &Round) -> bool {
        self.under_way.iter().chain(&self.next).any(|round| round.overlaps(asked))
    }

    /// Takes the next one out if nothing is in its way any more.
    pub(super) fn due(&mut self) -> Option<Round> {
        let waits = |next: &Round| self.under_way.iter().any(|round| round.overlaps(next));
        self.next.take_if(|next| !waits(next))
    }
}

/// One reload: of the whole program, or of the slots that were named.
#[derive(Debug)]
pub(super) struct Round {
    /// How long the connections get: what the most patient of those who asked together wants.
    pub(super) patience: DrainLimits,
    /// The wishes of those who wait for it to end: the least patient of them shortens that.
    pub(super) hurry: DrainLimits,
    /// The slots it replaces.
    pub(super) slots: BTreeSet<usize>,
    /// Those to come.
    pub(super) due: BTreeSet<usize>,
    /// The slots it leaves as they are.
    pub(super) staying: BTreeSet<usize>,
    pub(super) watchers: Vec<Watcher>,
    /// What it waits for.
    pub(super) step: Step,
    /// What happened to connections.
    pub(super) tally: Tally,
    pub(super) replaced: usize,
    /// What was told of the program that its successors run.
    pub(super) told: Vec<String>,
}

/// Who waits for a reload.
#[derive(Debug)]
pub(super) struct Watcher {
    pub(super) answers: Answers,
    /// Whether all that was named stays as it is: it was not asked for by mistake.
    pub(super) in_vain: bool,
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
    /// Takes in what was asked for while this one was waiting: the gentler manner and the longer limit
    /// count, so that nobody's connections get less than was asked for.
    fn merge(&mut self, later: Self) {
        self.patience = self.patience.and_longer(later.patience);
        self.slots.extend(later.slots);
        self.staying.extend(later.staying);
        self.watchers.retain(|watcher| !watcher.answers.is_gone());
        self.watchers.extend(later.watchers);
    }

    pub(super) fn overlaps(&self, other: &Self) -> bool {
        !self.slots.is_disjoint(&other.slots)
    }

    /// Returns whether it is at work on this slot.
    fn concerns(&self, position: usize) -> bool {
        match self.step {
            Step::Next => self.slots.contains(&position),
            Step::Starting(key) => key.slot == position,
            Step::Retiring(slot) => slot == position,
        }
    }

    /// Returns the slots whose connections have not had their limit yet.
    pub(super) fn open(&self) -> impl Iterator<Item = usize> {
        let current = match self.step {
            Step::Next => None,
            Step::Starting(key) => Some(key.slot),
            Step::Retiring(slot) => Some(slot),
        };
        current.into_iter().chain(self.due.iter().copied())
    }

    /// Returns how long connections get, in a service with this limit of its own.
    pub(super) fn limit(&self, own: Duration) -> Duration {
        let asked = self.patience.longest(own);
        self.hurry.shortest(own).map_or(asked, |hurry| asked.min(hurry))
    }

    /// Returns who waits for it.
    pub(super) fn watchers(&self) -> impl Iterator<Item = &Answers> {
        self.watchers.iter().map(|watcher| &watcher.answers)
    }

    pub(super) fn tell(&self, text: &str) {
        for watcher in self.watchers() {
            watcher.give(Answer::Note { text: text.to_owned() });
        }
    }

    /// Tells each of these lines, unless an earlier successor had it told.
    pub(super) fn note(&mut self, lines: Vec<String>) {
        for line in lines {
            if !self.told.contains(&line) {
                self.tell(&line);
                self.told.push(line);
            }
        }
    }

    pub(super) fn done(&self, code: ExitCode, text: &str) {
        for watcher in self.watchers() {
            watcher.done(code, text);
        }
    }
}

/// Has a reload wait, with those that wait already.
pub(super) fn queue(next: &mut Option<Round>, asked: Round) {
    match next {
        Some(next) => next.merge(asked),
        None => *next = Some(asked),
    }
}
