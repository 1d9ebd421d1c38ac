//! What a listener does with a connection: one that arrives is let in by its bounds, and one that another
//! process has accepted goes on.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use super::entry::{AnyEntry, Weight};
use super::life::State;
use super::listener::{Serve, insert};
use super::record::Record;
use super::stream::Stream;
use super::table::Table;
use super::transit::Transit;
use super::transport::Transport;
use super::{Address, Admission, Driver};

/// What a listener does with an arrival, and with a connection that another process has accepted.
pub(super) trait Accept {
    fn accept(&self, table: &Table, stream: Stream, peer: Address) -> io::Result<()>;

    /// Goes on with a connection that was written down.
    fn adopt(&self, table: &Table, stream: Stream, record: Record) -> io::Result<Rc<dyn AnyEntry>>;

    /// Returns the name of what is spoken.
    fn protocol(&self) -> &'static str;

    /// Returns which form the application's data of a connection has.
    fn data_version(&self) -> u32;
}

impl<D: Driver> Accept for Rc<Serve<D>> {
    fn accept(&self, table: &Table, stream: Stream, peer: Address) -> io::Result<()> {
        // One that can be told does not cost much until it is.
        let costs = !D::HANDSHAKE || self.front.tls.is_some();
        if costs && self.weight == Weight::Peer && table.refuses_new() {
            return Ok(());
        }
        let proxies = self.front.proxies.as_ref();
        let counts = proxies.is_none_or(|proxies| !proxies.will_tell(&peer));
        let address = peer.ip().filter(|_| counts);
        if let Err(limit) = self.population.admit(address) {
            tracing::debug!(%peer, %limit, "connection refused");
            table.add(|counters| counters.limited(limit), 1);
            return Ok(());
        }
        let admission = Admission::new(&self.population, address);
        let (prelude, session) = self.fresh_layers(&peer);
        let transport = Transport::new(stream, prelude, session);
        let transit = Transit::new(table.facts(peer, admission, self.weight), transport);
        insert(table, self, State::Preparing, transit)?.begin();
        Ok(())
    }

    fn adopt(&self, table: &Table, stream: Stream, record: Record) -> io::Result<Rc<dyn AnyEntry>> {
        let connection = record.adopt(table, stream, self)?;
        Ok(Rc::clone(connection.entry()) as Rc<dyn AnyEntry>)
    }

    fn protocol(&self) -> &'static str {
        D::name()
    }

    fn data_version(&self) -> u32 {
        self.handler.data_version()
    }
}

impl<D: Driver> Accept for RefCell<Rc<Serve<D>>> {
    fn accept(&self, table: &Table, stream: Stream, peer: Address) -> io::Result<()> {
        let serve = Rc::clone(&self.borrow());
        serve.accept(table, stream, peer)
    }

    fn adopt(&self, table: &Table, stream: Stream, record: Record) -> io::Result<Rc<dyn AnyEntry>> {
        let serve = Rc::clone(&self.borrow());
        Accept::adopt(&serve, table, stream, record)
    }

    fn protocol(&self) -> &'static str {
        D::name()
    }

    fn data_version(&self) -> u32 {
        self.borrow().handler.data_version()
    }
}
