//! Fingerprints of sessions: whether a handler has changed one is asked after each event, so it must
//! not cost a session written in PHP's format. Called by `session`; what is hashed is kept nowhere.

use std::hash::{BuildHasher, RandomState};

use bytes::Bytes;
use serde::Serialize;
use serde::de::value::Error;
use serde::ser;

/// How much of the buffer is kept for the next value, in bytes: sessions are far below it.
const KEPT: usize = 16 * 1024;

/// Hashes values and bytes; keyed, for clients choose what is in their sessions.
#[derive(Debug, Default)]
pub(super) struct Fingerprints {
    key: RandomState,
    buffer: Vec<u8>,
}

impl Fingerprints {
    /// Returns the fingerprint of a session in PHP's format.
    pub(super) fn of_bytes(&self, bytes: &Bytes) -> u64 {
        self.key.hash_one(bytes)
    }

    /// Returns the fingerprint of a session's value; `None` if the value refuses to be written.
    pub(super) fn of_value(&mut self, value: &impl Serialize) -> Option<u64> {
        self.buffer.clear();
        let written = value.serialize(&mut Writer(&mut self.buffer));
        let fingerprint = self.key.hash_one(&self.buffer);
        self.buffer.shrink_to(KEPT);
        written.is_ok().then_some(fingerprint)
    }
}

/// Writes a value as bytes that differ wherever the value does: each says what it is and where it ends.
struct Writer<'a>(&'a mut Vec<u8>);

/// What a value begins with.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Mark {
    None,
    Some,
    Unit,
    Bytes,
    Variant,
    Open,
    Close,
}

impl Writer<'_> {
    fn mark(&mut self, mark: Mark) {
        self.0.push(mark as u8);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.mark(Mark::Bytes);
        self.0.extend_from_slice(&bytes.len().to_le_bytes());
        self.0.extend_from_slice(bytes);
    }

    fn variant(&mut self, index: u32) {
        self.mark(Mark::Variant);
        self.0.extend_from_slice(&index.to_le_bytes());
    }
}

/// Numbers of every width, as they lie in memory, each behind a mark of its type.
macro_rules! scalars {
    ($($name:ident: $type:ty = $mark:literal),* $(,)?) => {$(
        fn $name(self, value: $type) -> Result<(), Error> {
            self.0.push($mark);
            self.0.extend_from_slice(&value.to_le_bytes());
            Ok(())
        }
    )*};
}

