//! The server's answer to a request for a WebSocket (RFC 6455, 4.2).

use std::fmt::Write;

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{GeneralPurpose, general_purpose::PAD},
};
use bytes::Bytes;

use crate::websocket::{Concession, Deflate, Extensions, Leniency, deflate::answer_to};

use super::{
    HandshakeError, Request, Version, accept_value, extensions,
    head::{is_field_value, is_token},
};

/// Headers that the handshake sets itself, or that would end the upgrade.
const RESERVED: [&str; 7] = [
    "connection",
    "content-length",
    "sec-websocket-accept",
    "sec-websocket-extensions",
    "sec-websocket-protocol",
    "transfer-encoding",
    "upgrade",
];

/// Base64 as a key has it. The last digit may have bits that mean nothing (RFC 4648, 3.5): RFC 6455's own
/// example in 4.1 has some.
const KEY: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, PAD.with_decode_allow_trailing_bits(true));

/// Precedes the answer to a client that waits for it before it goes on.
const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";

/// What a server answers with.
///
/// ```
/// use lineman_wire::websocket::{Deflate, HandshakeLimits, RequestParser, ServerHandshake};
///
/// let input = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
///     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
///     Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
/// let request = RequestParser::new().parse(input, &HandshakeLimits::default())?.expect("is whole");
/// let handshake = ServerHandshake { deflate: Some(&Deflate::new()), ..ServerHandshake::default() };
/// assert!(handshake.accept(&request)?.extensions.has_deflate());
/// # Ok::<(), lineman_wire::websocket::HandshakeError>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct ServerHandshake<'a> {
    /// One of [`Request::subprotocols`], or none.
    pub subprotocol: Option<&'a str>,
    /// Further header lines, such as `Set-Cookie`.
    pub headers: &'a [(&'a str, &'a str)],
    /// Whether and how messages may be compressed, if the client offers it.
    pub deflate: Option<&'a Deflate>,
    /// Which rules of RFC 6455 the request may break.
    pub leniency: Leniency,
}

/// A request that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The bytes of the answer, `101 Switching Protocols`; behind `100 Continue` if the request expects
    /// that (RFC 9110, 7.8).
    pub answer: Bytes,
    /// What was negotiated; for [`Decoder`](crate::websocket::Decoder) and
    /// [`Encoder`](crate::websocket::Encoder).
    pub extensions: Extensions,
}

impl ServerHandshake<'_> {
    /// Checks a request for a WebSocket and makes the answer.
    ///
    /// # Errors
    /// Fails if the request is not as RFC 6455, 4.2.1 wants it, or if the subprotocol or a header
    /// cannot be sent. Answer with [`HandshakeError::response`] and close.
    pub fn accept(&self, request: &Request) -> Result<Accepted, HandshakeError> {
        let key = check(request, self.leniency)?;
        let interim = if request.count("expect") > 0 { CONTINUE } else { "" };
        let mut answer = format!(
            "{interim}HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n",
            accept_value(key)
        );
        if let Some(chosen) = self.subprotocol {
            if !is_token(chosen) || !request.subprotocols().any(|offered| offered == chosen) {
                return Err(HandshakeError::Subprotocol(chosen.to_owned()));
            }
            push_line(&mut answer, "Sec-WebSocket-Protocol", chosen);
        }
        let mut extensions = Extensions::NONE;
        if let Some(deflate) = self.deflate {
            let offers = extensions::parse(request.lines()).ok_or(HandshakeError::Extensions)?;
            if let Some((line, negotiated)) = answer_to(&offers, deflate) {
                push_line(&mut answer, "Sec-WebSocket-Extensions", &line);
                extensions = negotiated;
            }
        }
        push_application_headers(&mut answer, self.headers, &RESERVED)?;
        answer.push_str("\r\n");
        Ok(Accepted { answer: Bytes::from(answer), extensions })
    }
}

/// Checks a request for a WebSocket and returns the bytes of the answer, `101 Switching Protocols`.
///
/// `subprotocol` is one of [`Request::subprotocols`], or none. `headers` are added to the answer,
/// such as `Set-Cookie`. No extension is accepted; [`ServerHandshake`] can.
///
/// ```
/// use lineman_wire::websocket::{HandshakeLimits, RequestParser, accept};
///
/// // RFC 6455, 1.3.
/// let input = b"GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\n\
///     Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
///     Sec-WebSocket-Protocol: chat, superchat\r\nSec-WebSocket-Version: 13\r\n\r\n";
/// let request = RequestParser::new().parse(input, &HandshakeLimits::default())?.expect("is whole");
/// let answer = accept(&request, Some("chat"), &[])?;
/// assert_eq!(
///     std::str::from_utf8(&answer),
///     Ok("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
///         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\r\n")
/// );
/// # Ok::<(), lineman_wire::websocket::HandshakeError>(())
/// ```
///
/// # Errors
/// Fails if the request is not as RFC 6455, 4.2.1 wants it, or if `subprotocol` or `headers` cannot
/// be sent. Answer with [`HandshakeError::response`] and close.
pub fn accept(
    request: &Request,
    subprotocol: Option<&str>,
    headers: &[(&str, &str)],
) -> Result<Bytes, HandshakeError> {
    ServerHandshake { subprotocol, headers, ..ServerHandshake::default() }
        .accept(request)
        .map(|accepted| accepted.answer)
}

/// Appends the application's headers, if none of them breaks the message.
pub(super) fn push_application_headers(
    out: &mut String,
    headers: &[(&str, &str)],
    reserved: &[&str],
) -> Result<(), HandshakeError> {
    for &(name, value) in headers {
        let is_reserved = reserved.iter().any(|other| other.eq_ignore_ascii_case(name));
        if is_reserved || !is_token(name) || !is_field_value(value) {
            return Err(HandshakeError::Header(name.to_owned()));
        }
        push_line(out, name, value);
    }
    Ok(())
}

pub(super) fn push_line(out: &mut String, name: &str, value: &str) {
    // Writing to a String cannot fail.
    let _infallible = write!(out, "{name}: {value}\r\n");
}

/// Checks what RFC 6455, 4.2.1 asks of the request, and returns its key.
pub(super) fn check(request: &Request, leniency: Leniency) -> Result<&[u8], HandshakeError> {
    let lines = request.lines();
    if request.method() != "GET" {
        return Err(HandshakeError::Method);
    }
    if request.version() != Version::Http11 && !leniency.has(Concession::Http10) {
        return Err(HandshakeError::HttpVersion);
    }
    let hosts = request.count("host");
    if hosts > 1 || hosts == 0 && !leniency.has(Concession::MissingHost) {
        return Err(HandshakeError::Host);
    }
    if !request.is_upgrade_with(leniency) {
        return Err(HandshakeError::NotAnUpgrade);
    }
    if lines.only("sec-websocket-version") != Some(b"13") {
        return Err(HandshakeError::WebSocketVersion);
    }
    let has_length = request.count("content-length") > 0;
    let has_body = has_length && lines.only("content-length") != Some(b"0");
    if has_body || request.count("transfer-encoding") > 0 {
        return Err(HandshakeError::Body);
    }
    if request.count("expect") > 0 && !lines.all_are("expect", "100-continue") {
        return Err(HandshakeError::Expectation);
    }
    let key = lines.only("sec-websocket-key").filter(|key| {
        leniency.has(Concession::AnyKey) || KEY.decode(key).is_ok_and(|bytes| bytes.len() == 16)
    });
    key.ok_or(HandshakeError::Key)
}
