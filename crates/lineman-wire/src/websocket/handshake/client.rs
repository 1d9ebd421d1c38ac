//! The client's half of the handshake (RFC 6455, 4.1): the request, and what its answer must be.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::{Bytes, BytesMut};

use crate::websocket::{
    Deflate, Extensions,
    deflate::{check_answer, offer},
};

use super::{
    HandshakeError, HandshakeLimits,
    accept::{push_application_headers, push_line},
    accept_value, extensions,
    head::{HeadScanner, Headers, LineEnds, is_field_value, is_token},
};

/// Headers that the handshake sets itself.
const RESERVED: [&str; 9] = [
    "connection",
    "content-length",
    "host",
    "sec-websocket-extensions",
    "sec-websocket-key",
    "sec-websocket-protocol",
    "sec-websocket-version",
    "transfer-encoding",
    "upgrade",
];

/// What a client asks for.
///
/// ```
/// use lineman_wire::websocket::ClientHandshake;
///
/// let handshake = ClientHandshake {
///     host: "example.org:8080",
///     target: "/chat?room=7",
///     headers: &[("Origin", "https://example.org")],
///     subprotocols: &["chat"],
///     deflate: None,
///     // Sixteen random bytes; this crate has no source of them.
///     key: [7; 16],
/// };
/// let request = handshake.request()?;
/// assert!(request.starts_with(b"GET /chat?room=7 HTTP/1.1\r\nHost: example.org:8080\r\n"));
/// # Ok::<(), lineman_wire::websocket::HandshakeError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct ClientHandshake<'a> {
    /// The server's name, with the port if it is not the scheme's own.
    pub host: &'a str,
    /// Path and query; it begins with `/`.
    pub target: &'a str,
    /// Further header lines, such as `Origin`, `Cookie` or `Authorization`.
    pub headers: &'a [(&'a str, &'a str)],
    /// The subprotocols to offer, the preferred one first.
    pub subprotocols: &'a [&'a str],
    /// Whether and how messages may be compressed, if the server accepts it.
    pub deflate: Option<&'a Deflate>,
    /// Sixteen bytes, random and new for each connection.
    pub key: [u8; 16],
}

/// What a server's answer opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened<'r> {
    /// The subprotocol that the server chose.
    pub subprotocol: Option<&'r str>,
    /// What was negotiated; for [`Decoder`](crate::websocket::Decoder) and
    /// [`Encoder`](crate::websocket::Encoder).
    pub extensions: Extensions,
}

impl ClientHandshake<'_> {
    /// Returns the bytes of the request.
    ///
    /// # Errors
    /// Fails if host, target, a header or a subprotocol cannot stand in a request.
    pub fn request(&self) -> Result<Bytes, HandshakeError> {
        let is_visible =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !self.target.starts_with('/') || self.target.contains('#') || !is_visible(self.target) {
            return Err(HandshakeError::Target(self.target.to_owned()));
        }
        if !is_visible(self.host)
            || !is_field_value(self.host)
            || self.host.contains(['/', '?', '#', '@'])
        {
            return Err(HandshakeError::Target(self.host.to_owned()));
        }
        let mut request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {}\r\nSec-WebSocket-Version: 13\r\n",
            self.target,
            self.host,
            self.encoded_key()
        );
        if let Some(bad) = self.subprotocols.iter().find(|name| !is_token(name)) {
            return Err(HandshakeError::Header((*bad).to_owned()));
        }
        if !self.subprotocols.is_empty() {
            push_line(&mut request, "Sec-WebSocket-Protocol", &self.subprotocols.join(", "));
        }
        if let Some(deflate) = self.deflate {
            push_line(&mut request, "Sec-WebSocket-Extensions", &offer(deflate));
        }
        push_application_headers(&mut request, self.headers, &RESERVED)?;
        request.push_str("\r\n");
        Ok(Bytes::from(request))
    }

    /// Checks the server's answer (RFC 6455, 4.1 and RFC 7692, 5.1) and returns what it agreed to.
    ///
    /// # Errors
    /// Fails if the answer is not what makes a WebSocket; the connection must be closed then.
    pub fn check<'r>(&self, response: &'r Response) -> Result<Opened<'r>, HandshakeError> {
        let headers = &response.headers;
        if response.status != 101 {
            return Err(HandshakeError::Refused(response.status));
        }
        if !headers.has_token("upgrade", "websocket") {
            return Err(HandshakeError::Answer("upgrade"));
        }
        if !headers.has_token("connection", "upgrade") {
            return Err(HandshakeError::Answer("connection"));
        }
        let expected = accept_value(self.encoded_key().as_bytes());
        let accepted = headers.all("sec-websocket-accept").next();
        if headers.count("sec-websocket-accept") != 1 || accepted != Some(expected.as_str()) {
            return Err(HandshakeError::Answer("sec-websocket-accept"));
        }
        let extensions = extensions::parse(headers)
            .and_then(|accepted| check_answer(&accepted, self.deflate))
            .ok_or(HandshakeError::Answer("sec-websocket-extensions"))?;
        let chosen = headers.all("sec-websocket-protocol").next();
        let was_asked = chosen.is_none_or(|chosen| self.subprotocols.contains(&chosen));
        if headers.count("sec-websocket-protocol") > 1 || !was_asked {
            return Err(HandshakeError::Answer("sec-websocket-protocol"));
        }
        Ok(Opened { subprotocol: chosen, extensions })
    }

    fn encoded_key(&self) -> String {
        STANDARD.encode(self.key)
    }
}

