//! Timers of a worker: `every`, `after`, `at`, and a handle that cancels.

mod cron;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{AbortHandle, Abortable};
use lineman_wire::panic_text;
use tokio::time::{Instant, MissedTickBehavior};

use crate::activity::{self, Activity};
use crate::limit::finite;
use crate::work::{self, OpenWork};

pub use cron::{CronError, at};

/// A running timer. Dropping it lets the timer run on; [`Timer::cancel`] ends it.
#[derive(Debug, Clone)]
pub struct Timer(AbortHandle);

impl Timer {
    /// Ends the timer; a callback that waits for something is dropped where it waits.
    pub fn cancel(&self) {
        self.0.abort();
    }

    /// Returns whether the timer was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.0.is_aborted()
    }
}

/// Calls `callback` every `period`, first after one period, until it is cancelled.
///
/// Does not drift: the n-th call is due n periods after the start. A call that is still running when
/// the next one is due delays it; what was missed meanwhile is skipped. A period of zero is taken as
/// one millisecond. Call it in a worker: in `on_start` or a handler.
///
/// A callback that panics costs that call: it is logged, counted with the handlers' errors, and the timer
/// goes on. A process that leaves waits for a callback that has begun, within its limits, and begins none
/// once its connections are gone.
///
/// # Panics
/// Outside of a worker: the timer runs on its loop.
///
/// ```no_run
/// # use lineman_connection::timer;
/// # use std::time::Duration;
/// # fn on_start() {
/// // In a worker's `on_start`, or later.
/// timer::every(Duration::from_secs(1), async || println!("tick"));
/// # }
/// ```
pub fn every(period: Duration, callback: impl AsyncFn() + 'static) -> Timer {
    let period = finite(period.max(Duration::from_millis(1)));
    spawn(async move |work| {
        let mut ticks = tokio::time::interval_at(Instant::now() + period, period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            call(&work, async || callback().await).await;
        }
    })
}

/// Calls `callback` once, after `delay`, unless it is cancelled before. Call it in a worker: in
/// `on_start` or a handler.
///
/// # Panics
/// As [`every`].
pub fn after(delay: Duration, callback: impl AsyncFnOnce() + 'static) -> Timer {
    spawn(async move |work| {
        tokio::time::sleep(delay).await;
        call(&work, callback).await;
    })
}

/// Runs a callback, unless the process is about to end. A panic costs this call and nothing else.
async fn call(work: &Arc<OpenWork>, callback: impl AsyncFnOnce()) {
    if work.is_ending() {
        return;
    }
    let _under_way = work.begin();
    let called = AssertUnwindSafe(async { callback().await }).catch_unwind().await;
    if let Err(panic) = called {
        work.count_panic();
        tracing::error!(panic = panic_text(&*panic), "timer panicked");
    }
}

fn spawn(run: impl AsyncFnOnce(Arc<OpenWork>) + 'static) -> Timer {
    let (handle, registration) = AbortHandle::new_pair();
    let work = work::current();
    let future = activity::watched(Activity::Timer, 0, async move { run(work).await });
    let task = Abortable::new(future, registration);
    tokio::task::spawn_local(async move {
        if task.await.is_err() {
            tracing::trace!("timer cancelled");
        }
    });
    Timer(handle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::rc::Rc;

    pub(super) fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        tokio::task::LocalSet::new().block_on(&runtime, test);
    }

    #[test]
    fn every_does_not_drift_and_cancel_ends_it() {
        run(async {
            let calls = Rc::new(Cell::new(0));
            let counted = Rc::clone(&calls);
            let timer = every(Duration::from_secs(10), async move || {
                counted.set(counted.get() + 1);
                tokio::time::sleep(Duration::from_secs(3)).await;
            });
            tokio::time::sleep(Duration::from_secs(101)).await;
            assert_eq!(calls.get(), 10);
            timer.cancel();
            tokio::time::sleep(Duration::from_secs(100)).await;
            assert_eq!(calls.get(), 10);
        });
    }

    #[test]
    fn after_runs_once_unless_cancelled() {
        run(async {
            let calls = Rc::new(Cell::new(0));
            let counted = Rc::clone(&calls);
            after(Duration::from_secs(1), async move || counted.set(counted.get() + 1));
            after(Duration::from_secs(1), async || unreachable!("cancelled")).cancel();
            tokio::time::sleep(Duration::from_secs(10)).await;
            assert_eq!(calls.get(), 1);
        });
    }

    #[test]
    fn a_time_that_never_comes_is_waited_for() {
        run(async {
            let never = every(Duration::MAX, async || unreachable!("at the end of time"));
            after(Duration::MAX, async || unreachable!("at the end of time"));
            tokio::time::sleep(Duration::from_hours(24)).await;
            never.cancel();
        });
    }

    #[test]
    fn a_callback_that_panics_costs_its_own_call() {
        run(async {
            let work = OpenWork::of_new_table();
            let calls = Rc::new(Cell::new(0));
            let counted = Rc::clone(&calls);
            let call = move || {
                let counted = Rc::clone(&counted);
                async move || {
                    counted.set(counted.get() + 1);
                    assert!(counted.get() % 2 == 0, "told to");
                }
            };
            let each = call();
            every(Duration::from_secs(10), async move || each().await);
            after(Duration::from_secs(1), call());
            tokio::time::sleep(Duration::from_secs(101)).await;
            assert_eq!((calls.get(), work.panics(), work.count()), (11, 6, 0));
        });
    }

    #[test]
    fn a_process_that_leaves_waits_for_the_callback_that_runs_and_begins_no_other() {
        run(async {
            let work = OpenWork::of_new_table();
            let calls = Rc::new(Cell::new(0));
            let counted = Rc::clone(&calls);
            every(Duration::from_secs(1), async move || {
                tokio::time::sleep(Duration::from_secs(5)).await;
                counted.set(counted.get() + 1);
            });
            tokio::time::sleep(Duration::from_millis(1500)).await;
            assert_eq!((work.count(), calls.get()), (1, 0));
            work.end();
            work.done().await;
            assert_eq!(calls.get(), 1);
            tokio::time::sleep(Duration::from_mins(1)).await;
            assert_eq!((work.count(), calls.get()), (0, 1));
        });
    }
}
