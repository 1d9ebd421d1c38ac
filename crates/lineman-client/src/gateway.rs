//! A connection to one gateway: introduces itself, sends commands, asks questions.

use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use lineman_wire::link::{
    self, Codec, Command, EXTENSION_VERSION, Event, GatewayAnswer, Login, MAX_REPLY, Packet, Query,
    Reply, ReplyCodec, TYPES,
};

use crate::Error;
use crate::error::{LateStep, is_end, is_late};
use crate::limits::CallClock;
use crate::stream::{Credentials, LinkStream};

/// How long a connection is taken for good on which nothing came: a machine without power takes commands into
/// our own kernel's buffer for minutes. A check costs a question and its answer.
const GOOD_FOR: Duration = Duration::from_secs(10);

/// The longest that a gateway says of itself, in bytes: why it refuses us takes some hundred.
const LONGEST_GREETING: usize = 16 * 1024;

/// An open connection to a gateway.
#[derive(Debug)]
pub(crate) struct Gateway {
    address: SocketAddr,
    stream: LinkStream,
    input: BytesMut,
    /// When the last answer came, or the connection was made.
    heard: Instant,
    /// The version of the extension that the gateway speaks; none of PHP's does.
    version: u32,
}

impl Gateway {
    /// Connects and introduces us.
    ///
    /// A gateway of PHP's does not say whether it takes a key; it closes the connection. So the first question
    /// is asked at once, and its answer tells. One of ours says more than that, before the answer.
    pub(crate) fn connect(
        address: SocketAddr,
        credentials: &Credentials,
        call: &CallClock,
    ) -> Result<Self, Error> {
        let stream =
            LinkStream::connect(address, credentials, call).map_err(|source| match source {
                late if is_late(&late) => {
                    let (step, limit) = (LateStep::Connect, call.limits.connect);
                    Error::Timeout { gateway: address, step, limit }
                }
                source => Error::Gateway { gateway: address, source },
            })?;
        let heard = Instant::now();
        let mut gateway = Self { address, stream, input: BytesMut::new(), heard, version: 0 };
        gateway.log_in(credentials, call).map_err(|error| match error {
            Error::Gateway { gateway, source } if is_end(&source) => {
                let reason = "it ends the connection (hint: is the secret key right?)".to_owned();
                Error::Refused { gateway, reason }
            }
            error => error,
        })?;
        Ok(gateway)
    }

    fn log_in(&mut self, credentials: &Credentials, call: &CallClock) -> Result<(), Error> {
        let (secret_key, lineman) = (credentials.secret.clone(), Some(EXTENSION_VERSION));
        let login = Packet::from(Login::Client { secret_key, lineman });
        // At once: a second write could meet the end of the connection, and what was said before it be lost.
        self.send(&[login.to_bytes(), question()].concat(), call)?;
        while !self.hear_greeting()? {
            self.read(call)?;
        }
        self.answer(call).map(|_| ())
    }

    /// Takes what a gateway of ours says of itself before its first answer; returns whether an answer begins.
    fn hear_greeting(&mut self) -> Result<bool, Error> {
        let gateway = self.address;
        let unreadable = |source| Error::Reply { gateway, source };
        while let Some(&number) = self.input.get(size_of::<u32>()) {
            // The first answer is a number in PHP's format, which is text.
            if !matches!(Command::from(number), Command::Hello | Command::Refused) {
                return Ok(true);
            }
            let codec = Codec::with_limit(LONGEST_GREETING);
            let packet = codec.decode_packet(&mut self.input).map_err(unreadable)?;
            let Some(packet) = packet else { break };
            match Event::try_from(packet).map_err(unreadable)? {
                Event::Hello(hello) => self.version = hello.version,
                Event::Refused(reason) => return Err(Error::Refused { gateway, reason }),
                _ => {}
            }
        }
        Ok(false)
    }

