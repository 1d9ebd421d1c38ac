//! One connection's place in the table: its whole state, and the order in which things happen to it.
//!
//! `reading` and `closing` hold the two long stories; here are the state itself, the dispatch of
//! events to the handler, and flushing. No method holds a borrow while a handler runs.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use tokio_util::time::delay_queue::Key;

use super::extra::Extra;
use super::handler::{Event, Turn};
use super::listener::Serve;
use super::queue::SendQueue;
use super::stats::{Row, tls_name};
use super::table::{Scratch, Table};
use super::transport::Transport;
use super::{Address, CloseReason, Connection, Driver, Limits};

/// Where a connection is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    /// An outgoing connection whose transport is not up.
    Connecting,
    /// The transport is up; what comes before the protocol is not done: a PROXY header, TLS.
    Preparing,
    /// The protocol's handshake is not done.
    Handshake,
    /// Messages flow.
    Open,
    /// A farewell is on its way out, or its answer is awaited.
    Closing,
    /// Everything was said; what the peer still sends is thrown away, so that it is not reset.
    Lingering,
    /// Gone.
    Closed,
}

/// Whether a connection is a peer the service is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weight {
    /// A peer: counted, waited for by a drain, told when the process goes away.
    Peer,
    /// A link between our own processes: lives as long as the process.
    Link,
}

/// Small facts of a connection, one bit of memory each.
#[derive(Debug, Default)]
pub(super) struct Flags {
    /// A handler is at work in a task: decode nothing.
    pub(super) busy: Cell<bool>,
    /// Somebody asked not to read.
    pub(super) paused: Cell<bool>,
    /// The handler has heard of it: it is told of the end as well.
    pub(super) announced: Cell<bool>,
    /// Its handshake, or what comes before it, is under way and counted.
    pub(super) half_open: Cell<bool>,
    /// Something came since the last beat.
    pub(super) heard: Cell<bool>,
    /// It was pinged at the last beat.
    pub(super) pinged: Cell<bool>,
    /// It has sent more than its rate: not read until its deadline.
    pub(super) throttled: Cell<bool>,
    /// Nothing more is sent: the end of our side follows what is queued.
    pub(super) ending: Cell<bool>,
    /// The end of our side was sent, the peer's is awaited.
    pub(super) half_closed: Cell<bool>,
    /// Its address counts against the bound of addresses.
    pub(super) counted: Cell<bool>,
    /// It changes to another protocol as soon as nothing runs.
    pub(super) changing: Cell<bool>,
    /// In the table's list of entries to flush.
    pub(super) touched: Cell<bool>,
    /// The kernel may have more bytes: an edge was seen and not used up.
    pub(super) readable: Cell<bool>,
    /// In the table's list of entries to read again.
    pub(super) again: Cell<bool>,
    /// The bound of the send queue was met and `on_full` was called.
    pub(super) full: Cell<bool>,
    /// The kernel says that an end of stream follows what it holds.
    pub(super) ended: Cell<bool>,
    /// The peer has ended its side, and everything before that was read.
    pub(super) eof: Cell<bool>,
    /// The farewell wants an answer.
    pub(super) awaits: Cell<bool>,
    /// The handler's last event is due once it is no longer busy.
    pub(super) close_due: Cell<bool>,
    /// The handshake's request was given to the handler and is not answered yet.
    pub(super) opening: Cell<bool>,
}

/// A connection. Invariant: in the table's slab at `key` until it is `Closed`.
pub(crate) struct Entry<D: Driver> {
    pub(super) id: u64,
    pub(super) key: usize,
    pub(super) table: Table,
    pub(super) transport: RefCell<Option<Transport>>,
    /// Where it came from; a proxy may have told another address.
    pub(super) origin: Address,
    pub(super) state: Cell<State>,
    pub(super) flags: Flags,
    pub(super) driver: RefCell<D>,
    /// What all connections of a listener have in common.
    pub(super) serve: Rc<Serve<D>>,
    /// Bytes received that make no whole message yet, or wait for a busy handler.
    pub(super) unread: RefCell<BytesMut>,
    pub(super) queue: RefCell<SendQueue>,
    pub(super) messages_in: Cell<u64>,
    pub(super) messages_out: Cell<u64>,
    pub(super) bytes_in: Cell<u64>,
    pub(super) bytes_out: Cell<u64>,
    pub(super) deadline: Cell<Option<Key>>,
    pub(super) extra: RefCell<Option<Box<Extra<D>>>>,
}

/// What the kernel says of a socket.
#[derive(Debug, Clone, Copy)]
pub(super) struct Readiness {
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// The peer has ended its side. It may come together with the last bytes, in one edge.
    pub(super) ended: bool,
}