/// How many interim answers are passed over: a server has no reason for more than one or two, and each
/// may have a whole head.
const INTERIM: usize = 4;

/// Finds and parses the head of the server's answer.
///
/// Interim answers (`100 Continue`, `103 Early Hints`; every 1xx but 101) are passed over, up to four: a
/// client has to expect them even if it has not asked for one (RFC 9110, 15.2). A line that is folded
/// is unfolded (RFC 9112, 5.2), and a bare line feed ends a line.
#[derive(Debug, Clone)]
pub struct ResponseParser {
    scanner: HeadScanner,
    interim: usize,
}

impl Default for ResponseParser {
    fn default() -> Self {
        Self { scanner: HeadScanner::new(LineEnds::Lenient), interim: 0 }
    }
}

impl ResponseParser {
    /// Makes a parser that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the answer's head off the front of `input` once it is whole; frames may follow it.
    /// `None` means "wait for more bytes"; what is left in `input` is to be there in the next call.
    ///
    /// # Errors
    /// Fails on what is no HTTP/1.x head or is larger than `limits` allow.
    pub fn parse(
        &mut self,
        input: &mut BytesMut,
        limits: &HandshakeLimits,
    ) -> Result<Option<Response>, HandshakeError> {
        loop {
            let Some(end) = self.scanner.scan(input, limits)? else { return Ok(None) };
            self.scanner = HeadScanner::new(LineEnds::Lenient);
            let response = Response::parse(&input.split_to(end), limits)?;
            let is_interim = response.status != 101 && (100..200).contains(&response.status);
            if !is_interim || self.interim >= INTERIM {
                return Ok(Some(response));
            }
            self.interim += 1;
        }
    }
}

/// The head of the server's answer.
#[derive(Debug, Clone)]
pub struct Response {
    status: u16,
    headers: Headers,
}

impl Response {
    fn parse(head: &[u8], limits: &HandshakeLimits) -> Result<Self, HandshakeError> {
        let head = unfolded(head);
        let mut lines = vec![httparse::EMPTY_HEADER; limits.max_headers];
        let mut parsed = httparse::Response::new(&mut lines);
        match parsed.parse(&head) {
            Ok(httparse::Status::Complete(_)) => {}
            Ok(httparse::Status::Partial) => {
                return Err(HandshakeError::Malformed("unfinished line"));
            }
            Err(error) => return Err(HandshakeError::from_parser(error, limits)),
        }
        let status = parsed.code.unwrap_or_default();
        let headers = Headers::new(head.clone(), parsed.headers);
        Ok(Self { status, headers })
    }

    /// Returns the HTTP status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Returns the first value of a header that is UTF-8; the name's case does not count.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.all(name).next()
    }

    /// Returns all header lines in their order, values as the bytes that came.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.headers.iter()
    }
}

/// Returns the head with spaces in the place of each line end within a field's value (RFC 9112, 5.2). Behind
/// the first line there is no field to go on: that is left for the parser to refuse.
fn unfolded(head: &[u8]) -> Bytes {
    let mut unfolded = BytesMut::from(head);
    let first_line = head.iter().position(|byte| *byte == b'\n').map_or(head.len(), |at| at + 1);
    let mut previous = [0; 2];
    let mut folds = Vec::new();
    for (at, byte) in head.iter().enumerate().skip(first_line) {
        if matches!(byte, b' ' | b'\t') && previous[1] == b'\n' {
            let length = if previous[0] == b'\r' { 2 } else { 1 };
            folds.push(at.saturating_sub(length)..at);
        }
        previous = [previous[1], *byte];
    }
    for fold in folds {
        if let Some(bytes) = unfolded.get_mut(fold) {
            bytes.fill(b' ');
        }
    }
    unfolded.freeze()
}
