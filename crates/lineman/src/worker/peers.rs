//! Workers whose connections speak a protocol: handlers, and what only a WebSocket has.

use std::fmt;
use std::rc::Rc;

use bytes::Bytes;

use super::{Listens, Worker};
use crate::connection::{
    CloseReason, Connection, DataForm, Driver, Front, Handlers, Serve, WebSocket, boxed,
    boxed_with, messages, websocket,
};
use crate::http::{Http, WebService};
use crate::service::{Reload, Socket};
use crate::{Result, Table};

/// A worker's connections speak a protocol, and handlers get their messages.
pub struct Peers<D: Driver> {
    pub(super) make: Box<dyn Fn() -> D>,
    pub(super) handlers: Handlers<D>,
    /// What `make` is made of, where it makes a WebSocket.
    pub(super) websocket: websocket::Options,
}

impl<D: Driver> Worker<Peers<D>> {
    /// Runs when a connection is up, with its handshake done.
    ///
    /// An error is logged with its connection, counted, and closes it (1011); one that a full send queue gave
    /// it, of a peer that reads too slowly, is no fault of the handler (1013).
    #[must_use]
    pub fn on_connect(mut self, handler: impl AsyncFn(Connection<D>) -> Result + 'static) -> Self {
        self.kind.handlers.connect = Some(boxed(handler));
        self
    }

    /// Runs for each message, one at a time and in order on each connection.
    ///
    /// An error is logged with its connection, counted, and closes it (1011).
    #[must_use]
    pub fn on_message(
        mut self,
        handler: impl AsyncFn(Connection<D>, D::Inbound) -> Result + 'static,
    ) -> Self {
        self.kind.handlers.message = Some(messages(handler));
        self
    }

    /// Runs once for each connection, when it has ended, with the reason: for exactly those for which
    /// [`on_connect`](Self::on_connect) has run, if that failed or panicked as well.
    ///
    /// So not for a peer whose handshake was refused or never finished, whatever heard its request. One
    /// that changes its protocol ends for its new handlers alone. An error is logged and counted.
    #[must_use]
    pub fn on_close(
        mut self,
        handler: impl AsyncFn(Connection<D>, CloseReason) -> Result + 'static,
    ) -> Self {
        self.kind.handlers.close = Some(boxed_with(handler));
        self
    }

    /// Has a reload hand the connections over to the process that replaces this one, and runs there for each
    /// of them, before its next message: to keep again what the program keeps beside its connections.
    ///
    /// It runs for those for which [`on_connect`](Self::on_connect) has run in the process before; `on_connect`
    /// does not run again, and `on_close` follows when the connection ends. See
    /// [`hand_over_on_reload`](Worker::hand_over_on_reload) for what moves. An error is logged, counted, and closes the connection (1011).
    #[must_use]
    pub fn on_adopt(mut self, handler: impl AsyncFn(Connection<D>) -> Result + 'static) -> Self {
        self.kind.handlers.adopt = Some(boxed(handler));
        self.processes.set_reload(Reload::HandOver);
        self
    }

    /// Lets what handlers [keep with a connection](Connection::set_data) move with it when a reload hands the
    /// connections over, if it is a `T`; a connection with data of another type stays behind.
    ///
    /// It is written with the names of its fields: what a build does not know is left out, and what a field
    /// with `#[serde(default)]` is missing has its default, so fields can come and go. Whatever else changes
    /// needs another `version`; then the connections that have data stay behind and are drained, in that one reload.
    ///
    /// ```no_run
    /// use lineman::prelude::*;
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Serialize, Deserialize)]
    /// struct Seen {
    ///     lines: u64,
    /// }
    ///
    /// fn main() -> Result {
    ///     Worker::text("0.0.0.0:1234")
    ///         .move_data::<Seen>(1)
    ///         .on_connect(async |connection| {
    ///             connection.set_data(Seen { lines: 0 });
    ///             Ok(())
    ///         })
    ///         .run()
    /// }
    /// ```
    #[must_use]
    pub fn move_data<T>(mut self, version: u32) -> Self
    where
        T: serde::Serialize + serde::de::DeserializeOwned + 'static,
    {
        self.kind.handlers.data = Some(DataForm::of::<T>(version));
        self.processes.set_reload(Reload::HandOver);
        self
    }

    /// Runs when a connection's send queue has reached its bound: sends fail until it has drained.
    #[must_use]
    pub fn on_full(mut self, handler: impl Fn(&Connection<D>) + 'static) -> Self {
        self.kind.handlers.full = Some(Box::new(handler));
        self
    }

    /// Runs when a send queue that was full is empty again.
    #[must_use]
    pub fn on_drain(mut self, handler: impl Fn(&Connection<D>) + 'static) -> Self {
        self.kind.handlers.drain = Some(Box::new(handler));
        self
    }
}

