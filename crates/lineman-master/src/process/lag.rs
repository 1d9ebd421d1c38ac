//! How late the worker's loop is: a ticker that should come every 100 ms, and by how much it does not.
//!
//! Run by `process`, asked by `conversation`. It never acts on what it finds.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::control::report::Lag;

/// How often the loop is looked at: often enough for a stall that a person notices, and so seldom
/// that an idle worker costs next to nothing.
pub(super) const PERIOD: Duration = Duration::from_millis(100);

/// How long a window is filled. Four of them are the last minute, and a bit.
const WINDOW: Duration = Duration::from_secs(20);

const WINDOWS: usize = 4;

/// The longest lag that is told apart, in microseconds: a minute. A window takes 10 KB for it.
const LONGEST: u64 = 60_000_000;

/// Counts the ticks of the loop; another thread that sees it stand still knows that the loop is
/// blocked.
#[derive(Debug, Clone, Default)]
pub(super) struct LoopBeat(Arc<AtomicU64>);

impl LoopBeat {
    fn beat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how often the loop came round, once every [`PERIOD`] if it is well.
    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Measures the loop it was started on, until it is dropped.
#[derive(Debug)]
pub(super) struct Meter {
    windows: Rc<RefCell<Windows>>,
    ticker: JoinHandle<()>,
}

impl Meter {
    /// Starts to measure this thread's loop, with a beat at each tick.
    pub(super) fn start(heartbeat: LoopBeat) -> Self {
        let windows = Rc::new(RefCell::new(Windows::new(Instant::now())));
        let ticker = spawn_local(tick(Rc::clone(&windows), heartbeat));
        Self { windows, ticker }
    }

    /// Returns the lag of about the last minute. The timer's own step, up to two milliseconds, is in
    /// it.
    pub(super) fn lag(&self) -> Lag {
        self.windows.borrow().lag()
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.ticker.abort();
    }
}

async fn tick(windows: Rc<RefCell<Windows>>, heartbeat: LoopBeat) {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        let due = ticks.tick().await;
        let now = Instant::now();
        heartbeat.beat();
        windows.borrow_mut().record(now.saturating_duration_since(due), now);
    }
}

/// The lags of the last minute; the oldest window is emptied and filled again.
#[derive(Debug)]
struct Windows {
    recorded: [Histogram<u32>; WINDOWS],
    filling: usize,
    since: Instant,
}

impl Windows {
    fn new(now: Instant) -> Self {
        Self { recorded: std::array::from_fn(|_| empty()), filling: 0, since: now }
    }

    fn record(&mut self, lag: Duration, now: Instant) {
        if now.saturating_duration_since(self.since) >= WINDOW {
            self.since = now;
            self.filling = (self.filling + 1) % WINDOWS;
            self.recorded[self.filling].reset();
        }
        let lag = u64::try_from(lag.as_micros()).map_or(LONGEST, |lag| lag.min(LONGEST));
        let period = u64::try_from(PERIOD.as_micros()).unwrap_or(LONGEST);
        // The ticks that a stall swallowed would have been late as well.
        let stored = self.recorded[self.filling].record_correct(lag, period);
        debug_assert!(stored.is_ok(), "{lag} is in bounds");
    }

    fn lag(&self) -> Lag {
        let mut all = empty();
        for window in &self.recorded {
            let added = all.add(window);
            debug_assert!(added.is_ok(), "windows have the same bounds");
        }
        Lag { p99_us: all.value_at_quantile(0.99).min(LONGEST), max_us: all.max().min(LONGEST) }
    }
}

fn empty() -> Histogram<u32> {
    Histogram::new_with_bounds(1, LONGEST, 2).expect("the bounds are in order")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::task::LocalSet;
    use tokio::time::{advance, sleep};

    #[track_caller]
    fn assert_about(measured_us: u64, expected: Duration) {
        let expected_us = u64::try_from(expected.as_micros()).unwrap();
        // Two digits are kept.
        let off = measured_us.abs_diff(expected_us);
        assert!(off <= expected_us / 50, "{measured_us} is not about {expected_us}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stall_is_the_maximum_and_the_ticks_it_swallowed_count() {
        let lag = LocalSet::new()
            .run_until(async {
                let meter = Meter::start(LoopBeat::default());
                sleep(PERIOD * 50 + PERIOD / 2).await;
                // Nothing else runs meanwhile: the loop is blocked.
                advance(Duration::from_secs(3)).await;
                sleep(PERIOD * 2).await;
                meter.lag()
            })
            .await;
        assert_about(lag.max_us, Duration::from_millis(2950));
        assert!(lag.p99_us > 2_000_000, "{lag:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_is_well_beats_and_has_next_to_no_lag() {
        let heartbeat = LoopBeat::default();
        let lag = LocalSet::new()
            .run_until(async {
                let meter = Meter::start(heartbeat.clone());
                sleep(PERIOD * 100 + PERIOD / 2).await;
                meter.lag()
            })
            .await;
        assert_eq!(heartbeat.count(), 101);
        assert!(lag.max_us <= 2_000, "{lag:?}");
    }

    #[test]
    fn what_is_older_than_all_windows_is_forgotten() {
        let start = Instant::now();
        let mut windows = Windows::new(start);
        windows.record(Duration::from_secs(5), start);
        for window in 1..4 {
            windows.record(Duration::from_millis(1), start + WINDOW * window);
            assert_about(windows.lag().max_us, Duration::from_secs(5));
        }
        windows.record(Duration::from_millis(1), start + WINDOW * 4);
        assert_about(windows.lag().max_us, Duration::from_millis(1));
    }

    #[test]
    fn a_lag_beyond_the_longest_is_the_longest() {
        let start = Instant::now();
        let mut windows = Windows::new(start);
        windows.record(Duration::from_hours(2), start);
        assert_about(windows.lag().max_us, Duration::from_mins(1));
    }
}
