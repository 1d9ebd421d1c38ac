//! The message in a packet's body, as its flags say.

use bytes::Bytes;

use super::{Error, flags};
use crate::php;
use crate::websocket::Message;

/// A message, from or to a client.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// Bytes for the client's protocol to encode; no message at all is an empty scalar.
    Scalar(Bytes),
    /// Extension 4: as a scalar, and it is text. That it is UTF-8 is the peer's word.
    Text(Bytes),
    /// Extension 4: as a scalar, and it is binary.
    Binary(Bytes),
    /// Bytes that are encoded for the client's protocol already.
    Raw(Bytes),
    /// A PHP array, or null; the only form in which these travel.
    Value(php::Value),
}

impl Body {
    /// Returns the empty scalar, which stands for no message.
    pub fn empty() -> Self {
        Self::Scalar(Bytes::new())
    }

    /// Reads the body of a packet.
    ///
    /// # Errors
    /// It is said to be PHP-serialized and is not, or is raw but no string.
    pub fn read(flags: u8, body: Bytes) -> Result<Self, Error> {
        match (flags & flags::SCALAR != 0, flags & flags::RAW != 0) {
            (true, false) => Ok(match (flags & flags::TEXT != 0, flags & flags::BINARY != 0) {
                (true, false) => Self::Text(body),
                (false, true) => Self::Binary(body),
                (false, false) | (true, true) => Self::Scalar(body),
            }),
            (true, true) => Ok(Self::Raw(body)),
            (false, false) => Ok(Self::Value(unserialize(&body)?)),
            (false, true) => match unserialize(&body)? {
                php::Value::String(text) => Ok(Self::Raw(text)),
                _ => Err(Error::RawBody),
            },
        }
    }

    /// Returns flags and body of the packet that carries the message.
    pub fn into_parts(self) -> (u8, Bytes) {
        match self {
            Self::Scalar(body) => (flags::SCALAR, body),
            Self::Text(body) => (flags::SCALAR | flags::TEXT, body),
            Self::Binary(body) => (flags::SCALAR | flags::BINARY, body),
            Self::Raw(body) => (flags::SCALAR | flags::RAW, body),
            Self::Value(value) => (0, Bytes::from(php::serialize(&value))),
        }
    }
}

fn unserialize(body: &[u8]) -> Result<php::Value, Error> {
    Ok(php::unserialize(body, php::Limits::default())?)
}

/// Strings are text, bytes are binary, as with a [`Message`]. [`Body::Scalar`] has no type.
impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::Binary(bytes)
    }
}

impl From<Message> for Body {
    fn from(message: Message) -> Self {
        match message {
            Message::Text(text) => Self::Text(text.into_bytes()),
            Message::Binary(bytes) => Self::Binary(bytes),
        }
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self::Text(Bytes::from(text))
    }
}

impl From<&str> for Body {
    fn from(text: &str) -> Self {
        Self::from(text.to_owned())
    }
}

impl From<&String> for Body {
    fn from(text: &String) -> Self {
        Self::from(text.to_owned())
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Binary(Bytes::from(bytes))
    }
}

impl From<&[u8]> for Body {
    fn from(bytes: &[u8]) -> Self {
        Self::Binary(Bytes::copy_from_slice(bytes))
    }
}

impl From<php::Array> for Body {
    fn from(array: php::Array) -> Self {
        Self::Value(php::Value::Array(array))
    }
}
