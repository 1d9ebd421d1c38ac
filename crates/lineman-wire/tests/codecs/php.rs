//! PHP values: what is read, what is refused, and that nothing gets lost on the way.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use lineman_wire::php::{self, Array, Error, Key, Limits, Value};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

fn read(input: &[u8]) -> Result<Value, Error> {
    php::unserialize(input, Limits::default())
}

fn written(value: impl Into<Value>) -> String {
    String::from_utf8(php::serialize(&value.into())).expect("only UTF-8 is printed here")
}

#[test]
fn strings_that_spell_integers_are_integer_keys() {
    let int = |text: &str, number| assert_eq!(Key::from(text), Key::Int(number));
    int("42", 42);
    int("-5", -5);
    int("0", 0);
    int("9223372036854775807", i64::MAX);
    int("-9223372036854775808", i64::MIN);
    int("1000000000000000000", 1_000_000_000_000_000_000);
    int("-1000000000000000000", -1_000_000_000_000_000_000);
    for text in ["007", "+1", "-0", "", "-", "1.0", " 1", "1e3", "9223372036854775808", "x"]
        .into_iter()
        .chain(["-9223372036854775809", "10000000000000000000", "99999999999999999999"])
        .chain(["00", "-", "--1", "-00", "1-", "1 ", "12a"])
    {
        assert!(matches!(Key::from(text), Key::String(_)), "{text}");
    }
}

