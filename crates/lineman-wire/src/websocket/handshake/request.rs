//! The request's head: parsed once, then read by the handshake and by handlers.
//!
//! The parser leaves its input alone, because a request that asks for no WebSocket goes to an HTTP
//! server with its bytes untouched.

use bytes::Bytes;

use crate::websocket::{Concession, Leniency};

use super::{
    HandshakeError, HandshakeLimits,
    head::{HeadScanner, Headers, LineEnds},
};

/// The version of HTTP that a request speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
}

/// Finds and parses the head of one request. Make a new one for each request.
///
/// ```
/// use lineman_wire::websocket::{HandshakeLimits, RequestParser};
///
/// let mut parser = RequestParser::new();
/// let limits = HandshakeLimits::default();
/// let mut input = b"GET /chat?room=7 HTTP/1.1\r\nHost: example.org\r\n".to_vec();
/// assert!(parser.parse(&input, &limits)?.is_none());
///
/// input.extend_from_slice(b"\r\nthe body");
/// let request = parser.parse(&input, &limits)?.expect("the blank line is there");
/// assert_eq!((request.path(), request.query()), ("/chat", Some("room=7")));
/// assert!(!request.is_upgrade());
/// assert_eq!(&input[request.head().len()..], b"the body");
/// # Ok::<(), lineman_wire::websocket::HandshakeError>(())
/// ```
#[derive(Debug, Clone)]
pub struct RequestParser {
    scanner: HeadScanner,
}

impl Default for RequestParser {
    fn default() -> Self {
        Self { scanner: HeadScanner::new(LineEnds::Strict) }
    }
}

impl RequestParser {
    /// Makes a parser that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Parses the request's head once `input` holds all of it; `None` means "wait for more bytes".
    ///
    /// `input` is all that has come and was not consumed, so it begins with what the last call saw.
    /// It is left as it is: a caller that takes the request as a WebSocket advances it by
    /// [`Request::head`]`().len()`.
    ///
    /// # Errors
    /// Fails on what is no HTTP/1.x head or is larger than `limits` allow; answer with
    /// [`HandshakeError::response`].
    pub fn parse(
        &mut self,
        input: &[u8],
        limits: &HandshakeLimits,
    ) -> Result<Option<Request>, HandshakeError> {
        let Some(end) = self.scanner.scan(input, limits)? else { return Ok(None) };
        *self = Self::default();
        let head = Bytes::copy_from_slice(input.get(..end).unwrap_or_default());
        let mut lines = vec![httparse::EMPTY_HEADER; limits.max_headers];
        let mut parsed = httparse::Request::new(&mut lines);
        match parsed.parse(&head) {
            Ok(httparse::Status::Complete(_)) => {}
            Ok(httparse::Status::Partial) => {
                return Err(HandshakeError::Malformed("unfinished line"));
            }
            Err(error) => return Err(HandshakeError::from_parser(error, limits)),
        }
        let version = if parsed.version == Some(0) { Version::Http10 } else { Version::Http11 };
        let method = parsed.method.unwrap_or_default().to_owned();
        let target = parsed.path.unwrap_or_default().to_owned();
        let headers = Headers::new(head.clone(), parsed.headers);
        Ok(Some(Request { method, target, version, headers }))
    }
}

impl HandshakeError {
    pub(super) fn from_parser(error: httparse::Error, limits: &HandshakeLimits) -> Self {
        match error {
            httparse::Error::HeaderName => Self::Malformed("bad header name"),
            httparse::Error::HeaderValue => Self::Malformed("bad header value"),
            httparse::Error::NewLine => Self::Malformed("bad line end"),
            httparse::Error::Status => Self::Malformed("bad status"),
            httparse::Error::Token => Self::Malformed("bad request line"),
            httparse::Error::TooManyHeaders => Self::TooManyHeaders { limit: limits.max_headers },
            httparse::Error::Version => Self::Malformed("not HTTP/1.x"),
        }
    }
}

/// A request's head. Handlers see it when a WebSocket opens; cloning shares the bytes.
#[derive(Debug, Clone)]
pub struct Request {
    method: String,
    target: String,
    version: Version,
    headers: Headers,
}

impl Request {
    /// Returns the method, such as `GET`.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// Returns the target as it came, path and query.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Returns the target's path, not decoded; `/` if the target names only a host.
    pub fn path(&self) -> &str {
        let path = self.origin_form().split('?').next().unwrap_or_default();
        if path.is_empty() { "/" } else { path }
    }

