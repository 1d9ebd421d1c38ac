//! The answer to a query: a length and one PHP-serialized value, nothing else.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{Error, MAX_PACKET};
use crate::{Protocol, Result, php};

/// How many bytes the length of a payload takes.
const PREFIX_LENGTH: usize = 4;

/// The answer to one [`Query`](super::Query).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// A PHP-serialized value. To the query for a session, it is the session as it is stored.
    pub payload: Bytes,
}

impl Reply {
    /// Reads the value.
    ///
    /// # Errors
    /// The payload is no PHP value, or one that is refused.
    pub fn value(&self) -> Result<php::Value, Error> {
        Ok(php::unserialize(&self.payload, php::Limits::default())?)
    }

    /// Appends the reply's bytes; a length that no u32 can hold is written as the greatest one.
    pub fn encode_into(&self, buffer: &mut BytesMut) {
        buffer.reserve(PREFIX_LENGTH + self.payload.len());
        buffer.put_u32(u32::try_from(self.payload.len()).unwrap_or(u32::MAX));
        buffer.put_slice(&self.payload);
    }
}

impl From<&php::Value> for Reply {
    fn from(value: &php::Value) -> Self {
        Self { payload: Bytes::from(php::serialize(value)) }
    }
}

/// Replies off the front of a buffer and back: what comes back on a query connection.
#[derive(Debug, Clone)]
pub struct ReplyCodec {
    limit: usize,
}

impl ReplyCodec {
    /// Returns a codec that refuses payloads of more than 10 MiB.
    pub fn new() -> Self {
        Self::with_limit(MAX_PACKET)
    }

    /// Returns a codec that refuses payloads of more than `limit` bytes, read or written.
    pub fn with_limit(limit: usize) -> Self {
        Self { limit }
    }

    /// Takes one reply off the front of `buffer`; `None` until it is whole.
    ///
    /// # Errors
    /// The payload is longer than the limit.
    pub fn decode_reply(&self, buffer: &mut BytesMut) -> Result<Option<Reply>, Error> {
        let Some((prefix, rest)) = buffer.split_first_chunk::<PREFIX_LENGTH>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_be_bytes(*prefix)).unwrap_or(usize::MAX);
        if length > self.limit {
            return Err(Error::ReplyTooLong { length, limit: self.limit });
        }
        if rest.len() < length {
            return Ok(None);
        }
        buffer.advance(PREFIX_LENGTH);
        Ok(Some(Reply { payload: buffer.split_to(length).freeze() }))
    }
}

impl Default for ReplyCodec {
    fn default() -> Self {
        Self::new()
    }
}

impl Protocol for ReplyCodec {
    type Inbound = Reply;
    type Outbound = Reply;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Reply>> {
        Ok(self.decode_reply(buffer)?)
    }

    fn encode(&mut self, reply: Reply, buffer: &mut BytesMut) -> Result {
        let length = reply.payload.len();
        if length > self.limit {
            return Err(Error::ReplyTooLong { length, limit: self.limit }.into());
        }
        reply.encode_into(buffer);
        Ok(())
    }

    fn name() -> &'static str {
        "reply"
    }

    fn max_message_size(&self) -> usize {
        self.limit.saturating_add(PREFIX_LENGTH)
    }
}
