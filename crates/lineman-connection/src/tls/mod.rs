//! TLS without I/O: bytes of a peer in, plaintext and bytes for the peer out. The connection table
//! and `Stream` do the reading and writing, and own every deadline.
//!
//! # Two halves
//! rustls makes the handshake: certificates, key exchange, everything that needs judgement. When it is
//! done its secrets are taken out, rustls's connection is dropped, and what is left is a small
//! `State`: suite, and for each direction a secret or key and a sequence number. The
//! record layer over it (`established`) is ours. An idle connection owns that state and no buffer,
//! and the state can be written down and go on in another process.
//!
//! # Why this is sound
//! * rustls is fed one whole record at a time, and a record never crosses a change of keys (RFC 8446
//!   section 5.1, which rustls enforces). So when the handshake is done nothing of the peer's is left
//!   inside: the next record begins in our input. What rustls had to send, tickets included, is
//!   written out before, and its sequence numbers are the state's first ones.
//! * In TLS 1.3 the traffic secrets come by the hook meant for `SSLKEYLOGFILE`, which rustls calls
//!   inside the step that makes them, and are accepted only if the keys derived from them are the ones
//!   rustls itself hands out. Secrets are what a key update goes on from.
//! * After the handshake there is little left of the protocol: application data, alerts, key updates,
//!   and tickets, which a client passes over. Everything else ends the connection, and the AEAD (ring's,
//!   as in the handshake) rejects what the peer did not send, or not in this order.
//!
//! rustls's own record ciphers would need 16-byte keys built from bytes, which it keeps to itself.

// A peer's bytes never meet an index.
#![warn(clippy::indexing_slicing)]
#![expect(
    dead_code,
    reason = "a state is written down by tests alone, until a gateway hands clients over"
)]

mod settings;
mod acceptor;
mod certificates;
mod watched;
mod connector;
mod mutual;
mod session;
mod handshake;
mod established;
pub(crate) mod state;
mod suite;
mod record;
mod info;
mod stream;
mod tickets;
#[doc(hidden)]
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use acceptor::Acceptor;
#[doc(hidden)]
pub use acceptor::FromMaster;
pub(crate) use connector::Connector;
pub(crate) use mutual::OfferedTls;
pub(crate) use session::{SavedSession, Session};
pub(crate) use stream::{Parts, Stream};

pub use info::Version;
pub use settings::{ClientCertificates, Tls};
#[expect(
    clippy::module_name_repetitions,
    reason = "a bare `Error` or `Info` says nothing in a handler"
)]
pub use {crate::error::TlsError, info::TlsInfo, mutual::MutualTls, settings::ClientTls};
