//! The table: every connection of this process, and the loop that serves them.
//!
//! One poll set, nested in tokio's through its descriptor, so that a connection needs no task. A
//! turn reads what is readable, runs handlers, then flushes each touched connection once. The table
//! knows nothing of protocols; it holds [`Peer`]s.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::BytesMut;
use mio::net::TcpStream;
use mio::{Events, Interest, Registry, Token};
use slab::Slab;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio_util::time::delay_queue::Key;

use super::CloseReason;
use super::deadlines::{Deadlines, Whose};
use super::entry::{Peer, Readiness, State, Weight};
use super::listener::Listener;
use super::queue::{Pool, SendQueue};
use super::reading::READ_SIZE;
use super::stats::{Counters, Row, Stats};
use crate::Error;

/// Events taken from the kernel at once: enough to amortise the call, few enough that a turn stays
/// short beside other tasks.
const EVENTS: usize = 1024;

/// The connections of this process. A handle; all clones are the same table.
#[derive(Clone)]
pub struct Table(Rc<Inner>);

/// How far the process is on its way out; HTTP connections outside the slab go by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Accepting and serving.
    Serving,
    /// Nothing new: what is under way may end by itself.
    Draining,
    /// Everything is being closed.
    Closing,
}

/// What a place in the slab holds.
#[derive(Clone)]
pub(super) enum Item {
    Peer(Rc<dyn Peer>),
    Listener(Rc<Listener>),
}

struct Inner {
    poll: RefCell<(mio::Poll, Events)>,
    registry: Registry,
    readiness: AsyncFd<OwnedFd>,
    items: RefCell<Slab<Item>>,
    deadlines: RefCell<Deadlines>,
    /// Entries to flush at the end of the turn.
    touched: RefCell<Vec<Rc<dyn Peer>>>,
    /// What is to be done before they are.
    jobs: RefCell<Vec<Job>>,
    /// Entries that go on reading in the next turn.
    again: RefCell<Vec<Rc<dyn Peer>>>,
    pool: RefCell<Pool>,
    counters: Counters,
    next_id: Cell<u64>,
    /// Peers in the slab, plus connections that hyper serves.
    peers: Cell<usize>,
    handshakes: Cell<usize>,
    phase: watch::Sender<Phase>,
    waker: RefCell<Option<Waker>>,
    /// Whether a turn is under way: what is touched now is flushed at its end.
    in_turn: Cell<bool>,
    /// Tasks that wait for the table to change: empty, flushed.
    changed: tokio::sync::Notify,
}

impl Table {
    /// Returns an empty table; call it inside the worker's runtime.
    ///
    /// # Errors
    /// When the operating system gives no poll set.
    pub fn new() -> Result<Self, Error> {
        let failed = |source| Error::Os { action: "create the poll set", source };
        let poll = mio::Poll::new().map_err(failed)?;
        let registry = poll.registry().try_clone().map_err(failed)?;
        let descriptor = registry.as_fd().try_clone_to_owned().map_err(failed)?;
        let readiness = crate::os::watch_readable(descriptor).map_err(failed)?;
        Ok(Self(Rc::new(Inner {
            poll: RefCell::new((poll, Events::with_capacity(EVENTS))),
            registry,
            readiness,
            items: RefCell::default(),
            deadlines: RefCell::default(),
            touched: RefCell::default(),
            jobs: RefCell::default(),
            again: RefCell::default(),
            pool: RefCell::default(),
            counters: Counters::default(),
            next_id: Cell::new(1),
            peers: Cell::new(0),
            handshakes: Cell::new(0),
            phase: watch::Sender::new(Phase::Serving),
            waker: RefCell::new(None),
            in_turn: Cell::new(false),
            changed: tokio::sync::Notify::new(),
        })))
    }

    /// Serves the connections; runs as long as the process does.
    pub async fn run(&self) {
        let mut turn = Turns {
            scratch: BytesMut::with_capacity(READ_SIZE),
            ready: Vec::with_capacity(EVENTS),
            entries: Vec::new(),
        };
        poll_fn(|context| self.turn(context, &mut turn)).await;
    }

