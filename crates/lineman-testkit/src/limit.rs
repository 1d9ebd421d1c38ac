//! Waiting with a limit: nothing in a test may hang, and what was waited for is in the error.

use std::future::Future;
use std::time::Duration;

use anyhow::{Context, Result};

/// How long the kit waits for an event that should come at once.
///
/// Large, for it is not an assertion about time: two loaded cores pause a test for seconds, and a
/// test that would pass later must not fail now.
pub const LIMIT: Duration = Duration::from_secs(30);

/// How long the kit waits for a command of the program to end.
///
/// Longer than [`LIMIT`]: a reload or a stop waits for clients that stay, 30 s by default for each process
/// of a service, before it closes them.
pub const COMMAND_LIMIT: Duration = Duration::from_mins(3);

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

#[cfg(test)]
mod tests {
    use lineman::config::Config;

    use super::*;

    #[test]
    fn a_reload_with_a_client_open_ends_before_the_kit_gives_up() {
        let Config { drain_limit, stop_limit, .. } = Config::new("any".to_owned());
        assert!(COMMAND_LIMIT > (drain_limit + stop_limit) * 4);
    }
}