    /// Returns what follows the first `?` of the target, not decoded.
    pub fn query(&self) -> Option<&str> {
        self.origin_form().split_once('?').map(|(_, query)| query)
    }

    /// Returns the first value that `name` has in the query, decoded: `%xx` and `+`.
    ///
    /// Bytes that are not UTF-8 become U+FFFD.
    pub fn query_value(&self, name: &str) -> Option<String> {
        let pairs = self.query()?.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs
            .map(|(key, value)| (decode_form(key), value))
            .find(|(key, _)| key == name)
            .map(|(_, value)| decode_form(value))
    }

    /// Returns the version of HTTP.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Returns the first value of a header that is UTF-8; the name's case does not count.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.all(name).next()
    }

    /// Returns all header lines in their order, values as the bytes that came. Several lines of cookies are
    /// one, joined with `; `.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.headers.iter()
    }

    /// Returns the first cookie of that name that is UTF-8 (RFC 6265, 5.4).
    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.cookies().find(|(other, _)| *other == name).map(|(_, value)| value)
    }

    /// Returns the cookies that are UTF-8 as pairs of name and value, in their order (RFC 6265, 5.4).
    pub fn cookies(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.headers.members("cookie", b';');
        pairs.filter_map(|pair| pair.split_once('=')).map(|(name, value)| {
            let value = value.trim();
            let unquoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
            (name.trim(), unquoted.unwrap_or(value))
        })
    }

    /// Returns the subprotocols that the client offers, the preferred one first (RFC 6455, 11.3.4).
    pub fn subprotocols(&self) -> impl Iterator<Item = &str> {
        self.headers.tokens("sec-websocket-protocol")
    }

    /// Returns whether the request asks for a WebSocket at all: `Upgrade: websocket` together with
    /// `Connection: upgrade`. Whether it asks correctly, [`accept`](super::accept()) finds out.
    pub fn is_upgrade(&self) -> bool {
        self.is_upgrade_with(Leniency::none())
    }

    /// Does what [`Request::is_upgrade`] does, for a server that does without some rules:
    /// [`Concession::MissingConnection`].
    pub fn is_upgrade_with(&self, leniency: Leniency) -> bool {
        let upgrade = self.headers.has_token("upgrade", "websocket");
        if !leniency.has(Concession::MissingConnection) {
            return upgrade && self.headers.has_token("connection", "upgrade");
        }
        upgrade || self.count("upgrade") == 0 && self.count("sec-websocket-key") > 0
    }

    /// Returns the bytes of the head as they came, the blank line included.
    pub fn head(&self) -> &Bytes {
        self.headers.head()
    }

    /// Checks everything that RFC 6455, 4.2.1 asks of a request for a WebSocket; what the answer
    /// contains is not needed for it.
    ///
    /// # Errors
    /// Fails as [`ServerHandshake::accept`](super::ServerHandshake::accept) does.
    pub fn check(&self) -> Result<(), HandshakeError> {
        self.check_with(Leniency::none())
    }

    /// Does what [`Request::check`] does, for a server that does without some rules.
    ///
    /// # Errors
    /// Fails as [`ServerHandshake::accept`](super::ServerHandshake::accept) does.
    pub fn check_with(&self, leniency: Leniency) -> Result<(), HandshakeError> {
        super::accept::check(self, leniency)?;
        super::extensions::parse(&self.headers).ok_or(HandshakeError::Extensions)?;
        Ok(())
    }

    pub(super) fn lines(&self) -> &Headers {
        &self.headers
    }

    pub(super) fn count(&self, name: &str) -> usize {
        self.headers.count(name)
    }

    /// Returns the target without scheme and host (RFC 9112, 3.2.2 lets a client send them).
    fn origin_form(&self) -> &str {
        let Some((scheme, rest)) = self.target.split_once("://") else { return &self.target };
        if scheme.contains(['/', '?']) {
            return &self.target;
        }
        rest.find(['/', '?']).and_then(|at| rest.get(at..)).unwrap_or_default()
    }
}

fn decode_form(text: &str) -> String {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        let escaped = behind
            .split_first_chunk::<2>()
            .and_then(|(digits, behind)| Some((hex(*digits)?, behind)));
        match (byte, escaped) {
            (b'%', Some((value, behind))) => {
                decoded.push(value);
                rest = behind;
            }
            (b'+', _) => decoded.push(b' '),
            _ => decoded.push(byte),
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

fn hex(digits: [u8; 2]) -> Option<u8> {
    let [high, low] = digits
        .map(|digit| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok()));
    Some(high? << 4 | low?)
}