    fn turn(&self, context: &mut Context<'_>, turns: &mut Turns) -> Poll<()> {
        self.keep_waker(context);
        self.0.in_turn.set(true);
        self.expire(context);
        let all = self.poll_events(context, turns);
        self.serve_events(turns);
        self.serve_again(turns);
        self.flush(turns);
        self.0.in_turn.set(false);
        self.0.changed.notify_waiters();
        // Other tasks get their turn between two of ours; what is left wakes us at once. Asking again
        // also leaves our waker with the descriptor.
        let more = !all || !self.0.again.borrow().is_empty();
        if more || self.0.readiness.poll_read_ready(context).is_ready() {
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }

    fn keep_waker(&self, context: &mut Context<'_>) {
        let mut kept = self.0.waker.borrow_mut();
        if !kept.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            *kept = Some(context.waker().clone());
        }
    }

    fn expire(&self, context: &mut Context<'_>) {
        loop {
            let next = self.0.deadlines.borrow_mut().next(context);
            let Some((key, id)) = next else { return };
            let item = self.0.items.borrow().get(key).cloned();
            match item {
                Some(Item::Peer(peer)) if peer.id() == id => peer.expired(),
                Some(Item::Peer(_) | Item::Listener(_)) | None => {}
            }
        }
    }

    /// Asks the poll set what is ready; returns whether that was all.
    fn poll_events(&self, context: &mut Context<'_>, turns: &mut Turns) -> bool {
        turns.ready.clear();
        let Poll::Ready(Ok(mut guard)) = self.0.readiness.poll_read_ready(context) else {
            return true;
        };
        let mut poll = self.0.poll.borrow_mut();
        let (poll, events) = &mut *poll;
        if let Err(error) = poll.poll(events, Some(Duration::ZERO)) {
            tracing::error!(%error, "cannot wait for events");
            return error.kind() != std::io::ErrorKind::Interrupted;
        }
        for event in events.iter() {
            let ended = event.is_read_closed() || event.is_error();
            let readiness = Readiness {
                readable: event.is_readable() || ended,
                writable: event.is_writable() || event.is_error(),
                ended,
            };
            turns.ready.push((event.token(), readiness));
        }
        let all = turns.ready.len() < EVENTS;
        if all {
            guard.clear_ready();
        }
        all
    }

    fn serve_events(&self, turns: &mut Turns) {
        let Turns { scratch, ready, .. } = turns;
        for (Token(key), readiness) in ready.drain(..) {
            let item = self.0.items.borrow().get(key).cloned();
            match item {
                Some(Item::Peer(peer)) => peer.ready(readiness, scratch),
                Some(Item::Listener(listener)) => listener.accept_all(self),
                None => {}
            }
        }
    }

    fn serve_again(&self, turns: &mut Turns) {
        let Turns { scratch, entries, .. } = turns;
        std::mem::swap(entries, &mut *self.0.again.borrow_mut());
        for peer in entries.drain(..) {
            peer.again(scratch);
        }
    }

    fn flush(&self, turns: &mut Turns) {
        let entries = &mut turns.entries;
        // A handler that runs on "drained" may touch further entries.
        while !(self.0.jobs.borrow().is_empty() && self.0.touched.borrow().is_empty()) {
            for job in self.0.jobs.take() {
                job();
            }
            std::mem::swap(entries, &mut *self.0.touched.borrow_mut());
            for peer in entries.drain(..) {
                peer.flush();
            }
        }
    }

    /// Makes a turn due, for what happened outside of one.
    fn wake(&self) {
        if self.0.in_turn.get() {
            return;
        }
        if let Some(waker) = self.0.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }
}

/// What is done at the end of a turn.
type Job = Box<dyn FnOnce()>;

/// What the loop owns between two turns.
struct Turns {
    /// The one buffer that everything is read into.
    scratch: BytesMut,
    ready: Vec<(Token, Readiness)>,
    /// Entries that a list of the table was emptied into; its memory changes places with theirs.
    entries: Vec<Rc<dyn Peer>>,
}

/// What entries and listeners need of the table.
impl Table {
    pub(super) fn next_id(&self) -> u64 {
        self.0.next_id.replace(self.0.next_id.get() + 1)
    }

