//! What needs the operating system closer than `std` offers; the only crate with unsafe code.
//!
//! Both halves of Lineman stand on it, and it knows neither: `lineman-connection` reads through it and
//! `lineman-master` adopts descriptors, changes users and reads `/proc`. The sockets that the master
//! binds and a worker's table listens at are here for the same reason. It keeps no state: every
//! function is one question or one wish to the kernel.

mod descriptors;
pub mod environment;
pub mod signals;
mod socket;
mod endpoint;
pub mod identity;
mod read;
pub mod procfs;
pub mod user;
pub mod limit;
mod allocator;

use std::io;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

pub use allocator::give_back_memory;
pub use descriptors::{adopt, close_inherited_on_exec, empty_stdin, maker_of_socket};
pub use endpoint::{AddressError, Endpoint};
pub use read::{Acknowledgement, acknowledgement, read_into, undelivered, watch_readable};
pub use socket::{PeerTimeout, Socket, Traffic};

/// Returns whether a call failed for a reason that passes: it was interrupted (EINTR), or the kernel was short
/// of memory (ENOMEM, ENOBUFS) at that moment. The same call may succeed a little later, and what it was for
/// is as sound as before.
pub fn passes(error: &io::Error) -> bool {
    let passing = [Errno::INTR, Errno::NOMEM, Errno::NOBUFS];
    Errno::from_io_error(error).is_some_and(|errno| passing.contains(&errno))
}

/// Raises the soft limit of open files to the hard one, and returns the limit in force.
///
/// A process that holds connections needs one descriptor for each, and the usual soft limit of
/// 1,024 is there for `select`, which nothing here uses.
///
/// # Errors
/// When the kernel refuses it.
pub fn raise_open_files() -> io::Result<Option<u64>> {
    let limits = getrlimit(Resource::Nofile);
    if limits.current != limits.maximum {
        let raised = Rlimit { current: limits.maximum, maximum: limits.maximum };
        setrlimit(Resource::Nofile, raised)?;
    }
    Ok(limits.maximum)
}

/// Returns the limit of open files in force; `None` is no limit.
pub fn open_files() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_and_what_stays() {
        for errno in [Errno::INTR, Errno::NOMEM, Errno::NOBUFS] {
            assert!(passes(&errno.into()), "{errno:?}");
        }
        for errno in [Errno::CONNRESET, Errno::PIPE, Errno::BADF, Errno::MFILE, Errno::AGAIN] {
            assert!(!passes(&errno.into()), "{errno:?}");
        }
        assert!(!passes(&io::Error::other("no error of the kernel's")));
    }
}
