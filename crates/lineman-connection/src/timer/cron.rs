//! Timers by the calendar: `at`, with a cron expression and the machine's time zone.
//!
//! croner knows the expressions, jiff the time zones; here is when to look at the clock again. A
//! sleep counts time since boot, so a clock that is set, or a machine that was suspended, would not
//! be noticed by one long sleep: it is cut into short ones.

use std::str::FromStr;
use std::time::Duration;

use croner::Cron;
use jiff::{SignedDuration, Zoned};

use super::{Timer, call, spawn};

/// How soon a clock that was set is noticed; a wake-up a minute costs nothing.
const LOOK: Duration = Duration::from_mins(1);

/// How far a clock may be set back without calls being repeated; beyond that it was wrong before, and
/// the calendar begins anew. Vixie's cron takes three hours as well.
const SET_BACK: SignedDuration = SignedDuration::from_hours(3);

/// A cron expression that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cron expression {expression:?}: {problem}")]
pub struct CronError {
    expression: String,
    problem: String,
}

/// Calls `callback` at each time that the cron expression names, until it is cancelled.
///
/// Five fields: minute, hour, day of month, month, day of week; a sixth before them is the second.
/// `*/5`, `1-5`, `MON-FRI`, `L`, `#`, `W` and `@hourly`, `@daily`, … are known.
///
/// The time zone is the machine's, as `TZ` or `/etc/localtime` say when the timer starts. On the day
/// that clocks go forward, a call at a fixed time that does not exist is made right after the gap; on
/// the day that they go back, a call at a fixed time is made once, the first time. Expressions with a
/// wildcard or step in hours or minutes follow the clock through both.
///
/// Does not drift: each call's time is found from the calendar. A call that is still running when the
/// next one is due delays nothing else: what was missed meanwhile is skipped, as is what a machine
/// misses while it sleeps, but for one call. A clock that is set is noticed within a minute, and calls
/// are not repeated if it is set back by less than three hours.
///
/// ```no_run
/// # use lineman_connection::{Result, timer};
/// # fn on_start() -> Result {
/// // In a worker's `on_start`, or later.
/// timer::at("30 6 * * MON-FRI", async || println!("good morning"))?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`CronError`] when the expression is none, or names a time that never comes.
///
/// # Panics
/// As [`every`](super::every).
pub fn at(expression: &str, callback: impl AsyncFn() + 'static) -> Result<Timer, CronError> {
    let zone = jiff::tz::TimeZone::system();
    at_by(expression, move || Zoned::now().with_time_zone(zone.clone()), callback)
}

/// As [`at`], by any clock.
fn at_by(
    expression: &str,
    clock: impl Fn() -> Zoned + 'static,
    callback: impl AsyncFn() + 'static,
) -> Result<Timer, CronError> {
    let failed = |error: croner::errors::CronError| CronError {
        expression: expression.to_owned(),
        problem: error.to_string(),
    };
    let cron = Cron::from_str(expression).map_err(failed)?;
    let first = cron.find_next_occurrence(&clock(), false).map_err(failed)?;
    Ok(spawn(async move |work| {
        let mut due = first;
        let mut last = None;
        loop {
            let now = clock();
            if now >= due {
                call(&work, async || callback().await).await;
                last = Some(due);
            } else {
                let left = now.duration_until(&due).unsigned_abs();
                tokio::time::sleep(left.min(LOOK)).await;
                if clock() >= due {
                    continue;
                }
            }
            match cron.find_next_occurrence(&from(clock(), last.as_ref()), false) {
                Ok(next) => due = next,
                // The expression has a year, and that has passed.
                Err(error) => return tracing::info!(%error, "no further call is due"),
            }
        }
    }))
}

