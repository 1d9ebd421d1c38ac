//! The roll: the keys of all uids and groups that have clients here, and what has changed of late. The index
//! writes it; links tell businesses of it (`told`), so that what goes to a name goes to its gateways only.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::rc::Rc;

use lineman_wire::link::{Change, NameKey};
use serde::{Deserialize, Serialize};

/// How many names are told at once: 128 KiB, which cost either end less than a millisecond.
pub(super) const PART: usize = 16 * 1024;

/// As many changes that wait are told at once, not at the end of the turn: a megabyte.
const MANY: usize = 128 * 1024;

/// The roll, shared by the indexes and the links.
pub(super) type SharedRoll = Rc<RefCell<Roll>>;

/// The keys of the names that are here. A key costs 16 bytes or so; the names themselves are the index's.
#[derive(Debug, Default)]
pub(super) struct Roll {
    /// In order, so that it can be told part by part while it changes.
    keys: BTreeSet<NameKey>,
    /// How many names more there are of a key, if any.
    more: BTreeMap<NameKey, u32>,
    /// What not every link was told of.
    changes: Vec<Change>,
    /// How many changes there have been before those.
    before: u64,
    /// Some business may not have been told all of it.
    pub(super) is_wanted: bool,
    /// How often it was asked whether every business knows it; wraps.
    settles: u32,
}

/// The roll, written down, but for the keys, which follow from the names.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SavedRoll {
    changes: Vec<Change>,
    before: u64,
    is_wanted: bool,
    settles: u32,
}

impl Roll {
    /// Writes it down.
    pub(super) fn save(&self) -> SavedRoll {
        let Self { keys: _, more: _, changes, before, is_wanted, settles } = self;
        let (before, is_wanted, settles) = (*before, *is_wanted, *settles);
        SavedRoll { changes: changes.clone(), before, is_wanted, settles }
    }

    /// Goes on where it was, when all names are in it.
    pub(super) fn restore(&mut self, saved: SavedRoll) {
        let SavedRoll { changes, before, is_wanted, settles } = saved;
        self.changes = changes;
        (self.before, self.is_wanted, self.settles) = (before, is_wanted, settles);
    }

    /// A name of that key has its first client.
    pub(super) fn add(&mut self, key: NameKey) {
        if self.keys.insert(key) {
            self.changes.push(Change { key, held: true });
        } else {
            *self.more.entry(key).or_default() += 1;
        }
    }

    /// A name of that key has lost its last client.
    pub(super) fn remove(&mut self, key: NameKey) {
        match self.more.get_mut(&key) {
            Some(1) => drop(self.more.remove(&key)),
            Some(more) => *more -= 1,
            None if self.keys.remove(&key) => self.changes.push(Change { key, held: false }),
            None => {}
        }
    }

    /// Returns how many changes there have been.
    pub(super) fn version(&self) -> u64 {
        self.before + self.changes.len() as u64
    }

    /// Returns what has changed since a version that not every link was told of, or a later one.
    pub(super) fn since(&self, version: u64) -> &[Change] {
        let known = usize::try_from(version.saturating_sub(self.before)).unwrap_or(usize::MAX);
        self.changes.get(known..).unwrap_or_default()
    }

    /// Returns the next keys behind one, or the first ones; less than [`PART`] are the last ones.
    pub(super) fn part(&self, after: Option<NameKey>) -> Vec<NameKey> {
        let first = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.keys.range((first, Bound::Unbounded)).take(PART).copied().collect()
    }

    /// Every link has been told of every change.
    pub(super) fn forget_changes(&mut self) {
        self.before = self.version();
        self.changes.clear();
        self.changes.shrink_to(PART);
    }

    pub(super) fn has_changes(&self) -> bool {
        !self.changes.is_empty()
    }

    pub(super) fn has_many_changes(&self) -> bool {
        self.changes.len() >= MANY
    }

    /// Returns a number for what the roll is now, for every business to confirm.
    pub(super) fn settle(&mut self) -> u32 {
        self.settles = self.settles.wrapping_add(1);
        self.settles
    }

    /// Returns the last such number.
    pub(super) fn settles(&self) -> u32 {
        self.settles
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> NameKey {
        NameKey::of_uid(&number.to_be_bytes())
    }

    #[test]
    fn two_names_of_one_key_are_there_until_both_are_gone() {
        let mut roll = Roll::default();
        let held = |held| Change { key: key(1), held };
        for _ in 0..3 {
            roll.add(key(1));
        }
        assert_eq!((roll.since(0), roll.version()), (&[held(true)][..], 1));
        roll.remove(key(1));
        roll.remove(key(1));
        roll.remove(key(2));
        assert_eq!(roll.version(), 1);
        roll.remove(key(1));
        assert_eq!(roll.since(1), [held(false)]);
        assert!(roll.part(None).is_empty() && roll.more.is_empty());
    }

    #[test]
    fn changes_are_numbered_on_when_they_are_forgotten() {
        let mut roll = Roll::default();
        roll.add(key(1));
        roll.forget_changes();
        assert!(!roll.has_changes() && roll.version() == 1);
        roll.add(key(2));
        assert_eq!((roll.since(1).len(), roll.since(2).len(), roll.since(9).len()), (1, 0, 0));
    }

    #[test]
    fn parts_are_the_whole_roll() {
        let mut roll = Roll::default();
        let count = u32::try_from(2 * PART).expect("a small number");
        (0..count).for_each(|number| roll.add(key(number)));
        let first = roll.part(None);
        let second = roll.part(first.last().copied());
        assert_eq!((first.len(), second.len()), (PART, PART));
        assert!(roll.part(second.last().copied()).is_empty());
        assert!(first.iter().chain(&second).is_sorted());
    }
}
