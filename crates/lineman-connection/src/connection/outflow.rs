//! What goes out on a connection: the queue, its bound as it was last met, and how far our side is on
//! its way to an end. No I/O and no clock.

use std::cell::{Cell, RefCell};
use std::hash::{Hash as _, Hasher};

use serde::{Deserialize, Serialize};

use super::queue::SendQueue;

/// How far our side is on its way to an end, while the conversation is open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Ending {
    /// More may be sent.
    #[default]
    Open,
    /// Nothing more is sent: the end follows what is queued.
    Asked,
    /// The end was sent, and the peer's is awaited.
    Said,
}

/// An outgoing side, written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SavedOutflow {
    #[serde(with = "serde_bytes")]
    queue: Vec<u8>,
    end: Ending,
    full: bool,
    awaits: bool,
}

/// The outgoing side of a connection.
#[derive(Debug, Default)]
pub(super) struct Outflow {
    pub(super) queue: RefCell<SendQueue>,
    end: Cell<Ending>,
    /// The bound of the queue was met, and `on_full` was called.
    full: Cell<bool>,
    /// The farewell wants an answer.
    awaits: Cell<bool>,
    /// What the connection as a whole counts for in the process's budget. It is here because these four
    /// bytes are free here.
    pub(super) charged: Cell<u32>,
    /// In the table's list of entries to flush.
    listed: Cell<bool>,
}

impl Outflow {
    /// Returns how many bytes wait.
    pub(super) fn queued(&self) -> usize {
        self.queue.borrow().len()
    }

    /// Drops what waits: it cannot be sent any more.
    pub(super) fn clear(&self) {
        self.queue.borrow_mut().clear();
    }

    /// The bound was met; returns whether that is news.
    pub(super) fn fill(&self) -> bool {
        !self.full.replace(true)
    }

    /// Everything was sent; returns whether it had been full.
    pub(super) fn drain(&self) -> bool {
        self.full.replace(false)
    }

    /// Nothing more is to be sent; returns whether that is news.
    pub(super) fn ask_end(&self) -> bool {
        let is_new = self.end.get() == Ending::Open;
        if is_new {
            self.end.set(Ending::Asked);
        }
        is_new
    }

    /// The end of our side was sent.
    pub(super) fn say_end(&self) {
        self.end.set(Ending::Said);
    }

    pub(super) fn end(&self) -> Ending {
        self.end.get()
    }

    /// Sets whether the farewell wants an answer.
    pub(super) fn set_awaits(&self, awaits: bool) {
        self.awaits.set(awaits);
    }

    pub(super) fn awaits(&self) -> bool {
        self.awaits.get()
    }

    /// Puts it on the list of those to flush; returns whether it was not there.
    pub(super) fn list(&self) -> bool {
        !self.listed.replace(true)
    }

    pub(super) fn unlist(&self) {
        self.listed.set(false);
    }

    /// Adds what tells one moment of it from another.
    pub(super) fn stamp(&self, stamp: &mut impl Hasher) {
        (self.queued(), self.end.get(), self.full.get(), self.awaits.get()).hash(stamp);
    }

    /// Writes it down.
    pub(super) fn save(&self) -> SavedOutflow {
        let queue = self.queue.borrow().to_vec();
        let (end, full, awaits) = (self.end.get(), self.full.get(), self.awaits.get());
        SavedOutflow { queue, end, full, awaits }
    }

    /// Goes on from what [`Outflow::save`] returned.
    pub(super) fn restore(saved: &SavedOutflow) -> Self {
        let outflow = Self::default();
        outflow.queue.borrow_mut().tail().extend_from_slice(&saved.queue);
        outflow.end.set(saved.end);
        outflow.full.set(saved.full);
        outflow.awaits.set(saved.awaits);
        outflow
    }

    /// Takes over what another entry of the same socket had to send, and an end it was asked for.
    pub(super) fn take_over(&self, other: &Self) {
        self.queue.replace(other.queue.take());
        self.end.set(other.end.get());
        self.full.set(other.full.get());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_asked_once_and_said_after_it() {
        let outflow = Outflow::default();
        assert!(outflow.ask_end() && !outflow.ask_end());
        outflow.say_end();
        assert!(!outflow.ask_end());
        assert_eq!(outflow.end(), Ending::Said);
    }

    #[test]
    fn full_and_drained_are_news_once() {
        let outflow = Outflow::default();
        assert!(!outflow.drain());
        assert!(outflow.fill() && !outflow.fill());
        assert!(outflow.drain() && !outflow.drain());
    }

    /// What an outgoing side is on its way to.
    fn known(outflow: &Outflow) -> (usize, Ending, bool, bool) {
        (outflow.queued(), outflow.end(), outflow.full.get(), outflow.awaits())
    }

    #[test]
    fn what_waits_and_an_end_are_taken_over_and_written_down() {
        for (full, awaits) in [(true, false), (false, true)] {
            let old = Outflow::default();
            old.queue.borrow_mut().tail().extend_from_slice(b"rest");
            assert!(old.ask_end());
            old.full.set(full);
            old.set_awaits(awaits);
            let moved = Outflow::restore(&old.save());
            assert_eq!(known(&moved), (4, Ending::Asked, full, awaits));
            let new = Outflow::default();
            new.take_over(&old);
            // The farewell is of the old protocol.
            assert_eq!(known(&new), (4, Ending::Asked, full, false));
            assert_eq!(old.queued(), 0);
            new.clear();
            assert_eq!(new.queued(), 0);
        }
    }

    #[test]
    fn it_is_listed_once() {
        let outflow = Outflow::default();
        assert!(outflow.list() && !outflow.list());
        outflow.unlist();
        assert!(outflow.list());
    }
}
