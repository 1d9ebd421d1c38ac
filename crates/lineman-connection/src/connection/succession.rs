//! A connection that goes on as another one: another protocol with other handlers, over the same
//! socket and under the same number, as after an upgrade; or an entry made of a socket from elsewhere.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::BytesMut;

use super::entry::{Entry, Peer, State};
use super::handle::Counters;
use super::listener::{self, Serve};
use super::table::Table;
use super::transport::{Failure, Transport};
use super::{Address, Admission, CloseReason, Connection, Driver};
use crate::Error;
use crate::tls::Session;

/// What a connection keeps, whoever serves it next.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Past {
    pub(crate) id: u64,
    pub(crate) counters: Counters,
}

/// A connection that comes from outside the table.
pub(crate) struct Arrival {
    pub(crate) past: Past,
    pub(crate) transport: Transport,
    pub(crate) peer: Address,
    /// What was read of it and not used.
    pub(crate) unread: BytesMut,
    /// Its place where it was before.
    pub(crate) admission: Admission,
}

impl<D: Driver> Connection<D> {
    /// Begins TLS in mid-stream, as after `STARTTLS`, with what [`Front::tls_on_demand`] says.
    ///
    /// Takes effect when the handler that calls it is done: what was sent before leaves as it is, what
    /// is sent after waits for the handshake, which has the deadline of any other. Bytes that the peer
    /// sent ahead of its handshake are no plaintext any more.
    ///
    /// # Errors
    /// When the listener has no such setting.
    ///
    /// [`Front::tls_on_demand`]: super::Front::tls_on_demand
    pub fn start_tls(&self) -> Result<(), Error> {
        let Some(acceptor) = self.entry().serve.acceptor.get() else {
            let problem = "start_tls needs tls_on_demand".to_owned();
            return Err(Error::Configuration { service: D::name().to_owned(), problem });
        };
        let session = Box::new(acceptor.session());
        self.entry().extra(|extra| extra.session = Some(session));
        self.entry().flags.changing.set(true);
        self.entry().read_again();
        Ok(())
    }

    /// Goes on with another protocol and its handlers, from the next byte on.
    ///
    /// Takes effect when the handler that calls it is done. What was sent before leaves in the old
    /// protocol; the next handler to be called is the new one's: connect, or the handshake's. The old
    /// handlers hear no more of it, not even its end. Number, counters and data stay.
    pub fn change_protocol<E: Driver>(&self, serve: &Rc<Serve<E>>) {
        let serve = Rc::clone(serve);
        self.entry().extra(|extra| {
            extra.successor = Some(Box::new(move |entry| succeed(entry, &serve)));
        });
        self.entry().flags.changing.set(true);
        self.entry().read_again();
    }
}

impl<D: Driver> Entry<D> {
    /// Nothing runs any more: TLS begins, or the successor takes over.
    pub(super) fn change(self: &Rc<Self>) {
        self.flags.changing.set(false);
        if let Some(session) = self.extra(|extra| extra.session.take()) {
            return self.secure(*session);
        }
        let successor = self.extra(|extra| extra.successor.take());
        if self.state.get() == State::Open
            && let Some(successor) = successor
        {
            successor(self);
        }
    }
}

impl<D: Driver> Entry<D> {
    pub(super) fn past(self: &Rc<Self>) -> Past {
        Past { id: self.id, counters: Connection::of(self).counters() }
    }

    fn go_on_from(&mut self, past: Past) {
        let Past { id, counters } = past;
        self.id = id;
        self.messages_in.set(counters.messages_in);
        self.messages_out.set(counters.messages_out);
        self.bytes_in.set(counters.bytes_in);
        self.bytes_out.set(counters.bytes_out);
    }

    fn secure(self: &Rc<Self>, session: Session) {
        if self.state.get() != State::Open {
            return;
        }
        let mut plain = BytesMut::new();
        let received = {
            let mut transport = self.transport.borrow_mut();
            let Some(transport) = transport.as_mut() else { return };
            // What the peer sent ahead is its first record, or an attempt to slip something in.
            let (unread, mut queue) = (self.unread.take(), self.queue.borrow_mut());
            let begun = transport.secure(session, unread, &mut queue).map_err(Failure::Close);
            begun.and_then(|()| transport.receive_rest(&mut plain))
        };
        self.touch();
        self.set_deadline(self.limits().handshake_time);
        let taken = received.and_then(|received| self.took(&received));
        self.unread.replace(plain);
        match taken {
            Ok(()) => self.read_again(),
            Err(Failure::Io(error)) => self.finish(CloseReason::Broken(error.to_string())),
            Err(Failure::Close(reason)) => self.begin_close(reason),
        }
    }
}

fn succeed<D: Driver, E: Driver>(old: &Rc<Entry<D>>, serve: &Rc<Serve<E>>) {
    let Some(transport) = old.transport.take() else { return };
    old.clear_deadline();
    old.state.set(State::Closed);
    old.extra(|extra| extra.reason = Some(CloseReason::BecameOther));
    old.leave_population();
    let (state, peer) = (State::Handshake, old.peer());
    let mut new = listener::entry(&old.table, old.key, serve, state, transport, peer);
    new.go_on_from(old.past());
    new.queue = RefCell::new(old.queue.take());
    new.unread = RefCell::new(old.unread.take());
    new.flags.readable.set(old.flags.readable.get());
    new.flags.ended.set(old.flags.ended.get());
    new.flags.eof.set(old.flags.eof.get());
    let data = old.extra(|extra| extra.data.take());
    let new = Rc::new(new);
    if data.is_some() {
        new.extra(|extra| extra.data = data);
    }
    old.table.replace(old.key, Rc::clone(&new) as Rc<dyn Peer>);
    serve.population.enter(new.counted_for());
    new.begin_at_protocol();
}

impl Table {
    /// Takes in a connection that was served elsewhere; what was read of it is decoded first.
    ///
    /// # Errors
    /// When the socket cannot be put into the poll set.
    pub(crate) fn adopt<D: Driver>(
        &self,
        arrival: Arrival,
        serve: &Rc<Serve<D>>,
    ) -> std::io::Result<()> {
        let Arrival { past, mut transport, peer, unread, admission } = arrival;
        let entry = self.insert(serve.weight, |key, _| {
            self.watch(key, transport.stream_mut())?;
            let mut entry = listener::entry(self, key, serve, State::Handshake, transport, peer);
            entry.go_on_from(past);
            Ok(Rc::new(entry))
        })?;
        serve.population.enter(entry.counted_for());
        drop(admission);
        entry.unread.replace(unread);
        entry.flags.readable.set(true);
        entry.begin_at_protocol();
        Ok(())
    }
}
