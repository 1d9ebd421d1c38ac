//! Visits every member of a set once in a period, a part of them at a time.
//!
//! Behind it are all heartbeats of the cluster: pings to clients and on links, and the looks for
//! links and peers that are silent. It reads no clock: its owner calls it after each part of the period.

use std::collections::BTreeSet;
use std::time::Duration;

/// How many parts a period has. With 32 a million clients are pinged in slices of 31,000, and the
/// timer of a period of ten seconds runs three times a second.
const PARTS: u8 = 32;

/// Returns how often [`Rounds::next_part`] is due; `None` for a period of zero, which means never.
pub(crate) fn part_of(period: Duration) -> Option<Duration> {
    let part = (period / u32::from(PARTS)).max(Duration::from_millis(1));
    (!period.is_zero()).then_some(part)
}

/// Which members are visited in which part of the period.
#[derive(Debug)]
pub(crate) struct Rounds<K> {
    /// None at all for a period of zero: then no member is kept.
    parts: Vec<BTreeSet<K>>,
    next: usize,
}

impl<K: Copy + Ord + Into<u64>> Rounds<K> {
    pub(crate) fn new(period: Duration) -> Self {
        let parts = if period.is_zero() { 0 } else { PARTS };
        Self { parts: (0..parts).map(|_| BTreeSet::new()).collect(), next: 0 }
    }

    /// Returns rounds of another period with these members.
    pub(crate) fn with_period(period: Duration, members: impl IntoIterator<Item = K>) -> Self {
        let mut rounds = Self::new(period);
        members.into_iter().for_each(|member| rounds.insert(member));
        rounds
    }

    pub(crate) fn insert(&mut self, member: K) {
        if let Some(part) = self.part(member) {
            part.insert(member);
        }
    }

    pub(crate) fn remove(&mut self, member: K) {
        if let Some(part) = self.part(member) {
            part.remove(&member);
        }
    }

    /// Returns which part is next.
    pub(crate) fn progress(&self) -> usize {
        self.next
    }

    /// Goes on where rounds with as many parts were.
    pub(crate) fn go_on_at(&mut self, next: usize) {
        self.next = next.checked_rem(self.parts.len()).unwrap_or(0);
    }

    /// Returns the members that are to be visited now.
    pub(crate) fn next_part(&mut self) -> Vec<K> {
        let due = self.parts.get(self.next).map(|part| part.iter().copied().collect());
        self.next = (self.next + 1).checked_rem(self.parts.len()).unwrap_or(0);
        due.unwrap_or_default()
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.parts.iter().all(BTreeSet::is_empty)
    }

    /// The members' numbers grow one by one, so that the parts are of one size.
    fn part(&mut self, member: K) -> Option<&mut BTreeSet<K>> {
        let number = member.into() % u64::from(PARTS);
        self.parts.get_mut(usize::try_from(number).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(32);

    #[test]
    fn every_member_is_visited_once_in_a_period() {
        let mut rounds = Rounds::<u32>::new(PERIOD);
        (1..=100).for_each(|id| rounds.insert(id));
        rounds.remove(50);
        let expected: Vec<u32> = (1..=100).filter(|&id| id != 50).collect();
        for _ in 0..2 {
            let parts: Vec<_> = (0..PARTS).map(|_| rounds.next_part()).collect();
            assert!(parts.iter().all(|part| (2..=4).contains(&part.len())), "{parts:?}");
            let mut visited = parts.concat();
            visited.sort_unstable();
            assert_eq!(visited, expected);
        }
        assert_eq!(part_of(PERIOD), Some(Duration::from_secs(1)));
        assert_eq!(part_of(Duration::from_millis(3)), Some(Duration::from_millis(1)));
    }

    #[test]
    fn a_period_of_zero_means_never() {
        let mut rounds = Rounds::<u64>::new(Duration::ZERO);
        rounds.insert(1);
        rounds.remove(2);
        assert!(rounds.next_part().is_empty());
        assert_eq!(part_of(Duration::ZERO), None);
    }
}