/// An entry as the table sees it, whatever it speaks.
pub(super) trait Peer {
    fn id(&self) -> u64;
    fn weight(&self) -> Weight;
    fn state(&self) -> State;
    fn row(&self) -> Row;
    fn queued(&self) -> usize;
    fn ready(self: Rc<Self>, readiness: Readiness, scratch: &mut Scratch);
    fn again(self: Rc<Self>, scratch: &mut Scratch);
    /// Looks after a connection whose listener has this heartbeat.
    fn beat(self: Rc<Self>, period: Duration);
    fn flush(self: Rc<Self>);
    fn expired(self: Rc<Self>);
    fn close(self: Rc<Self>, reason: CloseReason);
    fn abort(self: Rc<Self>, reason: CloseReason);
}

impl<D: Driver> Entry<D> {
    /// Hands an event to the handler, and deals with what it answers.
    pub(super) fn dispatch(self: &Rc<Self>, event: Event<D>) {
        self.flags.busy.set(true);
        self.flags.announced.set(true);
        let connection = Connection::of(self);
        match self.serve.handler.on_event(&connection, event) {
            Turn::Done(result) => {
                self.flags.busy.set(false);
                self.settle(result);
            }
            Turn::Busy => {}
        }
    }

    /// The handler is done with an event: a handshake is answered, an error closes.
    fn settle(self: &Rc<Self>, result: crate::Result) {
        let opening = self.flags.opening.replace(false) && self.state.get() == State::Handshake;
        if let Err(error) = result {
            let refused = if opening { self.driver.borrow_mut().refuse(&error) } else { None };
            if let Some(reason) = refused {
                return self.begin_close(reason);
            }
            self.table.add(|counters| &counters.handler_errors, 1);
            tracing::warn!(connection = self.id, peer = %self.peer(), %error, "handler failed");
            self.begin_close(CloseReason::HandlerFailed(error.to_string()));
        } else if opening {
            // Its own event settles the rest, and may have left a task that is not done yet.
            return self.answer_handshake();
        }
        if self.state.get() == State::Closed && self.flags.close_due.replace(false) {
            self.report_close();
        }
    }

    fn answer_handshake(self: &Rc<Self>) {
        let accepted = self.driver.borrow_mut().accept(self.queue.borrow_mut().tail());
        self.touch();
        match accepted {
            Ok(()) => self.opened(),
            Err(reason) => self.begin_close(reason),
        }
    }

    pub(super) fn opened(self: &Rc<Self>) {
        self.state.set(State::Open);
        self.leave_handshake();
        self.clear_deadline();
        self.dispatch(Event::Opened);
    }

    /// The task of a busy handler is done; what waited behind it goes on.
    pub(super) fn finished(self: &Rc<Self>, result: crate::Result) {
        self.flags.busy.set(false);
        self.settle(result);
        if self.state.get() != State::Closed {
            self.read_again();
        }
    }

    /// Puts the entry on the list of those that are flushed at the end of the turn.
    pub(super) fn touch(self: &Rc<Self>) {
        if !self.flags.touched.replace(true) {
            self.table.touched(Rc::<Self>::clone(self));
        }
    }

    /// Puts the entry on the list of those that go on reading in the next turn.
    pub(super) fn read_again(self: &Rc<Self>) {
        if !self.flags.again.replace(true) {
            self.table.again(Rc::<Self>::clone(self));
        }
    }

    fn flush_queue(self: &Rc<Self>) {
        self.flags.touched.set(false);
        if matches!(self.state.get(), State::Connecting | State::Closed) {
            return;
        }
        let mut queue = self.queue.borrow_mut();
        let mut transport = self.transport.borrow_mut();
        let Some(transport_now) = transport.as_mut() else { return };
        let written = transport_now.write(&mut queue);
        let drained = queue.is_empty() && transport_now.pending() == 0;
        drop(transport);
        if drained {
            self.table.release(&mut queue);
        }
        drop(queue);
        match written {
            Ok(written) => {
                self.bytes_out.set(self.bytes_out.get() + written as u64);
                self.table.add(|counters| &counters.bytes_out, written as u64);
                if drained {
                    self.drained();
                }
            }
            Err(error) => self.finish(CloseReason::Broken(error.to_string())),
        }
    }

    fn drained(self: &Rc<Self>) {
        if self.flags.full.replace(false) && self.state.get() == State::Open {
            self.serve.handler.on_drain(&Connection::of(self));
        }
        if self.flags.ending.get() && self.state.get() == State::Open {
            self.end_writing();
        }
        let waiting = match self.extra.borrow_mut().as_mut() {
            Some(extra) => std::mem::take(&mut extra.when_drained),
            None => Vec::new(),
        };
        for job in waiting {
            job();
        }
        self.said_everything();
    }