impl<D: Driver> Worker<Peers<D>> {
    /// Runs when the peer asks to open, with what [`Step::Opening`](crate::connection::Step::Opening)
    /// brought, before the driver answers. For a WebSocket it is
    /// [`Worker::on_websocket_connect`].
    ///
    /// An error refuses: [`Driver::refuse`] makes an answer of it; what it does not know is logged,
    /// counted, and closes the connection. Neither `on_connect` nor `on_close` follows a refusal.
    #[must_use]
    pub fn on_open(
        mut self,
        handler: impl AsyncFn(Connection<D>, D::Opening) -> Result + 'static,
    ) -> Self {
        self.kind.handlers.open = Some(boxed_with(handler));
        self
    }
}

impl Worker<Peers<WebSocket>> {
    /// Runs when the upgrade was asked for, before it is answered.
    ///
    /// [`Connection::accept_with`] adds to the answer. A [`Refusal`](websocket::Refusal) refuses with
    /// its status, headers and body, any other error with 500; neither `on_connect` nor `on_close` runs
    /// then.
    #[must_use]
    pub fn on_websocket_connect(
        mut self,
        handler: impl AsyncFn(Connection<WebSocket>, websocket::Request) -> Result + 'static,
    ) -> Self {
        self.kind.handlers.open = Some(boxed_with(handler));
        self
    }

    /// Runs for each ping; its answer is on its way already, unless 16 KiB of pongs wait to be sent.
    #[must_use]
    pub fn on_ping(mut self, handler: impl Fn(&Connection<WebSocket>, &Bytes) + 'static) -> Self {
        self.kind.handlers.ping = Some(Box::new(handler));
        self
    }

    /// Runs for each pong: the answer to [`Connection::ping`], or an unsolicited one.
    #[must_use]
    pub fn on_pong(mut self, handler: impl Fn(&Connection<WebSocket>, &Bytes) + 'static) -> Self {
        self.kind.handlers.pong = Some(Box::new(handler));
        self
    }

    /// Sets the subprotocols: [`Options::subprotocols`](websocket::Options::subprotocols).
    #[must_use]
    pub fn subprotocols<S: Into<String>>(self, names: impl IntoIterator<Item = S>) -> Self {
        self.with_options(|options| options.subprotocols(names))
    }

    /// Sets the pages that may connect: [`Options::origins`](websocket::Options::origins).
    #[must_use]
    pub fn origins(self, origins: websocket::Origins) -> Self {
        self.with_options(|options| options.origins(origins))
    }

    /// Compresses messages (RFC 7692): [`Options::compression`](websocket::Options::compression).
    #[must_use]
    pub fn compression(self, deflate: websocket::Deflate) -> Self {
        self.with_options(|options| options.compression(deflate))
    }

    /// Adds a header to every answer: [`Options::header`](websocket::Options::header).
    #[must_use]
    pub fn header(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.with_options(|options| options.header(name, value))
    }

    /// Sets which rules of RFC 6455 clients may break: [`Options::leniency`](websocket::Options::leniency).
    #[must_use]
    pub fn leniency(self, leniency: websocket::Leniency) -> Self {
        self.with_options(|options| options.leniency(leniency))
    }

    fn with_options(
        mut self,
        change: impl FnOnce(websocket::Options) -> websocket::Options,
    ) -> Self {
        let options = change(std::mem::take(&mut self.kind.websocket));
        self.kind.websocket = options.clone();
        self.kind.make = Box::new(WebSocket::server_with(options));
        self
    }

    /// Serves requests on the same port that are no upgrade: the page that opens the WebSocket.
    ///
    /// Not called `http`, which would make [`Worker::http`] ambiguous.
    #[must_use]
    pub fn with_http(mut self, service: impl WebService) -> Self {
        self.http = Some(Http::new(service));
        self
    }
}

impl<D: Driver> Peers<D> {
    pub(super) fn into_serve(self) -> Serve<D> {
        Serve::peers(self.make, Rc::new(self.handlers))
    }
}

impl<D: Driver> Listens for Peers<D> {
    fn listen(
        self,
        table: &Table,
        sockets: Vec<Socket>,
        front: Front,
        http: Option<Http>,
    ) -> Result {
        let serve = self.into_serve().front(front).http(http);
        // A worker has one address.
        if let Some(socket) = sockets.into_iter().next() {
            table.listen(socket, serve)?;
        }
        Ok(())
    }
}

impl<D: Driver> fmt::Debug for Peers<D> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Peers").field("protocol", &D::name()).finish_non_exhaustive()
    }
}
