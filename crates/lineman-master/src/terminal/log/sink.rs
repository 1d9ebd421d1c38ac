//! Where the lines go: stderr, or a file that may be exchanged at any time. A write that fails is
//! counted and never reaches the code that logs: a full disk stops no service.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::stdio::{dup2_stderr, dup2_stdout};
use tracing_subscriber::fmt::MakeWriter;

use super::format::{Format, LogLine, LogSource};
use super::stderr::Stderr;
use crate::control::message::Streams;
use crate::terminal::units;

/// The lines' way out of this process.
static STATE: Mutex<LogState> = Mutex::new(LogState::new());

#[derive(Debug)]
struct LogState {
    target: Target,
    losses: Losses,
}

/// What was lost on the way.
#[derive(Debug)]
struct Losses {
    /// How many lines could not be written since the last one that could.
    lost: usize,
    /// Why the last one could not.
    reason: Option<io::Error>,
    /// Whether the end of the last line is missing.
    torn: bool,
}

/// Where lines go.
#[derive(Debug)]
enum Target {
    /// What the master opened.
    File(File),
    /// What everybody has.
    Stderr(Stderr),
}

/// Sends the lines of this process to `file` instead of stderr.
pub(crate) fn write_to(file: File) {
    state().target = Target::File(file);
}

/// Writes what another process has said, as it is. Like a line of the log it waits for no reader; what
/// is lost counts as one.
pub(crate) fn pass_on(said: &[u8]) {
    let mut state = state();
    let LogState { target, losses } = &mut *state;
    if let Err(error) = write_all(target.begin(), said) {
        losses.count(error);
    }
}

/// Puts a file in the place of this process's own streams.
pub(crate) fn adopt(file: BorrowedFd<'_>, streams: Streams) -> io::Result<()> {
    if streams != Streams::Stderr {
        // What was printed and waits for the end of its line belongs to the old file.
        io::stdout().flush().unwrap_or_default();
        dup2_stdout(file)?;
    }
    if streams != Streams::Stdout {
        dup2_stderr(file)?;
    }
    Ok(())
}

fn state() -> MutexGuard<'static, LogState> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes the writer of each line.
#[derive(Debug)]
pub(super) struct Sink {
    line: LogLine,
}

impl Sink {
    /// Returns the sink of this process.
    pub(super) fn new(source: LogSource, format: Format) -> Self {
        Self { line: LogLine::new(source, format) }
    }

    /// Returns whether the lines go to a file that is not stderr.
    #[expect(clippy::unused_self, reason = "the state is the process's, as stderr is")]
    pub(super) fn is_file(&self) -> bool {
        matches!(state().target, Target::File(_))
    }
}

impl<'a> MakeWriter<'a> for Sink {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

impl Write for &Sink {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut state = state();
        let LogState { target, losses } = &mut *state;
        losses.put(target.begin(), line, &self.line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Target {
    /// Returns it for a line that begins.
    fn begin(&mut self) -> &mut dyn Write {
        match self {
            Self::File(file) => file,
            Self::Stderr(stderr) => {
                stderr.begin();
                stderr
            }
        }
    }
}

impl LogState {
    const fn new() -> Self {
        Self { target: Target::Stderr(Stderr::new()), losses: Losses::new() }
    }
}

impl Losses {
    const fn new() -> Self {
        Self { lost: 0, reason: None, torn: false }
    }

    /// Writes a line; before it, how many were lost, if some were.
    fn put(&mut self, target: &mut dyn Write, line: &[u8], own: &LogLine) {
        if let Some(reason) = &self.reason {
            let lost = units::plural(self.lost, "log line was", "log lines were");
            let notice = own.own(&format!("{lost} lost: {reason}"));
            let start = if self.torn { "\n" } else { "" };
            if let Err(error) = write_all(target, format!("{start}{notice}").as_bytes()) {
                return self.count(error);
            }
            (self.lost, self.reason, self.torn) = (0, None, false);
        }
        if let Err(error) = write_all(target, line) {
            self.count(error);
        }
    }

    fn count(&mut self, NotWritten { error, torn }: NotWritten) {
        self.lost += 1;
        self.reason = Some(error);
        self.torn |= torn;
    }
}

/// Why a line was not written, and whether a piece of it was.
struct NotWritten {
    error: io::Error,
    torn: bool,
}

fn write_all(target: &mut dyn Write, mut bytes: &[u8]) -> Result<(), NotWritten> {
    let mut torn = false;
    while !bytes.is_empty() {
        match target.write(bytes) {
            Ok(0) => return Err(NotWritten { error: io::ErrorKind::WriteZero.into(), torn }),
            Ok(written) => {
                bytes = bytes.get(written..).unwrap_or_default();
                torn = true;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(NotWritten { error, torn }),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes, then is full.
    struct Disk {
        room: usize,
        taken: Vec<u8>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let fits = bytes.len().min(self.room);
            if fits == 0 {
                return Err(io::Error::from_raw_os_error(28));
            }
            self.room -= fits;
            self.taken.extend_from_slice(&bytes[..fits]);
            Ok(fits)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_are_lost_are_counted_and_said() {
        let mut losses = Losses::new();
        let own = LogLine::new(LogSource::this("echo/0"), Format::Text);
        let mut disk = Disk { room: 9, taken: Vec::new() };
        for line in ["one\n", "two\n", "three\n", "four\n"] {
            losses.put(&mut disk, line.as_bytes(), &own);
        }
        disk.room = 1000;
        losses.put(&mut disk, b"five\n", &own);
        losses.put(&mut disk, b"six\n", &own);
        let text = String::from_utf8(disk.taken).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let [one, two, torn, notice, five, six] = lines[..] else { panic!("{text}") };
        assert_eq!((one, two, torn, five, six), ("one", "two", "t", "five", "six"));
        assert!(notice.contains("2 log lines were lost: No space left on device"), "{notice}");
    }
}
