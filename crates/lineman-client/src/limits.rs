//! How long things may take: connecting, a silence, a whole call.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// The shortest time that a socket takes for a limit; none would be for ever.
const LEAST: Duration = Duration::from_millis(1);

/// The limits of a cluster's calls.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallLimits {
    pub(crate) connect: Duration,
    pub(crate) answer: Duration,
    pub(crate) whole: Duration,
}

impl CallLimits {
    pub(crate) fn begin(self) -> CallClock {
        CallClock { limits: self, end: Instant::now() + self.whole }
    }
}

impl Default for CallLimits {
    fn default() -> Self {
        Self {
            // A packet that is lost on the way is sent again after a second.
            connect: Duration::from_secs(2),
            answer: Duration::from_secs(1),
            whole: Duration::from_secs(5),
        }
    }
}

/// A call that has begun.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallClock {
    pub(crate) limits: CallLimits,
    end: Instant,
}

impl CallClock {
    /// Returns how much of the call's time is left.
    pub(crate) fn left(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }

    pub(crate) fn connect(&self, address: &SocketAddr) -> io::Result<TcpStream> {
        let stream = TcpStream::connect_timeout(address, self.at_most(self.limits.connect)?)?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Writes some of it; the peer has to take it in the time of an answer.
    pub(crate) fn write(&self, mut stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
        stream.set_write_timeout(Some(self.at_most(self.limits.answer)?))?;
        stream.write(bytes)
    }

    /// Reads what comes next.
    ///
    /// # Errors
    /// The peer says nothing for the limit of an answer, or has ended the connection.
    pub(crate) fn read(&self, mut stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            stream.set_read_timeout(Some(self.at_most(self.limits.answer)?))?;
            match stream.read(buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => return outcome,
            }
        }
    }

    fn at_most(&self, limit: Duration) -> io::Result<Duration> {
        match self.left().min(limit) {
            Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
            left => Ok(left.max(LEAST)),
        }
    }
}
