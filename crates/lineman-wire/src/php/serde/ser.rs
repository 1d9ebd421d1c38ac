//! Rust to PHP: a serde serializer whose output is a [`Value`].

use std::fmt::Display;

use bytes::Bytes;
use serde::ser::{
    Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use super::super::{Array, Error, Key, Value};
use super::key::KeySerializer;

/// Builds a [`Value`].
#[derive(Debug)]
pub(super) struct ValueSerializer;

/// An array that is being filled, and the enum variant it will be wrapped in.
#[derive(Debug)]
pub(super) struct ArraySerializer {
    array: Array,
    key: Option<Key>,
    variant: Option<&'static str>,
}

impl ArraySerializer {
    fn new(variant: Option<&'static str>) -> Self {
        Self { array: Array::new(), key: None, variant }
    }

    fn insert<T: Serialize + ?Sized>(&mut self, key: Key, value: &T) -> Result<(), Error> {
        self.array.insert(key, value.serialize(ValueSerializer)?);
        Ok(())
    }

    fn finish(self) -> Value {
        match self.variant {
            Some(variant) => tagged(variant, Value::Array(self.array)),
            None => Value::Array(self.array),
        }
    }
}

fn tagged(variant: &'static str, value: Value) -> Value {
    Value::Array(Array::from_iter([(variant, value)]))
}

/// Methods that serialize an integer, if it fits into the 64 signed bits of PHP.
macro_rules! integers {
    ($($method:ident: $integer:ty),*) => {
        $(fn $method(self, value: $integer) -> Result<Value, Error> {
            i64::try_from(value).map(Value::Int).map_err(|_| Error::IntegerOutOfRange(value.into()))
        })*
    };
}

impl Serializer for ValueSerializer {
    type Ok = Value;
    type Error = Error;
    type SerializeSeq = ArraySerializer;
    type SerializeTuple = ArraySerializer;
    type SerializeTupleStruct = ArraySerializer;
    type SerializeTupleVariant = ArraySerializer;
    type SerializeMap = ArraySerializer;
    type SerializeStruct = ArraySerializer;
    type SerializeStructVariant = ArraySerializer;

    fn serialize_bool(self, value: bool) -> Result<Value, Error> {
        Ok(Value::Bool(value))
    }

    integers! {
        serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_i128: i128, serialize_u8: u8, serialize_u16: u16, serialize_u32: u32,
        serialize_u64: u64
    }

    fn serialize_f32(self, value: f32) -> Result<Value, Error> {
        Ok(Value::Float(f64::from(value)))
    }

    fn serialize_f64(self, value: f64) -> Result<Value, Error> {
        Ok(Value::Float(value))
    }

    fn serialize_char(self, value: char) -> Result<Value, Error> {
        Ok(Value::from(value.encode_utf8(&mut [0; 4]) as &str))
    }

    fn serialize_str(self, value: &str) -> Result<Value, Error> {
        Ok(Value::from(value))
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<Value, Error> {
        Ok(Value::String(Bytes::copy_from_slice(value)))
    }

    fn serialize_none(self) -> Result<Value, Error> {
        Ok(Value::Null)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Value, Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<Value, Error> {
        Ok(Value::Null)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Value, Error> {
        Ok(Value::Null)
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<Value, Error> {
        Ok(Value::from(variant))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<Value, Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<Value, Error> {
        Ok(tagged(variant, value.serialize(self)?))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<ArraySerializer, Error> {
        Ok(ArraySerializer::new(None))
    }

    fn serialize_tuple(self, _: usize) -> Result<ArraySerializer, Error> {
        Ok(ArraySerializer::new(None))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<ArraySerializer, Error> {
        Ok(ArraySerializer::new(None))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<ArraySerializer, Error> {
        Ok(ArraySerializer::new(Some(variant)))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<ArraySerializer, Error> {
        Ok(ArraySerializer::new(None))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<ArraySerializer, Error> {
        Ok(ArraySerializer::new(None))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<ArraySerializer, Error> {
        Ok(ArraySerializer::new(Some(variant)))
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<Value, Error> {
        Ok(Value::from(value.to_string()))
    }
}

/// The traits of what becomes a list, with their methods.
macro_rules! lists {
    ($($list:ident: $method:ident),*) => {
        $(impl $list for ArraySerializer {
            type Ok = Value;
            type Error = Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
                self.array.push(value.serialize(ValueSerializer)?);
                Ok(())
            }

            fn end(self) -> Result<Value, Error> {
                Ok(self.finish())
            }
        })*
    };
}

lists! {
    SerializeSeq: serialize_element, SerializeTuple: serialize_element,
    SerializeTupleStruct: serialize_field, SerializeTupleVariant: serialize_field
}

/// The traits of what has named fields.
macro_rules! structs {
    ($($fields:ident),*) => {
        $(impl $fields for ArraySerializer {
            type Ok = Value;
            type Error = Error;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), Error> {
                self.insert(Key::from(Bytes::from_static(name.as_bytes())), value)
            }

            fn end(self) -> Result<Value, Error> {
                Ok(self.finish())
            }
        })*
    };
}

structs! { SerializeStruct, SerializeStructVariant }

impl SerializeMap for ArraySerializer {
    type Ok = Value;
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.key = Some(key.serialize(KeySerializer)?);
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        let key = self.key.take().ok_or(Error::Key("missing"))?;
        self.insert(key, value)
    }

    fn end(self) -> Result<Value, Error> {
        Ok(self.finish())
    }
}
