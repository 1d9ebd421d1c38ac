//! A connection that goes on as another one: another protocol with other handlers, over the same
//! socket and under the same number, as after an upgrade; or an entry made of a socket from elsewhere.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::BytesMut;

use super::entry::{Entry, Peer, State};
use super::listener::{self, Serve};
use super::table::Table;
use super::transport::Transport;
use super::{Address, Admission, CloseReason, Connection, Driver};

/// A connection that comes from outside the table.
pub(crate) struct Arrival {
    pub(crate) transport: Transport,
    pub(crate) peer: Address,
    /// What was read of it and not used.
    pub(crate) unread: BytesMut,
    /// Its place where it was before.
    pub(crate) admission: Admission,
}

impl<D: Driver> Connection<D> {
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
    /// Makes room for the successor.
    pub(super) fn change(self: &Rc<Self>) {
        self.flags.changing.set(false);
        let successor = self.extra(|extra| extra.successor.take());
        if self.state.get() == State::Open
            && let Some(successor) = successor
        {
            successor(self);
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
    new.id = old.id;
    new.bytes_in = old.bytes_in.clone();
    new.bytes_out = old.bytes_out.clone();
    new.messages_in = old.messages_in.clone();
    new.messages_out = old.messages_out.clone();
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
        let Arrival { transport, peer, unread, admission } = arrival;
        let entry = listener::insert(self, serve, State::Handshake, transport, peer)?;
        serve.population.enter(entry.counted_for());
        drop(admission);
        entry.unread.replace(unread);
        entry.flags.readable.set(true);
        entry.begin_at_protocol();
        Ok(())
    }
}
