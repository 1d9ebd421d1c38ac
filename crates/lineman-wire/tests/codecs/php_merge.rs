//! One serialized array merged into another: the same as of values, and what is no value of ours byte for byte.

use std::fmt::Write as _;

use lineman_wire::php::{self, Array, Error, Limits, Value};
use proptest::collection::vec;
use proptest::prelude::*;

/// Appends text.
macro_rules! put {
    ($out:expr, $($format:tt)*) => { write!($out, $($format)*).expect("a string takes it") };
}

fn merged(old: &str, changes: &str) -> Result<String, Error> {
    let merged = php::replace_recursive(old.as_bytes(), changes.as_bytes(), Limits::default())?;
    Ok(String::from_utf8(merged).expect("only UTF-8 is merged here"))
}

/// What PHP 8.2 returns for `serialize(array_replace_recursive(unserialize($old), unserialize($changes)))`, from
/// `php -r`; the classes have no code.
#[test]
fn what_is_merged_is_what_php_makes_of_it() {
    let check = |old: &str, changes: &str, expected: &str| {
        assert_eq!(merged(old, changes).as_deref(), Ok(expected), "{old} and {changes}");
    };
    // Objects and enums are carried, and replaced as a whole.
    let object = r#"O:4:"User":2:{s:4:"name";s:3:"ada";s:4:"rank";a:1:{i:0;i:3;}}"#;
    check(
        &format!(r#"a:2:{{s:1:"u";{object}s:1:"n";i:1;}}"#),
        r#"a:1:{s:1:"n";i:2;}"#,
        &format!(r#"a:2:{{s:1:"u";{object}s:1:"n";i:2;}}"#),
    );
    check(
        r#"a:1:{s:1:"u";O:1:"A":0:{}}"#,
        r#"a:2:{s:1:"u";O:1:"B":1:{s:1:"x";E:6:"Suit:A";}s:1:"v";a:0:{}}"#,
        r#"a:2:{s:1:"u";O:1:"B":1:{s:1:"x";E:6:"Suit:A";}s:1:"v";a:0:{}}"#,
    );
    // An array and something else: the latter wins, whichever is new.
    check("a:1:{i:0;a:1:{i:0;i:1;}}", r#"a:1:{i:0;s:1:"x";}"#, r#"a:1:{i:0;s:1:"x";}"#);
    check(r#"a:1:{i:0;O:1:"A":0:{}}"#, "a:1:{i:0;a:0:{}}", "a:1:{i:0;a:0:{}}");
}

/// A float keeps its digits, and what has a format of its own its bytes; a session that is none is empty.
#[test]
fn what_is_not_merged_keeps_its_bytes() {
    for carried in [
        "d:0.10000000000000001;",
        r#"C:11:"ArrayObject":21:{x:i:0;a:0:{};m:a:0:{}}"#,
        "O:1:\"A\":1:{s:4:\"\0A\0x\";a:1:{s:2:\"07\";d:1.0E+25;}}",
    ] {
        let whole = format!("a:1:{{i:5;{carried}}}");
        for (old, changes) in [(&*whole, ""), ("", &whole), ("N;", &whole), (&whole, "i:1;")] {
            assert_eq!(merged(old, changes).as_ref(), Ok(&whole));
        }
    }
}

#[test]
fn references_lead_to_where_their_values_are_now() {
    let check = |old: &str, changes: &str, expected: &str| {
        assert_eq!(merged(old, changes).as_deref(), Ok(expected), "{old} and {changes}");
    };
    // The same object twice; a longer value before it moves it.
    check(
        r#"a:3:{s:1:"x";i:1;s:1:"a";O:1:"A":0:{}s:1:"b";r:3;}"#,
        r#"a:1:{s:1:"x";a:2:{i:0;i:1;i:1;i:2;}}"#,
        r#"a:3:{s:1:"x";a:2:{i:0;i:1;i:1;i:2;}s:1:"a";O:1:"A":0:{}s:1:"b";r:5;}"#,
    );
    // What is replaced may be the first of two: the other one has the value then.
    check(
        r#"a:3:{s:1:"a";O:1:"A":0:{}s:1:"b";r:2;s:1:"c";r:2;}"#,
        r#"a:1:{s:1:"a";i:0;}"#,
        r#"a:3:{s:1:"a";i:0;s:1:"b";O:1:"A":0:{}s:1:"c";r:3;}"#,
    );
    // Of the changes, the second may come to lie before the first.
    check(
        r#"a:1:{s:1:"b";i:0;}"#,
        r#"a:2:{s:1:"a";O:1:"A":1:{s:1:"p";i:7;}s:1:"b";r:2;}"#,
        r#"a:2:{s:1:"b";O:1:"A":1:{s:1:"p";i:7;}s:1:"a";r:2;}"#,
    );
    // Variables; `R:` is no value of its own to what counts them, `r:` is.
    check(
        r#"a:4:{s:1:"v";s:1:"x";s:1:"w";R:2;s:1:"o";O:1:"A":0:{}s:1:"p";r:3;}"#,
        r#"a:1:{s:1:"n";i:1;}"#,
        r#"a:5:{s:1:"v";s:1:"x";s:1:"w";R:2;s:1:"o";O:1:"A":0:{}s:1:"p";r:3;s:1:"n";i:1;}"#,
    );
    // An array that is merged is not the other variable's any more.
    check(
        r#"a:2:{s:1:"a";a:1:{i:0;i:1;}s:1:"b";R:2;}"#,
        r#"a:1:{s:1:"a";a:1:{i:1;i:2;}}"#,
        r#"a:2:{s:1:"a";a:2:{i:0;i:1;i:1;i:2;}s:1:"b";a:1:{i:0;i:1;}}"#,
    );
    // The first of three variables, and an object that both have under other keys.
    check(
        r#"a:3:{s:1:"v";i:1;s:1:"w";R:2;s:1:"x";R:2;}"#,
        r#"a:1:{s:1:"v";i:9;}"#,
        r#"a:3:{s:1:"v";i:9;s:1:"w";i:1;s:1:"x";R:3;}"#,
    );
    check(
        r#"a:1:{s:1:"o";a:1:{s:1:"k";O:1:"A":0:{}}}"#,
        r#"a:2:{s:1:"z";O:1:"Q":0:{}s:1:"o";a:2:{s:1:"l";r:2;s:1:"m";r:2;}}"#,
        r#"a:2:{s:1:"o";a:3:{s:1:"k";O:1:"A":0:{}s:1:"l";O:1:"Q":0:{}s:1:"m";r:4;}s:1:"z";r:4;}"#,
    );
    // An object that holds itself.
    check(
        r#"a:1:{s:1:"o";O:1:"A":1:{s:4:"self";r:2;}}"#,
        r#"a:1:{s:1:"x";i:1;}"#,
        r#"a:2:{s:1:"o";O:1:"A":1:{s:4:"self";r:2;}s:1:"x";i:1;}"#,
    );
}

#[test]
fn depth_is_no_limit() {
    let levels = 1_000_000;
    let deep = |end: &str| format!("{}{end}{}", "a:1:{i:0;".repeat(levels), "}".repeat(levels));
    let limits = Limits { size: 20_000_000, ..Limits::default() };
    let merge = |old: &str, changes: &str| {
        let merged = php::replace_recursive(old.as_bytes(), changes.as_bytes(), limits).unwrap();
        String::from_utf8(merged).unwrap()
    };
    assert!(merge(&deep("i:1;"), "a:1:{i:1;i:2;}").ends_with("}i:1;i:2;}"));
    assert!(merge(&deep("i:1;"), &deep("i:2;")) == deep("i:2;"), "merged down to the last");
}

#[test]
fn what_php_does_not_write_is_refused() {
    for broken in [
        "a:1:{i:0;i:1;",
        "a:1:{i:0;}",
        "a:2:{i:0;i:1;}",
        "a:0:{}x",
        "a:1:{d:0.5;i:1;}",
        "a:1:{i:0;R:2;}",
        "a:1:{i:0;R:0;}",
        "a:1:{i:0;r:-1;}",
        "a:1:{i:0;r:9;}",
        r#"a:1:{i:0;O:2:"A":0:{}}"#,
        r#"a:1:{i:0;O:1:"A":1:{}}"#,
        r#"a:1:{i:0;C:1:"A":9:{x}}"#,
        r#"a:1:{i:0;E:9:"A";}"#,
        r#"a:1:{i:0;s:9:"A";}"#,
        "a:1:{i:0;b:2;}",
        "a:1:{i:0;d:x;}",
        "a:1:{i:0;i:x;}",
        "a:99999999999999999999:{}",
        "x",
        "i",
    ] {
        assert!(merged(broken, "a:0:{}").is_err(), "{broken}");
        assert!(merged("a:0:{}", broken).is_err(), "{broken}");
    }
    let closed = r#"a:1:{i:1;C:1:"A":4:{r:2;}}"#;
    for ties in [r#"a:2:{i:0;O:1:"A":0:{}i:1;r:2;}"#, "a:2:{i:0;i:1;i:1;R:2;}"] {
        assert!(matches!(merged(ties, closed), Err(Error::Refused { .. })), "{ties}");
        assert!(matches!(merged(closed, ties), Err(Error::Refused { .. })), "{ties}");
    }
}

#[test]
fn the_result_has_the_limit_as_well() {
    let limits = Limits { size: 40, ..Limits::default() };
    let (one, two) = (&b"a:1:{i:0;s:10:\"0123456789\";}"[..], b"a:1:{i:1;s:10:\"0123456789\";}");
    assert!(php::replace_recursive(one, b"", limits).is_ok());
    let long = php::replace_recursive(one, two, limits);
    assert!(matches!(long, Err(Error::TooLong { limit: 40, .. })), "{long:?}");
    let longer = [b' '; 41];
    assert!(matches!(php::replace_recursive(&longer, b"", limits), Err(Error::TooLong { .. })));
}

/// Arrays that hold each other could be merged for ever, and one that is met a thousand times a thousand times.
#[test]
fn references_cost_no_more_than_their_bytes() {
    let endless = "a:1:{i:0;a:1:{i:0;R:2;}}";
    assert!(matches!(merged(endless, endless), Err(Error::Refused { .. })));
    let list = |count: usize, value: &dyn Fn(usize) -> String| {
        let mut entries = String::new();
        (0..count).for_each(|n| put!(entries, "i:{n};{}", value(n)));
        format!("a:{count}:{{{entries}}}")
    };
    let large = list(1000, &|_| "i:7;".to_owned());
    let old = list(1000, &|n| if n == 0 { large.clone() } else { "R:2;".to_owned() });
    let changes = list(1000, &|_| "a:1:{i:0;i:8;}".to_owned());
    assert!(matches!(merged(&old, &changes), Err(Error::Refused { .. })));
}

/// Fields are replaced as a whole, and others carried.
#[test]
fn fields_are_replaced_and_taken_out() {
    let check = |old: &str, changes: &str, removed: &[&str], expected: &str| {
        let removed: Vec<_> = removed.iter().map(|key| php::Key::from(*key)).collect();
        let limits = Limits::default();
        let replaced = php::replace_fields(old.as_bytes(), changes.as_bytes(), &removed, limits);
        assert_eq!(replaced.as_deref(), Ok(expected.as_bytes()), "{old} and {changes}");
    };
    let object = r#"O:4:"User":1:{s:4:"name";s:3:"ada";}"#;
    let old = format!(r#"a:3:{{s:1:"u";{object}s:1:"n";a:1:{{i:0;i:1;}}i:7;i:2;}}"#);
    let rest = format!(r#"a:2:{{s:1:"u";{object}i:7;i:2;}}"#);
    check(&old, "", &["n", "none"], &rest);
    check(&rest, "a:2:{i:7;N;s:1:\"m\";i:5;}", &["u", "m"], "a:2:{i:7;N;s:1:\"m\";i:5;}");
    check("", "a:1:{i:0;i:1;}", &[], "a:1:{i:0;i:1;}");
    check("i:5;", "", &["x"], "a:0:{}");
    let small = Limits { size: 20, ..Limits::default() };
    assert!(php::replace_fields(b"", old.as_bytes(), &[], small).is_err());
    assert!(php::changed_fields(old.as_bytes(), b"", small).is_err());
    assert!(php::changed_fields(b"a:1:{", b"", Limits::default()).is_err());
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::Int),
        any::<f64>().prop_filter("itself", |number| !number.is_nan()).prop_map(Value::Float),
        vec(any::<u8>(), 0..6).prop_map(|text| Value::from(&text[..])),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| any_array_of(inner).prop_map(Value::Array))
}

fn any_array_of(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Array> {
    vec(("[a-c1-3]{0,2}", value), 0..5).prop_map(|entries| entries.into_iter().collect())
}

/// What `R:` and `r:` may lead to.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Value,
    Object,
    /// It leads elsewhere itself.
    Repeated,
}

/// Appends a value as PHP writes it: an object, an enum, or one that was there before among others.
fn put_any(
    out: &mut String,
    choices: &mut impl Iterator<Item = u8>,
    places: &mut Vec<Place>,
    depth: u8,
) {
    let choice = choices.next().unwrap_or(0);
    // Not the whole, which is another one when it is merged.
    let fits = |place: &Place| match choice % 8 {
        6 => *place != Place::Repeated,
        _ => *place == Place::Object,
    };
    let some = (2..).zip(places.iter().skip(1)).filter(|(_, place)| fits(place));
    let some: Vec<usize> = some.map(|(number, _)| number).collect();
    let number = some.get(usize::from(choice / 8) % some.len().max(1));
    match (choice % 8, number) {
        (6, Some(number)) => return put!(out, "R:{number};"),
        (7, Some(number)) => {
            places.push(Place::Repeated);
            return put!(out, "r:{number};");
        }
        (kind @ 3..6, _) if depth < 5 => {
            let entries = choice / 8 % 4;
            let (head, place) = match kind {
                5 => ("O:1:\"A\"", Place::Object),
                _ => ("a", Place::Value),
            };
            put!(out, "{head}:{entries}:{{");
            places.push(place);
            for entry in 0..entries {
                put!(out, "s:1:\"{}\";", char::from(b'a' + entry));
                put_any(out, choices, places, depth + 1);
            }
            return out.push('}');
        }
        (2, _) => {
            places.push(Place::Object);
            return out.push_str("E:6:\"Suit:A\";");
        }
        _ => {}
    }
    places.push(Place::Value);
    put!(out, "i:{choice};");
}

fn any_text() -> impl Strategy<Value = String> {
    vec(any::<u8>(), 0..40).prop_map(|choices| {
        let (mut out, mut places) = ("a:3:{".to_owned(), vec![Place::Value]);
        let mut choices = choices.into_iter();
        for key in 0..3 {
            put!(out, "i:{key};");
            put_any(&mut out, &mut choices, &mut places, 0);
        }
        out + "}"
    })
}

proptest! {
    /// What differs, put into the first, makes the second but for the order.
    #[test]
    fn the_changed_fields_are_what_makes_one_of_the_other(
        old in any_array_of(any_value()), new in any_array_of(any_value()),
    ) {
        let bytes = |array: &Array| php::serialize(&Value::Array(array.clone()));
        let limits = Limits::default();
        let changed = php::changed_fields(&bytes(&old), &bytes(&new), limits).unwrap();
        let taken = |key: &php::Key| Some((key.clone(), new.get(key.clone())?.clone()));
        let changes: Array = changed.iter().filter_map(taken).collect();
        let removed: Vec<_> =
            changed.iter().filter(|key| !new.contains_key((*key).clone())).cloned().collect();
        let made = php::replace_fields(&bytes(&old), &bytes(&changes), &removed, limits).unwrap();
        let Value::Array(made) = php::unserialize(&made, limits).unwrap() else { panic!() };
        prop_assert_eq!(made.len(), new.len());
        for (key, value) in &new {
            prop_assert_eq!(made.get(key.clone()), Some(value));
        }
        prop_assert!(php::changed_fields(&bytes(&new), &bytes(&made), limits).unwrap().is_empty());
    }

    #[test]
    fn values_are_merged_as_arrays_are(
        (old, changes) in (any_array_of(any_value()), any_array_of(any_value()))
    ) {
        let bytes = |array: &Array| php::serialize(&Value::Array(array.clone()));
        let merged = php::replace_recursive(&bytes(&old), &bytes(&changes), Limits::default());
        let mut expected = old;
        expected.replace_recursive(changes);
        prop_assert_eq!(merged, Ok(bytes(&expected)));
    }

    #[test]
    fn nothing_merged_into_it_changes_no_byte(text in any_text()) {
        prop_assert_eq!(merged(&text, "a:0:{}"), Ok(text.clone()));
        prop_assert_eq!(merged("", &text), Ok(text));
    }

    /// What comes of a merge can be merged again.
    #[test]
    fn a_result_is_whole(old in any_text(), changes in any_text()) {
        if let Ok(both) = merged(&old, &changes) {
            prop_assert_eq!(merged(&both, ""), Ok(both));
        }
    }

    #[test]
    fn no_bytes_panic(old in any_text(), at in 0..200_usize, byte: u8, changes in any_text()) {
        let mut bytes = old.into_bytes();
        let at = at % bytes.len();
        bytes[at] = byte;
        let _merged = php::replace_recursive(&bytes, changes.as_bytes(), Limits::default());
        let _merged = php::replace_recursive(changes.as_bytes(), &bytes, Limits::default());
    }
}
