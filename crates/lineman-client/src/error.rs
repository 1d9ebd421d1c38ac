//! What can go wrong, with the peer it concerns.

use std::io;
use std::net::SocketAddr;

use lineman_wire::link;

/// Why a call failed. What is sent to all gateways is sent to those behind one that fails, too; the first
/// that failed is named.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The register cannot be reached, or does not answer.
    #[error("register {address}: {source}")]
    Register {
        /// As it was configured.
        address: String,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The register said something else than a list of gateways, or has closed.
    #[error("register {address} gave no list of gateways (hint: is the secret key right?)")]
    NoList {
        /// As it was configured.
        address: String,
    },
    /// A gateway cannot be reached, or the connection broke.
    #[error("gateway {gateway}: {source}")]
    Gateway {
        /// Which one.
        gateway: SocketAddr,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A gateway has closed the connection when we introduced ourselves.
    #[error("gateway {gateway} refused us (hint: is the secret key right?)")]
    Refused {
        /// Which one.
        gateway: SocketAddr,
    },
    /// A gateway's answer cannot be read, or what was to be sent is too long.
    #[error("gateway {gateway}: {source}")]
    Packet {
        /// Which one.
        gateway: SocketAddr,
        /// What is wrong.
        source: link::Error,
    },
    /// A gateway's answer is of another kind than the question asks for.
    #[error("gateway {gateway} answered with something else than {expected}")]
    UnexpectedReply {
        /// Which one.
        gateway: SocketAddr,
        /// What would have been right.
        expected: &'static str,
    },
    /// The caller: a uid or a group without a name; `0` is none either.
    #[error("a uid or group must not be empty or \"0\"")]
    EmptyName,
}
