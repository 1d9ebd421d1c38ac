//! The command line's end of the master's socket: asks once and reads answers line by line.

use std::io::{self, BufRead, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};

use super::folder::RuntimeFolder;
use super::lock::{self, Holder};
use super::request::{Answer, Probe, Request};
use crate::Error;

/// The answers of the master to one request.
#[derive(Debug)]
pub(crate) struct Call {
    lines: BufReader<UnixStream>,
    /// What has come of the next line.
    line: Vec<u8>,
}

/// How long a master may take to accept a caller: at once, unless it hangs and many wait.
pub(crate) const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// How long a master that answers nothing may still hold the lock: one that was just killed has it until
/// the kernel has taken its process apart, and one that ends until it is gone.
const ENDING: Duration = Duration::from_secs(2);

/// The pause between two looks at such a master: not noticed by a person, and not a spin.
const PAUSE: Duration = Duration::from_millis(20);

/// Returns the running master, as [`running`], but waits for one that does not answer to be gone.
pub(crate) fn living(folder: &RuntimeFolder) -> Result<Option<Holder>, Error> {
    let end = Instant::now() + ENDING;
    loop {
        let Some(holder) = running(folder)? else { return Ok(None) };
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() || answers(folder, left) {
            return Ok(Some(holder));
        }
        std::thread::sleep(PAUSE);
    }
}

/// Returns whether the master's loop answers within this time.
fn answers(folder: &RuntimeFolder, limit: Duration) -> bool {
    let request = Request::Health { probe: Probe::Live };
    let Ok(mut call) = Call::new(folder, &request) else { return false };
    call.answers_within(limit).is_ok() && matches!(call.next(), Ok(Some(_)))
}

/// Returns the running master; `None` when there is none.
pub(crate) fn running(folder: &RuntimeFolder) -> Result<Option<Holder>, Error> {
    folder.check_readable()?;
    lock::holder(&folder.lock())
}

impl Call {
    pub(crate) fn new(folder: &RuntimeFolder, request: &Request) -> Result<Self, Error> {
        let path = folder.socket();
        let failed =
            |action| move |source: io::Error| Error::File { action, path: folder.socket(), source };
        let mut stream = connect(&path).map_err(failed("connect to"))?;
        let mut line = serde_json::to_vec(request).map_err(|error| failed("ask")(error.into()))?;
        line.push(b'\n');
        stream.write_all(&line).map_err(late).map_err(failed("ask"))?;
        Ok(Self::on(stream))
    }

    /// Reads answers from `stream`: the report of a daemon comes on a socket of its own.
    pub(crate) fn on(stream: UnixStream) -> Self {
        Self { lines: BufReader::new(stream), line: Vec::new() }
    }

    /// Bounds how long each answer may take; without it a command waits as long as its work takes.
    pub(crate) fn answers_within(&self, limit: Duration) -> io::Result<()> {
        self.lines.get_ref().set_read_timeout(Some(limit))
    }

    /// Returns the next answer, or `None` when the master is gone. When none came in time
    /// ([`io::ErrorKind::TimedOut`]) it may be called again.
    pub(crate) fn next(&mut self) -> io::Result<Option<Answer>> {
        read(&mut self.lines, &mut self.line)
    }
}

/// Reads one answer; `line` keeps what has come of it until it is there as a whole.
pub(crate) fn read(lines: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Option<Answer>> {
    match lines.read_until(b'\n', line) {
        // Half a line is the last thing of a master that is gone.
        Ok(_) if line.last() != Some(&b'\n') => Ok(None),
        Ok(_) => Ok(Some(serde_json::from_slice(&std::mem::take(line))?)),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(timed_out()),
        Err(error) => Err(error),
    }
}

/// Connects within a limit: the kernel lets callers wait for a place in the backlog.
fn connect(path: &Path) -> io::Result<UnixStream> {
    let address = SocketAddrUnix::new(path)?;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    set_socket_timeout(&socket, Timeout::Send, Some(CONNECT_LIMIT))?;
    match rustix::io::retry_on_intr(|| rustix::net::connect(&socket, &address)) {
        Ok(()) => Ok(socket.into()),
        Err(Errno::AGAIN) => Err(timed_out()),
        Err(error) => Err(error.into()),
    }
}

fn late(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock { timed_out() } else { error }
}

fn timed_out() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "none came in time")
}

/// Writes one answer to a daemon's report socket.
pub(crate) fn write(stream: &mut UnixStream, answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    stream.write_all(&line)
}
