//! A connection that hyper serves, as the table knows it: its place, its row and what is counted of
//! it. Nothing here reads or writes, and the table calls nothing on it but for a list.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::entry::Weight;
use super::handle::Counters;
use super::stats::{Row, tls_name};
use super::table::Table;
use super::transit::Facts;
use super::{Address, Admission, Transport};
use crate::tls::Version;

/// A connection outside the slab's care. Invariant: in the slab at `key` until it leaves.
pub(crate) struct Guest {
    number: u64,
    came_ms: u64,
    key: usize,
    table: Table,
    protocol: &'static str,
    local: Option<Address>,
    /// The peer, or the client of the last request: a proxy's connection serves many.
    client: RefCell<Address>,
    tls: Option<Version>,
    /// Whether its end has begun: no further request is wanted.
    closing: Cell<bool>,
    counters: Cell<Counters>,
}

impl Guest {
    /// Gives a connection its place among the rows, and counts it: the same number, the same counters.
    /// Returns its place among the listener's connections as well.
    pub(crate) fn enter(
        table: &Table,
        facts: Facts,
        transport: &Transport,
        protocol: &'static str,
    ) -> (Rc<Self>, Admission) {
        let Facts { number, weight: _, came_ms, counters, peer, admission } = facts;
        let guest = table.insert_guest(|key| Self {
            number,
            came_ms,
            key,
            table: table.clone(),
            protocol,
            // Asked now, for the socket is hyper's from here on.
            local: transport.stream().local_addr().ok(),
            client: RefCell::new(peer),
            tls: transport.tls().map(|tls| tls.version()),
            closing: Cell::new(false),
            counters: Cell::new(counters),
        });
        (guest, admission)
    }

    /// Ends what [`Guest::enter`] began.
    pub(crate) fn leave(&self) {
        self.table.remove_guest(self.key);
    }

    /// Returns what it goes on with as an entry.
    pub(crate) fn facts(&self, peer: Address, admission: Admission) -> Facts {
        let (number, came_ms, counters) = (self.number, self.came_ms, self.counters.get());
        let weight = Weight::Peer;
        Facts { number, weight, came_ms, counters, peer, admission }
    }

    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    /// A request is this client's, which a proxy may speak for.
    pub(crate) fn speaks_for(&self, client: Address) {
        self.client.replace(client);
    }

    /// No further request is wanted.
    pub(crate) fn closes(&self) {
        self.closing.set(true);
    }

    /// Bytes came off the wire.
    pub(crate) fn received(&self, bytes: usize) {
        self.count(|counters| counters.bytes_in += bytes as u64);
        self.table.add(|counters| &counters.bytes_in, bytes as u64);
    }

    /// The kernel took bytes.
    pub(crate) fn sent(&self, bytes: usize) {
        self.count(|counters| counters.bytes_out += bytes as u64);
        self.table.add(|counters| &counters.bytes_out, bytes as u64);
    }

    /// A request came.
    pub(crate) fn asked(&self) {
        self.count(|counters| counters.messages_in += 1);
        self.table.add(|counters| &counters.messages_in, 1);
    }

    /// An answer was given to hyper.
    pub(crate) fn answered(&self) {
        self.count(|counters| counters.messages_out += 1);
        self.table.add(|counters| &counters.messages_out, 1);
    }

    /// A request was refused at the bound of its address.
    pub(crate) fn limited(&self) {
        self.table.add(|counters| &counters.limited_requests, 1);
    }

    /// The peer did not take what was said before the end.
    pub(crate) fn end_cut(&self) {
        self.table.add(|counters| &counters.ends_cut, 1);
    }

    fn count(&self, add: impl FnOnce(&mut Counters)) {
        let mut counters = self.counters.get();
        add(&mut counters);
        self.counters.set(counters);
    }

    /// What waits in hyper's buffers is not known here: both queues are told as empty.
    pub(super) fn row(&self) -> Row {
        let counters = self.counters.get();
        Row {
            id: self.number,
            protocol: self.protocol.to_owned(),
            state: if self.closing.get() { "closing" } else { "open" }.to_owned(),
            local: self.local.as_ref().map_or_else(|| "-".to_owned(), Address::to_string),
            peer: self.client.borrow().to_string(),
            messages_in: counters.messages_in,
            messages_out: counters.messages_out,
            bytes_in: counters.bytes_in,
            bytes_out: counters.bytes_out,
            receive_queue: 0,
            send_queue: 0,
            tls: self.tls.map(tls_name),
            age_ms: Some(self.table.age_ms(self.came_ms)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An idle HTTP connection owns this beside what hyper has.
    #[test]
    fn a_guest_owns_this_much_and_no_more() {
        assert!(size_of::<Guest>() <= 160, "{}", size_of::<Guest>());
    }
}
