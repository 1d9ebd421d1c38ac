//! Every way a connection can end; the same names in logs, events and `connections`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer ended it: end of stream, or a WebSocket close frame with this code.
    Peer {
        /// The close frame's code; `None` for a plain end of stream or a frame without a code.
        code: Option<u16>,
        /// The close frame's text.
        reason: String,
    },
    /// The connection broke: reset by the peer, or the network gave up.
    Broken(String),
    /// Code on our side asked for it.
    Local,
    /// Code on our side asked for it, and chose what a WebSocket's peer is told.
    Chosen {
        /// The close frame's code.
        code: u16,
        /// The close frame's text.
        reason: String,
    },
    /// The process is going away: stop, or the end of a drain (WebSocket code 1001).
    GoingAway,
    /// The peer broke the protocol (1002, 1007 or another code of the protocol's).
    Protocol {
        /// The WebSocket close code, or HTTP status of a refused handshake.
        code: u16,
        /// What was wrong.
        problem: String,
    },
    /// The peer's message is larger than the bound (1009).
    TooBig,
    /// The handshake was not complete within its time.
    HandshakeTimeout,
    /// More handshakes than the bound were under way, and this was the oldest.
    HandshakeEvicted,
    /// A message was begun and not finished within its time (1008).
    MessageTimeout,
    /// The send queue stayed at its bound and the policy says close (1013).
    SlowPeer,
    /// The peer did not answer heartbeats (1001).
    HeartbeatTimeout,
    /// A handler returned an error (1011).
    HandlerFailed(String),
    /// A handler panicked (1011).
    HandlerPanicked(String),
    /// No service behind us could take it (1013).
    Unavailable(String),
    /// An outgoing connection did not come up.
    ConnectFailed(String),
    /// The connection was a plain HTTP request and went to the HTTP service.
    BecameHttp,
    /// A request to upgrade was refused with this HTTP status.
    Refused(u16),
    /// A bound of the service was met (1013), or one of the connection's rates (1008).
    Limited(Limit),
    /// TLS failed: the handshake, a record, an alert of the peer's.
    Tls(String),
    /// The PROXY header was missing or wrong, or came from an address that is not trusted.
    ProxyHeader(String),
    /// The connection goes on with another protocol and other handlers.
    BecameOther,
    /// The connection goes on in the process that took over from this one.
    HandedOver,
    /// The process is being replaced, and the connection could not go on in its successor (1012): a client
    /// that connects again is served.
    Replaced,
}

/// A bound of a service; each is a field of [`Limits`](super::Limits), and is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Limit {
    /// [`Limits::connections`](super::Limits::connections).
    Connections,
    /// [`Limits::connections_per_address`](super::Limits::connections_per_address).
    ConnectionsPerAddress,
    /// [`Limits::connection_rate`](super::Limits::connection_rate).
    ConnectionRate,
    /// [`Limits::message_rate`](super::Limits::message_rate).
    MessageRate,
    /// [`Limits::byte_rate`](super::Limits::byte_rate).
    ByteRate,
    /// The process's budget of bytes that are unfinished or unsent,
    /// [`Table::set_budget`](super::Table::set_budget).
    Budget,
}

impl fmt::Display for Limit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Connections => "too many connections",
            Self::ConnectionsPerAddress => "too many connections from one address",
            Self::ConnectionRate => "too many new connections",
            Self::MessageRate => "too many messages",
            Self::ByteRate => "too many bytes",
            Self::Budget => "the server holds too much",
        })
    }
}

impl CloseReason {
    /// Returns the WebSocket close code a peer is told (RFC 6455 section 7.4).
    pub fn code(&self) -> u16 {
        match self {
            Self::Peer { code, .. } => code.unwrap_or(1000),
            Self::GoingAway | Self::HeartbeatTimeout => 1001,
            Self::Protocol { code, .. } | Self::Chosen { code, .. } => *code,
            Self::TooBig => 1009,
            Self::Replaced => 1012,
            Self::MessageTimeout | Self::Limited(Limit::MessageRate | Limit::ByteRate) => 1008,
            Self::SlowPeer | Self::Unavailable(_) | Self::HandshakeEvicted | Self::Limited(_) => {
                1013
            }
            Self::HandlerFailed(_) | Self::HandlerPanicked(_) => 1011,
            Self::Local
            | Self::Broken(_)
            | Self::HandshakeTimeout
            | Self::ConnectFailed(_)
            | Self::BecameHttp
            | Self::BecameOther
            | Self::HandedOver
            | Self::Tls(_)
            | Self::ProxyHeader(_)
            | Self::Refused(_) => 1000,
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer { code: Some(code), reason } if reason.is_empty() => {
                write!(formatter, "closed by peer ({code})")
            }
            Self::Peer { code: Some(code), reason } => {
                write!(formatter, "closed by peer ({code}: {reason})")
            }
            Self::Peer { code: None, .. } => formatter.write_str("closed by peer"),
            Self::Broken(problem) => write!(formatter, "broken: {problem}"),
            Self::Local => formatter.write_str("closed by us"),
            Self::Chosen { code, reason } => write!(formatter, "closed by us ({code}: {reason})"),
            Self::GoingAway => formatter.write_str("server going away"),
            Self::Protocol { problem, .. } => write!(formatter, "protocol error: {problem}"),
            Self::TooBig => formatter.write_str("message too big"),
            Self::HandshakeTimeout => formatter.write_str("handshake timed out"),
            Self::HandshakeEvicted => formatter.write_str("too many handshakes under way"),
            Self::MessageTimeout => formatter.write_str("message not finished in time"),
            Self::SlowPeer => formatter.write_str("peer reads too slowly"),
            Self::HeartbeatTimeout => formatter.write_str("no answer to heartbeat"),
            Self::HandlerFailed(problem) => write!(formatter, "handler failed: {problem}"),
            Self::HandlerPanicked(problem) => write!(formatter, "handler panicked: {problem}"),
            Self::Unavailable(problem) => write!(formatter, "unavailable: {problem}"),
            Self::ConnectFailed(problem) => write!(formatter, "connect failed: {problem}"),
            Self::Limited(limit) => limit.fmt(formatter),
            Self::Tls(problem) => write!(formatter, "TLS: {problem}"),
            Self::ProxyHeader(problem) => write!(formatter, "PROXY header: {problem}"),
            Self::BecameOther => formatter.write_str("went on with another protocol"),
            Self::HandedOver => formatter.write_str("went on in another process"),
            Self::Replaced => formatter.write_str("server restarting: connect again"),
            Self::BecameHttp => formatter.write_str("became an HTTP connection"),
            Self::Refused(status) => write!(formatter, "refused with status {status}"),
        }
    }
}
