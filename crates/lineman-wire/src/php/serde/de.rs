//! PHP to Rust: a [`Value`] as a serde deserializer.

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer, Unexpected,
    VariantAccess, Visitor,
};
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

fn visit_map<'de, V: Visitor<'de>>(array: Array, visitor: V) -> Result<V::Value, Error> {
    let mut entries =
        MapDeserializer::new(array.into_iter().map(|(key, value)| (KeyDeserializer(key), value)));
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

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_enum(Variant::try_from(self)?)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string unit unit_struct
        identifier ignored_any
    }
}

/// An enum as `serde_json` tags it: a string, or an array with the variant's name as its one key.
#[derive(Debug)]
struct Variant {
    name: Key,
    fields: Option<Value>,
}

impl TryFrom<Value> for Variant {
    type Error = Error;

    fn try_from(value: Value) -> Result<Self, Error> {
        match value {
            Value::String(name) => Ok(Self { name: Key::from(name), fields: None }),
            Value::Array(array) if array.len() == 1 => array
                .into_iter()
                .next()
                .map(|(name, fields)| Self { name, fields: Some(fields) })
                .ok_or_else(|| Error::custom("an enum without a variant")),
            _ => Err(Error::custom("an enum is a string or an array with one entry")),
        }
    }
}

impl<'de> EnumAccess<'de> for Variant {
    type Error = Error;
    type Variant = VariantFields;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, VariantFields), Error> {
        let name = seed.deserialize(KeyDeserializer(self.name))?;
        Ok((name, VariantFields(self.fields)))
    }
}

#[derive(Debug)]
struct VariantFields(Option<Value>);

impl VariantFields {
    fn required(self, expected: &str) -> Result<Value, Error> {
        self.0.ok_or_else(|| Error::invalid_type(Unexpected::UnitVariant, &expected))
    }
}

impl<'de> VariantAccess<'de> for VariantFields {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        match self.0 {
            None | Some(Value::Null) => Ok(()),
            Some(_) => Err(Error::invalid_type(Unexpected::NewtypeVariant, &"unit variant")),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(self.required("newtype variant")?)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.required("tuple variant")?.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.required("struct variant")?.deserialize_map(visitor)
    }
}
