//! A connection written down: everything that another process needs, beside the socket, to go on with
//! it. What cannot be written says why.
//!
//! The form is `MessagePack` with named fields: a reader skips those that it does not know, and takes the
//! default for one that is missing, so a field with a default can be added. Whatever else changes is another
//! format (`handover`).

use std::hash::{Hash, Hasher as _};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use rustc_hash::FxHasher;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use tokio::time::Instant;

use super::due::{Deadline, SavedFlow};
use super::entry::Entry;
use super::handle::Counters;
use super::inflow::{Hold, Inflow, SavedInflow};
use super::life::{HeardOf, State};
use super::listener::{Serve, insert};
use super::outflow::{Ending, Outflow, SavedOutflow};
use super::stream::Stream;
use super::table::Table;
use super::transit::{Facts, Transit};
use super::transport::{SavedLayers, Transport};
use super::{Address, Admission, CannotMove, CloseReason, Connection, Driver};

/// A connection, written down. It is as secret as what goes over the connection, and TLS's keys are in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) number: u64,
    /// The place of the listener among those of the process that writes it.
    pub(super) listener: u16,
    /// The name of what it speaks.
    pub(super) protocol: String,
    age_ms: u64,
    counters: Counters,
    origin: Origin,
    /// The client's address, as a proxy told it.
    #[serde(default)]
    told: Option<Origin>,
    /// Whether it counts for its address.
    counted: bool,
    state: State,
    heard: HeardOf,
    /// Whether the handler has heard of its end.
    told_of_end: bool,
    half_open: bool,
    #[serde(default)]
    reason: Option<CloseReason>,
    /// Deadlines, each with the time that is left.
    #[serde(default)]
    due: Vec<(Deadline, Duration)>,
    /// Of a message that has begun, and of what was said before our end.
    #[serde(default)]
    paces: [Option<SavedFlow>; 2],
    inflow: SavedInflow,
    outflow: SavedOutflow,
    /// What its rates of messages and bytes have saved up, in nanoseconds.
    #[serde(default)]
    rates: [Option<i64>; 2],
    #[serde(default)]
    layers: Option<SavedLayers>,
    #[serde(with = "serde_bytes")]
    driver: Vec<u8>,
    /// What the application keeps with it.
    #[serde(default)]
    data: Option<ByteBuf>,
}

/// An [`Address`], written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Origin {
    Internet(SocketAddr),
    Unix(Option<PathBuf>),
}

impl From<Address> for Origin {
    fn from(address: Address) -> Self {
        match address {
            Address::Internet(address) => Self::Internet(address),
            Address::Unix(path) => Self::Unix(path.map(|path| path.to_path_buf())),
        }
    }
}

impl From<Origin> for Address {
    fn from(origin: Origin) -> Self {
        match origin {
            Origin::Internet(address) => Self::Internet(address),
            Origin::Unix(path) => Self::Unix(path.map(Into::into)),
        }
    }
}

impl<D: Driver> Entry<D> {
    /// Writes the connection down, between two turns of the table.
    pub(super) fn save(&self) -> Result<Record, CannotMove> {
        match self.life.state() {
            State::Connecting => return Err(CannotMove("it is not connected")),
            State::Closed => return Err(CannotMove("it is closed")),
            State::Preparing
            | State::Handshake
            | State::Deciding
            | State::Open
            | State::Closing
            | State::Lingering => {}
        }
        if self.inflow.is_held(Hold::Busy) {
            return Err(CannotMove("its handler is at work"));
        }
        if self.inflow.is_held(Hold::Changing) {
            return Err(CannotMove("it changes to another protocol"));
        }
        let place =
            self.serve.place().ok_or(CannotMove("no listener of the slot's accepted it"))?;
        let transport = self.transport.borrow();
        let transport = transport.as_ref().ok_or(CannotMove("it has no socket"))?;
        let now = Instant::now();
        let mut driver = BytesMut::new();
        self.driver.borrow().save(self.limits(), &mut driver)?;
        let extra = self.extra.borrow();
        let extra = extra.as_deref();
        if extra.is_some_and(|extra| extra.forward.is_some() || !extra.kept.partners.is_empty()) {
            return Err(CannotMove("it is an end of a pipe"));
        }
        let data = extra.and_then(|extra| extra.kept.data.as_deref());
        let saved_data = data.map(|data| self.serve.handler.save_data(data).map(ByteBuf::from));
        if let Some(None) = saved_data {
            return Err(CannotMove("it has data of the application's"));
        }
        Ok(Record {
            number: self.id.number,
            listener: place,
            protocol: D::name().to_owned(),
            age_ms: self.table.age_ms(self.came_ms),
            counters: self.counters.get(),
            origin: self.origin.clone().into(),
            told: extra.and_then(|extra| extra.peer.clone()).map(Into::into),
            counted: self.life.is_counted(),
            state: self.life.state(),
            heard: self.life.heard(),
            told_of_end: self.life.was_told(),
            half_open: self.life.is_half_open(),
            reason: extra.and_then(|extra| extra.reason.clone()),
            due: self.due.borrow().left(now),
            paces: self.due.borrow().saved_paces(now),
            inflow: self.inflow.save(),
            outflow: self.outflow.save(),
            rates: extra.map(|extra| extra.saved_rates(now)).unwrap_or_default(),
            layers: transport.save()?,
            driver: driver.to_vec(),
            data: saved_data.flatten(),
        })
    }

