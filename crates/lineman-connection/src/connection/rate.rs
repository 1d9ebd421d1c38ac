//! So many of something each second: a token bucket, refilled by the clock when it is asked.

use std::time::Duration;

use tokio::time::Instant;

/// How many each second, and how many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    per_second: u32,
    burst: u32,
}

impl Rate {
    /// Returns a rate of `count` each second, and as many at once. Zero is taken as one.
    #[must_use]
    pub fn per_second(count: u32) -> Self {
        Self { per_second: count.max(1), burst: count.max(1) }
    }

    /// Sets how many may come at once, after a silence long enough to save them up. Default: as many as
    /// a second brings. Zero is taken as one.
    #[must_use]
    pub fn burst(mut self, count: u32) -> Self {
        self.burst = count.max(1);
        self
    }
}

/// What is left of a rate.
#[derive(Debug)]
pub(super) struct Bucket {
    rate: Rate,
    /// When the bucket was, or will be, empty: tokens are the time since then.
    empty: Instant,
}

impl Bucket {
    /// Returns a full one.
    pub(super) fn new(rate: Rate) -> Self {
        let now = Instant::now();
        let full = Self::time(rate, rate.burst);
        Self { rate, empty: now.checked_sub(full).unwrap_or(now) }
    }

    /// Takes so many if they are there; more than a burst is never there.
    pub(super) fn take(&mut self, count: u32) -> bool {
        let now = Instant::now();
        self.refill(now);
        let empty = self.empty + Self::time(self.rate, count);
        if empty > now {
            return false;
        }
        self.empty = empty;
        true
    }

    /// Takes so many, there or not; what is missing is returned as the time it takes to come in.
    pub(super) fn spend(&mut self, count: u32) -> Option<Duration> {
        let now = Instant::now();
        self.refill(now);
        self.empty += Self::time(self.rate, count);
        self.empty.checked_duration_since(now).filter(|debt| !debt.is_zero())
    }

    /// Returns how far it is from empty, in nanoseconds: above zero what it has saved up, below what it owes.
    pub(super) fn saved(&self, now: Instant) -> i64 {
        let nanos = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
        match now.checked_duration_since(self.empty) {
            Some(time) => nanos(time),
            None => -nanos(self.empty.saturating_duration_since(now)),
        }
    }

    /// Goes on with what another one of this rate had saved up, or owed.
    pub(super) fn restore(&mut self, saved: i64, now: Instant) {
        let time = Duration::from_nanos(saved.unsigned_abs());
        self.empty = if saved < 0 {
            now + crate::limit::finite(time)
        } else {
            now.checked_sub(time).unwrap_or(now)
        };
    }

    /// A silence saves up a burst and no more.
    fn refill(&mut self, now: Instant) {
        let full = Self::time(self.rate, self.rate.burst);
        self.empty = now.checked_sub(full).map_or(self.empty, |earliest| self.empty.max(earliest));
    }

    fn time(rate: Rate, count: u32) -> Duration {
        Duration::from_nanos(u64::from(count) * 1_000_000_000 / u64::from(rate.per_second))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_then_the_rate_and_never_more_than_a_burst() {
        let mut bucket = Bucket::new(Rate::per_second(4).burst(3));
        assert!(bucket.take(2) && bucket.take(1) && !bucket.take(1));
        tokio::time::advance(Duration::from_millis(250)).await;
        assert!(bucket.take(1) && !bucket.take(1));
        tokio::time::advance(Duration::from_hours(1)).await;
        assert!(!bucket.take(4), "an hour saves up a burst and no more");
        assert!(bucket.take(3) && !bucket.take(1));
    }

    #[tokio::test(start_paused = true)]
    async fn debt_is_the_time_to_wait() {
        let mut bucket = Bucket::new(Rate::per_second(1000));
        assert_eq!(bucket.spend(1000), None);
        assert_eq!(bucket.spend(500), Some(Duration::from_millis(500)));
        tokio::time::advance(Duration::from_millis(500)).await;
        assert_eq!(bucket.spend(1), Some(Duration::from_millis(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn zero_is_taken_as_one() {
        assert_eq!(Rate::per_second(0), Rate::per_second(1));
        assert_eq!(Rate::per_second(5).burst(0), Rate::per_second(5).burst(1));
        let mut bucket = Bucket::new(Rate::per_second(0).burst(0));
        assert!(bucket.take(1) && !bucket.take(1));
    }

    #[tokio::test(start_paused = true)]
    async fn savings_and_debts_are_told_and_gone_on_with() {
        let rate = Rate::per_second(1000).burst(10);
        let mut old = Bucket::new(rate);
        assert_eq!(old.saved(Instant::now()), 10_000_000);
        for (spent, saved) in [(4, 6_000_000), (6, 0), (7, -7_000_000)] {
            old.spend(spent);
            assert_eq!(old.saved(Instant::now()), saved);
            let mut new = Bucket::new(rate);
            new.restore(saved, Instant::now());
            assert_eq!(new.saved(Instant::now()), saved);
        }
        tokio::time::advance(Duration::from_millis(8)).await;
        assert!(old.take(1) && !old.take(1), "7 of 8 milliseconds paid the debt");
    }
}
