//! What can be wrong with what a peer sent over a link, or with what is to be sent.

use super::Command;
use crate::php;

/// Why bytes of a link were refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The peer's packet says that it is shorter than its header.
    #[error("packet length {length} is shorter than a header")]
    PacketTooShort {
        /// The length the packet claims, in bytes.
        length: usize,
    },
    /// A packet is longer than the limit; the peer's, or one that was to be sent.
    #[error("packet of {length} bytes is longer than the limit of {limit}")]
    PacketTooLong {
        /// The length of the packet, in bytes.
        length: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The peer's packet says that its ext data goes on behind its end.
    #[error("ext data of {ext} bytes does not fit into a packet of {length}")]
    ExtBeyondPacket {
        /// The length of the ext data the packet claims, in bytes.
        ext: usize,
        /// The length of the packet, in bytes.
        length: usize,
    },
    /// A reply is longer than the limit; the peer's, or one that was to be sent.
    #[error("reply of {length} bytes is longer than the limit of {limit}")]
    ReplyTooLong {
        /// The length of the payload, in bytes.
        length: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The peer sent a command that does not belong there.
    #[error("unexpected command {0:?}")]
    UnexpectedCommand(Command),
    /// The peer's JSON is broken; the values themselves may be secret and are not shown.
    #[error("{command:?}: broken json")]
    Json {
        /// The command that carries the JSON.
        command: Command,
        /// Where it is broken.
        source: serde_json::Error,
    },
    /// The peer's JSON is not what the command needs.
    #[error("{command:?}: expected {expected}")]
    Shape {
        /// The command that carries the JSON.
        command: Command,
        /// What would have been right.
        expected: &'static str,
    },
    /// The peer's PHP-serialized value was refused.
    #[error(transparent)]
    Php(#[from] php::Error),
    /// The peer's message says that it is encoded for the client already, but is not a string.
    #[error("a raw message body must be a string")]
    RawBody,
    /// The peer's answer is of another kind than the question asks for.
    #[error("an answer that is something else than {expected}")]
    UnexpectedReply {
        /// What would have been right.
        expected: &'static str,
    },
    /// The peer says that a session is known here, and it is not.
    #[error("a session that is said to be known, and is not")]
    SessionMissing,
    /// The caller: a session that has no fields with names.
    #[error("a session must be a struct or a map")]
    SessionShape,
    /// A text is not a client id.
    #[error("a client id has 20 hex digits")]
    ClientId,
}
