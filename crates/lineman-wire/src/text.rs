//! Lines of text: one message a line, as Workerman's `Text` (a terminal, `telnet` or `nc` can speak it).
//!
//! The connection table calls it through [`Protocol`]: [`Text`] for lines that are text, [`ByteLines`] for lines of
//! any bytes. It never looks at a byte twice in search of the line's end, so a peer that sends one byte at a time
//! costs no more than any other.

use bytes::{BufMut, Bytes, BytesMut};

use crate::framed::SHARE_FROM;
use crate::protocol::{DEFAULT_MAX_MESSAGE_SIZE, Protocol, Result};

/// The line protocol: a message is a [`String`], and its end on the wire is `\n`.
///
/// Decoding strips the `\n` and every `\r` before it. Make one value
/// for each connection.
///
/// ```
/// use bytes::BytesMut;
/// use lineman_wire::{Protocol, text::Text};
///
/// let mut text = Text::new();
/// let mut buffer = BytesMut::from("hello\r\nwor");
/// assert_eq!(text.decode(&mut buffer)?, Some("hello".to_owned()));
/// assert_eq!(text.decode(&mut buffer)?, None);
///
/// let mut out = BytesMut::new();
/// text.encode("hi".to_owned(), &mut out)?;
/// assert_eq!(out, "hi\n");
/// # Ok::<(), lineman_wire::BoxError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Text(ByteLines);

impl Text {
    /// Makes a line protocol that takes lines of up to 10 MiB.
    pub fn new() -> Self {
        Self::with_max_size(DEFAULT_MAX_MESSAGE_SIZE)
    }

    /// Makes a line protocol that takes lines of up to `bytes` bytes, their end not counted.
    pub fn with_max_size(bytes: usize) -> Self {
        Self(ByteLines::with_max_size(bytes))
    }
}

impl Default for Text {
    fn default() -> Self {
        Self::new()
    }
}

/// The line protocol for lines of any bytes: a message is [`Bytes`], and only its end is looked at.
///
/// Decoding strips the `\n` and every `\r` before it, as [`Text`] does. Make one value for each connection.
///
/// ```
/// use bytes::{Bytes, BytesMut};
/// use lineman_wire::{Protocol, text::ByteLines};
///
/// let mut buffer = BytesMut::from(&b"\xff\0\n"[..]);
/// assert_eq!(ByteLines::new().decode(&mut buffer)?, Some(Bytes::from_static(b"\xff\0")));
/// # Ok::<(), lineman_wire::BoxError>(())
/// ```
#[derive(Debug, Clone)]
pub struct ByteLines {
    max_size: usize,
    /// How many bytes at the front of the buffer are known to hold no `\n`.
    scanned: usize,
}

impl ByteLines {
    /// Makes a line protocol that takes lines of up to 10 MiB.
    pub fn new() -> Self {
        Self::with_max_size(DEFAULT_MAX_MESSAGE_SIZE)
    }

    /// Makes a line protocol that takes lines of up to `bytes` bytes, their end not counted.
    pub fn with_max_size(bytes: usize) -> Self {
        Self { max_size: bytes, scanned: 0 }
    }

    /// Takes a whole line off the front, without its end.
    fn take_line(&mut self, buffer: &mut BytesMut) -> Result<Option<BytesMut>, Error> {
        let unseen = buffer.get(self.scanned..).unwrap_or_default();
        let Some(distance) = unseen.iter().position(|&byte| byte == b'\n') else {
            self.scanned = buffer.len();
            self.check_size(buffer)?;
            return Ok(None);
        };
        let end = self.scanned + distance;
        self.scanned = 0;
        let mut line = buffer.split_to(end + 1);
        line.truncate(end);
        self.check_size(&line)?;
        line.truncate(without_carriage_returns(&line));
        Ok(Some(line))
    }

    /// Checks a line without its `\n`, or as much of one as has come: one `\r` is part of the end
    /// and not counted, further ones are.
    fn check_size(&self, line: &[u8]) -> Result<(), Error> {
        let counted = line.strip_suffix(b"\r").unwrap_or(line);
        if counted.len() > self.max_size {
            return Err(Error::TooLong { limit: self.max_size });
        }
        Ok(())
    }
}

impl Default for ByteLines {
    fn default() -> Self {
        Self::new()
    }
}

/// Why a line could not be decoded or encoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The peer sent more bytes without an end of line than a message may have.
    #[error("line is longer than {limit} bytes")]
    TooLong {
        /// The most bytes a line may have.
        limit: usize,
    },
    /// The peer sent a line that is not UTF-8.
    #[error("line is not valid utf-8 from byte {valid_up_to} on")]
    InvalidUtf8 {
        /// How many bytes at the front of the line are valid.
        valid_up_to: usize,
    },
    /// The application sent a message that the peer would read as several.
    #[error("cannot send a line that contains a line break")]
    LineBreak,
}

impl Protocol for Text {
    type Inbound = String;
    type Outbound = String;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<String>> {
        let Some(line) = self.0.take_line(buffer)? else { return Ok(None) };
        match std::str::from_utf8(&line) {
            Ok(line) => Ok(Some(line.to_owned())),
            Err(error) => Err(Error::InvalidUtf8 { valid_up_to: error.valid_up_to() }.into()),
        }
    }

    fn encode(&mut self, message: String, buffer: &mut BytesMut) -> Result {
        Ok(append_line(message.as_bytes(), buffer)?)
    }

    fn name() -> &'static str {
        "text"
    }

    fn max_message_size(&self) -> usize {
        self.0.max_size
    }

    /// It keeps no state.
    fn save(&self, _output: &mut BytesMut) -> bool {
        true
    }
}

impl Protocol for ByteLines {
    type Inbound = Bytes;
    type Outbound = Bytes;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>> {
        let line = self.take_line(buffer)?;
        // As with frames, the copy leaves the buffer free for the next read.
        Ok(line.map(|line| match line.len() {
            SHARE_FROM.. => line.freeze(),
            _ => Bytes::copy_from_slice(&line),
        }))
    }

    fn encode(&mut self, message: Bytes, buffer: &mut BytesMut) -> Result {
        Ok(append_line(&message, buffer)?)
    }

    fn name() -> &'static str {
        "text"
    }

    fn max_message_size(&self) -> usize {
        self.max_size
    }

    /// It keeps no state.
    fn save(&self, _output: &mut BytesMut) -> bool {
        true
    }
}

fn append_line(line: &[u8], buffer: &mut BytesMut) -> Result<(), Error> {
    if line.contains(&b'\n') {
        return Err(Error::LineBreak);
    }
    buffer.reserve(line.len() + 1);
    buffer.put_slice(line);
    buffer.put_u8(b'\n');
    Ok(())
}

/// Returns the length of a line without the `\r` at its end.
fn without_carriage_returns(line: &[u8]) -> usize {
    line.iter().rposition(|&byte| byte != b'\r').map_or(0, |at| at + 1)
}
