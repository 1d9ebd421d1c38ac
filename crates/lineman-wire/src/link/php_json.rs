//! JSON as PHP's `json_encode` writes it: `\/`, `\u00e9`, and floats with `e+` exponents.

use std::io;

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

use crate::php;

/// Returns `value` as PHP's `json_encode` would write it.
///
/// # Errors
/// A map has keys that are no strings, or the type's own `Serialize` fails.
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<Vec<u8>> {
    let mut json = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut json, PhpFormatter))?;
    Ok(json)
}

/// Returns `value` as PHP's `json_encode` would write it, which is plain ASCII.
///
/// # Errors
/// As [`to_vec`].
pub fn to_string<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<String> {
    let json = to_vec(value)?;
    String::from_utf8(json).map_err(serde::ser::Error::custom)
}

/// The formatter for `serde_json` behind [`to_vec`].
#[derive(Debug, Clone, Copy, Default)]
pub struct PhpFormatter;

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
        while let Some(place) = rest.find(|c: char| c == '/' || !c.is_ascii()) {
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
