//! How the table drives a protocol: a [`Protocol`] of users, or the WebSocket with its handshake.

use std::fmt;

use bytes::{Bytes, BytesMut};
use lineman_wire::{BoxError, Protocol};

use super::CloseReason;
use super::limits::Limits;

/// A protocol as the table sees it: with an opening, replies of its own, and a farewell.
///
/// Every [`Protocol`] is a driver; implement this one only for a protocol that has a handshake or
/// answers its peer by itself, and serve it with `Worker::driver`. A driver is
/// the whole protocol state of a connection: keep it small, and keep it plain data, so that it can be
/// written down.
///
/// The calls on one connection, in this order:
///
/// 1. [`Driver::start`] when its socket is connected and TLS, if there is some, is established.
/// 2. [`Driver::decode`] for each step over what came. With [`Driver::HANDSHAKE`], the first step that
///    is not [`Step::Wait`] or [`Step::Again`] is [`Step::Opening`] (the handler decides, then
///    [`Driver::accept`] answers, or [`Driver::refuse`]) or [`Step::Opened`] (the peer has accepted).
/// 3. [`Driver::encode`] for what handlers send, [`Driver::ping`] when the peer has been silent for
///    [`Limits::heartbeat`].
/// 4. [`Driver::farewell`], once, when our side closes; not after [`Step::Closed`].
///
/// None of them waits, and none sees the socket: bytes in, bytes out. A panic in one of them ends the
/// process, so what a peer sent must meet no index and no unchecked arithmetic.
///
/// ```
/// use bytes::BytesMut;
/// use lineman_connection::BoxError;
/// use lineman_connection::connection::{CloseReason, Driver, Limits, Step};
///
/// /// Bytes as they come, behind one byte that has to be `!`.
/// #[derive(Default)]
/// struct Greeted(bool);
///
/// impl Driver for Greeted {
///     type Opening = ();
///     type Inbound = Vec<u8>;
///     type Outbound = Vec<u8>;
///
///     const HANDSHAKE: bool = true;
///
///     fn name() -> &'static str {
///         "greeted"
///     }
///
///     fn decode(
///         &mut self,
///         input: &mut BytesMut,
///         _output: &mut BytesMut,
///         _limits: &Limits,
///     ) -> Result<Step<Self>, CloseReason> {
///         let Some(first) = input.first() else { return Ok(Step::Wait) };
///         if self.0 {
///             return Ok(Step::Message(input.split().to_vec()));
///         }
///         if *first != b'!' {
///             return Err(CloseReason::Protocol { code: 1002, problem: "no greeting".to_owned() });
///         }
///         self.0 = input.split_to(1).len() == 1;
///         Ok(Step::Opening(()))
///     }
///
///     fn encode(&mut self, message: Vec<u8>, output: &mut BytesMut) -> Result<(), BoxError> {
///         output.extend_from_slice(&message);
///         Ok(())
///     }
/// }
/// ```
pub trait Driver: Sized + 'static {
    /// What a handshake asks for: a WebSocket's request. `()` without one.
    type Opening: Opening;
    /// What a peer's bytes decode to.
    type Inbound: 'static;
    /// What can be sent.
    type Outbound: 'static;

    /// Whether the connection has to be opened by a handshake before messages flow.
    const HANDSHAKE: bool;

    /// Whether one side may end while the other goes on; otherwise an end is a close.
    const HALF_CLOSES: bool = true;

    /// Returns the name for `connections`: `websocket`, `text`, ….
    fn name() -> &'static str;

    /// Returns what a peer is told in the clear whose first byte this is where TLS is expected: that it
    /// speaks the protocol, but without TLS. Default: nothing.
    fn without_tls(first: u8) -> &'static str {
        let _ = first;
        ""
    }

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

    /// Everything was sent that the peer had to be sent; appends what could not be answered before. Called
    /// at least when that follows a [`Step::Ping`] without an answer.
    fn drained(&mut self, output: &mut BytesMut) {
        let _ = output;
    }

    /// Appends what it knows of the connection beside its settings and the undecoded bytes, so that
    /// another process can go on with it.
    ///
    /// # Errors
    /// [`CannotMove`] says why not; the default cannot. Such a connection is drained instead.
    fn save(&self, limits: &Limits, output: &mut BytesMut) -> Result<(), CannotMove> {
        let _ = (limits, output);
        Err(CannotMove("its protocol cannot be written down"))
    }

    /// Goes on from what [`Driver::save`] appended, in another version of the program perhaps; called
    /// on a new driver, in place of [`Driver::start`].
    ///
    /// # Errors
    /// When it is not understood; the connection is not moved then.
    fn restore(&mut self, saved: &[u8], limits: &Limits) -> Result<(), BoxError> {
        let _ = (saved, limits);
        Err("its protocol cannot be read back".into())
    }

    /// Returns whether a message has begun; `rest` is how many undecoded bytes there are.
    fn unfinished(&self, rest: usize) -> bool {
        rest > 0
    }

    /// Returns how many bytes of memory it has for what is unfinished, for the process's budget. Default 0:
    /// everything that is unfinished lies in the undecoded bytes.
    fn held(&self) -> usize {
        0
    }

    /// Returns the size in bytes of a message that was decoded, if that may be more than came: one that was
    /// compressed, or came in pieces. Default 0.
    fn size(message: &Self::Inbound) -> usize {
        let _ = message;
        0
    }

    /// Returns how many bytes of a message that has begun it holds itself, beside those that are
    /// undecoded: such a message may take its time while they grow.
    fn buffered(&self) -> usize {
        0
    }

    /// Returns how many bytes of a message that has not ended may wait. A whole one that came in one read
    /// is not measured: [`Driver::decode`] may refuse it.
    fn max_undecoded(&self) -> usize {
        usize::MAX
    }
}

/// What a handshake asks for.
pub trait Opening: 'static {
    /// Returns the values of a field that the request has, by its name in lower case: a header's lines.
    /// Default: it has none. A trusted proxy may tell in one of them which client it speaks for.
    fn values(&self, name: &str) -> Vec<&str> {
        let _ = name;
        Vec::new()
    }
}

impl Opening for () {}

impl Opening for std::convert::Infallible {}

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
    /// The peer asks whether we are there; the answer is in the output, or too much waits for that now.
    Ping(Bytes),
    /// The peer says that it is there.
    Pong(Bytes),
    /// The peer ended the conversation; the answer to that, if any, is in the output.
    Closed(CloseReason),
    /// The input is not of this protocol, and is left as it was: the listener's fallback takes the
    /// connection; where there is none it is refused.
    Foreign,
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
            Self::Foreign => "Foreign",
        })
    }
}

/// Why a connection cannot be written down, and so not be moved to another process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CannotMove(pub &'static str);

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

    fn save(&self, _limits: &Limits, output: &mut BytesMut) -> Result<(), CannotMove> {
        let saved = Protocol::save(self, output);
        saved.then_some(()).ok_or(CannotMove("its protocol cannot be written down"))
    }

    fn restore(&mut self, saved: &[u8], _limits: &Limits) -> Result<(), BoxError> {
        Protocol::restore(self, saved)
    }

    fn max_undecoded(&self) -> usize {
        self.max_message_size()
    }
}
