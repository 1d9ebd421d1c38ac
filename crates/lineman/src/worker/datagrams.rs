//! Workers that serve datagrams: no connections, each message stands for itself.

use std::fmt;

use lineman_wire::Protocol;

use super::{Listens, Worker};
use crate::connection::Front;
use crate::connection::datagram::{self, Peer, Service};
use crate::http::Http;
use crate::service::{Socket, Traffic};
use crate::{Result, Table};

/// A worker's datagrams speak a protocol, and its handler gets their messages.
pub struct Datagrams<P: Protocol> {
    pub(super) make: Box<dyn Fn() -> P>,
    pub(super) handler: Option<datagram::OnMessage<P>>,
}

impl<P: Protocol> Worker<Datagrams<P>> {
    /// Runs for each message. An error is logged with its sender, and counted.
    #[must_use]
    pub fn on_message(
        mut self,
        handler: impl AsyncFn(Peer<P>, P::Inbound) -> Result + 'static,
    ) -> Self {
        self.kind.handler = Some(datagram::handler(handler));
        self
    }
}

impl<P: Protocol> Listens for Datagrams<P> {
    const TRAFFIC: Traffic = Traffic::Datagrams;

    fn listen(
        self,
        table: &Table,
        sockets: Vec<Socket>,
        _front: Front,
        _http: Option<Http>,
    ) -> Result {
        // A worker has one address.
        if let Some(Socket::Udp(socket)) = sockets.into_iter().next() {
            table.receive(socket, Service { make: self.make, handler: self.handler })?;
        }
        Ok(())
    }
}

impl<P: Protocol> fmt::Debug for Datagrams<P> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Datagrams").field("protocol", &P::name()).finish_non_exhaustive()
    }
}
