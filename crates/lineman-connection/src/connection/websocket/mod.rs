//! The WebSocket as a driver, of both ends: the handshake, the answers to ping and close, and the
//! frames between. The rules are `lineman-wire`'s; here is when they apply.

mod client;
mod face;
mod opening;
mod options;
mod refusal;
mod saved;

use std::rc::Rc;

use bytes::{Buf, Bytes, BytesMut};
use lineman_wire::BoxError;
use lineman_wire::forwarded::texts;
use lineman_wire::websocket::{
    Decoder, Encoder, Error, Event, Extensions, HandshakeError, RequestParser, Role, encode_close,
    encode_message, encode_ping, encode_pong,
};

use self::client::Asking;
use self::opening::Deciding;
use self::options::Shared;
use super::driver::{CannotMove, Driver, Farewell, Opening, Step};
use super::{CloseReason, Limit, Limits};

pub use self::client::ClientRequest;
pub use self::opening::Accept;
pub use self::options::{Options, Origins};
pub use self::refusal::Refusal;
pub(crate) use self::refusal::{note_hello, without_tls};
pub use lineman_wire::websocket::{
    CloseCode, CloseFrame, Concession, ConcessionError, Deflate, Leniency, Message, Prepared,
    Request,
};

/// Of the pings that come while so many bytes of pongs wait to be sent, the newest is answered, once
/// there is room (RFC 6455 section 5.5.3): a peer that pings and does not read would fill the queue otherwise.
/// Only pongs count: a peer that is sent much at the moment still hears that its ping arrived, as section
/// 5.5.2 has it.
const PONG_BOUND: u16 = 16 * 1024;

/// The protocol state of a WebSocket connection, of a server or of a client.
#[derive(Debug)]
pub struct WebSocket {
    phase: Phase,
    shared: Rc<Shared>,
    role: Role,
    sent_close: bool,
    /// Bytes of pongs that wait to be sent, at most; up to date after each ping.
    pongs: u16,
}

#[derive(Debug)]
enum Phase {
    /// A server waits for the request.
    Request(Box<RequestParser>),
    /// The handler decides about a request.
    Deciding(Box<Deciding>),
    /// The request was bad or is not wanted; this is the answer.
    Refused(Box<Bytes>),
    /// A client waits for the answer.
    Asking(Box<Asking>),
    Open(Decoder, Option<Box<Rare>>),
}

/// What few connections have.
#[derive(Debug)]
struct Rare {
    encoder: Encoder,
    subprotocol: Option<String>,
    peer_close: Option<CloseFrame>,
    /// The newest ping, if it has to wait for its answer.
    unanswered: Option<Bytes>,
}

impl WebSocket {
    /// Returns the state of a connection that has not sent its request yet, with the default options.
    pub fn server() -> Self {
        Self::new(Rc::default(), Role::Server, Phase::Request(Box::default()))
    }

