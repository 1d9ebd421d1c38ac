//! Why a handshake failed, and the HTTP answer that says so.

use bytes::Bytes;

/// Why an opening handshake failed: first what a client can do wrong, then what a server can, then
/// what the application asked for and cannot have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The bytes are not HTTP/1.x.
    #[error("malformed http head: {0}")]
    Malformed(&'static str),
    /// The peer speaks TLS where plain HTTP is spoken: `https://` or `wss://` to a port without a
    /// certificate.
    #[error(
        "the peer speaks TLS, this port does not (hint: use http:// or ws://, or give the listener a \
         certificate)"
    )]
    Tls,
    /// The head is larger than [`HandshakeLimits::max_head_size`](super::HandshakeLimits).
    #[error("http head is larger than {limit} bytes")]
    HeadTooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The head has more lines than [`HandshakeLimits::max_headers`](super::HandshakeLimits).
    #[error("http head has more than {limit} header lines")]
    TooManyHeaders {
        /// The limit.
        limit: usize,
    },
    /// The method is not GET (RFC 6455, 4.2.1).
    #[error("a websocket is opened with GET")]
    Method,
    /// The version is HTTP/1.0 (4.2.1).
    #[error("a websocket is opened with HTTP/1.1")]
    HttpVersion,
    /// There is not exactly one `Host` (4.2.1).
    #[error("the request needs one host header")]
    Host,
    /// The request does not ask for a WebSocket: no `Upgrade: websocket` or no
    /// `Connection: upgrade` (4.2.1).
    #[error(
        "here is a websocket and no page: connect with ws:// or wss:// (the request lacks \
         \"Upgrade: websocket\" and \"Connection: Upgrade\")"
    )]
    NotAnUpgrade,
    /// `Sec-WebSocket-Version` is not 13 (4.4).
    #[error("sec-websocket-version must be 13")]
    WebSocketVersion,
    /// `Sec-WebSocket-Key` is not exactly once there, or not 16 bytes as base64 (4.2.1).
    #[error("sec-websocket-key must be 16 bytes in base64")]
    Key,
    /// `Sec-WebSocket-Extensions` is not as the grammar wants it (9.1).
    #[error("sec-websocket-extensions is malformed")]
    Extensions,
    /// The request has a body, which a WebSocket's never has.
    #[error("a request for a websocket has no body")]
    Body,
    /// `Expect` asks for more than `100-continue` (RFC 9110, 10.1.1).
    #[error("the only expectation that is met is 100-continue")]
    Expectation,

    /// The server answered with another status than 101.
    #[error("the server answered with status {0} instead of 101")]
    Refused(u16),
    /// A header of the server's answer is missing or wrong (4.1).
    #[error("the server's {0} header is missing or wrong")]
    Answer(&'static str),

    /// The application chose a subprotocol that the client did not offer (4.2.2).
    #[error("subprotocol {0:?} was not offered by the client")]
    Subprotocol(String),
    /// The application gave a header that would break the message, or that the handshake sets.
    #[error("header {0:?} cannot be set: its name or value is not allowed here")]
    Header(String),
    /// The application gave a host or target that cannot stand in a request line.
    #[error("host or target {0:?} cannot stand in a request")]
    Target(String),
}

impl HandshakeError {
    /// Returns the HTTP status that a server answers with.
    pub fn status(&self) -> u16 {
        match self {
            Self::Malformed(_)
            | Self::Tls
            | Self::HttpVersion
            | Self::Host
            | Self::Key
            | Self::Extensions
            | Self::Body => 400,
            Self::Method => 405,
            Self::Expectation => 417,
            Self::NotAnUpgrade | Self::WebSocketVersion => 426,
            Self::HeadTooLarge { .. } | Self::TooManyHeaders { .. } => 431,
            Self::Refused(_) | Self::Answer(_) => 502,
            Self::Subprotocol(_) | Self::Header(_) | Self::Target(_) => 500,
        }
    }

    /// Returns the whole HTTP answer of a server, which closes the connection after it: status,
    /// headers, and a text that says what was wrong. The application's own faults are not told.
    pub fn response(&self) -> Bytes {
        let status = self.status();
        let (phrase, more) = match status {
            400 => ("Bad Request", ""),
            405 => ("Method Not Allowed", "Allow: GET\r\n"),
            417 => ("Expectation Failed", ""),
            // RFC 9110, 15.5.22 wants Upgrade; RFC 6455, 4.4 wants the version.
            426 => ("Upgrade Required", "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"),
            431 => ("Request Header Fields Too Large", ""),
            502 => ("Bad Gateway", ""),
            _ => ("Internal Server Error", ""),
        };
        let connection = if status == 426 { "close, Upgrade" } else { "close" };
        let body = if status < 500 { self.to_string() } else { phrase.to_lowercase() };
        let length = body.len() + 1;
        Bytes::from(format!(
            "HTTP/1.1 {status} {phrase}\r\nConnection: {connection}\r\n{more}\
             Content-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\n\r\n{body}\n"
        ))
    }
}
