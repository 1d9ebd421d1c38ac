//! Length-prefixed messages, as Workerman's `Frame`: a `u32` in network order, then the data.
//!
//! The connection table calls it through [`Protocol`]; the links between processes use it too. It
//! never reserves memory for a length that a peer merely announced.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::protocol::{DEFAULT_MAX_MESSAGE_SIZE, Protocol, Result};

/// The prefix's size; the number in it counts these bytes too.
const PREFIX: usize = 4;

/// From this size on a message keeps the buffer that it arrived in instead of being copied. Copying
/// leaves the buffer free for the next read and lets a small message that is kept hold little
/// memory; but a copy of a large one costs more than a new buffer.
pub(crate) const SHARE_FROM: usize = 64 * 1024;

/// The length-prefixed protocol: a message is [`Bytes`], its prefix the total length as big-endian
/// `u32`, the four bytes of the prefix included.
///
/// ```
/// use bytes::{Bytes, BytesMut};
/// use lineman_wire::{Protocol, framed::Framed};
///
/// let mut framed = Framed::new();
/// let mut buffer = BytesMut::new();
/// framed.encode(Bytes::from_static(b"hi"), &mut buffer)?;
/// assert_eq!(&buffer[..], b"\0\0\0\x06hi");
/// assert_eq!(framed.decode(&mut buffer)?, Some(Bytes::from_static(b"hi")));
/// # Ok::<(), lineman_wire::BoxError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Framed {
    max_size: usize,
}

impl Framed {
    /// Makes a length-prefixed protocol that takes messages of up to 10 MiB.
    pub fn new() -> Self {
        Self::with_max_size(DEFAULT_MAX_MESSAGE_SIZE)
    }

    /// Makes a length-prefixed protocol that takes messages of up to `bytes` bytes, the prefix not
    /// counted.
    pub fn with_max_size(bytes: usize) -> Self {
        Self { max_size: bytes }
    }
}

impl Default for Framed {
    fn default() -> Self {
        Self::new()
    }
}

/// Why a length-prefixed message could not be decoded or encoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The peer announced a length that does not even hold the prefix.
    #[error("frame length {length} is below 4, the size of its own prefix")]
    TooShort {
        /// The announced length.
        length: u32,
    },
    /// The peer announced more bytes than a message may have.
    #[error("frame of {length} bytes is larger than the limit of {limit} bytes")]
    TooLong {
        /// The announced length without the prefix, in bytes.
        length: usize,
        /// The most bytes a message may have.
        limit: usize,
    },
    /// The application sent a message that the prefix cannot count.
    #[error("cannot send {length} bytes in one frame: its prefix counts up to 4294967291")]
    Uncountable {
        /// The message's size in bytes.
        length: usize,
    },
}

impl Protocol for Framed {
    type Inbound = Bytes;
    type Outbound = Bytes;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>> {
        let Some(&prefix) = buffer.first_chunk::<PREFIX>() else { return Ok(None) };
        let announced = u32::from_be_bytes(prefix);
        let Some(length) =
            usize::try_from(announced).ok().and_then(|total| total.checked_sub(PREFIX))
        else {
            return Err(Error::TooShort { length: announced }.into());
        };
        if length > self.max_size {
            return Err(Error::TooLong { length, limit: self.max_size }.into());
        }
        if buffer.len() - PREFIX < length {
            return Ok(None);
        }
        buffer.advance(PREFIX);
        if length >= SHARE_FROM {
            return Ok(Some(buffer.split_to(length).freeze()));
        }
        let message = Bytes::copy_from_slice(buffer.get(..length).unwrap_or_default());
        buffer.advance(length);
        Ok(Some(message))
    }

    fn encode(&mut self, message: Bytes, buffer: &mut BytesMut) -> Result {
        let total = message.len().checked_add(PREFIX).and_then(|total| u32::try_from(total).ok());
        let Some(total) = total else {
            return Err(Error::Uncountable { length: message.len() }.into());
        };
        buffer.reserve(PREFIX + message.len());
        buffer.put_u32(total);
        buffer.put_slice(&message);
        Ok(())
    }

    fn name() -> &'static str {
        "framed"
    }

    fn max_message_size(&self) -> usize {
        self.max_size
    }

    /// It keeps no state.
    fn save(&self, _output: &mut BytesMut) -> bool {
        true
    }
}