    /// Returns what makes the state of such connections, with these options.
    pub fn server_with(options: Options) -> impl Fn() -> Self + 'static {
        let shared = Rc::new(Shared { options, ..Shared::default() });
        move || Self::new(Rc::clone(&shared), Role::Server, Phase::Request(Box::default()))
    }

    /// Returns what makes the state of outgoing connections that ask for this.
    ///
    /// # Errors
    /// Fails if host, target, a header or a subprotocol cannot stand in a request.
    pub fn client(request: ClientRequest) -> Result<impl Fn() -> Self + 'static, HandshakeError> {
        request.with_handshake([0; 16], |handshake| handshake.request().map(drop))?;
        let options = Options { deflate: request.deflate, ..Options::default() };
        let shared = Rc::new(Shared { options, ..Shared::default() });
        let request = Rc::new(request);
        Ok(move || {
            let asking = Phase::Asking(Box::new(Asking::new(Rc::clone(&request))));
            Self::new(Rc::clone(&shared), Role::Client, asking)
        })
    }

    fn new(shared: Rc<Shared>, role: Role, phase: Phase) -> Self {
        Self { phase, shared, role, sent_close: false, pongs: 0 }
    }

    fn handshake(
        &mut self,
        input: &mut BytesMut,
        limits: &Limits,
    ) -> Result<Step<Self>, CloseReason> {
        match &mut self.phase {
            Phase::Request(_) => self.request(input, limits),
            Phase::Asking(asking) => match asking.answered(input, &limits.handshake) {
                Ok(None) => Ok(Step::Wait),
                Ok(Some((subprotocol, extensions))) => {
                    self.open(subprotocol, extensions);
                    Ok(Step::Opened)
                }
                Err(HandshakeError::Refused(status)) => Err(CloseReason::Refused(status)),
                Err(error) => Err(broken_handshake(&error)),
            },
            Phase::Deciding(_) | Phase::Refused(_) | Phase::Open(..) => Ok(Step::Wait),
        }
    }

    fn request(
        &mut self,
        input: &mut BytesMut,
        limits: &Limits,
    ) -> Result<Step<Self>, CloseReason> {
        let Phase::Request(parser) = &mut self.phase else { return Ok(Step::Wait) };
        let leniency = self.shared.options.leniency;
        let request = match parser.parse(input, &leniency.head_limits(limits.handshake)) {
            Ok(Some(request)) => request,
            Ok(None) => return Ok(Step::Wait),
            Err(error) => return Err(self.refuse_bad(&error)),
        };
        if !request.is_upgrade_with(leniency) {
            return Ok(Step::Foreign);
        }
        if let Err(error) = request.check_with(leniency) {
            return Err(self.refuse_bad(&error));
        }
        if !self.shared.options.origins.allow(&request) {
            let refusal = Refusal::new(403).body("this origin may not connect\n");
            return Err(self.refuse_with(&refusal));
        }
        match Deciding::new(request.clone(), &self.shared.options) {
            Ok(deciding) => {
                input.advance(request.head().len());
                self.phase = Phase::Deciding(Box::new(deciding));
                Ok(Step::Opening(request))
            }
            Err(error) => {
                tracing::error!(%error, "cannot open a websocket with the options that are set");
                Err(self.refuse_bad(&error))
            }
        }
    }

    fn refuse_bad(&mut self, error: &HandshakeError) -> CloseReason {
        if *error == HandshakeError::Tls {
            note_hello();
        }
        self.phase = Phase::Refused(Box::new(error.response()));
        broken_handshake(error)
    }

    fn refuse_with(&mut self, refusal: &Refusal) -> CloseReason {
        self.phase = Phase::Refused(Box::new(refusal.answer()));
        CloseReason::Refused(refusal.status())
    }

    fn accept_with(&mut self, accept: Accept) -> crate::Result {
        match &mut self.phase {
            Phase::Deciding(deciding) => Ok(deciding.accept_with(accept, &self.shared.options)?),
            _ => Err(super::SendError::Closed.into()),
        }
    }

    fn open(&mut self, subprotocol: Option<String>, extensions: Extensions) {
        let is_rare = subprotocol.is_some() || extensions.has_deflate();
        let rare = is_rare.then(|| Box::new(Rare::new(self.role, extensions, subprotocol)));
        let decoder = Decoder::with_extensions(self.role, extensions);
        self.phase = Phase::Open(decoder.lenient(self.shared.options.leniency), rare);
    }

    fn rare(&self) -> Option<&Rare> {
        match &self.phase {
            Phase::Open(_, rare) => rare.as_deref(),
            _ => None,
        }
    }

    fn subprotocol(&self) -> Option<&str> {
        match &self.phase {
            Phase::Deciding(deciding) => deciding.subprotocol.as_deref(),
            _ => self.rare()?.subprotocol.as_deref(),
        }
    }

    fn peer_close(&self) -> Option<&CloseFrame> {
        self.rare()?.peer_close.as_ref()
    }

    /// Returns the mask of the next frame: a client's, which cannot be foreseen (RFC 6455, 10.3).
    fn mask(&self) -> Option<[u8; 4]> {
        (self.role == Role::Client).then(rand::random)
    }

    fn encode_prepared(&mut self, prepared: &Prepared) -> Bytes {
        if let Some(mask) = self.mask() {
            let mut frame = BytesMut::new();
            encode_message(prepared.message(), Some(mask), &mut frame);
            return frame.freeze();
        }
        match (&mut self.phase, &self.shared.options.deflate) {
            (Phase::Open(_, Some(rare)), Some(deflate)) => {
                rare.encoder.encode_prepared(prepared, deflate, &mut self.shared.pool.borrow_mut())
            }
            _ => prepared.plain(),
        }
    }

    fn on_frame(&mut self, event: Event, output: &mut BytesMut) -> Step<Self> {
        match event {
            Event::Message(message) => Step::Message(message),
            Event::Ping(payload) => {
                if !self.sent_close && !self.pong(&payload, output) {
                    self.rare_mut(|rare| rare.unanswered = Some(payload.clone()));
                }
                Step::Ping(payload)
            }
            Event::Pong(payload) => Step::Pong(payload),
            Event::Close(frame) => {
                if !self.sent_close {
                    encode_close(frame.as_ref(), self.mask(), output);
                    self.sent_close = true;
                }
                self.keep_peer_close(frame.as_ref());
                let code = frame.as_ref().map(|frame| frame.code.0);
                let reason = frame.map(|frame| frame.reason.as_str().to_owned());
                Step::Closed(CloseReason::Peer { code, reason: reason.unwrap_or_default() })
            }
        }
    }

    /// Answers a ping, in place of one that waits for that; returns whether there was room.
    fn pong(&mut self, payload: &[u8], output: &mut BytesMut) -> bool {
        let before = output.len();
        // No more bytes of pongs can wait than bytes do.
        let waiting = self.pongs.min(u16::try_from(before).unwrap_or(u16::MAX));
        let has_room = waiting < PONG_BOUND;
        if has_room && encode_pong(payload, self.mask(), output).is_err() {
            tracing::debug!("a ping's payload does not fit a pong");
        }
        let added = u16::try_from(output.len() - before).unwrap_or(u16::MAX);
        self.pongs = waiting.saturating_add(added);
        if let (true, Phase::Open(_, Some(rare))) = (has_room, &mut self.phase) {
            rare.unanswered = None;
        }
        has_room
    }

    fn keep_peer_close(&mut self, frame: Option<&CloseFrame>) {
        let Some(frame) = frame else { return };
        self.rare_mut(|rare| rare.peer_close = Some(frame.clone()));
    }

    fn rare_mut(&mut self, change: impl FnOnce(&mut Rare)) {
        let Phase::Open(_, rare) = &mut self.phase else { return };
        let none = || Box::new(Rare::new(self.role, Extensions::NONE, None));
        change(rare.get_or_insert_with(none));
    }
}

