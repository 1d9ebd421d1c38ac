//! The WebSocket as a driver, server side: the handshake, the answers to ping and close, and the
//! frames between. The rules are `lineman-wire`'s; here is when they apply.

use bytes::{Buf, Bytes, BytesMut};
use http::StatusCode;
use lineman_wire::BoxError;
use lineman_wire::websocket::{
    CloseFrame, Decoder, Error, Event, HandshakeError, Message, Request, RequestParser, Role,
    accept, encode_close, encode_message, encode_ping, encode_pong,
};

use super::driver::{Driver, Farewell, Step};
use super::{CloseReason, Limits};

/// Pongs stop when this much waits to be sent: a peer that pings and does not read would fill the
/// queue otherwise, and RFC 6455 section 5.5.3 wants an answer to the latest ping only.
const PONG_BOUND: usize = 16 * 1024;

/// The protocol state of a WebSocket connection of a server.
#[derive(Debug)]
pub struct WebSocket {
    phase: Phase,
    sent_close: bool,
}

#[derive(Debug)]
enum Phase {
    Request(Box<RequestParser>),
    /// The handler decides about a request that would be answered with this.
    Deciding(Bytes),
    /// The request was bad; this is the answer.
    Refused(Bytes),
    Open(Decoder),
}

impl WebSocket {
    /// Returns the state of a connection that has not sent its request yet.
    pub fn server() -> Self {
        Self { phase: Phase::Request(Box::default()), sent_close: false }
    }

    fn request(
        &mut self,
        input: &mut BytesMut,
        limits: &Limits,
    ) -> Result<Step<Self>, CloseReason> {
        let Phase::Request(parser) = &mut self.phase else { return Ok(Step::Wait) };
        let request = match parser.parse(input, &limits.handshake) {
            Ok(Some(request)) => request,
            Ok(None) => return Ok(Step::Wait),
            Err(error) => return Err(self.refuse(&error)),
        };
        if !request.is_upgrade() {
            return Ok(Step::Http);
        }
        match accept(&request, None, &[]) {
            Ok(answer) => {
                input.advance(request.head().len());
                self.phase = Phase::Deciding(answer);
                Ok(Step::Opening(request))
            }
            Err(error) => Err(self.refuse(&error)),
        }
    }

    fn refuse(&mut self, error: &HandshakeError) -> CloseReason {
        self.phase = Phase::Refused(error.response());
        CloseReason::Protocol { code: error.status(), problem: error.to_string() }
    }

    fn on_frame(&mut self, event: Event, output: &mut BytesMut) -> Step<Self> {
        match event {
            Event::Message(message) => Step::Message(message),
            Event::Ping(payload) => {
                if !self.sent_close
                    && output.len() < PONG_BOUND
                    && encode_pong(&payload, None, output).is_err()
                {
                    tracing::debug!("a ping's payload does not fit a pong");
                }
                Step::Again
            }
            Event::Pong(_) => Step::Again,
            Event::Close(frame) => {
                if !self.sent_close {
                    encode_close(frame.as_ref(), None, output);
                    self.sent_close = true;
                }
                let code = frame.as_ref().map(|frame| frame.code.0);
                let reason = frame.map(|frame| frame.reason.as_str().to_owned());
                Step::Closed(CloseReason::Peer { code, reason: reason.unwrap_or_default() })
            }
        }
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

    fn decode(
        &mut self,
        input: &mut BytesMut,
        output: &mut BytesMut,
        limits: &Limits,
    ) -> Result<Step<Self>, CloseReason> {
        let Phase::Open(decoder) = &mut self.phase else { return self.request(input, limits) };
        match decoder.decode(input, &limits.websocket) {
            Ok(Some(event)) => Ok(self.on_frame(event, output)),
            Ok(None) => Ok(Step::Wait),
            Err(error) => Err(broken(&error)),
        }
    }

    fn header_lines<'o>(request: &'o Request, name: &str) -> Vec<&'o str> {
        let lines = request.headers().filter(|(header, _)| header.eq_ignore_ascii_case(name));
        // What is no text names no address, and ends the walk.
        lines.map(|(_, value)| std::str::from_utf8(value).unwrap_or("unknown")).collect()
    }

    fn accept(&mut self, output: &mut BytesMut) -> Result<(), CloseReason> {
        let open = Phase::Open(Decoder::new(Role::Server));
        if let Phase::Deciding(answer) = std::mem::replace(&mut self.phase, open) {
            output.extend_from_slice(&answer);
        }
        Ok(())
    }

    fn encode(&mut self, message: Message, output: &mut BytesMut) -> Result<(), BoxError> {
        encode_message(&message, None, output);
        Ok(())
    }

    fn farewell(&mut self, reason: &CloseReason, output: &mut BytesMut) -> Farewell {
        match &self.phase {
            Phase::Refused(answer) => {
                output.extend_from_slice(answer);
                Farewell::Said
            }
            Phase::Request(_) | Phase::Deciding(_) => {
                output.extend_from_slice(refusal(reason).as_bytes());
                Farewell::Said
            }
            Phase::Open(_) if self.sent_close => Farewell::Said,
            Phase::Open(_) => {
                encode_close(Some(&close_frame(reason)), None, output);
                self.sent_close = true;
                match reason {
                    // RFC 6455 section 7.1.7: a connection that has failed is not read any more.
                    CloseReason::Protocol { .. } | CloseReason::TooBig => Farewell::Said,
                    _ => Farewell::Awaits,
                }
            }
        }
    }

    fn ping(&mut self, output: &mut BytesMut) -> bool {
        !self.sent_close && encode_ping(&[], None, output).is_ok()
    }

    fn unfinished(&self, rest: usize) -> bool {
        match &self.phase {
            Phase::Open(decoder) => rest > 0 || !decoder.is_idle(),
            Phase::Request(_) | Phase::Deciding(_) | Phase::Refused(_) => false,
        }
    }
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
        // What a handler's error says is for our log, not for the peer.
        CloseReason::HandlerFailed(_) | CloseReason::HandlerPanicked(_) => {
            "internal error".to_owned()
        }
        other => other.to_string(),
    };
    CloseFrame::new(reason.code(), text)
}

/// The answer to a request that is not refused for what it says.
fn refusal(reason: &CloseReason) -> String {
    let status = match reason {
        CloseReason::HandshakeTimeout => StatusCode::REQUEST_TIMEOUT,
        CloseReason::HandlerFailed(_) | CloseReason::HandlerPanicked(_) => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
        CloseReason::Refused(status) => {
            StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
        }
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    // RFC 9110 section 15.5.22: it says to what.
    let upgrade =
        if status == StatusCode::UPGRADE_REQUIRED { "Upgrade: websocket\r\n" } else { "" };
    format!("HTTP/1.1 {status}\r\n{upgrade}Connection: close\r\nContent-Length: 0\r\n\r\n")
}
