//! What entries and listeners need of the table: a place in it, its lists, deadlines and counters.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use mio::{Interest, Registry, Token};
use tokio_util::time::delay_queue::Key;

use super::{Arrivals, Item, Table};
use crate::connection::deadlines::Whose;
use crate::connection::entry::{Peer, State, Weight};
use crate::connection::listener::Listener;
use crate::connection::queue::SendQueue;
use crate::connection::stats::Counters;
use crate::connection::stream::Stream;
use crate::connection::{CloseReason, Guest};

impl Table {
    pub(in crate::connection) fn next_id(&self) -> u64 {
        let id = self.0.next_id.replace(self.0.next_id.get() + 1);
        self.0.births.borrow_mut().note(id, Instant::now());
        id
    }

    /// Reserves a place, and fills it with what `make` has registered under it.
    pub(in crate::connection) fn insert<P: Peer + 'static>(
        &self,
        weight: Weight,
        make: impl FnOnce(usize, &Registry) -> io::Result<Rc<P>>,
    ) -> io::Result<Rc<P>> {
        let mut items = self.0.items.borrow_mut();
        let place = items.vacant_entry();
        let peer = make(place.key(), &self.0.registry)?;
        place.insert(Item::Peer(Rc::clone(&peer) as Rc<dyn Peer>));
        if weight == Weight::Peer {
            self.0.peers.set(self.0.peers.get() + 1);
        }
        Ok(peer)
    }

    /// Gives a place to the successor of the entry that had it.
    pub(in crate::connection) fn replace(&self, key: usize, successor: Rc<dyn Peer>) {
        if let Some(item) = self.0.items.borrow_mut().get_mut(key) {
            *item = Item::Peer(successor);
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
            Item::Peer(_) | Item::Guest(_) => None,
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
            // What waited on it to be sent waits no more.
            Weight::Link => self.0.changed.notify_waiters(),
        }
    }

    /// Gives a connection that hyper serves a place among the rows, and counts it.
    pub(in crate::connection) fn lodge(&self, make: impl FnOnce(usize) -> Guest) -> Rc<Guest> {
        let mut items = self.0.items.borrow_mut();
        let place = items.vacant_entry();
        let guest = Rc::new(make(place.key()));
        place.insert(Item::Guest(Rc::clone(&guest)));
        self.enter();
        guest
    }

    /// Ends what [`Table::lodge`] began.
    pub(in crate::connection) fn dislodge(&self, key: usize) {
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
        self.0.changed.notify_waiters();
    }

    pub(in crate::connection) fn handshake_begun(&self) {
        self.0.handshakes.set(self.0.handshakes.get() + 1);
    }

    pub(in crate::connection) fn handshakes(&self) -> usize {
        self.0.handshakes.get()
    }

    pub(in crate::connection) fn handshake_over(&self) {
        self.0.handshakes.set(self.0.handshakes.get().saturating_sub(1));
    }

    /// Drops the connection of that place and id if it is still in its handshake.
    pub(in crate::connection) fn evict(&self, whose: Whose) -> bool {
        let Some(peer) = self.handshaking(whose) else { return false };
        peer.abort(CloseReason::HandshakeEvicted);
        true
    }

    pub(in crate::connection) fn in_handshake(&self, whose: Whose) -> bool {
        self.handshaking(whose).is_some()
    }

    fn handshaking(&self, (key, id): Whose) -> Option<Rc<dyn Peer>> {
        match self.0.items.borrow().get(key) {
            Some(Item::Peer(peer)) if peer.id() == id && is_half_open(peer.state()) => {
                Some(Rc::clone(peer))
            }
            Some(Item::Peer(_) | Item::Guest(_) | Item::Arrivals(_)) | None => None,
        }
    }

    /// Puts a socket on the list of those that go on taking arrivals in the next turn.
    pub(in crate::connection) fn take_again(&self, socket: Rc<dyn Arrivals>) {
        self.0.accepting.borrow_mut().push(socket);
        self.wake();
    }

    pub(in crate::connection) fn touched(&self, peer: Rc<dyn Peer>) {
        self.0.touched.borrow_mut().push(peer);
        self.wake();
    }

    pub(in crate::connection) fn again(&self, peer: Rc<dyn Peer>) {
        self.0.again.borrow_mut().push(peer);
        self.wake();
    }

    pub(in crate::connection) fn prepare(&self, queue: &mut SendQueue) {
        queue.prepare(&mut self.0.pool.borrow_mut());
    }

    pub(in crate::connection) fn release(&self, queue: &mut SendQueue) {
        queue.release(&mut self.0.pool.borrow_mut());
    }

    pub(in crate::connection) fn set_deadline(&self, whose: Whose, after: Duration) -> Key {
        self.0.deadlines.borrow_mut().set(whose, after)
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
        let now = Instant::now();
        let last = self.0.paused.replace(Some(now));
        last.is_none_or(|last| now.duration_since(last) >= episode)
    }
}

fn is_half_open(state: State) -> bool {
    matches!(state, State::Preparing | State::Handshake)
}