impl Opening for Request {
    fn values(&self, name: &str) -> Vec<&str> {
        let lines = self.headers().filter(|(header, _)| header.eq_ignore_ascii_case(name));
        lines.flat_map(|(_, value)| texts(value)).collect()
    }
}

impl Driver for WebSocket {
    type Opening = Request;
    type Inbound = Message;
    type Outbound = Message;

    const HANDSHAKE: bool = true;
    const HALF_CLOSES: bool = false;

    fn name() -> &'static str {
        "websocket"
    }

    fn without_tls(first: u8) -> &'static str {
        without_tls(first)
    }

    fn start(&mut self, output: &mut BytesMut, _limits: &Limits) {
        if let Phase::Asking(asking) = &self.phase
            && let Err(error) = asking.write(output)
        {
            tracing::error!(%error, "a request that was checked cannot be written");
        }
    }

    fn decode(
        &mut self,
        input: &mut BytesMut,
        output: &mut BytesMut,
        limits: &Limits,
    ) -> Result<Step<Self>, CloseReason> {
        let Phase::Open(decoder, rare) = &mut self.phase else {
            return self.handshake(input, limits);
        };
        let found = if rare.is_none() {
            decoder.decode(input, &limits.websocket)
        } else {
            decoder.decode_with(&mut self.shared.pool.borrow_mut(), input, &limits.websocket)
        };
        match found {
            Ok(Some(event)) => Ok(self.on_frame(event, output)),
            Ok(None) => Ok(Step::Wait),
            Err(error) => Err(broken(&error)),
        }
    }

    fn accept(&mut self, output: &mut BytesMut) -> Result<(), CloseReason> {
        let (answer, extensions, subprotocol) = match &mut self.phase {
            Phase::Deciding(deciding) => {
                let accepted = deciding.accepted.clone();
                (accepted.answer, accepted.extensions, deciding.subprotocol.take())
            }
            _ => return Ok(()),
        };
        self.open(subprotocol, extensions);
        output.extend_from_slice(&answer);
        Ok(())
    }

    fn refuse(&mut self, error: &BoxError) -> Option<CloseReason> {
        let refusal = error.downcast_ref::<Refusal>()?;
        matches!(self.phase, Phase::Deciding(_)).then(|| self.refuse_with(refusal))
    }

    fn encode(&mut self, message: Message, output: &mut BytesMut) -> Result<(), BoxError> {
        let mask = self.mask();
        match (&mut self.phase, &self.shared.options.deflate) {
            (Phase::Open(_, Some(rare)), Some(deflate)) => {
                let mut pool = self.shared.pool.borrow_mut();
                rare.encoder.encode(&message, mask, deflate, &mut pool, output);
            }
            _ => encode_message(&message, mask, output),
        }
        Ok(())
    }

    fn farewell(&mut self, reason: &CloseReason, output: &mut BytesMut) -> Farewell {
        match &mut self.phase {
            Phase::Refused(answer) => {
                output.extend_from_slice(answer);
                Farewell::Said
            }
            Phase::Request(_) | Phase::Deciding(_) => {
                output.extend_from_slice(&refusal::answer_to_reason(reason));
                Farewell::Said
            }
            Phase::Asking(_) => Farewell::Said,
            Phase::Open(..) if self.sent_close => Farewell::Said,
            Phase::Open(decoder, _) => {
                let is_read = !matches!(
                    reason,
                    CloseReason::Protocol { .. }
                        | CloseReason::TooBig
                        | CloseReason::Limited(Limit::Budget)
                );
                if !is_read {
                    decoder.forget_unfinished();
                }
                encode_close(Some(&close_frame(reason)), self.mask(), output);
                self.sent_close = true;
                // RFC 6455 section 7.1.7: a connection that has failed is not read any more.
                if is_read { Farewell::Awaits } else { Farewell::Said }
            }
        }
    }

    fn ping(&mut self, output: &mut BytesMut) -> bool {
        !self.sent_close && encode_ping(&[], self.mask(), output).is_ok()
    }

    fn drained(&mut self, output: &mut BytesMut) {
        let Phase::Open(_, Some(rare)) = &mut self.phase else { return };
        if let Some(payload) = rare.unanswered.take().filter(|_| !self.sent_close) {
            self.pong(&payload, output);
        }
    }

    fn save(&self, limits: &Limits, output: &mut BytesMut) -> Result<(), CannotMove> {
        self.write(limits, output)
    }

    fn restore(&mut self, saved: &[u8], limits: &Limits) -> Result<(), BoxError> {
        self.read(saved, limits)
    }

    fn held(&self) -> usize {
        match &self.phase {
            Phase::Open(decoder, _) => decoder.held(),
            Phase::Request(_) | Phase::Deciding(_) | Phase::Refused(_) | Phase::Asking(_) => 0,
        }
    }

    fn size(message: &Message) -> usize {
        message.len()
    }

    fn unfinished(&self, rest: usize) -> bool {
        match &self.phase {
            Phase::Open(decoder, _) => rest > 0 || !decoder.is_idle(),
            Phase::Request(_) | Phase::Deciding(_) | Phase::Refused(_) | Phase::Asking(_) => false,
        }
    }

    fn buffered(&self) -> usize {
        match &self.phase {
            Phase::Open(decoder, _) => decoder.buffered() + decoder.deflated(),
            Phase::Request(_) | Phase::Deciding(_) | Phase::Refused(_) | Phase::Asking(_) => 0,
        }
    }
}