    /// Reserves a place, registers the socket under it, and fills it with what `make` returns.
    pub(super) fn insert<P: Peer + 'static>(
        &self,
        socket: &mut TcpStream,
        make: impl FnOnce(usize) -> (Rc<P>, Weight),
    ) -> std::io::Result<Rc<P>> {
        let mut items = self.0.items.borrow_mut();
        let place = items.vacant_entry();
        let key = place.key();
        // Edge-triggered: both interests at once cost one call in a connection's life.
        self.0.registry.register(socket, Token(key), Interest::READABLE | Interest::WRITABLE)?;
        let (peer, weight) = make(key);
        place.insert(Item::Peer(Rc::clone(&peer) as Rc<dyn Peer>));
        if weight == Weight::Peer {
            self.0.peers.set(self.0.peers.get() + 1);
        }
        Ok(peer)
    }

    pub(super) fn insert_listener(
        &self,
        make: impl FnOnce(usize, &Registry) -> std::io::Result<Listener>,
    ) -> std::io::Result<()> {
        let mut items = self.0.items.borrow_mut();
        let place = items.vacant_entry();
        let listener = make(place.key(), &self.0.registry)?;
        place.insert(Item::Listener(Rc::new(listener)));
        Ok(())
    }

    /// Takes a closed connection out of the slab; its socket closes with it.
    pub(super) fn remove(&self, key: usize, weight: Weight, socket: Option<TcpStream>) {
        if let Some(mut socket) = socket {
            self.forget(key, weight, &mut socket);
        }
    }

    /// Takes a connection out of the slab and its socket out of the poll set.
    pub(super) fn forget(&self, key: usize, weight: Weight, socket: &mut TcpStream) {
        if let Err(error) = self.0.registry.deregister(socket) {
            tracing::debug!(%error, "cannot deregister a socket");
        }
        self.0.items.borrow_mut().try_remove(key);
        if weight == Weight::Peer {
            self.leave();
        }
    }

    /// Counts a connection that lives outside the slab: hyper's.
    pub(crate) fn enter(&self) {
        self.0.peers.set(self.0.peers.get() + 1);
    }

    /// Ends what [`Table::enter`] began.
    pub(crate) fn leave(&self) {
        self.0.peers.set(self.0.peers.get().saturating_sub(1));
        self.0.changed.notify_waiters();
    }

    pub(super) fn handshake_begun(&self) {
        self.0.handshakes.set(self.0.handshakes.get() + 1);
    }

    pub(super) fn handshakes(&self) -> usize {
        self.0.handshakes.get()
    }

    pub(super) fn handshake_over(&self) {
        self.0.handshakes.set(self.0.handshakes.get().saturating_sub(1));
    }

    /// Drops the connection of that place and id if it is still in its handshake.
    pub(super) fn evict(&self, whose: Whose) -> bool {
        let Some(peer) = self.handshaking(whose) else { return false };
        peer.abort(CloseReason::HandshakeEvicted);
        true
    }

    pub(super) fn in_handshake(&self, whose: Whose) -> bool {
        self.handshaking(whose).is_some()
    }

    fn handshaking(&self, (key, id): Whose) -> Option<Rc<dyn Peer>> {
        match self.0.items.borrow().get(key) {
            Some(Item::Peer(peer)) if peer.id() == id && peer.state() == State::Handshake => {
                Some(Rc::clone(peer))
            }
            Some(Item::Peer(_) | Item::Listener(_)) | None => None,
        }
    }

    pub(super) fn touched(&self, peer: Rc<dyn Peer>) {
        self.0.touched.borrow_mut().push(peer);
        self.wake();
    }

    pub(super) fn again(&self, peer: Rc<dyn Peer>) {
        self.0.again.borrow_mut().push(peer);
        self.wake();
    }

    pub(super) fn prepare(&self, queue: &mut SendQueue) {
        queue.prepare(&mut self.0.pool.borrow_mut());
    }

    pub(super) fn release(&self, queue: &mut SendQueue) {
        queue.release(&mut self.0.pool.borrow_mut());
    }

    pub(super) fn set_deadline(&self, whose: Whose, after: Duration) -> Key {
        self.0.deadlines.borrow_mut().set(whose, after)
    }

    pub(super) fn clear_deadline(&self, key: Key) {
        self.0.deadlines.borrow_mut().clear(key);
    }

    pub(super) fn add(&self, counter: impl FnOnce(&Counters) -> &Cell<u64>, count: u64) {
        let counter = counter(&self.0.counters);
        counter.set(counter.get() + count);
    }

    fn peers(&self) -> Vec<Rc<dyn Peer>> {
        let of_item = |(_, item): (usize, &Item)| match item {
            Item::Peer(peer) => Some(Rc::clone(peer)),
            Item::Listener(_) => None,
        };
        self.0.items.borrow().iter().filter_map(of_item).collect()
    }
}

