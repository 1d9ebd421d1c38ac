//! A connection on its way, as one value: to HTTP and back, to another protocol, and from a listener
//! into the table. Whatever serves it next goes on with the same socket, bytes, number and counters.

use std::rc::Rc;

use bytes::BytesMut;
use tokio::time::Instant;

use super::admission::Admission;
use super::due::Deadline;
use super::entry::{AnyEntry, Entry, Weight};
use super::extra::{Extra, Kept};
use super::handle::Counters;
use super::inflow::{Hold, Inflow};
use super::life::State;
use super::listener::{Serve, insert};
use super::outflow::{Ending, Outflow};
use super::table::Table;
use super::transport::{Failure, Transport};
use super::{Address, CloseReason, Connection, Driver};
use crate::Error;
use crate::tls::Session;

/// What a connection is called and has been through, whatever serves it.
pub(crate) struct Facts {
    /// Its number, unique in the process.
    pub(crate) number: u64,
    pub(crate) weight: Weight,
    /// When it came, in the table's milliseconds.
    pub(crate) came_ms: u64,
    pub(crate) counters: Counters,
    pub(crate) peer: Address,
    /// Its place among the connections of its listener.
    pub(crate) admission: Admission,
}

/// A connection that changes hands.
pub(crate) struct Transit {
    pub(crate) facts: Facts,
    /// `None` for an outgoing connection that has no socket yet.
    pub(crate) transport: Option<Transport>,
    pub(super) inflow: Inflow,
    pub(super) outflow: Outflow,
    /// By when the peer has to end its side, if ours has ended.
    pub(super) end_by: Option<Instant>,
    pub(super) kept: Kept,
}

/// Takes over connections whose first bytes are not of their listener's protocol.
pub(crate) trait Fallback {
    /// Serves the connection from here on. A later request on it may bring it back to `origin`.
    fn take(&self, table: &Table, transit: Transit, origin: Rc<dyn Adopt>);
}

/// Serves connections that were served elsewhere before.
pub(crate) trait Adopt {
    /// Makes the connection one of the table's; what was read of it is decoded first.
    ///
    /// # Errors
    /// When the socket cannot be put into the poll set.
    fn adopt(self: Rc<Self>, table: &Table, transit: Transit) -> std::io::Result<()>;
}

impl Transit {
    /// Returns a connection at its beginning.
    pub(super) fn new(facts: Facts, transport: impl Into<Option<Transport>>) -> Self {
        Self {
            facts,
            transport: transport.into(),
            inflow: Inflow::default(),
            outflow: Outflow::default(),
            end_by: None,
            kept: Kept::default(),
        }
    }

    /// Returns a connection of which bytes were read, and there may be more.
    pub(crate) fn with_unread(facts: Facts, transport: Transport, unread: BytesMut) -> Self {
        let transit = Self::new(facts, transport);
        transit.inflow.keep(unread);
        transit.inflow.set_readable(true);
        transit
    }

    /// Returns one of a listener of its own.
    #[cfg(test)]
    pub(crate) fn alone(table: &Table, transport: Transport, peer: Address) -> Self {
        Self::new(table.facts(peer, Admission::alone(), Weight::Peer), transport)
    }

    /// Takes out what was read and not used.
    pub(crate) fn take_unread(&self) -> BytesMut {
        self.inflow.take_unread()
    }
}

impl<D: Driver> Connection<D> {
    /// Begins TLS in mid-stream, as after `STARTTLS`, with what [`Front::tls_on_demand`] says.
    ///
    /// Takes effect when the handler that calls it is done, and a pause or a rate's delay is over: what
    /// was sent before leaves as it is, what is sent after waits for the handshake, which has the deadline and the bound of any other. Bytes
    /// that the peer sent ahead of its handshake are no plaintext any more.
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
        self.entry().change_by(|extra| extra.session = Some(session));
        Ok(())
    }

    /// Goes on with another protocol and its handlers, from the next byte on.
    ///
    /// Takes effect when the handler that calls it is done, and a pause or a rate's delay is over. What
    /// was sent before leaves in the old protocol; the next handler to be called is the new one's:
    /// connect, or the handshake's. The old handlers hear no more of it, not even its end. Number,
    /// counters and data stay, and so does an end that was asked for.
    pub fn change_protocol<E: Driver>(&self, serve: &Rc<Serve<E>>) {
        let serve = Rc::clone(serve);
        self.entry().change_by(|extra| {
            extra.successor = Some(Box::new(move |entry| entry.succeed(&serve)));
        });
    }
}

impl<D: Driver> Entry<D> {
    pub(super) fn change_by(self: &Rc<Self>, ask: impl FnOnce(&mut Extra<D>)) {
        self.extra(ask);
        self.inflow.hold(Hold::Changing);
        self.read_again();
    }