fn broken_handshake(error: &HandshakeError) -> CloseReason {
    CloseReason::Protocol { code: error.status(), problem: error.to_string() }
}

fn broken(error: &Error) -> CloseReason {
    match error.close_code().0 {
        1009 => CloseReason::TooBig,
        code => CloseReason::Protocol { code, problem: error.to_string() },
    }
}

fn close_frame(reason: &CloseReason) -> CloseFrame {
    let text = match reason {
        CloseReason::Local => String::new(),
        CloseReason::Chosen { reason, .. } => reason.clone(),
        // What a handler's error says is for our log, not for the peer.
        CloseReason::HandlerFailed(_) | CloseReason::HandlerPanicked(_) => {
            "internal error".to_owned()
        }
        other => other.to_string(),
    };
    CloseFrame::new(reason.code(), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pongs_count_against_the_bound_of_pongs() {
        let mut websocket = WebSocket::server();
        let mut output = BytesMut::zeroed(100_000);
        for _ in 0..10_000 {
            websocket.pong(&[b'p'; 125], &mut output);
        }
        let pongs = output.len() - 100_000;
        let bound = usize::from(PONG_BOUND);
        assert!((bound..bound + 127).contains(&pongs), "{pongs} bytes of pongs wait");
        output.clear();
        websocket.pong(b"again", &mut output);
        assert_eq!(&output[..], b"\x8a\x05again", "what was sent waits no more");
    }
}
