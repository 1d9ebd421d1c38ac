//! How the table drives a protocol: a [`Protocol`] of users, or the WebSocket with its handshake.

use std::fmt;

use bytes::{Bytes, BytesMut};
use lineman_wire::{BoxError, Protocol};

use super::CloseReason;
use super::limits::Limits;

/// A protocol as the table sees it: with an opening, replies of its own, and a farewell.
///
/// Every [`Protocol`] is a driver; implement this one only for a protocol that has a handshake or
/// answers its peer by itself. A driver is the whole protocol state of a connection: keep it small,
/// and keep it plain data, for it moves between processes in a handover.
pub trait Driver: Sized + 'static {
    /// What a handshake asks for: a WebSocket's request. `()` without one.
    type Opening: 'static;
    /// What a peer's bytes decode to.
    type Inbound: 'static;
    /// What can be sent.
    type Outbound: 'static;

    /// Whether the connection has to be opened by a handshake before messages flow.
    const HANDSHAKE: bool;

    /// The names it has in TLS's ALPN, the preferred one first; none without one.
    const ALPN: &'static [&'static str] = &[];

    /// Whether one side may end while the other goes on; otherwise an end is a close.
    const HALF_CLOSES: bool = true;

    /// Whether a request on a connection that became HTTP may ask for this protocol.
    const UPGRADES: bool = false;

    /// Returns the name for `connections`: `websocket`, `text`, ….
    fn name() -> &'static str;

    /// Runs when the transport is up: a client writes its request here.
    fn start(&mut self, output: &mut BytesMut, limits: &Limits) {
        let _ = (output, limits);
    }

    /// Takes one step over `input`; what the protocol itself answers goes to `output`.
    ///
    /// # Errors
    /// The reason the connection is closed for; [`Driver::farewell`] is asked next.
    fn decode(
        &mut self,
        input: &mut BytesMut,
        output: &mut BytesMut,
        limits: &Limits,
    ) -> Result<Step<Self>, CloseReason>;

    /// Returns the values of a header that the handshake's request has.
    fn header_lines<'o>(opening: &'o Self::Opening, name: &str) -> Vec<&'o str> {
        let _ = (opening, name);
        Vec::new()
    }

    /// Appends the answer that completes the handshake.
    ///
    /// # Errors
    /// The reason the connection is closed for.
    fn accept(&mut self, output: &mut BytesMut) -> Result<(), CloseReason> {
        let _ = output;
        Ok(())
    }

    /// Makes an answer of the error by which the handler refused the opening, for
    /// [`Driver::farewell`] to say; `None` if it is a failure and no refusal.
    fn refuse(&mut self, error: &BoxError) -> Option<CloseReason> {
        let _ = error;
        None
    }

    /// Appends a message's wire form to `output`.
    ///
    /// # Errors
    /// The message cannot be expressed in this protocol; nothing is sent.
    fn encode(&mut self, message: Self::Outbound, output: &mut BytesMut) -> Result<(), BoxError>;

    /// Appends what the peer is told before the connection closes.
    fn farewell(&mut self, reason: &CloseReason, output: &mut BytesMut) -> Farewell {
        let _ = (reason, output);
        Farewell::Said
    }

    /// Appends a question that the peer has to answer; `false` if the protocol has none.
    fn ping(&mut self, output: &mut BytesMut) -> bool {
        let _ = output;
        false
    }

    /// Returns whether a message has begun; `rest` is how many undecoded bytes there are.
    fn unfinished(&self, rest: usize) -> bool {
        rest > 0
    }

    /// Returns how many undecoded bytes one message may hold.
    fn max_undecoded(&self) -> usize {
        usize::MAX
    }
}

/// What a step over the input came to.
pub enum Step<D: Driver> {
    /// More bytes are needed.
    Wait,
    /// The peer asks to open; the handler decides, then [`Driver::accept`] answers.
    Opening(D::Opening),
    /// Our own request was answered: the connection is open.
    Opened,
    /// A message.
    Message(D::Inbound),
    /// Something that concerns the protocol alone was consumed.
    Again,
    /// The peer asks whether we are there; the answer is in the output.
    Ping(Bytes),
    /// The peer says that it is there.
    Pong(Bytes),
    /// The peer ended the conversation; the answer to that, if any, is in the output.
    Closed(CloseReason),
    /// This is plain HTTP: the input holds the whole request, untouched.
    Http,
}

impl<D: Driver> fmt::Debug for Step<D> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Wait => "Wait",
            Self::Opening(_) => "Opening(..)",
            Self::Opened => "Opened",
            Self::Message(_) => "Message(..)",
            Self::Again => "Again",
            Self::Ping(_) => "Ping(..)",
            Self::Pong(_) => "Pong(..)",
            Self::Closed(_) => "Closed(..)",
            Self::Http => "Http",
        })
    }
}

/// Whether a farewell wants an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Farewell {
    /// Flush and close.
    Said,
    /// Flush, then wait for the peer's own farewell, up to [`Limits::close_time`].
    Awaits,
}

impl<P: Protocol> Driver for P {
    type Opening = ();
    type Inbound = P::Inbound;
    type Outbound = P::Outbound;

    const HANDSHAKE: bool = false;

    fn name() -> &'static str {
        P::name()
    }

    fn decode(
        &mut self,
        input: &mut BytesMut,
        _output: &mut BytesMut,
        _limits: &Limits,
    ) -> Result<Step<Self>, CloseReason> {
        match Protocol::decode(self, input) {
            Ok(Some(message)) => Ok(Step::Message(message)),
            Ok(None) => Ok(Step::Wait),
            Err(problem) => Err(CloseReason::Protocol { code: 1002, problem: problem.to_string() }),
        }
    }

    fn encode(&mut self, message: Self::Outbound, output: &mut BytesMut) -> Result<(), BoxError> {
        Protocol::encode(self, message, output)
    }

    fn max_undecoded(&self) -> usize {
        self.max_message_size()
    }
}
