//! What a handover needs of the table: to stand still, the places at which the process accepts, by which two
//! processes know what a connection is of, and numbers that go on.

use std::rc::Rc;

use super::{Item, Table};
use crate::connection::accept::Accept;
use crate::connection::entry::AnyEntry;

/// Where the numbers of connections begin that a process opens before it has those of the process before
/// it: far behind any that moves, and an integer that every reader of a list knows.
const DORMANT_NUMBERS: u64 = 1 << 48;

/// Something that the process accepts with.
pub(in crate::connection) struct ListensAt {
    /// Where it listens, and the path where that matters.
    pub(in crate::connection) address: String,
    pub(in crate::connection) accept: Rc<dyn Accept>,
}

impl Table {
    /// Has turns do nothing until [`Table::go_on`]: nothing is accepted, read, written or due. What arrives
    /// waits in the kernel. For a process that is to take over the connections of another one, before it listens.
    pub fn stand_still(&self) {
        self.0.still.set(true);
        self.0.next_number.set(self.0.next_number.get().max(DORMANT_NUMBERS));
    }

    /// Ends what [`Table::stand_still`] began.
    pub fn go_on(&self) {
        self.0.still.set(false);
        self.wake();
    }

    /// Returns whether turns do nothing.
    pub fn is_still(&self) -> bool {
        self.0.still.get()
    }

    /// Adds something that the process accepts with; returns its place.
    pub(in crate::connection) fn add_place(&self, address: String, accept: Rc<dyn Accept>) -> u16 {
        let mut places = self.0.places.borrow_mut();
        places.push(ListensAt { address, accept });
        u16::try_from(places.len() - 1).unwrap_or(u16::MAX)
    }

    pub(in crate::connection) fn with_places<R>(&self, look: impl FnOnce(&[ListensAt]) -> R) -> R {
        look(&self.0.places.borrow())
    }

    pub(in crate::connection) fn place(&self, place: u16) -> Option<Rc<dyn Accept>> {
        self.0.places.borrow().get(usize::from(place)).map(|place| Rc::clone(&place.accept))
    }

    /// Returns the number of the next connection.
    pub(in crate::connection) fn next_number(&self) -> u64 {
        self.0.next_number.get()
    }

    pub(in crate::connection) fn set_next_number(&self, number: u64) {
        self.0.next_number.set(number);
    }

    /// Does what the end of a turn has to do, outside of one: nothing waits for that any more.
    pub(in crate::connection) fn end_turn(&self) {
        let mut entries = Vec::new();
        self.0.in_turn.set(true);
        self.flush(&mut entries);
        self.0.in_turn.set(false);
        // Tasks that wait for a change are told by the turn that follows.
        self.wake();
    }

    /// Returns up to `most` connections beginning at place `from` of the slab, and where to go on.
    pub(in crate::connection) fn some_entries(
        &self,
        from: usize,
        most: usize,
    ) -> (Vec<Rc<dyn AnyEntry>>, Option<usize>) {
        let items = self.0.items.borrow();
        let mut entries = Vec::new();
        for key in from..items.capacity() {
            if entries.len() == most {
                return (entries, Some(key));
            }
            entries.extend(items.get(key).and_then(Item::entry));
        }
        (entries, None)
    }

    /// Returns how many connections hyper serves.
    pub(in crate::connection) fn guests(&self) -> usize {
        let items = self.0.items.borrow();
        items.iter().filter(|(_, item)| matches!(item, Item::Guest(_))).count()
    }
}
