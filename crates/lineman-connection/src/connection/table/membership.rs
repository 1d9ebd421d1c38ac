//! What entries and listeners need of the table: a place in it, its lists, deadlines and counters.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use mio::{Interest, Registry, Token};
use tokio::time::Instant;
use tokio_util::time::delay_queue::Key;

use super::{Arrivals, Item, Table};
use crate::connection::entry::{AnyEntry, EntryId, Weight};
use crate::connection::handle::Counters as OfConnection;
use crate::connection::listener::Listener;
use crate::connection::queue::{SHARE_FROM, SendQueue};
use crate::connection::stats::Counters;
use crate::connection::stream::Stream;
use crate::connection::transit::Facts;
use crate::connection::{Address, Admission, CloseReason, Guest};
use crate::work::AtHand;

impl Table {
    /// Returns what a new connection is called.
    pub(in crate::connection) fn facts(
        &self,
        peer: Address,
        admission: Admission,
        weight: Weight,
    ) -> Facts {
        let number = self.0.next_number.replace(self.0.next_number.get() + 1);
        let (came_ms, counters) = (self.now_ms(), OfConnection::default());
        Facts { number, weight, came_ms, counters, peer, admission }
    }

    /// Reserves a place, and fills it with what `make` has registered under it.
    pub(in crate::connection) fn insert<E: AnyEntry + 'static>(
        &self,
        weight: Weight,
        make: impl FnOnce(usize, &Registry) -> io::Result<Rc<E>>,
    ) -> io::Result<Rc<E>> {
        let mut items = self.0.items.borrow_mut();
        let place = items.vacant_entry();
        let entry = make(place.key(), &self.0.registry)?;
        place.insert(Item::Entry(Rc::clone(&entry) as Rc<dyn AnyEntry>));
        match weight {
            Weight::Peer => self.0.peers.set(self.0.peers.get() + 1),
            Weight::Outgoing => self.0.outgoing.set(self.0.outgoing.get() + 1),
            Weight::Link => {}
        }
        Ok(entry)
    }

    /// Gives a place to the successor of the entry that had it.
    pub(in crate::connection) fn replace(&self, key: usize, successor: Rc<dyn AnyEntry>) {
        if let Some(item) = self.0.items.borrow_mut().get_mut(key) {
            *item = Item::Entry(successor);
        }
    }

    /// Returns the entry of this place and number, if it is still there.
    pub(super) fn entry(&self, id: EntryId) -> Option<Rc<dyn AnyEntry>> {
        match self.0.items.borrow().get(id.key) {
            Some(Item::Entry(entry)) if entry.id() == id => Some(Rc::clone(entry)),
            Some(Item::Entry(_) | Item::Guest(_) | Item::Arrivals(_)) | None => None,
        }
    }

    /// Puts the socket of the entry at that place into the poll set.
    pub(in crate::connection) fn watch(&self, key: usize, socket: &mut Stream) -> io::Result<()> {
        // Edge-triggered: both interests at once cost one call in a connection's life.
        self.0.registry.register(socket, Token(key), Interest::READABLE | Interest::WRITABLE)
    }

    pub(in crate::connection) fn insert_listener<A: Arrivals + 'static>(
        &self,
        make: impl FnOnce(usize, &Registry) -> io::Result<Rc<A>>,
    ) -> io::Result<()> {
        let mut items = self.0.items.borrow_mut();
        let place = items.vacant_entry();
        let socket = make(place.key(), &self.0.registry)?;
        place.insert(Item::Arrivals(socket));
        Ok(())
    }

    /// Returns the listeners, each with its place.
    pub(in crate::connection) fn listeners(&self) -> Vec<(usize, Rc<Listener>)> {
        let items = self.0.items.borrow();
        let arrivals = items.iter().filter_map(|(key, item)| match item {
            Item::Arrivals(socket) => Some((key, Rc::clone(socket).listener()?)),
            Item::Entry(_) | Item::Guest(_) => None,
        });
        arrivals.collect()
    }

    /// Takes a listener or socket of datagrams out of the slab and the poll set.
    pub(in crate::connection) fn remove_arrivals(&self, key: usize) {
        let item = self.0.items.borrow_mut().try_remove(key);
        if let Some(Item::Arrivals(socket)) = item {
            socket.leave(&self.0.registry);
        }
    }

    /// Takes a connection out of the slab, and its socket, if it has one, out of the poll set.
    pub(in crate::connection) fn forget(
        &self,
        key: usize,
        weight: Weight,
        socket: Option<&mut Stream>,
    ) {
        if let Some(socket) = socket
            && let Err(error) = self.0.registry.deregister(socket)
        {
            tracing::debug!(%error, "cannot deregister a socket");
        }
        self.0.items.borrow_mut().try_remove(key);
        match weight {
            Weight::Peer => self.leave(),
            Weight::Outgoing => {
                self.0.outgoing.set(self.0.outgoing.get().saturating_sub(1));
                self.0.changed.notify_waiters();
            }
            // What waited on it to be sent waits no more.
            Weight::Link => self.0.changed.notify_waiters(),
        }
    }

    /// Gives a connection that hyper serves a place among the rows, and counts it.
    pub(in crate::connection) fn insert_guest(
        &self,
        make: impl FnOnce(usize) -> Guest,
    ) -> Rc<Guest> {
        let mut items = self.0.items.borrow_mut();
        let place = items.vacant_entry();
        let guest = Rc::new(make(place.key()));
        place.insert(Item::Guest(Rc::clone(&guest)));
        self.enter();
        guest
    }

    /// Ends what [`Table::insert_guest`] began.
    pub(in crate::connection) fn remove_guest(&self, key: usize) {
        self.0.items.borrow_mut().try_remove(key);
        self.leave();
    }

    /// Counts what lives outside the slab and a drain waits for: the handler of a datagram.
    pub(in crate::connection) fn enter(&self) {
        self.0.peers.set(self.0.peers.get() + 1);
    }

    /// Ends what [`Table::enter`] began.
    pub(in crate::connection) fn leave(&self) {
        self.0.peers.set(self.0.peers.get().saturating_sub(1));
        // The last of them may be hyper's, after which no turn follows.
        self.look_for_quiet();
        self.0.changed.notify_waiters();
    }

    /// Counts what a handler is at whose connection is gone.
    pub(in crate::connection) fn begin_work(&self) -> AtHand {
        self.0.work.begin()
    }

    /// Drops the connection if it is still in its handshake; returns whether it was.
    pub(in crate::connection) fn evict(&self, id: EntryId) -> bool {
        let Some(entry) = self.entry(id).filter(|entry| entry.life().is_half_open()) else {
            return false;
        };
        entry.abort(CloseReason::HandshakeEvicted);
        true
    }

    pub(in crate::connection) fn is_half_open(&self, id: EntryId) -> bool {
        self.entry(id).is_some_and(|entry| entry.life().is_half_open())
    }

    /// Closes another connection, if it is still there.
    pub(in crate::connection) fn close(&self, id: EntryId, reason: CloseReason) {
        if let Some(entry) = self.entry(id) {
            entry.close(reason);
        }
    }

    /// Tells a connection that the peer of one that is piped to it has ended its side; returns whether
    /// the way back goes on.
    pub(in crate::connection) fn source_ended(&self, target: EntryId, source: EntryId) -> bool {
        self.entry(target).is_some_and(|entry| entry.source_ended(source))
    }

    /// Tells another connection, if it is still there, that what it is piped to has room.
    pub(in crate::connection) fn pipe_drained(&self, id: EntryId) {
        if let Some(entry) = self.entry(id) {
            entry.pipe_drained();
        }
    }

    /// Puts a socket on the list of those that go on taking arrivals in the next turn.
    pub(in crate::connection) fn take_again(&self, socket: Rc<dyn Arrivals>) {
        self.0.accepting.borrow_mut().push(socket);
        self.wake();
    }

    pub(in crate::connection) fn touched(&self, entry: Rc<dyn AnyEntry>) {
        self.0.touched.borrow_mut().push(entry);
        self.wake();
    }

    pub(in crate::connection) fn again(&self, entry: Rc<dyn AnyEntry>) {
        self.0.again.borrow_mut().push(entry);
        self.wake();
    }

    pub(in crate::connection) fn later(&self, entry: Rc<dyn AnyEntry>) {
        self.0.later.borrow_mut().push_back(entry);
        self.wake();
    }

    pub(in crate::connection) fn prepare(&self, queue: &mut SendQueue) {
        queue.prepare(&mut self.0.pool.borrow_mut());
    }

    pub(in crate::connection) fn freeze_large(&self, queue: &mut SendQueue) {
        queue.freeze_large(&self.0.pool.borrow());
    }

    pub(in crate::connection) fn share(&self, queue: &mut SendQueue, bytes: Bytes) {
        let bytes = if bytes.len() < SHARE_FROM { bytes } else { self.shared(bytes) };
        queue.share(bytes, &mut self.0.pool.borrow_mut());
    }

    pub(in crate::connection) fn release(&self, queue: &mut SendQueue) {
        queue.release(&mut self.0.pool.borrow_mut());
    }

    pub(in crate::connection) fn set_deadline(&self, id: EntryId, at: Instant) -> Key {
        self.0.deadlines.borrow_mut().set(id, at)
    }

    pub(in crate::connection) fn clear_deadline(&self, key: Key) {
        self.0.deadlines.borrow_mut().clear(key);
    }

    pub(in crate::connection) fn add(
        &self,
        counter: impl FnOnce(&Counters) -> &Cell<u64>,
        count: u64,
    ) {
        let counter = counter(&self.0.counters);
        counter.set(counter.get() + count);
    }

    /// Notes that accepting pauses; returns whether it had not for as long as `episode`.
    pub(in crate::connection) fn note_pause(&self, episode: Duration) -> bool {
        let now = std::time::Instant::now();
        let last = self.0.paused.replace(Some(now));
        last.is_none_or(|last| now.duration_since(last) >= episode)
    }
}
