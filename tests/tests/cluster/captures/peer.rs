//! One end of a connection: sends bytes, reads whole messages.

use anyhow::{Result, bail, ensure};
use lineman_testkit::within;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How messages are told apart in one direction of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Lines, with their ends.
    Line,
    /// HTTP heads.
    Head,
    /// Frames of a WebSocket server.
    Frame,
    /// Packets, whose length counts itself.
    Packet,
    /// Replies, whose length does not.
    Reply,
}

impl Cut {
    /// Returns how long the first message is, if that is known already.
    fn length(self, bytes: &[u8]) -> Option<usize> {
        let number = |range: std::ops::Range<usize>| {
            let digits = bytes.get(range)?.iter();
            Some(digits.fold(0, |number, digit| number << 8 | usize::from(*digit)))
        };
        match self {
            Self::Line => bytes.iter().position(|byte| *byte == b'\n').map(|end| end + 1),
            Self::Head => bytes.windows(4).position(|end| end == b"\r\n\r\n").map(|end| end + 4),
            Self::Frame => match bytes.get(1)? {
                126 => Some(4 + number(2..4)?),
                127 => Some(10 + number(2..10)?),
                length => Some(2 + usize::from(*length)),
            },
            Self::Packet => number(0..4),
            Self::Reply => Some(4 + number(0..4)?),
        }
    }
}

/// An end of a connection.
#[derive(Debug)]
pub(crate) struct Peer {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Peer {
    pub(crate) async fn connect(address: std::net::SocketAddr) -> Result<Self> {
        Self::of(within("a connection", TcpStream::connect(address)).await??)
    }

    pub(crate) async fn accept(listener: &TcpListener) -> Result<Self> {
        Self::of(within("to be connected to", listener.accept()).await??.0)
    }

    fn of(stream: TcpStream) -> Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    /// Returns the port of this end.
    pub(crate) fn port(&self) -> Result<u16> {
        Ok(self.stream.local_addr()?.port())
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(within("bytes to be sent", self.stream.write_all(bytes)).await??)
    }

    /// Waits for a message; none when the other end has closed.
    pub(crate) async fn message(&mut self, cut: Cut) -> Result<Option<Vec<u8>>> {
        loop {
            if let Some(message) = self.whole(cut) {
                return Ok(Some(message));
            }
            // A reset is an end as well.
            let read = within("a message", self.stream.read_buf(&mut self.buffer)).await?;
            if read.unwrap_or(0) == 0 {
                ensure!(self.buffer.is_empty(), "cut off: {}", self.buffer.escape_ascii());
                return Ok(None);
            }
        }
    }

    /// Returns the next message that is here already; none when nothing is.
    pub(crate) fn at_hand(&mut self, cut: Cut) -> Result<Option<Vec<u8>>> {
        while let Ok(1..) = self.stream.try_read_buf(&mut self.buffer) {}
        match self.whole(cut) {
            None if !self.buffer.is_empty() => bail!("a part: {}", self.buffer.escape_ascii()),
            message => Ok(message),
        }
    }

    fn whole(&mut self, cut: Cut) -> Option<Vec<u8>> {
        let length = cut.length(&self.buffer).filter(|length| *length <= self.buffer.len())?;
        Some(self.buffer.drain(..length).collect())
    }
}