impl ser::Serializer for &mut Writer<'_> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    scalars! {
        serialize_i8: i8 = 16, serialize_i16: i16 = 17, serialize_i32: i32 = 18,
        serialize_i64: i64 = 19, serialize_u8: u8 = 20, serialize_u16: u16 = 21,
        serialize_u32: u32 = 22, serialize_u64: u64 = 23, serialize_f32: f32 = 24,
        serialize_f64: f64 = 25,
    }

    fn serialize_i128(self, value: i128) -> Result<(), Error> {
        self.serialize_bytes(&value.to_le_bytes())
    }

    fn serialize_u128(self, value: u128) -> Result<(), Error> {
        self.serialize_bytes(&value.to_le_bytes())
    }

    fn serialize_bool(self, value: bool) -> Result<(), Error> {
        self.serialize_u8(u8::from(value))
    }

    fn serialize_char(self, value: char) -> Result<(), Error> {
        self.serialize_u32(u32::from(value))
    }

    fn serialize_str(self, text: &str) -> Result<(), Error> {
        self.serialize_bytes(text.as_bytes())
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), Error> {
        self.bytes(bytes);
        Ok(())
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.mark(Mark::None);
        Ok(())
    }

    fn serialize_some<T: ?Sized + Serialize>(self, value: &T) -> Result<(), Error> {
        self.mark(Mark::Some);
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Error> {
        self.mark(Mark::Unit);
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
    ) -> Result<(), Error> {
        self.variant(index);
        Ok(())
    }

    fn serialize_newtype_struct<T: ?Sized + Serialize>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: ?Sized + Serialize>(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.variant(index);
        value.serialize(self)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self, Error> {
        self.mark(Mark::Open);
        Ok(self)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, Error> {
        self.serialize_seq(None)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, Error> {
        self.serialize_seq(None)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, Error> {
        self.variant(index);
        self.serialize_seq(None)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self, Error> {
        self.serialize_seq(None)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Error> {
        self.serialize_seq(None)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, Error> {
        self.variant(index);
        self.serialize_seq(None)
    }
}

/// The elements of lists, each behind the one before.
macro_rules! lists {
    ($($trait:ident::$element:ident),* $(,)?) => {$(
        impl ser::$trait for &mut Writer<'_> {
            type Ok = ();
            type Error = Error;

            fn $element<T: ?Sized + Serialize>(&mut self, value: &T) -> Result<(), Error> {
                value.serialize(&mut **self)
            }

            fn end(self) -> Result<(), Error> {
                self.mark(Mark::Close);
                Ok(())
            }
        }
    )*};
}

lists! {
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field,
}

/// Fields with their names: one that is left out must not look like the next.
macro_rules! structs {
    ($($trait:ident),* $(,)?) => {$(
        impl ser::$trait for &mut Writer<'_> {
            type Ok = ();
            type Error = Error;

            fn serialize_field<T: ?Sized + Serialize>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), Error> {
                self.bytes(name.as_bytes());
                value.serialize(&mut **self)
            }

            fn end(self) -> Result<(), Error> {
                self.mark(Mark::Close);
                Ok(())
            }
        }
    )*};
}

structs!(SerializeStruct, SerializeStructVariant);

impl ser::SerializeMap for &mut Writer<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: ?Sized + Serialize>(&mut self, key: &T) -> Result<(), Error> {
        key.serialize(&mut **self)
    }

    fn serialize_value<T: ?Sized + Serialize>(&mut self, value: &T) -> Result<(), Error> {
        value.serialize(&mut **self)
    }

    fn end(self) -> Result<(), Error> {
        self.mark(Mark::Close);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn bytes(value: impl Serialize) -> Vec<u8> {
        let mut bytes = Vec::new();
        value.serialize(&mut Writer(&mut bytes)).unwrap();
        bytes
    }

    #[derive(Serialize)]
    enum Shape {
        Unit,
        One(u8),
        Two(u8, u8),
        Named { width: u8 },
    }

    #[derive(Serialize)]
    struct Sparse {
        #[serde(skip_serializing_if = "Option::is_none")]
        first: Option<u8>,
        #[serde(skip_serializing_if = "Option::is_none")]
        second: Option<u8>,
    }

    #[test]
    fn values_that_differ_have_bytes_that_differ() {
        let all = [
            bytes(()),
            bytes(None::<u8>),
            bytes(Some(1_u8)),
            bytes(Some(2_u8)),
            bytes(1_u16),
            bytes(1_i128),
            bytes(f64::NAN),
            bytes(f64::INFINITY),
            bytes(0.0),
            bytes(-0.0),
            bytes(""),
            bytes("ab"),
            bytes(("a", "b")),
            bytes(("ab", "")),
            bytes(("", "ab")),
            bytes([[1_u8].as_slice(), &[]]),
            bytes([[].as_slice(), &[1_u8]]),
            bytes(BTreeMap::from([("a", 1)])),
            bytes(BTreeMap::from([("a", 2)])),
            bytes(BTreeMap::from([("b", 1)])),
            bytes(Shape::Unit),
            bytes(Shape::One(1)),
            bytes(Shape::Two(1, 1)),
            bytes(Shape::Named { width: 1 }),
            bytes(Sparse { first: Some(1), second: None }),
            bytes(Sparse { first: None, second: Some(1) }),
        ];
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
    }

    #[test]
    fn a_value_that_cannot_be_written_has_none() {
        struct Stubborn;

        impl Serialize for Stubborn {
            fn serialize<S: ser::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(ser::Error::custom("not this one"))
            }
        }

        let mut fingerprints = Fingerprints::default();
        assert_eq!(fingerprints.of_value(&Stubborn), None);
        assert_eq!(fingerprints.of_value(&1), fingerprints.of_value(&1));
        assert_ne!(fingerprints.of_value(&1), fingerprints.of_value(&2));
    }

    #[test]
    fn equal_values_have_equal_bytes() {
        let session = || BTreeMap::from([("name", Some("Ada")), ("room", None)]);
        assert_eq!(bytes(session()), bytes(session()));
    }
}
