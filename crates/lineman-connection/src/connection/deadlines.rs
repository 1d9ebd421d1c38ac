//! The table's wheel of deadlines: of each connection the earliest one.
//!
//! An open, silent connection has none, so a million of them cost this nothing.

use std::task::{Context, Poll};

use tokio::time::Instant;
use tokio_util::time::DelayQueue;
use tokio_util::time::delay_queue::Key;

use super::entry::EntryId;

#[derive(Debug, Default)]
pub(super) struct Deadlines {
    queue: DelayQueue<EntryId>,
}

impl Deadlines {
    pub(super) fn set(&mut self, id: EntryId, at: Instant) -> Key {
        self.queue.insert_at(id, at)
    }

    pub(super) fn clear(&mut self, key: Key) {
        // Gone already if it has expired in this very turn.
        self.queue.try_remove(&key);
    }

    /// Gives back the memory of deadlines that are gone.
    pub(super) fn shrink(&mut self) {
        self.queue.compact();
    }

    /// The next connection whose time is up, if any.
    pub(super) fn next(&mut self, context: &mut Context<'_>) -> Option<EntryId> {
        match self.queue.poll_expired(context) {
            Poll::Ready(Some(expired)) => Some(expired.into_inner()),
            Poll::Ready(None) | Poll::Pending => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;
    use std::time::Duration;

    use super::*;
    use crate::limit::finite;

    #[tokio::test(start_paused = true)]
    async fn a_limit_may_be_endless() {
        let mut deadlines = Deadlines::default();
        let [first, second] = [1, 2].map(|key| EntryId { key, number: 1 });
        deadlines.set(first, Instant::now() + finite(Duration::MAX));
        deadlines.set(second, Instant::now() + Duration::from_secs(1));
        tokio::time::sleep(Duration::from_secs(2)).await;
        let mut context = Context::from_waker(Waker::noop());
        assert_eq!(deadlines.next(&mut context), Some(second));
        assert_eq!(deadlines.next(&mut context), None);
    }
}
