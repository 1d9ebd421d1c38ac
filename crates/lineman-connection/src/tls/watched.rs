//! Files that are read again when they have changed: certificates matter to new connections alone, so it is looked when
//! one comes, and there is no task and no timer.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;

use super::acceptor::FromMaster;
use super::certificates::Stamp;

/// How often the files are looked at, when connections come: an administrator should not have to
/// wait, and a look is a handful of system calls.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// The files of one listener, or of the links.
#[derive(Debug)]
pub(super) struct WatchedFiles {
    files: Vec<PathBuf>,
    /// As they were when they were last read, or failed to be.
    stamps: RefCell<Vec<Stamp>>,
    looked: Cell<Instant>,
    from: FromMaster,
    /// How many of the master's reloads it has seen.
    reloads_seen: Cell<u64>,
}

impl WatchedFiles {
    /// Takes down how they are; call it before they are read.
    pub(super) fn new(files: Vec<PathBuf>, from: &FromMaster) -> Self {
        Self {
            stamps: RefCell::new(stamps(&files)),
            files,
            looked: Cell::new(Instant::now()),
            reloads_seen: Cell::new(from.reloads()),
            from: from.clone(),
        }
    }

    /// Returns whether they are to be read again: looks now and then, and at once after a reload.
    pub(super) fn have_changed(&self) -> bool {
        let reloads = self.from.reloads();
        let reloaded = self.reloads_seen.replace(reloads) != reloads;
        if !reloaded && self.looked.get().elapsed() < LOOK_EVERY {
            return false;
        }
        self.looked.set(Instant::now());
        self.look()
    }

    /// Returns whether they have changed.
    pub(super) fn look(&self) -> bool {
        // Taken before they are read: what changes meanwhile is seen the next time.
        let stamps = stamps(&self.files);
        self.stamps.replace(stamps.clone()) != stamps
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    files.iter().map(|file| Stamp::of(file)).collect()
}
