//! What can go wrong, by which half of the framework it came from; what user code returns is
//! [`BoxError`].

use lineman_os::AddressError;
pub use lineman_wire::{BoxError, Result};

/// An error of the framework itself; code of users returns [`BoxError`] and converts with `?`.
///
/// In a [`BoxError`] stands the error of the half that failed: [`MasterError`](crate::MasterError) or
/// [`ConnectionError`](crate::ConnectionError).
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
    /// Of the command line, the master or a worker's process.
    #[error(transparent)]
    Master(#[from] lineman_master::Error),
    /// Of connections, or of what serves them.
    #[error(transparent)]
    Connection(#[from] lineman_connection::Error),
}

impl From<AddressError> for Error {
    fn from(error: AddressError) -> Self {
        Self::Master(error.into())
    }
}
