//! The names that one gateway has clients of, as far as this business knows: what it was told, and what this
//! process has bound and joined there itself and the gateway has not confirmed.

use std::collections::{HashSet, VecDeque};

use lineman_wire::link::{Extent, HeldNames, NameKey};

/// So many binds and joins are remembered by name until the gateway confirms them, as it does at the end of its
/// turn; each send looks through them. With more of them everything is sent there until it has confirmed all.
const CLAIMS: usize = 64;

/// What a gateway told.
///
/// A name costs 9 bytes in a table that is between 7/16 and 7/8 full: 10 to 21. Its hasher is the standard
/// library's, for end users choose names.
#[derive(Debug, Default)]
pub(super) struct Directory {
    keys: HashSet<NameKey>,
    /// It was told everything.
    whole: bool,
    /// How many changes there had been at the gateway when it told last, and when it last answered a question:
    /// the answer came another way, and may show names that it has not told yet.
    version: u64,
    expected: u64,
    /// How many binds and joins were sent there so far; wraps.
    claimed: u32,
    /// Those of them that it has not confirmed, each with its number.
    claims: VecDeque<(u32, NameKey)>,
    /// More than that were not confirmed: the number of the last one.
    too_many: Option<u32>,
}

/// Whether a gateway has clients of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    Yes,
    No,
    /// It has not told, so that everything has to be sent there.
    Unknown,
}

impl Directory {
    /// The gateway tells which names it has clients of.
    pub(super) fn hear(&mut self, entries: &HeldNames) {
        if entries.stage == Extent::Begin {
            (self.keys, self.whole) = (HashSet::new(), false);
        }
        for change in entries.changes() {
            if change.held {
                self.keys.insert(change.key);
            } else {
                self.keys.remove(&change.key);
            }
        }
        self.whole |= entries.stage == Extent::Whole;
        self.version = entries.version;
        let is_dealt_with = |number: u32| entries.claims.wrapping_sub(number).cast_signed() >= 0;
        while self.claims.pop_front_if(|(number, _)| is_dealt_with(*number)).is_some() {}
        self.too_many.take_if(|number| is_dealt_with(*number));
    }

    /// An answer of the gateway shows what there was after so many changes.
    pub(super) fn expect_version(&mut self, version: u64) {
        self.expected = self.expected.max(version);
    }

    /// A bind or a join was sent there: the gateway has clients of that name, though it has not told yet.
    pub(super) fn claim(&mut self, key: NameKey) {
        self.claimed = self.claimed.wrapping_add(1);
        if self.claims.len() < CLAIMS {
            self.claims.push_back((self.claimed, key));
        } else {
            self.too_many = Some(self.claimed);
        }
    }

    /// Returns how many binds and joins were sent there; it wraps.
    pub(super) fn claimed(&self) -> u32 {
        self.claimed
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn holds(&self, key: NameKey) -> Holds {
        if self.keys.contains(&key) || self.claims.iter().any(|(_, claimed)| *claimed == key) {
            Holds::Yes
        } else if self.whole && self.version >= self.expected && self.too_many.is_none() {
            Holds::No
        } else {
            Holds::Unknown
        }
    }
}

#[cfg(test)]
mod tests {
    use lineman_wire::link::Change;

    use super::*;

    fn key(number: usize) -> NameKey {
        NameKey::of_uid(number.to_string().as_bytes())
    }

    #[test]
    fn what_an_answer_has_shown_is_awaited() {
        let mut directory = Directory::default();
        let told = |version| HeldNames::new(Extent::Whole, 0, version, [].into_iter());
        directory.hear(&told(7));
        directory.expect_version(7);
        assert_eq!(directory.holds(key(1)), Holds::No);
        directory.expect_version(9);
        directory.hear(&told(8));
        assert_eq!(directory.holds(key(1)), Holds::Unknown);
        directory.hear(&told(9));
        assert_eq!(directory.holds(key(1)), Holds::No);
    }

    fn entries(stage: Extent, claims: u32, changes: &[(usize, bool)]) -> HeldNames {
        let changes =
            changes.iter().map(|(number, held)| Change { key: key(*number), held: *held });
        HeldNames::new(stage, claims, 0, changes)
    }

    #[test]
    fn what_is_not_told_yet_is_not_known() {
        let mut directory = Directory::default();
        assert_eq!(directory.holds(key(1)), Holds::Unknown);
        directory.hear(&entries(Extent::Go, 0, &[(1, true)]));
        assert_eq!(
            (directory.holds(key(1)), directory.holds(key(2))),
            (Holds::Yes, Holds::Unknown)
        );
        directory.hear(&entries(Extent::Whole, 0, &[]));
        assert_eq!((directory.holds(key(1)), directory.holds(key(2))), (Holds::Yes, Holds::No));
        directory.hear(&entries(Extent::Go, 0, &[(2, true), (1, false), (2, false), (2, true)]));
        assert_eq!((directory.holds(key(1)), directory.holds(key(2))), (Holds::No, Holds::Yes));
        directory.hear(&entries(Extent::Begin, 0, &[]));
        assert_eq!(
            (directory.holds(key(1)), directory.holds(key(2))),
            (Holds::Unknown, Holds::Unknown)
        );
    }

    #[test]
    fn what_this_process_binds_counts_until_the_gateway_has_dealt_with_it() {
        let mut directory = Directory { claimed: u32::MAX, ..Directory::default() };
        directory.hear(&entries(Extent::Whole, u32::MAX, &[(1, true)]));
        directory.claim(key(1));
        directory.claim(key(2));
        // The last client of the name went before the bind came.
        directory.hear(&entries(Extent::Go, u32::MAX, &[(1, false)]));
        assert_eq!((directory.holds(key(1)), directory.holds(key(2))), (Holds::Yes, Holds::Yes));
        directory.hear(&entries(Extent::Go, 0, &[(1, true)]));
        assert_eq!((directory.holds(key(1)), directory.holds(key(2))), (Holds::Yes, Holds::Yes));
        // The client of the second was gone.
        directory.hear(&entries(Extent::Go, 1, &[]));
        assert_eq!((directory.holds(key(1)), directory.holds(key(2))), (Holds::Yes, Holds::No));
        assert!(directory.claims.is_empty());
    }

    #[test]
    fn with_too_many_binds_under_way_everything_is_sent_there() {
        let mut directory = Directory::default();
        directory.hear(&entries(Extent::Whole, 0, &[]));
        (0..CLAIMS).for_each(|number| directory.claim(key(number)));
        assert_eq!(directory.holds(key(CLAIMS)), Holds::No);
        (0..1000).for_each(|number| directory.claim(key(number)));
        assert_eq!((directory.holds(key(9999)), directory.claims.len()), (Holds::Unknown, CLAIMS));
        directory.hear(&entries(Extent::Go, 1000, &[]));
        assert_eq!((directory.holds(key(9999)), directory.claims.len()), (Holds::Unknown, 0));
        directory.hear(&entries(Extent::Go, 1064, &[]));
        assert_eq!(directory.holds(key(9999)), Holds::No);
    }

    #[test]
    fn a_name_costs_less_than_64_bytes() {
        let mut directory = Directory::default();
        for count in 1..200_000 {
            directory.hear(&entries(Extent::Go, 0, &[(count, true)]));
            // A table of the standard library has a power of two of places, and is at most 7/8 full.
            let places = (directory.keys.capacity() * 8 / 7).next_power_of_two();
            let bytes = places * (size_of::<NameKey>() + 1);
            assert!(count < 16 || bytes < count * 22, "{bytes} for {count} names");
        }
    }
}
