//! How a worker leaves: stops accepting, waits if it may, closes what is left, and lets the service
//! have the last word.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};

use super::conversation::{Conversation, LeaveOrder};
use crate::limit::finite;
use crate::program::Inside;

/// How often a drain looks at what is left and tells the master: often enough for a person who
/// watches, seldom enough to cost nothing.
const REPORT_EVERY: Duration = Duration::from_millis(250);

/// How long connections get to take their close frame when there is no master to set a limit.
const ORPHAN_LIMIT: Duration = Duration::from_secs(2);

/// What had to be cut off when a process left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct CutOff {
    /// Connections that had not ended by themselves.
    pub(super) connections: usize,
    /// Handlers, callbacks of timers and blocking calls that were not done.
    pub(super) handlers: usize,
}

/// Leaves as ordered; returns what was cut off.
///
/// A later stop, or the master's end, cuts a drain short; a later drain gives it another limit.
pub(super) async fn leave(
    order: LeaveOrder,
    inside: &dyn Inside,
    conversation: &mut Conversation,
) -> CutOff {
    inside.stop_accepting();
    let (stop_limit, drained) = match order {
        LeaveOrder::Drain { limit, stop_limit, rate } => {
            let pace = RestartPace::of(rate);
            drain(limit, stop_limit, pace, inside, conversation).await
        }
        LeaveOrder::Stop { stop_limit } => (stop_limit, false),
        LeaveOrder::Orphaned => (ORPHAN_LIMIT, false),
    };
    // What is left where all else has moved may come back at once: it is told so.
    let told = if conversation.has_handed_over() {
        inside.close_for_restart(usize::MAX)
    } else {
        inside.close_all()
    };
    // The master kills at the limit; half of it for the peers leaves the other half to the service.
    let (half, quarter) = (stop_limit / 2, stop_limit / 4);
    let (mut left, mut handlers) = (half, 0);
    if timeout(half, inside.finished()).await.is_err() {
        let aborted = inside.abort_all();
        // Connections that were just cut have their last events still before them.
        if timeout(quarter, inside.finished()).await.is_err() {
            handlers = inside.unfinished();
        }
        tracing::warn!(
            aborted,
            unfinished = handlers,
            "connections or handlers did not end in time"
        );
        left = quarter;
    }
    if timeout(left, inside.stopped()).await.is_err() {
        tracing::warn!(limit = ?left, "the service did not stop in time");
    }
    // What a service keeps open after it has drained is its own: no connection was cut off.
    CutOff { connections: if drained { 0 } else { told }, handlers }
}

/// Waits until the service has drained. Returns the limit for what follows, and whether it has.
async fn drain(
    limit: Duration,
    mut stop_limit: Duration,
    mut pace: RestartPace,
    inside: &dyn Inside,
    conversation: &mut Conversation,
) -> (Duration, bool) {
    let mut drained = inside.drain();
    let limit = sleep(limit);
    tokio::pin!(limit);
    let mut reports = interval(REPORT_EVERY);
    reports.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = &mut drained => return (stop_limit, true),
            () = &mut limit => return (stop_limit, false),
            order = conversation.next_order() => match order {
                LeaveOrder::Stop { stop_limit } => return (stop_limit, false),
                LeaveOrder::Orphaned => return (ORPHAN_LIMIT, false),
                // The new limits of a second order count: a stop may be in more of a hurry than
                // the reload before it, or in less.
                LeaveOrder::Drain { limit: anew, stop_limit: anew_after, rate } => {
                    tracing::info!(limit = ?anew, "the drain has another limit");
                    limit.as_mut().reset(Instant::now() + finite(anew));
                    stop_limit = anew_after;
                    pace = RestartPace::of(rate.or(pace.rate));
                }
            },
            most = pace.next() => {
                let told = inside.close_for_restart(most);
                tracing::debug!(told, "told that the service restarts");
            }
            _ = reports.tick() => conversation.say_draining(inside.connections()),
        }
    }
}

