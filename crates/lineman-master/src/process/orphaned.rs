//! Sees the master's end from a thread of its own, so that a process whose loop is blocked does not
//! hold its addresses for ever. It leaves the orderly way out to the loop, and ends what does not take it.

use std::os::fd::OwnedFd;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::control::ExitCode;

/// How long the orderly way out may take: twice what `leave` takes at most. The next master waits
/// longer than this (`master/bind_retry.rs`).
const LIMIT: Duration = Duration::from_secs(5);

/// Watches the master's end of `control` for the life of the process.
pub(super) fn watch(control: OwnedFd) {
    let watching = thread::Builder::new().name("orphaned".to_owned()).spawn(move || {
        if wait_for_the_end(&control).is_ok() {
            thread::sleep(LIMIT);
            tracing::error!(limit = ?LIMIT, "the master is gone and the loop is blocked: ending");
            end();
        }
    });
    if let Err(error) = watching {
        tracing::warn!(%error, "no watch on the master: a blocked loop would outlive it");
    }
}

/// Waits until no process has the other end: that is told without being asked for.
fn wait_for_the_end(control: &OwnedFd) -> Result<(), Errno> {
    loop {
        match poll(&mut [PollFd::new(control, PollFlags::empty())], None) {
            Err(Errno::INTR) => {}
            other => return other.map(drop),
        }
    }
}

#[expect(clippy::exit, reason = "the loop, which would return from `main`, is blocked")]
fn end() -> ! {
    std::process::exit(ExitCode::Failed.number())
}
