//! What a peer can do wrong after the handshake, and the close code that answers it.
//!
//! The decoder makes these; the connection table sends [`Error::close_frame`] and closes. A normal
//! close is never an error.

use super::{CloseCode, CloseFrame, Role};

/// A fault in what the peer sent. The connection must be failed (RFC 6455, 7.1.7): send
/// [`close_frame`](Error::close_frame), then close.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A reserved bit is set that no extension gave a meaning (5.2).
    #[error("reserved bits are set that nothing negotiated gives a meaning here")]
    ReservedBits,
    /// The opcode is one of the reserved ones (5.2).
    #[error("reserved opcode {0:#x}")]
    ReservedOpcode(u8),
    /// A control frame is marked as a fragment (5.4).
    #[error("control frame is fragmented")]
    FragmentedControl,
    /// A control frame has more than 125 bytes of payload (5.5).
    #[error("control frame is longer than 125 bytes")]
    ControlTooLong,
    /// A continuation came while no message was unfinished (5.4).
    #[error("continuation frame without a message to continue")]
    LoneContinuation,
    /// A new message began before the last fragment of the one before (5.4).
    #[error("new message inside a fragmented message")]
    UnfinishedMessage,
    /// A client's frame is not masked, or a server's is (5.1); the role is the one that is reading.
    #[error("{}", match .0 { Role::Server => "client frame is not masked", Role::Client => "server frame is masked" })]
    WrongMask(Role),
    /// A length is written in more bytes than it needs (5.2).
    #[error("payload length is not in its shortest form")]
    LengthNotMinimal,
    /// A frame is longer than [`Limits::max_frame_size`](super::Limits::max_frame_size).
    #[error("frame of {length} bytes is larger than the limit of {limit} bytes")]
    FrameTooBig {
        /// The length that the frame announced, in bytes.
        length: u64,
        /// The limit in bytes.
        limit: usize,
    },
    /// A message is longer than [`Limits::max_message_size`](super::Limits::max_message_size).
    #[error("message is larger than the limit of {limit} bytes")]
    MessageTooBig {
        /// The limit in bytes.
        limit: usize,
    },
    /// A text message or a close reason is not UTF-8 (8.1).
    #[error("text is not valid utf-8")]
    InvalidUtf8,
    /// A compressed message is no deflate data, or it ends inside of a block (RFC 7692, 7.2.2).
    #[error("compressed message is not valid deflate data")]
    InvalidDeflate,
    /// A close frame has a payload of one byte (5.5.1).
    #[error("close frame has half a close code")]
    TruncatedCloseCode,
    /// A close frame has a code that must not be sent (7.4).
    #[error("close code {0} must not be sent")]
    InvalidCloseCode(u16),
}

impl Error {
    /// Returns the code to close with: 1002, 1007 or 1009 (RFC 6455, 7.4.1). What cannot be inflated
    /// is a payload that does not fit its message: 1007.
    pub fn close_code(&self) -> CloseCode {
        match self {
            Self::InvalidUtf8 | Self::InvalidDeflate => CloseCode::INVALID_PAYLOAD,
            Self::FrameTooBig { .. } | Self::MessageTooBig { .. } => CloseCode::MESSAGE_TOO_BIG,
            Self::ReservedBits
            | Self::ReservedOpcode(_)
            | Self::FragmentedControl
            | Self::ControlTooLong
            | Self::LoneContinuation
            | Self::UnfinishedMessage
            | Self::WrongMask(_)
            | Self::LengthNotMinimal
            | Self::TruncatedCloseCode
            | Self::InvalidCloseCode(_) => CloseCode::PROTOCOL_ERROR,
        }
    }

    /// Returns the close frame that tells the peer: the code, and this error's text as the reason.
    pub fn close_frame(&self) -> CloseFrame {
        CloseFrame::new(self.close_code(), self.to_string())
    }
}
