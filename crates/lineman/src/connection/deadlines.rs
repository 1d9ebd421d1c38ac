//! Deadlines of connections: a handshake, an unfinished message, a farewell. One each at most.
//!
//! An open, silent connection has none, so a million of them cost this nothing.

use std::task::{Context, Poll};
use std::time::Duration;

use tokio_util::time::DelayQueue;
use tokio_util::time::delay_queue::Key;

/// Which connection a deadline belongs to: its place in the table, and its id, for places are reused.
pub(super) type Whose = (usize, u64);

#[derive(Debug, Default)]
pub(super) struct Deadlines {
    queue: DelayQueue<Whose>,
}

impl Deadlines {
    pub(super) fn set(&mut self, whose: Whose, after: Duration) -> Key {
        self.queue.insert(whose, after)
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
