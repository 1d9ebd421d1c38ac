//! Waiting with a limit: nothing in a test may hang, and what was waited for is in the error.

use std::future::Future;
use std::time::Duration;

use anyhow::{Context, Result};

/// How long the kit waits for an event that should come at once.
///
/// Large, for it is not an assertion about time: two loaded cores pause a test for seconds, and a
/// test that would pass later must not fail now.
pub const LIMIT: Duration = Duration::from_secs(30);

/// How often a condition that sends no event is looked at again.
const TICK: Duration = Duration::from_millis(20);

/// Waits for `event` up to [`LIMIT`].
///
/// # Errors
/// When the limit has passed: the error names `what`.
pub async fn within<T>(what: &str, event: impl Future<Output = T>) -> Result<T> {
    let answer = tokio::time::timeout(LIMIT, event).await;
    answer.with_context(|| format!("waited {LIMIT:?} in vain for {what}"))
}

/// Calls `attempt` until it answers `Some`, up to [`LIMIT`].
pub(crate) async fn polled<T>(
    what: &str,
    mut attempt: impl AsyncFnMut() -> Option<T>,
) -> Result<T> {
    let mut ticks = tokio::time::interval(TICK);
    within(what, async {
        loop {
            ticks.tick().await;
            if let Some(answer) = attempt().await {
                return answer;
            }
        }
    })
    .await
}