/// When how many connections are told that their service restarts: those that come back come a few at a time,
/// and not those of all processes in step.
struct RestartPace {
    rate: Option<u32>,
    /// When the next batch is due.
    next: Instant,
    last: Instant,
    /// The part of a connection that was due and was not told.
    rest: f64,
}

impl RestartPace {
    /// Returns that of so many connections a second, or of none at all.
    fn of(rate: Option<u32>) -> Self {
        let now = Instant::now();
        Self { rate, next: now + Self::pause(), last: now, rest: 0.0 }
    }

    /// Returns how many are due, when some are.
    ///
    /// # Cancel safety
    /// None is lost.
    async fn next(&mut self) -> usize {
        let Some(rate) = self.rate else { return std::future::pending().await };
        loop {
            sleep_until(self.next).await;
            let (last, now) = (self.last, Instant::now());
            (self.last, self.next) = (now, now + Self::pause());
            let due = self.rest + f64::from(rate) * (now - last).as_secs_f64();
            self.rest = due.fract();
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a part is left for the next batch, and it is not negative"
            )]
            let whole = due as usize;
            if whole > 0 {
                return whole;
            }
        }
    }

    /// Returns the pause before a batch: 50 to 150 ms.
    fn pause() -> Duration {
        // Where the system has no randomness to give, the batches of all processes come in step.
        let random = getrandom::u32().unwrap_or(u32::MAX / 2);
        Duration::from_millis(50 + u64::from(random) * 100 / u64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use tokio::net::UnixStream;
    use tokio::task::{LocalSet, spawn_local};

    use super::*;
    use crate::control::frame;
    use crate::control::message::{FromWorker, ToWorker};
    use crate::process::idle::Idle;
    use crate::process::lag::{LoopBeat, Meter};

    /// Returns how long a drain takes that has one limit at first and another one after a minute.
    async fn drain_with(first: Duration, second: Duration) -> Duration {
        let stop_limit = Duration::ZERO;
        let (worker, master) = UnixStream::pair().unwrap();
        let (inbox, outbox) = frame::halves(worker);
        let (_said, orders) = frame::halves::<FromWorker, ToWorker>(master);
        let meter = Meter::start(LoopBeat::default());
        let mut conversation = Conversation::new(inbox, outbox, Rc::new(Idle), meter);
        spawn_local(async move {
            sleep(Duration::from_mins(1)).await;
            orders.send(&ToWorker::Drain { limit: second, stop_limit, rate: None }).unwrap();
            std::future::pending::<()>().await;
        });
        let began = Instant::now();
        drain(first, stop_limit, RestartPace::of(None), &Idle, &mut conversation).await;
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_tells_as_many_a_second_as_it_is_to() {
        let mut pace = RestartPace::of(Some(200));
        let (began, mut told) = (Instant::now(), 0);
        while told < 2_000 {
            let batch = pace.next().await;
            assert!((1..=31).contains(&batch), "{batch} at once");
            told += batch;
        }
        let took = began.elapsed().as_secs_f64();
        assert!((9.9..10.2).contains(&took), "{told} in {took} s");
        assert_eq!(timeout(Duration::from_hours(1), RestartPace::of(None).next()).await.ok(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_order_to_drain_replaces_the_limit_of_the_first() {
        let test = async {
            let minutes = Duration::from_mins;
            for (first, second) in [(60, 1), (2, 60)] {
                let took = drain_with(minutes(first), minutes(second)).await;
                // A tick of the timer's wheel is a millisecond.
                assert_eq!(took.as_secs(), minutes(1 + second).as_secs(), "{first} to {second}");
            }
            let endless = drain_with(Duration::MAX, Duration::MAX);
            tokio::select! {
                _ = endless => panic!("no limit at all, and it ended"),
                () = sleep(minutes(60 * 24)) => {}
            }
        };
        LocalSet::new().run_until(test).await;
    }
}
