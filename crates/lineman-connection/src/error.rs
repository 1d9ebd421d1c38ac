//! What can go wrong with connections, grouped by cause; every module of this crate returns
//! these.

mod tls;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

pub(crate) use lineman_wire::chain;
pub use tls::TlsError;
pub(crate) use tls::is_of_an_authority;

/// An error of connections, or of what serves them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The program describes something that cannot run: its author is to blame.
    #[error("service {service:?}: {problem}")]
    Configuration {
        /// The service concerned.
        service: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// A peer could not be reached.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// The peer.
        address: SocketAddr,
        /// The operating system's answer.
        source: io::Error,
    },
    /// An outgoing connection is described in a way that cannot work.
    #[error("cannot connect to {address}: {problem}")]
    Outgoing {
        /// The address as it was given.
        address: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// Too much work that blocks is under way: see [`blocking`](crate::blocking()).
    #[error("{bound} calls of `blocking` are under way or wait for a thread: no more are taken")]
    BlockingFull {
        /// How many may be, those that run included.
        bound: usize,
    },
    /// A file of TLS cannot be used.
    #[error("cannot use {} for TLS: {problem}", .path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Another call of the operating system failed.
    #[error("cannot {action}: {source}")]
    Os {
        /// What was tried.
        action: &'static str,
        /// The operating system's answer.
        source: io::Error,
    },
}
