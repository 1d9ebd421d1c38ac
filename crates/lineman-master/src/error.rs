//! What can go wrong with processes, grouped by cause; every module of this crate returns
//! these.

use std::io;
use std::path::PathBuf;

use lineman_os::AddressError;
pub(crate) use lineman_wire::chain;

/// An error of the command line, the master or a worker's process.
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
    /// The program's name cannot name its runtime folder: its author is to blame.
    #[error(
        "the program's name {name:?} names no folder: without `/` or control characters, and not \
         empty, `.` or `..` (hint: `App::name` sets it)"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// An address to listen on is none: the program's author or its configuration is to blame.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The operating system does not give us an address to listen on.
    #[error("cannot listen on {address}: {source}{}", listen_hint(.address, .source))]
    Listen {
        /// The address as it was configured.
        address: String,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A socket that a service manager handed over cannot be used.
    #[error("cannot use the socket {socket} of the service manager: {problem}")]
    Activation {
        /// Its name, and its address if it has one.
        socket: String,
        /// What is wrong and what would fit.
        problem: String,
    },
    /// A file or folder of the runtime directory failed us.
    #[error("cannot {action} {}: {source}", .path.display())]
    File {
        /// What was tried: "create", "read", ….
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// Another call of the operating system failed.
    #[error("cannot {action}: {source}")]
    Os {
        /// What was tried.
        action: &'static str,
        /// The operating system's answer.
        source: io::Error,
    },
}

fn listen_hint(address: &str, source: &io::Error) -> &'static str {
    // What we say about a Unix socket says enough.
    if address.starts_with("unix:") {
        return "";
    }
    match source.kind() {
        io::ErrorKind::PermissionDenied => {
            " (hint: ports below 1024 need root or CAP_NET_BIND_SERVICE)"
        }
        io::ErrorKind::AddrInUse => " (hint: `ss -ltunp` shows who listens there)",
        io::ErrorKind::AddrNotAvailable => " (hint: `ip addr` shows this machine's addresses)",
        _ => "",
    }
}
