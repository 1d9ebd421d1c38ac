//! Gives memory back when a crowd has gone: the table's own lists and buffers, then the allocator's free
//! memory. It looks at two numbers a turn, and does something only after a peak.

use std::cell::Cell;
use std::time::Duration;

use super::Table;
use crate::connection::queue::Pool;
use crate::os;

/// How long it has to stay quiet: a crowd that comes back in waves finds the memory of the one before.
const QUIET: Duration = Duration::from_secs(3);

/// What a connection takes at least: its entry, its place, what its listener and its handler keep of it.
const CONNECTION: usize = 1024;

/// A smaller peak than this is not worth a look through the heap.
const WORTH: usize = 4 * 1024 * 1024;

/// The most that the process held since memory was given back.
#[derive(Debug, Default)]
pub(super) struct Quiet {
    peak: Cell<usize>,
    /// Whether a task waits for the quiet.
    is_waiting: Cell<bool>,
}

impl Quiet {
    /// Takes note of what is held; returns whether that is less than half of a peak worth the while.
    fn has_fallen(&self, held: usize) -> bool {
        let peak = self.peak.get().max(held);
        self.peak.set(peak);
        peak >= WORTH && held <= peak / 2
    }
}

impl Table {
    /// Looks at the end of a turn whether a crowd has gone.
    pub(super) fn look_for_quiet(&self) {
        let quiet = &self.0.quiet;
        if !quiet.has_fallen(self.held()) || quiet.is_waiting.replace(true) {
            return;
        }
        let table = self.clone();
        tokio::task::spawn_local(async move {
            tokio::time::sleep(QUIET).await;
            let quiet = &table.0.quiet;
            quiet.is_waiting.set(false);
            if quiet.has_fallen(table.held()) {
                quiet.peak.set(table.held());
                table.give_back();
            }
        });
    }

    fn held(&self) -> usize {
        self.0.budget.account.used() + self.len() * CONNECTION
    }

    fn give_back(&self) {
        let inner = &self.0;
        inner.pool.replace(Pool::new(&inner.budget.account));
        inner.items.borrow_mut().shrink_to_fit();
        inner.deadlines.borrow_mut().shrink();
        inner.touched.borrow_mut().shrink_to_fit();
        inner.again.borrow_mut().shrink_to_fit();
        inner.later.borrow_mut().shrink_to_fit();
        let begun = std::time::Instant::now();
        os::give_back_memory();
        tracing::debug!(took = ?begun.elapsed(), "gave memory back");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_a_peak_is_quiet_and_a_small_peak_is_none() {
        let quiet = Quiet::default();
        assert!(!quiet.has_fallen(WORTH - 1) && !quiet.has_fallen(0), "too little");
        assert!(!quiet.has_fallen(WORTH) && !quiet.has_fallen(WORTH / 2 + 1));
        assert!(quiet.has_fallen(WORTH / 2) && quiet.has_fallen(0));
        quiet.peak.set(0);
        assert!(!quiet.has_fallen(0));
    }
}
