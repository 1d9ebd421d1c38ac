//! A uid or a group in a list, where JSON tells numbers from strings and the gateway does not.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Serialize;

/// A uid or the name of a group, as a PHP program wrote it: `42` or `"42"`.
///
/// Both mean the same to a gateway, which looks up [`to_bytes`](Self::to_bytes).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Name {
    /// A number in JSON.
    Number(i64),
    /// A string in JSON.
    Text(String),
}

impl Name {
    /// Returns the name as text.
    pub fn as_text(&self) -> Cow<'_, str> {
        match self {
            Self::Number(number) => Cow::Owned(number.to_string()),
            Self::Text(text) => Cow::Borrowed(text),
        }
    }

    /// Returns the name as the key of a gateway's tables.
    pub fn to_bytes(&self) -> Bytes {
        Bytes::from(self.as_text().into_owned())
    }

    /// Reads a scalar as PHP uses it for a key of an array; `None` for arrays and objects.
    pub(super) fn from_json(value: &serde_json::Value) -> Option<Self> {
        match value {
            serde_json::Value::Null => Some(Self::Text(String::new())),
            serde_json::Value::Bool(value) => Some(Self::Number(i64::from(*value))),
            serde_json::Value::Number(number) => {
                Some(number.as_i64().map_or_else(|| Self::Text(number.to_string()), Self::Number))
            }
            serde_json::Value::String(text) => Some(Self::Text(text.clone())),
            serde_json::Value::Array(_) | serde_json::Value::Object(_) => None,
        }
    }
}

impl From<String> for Name {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Name {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<i64> for Name {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}
