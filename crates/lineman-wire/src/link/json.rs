//! The JSON in ext data and bodies: lists that PHP may send as objects, and sets of connections.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde::ser::Serializer;
use serde_json::Value;

use super::{Command, Error, Name, php_json};

/// Reads JSON that a command carries.
pub(super) fn read<T: DeserializeOwned>(command: Command, json: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(json).map_err(|source| Error::Json { command, source })
}

/// Writes JSON of our own types.
pub(super) fn write<T: Serialize>(value: &T) -> Bytes {
    Bytes::from(to_string(value))
}

/// Writes JSON of our own types as text.
pub(super) fn to_string<T: Serialize>(value: &T) -> String {
    php_json::to_string(value).expect("names and numbers always become JSON")
}

/// Reads a list of uids or groups; of an object, which PHP makes of a list with holes, the values.
pub(super) fn names(command: Command, list: &Value) -> Result<Vec<Name>, Error> {
    let name = |value| {
        Name::from_json(value).ok_or(Error::Shape { command, expected: "strings or numbers" })
    };
    match list {
        Value::Array(values) => values.iter().map(name).collect(),
        Value::Object(entries) => entries.values().map(name).collect(),
        _ => Err(Error::Shape { command, expected: "a list of names" }),
    }
}

/// Reads connection ids from the values of a list or an object. What cannot be an id matches no
/// client, so it is left out.
pub(super) fn ids_of_values(command: Command, set: &Value) -> Result<Vec<u32>, Error> {
    match set {
        Value::Array(values) => Ok(values.iter().filter_map(id).collect()),
        Value::Object(entries) => Ok(entries.values().filter_map(id).collect()),
        _ => Err(Error::Shape { command, expected: "a set of connection ids" }),
    }
}

/// Reads connection ids from the keys of an object; a list has the keys 0, 1, 2, … An entry that
/// is null does not count, as PHP asks `isset`.
pub(super) fn ids_of_keys(command: Command, set: &Value) -> Result<Vec<u32>, Error> {
    match set {
        Value::Null => Ok(Vec::new()),
        Value::Array(values) => {
            let keys = (0..).zip(values).filter(|(_, value)| !value.is_null());
            Ok(keys.map(|(key, _)| key).collect())
        }
        Value::Object(entries) => {
            let keys = entries.iter().filter(|(_, value)| !value.is_null());
            Ok(keys.filter_map(|(key, _)| parse_id(key)).collect())
        }
        _ => Err(Error::Shape { command, expected: "a set of connection ids" }),
    }
}

fn id(value: &Value) -> Option<u32> {
    match value {
        Value::Number(number) => u32::try_from(number.as_u64()?).ok(),
        Value::String(text) => parse_id(text),
        _ => None,
    }
}

fn parse_id(text: &str) -> Option<u32> {
    let digits = !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// Connection ids as PHP sends them: `{"1":1,"2":2}`, and `[]` for none.
#[derive(Debug)]
pub(super) struct IdSet<'a>(pub(super) &'a [u32]);

impl Serialize for IdSet<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_empty() {
            return serializer.collect_seq(self.0);
        }
        serializer.collect_map(self.0.iter().map(|id| (id, id)))
    }
}