/// What the process and services ask of the table.
impl Table {
    /// Returns how many peers are connected: links between our own processes do not count.
    pub fn len(&self) -> usize {
        self.0.peers.get()
    }

    /// Returns whether no peer is connected.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Runs `job` once at the end of the turn, when all its messages are handled and nothing of what
    /// they sent has left: what sums up a turn is sent here, and costs no write of its own.
    ///
    /// A job that asks for another one has it run behind the flush, in the same turn.
    pub fn before_flush(&self, job: impl FnOnce() + 'static) {
        self.0.jobs.borrow_mut().push(Box::new(job));
        self.wake();
    }

    /// Closes this process's listeners; whoever holds the same sockets goes on accepting.
    pub fn stop_accepting(&self) {
        self.enter_phase(Phase::Draining);
        self.0.items.borrow_mut().retain(|_, item| match item {
            Item::Peer(_) => true,
            Item::Listener(listener) => {
                listener.leave(&self.0.registry);
                false
            }
        });
    }

    fn enter_phase(&self, phase: Phase) {
        self.0.phase.send_if_modified(|now| {
            let changed = *now < phase;
            *now = phase.max(*now);
            changed
        });
    }

    /// Resolves when the process has got that far.
    pub(crate) async fn reached(&self, phase: Phase) {
        let mut watched = self.0.phase.subscribe();
        if watched.wait_for(|now| *now >= phase).await.is_err() {
            tracing::trace!("the table is gone");
        }
    }

    /// Returns whether [`Table::stop_accepting`] was not called yet.
    pub fn is_accepting(&self) -> bool {
        *self.0.phase.borrow() == Phase::Serving
    }

    /// Resolves when no peer is connected.
    pub async fn emptied(&self) {
        self.until(Self::is_empty).await;
    }

    /// Resolves when nothing waits to be sent, on links either.
    pub async fn flushed(&self) {
        self.until(|table| table.peers().iter().all(|peer| peer.queued() == 0)).await;
    }

    async fn until(&self, reached: impl Fn(&Self) -> bool) {
        loop {
            let changed = self.0.changed.notified();
            if reached(self) {
                return;
            }
            changed.await;
        }
    }

    /// Tells every peer why, and closes; returns how many were told.
    pub fn close_all(&self, reason: &CloseReason) -> usize {
        self.enter_phase(Phase::Closing);
        let peers = self.peers();
        let told = peers
            .iter()
            .filter(|peer| peer.weight() == Weight::Peer && peer.state() < State::Closing);
        told.map(|peer| Rc::clone(peer).close(reason.clone())).count()
    }

    /// Drops every peer's connection; returns how many there were.
    pub fn abort_all(&self) -> usize {
        self.enter_phase(Phase::Closing);
        let peers = self.peers();
        let dropped = peers.iter().filter(|peer| peer.weight() == Weight::Peer);
        dropped.map(|peer| Rc::clone(peer).abort(CloseReason::GoingAway)).count()
    }

    /// Returns the sums since the process started.
    pub fn stats(&self) -> Stats {
        let queued = self.peers().iter().map(|peer| peer.queued() as u64).sum();
        self.0.counters.stats(self.len() as u64, queued)
    }

    /// Returns up to `limit` rows beginning at place `from`, and where to go on.
    ///
    /// A caller that asks in slices, with other work between them, never stalls the connections.
    pub fn rows(&self, from: usize, limit: usize) -> (Vec<Row>, Option<usize>) {
        let items = self.0.items.borrow();
        let end = items.capacity();
        let mut rows = Vec::new();
        for key in from..end {
            if rows.len() == limit {
                return (rows, Some(key));
            }
            if let Some(Item::Peer(peer)) = items.get(key) {
                rows.push(peer.row());
            }
        }
        (rows, None)
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Table").field("peers", &self.len()).finish_non_exhaustive()
    }
}
