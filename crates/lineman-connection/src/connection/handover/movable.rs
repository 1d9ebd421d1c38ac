//! What a connection does in a handover, whatever it speaks: it is written down, gives a second descriptor of
//! its socket, and is let go without a word to its peer or its handler.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::rc::Rc;

use crate::connection::entry::{Entry, Weight};
use crate::connection::handler::Event;
use crate::connection::inflow::Hold;
use crate::connection::life::HeardOf;
use crate::connection::transport::Transport;
use crate::connection::{CannotMove, CloseReason, Connection, Driver, Stream};

/// An entry of the table, as a handover sees it.
pub(in crate::connection) trait Movable {
    /// Returns what is another number when its record would be another one.
    fn stamp(&self) -> u64;
    /// Returns the place of its listener.
    fn place(&self) -> Option<u16>;
    /// Returns whether the application keeps data with it.
    fn has_data(&self) -> bool;
    /// Returns whether its handler is at work.
    fn is_at_work(&self) -> bool;
    /// Returns whether it may move by itself, behind the commit.
    fn may_move_late(&self) -> bool;
    /// Appends its record.
    fn write(&self, record: &mut Vec<u8>) -> Result<(), CannotMove>;
    /// Returns another descriptor of its socket.
    fn duplicate(&self) -> io::Result<OwnedFd>;
    /// Returns how many bytes are unread or unsent here.
    fn in_flight(&self) -> usize;
    /// Tells its handler that it is this process's soon.
    fn introduce(self: Rc<Self>);
    /// Tells its handler that it is this process's now.
    fn adopted(self: Rc<Self>);
    /// Takes it out of the table, and returns its socket: neither peer nor handler hears of it.
    fn release(self: Rc<Self>) -> Option<Stream>;
}

impl<D: Driver> Movable for Entry<D> {
    fn stamp(&self) -> u64 {
        Self::stamp(self)
    }

    fn place(&self) -> Option<u16> {
        self.serve.place()
    }

    fn has_data(&self) -> bool {
        self.extra.borrow().as_ref().is_some_and(|extra| extra.kept.data.is_some())
    }

    fn is_at_work(&self) -> bool {
        self.inflow.is_held(Hold::Busy)
    }

    fn may_move_late(&self) -> bool {
        self.weight == Weight::Peer && self.serve.handler.moves_late()
    }

    fn write(&self, record: &mut Vec<u8>) -> Result<(), CannotMove> {
        if self.weight == Weight::Outgoing {
            return Err(CannotMove("the program made it"));
        }
        let saved = self.save()?;
        let written = rmp_serde::encode::write_named(record, &saved);
        written.map_err(|_| CannotMove("its record cannot be written"))
    }

    fn duplicate(&self) -> io::Result<OwnedFd> {
        match self.transport.borrow().as_ref() {
            Some(transport) => transport.stream().as_fd().try_clone_to_owned(),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn in_flight(&self) -> usize {
        Self::in_flight(self)
    }

    fn introduce(self: Rc<Self>) {
        self.serve.handler.on_adopt(&Connection::of(&self));
    }

    fn adopted(self: Rc<Self>) {
        let is_known = self.life.is_open() && self.life.heard() == HeardOf::Connection;
        if is_known && self.serve.handler.hears_adopted() {
            self.dispatch(Event::Adopted);
        }
    }

    fn release(self: Rc<Self>) -> Option<Stream> {
        // An end that had begun is told by the process that goes on with it.
        self.life.take_close_due();
        let mut transit = self.depart(CloseReason::HandedOver)?;
        let socket = transit.transport.as_mut().map(Transport::stream_mut);
        self.table.forget(self.id.key, self.weight, socket);
        transit.transport.map(|transport| transport.into_parts().0)
    }
}
