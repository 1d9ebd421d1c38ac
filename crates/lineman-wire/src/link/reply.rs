//! The answer to a query: a length and one PHP-serialized value, nothing else.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::Error;
use crate::{Protocol, Result, php};

/// The longest answer, in bytes: the sessions of some hundred thousand clients. `GatewayWorker` has no bound.
pub const MAX_REPLY: usize = 64 * 1024 * 1024;

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
        let limits = php::Limits { size: MAX_REPLY, ..php::Limits::default() };
        Ok(php::unserialize(&self.payload, limits)?)
    }

    /// Returns the answer to [`Query::Page`](super::Query::Page): a part, and where it ends if more
    /// parts follow, 0 if not.
    pub fn page(next: u32, part: &Self) -> Self {
        Self { payload: Bytes::from([&next.to_be_bytes(), &*part.payload].concat()) }
    }

    /// Returns what [`Reply::page`] was made of.
    pub fn into_page(mut self) -> Option<(u32, Self)> {
        let (next, _) = self.payload.split_first_chunk()?;
        let next = u32::from_be_bytes(*next);
        self.payload.advance(size_of::<u32>());
        Some((next, self))
    }

    /// Returns the answer to [`Query::Stamped`](super::Query::Stamped): how many changes of names there had been,
    /// and the answer.
    pub fn stamped(version: u64, reply: &Self) -> Self {
        Self { payload: Bytes::from([&version.to_be_bytes(), &*reply.payload].concat()) }
    }

    /// Returns what [`Reply::stamped`] was made of.
    pub fn into_stamped(mut self) -> Option<(u64, Self)> {
        let (version, _) = self.payload.split_first_chunk()?;
        let version = u64::from_be_bytes(*version);
        self.payload.advance(size_of::<u64>());
        Some((version, self))
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
    /// Returns a codec that refuses payloads of more than [`MAX_REPLY`].
    pub fn new() -> Self {
        Self::with_limit(MAX_REPLY)
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
