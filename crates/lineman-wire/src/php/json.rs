//! PHP values to JSON as `json_encode` sees them, and back as `json_decode(…, true)`.

use super::{Error, Key, Value};

/// As `json_encode`: a list becomes an array, any other array an object.
impl TryFrom<&Value> for serde_json::Value {
    type Error = Error;

    fn try_from(value: &Value) -> Result<Self, Error> {
        Ok(match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(*value),
            Value::Int(value) => Self::from(*value),
            Value::Float(value) => {
                serde_json::Number::from_f64(*value).map(Self::Number).ok_or(Error::NotFinite)?
            }
            Value::String(text) => Self::String(utf8(text)?),
            Value::Array(array) if array.is_list() => {
                Self::Array(array.values().map(Self::try_from).collect::<Result<_, _>>()?)
            }
            Value::Array(array) => {
                let entry = |(key, value)| Ok((key_text(key)?, Self::try_from(value)?));
                Self::Object(array.iter().map(entry).collect::<Result<_, Error>>()?)
            }
        })
    }
}

fn key_text(key: &Key) -> Result<String, Error> {
    utf8(&key.to_bytes())
}

fn utf8(text: &[u8]) -> Result<String, Error> {
    std::str::from_utf8(text).map(ToOwned::to_owned).map_err(|_| Error::NotUtf8)
}

/// As `json_decode` with associative arrays; integers beyond 64 signed bits become floats.
impl From<serde_json::Value> for Value {
    fn from(value: serde_json::Value) -> Self {
        match value {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(value) => Self::Bool(value),
            serde_json::Value::Number(number) => match number.as_i64() {
                Some(number) => Self::Int(number),
                None => Self::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            serde_json::Value::String(text) => Self::from(text),
            serde_json::Value::Array(values) => {
                Self::Array(values.into_iter().map(Self::from).collect())
            }
            serde_json::Value::Object(entries) => Self::Array(entries.into_iter().collect()),
        }
    }
}
