//! The opening handshake (RFC 6455, 4): a request that asks for a WebSocket, and its answer.
//!
//! The connection table parses with [`RequestParser`] and answers with [`ServerHandshake`]; a program that
//! connects uses [`ClientHandshake`]. Nothing here is buffered: the caller's buffer is read where it
//! is, and its size is bounded before it is parsed.

mod accept;
mod client;
mod error;
mod extensions;
mod head;
mod request;

use base64::{Engine, engine::general_purpose::STANDARD};
use sha1::{Digest, Sha1};

pub use accept::{Accepted, ServerHandshake, accept};
pub use client::{ClientHandshake, Opened, Response, ResponseParser};
pub use error::HandshakeError;
pub(crate) use extensions::Extension;
pub use head::is_token;
pub use request::{Request, RequestParser, Version};

/// How large the head of a request or a response may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandshakeLimits {
    /// The most bytes up to and including the blank line. Default: 16 KiB, which holds the largest
    /// cookies that browsers send, and is what a peer can make a connection buffer before it is one.
    pub max_head_size: usize,
    /// The most header lines. Default: 100.
    pub max_headers: usize,
}

impl Default for HandshakeLimits {
    fn default() -> Self {
        Self { max_head_size: 16 * 1024, max_headers: 100 }
    }
}

/// Computes the value of `Sec-WebSocket-Accept` (RFC 6455, 4.2.2, item 5.4).
fn accept_value(key: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(key);
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    #[test]
    fn accept_value_is_that_of_rfc_6455_section_1_3() {
        assert_eq!(
            super::accept_value(b"dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }
}
