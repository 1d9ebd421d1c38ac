//! A connection that exists before its socket does: an outgoing one, while its name is resolved and
//! its addresses are tried. `outgoing` dials, and attaches what it got.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

use super::entry::State;
use super::listener::{Serve, entry};
use super::stream::Stream;
use super::table::Table;
use super::transport::{Prelude, Transport};
use super::{Address, CloseReason, Connection, Driver};
use crate::tls::Session;

impl Table {
    /// Reserves a place for an outgoing connection. Its last event is `Close`, whatever comes of it;
    /// until it is attached its peer is `0.0.0.0:0`.
    pub(crate) fn reserve<D: Driver>(&self, serve: &Rc<Serve<D>>) -> io::Result<Connection<D>> {
        if let Some(period) = serve.front.limits.heartbeat {
            self.beat_every(period);
        }
        let nobody = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into();
        let entry = self.insert(serve.weight, |key, _registry| {
            Ok(Rc::new(entry(self, key, serve, State::Connecting, None, nobody)))
        })?;
        // It has no address yet that it could count for.
        entry.flags.counted.set(false);
        serve.population.enter(None);
        // Who connects knows of it before any event, and has to hear that it failed.
        entry.flags.announced.set(true);
        Ok(Connection::of(&entry))
    }
}

impl<D: Driver> Connection<D> {
    /// Gives a reserved connection its socket, and begins with `prelude`, TLS or the protocol. One that was
    /// closed meanwhile drops the socket.
    pub(crate) fn attach(
        &self,
        mut stream: Stream,
        peer: Address,
        prelude: Option<Box<dyn Prelude>>,
        tls: Option<Session>,
    ) -> io::Result<()> {
        let entry = self.entry();
        if entry.state.get() != State::Connecting {
            return Ok(());
        }
        entry.table.watch(entry.key, &mut stream)?;
        entry.transport.replace(Some(Transport::new(stream, prelude, tls)));
        entry.extra(|extra| extra.peer = Some(peer));
        entry.begin();
        Ok(())
    }

    /// Drops the connection now, for this reason.
    pub(crate) fn fail(&self, reason: CloseReason) {
        self.entry().finish(reason);
    }
}
