//! PHP to Rust: a [`Value`] as a serde deserializer.

use serde::de::value::{MapAccessDeserializer, MapDeserializer, SeqDeserializer};
use serde::de::{Deserializer, Error as _, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::super::{Array, Error, Key, Value};
use super::key::KeyDeserializer;

impl IntoDeserializer<'_, Error> for Value {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl IntoDeserializer<'_, Error> for KeyDeserializer {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

fn visit_seq<'de, V: Visitor<'de>>(array: Array, visitor: V) -> Result<V::Value, Error> {
    let mut values = SeqDeserializer::new(array.into_iter().map(|(_, value)| value));
    let sequence = visitor.visit_seq(&mut values)?;
    values.end()?;
    Ok(sequence)
}

type Entries<I> = MapDeserializer<'static, I, Error>;

fn entries(array: Array) -> Entries<impl Iterator<Item = (KeyDeserializer, Value)>> {
    MapDeserializer::new(array.into_iter().map(|(key, value)| (KeyDeserializer(key), value)))
}

fn visit_map<'de, V: Visitor<'de>>(array: Array, visitor: V) -> Result<V::Value, Error> {
    let mut entries = entries(array);
    let map = visitor.visit_map(&mut entries)?;
    entries.end()?;
    Ok(map)
}

impl<'de> Deserializer<'de> for Value {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Self::Null => visitor.visit_unit(),
            Self::Bool(value) => visitor.visit_bool(value),
            Self::Int(value) => visitor.visit_i64(value),
            Self::Float(value) => visitor.visit_f64(value),
            Self::String(text) => match String::from_utf8(text.into()) {
                Ok(text) => visitor.visit_string(text),
                Err(error) => visitor.visit_byte_buf(error.into_bytes()),
            },
            Self::Array(array) if array.is_list() && !array.is_empty() => visit_seq(array, visitor),
            Self::Array(array) => visit_map(array, visitor),
        }
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_byte_buf(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Self::String(text) => visitor.visit_byte_buf(text.into()),
            other => other.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    /// Takes lists, and arrays from which PHP code removed entries: their integer keys have holes.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Self::Array(array) if array.keys().all(|key| key.as_int().is_some()) => {
                visit_seq(array, visitor)
            }
            other => other.deserialize_any(visitor),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Self::Array(array) => visit_map(array, visitor),
            other => other.deserialize_any(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_map(visitor)
    }

    /// Takes an enum as `serde_json` tags it: a string, or an array with the variant's name as its key.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self {
            Self::String(name) => visitor.visit_enum(KeyDeserializer(Key::from(name))),
            Self::Array(array) if array.len() == 1 => {
                visitor.visit_enum(MapAccessDeserializer::new(entries(array)))
            }
            _ => Err(Error::custom("an enum is a string or an array with one entry")),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string unit unit_struct
        identifier ignored_any
    }
}