    /// Nothing else holds the change any more: TLS begins, or the successor takes over; returns whether
    /// either did, or neither is wanted any more.
    pub(super) fn change(self: &Rc<Self>) -> bool {
        let is_open = self.life.is_open();
        let session = self.extra(|extra| extra.session.take());
        // A successor speaks once TLS is up: the hold stays until then.
        let waits = session.is_some() || !self.can_speak();
        if is_open && waits && self.extra(|extra| extra.successor.is_some()) {
            if let Some(session) = session {
                self.secure(*session);
                return true;
            }
            return false;
        }
        self.inflow.lift(Hold::Changing);
        let successor = self.extra(|extra| extra.successor.take());
        match (session, successor) {
            (Some(session), _) if is_open => self.secure(*session),
            (None, Some(succeed)) if is_open => succeed(self),
            _ => self.read_again(),
        }
        true
    }

    fn secure(self: &Rc<Self>, session: Session) {
        self.serve.population.forget_handshake(self.id);
        self.enter_handshake();
        let mut plain = BytesMut::new();
        let received = {
            let mut transport = self.transport.borrow_mut();
            let Some(transport) = transport.as_mut() else { return };
            // What the peer sent ahead is its first record, or an attempt to slip something in.
            let unread = self.inflow.take_unread();
            let begun = transport.secure(session, unread, &mut self.outflow.queue.borrow_mut());
            begun.map_err(Failure::Close).and_then(|()| transport.receive_rest(&mut plain))
        };
        self.touch();
        let taken = received.and_then(|received| self.took(&received));
        self.inflow.keep(plain);
        match taken {
            Ok(()) => self.read_again(),
            Err(Failure::Io(error)) => self.finish(CloseReason::Broken(error.to_string())),
            Err(Failure::Close(reason)) => self.layer_failed(reason),
        }
    }

    /// Leaves its place to the entry of another protocol.
    fn succeed<E: Driver>(self: &Rc<Self>, serve: &Rc<Serve<E>>) {
        let Some(transit) = self.depart(CloseReason::BecameOther) else { return };
        let new = Entry::new(&self.table, self.id.key, serve, State::Handshake, transit);
        let new = Rc::new(new);
        self.table.replace(self.id.key, Rc::clone(&new) as Rc<dyn AnyEntry>);
        new.begin_in_mid_stream();
    }

    /// The first bytes are not of this protocol: the connection leaves the table with them.
    pub(super) fn hand_over(self: &Rc<Self>, input: &mut BytesMut) {
        if self.outflow.end() != Ending::Open {
            return self.begin_close(CloseReason::Local);
        }
        let Some(fallback) = self.serve.fallback.clone() else {
            return self.begin_close(CloseReason::Refused(426));
        };
        // What was sent before, in another protocol, leaves first.
        let sealed = match self.transport.borrow_mut().as_mut() {
            Some(transport) => transport.take_in(&mut self.outflow.queue.borrow_mut()),
            None => return,
        };
        if let Err(error) = sealed {
            return self.finish(CloseReason::Broken(error.to_string()));
        }
        let Some(mut transit) = self.depart(CloseReason::BecameHttp) else { return };
        transit.inflow.keep(input.split());
        let socket = transit.transport.as_mut().map(Transport::stream_mut);
        self.table.forget(self.id.key, self.weight, socket);
        self.table.end_pipes(std::mem::take(&mut transit.kept));
        fallback.take(&self.table, transit, Rc::<Serve<D>>::clone(&self.serve));
    }

    /// Takes what goes on elsewhere out of the entry, which is closed without a word to its handler.
    pub(super) fn depart(self: &Rc<Self>, reason: CloseReason) -> Option<Transit> {
        let transport = self.transport.take()?;
        let facts = Facts {
            number: self.id.number,
            weight: self.weight,
            came_ms: self.came_ms,
            counters: self.counters.get(),
            peer: self.peer(),
            admission: Admission::new(&self.serve.population, self.counted_for()),
        };
        let end_by = self.due.borrow().at(Deadline::End);
        let transit = Transit { end_by, ..Transit::new(facts, transport) };
        transit.inflow.take_over(&self.inflow);
        transit.outflow.take_over(&self.outflow);
        let kept = self.extra(|extra| {
            extra.reason = Some(reason);
            extra.forward = None;
            std::mem::take(&mut extra.kept)
        });
        self.leave_handshake();
        self.life.become_now(State::Closed);
        self.clear_all_due();
        self.weigh();
        Some(Transit { kept, ..transit })
    }

    /// As [`Entry::begin`], over layers that are through already, and with bytes that were read.
    fn begin_in_mid_stream(self: &Rc<Self>) {
        self.serve.population.forget_handshake(self.id);
        self.begin_protocol();
        if self.outflow.queued() > 0 {
            self.touch();
        }
        if self.outflow.end() == Ending::Said && !self.due.borrow().has(Deadline::End) {
            self.follow_farewell();
        }
        self.read_again();
    }
}

impl<D: Driver> Adopt for Serve<D> {
    fn adopt(self: Rc<Self>, table: &Table, transit: Transit) -> std::io::Result<()> {
        insert(table, &self, State::Handshake, transit)?.begin_in_mid_stream();
        Ok(())
    }
}
