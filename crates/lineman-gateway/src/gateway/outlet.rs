//! What the gateway's logic needs of a connection, so that it can be tested without a socket.

use std::any::Any;
use std::net::SocketAddr;

use bytes::Bytes;
use lineman::connection::{CloseReason, Connection, Driver, SendError, WebSocket};
use lineman::websocket::Prepared;

/// What clients understand of a packet's body: made once, however many clients get it.
#[derive(Debug)]
pub enum Form {
    /// Bytes as they go out.
    Wire(Bytes),
    /// A WebSocket message: deflated at most once for all that negotiated the same.
    Message(Prepared),
}

impl Form {
    /// Returns the bytes for a client without compression.
    pub(super) fn plain(&self) -> Bytes {
        match self {
            Self::Wire(wire) => wire.clone(),
            Self::Message(message) => message.plain(),
        }
    }
}

/// A connection as the gateway's logic sees it: bytes in their wire form go out, and it ends.
pub(super) trait Outlet: 'static {
    /// The connection's number, unique in this process.
    fn id(&self) -> u64;
    fn peer(&self) -> SocketAddr;
    fn send(&self, wire: Bytes) -> Result<(), SendError>;
    /// Sends in the form that the connection has negotiated.
    fn deliver(&self, form: &Form) -> Result<(), SendError> {
        self.send(form.plain())
    }

    fn close(&self, reason: CloseReason);
    fn abort(&self);
    fn pause(&self);
    fn resume(&self);
}

impl<D: Driver> Outlet for Connection<D> {
    fn id(&self) -> u64 {
        self.id()
    }

    /// Packets have no place for a Unix socket: its clients show as `0.0.0.0:0`.
    fn peer(&self) -> SocketAddr {
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        self.peer_addr().internet().unwrap_or(nowhere)
    }

    fn send(&self, wire: Bytes) -> Result<(), SendError> {
        self.send_encoded(wire)
    }

    fn deliver(&self, form: &Form) -> Result<(), SendError> {
        let websocket = (self as &dyn Any).downcast_ref::<Connection<WebSocket>>();
        match (form, websocket) {
            (Form::Message(message), Some(websocket)) => websocket.send_prepared(message),
            (form, _) => self.send_encoded(form.plain()),
        }
    }

    fn close(&self, reason: CloseReason) {
        self.close(reason);
    }

    fn abort(&self) {
        self.abort();
    }

    fn pause(&self) {
        self.pause();
    }

    fn resume(&self) {
        self.resume();
    }
}
