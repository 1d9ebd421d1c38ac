//! A process gives its connections to its successor: both ends of that, over a socket pair that their master
//! made for them.
//!
//! [`give`] copies connections ahead while it serves, then stands still: nothing of the process runs while it
//! tells what is new, has changed or is gone, and what its service keeps beside its connections. [`take`] makes
//! them entries of a table that stands still as well. With the commit the giving process lets go of what has
//! moved, and the taking one begins. Before it nothing was taken away from the giving process, so whatever fails,
//! it goes on with its next turn. Neither side knows what the service's state means.

mod fault;
mod give;
mod movable;
mod pair;
mod take;
mod words;
#[doc(hidden)]
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
#[cfg(test)]
mod tests;

use std::io;

use lineman_wire::handover::RecordFormats;

#[cfg(test)]
pub(super) use self::give::Giver;
pub use self::give::give;
pub(super) use self::movable::Movable;
pub use self::take::take;

/// The forms of a record that this build reads and writes. What a reader that does not know it would get
/// wrong is another form: it gets the next number, and the one before is read and written beside it.
pub const FORMATS: RecordFormats = RecordFormats { oldest: 1, newest: 1 };

/// Which process takes part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Party {
    /// The name of its service.
    pub service: String,
    /// Its number within the service.
    pub index: usize,
    /// How many processes its slot has had, with this one.
    pub generation: u64,
}

/// Why a handover did not come to its commit: the giving process has everything as before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct GivenUp(String);

impl GivenUp {
    pub(super) fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

impl From<io::Error> for GivenUp {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}
