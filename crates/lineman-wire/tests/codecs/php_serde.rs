//! The bridge between serde's types and PHP values: each type's form, as a value and as a key.

use std::collections::{BTreeMap, HashMap};

use lineman_wire::link::ClientId;
use lineman_wire::php::{self, Array, Error, Key, Value};
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Nothing;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Point(i8, f32);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Metres(i16);

/// Checks what a value is written as, and that it is read back.
#[track_caller]
fn bridges<T: Serialize + for<'de> Deserialize<'de> + PartialEq + std::fmt::Debug>(
    value: &T,
    expected: &str,
) {
    let bytes = php::to_vec(value).expect("it has a form");
    assert_eq!(String::from_utf8_lossy(&bytes), expected);
    assert_eq!(php::from_slice::<T>(&bytes).as_ref(), Ok(value));
}

#[test]
fn every_type_of_serde_has_a_form() {
    bridges(&i8::MIN, "i:-128;");
    bridges(&i16::MIN, "i:-32768;");
    bridges(&i32::MIN, "i:-2147483648;");
    bridges(&i64::MIN, "i:-9223372036854775808;");
    bridges(&i128::from(i64::MAX), "i:9223372036854775807;");
    bridges(&u8::MAX, "i:255;");
    bridges(&u16::MAX, "i:65535;");
    bridges(&u32::MAX, "i:4294967295;");
    bridges(&i64::MAX.unsigned_abs(), "i:9223372036854775807;");
    bridges(&0.25_f32, "d:0.25;");
    bridges(&-0.25_f64, "d:-0.25;");
    bridges(&'é', "s:2:\"é\";");
    bridges(&true, "b:1;");
    bridges(&(), "N;");
    bridges(&Nothing, "N;");
    bridges(&Metres(-7), "i:-7;");
    bridges(&Point(-1, 0.5), "a:2:{i:0;i:-1;i:1;d:0.5;}");
    bridges(
        &(1_u8, "a".to_owned(), [true, false]),
        "a:3:{i:0;i:1;i:1;s:1:\"a\";i:2;a:2:{i:0;b:1;i:1;b:0;}}",
    );
    bridges(&Some(Metres(1)), "i:1;");
    bridges(&None::<Metres>, "N;");
    let below = i128::from(i64::MIN) - 1;
    assert_eq!(php::to_vec(&below), Err(Error::IntegerOutOfRange(below)));
    assert_eq!(php::to_vec(&i128::MAX), Err(Error::IntegerOutOfRange(i128::MAX)));
}

/// What a format with options of its own visits.
struct Optional(Option<i64>);

impl<'de> serde::Deserializer<'de> for Optional {
    type Error = Error;

