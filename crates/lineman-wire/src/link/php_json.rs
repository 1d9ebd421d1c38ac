//! JSON as PHP's `json_encode` writes it: `\/`, and floats with `e+` exponents. Registers and gateways read it from
//! each other with `\u00e9`; clients get `é`.

use std::io;

use serde::ser::{Error as _, Serialize, SerializeMap};
use serde_json::ser::{Formatter, Serializer};

use crate::php::{self, Key, Value};

/// Returns `value` as PHP's `json_encode` would write it.
///
/// # Errors
/// A map has keys that are no strings, or the type's own `Serialize` fails.
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<Vec<u8>> {
    write(value, Unicode::Escaped)
}

/// Returns `value` as PHP's `json_encode` would write it, which is plain ASCII.
///
/// # Errors
/// As [`to_vec`].
pub fn to_string<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<String> {
    String::from_utf8(to_vec(value)?).map_err(serde_json::Error::custom)
}

/// Returns a value as Workerman sends it to a WebSocket: as `json_encode` with `JSON_UNESCAPED_UNICODE`, so with
/// `é` and `\/`.
///
/// # Errors
/// It has a string that is not UTF-8, or a float that is not finite: `json_encode` fails with these.
pub fn to_client(value: &Value) -> serde_json::Result<String> {
    String::from_utf8(write(&ClientJson(value), Unicode::Plain)?).map_err(serde_json::Error::custom)
}

fn write<T: Serialize + ?Sized>(value: &T, unicode: Unicode) -> serde_json::Result<Vec<u8>> {
    let mut json = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut json, PhpFormatter(unicode)))?;
    Ok(json)
}

/// A value without stand-ins for what JSON cannot say: numbers for bytes, null for infinity.
struct ClientJson<'a>(&'a Value);

impl Serialize for ClientJson<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::String(text) => serializer.serialize_str(utf8(text).map_err(S::Error::custom)?),
            Value::Float(number) if !number.is_finite() => {
                Err(S::Error::custom(php::Error::NotFinite))
            }
            Value::Array(array) if array.is_list() => {
                serializer.collect_seq(array.values().map(ClientJson))
            }
            Value::Array(array) => {
                let mut map = serializer.serialize_map(Some(array.len()))?;
                for (key, value) in array {
                    match key {
                        Key::Int(number) => map.serialize_key(number)?,
                        Key::String(text) => {
                            map.serialize_key(utf8(text).map_err(S::Error::custom)?)?;
                        }
                    }
                    map.serialize_value(&ClientJson(value))?;
                }
                map.end()
            }
            value @ (Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_)) => {
                value.serialize(serializer)
            }
        }
    }
}

fn utf8(text: &[u8]) -> Result<&str, php::Error> {
    std::str::from_utf8(text).map_err(|_| php::Error::NotUtf8)
}

/// What becomes of characters beyond ASCII.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unicode {
    Escaped,
    /// They stay, but for the two line ends that JavaScript does not take within a string.
    Plain,
}

/// The formatter for `serde_json` behind [`write`].
struct PhpFormatter(Unicode);

impl PhpFormatter {
    fn escapes(&self, character: char) -> bool {
        match self.0 {
            Unicode::Escaped => character == '/' || !character.is_ascii(),
            Unicode::Plain => matches!(character, '/' | '\u{2028}' | '\u{2029}'),
        }
    }
}

impl Formatter for PhpFormatter {
    fn write_f64<W: io::Write + ?Sized>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        let mut text = String::new();
        php::write_float(&mut text, value, 'e');
        writer.write_all(text.as_bytes())
    }

    fn write_f32<W: io::Write + ?Sized>(&mut self, writer: &mut W, value: f32) -> io::Result<()> {
        self.write_f64(writer, f64::from(value))
    }

    fn write_string_fragment<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(place) = rest.find(|character| self.escapes(character)) {
            let (plain, special) = rest.split_at(place);
            writer.write_all(plain.as_bytes())?;
            let mut characters = special.chars();
            match characters.next() {
                Some('/') => writer.write_all(b"\\/")?,
                Some(character) => {
                    for unit in character.encode_utf16(&mut [0; 2]) {
                        write!(writer, "\\u{unit:04x}")?;
                    }
                }
                None => {}
            }
            rest = characters.as_str();
        }
        writer.write_all(rest.as_bytes())
    }
}
