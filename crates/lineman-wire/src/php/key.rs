//! Keys of PHP arrays, and the rule that makes `"42"` and `42` the same key.

use std::borrow::Cow;

use bytes::Bytes;

/// A key of a PHP array.
///
/// A string that is written as PHP writes an integer is that integer: `Key::from("42")` is
/// `Key::Int(42)`, while `"007"`, `"+1"`, `"-0"` and `"9223372036854775808"` stay strings. Every
/// conversion and every method of [`Array`](super::Array) applies the rule.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// An integer.
    Int(i64),
    /// Bytes that do not spell an integer.
    String(Bytes),
}

impl Key {
    /// Returns the key as PHP prints it.
    pub fn to_bytes(&self) -> Cow<'_, [u8]> {
        match self {
            Self::Int(number) => Cow::Owned(number.to_string().into_bytes()),
            Self::String(text) => Cow::Borrowed(text),
        }
    }

    /// Returns the integer, if the key is one.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            Self::String(_) => None,
        }
    }

    pub(super) fn normalised(self) -> Self {
        match self {
            Self::String(text) => Self::from(text),
            Self::Int(_) => self,
        }
    }
}

/// Returns the integer that `text` spells exactly as PHP would write it.
fn canonical_int(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let canonical = match digits {
        [b'0'] => digits.len() == text.len(),
        // The parser knows digits and bounds; what is longer than the least integer is none.
        [b'1'..=b'9', ..] => text.len() <= 20,
        _ => false,
    };
    if !canonical {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

impl From<Bytes> for Key {
    fn from(text: Bytes) -> Self {
        canonical_int(&text).map_or(Self::String(text), Self::Int)
    }
}

impl From<&[u8]> for Key {
    fn from(text: &[u8]) -> Self {
        canonical_int(text).map_or_else(|| Self::String(Bytes::copy_from_slice(text)), Self::Int)
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        Self::from(text.as_bytes())
    }
}

impl From<String> for Key {
    fn from(text: String) -> Self {
        Self::from(Bytes::from(text))
    }
}

impl From<i64> for Key {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<u32> for Key {
    fn from(number: u32) -> Self {
        Self::Int(i64::from(number))
    }
}

impl From<i32> for Key {
    fn from(number: i32) -> Self {
        Self::Int(i64::from(number))
    }
}
