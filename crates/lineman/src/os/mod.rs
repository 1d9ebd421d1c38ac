//! What needs the operating system closer than `std` offers; the only module with unsafe code.
//!
//! Called by `process` (adopting inherited descriptors), `master` and `command`. It never keeps
//! state: every function is one question or one wish to the kernel.

mod descriptors;
pub(crate) mod identity;
mod read;
pub(crate) mod procfs;
pub(crate) mod user;

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

pub(crate) use descriptors::{adopt, close_inherited_on_exec, maker_of_socket};
pub(crate) use read::{read_into, watch_readable};

/// Raises the soft limit of open files to the hard one, and returns the limit in force.
///
/// A process that holds connections needs one descriptor for each, and the usual soft limit of
/// 1,024 is there for `select`, which nothing here uses.
pub(crate) fn raise_open_files() -> io::Result<Option<u64>> {
    let limits = getrlimit(Resource::Nofile);
    if limits.current != limits.maximum {
        let raised = Rlimit { current: limits.maximum, maximum: limits.maximum };
        setrlimit(Resource::Nofile, raised)?;
    }
    Ok(limits.maximum)
}

/// Returns the limit of open files in force; `None` is no limit.
pub(crate) fn open_files() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}