#[test]
fn a_key_keeps_the_place_of_its_first_value() {
    let mut array = Array::from_iter([("a", 1), ("7", 2), ("b", 3)]);
    assert_eq!(array.insert("a", 4), Some(Value::Int(1)));
    assert_eq!(array.insert(Key::String(Bytes::from_static(b"7")), 5), Some(Value::Int(2)));
    assert_eq!(array.push("next"), Some(8));
    assert_eq!(array.remove("b"), Some(Value::Int(3)));
    assert_eq!(written(array), r#"a:3:{s:1:"a";i:4;i:7;i:5;i:8;s:4:"next";}"#);
}

#[test]
fn lists_are_arrays_whose_keys_count_up() {
    let mut array: Array = (0..40).map(Value::Int).collect();
    assert!(array.is_list());
    assert_eq!(array.remove(39), Some(Value::Int(39)));
    assert!(array.is_list());
    // PHP does not give a removed key again.
    assert_eq!(array.push("after"), Some(40));
    assert!(!array.is_list());
    assert_eq!(array.get(40).and_then(Value::as_str), Some("after"));
    assert_eq!(array.get(12), Some(&Value::Int(12)));
    assert_eq!(array.get(39), None);
    assert!(Array::new().is_list());
    assert!(!Array::from_iter([(1, 1)]).is_list());
}

#[test]
fn after_falling_keys_the_greatest_one_counts() {
    let mut array = Array::from_iter([(9, 1), (3, 2), (8, 3)]);
    assert_eq!(array.push(4), Some(10));
    let mut negative = Array::from_iter([(-5, 1)]);
    assert_eq!(negative.push(2), Some(0));
    let mut greatest = Array::from_iter([(Key::Int(i64::MAX), 1), (Key::Int(0), 2)]);
    assert_eq!(greatest.push(3), None, "a lower key behind the greatest changes nothing");
}

#[test]
fn arrays_are_equal_in_entries_and_order() {
    let array = |entries: [(&str, i32); 2]| Array::from_iter(entries);
    let one = array([("a", 1), ("b", 2)]);
    assert_eq!(one, array([("a", 1), ("b", 2)]));
    assert_ne!(one, array([("a", 1), ("b", 3)]));
    assert_ne!(one, array([("a", 1), ("c", 2)]));
    assert_ne!(one, array([("b", 2), ("a", 1)]));
    assert_ne!(one, Array::from_iter([("a", 1)]));
    assert_ne!(one, Array::new());
}

#[test]
fn a_list_with_a_hole_is_no_list() {
    let mut array: Array = (0..4).map(Value::Int).collect();
    assert_eq!(
        (array.is_empty(), array.contains_key(3), array.contains_key(4)),
        (false, true, false)
    );
    assert_eq!(array.remove(1), Some(Value::Int(1)));
    assert!(!array.is_list());
    assert_eq!(written(array.clone()), "a:3:{i:0;i:0;i:2;i:2;i:3;i:3;}");
    assert_eq!(array.get(3), Some(&Value::Int(3)));
    assert_eq!(array.get_mut(2), Some(&mut Value::Int(2)));
    assert_eq!((array.contains_key(1), array.contains_key("3")), (false, true));
    for key in [0, 2, 3] {
        assert!(!array.is_empty());
        assert!(array.remove(key).is_some());
    }
    assert!(array.is_empty());
}

#[test]
fn values_tell_what_they_are() {
    let values = [
        Value::Null,
        Value::Bool(true),
        Value::Bool(false),
        Value::from(7_u32),
        Value::from(-7_i32),
        Value::from(0.5),
        Value::from("a"),
        Value::from(Array::new()),
    ];
    let of = |n: usize| {
        let value = &values[n];
        (value.is_null(), value.as_bool(), value.as_int(), value.as_float(), value.as_str())
    };
    assert_eq!(of(0), (true, None, None, None, None));
    assert_eq!(of(1), (false, Some(true), None, None, None));
    assert_eq!(of(2), (false, Some(false), None, None, None));
    assert_eq!(of(3), (false, None, Some(7), None, None));
    assert_eq!(of(4), (false, None, Some(-7), None, None));
    assert_eq!(of(5), (false, None, None, Some(0.5), None));
    assert_eq!(of(6), (false, None, None, None, Some("a")));
    assert_eq!(of(7), (false, None, None, None, None));
    assert_eq!(values.iter().filter(|value| value.as_array().is_some()).count(), 1);
    assert_eq!((Value::from(7_u16), Value::from(None::<&str>)), (Value::Int(7), Value::Null));
}

#[test]
fn a_value_is_appended_to_a_buffer() {
    let mut buffer = bytes::BytesMut::from("before:");
    php::serialize_into(&Value::from(7_u32), &mut buffer);
    assert_eq!(&buffer[..], b"before:i:7;");
}

#[test]
fn behind_the_greatest_key_nothing_is_pushed() {
    let mut array = Array::from_iter([(Key::Int(i64::MAX), 1)]);
    assert_eq!(array.push(2), None);
    assert_eq!(array.len(), 1);
}

#[test]
fn a_repeated_key_is_decoded_as_php_does() {
    let value = read(br#"a:3:{s:1:"a";i:1;s:1:"b";i:2;s:1:"a";i:3;}"#).unwrap();
    assert_eq!(value, Array::from_iter([("a", 3), ("b", 2)]).into());
    let value = read(br#"a:2:{i:5;i:1;s:1:"5";i:2;}"#).unwrap();
    assert_eq!(value, Array::from_iter([(5, 2)]).into());
}

/// A quadratic decoder would compare keys ten thousand million times here.
#[test]
fn large_arrays_are_decoded_in_time() {
    let entries = |n: usize| format!("s:{}:\"k{n}\";i:{n};", n.to_string().len() + 1);
    let half: String = (0..100_000).map(entries).collect();
    let value = read(format!("a:200000:{{{half}{half}}}").as_bytes()).unwrap();
    let array = value.as_array().unwrap();
    assert_eq!(array.len(), 100_000);
    assert_eq!(array.get("k99999"), Some(&Value::Int(99_999)));
}

#[test]
fn what_php_would_not_write_is_refused() {
    let refused = |input: &str, what: &str| {
        let error = read(input.as_bytes()).unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{input}: {error}");
        assert!(error.to_string().contains(what), "{input}: {error}");
    };
    refused(r#"O:8:"stdClass":0:{}"#, "O:");
    refused(r#"a:1:{i:0;O:8:"stdClass":0:{}}"#, "O:");
    refused(r#"C:1:"A":0:{}"#, "C:");
    refused(r#"E:3:"A:B";"#, "E:");
    refused("a:2:{i:0;i:1;i:1;R:2;}", "R:");
    refused("a:2:{i:0;i:1;i:1;r:2;}", "r:");
    for input in [
        "",
        "N",
        "n;",
        "b:2;",
        "b:;",
        "i:;",
        "i:1",
        "i:1.0;",
        "i:9223372036854775808;",
        "i: 1;",
        "d:;",
        "d:x;",
        "d:inf;",
        "d:nan;",
        "d:1_0;",
        "s:1:\"\";",
        "s:-1:\"\";",
        "s:+1:\"a\";",
        "s:2:\"a\";",
        "s:1:\"a\"",
        "s:1:'a';",
        "s:18446744073709551616:\"\";",
        "a:1:{}",
        "a:0:{",
        "a:1:{i:0;}",
        "a:1:{N;N;}",
        "a:1:{d:1;N;}",
        "a:-1:{}",
        "a:999999999999:{i:0;i:0;}",
        "S:1:\"a\";",
        "s:18446744073709551615:\"a\";",
    ] {
        let error = read(input.as_bytes()).unwrap_err();
        assert!(matches!(error, Error::Malformed { .. }), "{input}: {error}");
    }
    assert_eq!(read(b"N;N;"), Err(Error::TrailingBytes { offset: 2 }));
}

#[test]
fn limits_hold() {
    let nested = |levels| format!("{}{}", "a:1:{i:0;".repeat(levels), "N;") + &"}".repeat(levels);
    assert!(read(nested(64).as_bytes()).is_ok());
    assert_eq!(read(nested(65).as_bytes()), Err(Error::TooDeep { limit: 64 }));
    assert_eq!(read("a:1:{i:0;".repeat(100_000).as_bytes()), Err(Error::TooDeep { limit: 64 }));
    let limits = Limits { size: 3, ..Limits::default() };
    assert_eq!(php::unserialize(b"i:1;", limits), Err(Error::TooLong { size: 4, limit: 3 }));
    assert!(php::unserialize(b"i:1;", Limits { size: 4, ..limits }).is_ok());
}

#[test]
fn floats_read_back() {
    for text in
        ["d:0.1;", "d:1;", "d:-0;", "d:1.0E+100;", "d:1.0E-7;", "d:INF;", "d:-INF;", "d:NAN;"]
    {
        assert_eq!(php::serialize(&read(text.as_bytes()).unwrap()), text.as_bytes());
    }
    assert_eq!(read(b"d:5e-1;").unwrap(), Value::Float(0.5));
}

#[test]
fn merging_is_array_replace_recursive() {
    let merge = |base: &str, other: &str, expected: &str| {
        let mut base = read(base.as_bytes()).unwrap().into_array().unwrap();
        base.replace_recursive(read(other.as_bytes()).unwrap().into_array().unwrap());
        assert_eq!(written(base), expected);
    };
    merge(
        r#"a:2:{s:1:"k";a:1:{s:1:"x";i:1;}s:1:"a";i:1;}"#,
        r#"a:2:{s:1:"a";i:2;s:1:"k";a:1:{s:1:"y";i:2;}}"#,
        r#"a:2:{s:1:"k";a:2:{s:1:"x";i:1;s:1:"y";i:2;}s:1:"a";i:2;}"#,
    );
    // Lists are merged by place, a scalar and an array replace each other.
    merge(
        r"a:3:{i:0;i:1;i:1;i:2;i:2;a:1:{i:0;i:3;}}",
        r"a:3:{i:0;i:9;i:2;N;i:5;a:0:{}}",
        r"a:4:{i:0;i:9;i:1;i:2;i:2;N;i:5;a:0:{}}",
    );
    merge(r"a:1:{i:0;i:1;}", r"a:1:{i:0;a:1:{i:0;i:3;}}", r"a:1:{i:0;a:1:{i:0;i:3;}}");
}

#[test]
fn json_is_what_json_encode_writes() {
    let check = |value: &str, expected: &str| {
        let json = serde_json::Value::try_from(&read(value.as_bytes()).unwrap()).unwrap();
        assert_eq!(lineman_wire::link::php_json::to_string(&json).unwrap(), expected);
    };
    check("a:0:{}", "[]");
    check(r#"a:2:{i:0;s:1:"a";i:1;N;}"#, r#"["a",null]"#);
    check(r#"a:2:{i:1;b:1;s:1:"k";d:2.5;}"#, r#"{"1":true,"k":2.5}"#);
    check("a:3:{i:0;d:1;i:1;d:1.0E+100;i:2;d:-1.5E-8;}", "[1,1.0e+100,-1.5e-8]");
    let text = Value::from("é/\u{1F600}\n\"\\\u{7f}\u{1}");
    check(&written(text), "\"\\u00e9\\/\\ud83d\\ude00\\n\\\"\\\\\u{7f}\\u0001\"");
    assert_eq!(serde_json::Value::try_from(&Value::from(&b"\xff"[..])), Err(Error::NotUtf8));
    assert_eq!(serde_json::Value::try_from(&Value::Float(f64::NAN)), Err(Error::NotFinite));
}

#[test]
fn json_is_read_as_json_decode_reads_it() {
    let json = r#"{"b":[1,-2.5,18446744073709551615,null],"7":{"x":true}}"#;
    let value = Value::from(serde_json::from_str::<serde_json::Value>(json).unwrap());
    assert_eq!(
        written(value),
        "a:2:{s:1:\"b\";a:4:{i:0;i:1;i:1;d:-2.5;i:2;d:1.8446744073709552E+19;i:3;N;}\
         i:7;a:1:{s:1:\"x\";b:1;}}"
    );
}

#[test]
fn query_strings_are_read_as_parse_str_reads_them() {
    let check = |query: &str, expected: &str| {
        let json =
            serde_json::Value::try_from(&Value::from(php::parse_query(query.as_bytes()))).unwrap();
        assert_eq!(json.to_string(), expected, "{query}");
    };
    check("", "[]");
    check("token=abc&x[]=1&x[]=2", r#"{"token":"abc","x":["1","2"]}"#);
    check("a[b]=c&a[d][]=e&a[d][]=f", r#"{"a":{"b":"c","d":["e","f"]}}"#);
    check("a%5Bb%5D=%C3%A9+%2", r#"{"a":{"b":"é %2"}}"#);
    check("a&b=&=c&&[x]=1&[]=2", r#"{"a":"","b":""}"#);
    check("a=1&a=2", r#"{"a":"2"}"#);
    check("a=1&a[x]=2&b[x]=1&b=2", r#"{"a":{"x":"2"},"b":"2"}"#);
    check(" first name=1&last.name=2", r#"{"first_name":"1","last_name":"2"}"#);
    check("a[b=1&c[d]e=2&f[ ]=3", r#"{"a_b":"1","c":{"d":"2"},"f":["3"]}"#);
    check("7=a&x[7]=b&x[]=c", r#"{"7":"a","x":{"7":"b","8":"c"}}"#);
    check("x[9223372036854775807]=a&x[]=b", r#"{"x":{"9223372036854775807":"a"}}"#);
    check(&format!("x{}=1&y=2", "[]".repeat(33)), r#"{"y":"2"}"#);
    assert_eq!(
        php::parse_query("a[]=1&".repeat(2000).as_bytes())
            .get("a")
            .unwrap()
            .as_array()
            .unwrap()
            .len(),
        1000
    );
}

#[test]
fn cookies_are_read_as_workerman_reads_them() {
    let cookies = php::parse_cookies(b"sid=42; lang=a%20b;none; 7=x=y");
    assert_eq!(
        written(cookies),
        r#"a:3:{s:3:"sid";s:2:"42";s:4:"lang";s:5:"a%20b";i:7;s:3:"x=y";}"#
    );
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Rank {
    Guest,
    Level(u8),
    Range(i32, i32),
    Custom { name: String, tags: Vec<String> },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Session {
    name: String,
    age: Option<u32>,
    ratio: f64,
    initial: char,
    vip: bool,
    ranks: Vec<Rank>,
    seen: BTreeMap<u32, (String, i64)>,
    counts: HashMap<String, u16>,
    any: Value,
    nothing: (),
}

fn session() -> Session {
    Session {
        name: "Zoë".to_owned(),
        age: None,
        ratio: 0.5,
        initial: 'é',
        vip: true,
        ranks: vec![
            Rank::Guest,
            Rank::Level(7),
            Rank::Range(-1, 1),
            Rank::Custom { name: String::new(), tags: Vec::new() },
        ],
        seen: BTreeMap::from([(0, ("a".to_owned(), -1)), (9, ("b".to_owned(), 1))]),
        counts: HashMap::from([("12".to_owned(), 3)]),
        any: Value::from(&b"\xff\x00"[..]),
        nothing: (),
    }
}

#[test]
fn a_typed_session_is_an_array_for_php() {
    let bytes = php::to_vec(&session()).unwrap();
    assert_eq!(
        String::from_utf8_lossy(&bytes),
        "a:10:{s:4:\"name\";s:4:\"Zoë\";s:3:\"age\";N;s:5:\"ratio\";d:0.5;s:7:\"initial\";s:2:\"é\";\
         s:3:\"vip\";b:1;s:5:\"ranks\";a:4:{i:0;s:5:\"Guest\";i:1;a:1:{s:5:\"Level\";i:7;}\
         i:2;a:1:{s:5:\"Range\";a:2:{i:0;i:-1;i:1;i:1;}}\
         i:3;a:1:{s:6:\"Custom\";a:2:{s:4:\"name\";s:0:\"\";s:4:\"tags\";a:0:{}}}}\
         s:4:\"seen\";a:2:{i:0;a:2:{i:0;s:1:\"a\";i:1;i:-1;}i:9;a:2:{i:0;s:1:\"b\";i:1;i:1;}}\
         s:6:\"counts\";a:1:{i:12;i:3;}s:3:\"any\";s:2:\"\u{fffd}\0\";s:7:\"nothing\";N;}"
    );
    assert_eq!(php::from_slice::<Session>(&bytes).unwrap(), session());
}

#[test]
fn what_does_not_fit_is_an_error() {
    assert_eq!(php::to_vec(&u64::MAX), Err(Error::IntegerOutOfRange(i128::from(u64::MAX))));
    assert_eq!(php::to_vec(&BTreeMap::from([((), 1)])), Err(Error::Key("a unit")));
    assert_eq!(php::to_vec(&BTreeMap::from([(vec![1], 1)])), Err(Error::Key("a sequence")));
    assert!(php::from_slice::<String>(b"s:1:\"\xff\";").is_err());
    assert!(php::from_slice::<u8>(b"i:256;").is_err());
    assert!(php::from_slice::<u8>(b"s:1:\"1\";").is_err());
    assert!(php::from_slice::<Vec<u8>>(br#"a:1:{s:1:"x";i:1;}"#).is_err());
    assert!(php::from_slice::<(u8, u8)>(b"a:3:{i:0;i:1;i:1;i:2;i:2;i:3;}").is_err());
    assert!(php::from_slice::<Rank>(b"s:3:\"Boo\";").is_err());
    assert!(php::from_slice::<Rank>(b"a:2:{i:0;i:1;i:1;i:2;}").is_err());
    assert!(php::from_slice::<Rank>(b"s:5:\"Level\";").is_err());
    assert!(php::from_slice::<Rank>(b"a:2:{s:5:\"Level\";i:1;s:1:\"x\";N;}").is_err());
    assert!(php::from_slice::<Rank>(b"a:1:{s:5:\"Guest\";i:1;}").is_err());
    assert!(php::from_slice::<Rank>(b"a:0:{}").is_err());
    assert_eq!(php::from_slice::<Rank>(b"a:1:{s:5:\"Guest\";N;}"), Ok(Rank::Guest));
    assert!(php::from_slice::<Session>(b"N;").is_err());
}

fn any_value() -> impl Strategy<Value = Value> {
    let text = || prop_oneof!["[a-z]{0,4}", "-?[0-9]{1,20}", "\\PC{0,3}"];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        any::<f64>()
            .prop_filter("NAN is not equal to itself", |f| !f.is_nan())
            .prop_map(Value::Float),
        proptest::collection::vec(any::<u8>(), 0..8).prop_map(|bytes| Value::from(&bytes[..])),
        text().prop_map(Value::from),
    ];
    let key = prop_oneof![
        any::<i64>().prop_map(Key::Int),
        (-3..3_i64).prop_map(Key::Int),
        text().prop_map(Key::from),
        proptest::collection::vec(any::<u8>(), 0..4).prop_map(|bytes| Key::from(&bytes[..])),
    ];
    leaf.prop_recursive(4, 64, 24, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..24)
                .prop_map(|values| Value::Array(values.into_iter().collect())),
            proptest::collection::vec((key.clone(), inner), 0..24)
                .prop_map(|entries| Value::Array(entries.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn values_survive_serialize(value in any_value()) {
        let bytes = php::serialize(&value);
        prop_assert_eq!(read(&bytes).unwrap(), value);
    }

    #[test]
    fn values_survive_the_bridge(value in any_value()) {
        prop_assert_eq!(&php::to_value(&value).unwrap(), &value);
        prop_assert_eq!(php::from_value::<Value>(value.clone()).unwrap(), value);
    }

    #[test]
    fn floats_survive(bits in any::<u64>()) {
        let float = f64::from_bits(bits);
        let again = read(&php::serialize(&Value::Float(float))).unwrap().as_float().unwrap();
        prop_assert!(again.to_bits() == bits || (again.is_nan() && float.is_nan()));
    }

    #[test]
    fn typed_sessions_survive(
        name in "\\PC{0,8}", age in any::<Option<u32>>(), ratio in -1e30..1e30_f64,
        initial in any::<char>(), seen in proptest::collection::btree_map(any::<u32>(), (".{0,3}", any::<i64>()), 0..20),
        counts in proptest::collection::hash_map("-?[0-9a-z]{0,3}", any::<u16>(), 0..20), any in any_value(),
    ) {
        let session = Session { name, age, ratio, initial, seen, counts, any, ..session() };
        let bytes = php::to_vec(&session).unwrap();
        prop_assert_eq!(php::from_slice::<Session>(&bytes).unwrap(), session);
    }

    /// Whatever was cut or changed: a value or an error, and a value is written as it was read.
    #[test]
    fn broken_values_do_no_harm(
        value in any_value(), cut in any::<prop::sample::Index>(), place in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = php::serialize(&value);
        prop_assert!(read(&bytes[..cut.index(bytes.len())]).is_err());
        let place = place.index(bytes.len());
        bytes[place] = byte;
        if let Ok(value) = read(&bytes) {
            let again = php::serialize(&value);
            prop_assert_eq!(php::serialize(&read(&again).unwrap()), again);
        }
    }

    #[test]
    fn garbage_does_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..64), text in "[abdisN:;{}\"0-9-]{0,32}") {
        drop(read(&bytes));
        drop(read(text.as_bytes()));
        drop(php::parse_query(&bytes));
        drop(php::parse_cookies(&bytes));
        drop(php::from_slice::<Session>(&bytes));
    }

    #[test]
    fn queries_stay_within_the_limits_of_a_reader(query in "[ab\\[\\]=&.%0-9+ ]{0,200}") {
        let query = php::parse_query(query.as_bytes());
        prop_assert!(read(&php::serialize(&query.into())).is_ok());
    }
}
