//! Every way a connection can end; the same names in logs, events and `connections`.

use std::fmt;

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
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
}

impl CloseReason {
    /// Returns the WebSocket close code a peer is told (RFC 6455 section 7.4).
    pub fn code(&self) -> u16 {
        match self {
            Self::Peer { code, .. } => code.unwrap_or(1000),
            Self::GoingAway | Self::HeartbeatTimeout => 1001,
            Self::Protocol { code, .. } => *code,
            Self::TooBig => 1009,
            Self::MessageTimeout => 1008,
            Self::SlowPeer | Self::Unavailable(_) | Self::HandshakeEvicted => 1013,
            Self::HandlerFailed(_) | Self::HandlerPanicked(_) => 1011,
            Self::Local
            | Self::Broken(_)
            | Self::HandshakeTimeout
            | Self::ConnectFailed(_)
            | Self::BecameHttp
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
            Self::BecameHttp => formatter.write_str("became an HTTP connection"),
            Self::Refused(status) => write!(formatter, "refused with status {status}"),
        }
    }
}
