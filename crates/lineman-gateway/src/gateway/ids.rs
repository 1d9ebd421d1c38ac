//! Connection ids: the numbers that name clients within their gateway, and small sets of them.

use std::collections::BTreeMap;
use std::ops::{Bound, RangeInclusive};

use serde::{Deserialize, Serialize};

/// Gives out connection ids.
///
/// It begins at random: `GatewayWorker` begins at 1, so that after a restart the id of a client that
/// is long gone names another one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Counter {
    first: u32,
    next: u32,
}

impl Counter {
    pub(super) fn random() -> Self {
        // Without randomness the ids are those of GatewayWorker, and right all the same.
        Self::starting_at(getrandom::u32().unwrap_or(1))
    }

    pub(super) fn starting_at(first: u32) -> Self {
        let first = first.max(1);
        Self { first, next: first }
    }

    /// Returns a number that is neither 0 nor in use.
    ///
    /// It ends: a process has fewer connections than there are numbers.
    pub(super) fn take(&mut self, in_use: impl Fn(u32) -> bool) -> u32 {
        loop {
            let id = self.next;
            self.next = self.next.wrapping_add(1);
            if id != 0 && self.place(id) != 0 && !in_use(id) {
                return id;
            }
        }
    }

    /// Returns the place of an id in the order in which ids are given out, from 1 on; beyond the greatest number it
    /// goes on with the least. An id that was given out is at none of 0.
    pub(super) fn place(&self, id: u32) -> u32 {
        id.wrapping_sub(self.first).wrapping_add(1)
    }

    /// Returns the ids whose places are behind `after`, as one range and a second one behind it.
    pub(super) fn behind(&self, after: u32) -> [RangeInclusive<u32>; 2] {
        let begin = self.first.wrapping_add(after);
        let rest = 1..=self.first.wrapping_sub(1);
        match self.first.checked_add(after) {
            Some(_) => [begin..=u32::MAX, rest],
            None => [NOTHING, begin..=*rest.end()],
        }
    }
}

/// No ids.
#[expect(clippy::reversed_empty_ranges, reason = "it is to be empty")]
const NOTHING: RangeInclusive<u32> = 1..=0;

/// Clients in the order in which they joined; seldom more than one: those of a uid, above all. Each has a place,
/// from 1 on, which its client keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum IdSet {
    /// A single client, at the first place, without a heap of its own.
    One(u32),
    /// Any number of clients by their places, none included.
    Many(BTreeMap<u32, u32>),
}

impl IdSet {
    /// The place of a set's first client.
    pub(super) const FIRST: u32 = 1;

    /// Adds an id that is not there; returns its place, behind the others.
    pub(super) fn insert(&mut self, id: u32) -> u32 {
        if let Self::One(one) = self {
            *self = Self::Many(BTreeMap::from([(Self::FIRST, *one)]));
        }
        let Self::Many(ids) = self else { return Self::FIRST };
        let last = ids.last_key_value().map_or(0, |(place, _)| *place);
        // Behind the greatest number some place in between is free.
        let free = || (Self::FIRST..=u32::MAX).find(|place| !ids.contains_key(place));
        let place = last.checked_add(1).or_else(free).unwrap_or(Self::FIRST);
        ids.insert(place, id);
        place
    }

    /// Puts an id at its place.
    pub(super) fn put(&mut self, place: u32, id: u32) {
        match self {
            Self::Many(ids) if ids.is_empty() && place == Self::FIRST => *self = Self::One(id),
            Self::Many(ids) => drop(ids.insert(place, id)),
            Self::One(one) => {
                *self = Self::Many(BTreeMap::from([(Self::FIRST, *one), (place, id)]));
            }
        }
    }

    /// Removes what is at a place.
    pub(super) fn remove(&mut self, place: u32) {
        match self {
            Self::One(_) if place == Self::FIRST => *self = Self::Many(BTreeMap::new()),
            Self::One(_) => {}
            Self::Many(ids) => drop(ids.remove(&place)),
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

    /// Returns the ids in the order of joining.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.behind(0).map(|(_, id)| id)
    }

    /// Returns those whose places are behind `after`, with their places.
    pub(super) fn behind(&self, after: u32) -> impl Iterator<Item = (u32, u32)> + '_ {
        let (one, many) = match self {
            Self::One(one) => (Some((Self::FIRST, *one)).filter(|_| after < Self::FIRST), None),
            Self::Many(ids) => (None, Some(ids.range((Bound::Excluded(after), Bound::Unbounded)))),
        };
        let many = many.into_iter().flatten().map(|(place, id)| (*place, *id));
        one.into_iter().chain(many)
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
    fn places_go_on_where_the_numbers_wrap() {
        let mut counter = Counter::starting_at(u32::MAX - 1);
        let ids: Vec<u32> = (0..4).map(|_| counter.take(|_| false)).collect();
        assert_eq!(ids, [u32::MAX - 1, u32::MAX, 1, 2]);
        let places: Vec<u32> = ids.iter().map(|id| counter.place(*id)).collect();
        assert_eq!(places, [1, 2, 4, 5]);
        let behind = |counter: &Counter, after| {
            let [one, other] = counter.behind(after);
            let has = |id: &u32| (one.contains(id), other.contains(id));
            ids.iter().map(has).collect::<Vec<_>>()
        };
        let (first, second) = ((true, false), (false, true));
        assert_eq!(behind(&counter, 0), [first, first, second, second]);
        assert_eq!(behind(&counter, 1), [(false, false), first, second, second]);
        assert_eq!(behind(&counter, 2), [(false, false), (false, false), second, second]);
        assert_eq!(behind(&counter, 4), [(false, false), (false, false), (false, false), second]);
        let (one, none) = (Counter::starting_at(1), Counter::starting_at(0));
        assert_eq!(behind(&one, 0), [first; 4]);
        assert_eq!(behind(&none, 0), [first; 4]);
    }

    /// An id at place 0 could not be told from the beginning.
    #[test]
    fn after_a_whole_lap_the_last_number_is_left_out() {
        let mut counter = Counter::starting_at(7);
        counter.next = 5;
        assert_eq!([counter.take(|_| false), counter.take(|_| false)], [5, 7]);
    }

    #[test]
    fn a_set_keeps_the_order_of_joining() {
        let mut set = IdSet::One(5);
        assert_eq!((set.insert(3), set.insert(9)), (2, 3));
        assert_eq!(set.iter().collect::<Vec<_>>(), [5, 3, 9]);
        assert_eq!(set.behind(1).collect::<Vec<_>>(), [(2, 3), (3, 9)]);
        assert_eq!(IdSet::One(5).behind(1).next(), None);
        set.remove(2);
        set.remove(2);
        assert_eq!((set.insert(3), set.len()), (4, 2 + 1));
        assert_eq!(set.iter().collect::<Vec<_>>(), [5, 9, 3]);
        for place in [1, 3, 4] {
            assert!(!set.is_empty());
            set.remove(place);
        }
        assert!(set.is_empty());
        let mut one = IdSet::One(1);
        one.remove(2);
        assert_eq!(one.len(), 1);
        one.remove(1);
        assert!(one.is_empty());
    }

    #[test]
    fn behind_the_greatest_place_a_free_one_is_taken() {
        let mut set = IdSet::Many(BTreeMap::from([(1, 8), (u32::MAX, 9)]));
        assert_eq!(set.insert(7), 2);
    }
}
