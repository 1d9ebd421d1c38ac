//! Close codes and the close frame's payload (RFC 6455, 5.5.1 and 7.4).
//!
//! The decoder parses with it, and the end that closes a connection builds with it. It never decides
//! when to close.

use std::fmt;

use super::{Error, Utf8Bytes};
use crate::websocket::frame::MAX_CONTROL_PAYLOAD;

/// Why an end closes, as a number (RFC 6455, 7.4).
///
/// Shown as the number and, for the registered ones, its name: `1001 going away`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// 1000: what the connection was made for is done.
    pub const NORMAL: Self = Self(1000);
    /// 1001: the server stops, or the user left the page.
    pub const GOING_AWAY: Self = Self(1001);
    /// 1002: the peer broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// 1003: a kind of message that this end does not take, such as binary.
    pub const UNSUPPORTED_DATA: Self = Self(1003);
    /// 1005: the close frame had no code. Never sent.
    pub const NO_STATUS: Self = Self(1005);
    /// 1006: the connection ended without a close frame. Never sent.
    pub const ABNORMAL: Self = Self(1006);
    /// 1007: a text message or a close reason was not UTF-8.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// 1008: the message is against this end's policy; where no other code fits.
    pub const POLICY_VIOLATION: Self = Self(1008);
    /// 1009: the message is larger than this end takes.
    pub const MESSAGE_TOO_BIG: Self = Self(1009);
    /// 1010: the client needs an extension that the server did not offer.
    pub const MANDATORY_EXTENSION: Self = Self(1010);
    /// 1011: this end met an error of its own.
    pub const INTERNAL_ERROR: Self = Self(1011);
    /// 1012: the server restarts; come back after a while.
    pub const SERVICE_RESTART: Self = Self(1012);
    /// 1013: the server has too much to do; come back later.
    pub const TRY_AGAIN_LATER: Self = Self(1013);
    /// 1014: a gateway got a bad answer from the server behind it.
    pub const BAD_GATEWAY: Self = Self(1014);
    /// 1015: the TLS handshake failed. Never sent.
    pub const TLS_HANDSHAKE: Self = Self(1015);

    /// Returns whether the code may stand in a close frame: the registered ones but for 1004, 1005,
    /// 1006 and 1015, and 3000 to 4999 for libraries and applications (RFC 6455, 7.4.2).
    pub const fn is_sendable(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }

    /// Returns the registered name, or an empty text for a code that has none.
    pub const fn name(self) -> &'static str {
        match self.0 {
            1000 => "normal closure",
            1001 => "going away",
            1002 => "protocol error",
            1003 => "unsupported data",
            1005 => "no status received",
            1006 => "abnormal closure",
            1007 => "invalid payload data",
            1008 => "policy violation",
            1009 => "message too big",
            1010 => "mandatory extension",
            1011 => "internal error",
            1012 => "service restart",
            1013 => "try again later",
            1014 => "bad gateway",
            1015 => "tls handshake",
            _ => "",
        }
    }
}

impl From<u16> for CloseCode {
    fn from(code: u16) -> Self {
        Self(code)
    }
}

impl From<CloseCode> for u16 {
    fn from(code: CloseCode) -> Self {
        code.0
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            "" => write!(f, "{}", self.0),
            name => write!(f, "{} {name}", self.0),
        }
    }
}

/// What a close frame says (RFC 6455, 5.5.1).
///
/// ```
/// use lineman_wire::websocket::{CloseCode, CloseFrame};
///
/// let close = CloseFrame::new(CloseCode::GOING_AWAY, "the server restarts");
/// assert_eq!(close.to_string(), "1001 going away: the server restarts");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloseFrame {
    /// The code.
    pub code: CloseCode,
    /// The reason, for logs and developers; empty if none was given. At most
    /// [`CloseFrame::MAX_REASON`] bytes of it are sent.
    pub reason: Utf8Bytes,
}

impl CloseFrame {
    /// The most bytes of a reason that fit into a close frame.
    pub const MAX_REASON: usize = MAX_CONTROL_PAYLOAD - 2;

    /// Makes a close frame; a reason longer than [`CloseFrame::MAX_REASON`] bytes is cut when it is
    /// sent, at a character's border.
    pub fn new(code: impl Into<CloseCode>, reason: impl Into<Utf8Bytes>) -> Self {
        Self { code: code.into(), reason: reason.into() }
    }

    /// Parses the payload of a close frame; `None` is an empty one (RFC 6455, 7.1.5).
    pub(crate) fn parse(payload: &[u8]) -> Result<Option<Self>, Error> {
        let Some((&code, reason)) = payload.split_first_chunk::<2>() else {
            return if payload.is_empty() { Ok(None) } else { Err(Error::TruncatedCloseCode) };
        };
        let code = CloseCode(u16::from_be_bytes(code));
        if !code.is_sendable() {
            return Err(Error::InvalidCloseCode(code.0));
        }
        let reason = std::str::from_utf8(reason).map_err(|_| Error::InvalidUtf8)?;
        Ok(Some(Self::new(code, reason)))
    }

    /// Returns the reason, cut to what a close frame can carry.
    pub(crate) fn reason_that_fits(&self) -> &str {
        let end = self.reason.floor_char_boundary(Self::MAX_REASON);
        self.reason.get(..end).unwrap_or_default()
    }
}

impl fmt::Display for CloseFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.reason.is_empty() {
            self.code.fmt(f)
        } else {
            write!(f, "{}: {}", self.code, &*self.reason)
        }
    }
}
