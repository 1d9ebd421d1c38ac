//! What handlers can do with a WebSocket and with no other connection.

use bytes::BytesMut;
use lineman_wire::websocket::{CloseFrame, Prepared, encode_ping, encode_pong};

use super::{Accept, WebSocket};
use crate::Result;
use crate::connection::life::State;
use crate::connection::{CloseReason, Connection, SendError};

impl Connection<WebSocket> {
    /// Adds to the answer of a handshake: a subprotocol, headers. For `on_websocket_connect`, before
    /// it returns; of several calls the last one counts.
    ///
    /// # Errors
    /// Fails if the client did not offer the subprotocol or a header cannot be sent, or if the
    /// connection is not in its handshake.
    pub fn accept_with(&self, accept: Accept) -> Result {
        if self.entry().life.state() != State::Deciding {
            return Err(SendError::Closed.into());
        }
        self.entry().driver.borrow_mut().accept_with(accept)
    }

    /// Returns the subprotocol that was negotiated.
    pub fn subprotocol(&self) -> Option<String> {
        self.entry().driver.borrow().subprotocol().map(str::to_owned)
    }

    /// Returns the close frame that the peer sent, as an end of its own or as the answer to ours; for
    /// `on_close`. `None` if none came, or one without a code.
    pub fn peer_close(&self) -> Option<CloseFrame> {
        self.entry().driver.borrow().peer_close().cloned()
    }

    /// Queues a ping (RFC 6455, 5.5.2); `on_pong` hears the answer. The payload has at most 125 bytes.
    ///
    /// # Errors
    /// [`SendError`] when it was not queued; the protocol's own error for a longer payload.
    pub fn ping(&self, payload: impl AsRef<[u8]>) -> Result {
        self.control(|driver, output| Ok(encode_ping(payload.as_ref(), driver.mask(), output)?))
    }

    /// Queues an unsolicited pong (RFC 6455, 5.5.3); pings are answered without it.
    ///
    /// # Errors
    /// As [`Connection::ping`].
    pub fn pong(&self, payload: impl AsRef<[u8]>) -> Result {
        self.control(|driver, output| Ok(encode_pong(payload.as_ref(), driver.mask(), output)?))
    }

    fn control(&self, write: impl FnOnce(&WebSocket, &mut BytesMut) -> Result) -> Result {
        self.may_send()?;
        write(&self.entry().driver.borrow(), self.entry().outflow.queue.borrow_mut().tail())?;
        self.entry().touch();
        Ok(())
    }

    /// Sends what is queued, then closes with a code and a reason of the application's: 1000, or 3000
    /// to 4999. A code that must not be sent (RFC 6455, 7.4) is left out with its reason, and a reason
    /// of more than 123 bytes is cut.
    pub fn close_with_code(&self, code: u16, reason: impl Into<String>) {
        self.close(CloseReason::Chosen { code, reason: reason.into() });
    }

    /// Queues a message that many get: encoded once, and deflated once for all that negotiated the
    /// same.
    ///
    /// # Errors
    /// [`SendError`] when it was not queued.
    pub fn send_prepared(&self, message: &Prepared) -> Result<(), SendError> {
        self.may_send()?;
        let frame = self.entry().driver.borrow_mut().encode_prepared(message);
        self.send_encoded(frame)
    }
}