    /// Returns whether it is open and nothing waits on it, in either direction.
    fn is_at_rest(&self) -> bool {
        let transport = self.transport.borrow();
        let layers = transport.as_ref().map_or(0, |it| it.pending() + it.undecoded());
        self.life.is_open()
            && self.inflow.is_at_rest()
            && self.outflow.end() == Ending::Open
            && self.outflow.queued() + layers == 0
    }

    /// Returns how many bytes are unread or unsent here.
    pub(super) fn in_flight(&self) -> usize {
        let transport = self.transport.borrow();
        let layers = transport.as_ref().map_or(0, |it| it.pending() + it.undecoded());
        self.inflow.unread_len() + self.outflow.queued() + layers
    }

    /// Returns what is another number, in all likelihood, when anything has happened to the connection that
    /// its record says; far cheaper than the record.
    pub(super) fn stamp(&self) -> u64 {
        let mut stamp = FxHasher::default();
        let Counters { messages_in, messages_out, bytes_in, bytes_out } = self.counters.get();
        (messages_in, messages_out, bytes_in, bytes_out).hash(&mut stamp);
        (self.life.state(), self.life.heard(), self.life.was_told()).hash(&mut stamp);
        (self.life.is_half_open(), self.life.is_counted()).hash(&mut stamp);
        self.inflow.stamp(&mut stamp);
        self.outflow.stamp(&mut stamp);
        self.due.borrow().stamp(&mut stamp);
        if let Some(transport) = self.transport.borrow().as_ref() {
            (transport.pending(), transport.undecoded()).hash(&mut stamp);
        }
        if let Some(extra) = self.extra.borrow().as_deref() {
            extra.stamp(&mut stamp);
        }
        stamp.finish()
    }
}

impl Record {
    /// Returns whether it is of a connection within this machine.
    pub(super) fn is_unix(&self) -> bool {
        matches!(self.origin, Origin::Unix(_))
    }

    /// Goes on with the connection over its socket, as one of `serve`'s.
    ///
    /// # Errors
    /// When a part of it is not understood, or the socket cannot be put into the poll set.
    pub(super) fn adopt<D: Driver>(
        self,
        table: &Table,
        stream: Stream,
        serve: &Rc<Serve<D>>,
    ) -> io::Result<Connection<D>> {
        let origin = Address::from(self.origin);
        let told = self.told.map(Address::from);
        let peer = told.as_ref().unwrap_or(&origin);
        let address = peer.ip().filter(|_| self.counted);
        let fresh = || serve.fresh_layers(&origin);
        let transport =
            Transport::restore(stream, self.layers, fresh).ok_or_else(not_understood)?;
        serve.population.enter(address);
        let facts = Facts {
            number: self.number,
            weight: serve.weight,
            came_ms: table.now_ms().saturating_sub(self.age_ms),
            counters: self.counters,
            admission: Admission::new(&serve.population, address),
            peer: origin,
        };
        let transit = Transit {
            inflow: Inflow::restore(&self.inflow),
            outflow: Outflow::restore(&self.outflow),
            ..Transit::new(facts, transport)
        };
        let entry = insert(table, serve, self.state, transit)?;
        if told.is_some() || self.reason.is_some() {
            entry.extra(|extra| (extra.peer, extra.reason) = (told, self.reason));
        }
        let understood = entry.driver.borrow_mut().restore(&self.driver, entry.limits());
        if let Err(error) = understood {
            entry.finish(CloseReason::Broken(error.to_string()));
            return Err(io::Error::other(error));
        }
        if let Some(saved) = self.data {
            match serve.handler.restore_data(&saved) {
                Ok(data) => entry.extra(|extra| extra.kept.keep(data)),
                Err(error) => {
                    entry.finish(CloseReason::Broken(error.to_string()));
                    return Err(io::Error::other(error));
                }
            }
        }
        entry.life.announce(self.heard);
        if self.half_open {
            entry.enter_handshake();
        }
        if let Some(extra) = entry.extra.borrow_mut().as_mut() {
            extra.restore_rates(self.rates, Instant::now());
        }
        if !self.state.is_before_the_end() {
            entry.life.owe_close();
        }
        if self.told_of_end {
            entry.life.take_close_due();
        }
        entry.due.borrow_mut().restore_paces(self.paces, Instant::now());
        for (deadline, left) in self.due {
            entry.set_due(deadline, left);
        }
        // Of one at rest the poll set says what its socket has; nothing else is to be done for it.
        if !entry.is_at_rest() {
            entry.touch();
            entry.read_again();
        }
        Ok(Connection::of(&entry))
    }
}

fn not_understood() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "its TLS is not understood here")
}
