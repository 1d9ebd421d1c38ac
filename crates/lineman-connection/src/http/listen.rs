//! Where connections become HTTP: at a listener of its own, with their first byte, or at a WebSocket's
//! with a request that asks for none; and where requests for a WebSocket bring them back to.

use std::convert::Infallible;
use std::io;
use std::rc::Rc;

use bytes::BytesMut;
use lineman_wire::websocket::HandshakeError;

use super::Http;
use super::watch::Spoken;
use crate::connection::websocket::{note_hello, without_tls};
use crate::connection::{
    Adopt, CannotMove, CloseReason, Connection, Driver, Event, Fallback, Farewell, Front, Handler,
    Limits, Serve, Step, StreamListener, Table, Transit, Transport, Turn, WebSocket,
};
use crate::{BoxError, Error};

/// The driver of an HTTP listener: it decodes nothing. Until the first byte a connection has its
/// deadline, its TLS and its limits in the table, and costs no task.
struct HttpOnly;

impl Driver for HttpOnly {
    type Opening = Infallible;
    type Inbound = Infallible;
    type Outbound = Infallible;

    const HANDSHAKE: bool = true;

    fn name() -> &'static str {
        "http"
    }

    fn decode(
        &mut self,
        input: &mut BytesMut,
        _output: &mut BytesMut,
        _limits: &Limits,
    ) -> Result<Step<Self>, CloseReason> {
        match input.first() {
            None => Ok(Step::Wait),
            // A record of TLS's handshake.
            Some(0x16) => {
                note_hello();
                let problem = HandshakeError::Tls.to_string();
                Err(CloseReason::Protocol { code: HandshakeError::Tls.status(), problem })
            }
            Some(_) => Ok(Step::Foreign),
        }
    }

    fn without_tls(first: u8) -> &'static str {
        without_tls(first)
    }

    fn farewell(&mut self, reason: &CloseReason, output: &mut BytesMut) -> Farewell {
        if let CloseReason::Protocol { .. } = reason {
            output.extend_from_slice(&HandshakeError::Tls.response());
        }
        Farewell::Said
    }

    fn save(&self, _limits: &Limits, _output: &mut BytesMut) -> Result<(), CannotMove> {
        Ok(())
    }

    fn restore(&mut self, _saved: &[u8], _limits: &Limits) -> Result<(), BoxError> {
        Ok(())
    }

    fn encode(&mut self, message: Infallible, _output: &mut BytesMut) -> Result<(), BoxError> {
        match message {}
    }
}

impl Handler<HttpOnly> for HttpOnly {
    fn on_event(&self, _connection: &Connection<HttpOnly>, _event: Event<HttpOnly>) -> Turn {
        Turn::Done(Ok(()))
    }

    fn moves_late(&self) -> bool {
        true
    }
}

/// Where the connections of a listener go that begin with HTTP.
struct ToHttp {
    http: Http,
    front: Rc<Front>,
    /// Whether requests for a WebSocket that no path takes go back to the listener.
    returns: bool,
}

impl Fallback for ToHttp {
    fn take(&self, table: &Table, transit: Transit, origin: Rc<dyn Adopt>) {
        let tls = transit.transport.as_ref().and_then(Transport::tls);
        let chosen = tls.and_then(|info| info.alpn());
        let spoken = if chosen == Some(b"h2") { Spoken::Http2 } else { Spoken::Http1 };
        let back = self.returns.then_some(origin);
        self.http.take(table, transit, spoken, Rc::clone(&self.front), back);
    }
}

impl<D: Driver> Serve<D> {
    /// Sets what serves requests that are plain HTTP; those that ask for a WebSocket come back. Without
    /// it they are refused with 426. Call it after [`Serve::front`].
    #[must_use]
    pub fn http(self, http: Option<Http>) -> Self {
        let Some(http) = http else { return self };
        let front = Rc::clone(self.shared_front());
        self.fallback(Rc::new(ToHttp { http, front, returns: true }))
    }
}

impl Table {
    /// Hands every connection of a listener to the HTTP service, once its first byte is there;
    /// requests for a WebSocket on one of these paths come back, and keep their place.
    ///
    /// # Errors
    /// As [`Table::listen`].
    #[doc(hidden)]
    pub fn listen_http(
        &self,
        listener: impl TryInto<StreamListener, Error = io::Error>,
        http: Http,
        front: Front,
        websockets: Vec<(String, Serve<WebSocket>)>,
    ) -> Result<(), Error> {
        let header_time = http.header_time();
        let served = Serve::peers(|| HttpOnly, Rc::new(HttpOnly)).front(front);
        let on_path =
            |(path, peers): (String, Serve<WebSocket>)| (path, Rc::new(peers.beside(&served)));
        let websockets: Vec<_> = websockets.into_iter().map(on_path).collect();
        let adopts = websockets.iter().map(|(path, peers)| {
            (path.clone(), Rc::<Serve<WebSocket>>::clone(peers) as Rc<dyn Adopt>)
        });
        let http = http.websockets(adopts.collect());
        let front = Rc::clone(served.shared_front());
        let to_http = Rc::new(ToHttp { http, front, returns: false });
        let served = served.handshake_time(header_time).alpn(&["h2", "http/1.1"]).fallback(to_http);
        let listener = listener
            .try_into()
            .map_err(|source| Error::Os { action: "watch a listener", source })?;
        self.listen_beside(listener, served, websockets)
    }
}
