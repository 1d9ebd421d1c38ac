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

    fn push<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.array.push(value.serialize(ValueSerializer)?);
        Ok(())
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

fn int<N: Copy + Into<i128>>(number: N) -> Result<Value, Error>
where
    i64: TryFrom<N>,
{
    i64::try_from(number).map(Value::Int).map_err(|_| Error::IntegerOutOfRange(number.into()))
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

    fn serialize_i8(self, value: i8) -> Result<Value, Error> {
        int(value)
    }

    fn serialize_i16(self, value: i16) -> Result<Value, Error> {
        int(value)
    }

    fn serialize_i32(self, value: i32) -> Result<Value, Error> {
        int(value)
    }

    fn serialize_i64(self, value: i64) -> Result<Value, Error> {
        int(value)
    }

    fn serialize_i128(self, value: i128) -> Result<Value, Error> {
        int(value)
    }

    fn serialize_u8(self, value: u8) -> Result<Value, Error> {
        int(value)
    }

    fn serialize_u16(self, value: u16) -> Result<Value, Error> {
        int(value)
    }

    fn serialize_u32(self, value: u32) -> Result<Value, Error> {
        int(value)
    }

    fn serialize_u64(self, value: u64) -> Result<Value, Error> {
        int(value)
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

impl SerializeSeq for ArraySerializer {
    type Ok = Value;
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.push(value)
    }

    fn end(self) -> Result<Value, Error> {
        Ok(self.finish())
    }
}

impl SerializeTuple for ArraySerializer {
    type Ok = Value;
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.push(value)
    }

    fn end(self) -> Result<Value, Error> {
        Ok(self.finish())
    }
}

impl SerializeTupleStruct for ArraySerializer {
    type Ok = Value;
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.push(value)
    }

    fn end(self) -> Result<Value, Error> {
        Ok(self.finish())
    }
}

impl SerializeTupleVariant for ArraySerializer {
    type Ok = Value;
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.push(value)
    }

    fn end(self) -> Result<Value, Error> {
        Ok(self.finish())
    }
}

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

impl SerializeStruct for ArraySerializer {
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
}

impl SerializeStructVariant for ArraySerializer {
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
}
