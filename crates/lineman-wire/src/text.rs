//! Lines of text: one message a line, as Workerman's `Text` (a terminal, `telnet` or `nc` can speak it).
//!
//! The connection table calls it through [`Protocol`]. It never looks at a byte twice in search of
//! the line's end, so a peer that sends one byte at a time costs no more than any other.

use bytes::{BufMut, BytesMut};

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
pub struct Text {
    max_size: usize,
    /// How many bytes at the front of the buffer are known to hold no `\n`.
    scanned: usize,
}

impl Text {
    /// Makes a line protocol that takes lines of up to 10 MiB.
    pub fn new() -> Self {
        Self::with_max_size(DEFAULT_MAX_MESSAGE_SIZE)
    }

    /// Makes a line protocol that takes lines of up to `bytes` bytes, their end not counted.
    pub fn with_max_size(bytes: usize) -> Self {
        Self { max_size: bytes, scanned: 0 }
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

impl Default for Text {
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
        let unseen = buffer.get(self.scanned..).unwrap_or_default();
        let Some(distance) = unseen.iter().position(|&byte| byte == b'\n') else {
            self.scanned = buffer.len();
            self.check_size(buffer)?;
            return Ok(None);
        };
        let end = self.scanned + distance + 1;
        self.scanned = 0;
        let line = buffer.split_to(end);
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        self.check_size(line)?;
        match std::str::from_utf8(strip_carriage_returns(line)) {
            Ok(line) => Ok(Some(line.to_owned())),
            Err(error) => Err(Error::InvalidUtf8 { valid_up_to: error.valid_up_to() }.into()),
        }
    }

    fn encode(&mut self, message: String, buffer: &mut BytesMut) -> Result {
        if message.contains('\n') {
            return Err(Error::LineBreak.into());
        }
        buffer.reserve(message.len() + 1);
        buffer.put_slice(message.as_bytes());
        buffer.put_u8(b'\n');
        Ok(())
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

fn strip_carriage_returns(line: &[u8]) -> &[u8] {
    let kept = line.iter().rposition(|&byte| byte != b'\r').map_or(0, |at| at + 1);
    line.get(..kept).unwrap_or_default()
}
