//! Deadlines of connections: a handshake, an unfinished message, a farewell. One each at most.
//!
//! An open, silent connection has none, so a million of them cost this nothing.

use std::task::{Context, Poll};
use std::time::Duration;

use tokio_util::time::DelayQueue;
use tokio_util::time::delay_queue::Key;

use crate::limit::finite;

/// Which connection a deadline belongs to: its place in the table, and its id, for places are reused.
pub(super) type Whose = (usize, u64);

#[derive(Debug, Default)]
pub(super) struct Deadlines {
    queue: DelayQueue<Whose>,
}

impl Deadlines {
    pub(super) fn set(&mut self, whose: Whose, after: Duration) -> Key {
        self.queue.insert(whose, finite(after))
    }

    pub(super) fn clear(&mut self, key: Key) {
        // Gone already if it has expired in this very turn.
        self.queue.try_remove(&key);
    }

    /// The next connection whose time is up, if any.
    pub(super) fn next(&mut self, context: &mut Context<'_>) -> Option<Whose> {
        match self.queue.poll_expired(context) {
            Poll::Ready(Some(expired)) => Some(expired.into_inner()),
            Poll::Ready(None) | Poll::Pending => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_limit_may_be_endless() {
        let mut deadlines = Deadlines::default();
        deadlines.set((1, 1), Duration::MAX);
        deadlines.set((2, 2), Duration::from_secs(1));
        tokio::time::sleep(Duration::from_secs(2)).await;
        let mut context = Context::from_waker(Waker::noop());
        assert_eq!(deadlines.next(&mut context), Some((2, 2)));
        assert_eq!(deadlines.next(&mut context), None);
    }
}