    fn deserialize_any<V: serde::de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Some(number) => visitor.visit_some(Value::Int(number)),
            None => visitor.visit_none(),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

#[test]
fn values_go_to_other_formats_and_come_from_them() {
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    let list: Array = (1..=2).map(Value::Int).collect();
    assert_eq!(php::from_value(list.clone().into()), Ok(json("[1,2]")));
    assert_eq!(php::from_value(Array::new().into()), Ok(json("{}")));
    assert_eq!(
        php::from_value(Array::from_iter([("a", list.clone())]).into()),
        Ok(json(r#"{"a":[1,2]}"#))
    );
    assert_eq!(serde_json::from_str::<Array>("[1,2]").unwrap(), list);
    assert!(serde_json::from_str::<Array>("1").is_err());
    assert_eq!(serde_json::from_str::<Value>("7").unwrap(), Value::Int(7));
    let beyond = serde_json::from_str::<Value>("18446744073709551615").unwrap_err().to_string();
    assert!(beyond.contains("integer beyond 64 signed bits"), "{beyond}");
    assert_eq!(php::from_value::<Key>(Value::Int(7)), Ok(Key::Int(7)));
    assert_eq!(php::from_value::<Key>(Value::from("a")), Ok(Key::from("a")));
    assert!(php::from_value::<Key>(Value::Null).is_err());
    assert_eq!(Value::deserialize(Optional(Some(3))), Ok(Value::Int(3)));
    assert_eq!(Value::deserialize(Optional(None)), Ok(Value::Null));
    let wide = serde::de::IntoDeserializer::<serde::de::value::Error>::into_deserializer(1_i128);
    let error = Value::deserialize(wide).unwrap_err().to_string();
    assert!(error.contains("expected a php value"), "{error}");
    // What writes itself as text.
    bridges(&std::net::Ipv4Addr::LOCALHOST, "s:9:\"127.0.0.1\";");
    let id = ClientId::new(std::net::Ipv4Addr::LOCALHOST, 1, 2);
    bridges(&id, "s:20:\"7f000001000100000002\";");
}

#[test]
fn every_integer_is_a_key() {
    fn bridges_key<K: Serialize + for<'de> Deserialize<'de> + Ord + std::fmt::Debug>(
        key: K,
        expected: &str,
    ) {
        bridges(&BTreeMap::from([(key, 0)]), &format!("a:1:{{{expected}i:0;}}"));
    }
    bridges_key(i8::MIN, "i:-128;");
    bridges_key(i16::MIN, "i:-32768;");
    bridges_key(i32::MIN, "i:-2147483648;");
    bridges_key(i64::MIN, "i:-9223372036854775808;");
    bridges_key(i128::MIN, "s:40:\"-170141183460469231731687303715884105728\";");
    bridges_key(u8::MAX, "i:255;");
    bridges_key(u16::MAX, "i:65535;");
    bridges_key(u32::MAX, "i:4294967295;");
    bridges_key(u64::MAX, "s:20:\"18446744073709551615\";");
    bridges_key(u128::MAX, "s:39:\"340282366920938463463374607431768211455\";");
    bridges_key('a', "s:1:\"a\";");
    bridges_key('7', "i:7;");
    bridges_key("b".to_owned(), "s:1:\"b\";");
    bridges_key(true, "s:4:\"true\";");
    bridges_key(false, "s:5:\"false\";");
    assert_eq!(php::from_slice(b"a:1:{i:1;i:0;}"), Ok(BTreeMap::from([(true, 0)])));
    assert_eq!(php::from_slice(b"a:1:{i:0;i:0;}"), Ok(BTreeMap::from([(false, 0)])));
    assert!(php::from_slice::<BTreeMap<bool, u8>>(b"a:1:{i:2;i:0;}").is_err());
    assert!(php::from_slice::<BTreeMap<u8, u8>>(b"a:1:{i:256;i:0;}").is_err());
    assert!(php::from_slice::<BTreeMap<u8, u8>>(b"a:1:{s:1:\"a\";i:0;}").is_err());
}

#[test]
fn names_of_variants_and_wrapped_texts_are_keys() {
    #[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    enum Kind {
        Plain,
        With(u8),
    }
    #[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    struct Name(String);
    bridges(&BTreeMap::from([(Kind::Plain, 1)]), "a:1:{s:5:\"Plain\";i:1;}");
    bridges(&BTreeMap::from([(Name("a".to_owned()), 1)]), "a:1:{s:1:\"a\";i:1;}");
    let refused = |outcome: Result<Vec<u8>, Error>| match outcome {
        Err(Error::Key(what)) => what,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(php::to_vec(&BTreeMap::from([(Kind::With(1), 1)]))), "an enum with fields");
    assert_eq!(refused(php::to_vec(&BTreeMap::from([(Some(1), 1)]))), "an option");
    assert_eq!(refused(php::to_vec(&BTreeMap::from([(None::<u8>, 1)]))), "an option");
    assert_eq!(refused(php::to_vec(&BTreeMap::from([((1, 2), 1)]))), "a tuple");
    assert_eq!(refused(php::to_vec(&BTreeMap::from([(BTreeMap::from([(1, 2)]), 1)]))), "a map");
    assert!(php::from_slice::<BTreeMap<Kind, u8>>(b"a:1:{s:4:\"With\";i:1;}").is_err());
    // An option as a key cannot be written, but an untyped key reads as one.
    let read = php::from_slice(b"a:1:{s:1:\"a\";i:1;}");
    assert_eq!(read, Ok(BTreeMap::from([(Some("a".to_owned()), 1)])));
}

#[test]
fn php_arrays_fit_where_rust_is_stricter() {
    assert_eq!(php::from_slice::<f64>(b"i:3;"), Ok(3.0));
    assert_eq!(php::from_slice::<Vec<u8>>(b"a:0:{}"), Ok(vec![]));
    assert_eq!(php::from_slice::<HashMap<String, u8>>(b"a:0:{}"), Ok(HashMap::new()));
    // What `unset` leaves of a list.
    assert_eq!(php::from_slice::<Vec<u8>>(b"a:2:{i:0;i:5;i:2;i:6;}"), Ok(vec![5, 6]));
    let map = BTreeMap::from([(0, 5), (1, 6)]);
    assert_eq!(php::from_slice::<BTreeMap<u8, u8>>(b"a:2:{i:0;i:5;i:1;i:6;}"), Ok(map));
    let huge = BTreeMap::from([(u64::MAX, 1)]);
    assert_eq!(php::from_slice(&php::to_vec(&huge).unwrap()), Ok(huge));
    let flags = BTreeMap::from([(true, 1), (false, 0)]);
    assert_eq!(php::from_slice(&php::to_vec(&flags).unwrap()), Ok(flags));
}