    /// Returns whether the gateway has not closed the connection, as far as can be known.
    pub(crate) fn is_open(&self) -> bool {
        // Nothing is due: every answer was read. So bytes are as wrong as an end.
        let peeked = at_once(self.stream.socket(), |socket| socket.peek(&mut [0]));
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

    /// Asks something, whatever the answer is.
    fn check(&mut self, call: &CallClock) -> Result<(), Error> {
        self.send(&question(), call)?;
        self.answer(call).map(|_| ())
    }

    /// Returns a packet as the gateway knows it: PHP's hears nothing of the type of a message.
    pub(crate) fn known(&self, packet: Bytes) -> Bytes {
        if self.version >= TYPES { packet } else { Packet::plain(packet) }
    }

    /// Sends as much of a packet as there is room for, without waiting; returns how much, or `None` if the
    /// connection has broken. With TLS that is nothing: what is sealed has to leave whole.
    pub(crate) fn send_now(&self, packet: &[u8]) -> Option<usize> {
        let Some(socket) = self.stream.plain() else { return Some(0) };
        match at_once(socket, |mut socket| socket.write(packet)) {
            Ok(count) => Some(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Some(0),
            Err(_) => None,
        }
    }

    /// Sends a packet, or the rest of one.
    pub(crate) fn send(&mut self, packet: &[u8], call: &CallClock) -> Result<(), Error> {
        self.stream.write(packet, call).map_err(|source| self.failed(source, call))
    }

    /// Asks a question and waits for its answer: all of it, or from a gateway that has them, its parts.
    pub(crate) fn ask(
        &mut self,
        query: &Query,
        call: &CallClock,
    ) -> Result<Vec<GatewayAnswer>, Error> {
        let gateway = self.address;
        if self.version < 2 || !query.has_pages() {
            self.send(&encode(query.clone())?, call)?;
            return Ok(vec![GatewayAnswer { gateway, reply: self.answer(call)? }]);
        }
        let (mut parts, mut after, mut bytes) = (Vec::new(), 0, 0);
        loop {
            let page = Query::Page { after, query: Box::new(query.clone()) };
            self.send(&encode(page)?, call)?;
            let page = self.answer(call)?.into_page();
            // A part that does not lead on would be asked for again, for ever.
            let page = page.filter(|(next, _)| *next == 0 || *next > after);
            let (next, reply) = page.ok_or_else(|| {
                let source = link::Error::UnexpectedReply { expected: "a part of an answer" };
                Error::Reply { gateway, source }
            })?;
            bytes += reply.payload.len();
            if bytes > MAX_REPLY {
                return Err(Error::AnswerTooLong { gateway, limit: MAX_REPLY });
            }
            parts.push(GatewayAnswer { gateway, reply });
            if next == 0 {
                return Ok(parts);
            }
            after = next;
        }
    }

    /// Waits for the answer to the question that was asked.
    fn answer(&mut self, call: &CallClock) -> Result<Reply, Error> {
        let (codec, gateway) = (ReplyCodec::new(), self.address);
        loop {
            let reply = codec.decode_reply(&mut self.input).map_err(|source| match source {
                link::Error::ReplyTooLong { limit, .. } => Error::AnswerTooLong { gateway, limit },
                source => Error::Reply { gateway, source },
            });
            if let Some(reply) = reply? {
                self.heard = Instant::now();
                return Ok(reply);
            }
            self.read(call)?;
        }
    }

    /// Reads what comes next.
    fn read(&mut self, call: &CallClock) -> Result<(), Error> {
        let mut chunk = [0; 16 * 1024];
        let read = self.stream.read(&mut chunk, call);
        let count = read.map_err(|source| self.failed(source, call))?;
        self.input.extend_from_slice(chunk.get(..count).unwrap_or_default());
        Ok(())
    }

    fn failed(&self, source: io::Error, call: &CallClock) -> Error {
        let gateway = self.address;
        if is_late(&source) {
            return Error::Timeout { gateway, step: LateStep::Answer, limit: call.limits.answer };
        }
        Error::Gateway { gateway, source }
    }
}

/// Does something with a socket that does not wait.
fn at_once<T>(socket: &TcpStream, run: impl FnOnce(&TcpStream) -> io::Result<T>) -> io::Result<T> {
    socket.set_nonblocking(true)?;
    let outcome = run(socket);
    socket.set_nonblocking(false)?;
    outcome
}

/// Returns the bytes of a packet.
pub(crate) fn encode(packet: impl Into<Packet>) -> Result<Bytes, Error> {
    let packet = packet.into();
    let mut bytes = BytesMut::new();
    Codec::new().encode_packet(&packet, &mut bytes).map_err(Error::TooLong)?;
    Ok(bytes.freeze())
}

/// A question that every gateway answers briefly.
fn question() -> Bytes {
    Packet::from(Query::IsOnline { connection_id: 0 }).to_bytes()
}
