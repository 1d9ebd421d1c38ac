//! When connections came, told from their numbers: the table gives these out in order and marks the
//! time now and then, so that an entry needs no memory for it. Used by `membership` and `census`.

use std::time::{Duration, Instant};

/// Two marks are at least this far apart.
const STEP: Duration = Duration::from_millis(100);

/// Of older marks only so many are kept that an age is right to one part in thirty-two.
const PRECISION: u32 = 32;

/// The most marks, 48 KB. Thinned out, those of ten years are fewer than half of it.
const MOST: usize = 2048;

/// The marks: a connection's number and when it came, in order.
#[derive(Debug, Default)]
pub(super) struct Births(Vec<(u64, Instant)>);

impl Births {
    /// Notes that the connection of this number, the highest so far, came now.
    pub(super) fn note(&mut self, id: u64, now: Instant) {
        if self.0.last().is_some_and(|(_, last)| now.saturating_duration_since(*last) < STEP) {
            return;
        }
        if self.0.len() == MOST {
            self.thin_out(now);
        }
        self.0.push((id, now));
    }

    /// Returns about how long ago the connection of this number came.
    pub(super) fn age(&self, id: u64, now: Instant) -> Option<Duration> {
        let behind = self.0.partition_point(|(first, _)| *first <= id);
        let (_, came) = self.0.get(behind.checked_sub(1)?)?;
        Some(now.saturating_duration_since(*came))
    }

    fn thin_out(&mut self, now: Instant) {
        let mut kept: Option<Instant> = None;
        self.0.retain(|(_, came)| {
            let age = now.saturating_duration_since(*came);
            let keep =
                kept.is_none_or(|kept| came.saturating_duration_since(kept) >= age / PRECISION);
            if keep {
                kept = Some(*came);
            }
            keep
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_about_right_after_a_year() {
        let start = Instant::now();
        let mut births = Births::default();
        let (hour, hours) = (Duration::from_hours(1), 24 * 365_u32);
        for number in 0..hours {
            births.note(u64::from(number), start + hour * number);
        }
        // A rush at the end.
        let end = start + hour * hours;
        for number in 0..10_000 {
            births.note(u64::from(hours + number), end + STEP * number);
        }
        let now = end + STEP * 10_000;
        assert!(births.0.len() <= MOST, "{}", births.0.len());
        for number in [0, 1, 4000, hours - 1] {
            let (told, age) = (births.age(u64::from(number), now), now - (start + hour * number));
            let off = told.expect("an age").abs_diff(age);
            assert!(off <= age / 16, "{told:?} instead of {age:?}");
        }
        let last = births.age(u64::from(hours + 9_999), now);
        assert_eq!(last, Some(STEP));
    }

    #[test]
    fn those_that_come_together_have_one_mark() {
        let start = Instant::now();
        let mut births = Births::default();
        for id in 1..1000 {
            births.note(id, start);
        }
        assert_eq!(births.0.len(), 1);
        assert_eq!(births.age(500, start + STEP), Some(STEP));
        assert_eq!(births.age(0, start), None);
    }
}
