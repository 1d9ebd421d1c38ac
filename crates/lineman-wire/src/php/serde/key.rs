//! Keys of maps: strings and integers of Rust to keys of PHP and back.

use std::borrow::Cow;

use serde::de::value::StringDeserializer;
use serde::de::{DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;
use serde::ser::{Impossible, Serialize, Serializer};

use super::super::{Error, Key};

/// Builds a [`Key`]; what is neither string nor integer is an error.
#[derive(Debug)]
pub(super) struct KeySerializer;

/// Names, each followed by the methods that serialize an integer of that type as a key.
macro_rules! integer_keys {
    ($($method:ident: $integer:ty),*) => {
        // An integer beyond 64 signed bits is a string in PHP, and reads back as the integer.
        $(fn $method(self, value: $integer) -> Result<Key, Error> {
            Ok(Key::from(value.to_string()))
        })*
    };
}

/// Methods for what cannot be a key: their arguments, what they would return, and what it is.
macro_rules! refused {
    ($($method:ident($($argument:ty),*) -> $output:ty: $what:literal;)*) => {
        $(fn $method(self, $(_: $argument),*) -> Result<$output, Error> {
            Err(Error::Key($what))
        })*
    };
}

impl Serializer for KeySerializer {
    type Ok = Key;
    type Error = Error;
    type SerializeSeq = Impossible<Key, Error>;
    type SerializeTuple = Impossible<Key, Error>;
    type SerializeTupleStruct = Impossible<Key, Error>;
    type SerializeTupleVariant = Impossible<Key, Error>;
    type SerializeMap = Impossible<Key, Error>;
    type SerializeStruct = Impossible<Key, Error>;
    type SerializeStructVariant = Impossible<Key, Error>;

    integer_keys! {
        serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_i128: i128, serialize_u8: u8, serialize_u16: u16, serialize_u32: u32,
        serialize_u64: u64, serialize_u128: u128
    }

    fn serialize_bool(self, value: bool) -> Result<Key, Error> {
        Ok(Key::from(if value { "true" } else { "false" }))
    }

    refused! {
        serialize_f32(f32) -> Key: "a float";
        serialize_f64(f64) -> Key: "a float";
        serialize_none() -> Key: "an option";
        serialize_unit() -> Key: "a unit";
        serialize_unit_struct(&'static str) -> Key: "a unit";
        serialize_seq(Option<usize>) -> Self::SerializeSeq: "a sequence";
        serialize_tuple(usize) -> Self::SerializeTuple: "a tuple";
        serialize_tuple_struct(&'static str, usize) -> Self::SerializeTupleStruct: "a tuple";
        serialize_tuple_variant(&'static str, u32, &'static str, usize)
            -> Self::SerializeTupleVariant: "an enum with fields";
        serialize_map(Option<usize>) -> Self::SerializeMap: "a map";
        serialize_struct(&'static str, usize) -> Self::SerializeStruct: "a struct";
        serialize_struct_variant(&'static str, u32, &'static str, usize)
            -> Self::SerializeStructVariant: "an enum with fields";
    }

    fn serialize_char(self, value: char) -> Result<Key, Error> {
        Ok(Key::from(value.to_string()))
    }

    fn serialize_str(self, value: &str) -> Result<Key, Error> {
        Ok(Key::from(value))
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<Key, Error> {
        Ok(Key::from(value))
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<Key, Error> {
        Err(Error::Key("an option"))
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<Key, Error> {
        Ok(Key::from(variant))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<Key, Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<Key, Error> {
        Err(Error::Key("an enum with fields"))
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Int(number) => serializer.serialize_i64(*number),
            Self::String(text) => match std::str::from_utf8(text) {
                Ok(text) => serializer.serialize_str(text),
                Err(_) => serializer.serialize_bytes(text),
            },
        }
    }
}

/// Reads a key as whatever the map's key type asks for; by itself it is text.
#[derive(Debug)]
pub(super) struct KeyDeserializer(pub(super) Key);

/// Methods that read a key as an integer, from an int key or from the text of one.
macro_rules! integer_from_key {
    ($($method:ident: $integer:ty => $visit:ident),*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            let text = self.0.to_bytes();
            match std::str::from_utf8(&text).ok().and_then(|text| text.parse::<$integer>().ok()) {
                Some(number) => visitor.$visit(number),
                None => self.deserialize_any(visitor),
            }
        })*
    };
}

impl<'de> Deserializer<'de> for KeyDeserializer {
    type Error = Error;

    integer_from_key! {
        deserialize_i8: i64 => visit_i64, deserialize_i16: i64 => visit_i64,
        deserialize_i32: i64 => visit_i64, deserialize_i64: i64 => visit_i64,
        deserialize_i128: i128 => visit_i128, deserialize_u8: u64 => visit_u64,
        deserialize_u16: u64 => visit_u64, deserialize_u32: u64 => visit_u64,
        deserialize_u64: u64 => visit_u64, deserialize_u128: u128 => visit_u128
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match String::from_utf8(into_vec(&self.0)) {
            Ok(text) => visitor.visit_string(text),
            Err(error) => visitor.visit_byte_buf(error.into_bytes()),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0.to_bytes().as_ref() {
            b"true" | b"1" => visitor.visit_bool(true),
            b"false" | b"0" => visitor.visit_bool(false),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_enum(self)
    }

    forward_to_deserialize_any! {
        f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct
        identifier ignored_any
    }
}

/// A key that names a variant without fields.
impl<'de> EnumAccess<'de> for KeyDeserializer {
    type Error = Error;
    type Variant = <StringDeserializer<Error> as EnumAccess<'de>>::Variant;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Self::Variant), Error> {
        let name = String::from_utf8(into_vec(&self.0)).map_err(|_| Error::Key("bytes"))?;
        let name: StringDeserializer<Error> = name.into_deserializer();
        name.variant_seed(seed)
    }
}

fn into_vec(key: &Key) -> Vec<u8> {
    match key.to_bytes() {
        Cow::Borrowed(text) => text.to_vec(),
        Cow::Owned(text) => text,
    }
}
