//! Connections that a worker makes itself: to a feed, another server, a broker.
//!
//! A builder says where to and what for, a task of its own makes one attempt after the other
//! (`attempts`), and the connection lives in the table as those that were accepted do. Nothing is
//! sent before a connection is open, and nothing is kept for the next one.

mod attempts;
mod dial;
mod handle;
mod place;
mod proxy;
mod reconnect;
mod url;
#[cfg(test)]
mod tests;

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use lineman_wire::Protocol;
use lineman_wire::framed::Framed;
use lineman_wire::text::Text;

use crate::connection::{
    CloseReason, Connection, Driver, Handlers, Limits, PeerTimeout, Serve, WebSocket, boxed,
    boxed_with, messages,
};
use crate::limit::zero_is_none;
use crate::tls::{ClientTls, Connector};
use crate::websocket::{ClientRequest, Deflate};
use crate::{Error, Result, Table};
use attempts::Attempts;
use handle::{Observer, Shared};
use place::Place;
use url::Url;

#[cfg(test)]
pub(crate) use dial::tests::black_hole;
pub use handle::Handle;
pub use proxy::Proxy;
pub use reconnect::Reconnect;

/// How long an attempt may take by default: names that resolve slowly, and a lost packet or two.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// How long a machine may leave unanswered what was sent by default; as what was sent before an end.
const UNANSWERED_LIMIT: Duration = Duration::from_mins(1);

/// An outgoing connection to be made, with the handlers a worker has.
///
/// Call [`Outgoing::connect`] in a worker: in `on_start` or a handler. The connection ends with the
/// process; a drain does not wait for it.
///
/// ```no_run
/// # use lineman_connection::Result;
/// # use lineman_connection::outgoing::{Outgoing, Reconnect};
/// # fn on_start() -> Result {
/// // In a worker's `on_start`, or later.
/// Outgoing::text("example.org:1234")
///     .reconnect(Reconnect::default())
///     .on_connect(async |connection| connection.send("hello"))
///     .on_message(async |_connection, line| Ok(println!("{line}")))
///     .connect()?;
/// # Ok(())
/// # }
/// ```
pub struct Outgoing<D: Driver = Text> {
    address: String,
    place: Result<Place, &'static str>,
    make: Result<Box<dyn Fn() -> D>, String>,
    /// What `make` is made of, where it makes a WebSocket.
    request: Option<ClientRequest>,
    handlers: Handlers<D>,
    limits: Limits,
    proxy: Option<Proxy>,
    tls: Option<ClientTls>,
    connect_limit: Duration,
    unanswered_limit: Duration,
    reconnect: Option<Reconnect>,
    random: Box<dyn Fn() -> u64>,
}

impl Outgoing {
    /// Speaks WebSocket (RFC 6455) with the server of a URL, `ws://host/path?query` or `wss://…`.
    pub fn websocket(url: impl Into<String>) -> Outgoing<WebSocket> {
        let address = url.into();
        match Url::parse(&address) {
            Ok(url) => {
                let request = ClientRequest::new(url.host, url.target);
                let tls = url.is_secure.then(ClientTls::new);
                let outgoing = Outgoing::new(address, Ok(url.place), WebSocket::server);
                Outgoing { tls, ..outgoing }.with_request(request)
            }
            Err(problem) => Outgoing::new(address, Err(problem), WebSocket::server),
        }
    }

    /// Speaks lines of text with `host:port` or `unix:/path`.
    pub fn text(address: impl Into<String>) -> Self {
        Self::tcp(address, Text::default)
    }

    /// Speaks frames that begin with their length with `host:port` or `unix:/path`.
    pub fn framed(address: impl Into<String>) -> Outgoing<Framed> {
        Self::tcp(address, Framed::default)
    }

    /// Speaks a protocol of your own with `host:port` or `unix:/path`; `make` returns the protocol
    /// state of a new connection.
    pub fn tcp<P: Protocol>(
        address: impl Into<String>,
        make: impl Fn() -> P + 'static,
    ) -> Outgoing<P> {
        let address = address.into();
        let place = Place::parse(&address);
        Outgoing::new(address, place, make)
    }
}

impl Outgoing<WebSocket> {
    /// Adds a header to the request, such as `Origin`, `Cookie` or `Authorization`.
    #[must_use]
    pub fn header(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.change_request(|request| request.header(name, value))
    }

    /// Sets the subprotocols to offer, the preferred one first. Default: none.
    #[must_use]
    pub fn subprotocols<S: Into<String>>(self, names: impl IntoIterator<Item = S>) -> Self {
        self.change_request(|request| request.subprotocols(names))
    }

    /// Offers to compress messages (RFC 7692). By default they are not.
    #[must_use]
    pub fn compression(self, deflate: Deflate) -> Self {
        self.change_request(|request| request.compression(deflate))
    }

    fn change_request(mut self, change: impl FnOnce(ClientRequest) -> ClientRequest) -> Self {
        match self.request.take() {
            Some(request) => self.with_request(change(request)),
            None => self,
        }
    }

    fn with_request(mut self, request: ClientRequest) -> Self {
        self.make = match WebSocket::client(request.clone()) {
            Ok(make) => Ok(Box::new(make)),
            Err(error) => Err(error.to_string()),
        };
        self.request = Some(request);
        self
    }
}

impl<D: Driver> Outgoing<D> {
    fn new(
        address: String,
        place: Result<Place, &'static str>,
        make: impl Fn() -> D + 'static,
    ) -> Self {
        Self {
            address,
            place,
            make: Ok(Box::new(make)),
            request: None,
            handlers: Handlers::default(),
            limits: Limits::default(),
            proxy: None,
            tls: None,
            connect_limit: CONNECT_LIMIT,
            unanswered_limit: UNANSWERED_LIMIT,
            reconnect: None,
            random: Box::new(random),
        }
    }

