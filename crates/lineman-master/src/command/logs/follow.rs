//! `logs -f`: prints what is written, and goes over to the new file when the old one was moved away
//! or deleted. Ends with Ctrl-C, or when its output is not read any more.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::print;
use super::tail::FileEnd;
use crate::Error;
use crate::terminal::log::lines::Chooser;

/// How often the file is looked at: what a person takes for at once.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How long a file that was moved away is read on: the master opens the new one within a second, and
/// a busy worker gets it later.
const OLD_FILE: Duration = Duration::from_secs(10);

/// The most bytes of one line; what goes on after them is a line of its own.
const LINE_LIMIT: usize = 1024 * 1024;

/// Prints `end`, and what is written from then on to the file at `path`.
pub(super) fn follow(path: &Path, file: File, end: FileEnd) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::Os { action: "start the runtime", source })?;
    let failed = |source| Error::File { action: "follow", path: path.to_path_buf(), source };
    runtime.block_on(async {
        let stopped = tokio::signal::ctrl_c();
        tokio::pin!(stopped);
        let lines: Vec<u8> = end.lines.into_iter().flatten().collect();
        let mut followed = Followed::new(file, end.rest, end.chooser);
        let mut old: Option<(Followed, Instant)> = None;
        if !print(&lines) {
            return Ok(());
        }
        loop {
            let mut text = Vec::new();
            if let Some((old, _)) = &mut old {
                old.read(&mut text).map_err(failed)?;
            }
            // What is there now is looked for first: what the file gets after that is read later.
            let next = followed.successor(path);
            followed.read(&mut text).map_err(failed)?;
            if let Some(next) = next {
                let was = std::mem::replace(&mut followed, next);
                old = Some((was, Instant::now() + OLD_FILE));
                followed.read(&mut text).map_err(failed)?;
            }
            old = old.filter(|(_, until)| Instant::now() < *until);
            if (!text.is_empty() && !print(&text)) || nobody_reads() {
                return Ok(());
            }
            tokio::select! {
                _ = &mut stopped => return Ok(()),
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    })
}

/// A file and how far it has been read.
#[derive(Debug)]
struct Followed {
    file: File,
    /// The beginning of a line that has no end yet.
    rest: Vec<u8>,
    chooser: Chooser,
}

impl Followed {
    fn new(file: File, rest: Vec<u8>, chooser: Chooser) -> Self {
        Self { file, rest, chooser }
    }

    /// Appends the chosen lines that have come.
    fn read(&mut self, text: &mut Vec<u8>) -> io::Result<()> {
        if self.file.metadata()?.len() < self.file.stream_position()? {
            // It was emptied in place.
            self.file.seek(SeekFrom::Start(0))?;
            self.rest.clear();
        }
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let count = self.file.read(&mut buffer)?;
            if count == 0 {
                return Ok(());
            }
            for piece in
                buffer.get(..count).unwrap_or_default().split_inclusive(|&byte| byte == b'\n')
            {
                self.rest.extend_from_slice(piece);
                if self.rest.ends_with(b"\n") || self.rest.len() >= LINE_LIMIT {
                    if self.chooser.takes(&String::from_utf8_lossy(&self.rest)) {
                        text.extend_from_slice(&self.rest);
                    }
                    self.rest.clear();
                }
            }
        }
    }

    /// Returns the file that has taken this one's place, if one has and can be read.
    fn successor(&self, path: &Path) -> Option<Self> {
        let ours = self.file.metadata().ok()?;
        let there = fs::metadata(path).ok()?;
        if (ours.dev(), ours.ino()) == (there.dev(), there.ino()) {
            return None;
        }
        let file = File::open(path).ok()?;
        Some(Self::new(file, Vec::new(), self.chooser.clone()))
    }
}

/// Returns whether the reader of stdout is gone: `logs -f | head` must not wait for the next line.
fn nobody_reads() -> bool {
    let stdout = io::stdout();
    let mut watched = [PollFd::new(&stdout, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let gone = PollFlags::ERR | PollFlags::HUP;
    let answered = poll(&mut watched, Some(&now)).is_ok_and(|count| count > 0);
    answered && watched.iter().any(|one| one.revents().intersects(gone))
}
