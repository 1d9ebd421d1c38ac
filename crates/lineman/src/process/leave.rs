//! How a worker leaves: stops accepting, waits if it may, closes what is left, and lets the service
//! have the last word.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::conversation::{Conversation, Order};
use crate::connection::{CloseReason, Table};
use crate::service::Running;

/// How often a drain looks at what is left and tells the master: often enough for a person who
/// watches, seldom enough to cost nothing.
const REPORT_EVERY: Duration = Duration::from_millis(250);

/// How long connections get to take their close frame when there is no master to set a limit.
const ORPHAN_LIMIT: Duration = Duration::from_secs(2);

/// Leaves as ordered; returns how many connections were cut.
///
/// A later order, or the master's end, cuts a drain short.
pub(super) async fn leave(
    order: Order,
    table: &Table,
    running: &dyn Running,
    conversation: &mut Conversation,
) -> usize {
    table.stop_accepting();
    let (stop_limit, drained) = match order {
        Order::Drain { limit, stop_limit } => {
            drain(limit, stop_limit, table, running, conversation).await
        }
        Order::Stop { stop_limit } => (stop_limit, false),
        Order::Orphaned => (ORPHAN_LIMIT, false),
    };
    let told = table.close_all(&CloseReason::GoingAway);
    // The master kills at the limit; half of it for the peers leaves the other half to the service.
    let half = stop_limit / 2;
    if timeout(half, table.emptied()).await.is_err() {
        let aborted = table.abort_all();
        tracing::warn!(aborted, "connections did not close in time");
    }
    if timeout(half, running.stopped()).await.is_err() {
        tracing::warn!(limit = ?half, "the service did not stop in time");
    }
    // What a service keeps open after it has drained is its own: nobody was cut off.
    if drained { 0 } else { told }
}

/// Waits until the service has drained. Returns the limit for what follows, and whether it has.
async fn drain(
    limit: Duration,
    stop_limit: Duration,
    table: &Table,
    running: &dyn Running,
    conversation: &mut Conversation,
) -> (Duration, bool) {
    let mut drained = running.drain(table);
    let limit = sleep(limit);
    tokio::pin!(limit);
    let mut reports = interval(REPORT_EVERY);
    reports.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = &mut drained => return (stop_limit, true),
            () = &mut limit => return (stop_limit, false),
            order = conversation.next_order(Some(running)) => match order {
                Order::Stop { stop_limit } => return (stop_limit, false),
                Order::Orphaned => return (ORPHAN_LIMIT, false),
                // It is draining already; a second limit does not replace the first.
                Order::Drain { .. } => {}
            },
            _ = reports.tick() => conversation.say_draining(table.len()),
        }
    }
}
