//! A connection to one gateway: introduces itself, sends commands, asks questions.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use lineman_wire::link::{GatewayAnswer, Login, Packet, Query, ReplyCodec, Secret};

use crate::Error;
use crate::error::{LateStep, is_late};
use crate::limits::CallClock;

/// How long a connection is taken for good on which nothing came: a machine without power takes commands into
/// our own kernel's buffer for minutes. A check costs a question and its answer.
const GOOD_FOR: Duration = Duration::from_secs(10);

/// An open connection to a gateway.
#[derive(Debug)]
pub(crate) struct Gateway {
    address: SocketAddr,
    stream: TcpStream,
    input: BytesMut,
    /// When the last answer came, or the connection was made.
    heard: Instant,
}

impl Gateway {
    /// Connects and introduces us.
    ///
    /// A gateway does not say whether it takes a key; it closes the connection. So the first
    /// question is asked at once, and its answer tells.
    pub(crate) fn connect(
        address: SocketAddr,
        secret_key: &Secret,
        call: &CallClock,
    ) -> Result<Self, Error> {
        let stream = call.connect(&address).map_err(|source| match source {
            late if is_late(&late) => {
                let (step, limit) = (LateStep::Connect, call.limits.connect);
                Error::Timeout { gateway: address, step, limit }
            }
            source => Error::Gateway { gateway: address, source },
        })?;
        let heard = Instant::now();
        let mut gateway = Self { address, stream, input: BytesMut::new(), heard };
        if !secret_key.is_empty() {
            let login =
                Packet::from(Login::Client { secret_key: secret_key.clone(), lineman: None });
            gateway.send(&login.to_bytes(), call)?;
            gateway.check(call)?;
        }
        Ok(gateway)
    }

    /// Returns whether the gateway has not closed the connection, as far as can be known.
    pub(crate) fn is_open(&self) -> bool {
        // Nothing is due: every answer was read. So bytes are as wrong as an end.
        let peeked = self.at_once(|stream| stream.peek(&mut [0]));
        peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Returns whether nothing has come from the gateway for so long that it is to be checked.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.heard.elapsed() >= GOOD_FOR
    }

    /// Returns whether the gateway lives; asks it where that is doubtful.
    pub(crate) fn is_sound(&mut self, call: &CallClock) -> bool {
        !self.is_doubtful() || self.check(call).is_ok()
    }

    /// Asks something, whatever the answer is; a gateway that closes the connection then refuses us.
    pub(crate) fn check(&mut self, call: &CallClock) -> Result<(), Error> {
        let question = Packet::from(Query::IsOnline { connection_id: 0 });
        match self.ask(&question.to_bytes(), call) {
            Err(Error::Gateway { gateway, source }) if is_end(&source) => {
                Err(Error::Refused { gateway })
            }
            outcome => outcome.map(|_| ()),
        }
    }

    /// Sends as much of a packet as there is room for, without waiting; returns how much, or `None` if the
    /// connection has broken.
    pub(crate) fn send_now(&self, packet: &[u8]) -> Option<usize> {
        match self.at_once(|mut stream| stream.write(packet)) {
            Ok(count) => Some(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Some(0),
            Err(_) => None,
        }
    }

    /// Does something with the socket that does not wait.
    fn at_once<T>(&self, run: impl FnOnce(&TcpStream) -> io::Result<T>) -> io::Result<T> {
        self.stream.set_nonblocking(true)?;
        let outcome = run(&self.stream);
        self.stream.set_nonblocking(false)?;
        outcome
    }

    /// Sends a packet, or the rest of one.
    pub(crate) fn send(&mut self, packet: &[u8], call: &CallClock) -> Result<(), Error> {
        call.write(&self.stream, packet).map_err(|source| self.failed(source, call))
    }

    /// Asks a question and waits for its answer.
    pub(crate) fn ask(
        &mut self,
        question: &[u8],
        call: &CallClock,
    ) -> Result<GatewayAnswer, Error> {
        self.send(question, call)?;
        let codec = ReplyCodec::new();
        let gateway = self.address;
        let mut chunk = [0; 16 * 1024];
        loop {
            let reply = codec.decode_reply(&mut self.input);
            if let Some(reply) = reply.map_err(|source| Error::Reply { gateway, source })? {
                self.heard = Instant::now();
                return Ok(GatewayAnswer { gateway, reply });
            }
            let read = call.read(&self.stream, &mut chunk);
            let count = read.map_err(|source| self.failed(source, call))?;
            self.input.extend_from_slice(chunk.get(..count).unwrap_or_default());
        }
    }

    fn failed(&self, source: io::Error, call: &CallClock) -> Error {
        let gateway = self.address;
        if is_late(&source) {
            return Error::Timeout { gateway, step: LateStep::Answer, limit: call.limits.answer };
        }
        Error::Gateway { gateway, source }
    }
}

/// Returns the bytes of a packet.
pub(crate) fn encode(packet: impl Into<Packet>) -> Result<Bytes, Error> {
    let packet = packet.into();
    let mut bytes = BytesMut::new();
    lineman_wire::link::Codec::new().encode_packet(&packet, &mut bytes).map_err(Error::TooLong)?;
    Ok(bytes.freeze())
}

/// A gateway that refuses us ends the connection, or resets it because it has not read everything.
fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(error.kind(), Kind::UnexpectedEof | Kind::ConnectionReset | Kind::BrokenPipe)
}
