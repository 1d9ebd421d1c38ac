//! Sessions between our own ends: they have versions, travel when the other end does not have them, and are changed
//! field by field.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{SESSIONS, flags};
use crate::php::{self, Key, Value};

/// Which of a client's sessions it is, between a gateway and the business that has the client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionVersion {
    /// How often others than that business have changed it; the number wraps.
    pub changes: u32,
    /// The number of the last write of that business that it has, see [`SessionPatch`]; 0 for none.
    pub written: u32,
}

/// What a packet about a client has of the session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionForm {
    /// The session, and no word about its version: toward PHP, and toward versions of the extension below 5.
    #[default]
    Whole,
    /// Extension 5: the session and its version.
    Versioned(SessionVersion),
    /// Extension 5: nothing, for the receiver has what others have changed. The ext data does not travel. A version is
    /// there where it says of more writes that the session has them.
    Known(Option<SessionVersion>),
}

impl SessionForm {
    pub(super) fn new(is_known: bool, version: Option<SessionVersion>) -> Self {
        match version {
            version if is_known => Self::Known(version),
            Some(version) => Self::Versioned(version),
            None => Self::Whole,
        }
    }

    /// Returns what a peer of that version of the extension gets.
    pub(super) fn for_version(self, version: u32) -> Self {
        if version >= SESSIONS { self } else { Self::Whole }
    }

    /// Returns the version, if it is said.
    pub fn version(self) -> Option<SessionVersion> {
        match self {
            Self::Whole => None,
            Self::Versioned(version) => Some(version),
            Self::Known(version) => version,
        }
    }

    pub(super) fn flags(self) -> u8 {
        let known = if matches!(self, Self::Known(_)) { flags::KNOWN } else { 0 };
        self.version().map_or(0, |_| flags::VERSION) | known
    }
}

/// What a business has changed in the session of its client: the fields, and not the rest, which others may have changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionPatch {
    /// The [`SessionVersion::changes`] of the session that it was made of.
    pub base: u32,
    /// Numbers the writes of a business, from 1 on; it wraps, past 0.
    pub number: u32,
    /// The PHP-serialized array of the fields that it sets, each as a whole.
    pub fields: Bytes,
    /// The fields that are gone.
    pub removed: Vec<Key>,
}

impl SessionPatch {
    /// Reads the body of a packet; the ext data are the fields.
    pub(super) fn read(fields: Bytes, body: &[u8]) -> Option<Self> {
        let (base, rest) = body.split_first_chunk()?;
        let (number, rest) = rest.split_first_chunk()?;
        let removed = match php::unserialize(rest, php::Limits::default()).ok()? {
            Value::Array(keys) => keys.into_iter().map(|(_, key)| match key {
                Value::Int(key) => Some(Key::from(key)),
                Value::String(key) => Some(Key::from(key)),
                Value::Null | Value::Bool(_) | Value::Float(_) | Value::Array(_) => None,
            }),
            _ => return None,
        };
        Some(Self {
            base: u32::from_be_bytes(*base),
            number: u32::from_be_bytes(*number),
            fields,
            removed: removed.collect::<Option<_>>()?,
        })
    }

    /// Returns the body of its packet.
    pub(super) fn body(&self) -> Bytes {
        let key = |key: &Key| match key {
            Key::Int(key) => Value::Int(*key),
            Key::String(key) => Value::String(key.clone()),
        };
        let removed = php::serialize(&Value::Array(self.removed.iter().map(key).collect()));
        let numbers = [self.base.to_be_bytes(), self.number.to_be_bytes()].concat();
        Bytes::from([numbers, removed].concat())
    }
}
