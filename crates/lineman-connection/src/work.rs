//! What runs of a program's code and is not done: handlers of connections that are gone, callbacks of
//! timers, calls of `blocking`. The table waits for all of it when the process leaves.
//!
//! Handlers, timers and `blocking` count themselves here. Nothing here begins, ends or limits any of it.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use tokio::sync::Notify;

thread_local! {
    /// The work of this thread's table, or of none.
    static CURRENT: RefCell<Arc<OpenWork>> = RefCell::default();
}

/// The work of one worker. Its threads for `blocking` share it, so it is made of atomics.
#[derive(Debug, Default)]
pub(crate) struct OpenWork {
    under_way: AtomicUsize,
    /// Callbacks of timers that panicked.
    panics: AtomicU64,
    /// Whether timers begin nothing any more.
    ending: AtomicBool,
    /// Something is done.
    done: Notify,
}

/// A piece of work that is under way; it is done when this is dropped, on any thread.
#[derive(Debug)]
#[must_use = "it counts until it is dropped"]
pub struct AtHand(Arc<OpenWork>);

/// Begins a piece of work: a process that leaves waits for it, within its limits.
pub fn begin() -> AtHand {
    current().begin()
}

/// Returns the work of this thread's table.
pub(crate) fn current() -> Arc<OpenWork> {
    CURRENT.with_borrow(Arc::clone)
}

impl OpenWork {
    /// Returns the work of a new table, which is this thread's from now on.
    pub(crate) fn of_new_table() -> Arc<Self> {
        let work = Arc::<Self>::default();
        CURRENT.set(Arc::clone(&work));
        work
    }

    pub(crate) fn begin(self: &Arc<Self>) -> AtHand {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        AtHand(Arc::clone(self))
    }

    /// Returns how many pieces of work are not done.
    pub(crate) fn count(&self) -> usize {
        self.under_way.load(Ordering::Acquire)
    }

    /// Has timers begin nothing any more.
    pub(crate) fn end(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    /// Returns whether timers begin nothing any more.
    pub(crate) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    pub(crate) fn count_panic(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    /// Resolves when nothing is under way.
    pub(crate) async fn done(&self) {
        loop {
            let done = self.done.notified();
            if self.count() == 0 {
                return;
            }
            done.await;
        }
    }
}

impl Drop for AtHand {
    fn drop(&mut self) {
        // Release: a process that sees nothing under way sees what was done, too.
        if self.0.under_way.fetch_sub(1, Ordering::Release) == 1 {
            self.0.done.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn it_is_done_when_the_last_piece_is_dropped_on_whichever_thread() {
        let work = OpenWork::of_new_table();
        work.done().await;
        let (first, second) = (begin(), begin());
        let done = work.done();
        tokio::pin!(done);
        assert!(done.as_mut().now_or_never().is_none());
        drop(first);
        assert!(done.as_mut().now_or_never().is_none());
        std::thread::spawn(move || drop(second)).join().unwrap();
        done.await;
        assert_eq!(work.count(), 0);
    }

    #[test]
    fn a_new_table_has_work_of_its_own() {
        let old = OpenWork::of_new_table();
        let _under_way = begin();
        let new = OpenWork::of_new_table();
        assert_eq!((old.count(), new.count()), (1, 0));
    }
}
