//! Says how many connections the limit of open files allows, and how to raise it. The master raises
//! its soft limit to the hard one; workers inherit it.

use std::num::NonZero;

use crate::control::answers::Answers;
use crate::control::request::Answer;
use crate::os;

/// Descriptors of a process that hold no connection: its sockets, polls, log and library files.
const RESERVED: u64 = 64;

/// Below this a limit is worth a word: the largest number of connections that one address and port
/// can have from another address, so a single client machine can use it up.
const PLENTY: u64 = 65_536;

/// How to raise it, where it is commonly set.
const HOW_TO_RAISE: &str = "raise the limit of open files for more (LimitNOFILE= in a systemd unit, \
    `ulimit -n` in a shell, --ulimit nofile= for Docker)";

/// How many connections each process can hold; `None` when there is no limit, or it is unknown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room(Option<NonZero<u64>>);

impl Room {
    /// Raises the soft limit and returns what that allows.
    pub(super) fn make() -> Self {
        let limit = os::raise_open_files().unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot raise the limit of open files");
            os::open_files()
        });
        Self(limit.and_then(|limit| NonZero::new(limit.saturating_sub(RESERVED).max(1))))
    }

    /// Says it and how to raise it: in the log always, and on the terminal of the start if it is little.
    pub(super) fn tell(self, report: &Answers) {
        let Some(room) = self.0 else {
            return tracing::info!("open files are not limited, nor are connections by them");
        };
        tracing::info!("each process can hold about {room} connections: {HOW_TO_RAISE}");
        if room.get() + RESERVED < PLENTY {
            let text = format!("each process can hold about {room} connections: {HOW_TO_RAISE}");
            report.give(Answer::Note { text });
        }
    }
}
