//! Connection ids: the numbers that name clients within their gateway, and small sets of them.

use std::collections::BTreeSet;

/// Gives out connection ids.
///
/// It begins at random: `GatewayWorker` begins at 1, so that after a restart the id of a client that
/// is long gone names another one.
#[derive(Debug)]
pub(super) struct Counter {
    next: u32,
}

impl Counter {
    pub(super) fn random() -> Self {
        // Without randomness the ids are those of GatewayWorker, and right all the same.
        Self::starting_at(getrandom::u32().unwrap_or(1))
    }

    pub(super) fn starting_at(next: u32) -> Self {
        Self { next }
    }

    /// Returns a number that is neither 0 nor in use.
    ///
    /// It ends: a process has fewer connections than there are numbers.
    pub(super) fn take(&mut self, in_use: impl Fn(u32) -> bool) -> u32 {
        loop {
            let id = self.next;
            self.next = self.next.wrapping_add(1);
            if id != 0 && !in_use(id) {
                return id;
            }
        }
    }
}

/// A set of clients that is seldom larger than one: those of a uid, above all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum IdSet {
    /// A single client, without a heap of its own.
    One(u32),
    /// Any number of clients, none included.
    Many(BTreeSet<u32>),
}

impl IdSet {
    /// Adds an id; returns whether it is new.
    pub(super) fn insert(&mut self, id: u32) -> bool {
        match self {
            Self::One(one) if *one == id => false,
            Self::One(one) => {
                *self = Self::Many(BTreeSet::from([*one, id]));
                true
            }
            Self::Many(ids) => ids.insert(id),
        }
    }

    /// Removes an id; returns whether it was there.
    pub(super) fn remove(&mut self, id: u32) -> bool {
        match self {
            Self::One(one) if *one == id => {
                *self = Self::Many(BTreeSet::new());
                true
            }
            Self::One(_) => false,
            Self::Many(ids) => ids.remove(&id),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Many(ids) => ids.len(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the ids in ascending order.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.from(0)
    }

    /// Returns those that are at least `first`, in ascending order.
    pub(super) fn from(&self, first: u32) -> impl Iterator<Item = u32> + '_ {
        let (one, many) = match self {
            Self::One(one) => (Some(*one).filter(|one| *one >= first), None),
            Self::Many(ids) => (None, Some(ids.range(first..))),
        };
        one.into_iter().chain(many.into_iter().flatten().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_wrap_and_skip_zero_and_those_in_use() {
        let mut counter = Counter::starting_at(u32::MAX);
        let used = [1, 3];
        let taken: Vec<u32> = (0..4).map(|_| counter.take(|id| used.contains(&id))).collect();
        assert_eq!(taken, [u32::MAX, 2, 4, 5]);
    }

    #[test]
    fn a_set_grows_and_shrinks() {
        let mut set = IdSet::One(5);
        assert!(!set.insert(5) && set.insert(3) && set.insert(9));
        assert_eq!(set.iter().collect::<Vec<_>>(), [3, 5, 9]);
        assert_eq!(set.from(4).collect::<Vec<_>>(), [5, 9]);
        assert_eq!(IdSet::One(5).from(6).next(), None);
        assert!(set.remove(5) && !set.remove(5));
        assert!(set.remove(3) && set.remove(9) && set.is_empty());
        let mut one = IdSet::One(1);
        assert!(!one.remove(2) && one.len() == 1 && one.remove(1) && one.is_empty());
    }
}
