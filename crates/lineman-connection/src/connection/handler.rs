//! What happens on a connection, as its service is told: the interface between the table and services.

use std::any::Any;
use std::fmt;

use bytes::Bytes;

use super::{CloseReason, Connection, Driver};

/// Something that happened to one connection. Events of one connection come in order, one at a time.
pub enum Event<D: Driver> {
    /// A connection without a handshake is up.
    Connect,
    /// The peer asks to open; when the handler is done with this event the answer goes out.
    Open(D::Opening),
    /// A connection with a handshake is open.
    Opened,
    /// It was open in the process before this one, and goes on here; its first event in this process, for
    /// handlers that [ask for it](Handler::hears_adopted).
    Adopted,
    /// A message arrived.
    Message(D::Inbound),
    /// The connection is gone; the last event.
    Close(CloseReason),
}

impl<D: Driver> fmt::Debug for Event<D> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => formatter.write_str("Connect"),
            Self::Open(_) => formatter.write_str("Open(..)"),
            Self::Opened => formatter.write_str("Opened"),
            Self::Adopted => formatter.write_str("Adopted"),
            Self::Message(_) => formatter.write_str("Message(..)"),
            Self::Close(reason) => formatter.debug_tuple("Close").field(reason).finish(),
        }
    }
}

/// How a handler left an event.
#[derive(Debug)]
pub enum Turn {
    /// Dealt with; an error closes the connection with 1011, a full send queue with 1013.
    Done(crate::Result),
    /// It goes on in a task, which calls [`Connection::finished`]; until then no event follows.
    Busy,
}

/// What a service does with the events of a listener's connections.
///
/// Called on the worker's thread, with nothing of the table borrowed.
pub trait Handler<D: Driver>: 'static {
    /// Deals with one event.
    fn on_event(&self, connection: &Connection<D>, event: Event<D>) -> Turn;

    /// A connection of the process before is this one's if the handover comes to its commit: nothing may be
    /// done with it before. Called once for each, before the service's own state is restored.
    fn on_adopt(&self, connection: &Connection<D>) {
        let _ = connection;
    }

    /// Returns whether a connection may move behind the commit, by itself: one that could not move with the
    /// others, as its handler was at work or its TLS handshake under way. Not for a service that keeps something
    /// beside its connections.
    fn moves_late(&self) -> bool {
        false
    }

    /// Writes down what the application keeps with a connection, for the process that takes over; `None` if it
    /// cannot: such a connection stays behind. The connection itself is not used meanwhile.
    fn save_data(&self, data: &dyn Any) -> Option<Vec<u8>> {
        let _ = data;
        None
    }

    /// Goes on from what [`Handler::save_data`] returned in a process whose handlers have the same
    /// [`Handler::data_version`].
    ///
    /// # Errors
    /// When it is not understood: nothing is handed over.
    fn restore_data(&self, saved: &[u8]) -> crate::Result<Box<dyn Any>> {
        let _ = saved;
        Err("the handlers here keep no data with a connection".into())
    }

    /// Returns which form its data has when it is written down: a connection that has data stays behind where the
    /// successor has another one.
    fn data_version(&self) -> u32 {
        0
    }

    /// Returns whether it is to hear [`Event::Adopted`].
    fn hears_adopted(&self) -> bool {
        false
    }

    /// The send queue reached its bound: sends fail until it has drained.
    fn on_full(&self, connection: &Connection<D>) {
        let _ = connection;
    }

    /// The peer pinged; the answer is on its way.
    fn on_ping(&self, connection: &Connection<D>, payload: &Bytes) {
        let _ = (connection, payload);
    }

    /// The peer sent a pong: the answer to a ping of ours, or an unsolicited one.
    fn on_pong(&self, connection: &Connection<D>, payload: &Bytes) {
        let _ = (connection, payload);
    }

    /// The send queue that was full is empty again.
    fn on_drain(&self, connection: &Connection<D>) {
        let _ = connection;
    }
}
