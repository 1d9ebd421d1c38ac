//! Stderr as the log writes to it: a terminal or pipe that is not read costs lines, which `sink`
//! counts, and holds up no loop. Whatever else the program prints there is not touched.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags, Stat, fstat, open};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use rustix::stdio::stderr;

/// How long a line may wait for a reader that is only slow. One that made a line wait in vain is not
/// waited for again before it has read.
const READER_LIMIT: Duration = Duration::from_millis(100);

/// What stderr is, and how its reader has been.
#[derive(Debug)]
pub(super) struct Stderr {
    /// Which file it was when the way was found: stderr may be exchanged.
    known: Option<(u64, u64)>,
    way: Way,
    /// Whether the last line waited in vain.
    deaf: bool,
    /// Until when this line may wait.
    end: Option<Instant>,
}

/// How to write without waiting in the kernel.
#[derive(Debug)]
enum Way {
    /// The same pipe or terminal, opened again: `O_NONBLOCK` of a descriptor that others share would
    /// be theirs as well.
    Own(File),
    /// A socket, which takes the wish with each call.
    Socket,
    /// A pipe or terminal of another user, which we may not open: asked before each write whether it
    /// has room. A process that shares it may be quicker, and then a write waits.
    Foreign,
    /// A file, which takes every write.
    File,
}

/// What a pipe takes at once if it has room at all (`PIPE_BUF`, pipe(7)), in bytes.
const PIECE: usize = 4096;

impl Stderr {
    /// Returns it before anything is known.
    pub(super) const fn new() -> Self {
        Self { known: None, way: Way::File, deaf: false, end: None }
    }

    /// Begins a line: whatever pieces it is written in, it waits no longer than one.
    pub(super) fn begin(&mut self) {
        self.end = None;
    }

    fn find_way(&mut self) {
        let Ok(facts) = fstat(stderr()) else { return };
        let file = Some((facts.st_dev, facts.st_ino));
        if self.known != file {
            (self.known, self.way, self.deaf) = (file, Way::to(&facts), false);
        }
    }
}

impl Way {
    fn to(facts: &Stat) -> Self {
        match FileType::from_raw_mode(facts.st_mode) {
            FileType::Socket => Self::Socket,
            FileType::Fifo | FileType::CharacterDevice => {
                let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
                match open("/proc/self/fd/2", flags, Mode::empty()) {
                    Ok(own) => Self::Own(own.into()),
                    Err(_) => Self::Foreign,
                }
            }
            _ => Self::File,
        }
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        match self {
            Self::Own(file) => file.as_fd(),
            Self::Socket | Self::Foreign | Self::File => stderr(),
        }
    }

    fn try_write(&self, bytes: &[u8]) -> Result<usize, Errno> {
        match self {
            Self::Own(file) => rustix::io::write(file, bytes),
            Self::Socket => send(stderr(), bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
            Self::Foreign => {
                let mut room = [PollFd::from_borrowed_fd(stderr(), PollFlags::OUT)];
                match poll(&mut room, Some(&Timespec::default()))? {
                    0 => Err(Errno::AGAIN),
                    _ => rustix::io::write(stderr(), &bytes[..bytes.len().min(PIECE)]),
                }
            }
            Self::File => rustix::io::write(stderr(), bytes),
        }
    }
}

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.find_way();
        let limit = if self.deaf { Duration::ZERO } else { READER_LIMIT };
        let end = *self.end.get_or_insert_with(|| Instant::now() + limit);
        loop {
            match self.way.try_write(bytes) {
                Ok(written) => {
                    self.deaf = false;
                    return Ok(written);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    let left = end.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        self.deaf = true;
                        return Err(io::Error::new(io::ErrorKind::TimedOut, "nobody read stderr"));
                    }
                    let mut waiting =
                        [PollFd::from_borrowed_fd(self.way.descriptor(), PollFlags::OUT)];
                    let left = Timespec::try_from(left).map_err(io::Error::other)?;
                    match poll(&mut waiting, Some(&left)) {
                        Ok(_) | Err(Errno::INTR) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