/// Returns the time behind which the next call is due.
fn from(now: Zoned, last: Option<&Zoned>) -> Zoned {
    match last {
        Some(last) if now < *last && now.duration_until(last) < SET_BACK => last.clone(),
        Some(_) | None => now,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use tokio::time::Instant;

    use super::*;
    use crate::timer::tests::run;

    /// Runs `expression` for `time` from `start` on; returns when calls were made, each of which takes
    /// `each`. `set` moves the clock, depending on how long it has run.
    async fn calls(
        expression: &str,
        start: &str,
        time: Duration,
        each: Duration,
        set: fn(Duration) -> SignedDuration,
    ) -> Vec<String> {
        let (start, began): (Zoned, _) = (start.parse().unwrap(), Instant::now());
        let clock = move || {
            let elapsed = began.elapsed();
            &start + SignedDuration::try_from(elapsed).unwrap() + set(elapsed)
        };
        let list = Rc::new(RefCell::new(Vec::new()));
        let (shared, read) = (Rc::clone(&list), clock.clone());
        let timer = at_by(expression, clock, async move || {
            shared.borrow_mut().push(read().strftime("%d %H:%M:%S%z").to_string());
            tokio::time::sleep(each).await;
        });
        tokio::time::sleep(time).await;
        timer.unwrap().cancel();
        list.take()
    }

    const fn never_set(_: Duration) -> SignedDuration {
        SignedDuration::ZERO
    }

    #[test]
    fn calls_are_made_on_time_and_missed_ones_skipped() {
        run(async {
            let half_an_hour = Duration::from_mins(30);
            let start = "2026-01-01T00:00:30.25[UTC]";
            let made = calls("*/10 * * * *", start, half_an_hour, Duration::ZERO, never_set).await;
            assert_eq!(made, ["01 00:10:00+0000", "01 00:20:00+0000", "01 00:30:00+0000"]);
            // A call takes eleven minutes: every other one is missed.
            let slow = Duration::from_mins(11);
            let made = calls("*/10 * * * *", start, half_an_hour, slow, never_set).await;
            assert_eq!(made, ["01 00:10:00+0000", "01 00:30:00+0000"]);
            let seconds = Duration::from_secs(3);
            let made = calls("* * * * * *", start, seconds, Duration::ZERO, never_set).await;
            assert_eq!(made, ["01 00:00:31+0000", "01 00:00:32+0000", "01 00:00:33+0000"]);
        });
    }

    #[test]
    fn clocks_go_forward_and_back() {
        run(async {
            let day = Duration::from_hours(23);
            let spring = "2026-03-29T00:00:00[Europe/Berlin]";
            let made = calls("30 2 * * *", spring, day, Duration::ZERO, never_set).await;
            assert_eq!(made, ["29 03:00:00+0200"]);
            let autumn = "2026-10-25T00:00:00[Europe/Berlin]";
            let made = calls("30 2 * * *", autumn, day, Duration::ZERO, never_set).await;
            assert_eq!(made, ["25 02:30:00+0200"]);
            let night = Duration::from_hours(4);
            let made = calls("30 * * * *", autumn, night, Duration::ZERO, never_set).await;
            let hours = ["25 00:30:00+0200", "25 01:30:00+0200", "25 02:30:00+0200"];
            assert_eq!(made, [&hours[..], &["25 02:30:00+0100"]].concat());
        });
    }

    #[test]
    fn a_clock_that_is_set_is_followed() {
        run(async {
            let start = "2026-01-01T00:00:00[UTC]";
            // After five minutes somebody sets the clock a day forward.
            let forward = |elapsed| {
                let set = elapsed >= Duration::from_mins(5);
                SignedDuration::from_hours(if set { 24 } else { 0 })
            };
            let time = Duration::from_mins(70);
            let made = calls("0 * * * *", start, time, Duration::ZERO, forward).await;
            // At once what was missed, as one call.
            assert_eq!(made, ["02 00:05:00+0000", "02 01:00:00+0000"]);
            // Two hours back: what was called is not called again.
            let back = |elapsed| {
                let set = elapsed >= Duration::from_mins(70);
                SignedDuration::from_hours(if set { -2 } else { 0 })
            };
            let time = Duration::from_mins(250);
            let made = calls("0 * * * *", start, time, Duration::ZERO, back).await;
            assert_eq!(made, ["01 01:00:00+0000", "01 02:00:00+0000"]);
            let far_back = |elapsed| {
                let set = elapsed >= Duration::from_mins(70);
                SignedDuration::from_hours(if set { -24 } else { 0 })
            };
            let time = Duration::from_mins(130);
            let made = calls("0 * * * *", start, time, Duration::ZERO, far_back).await;
            assert_eq!(made, ["01 01:00:00+0000", "31 02:00:00+0000"]);
        });
    }

    #[test]
    fn a_call_that_panics_is_not_the_last() {
        run(async {
            let (start, began) =
                ("2026-01-01T00:00:30[UTC]".parse::<Zoned>().unwrap(), Instant::now());
            let clock = move || &start + SignedDuration::try_from(began.elapsed()).unwrap();
            let calls = Rc::new(RefCell::new(0));
            let counted = Rc::clone(&calls);
            let timer = at_by("* * * * *", clock, async move || {
                *counted.borrow_mut() += 1;
                assert!(*counted.borrow() == 0, "told to");
            });
            tokio::time::sleep(Duration::from_mins(5)).await;
            timer.unwrap().cancel();
            assert_eq!(calls.take(), 5);
        });
    }

    #[test]
    fn what_is_no_expression_is_refused() {
        for expression in ["", "* * * *", "61 * * * *", "0 0 31 2 *", "tomorrow"] {
            let error = at(expression, async || {}).expect_err(expression);
            assert!(error.to_string().contains(&format!("{expression:?}")), "{error}");
        }
    }
}