    /// Goes through a proxy. By default it connects straight.
    #[must_use]
    pub fn proxy(mut self, proxy: Proxy) -> Self {
        self.proxy = Some(proxy);
        self
    }

    /// Speaks TLS, beneath the protocol and through the proxy. By default only `wss://` does.
    #[must_use]
    pub fn tls(mut self, tls: ClientTls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Sets how long an attempt may take in all: resolving, connecting, proxy, TLS and handshake.
    /// Default 10 s; zero is no limit.
    #[must_use]
    pub fn connect_limit(mut self, limit: Duration) -> Self {
        self.connect_limit = zero_is_none(limit);
        self
    }

    /// Sets how long the peer's machine may leave unanswered what was sent, or take nothing of what waits, before
    /// the connection breaks ([`CloseReason::Broken`]); on one that is silent it is asked meanwhile, so a machine
    /// without power is noticed as well. Default 60 s; zero is the system's way, about a quarter of an hour,
    /// and for ever on a silent one. Over a Unix socket it means nothing.
    #[must_use]
    pub fn unanswered_limit(mut self, limit: Duration) -> Self {
        self.unanswered_limit = limit;
        self
    }

    /// Connects again whenever the connection has ended or failed, until the handle is closed.
    /// By default there is one attempt.
    #[must_use]
    pub fn reconnect(mut self, reconnect: Reconnect) -> Self {
        self.reconnect = Some(reconnect);
        self
    }

    /// Runs when a connection is up, with its handshake done.
    ///
    /// An error is logged with its connection, counted, and closes it.
    #[must_use]
    pub fn on_connect(mut self, handler: impl AsyncFn(Connection<D>) -> Result + 'static) -> Self {
        self.handlers.connect = Some(boxed(handler));
        self
    }

    /// Runs for each message, one at a time and in order on each connection.
    ///
    /// An error is logged with its connection, counted, and closes it.
    #[must_use]
    pub fn on_message(
        mut self,
        handler: impl AsyncFn(Connection<D>, D::Inbound) -> Result + 'static,
    ) -> Self {
        self.handlers.message = Some(messages(handler));
        self
    }

    /// Runs once for each attempt, when it has failed ([`CloseReason::ConnectFailed`], which names
    /// the address and what was wrong) or its connection has ended. An error is logged and counted.
    #[must_use]
    pub fn on_close(
        mut self,
        handler: impl AsyncFn(Connection<D>, CloseReason) -> Result + 'static,
    ) -> Self {
        self.handlers.close = Some(boxed_with(handler));
        self
    }

    /// Runs when a connection's send queue has reached its bound: sends fail until it has drained.
    #[must_use]
    pub fn on_full(mut self, handler: impl Fn(&Connection<D>) + 'static) -> Self {
        self.handlers.full = Some(Box::new(handler));
        self
    }

    /// Runs when a send queue that was full is empty again.
    #[must_use]
    pub fn on_drain(mut self, handler: impl Fn(&Connection<D>) + 'static) -> Self {
        self.handlers.drain = Some(Box::new(handler));
        self
    }

    /// Sets the bounds of each connection. The time for a handshake is
    /// [`Outgoing::connect_limit`] here. Default: [`Limits::default`].
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Begins to connect; what comes of it is told to the handlers.
    ///
    /// # Errors
    /// [`Error::Outgoing`] when the address or the proxy cannot be used, or there is no worker here;
    /// [`Error::Certificate`] when a file of TLS cannot be used.
    pub fn connect(self) -> Result<Handle<D>, Error> {
        let address = self.address.clone();
        let failed = |problem: String| Error::Outgoing { address: address.clone(), problem };
        let place = self.place.map_err(|problem| failed(problem.to_owned()))?;
        if let Some(proxy) = &self.proxy {
            proxy.place().map_err(failed)?;
            proxy.dialogue(&place).map_err(failed)?;
        }
        let make = self.make.map_err(failed)?;
        let table = Table::current()
            .ok_or_else(|| failed("connect in a worker: in on_start or a handler".to_owned()))?;
        let tls = self.tls.as_ref().map(Connector::new).transpose()?;
        let shared = Rc::new(Shared::new(place));
        let handlers = self.handlers;
        let observer = Observer { shared: Rc::clone(&shared), handlers };
        // The attempt's own limit is the one that counts; the table's must not come before it.
        let handshake_time = self.connect_limit.saturating_mul(2);
        let limits = Limits { handshake_time, ..self.limits };
        let peer_timeout = Some(self.unanswered_limit).filter(|limit| !limit.is_zero());
        let serve = Serve::outgoing(make, Rc::new(observer))
            .limits(limits)
            .peer_timeout(peer_timeout.map(PeerTimeout::Break));
        let attempts = Attempts {
            table,
            serve: Rc::new(serve),
            shared: Rc::clone(&shared),
            proxy: self.proxy,
            tls,
            limit: self.connect_limit,
            reconnect: self.reconnect,
            random: self.random,
        };
        tokio::task::spawn_local(attempts.run());
        Ok(Handle { shared })
    }
}

/// Without randomness from the system all clients come back at once, which is better than never.
fn random() -> u64 {
    getrandom::u64().unwrap_or(u64::MAX)
}

impl<D: Driver> fmt::Debug for Outgoing<D> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Outgoing")
            .field("address", &self.address)
            .field("protocol", &D::name())
            .field("proxy", &self.proxy)
            .finish_non_exhaustive()
    }
}