    /// Returns the address the connection counts for, if addresses count.
    pub(super) fn counted_for(&self) -> Option<IpAddr> {
        self.peer().ip().filter(|_| self.flags.counted.get())
    }

    pub(super) fn extra<R>(&self, use_it: impl FnOnce(&mut Extra<D>) -> R) -> R {
        use_it(self.extra.borrow_mut().get_or_insert_default())
    }

    pub(super) fn peer(&self) -> Address {
        let told = self.extra.borrow().as_ref().and_then(|extra| extra.peer.clone());
        told.unwrap_or_else(|| self.origin.clone())
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.serve.front.limits
    }

    pub(super) fn set_deadline(&self, after: Duration) {
        self.clear_deadline();
        self.deadline.set(Some(self.table.set_deadline((self.key, self.id), after)));
    }

    pub(super) fn has_deadline(&self) -> bool {
        self.deadline.get().is_some()
    }

    pub(super) fn clear_deadline(&self) {
        if let Some(key) = self.deadline.take() {
            self.table.clear_deadline(key);
        }
    }
}

impl<D: Driver> Peer for Entry<D> {
    fn id(&self) -> u64 {
        self.id
    }

    fn weight(&self) -> Weight {
        self.serve.weight
    }

    fn state(&self) -> State {
        self.state.get()
    }

    fn queued(&self) -> usize {
        let pending = self.transport.borrow().as_ref().map_or(0, Transport::pending);
        self.queue.borrow().len() + pending
    }

    fn row(&self) -> Row {
        let transport = self.transport.borrow();
        let local = transport.as_ref().and_then(|transport| transport.stream().local_addr().ok());
        let undecoded = transport.as_ref().map_or(0, Transport::undecoded);
        Row {
            id: self.id,
            protocol: D::name().to_owned(),
            state: format!("{:?}", self.state.get()).to_lowercase(),
            local: local.map_or_else(|| "-".to_owned(), |address| address.to_string()),
            peer: self.peer().to_string(),
            messages_in: self.messages_in.get(),
            messages_out: self.messages_out.get(),
            bytes_in: self.bytes_in.get(),
            bytes_out: self.bytes_out.get(),
            receive_queue: (self.unread.borrow().len() + undecoded) as u64,
            send_queue: self.queued() as u64,
            tls: transport.as_ref().and_then(Transport::tls).map(|tls| tls_name(tls.version())),
            age_ms: self.table.age_ms(self.id),
        }
    }

    fn ready(self: Rc<Self>, readiness: Readiness, scratch: &mut Scratch) {
        if readiness.writable && self.state.get() == State::Connecting {
            self.transport_up();
        }
        if readiness.ended {
            self.flags.ended.set(true);
        }
        if readiness.readable {
            self.flags.readable.set(true);
            self.read(scratch);
        }
        if readiness.writable && self.queued() > 0 {
            self.touch();
        }
    }

    fn again(self: Rc<Self>, scratch: &mut Scratch) {
        self.flags.again.set(false);
        self.go_on_reading(scratch);
    }

    fn beat(self: Rc<Self>, period: Duration) {
        if self.state.get() != State::Open || self.limits().heartbeat != Some(period) {
            return;
        }
        if self.flags.heard.replace(false) {
            return self.flags.pinged.set(false);
        }
        // Who is not read may have answered.
        if self.flags.paused.get() || self.flags.busy.get() || self.flags.throttled.get() {
            return;
        }
        let asked = !self.flags.pinged.replace(true)
            && self.driver.borrow_mut().ping(self.queue.borrow_mut().tail());
        if asked {
            return self.touch();
        }
        self.table.add(|counters| &counters.heartbeats_missed, 1);
        self.begin_close(CloseReason::HeartbeatTimeout);
    }

    fn flush(self: Rc<Self>) {
        self.flush_queue();
    }

    fn expired(self: Rc<Self>) {
        self.deadline.set(None);
        self.time_is_up();
    }

    fn close(self: Rc<Self>, reason: CloseReason) {
        self.begin_close(reason);
    }

    fn abort(self: Rc<Self>, reason: CloseReason) {
        self.finish(reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::WebSocket;

    /// Memory of a silent connection is the product: whoever adds a field sees what it costs.
    #[test]
    fn an_idle_websocket_owns_this_much_and_no_more() {
        assert!(size_of::<Entry<WebSocket>>() <= 368, "{}", size_of::<Entry<WebSocket>>());
    }
}
