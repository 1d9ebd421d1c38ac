//! Which of two copies of a session is right.

use std::collections::BTreeMap;

use super::*;

type Value = BTreeMap<String, i64>;

struct Test {
    session: Session<Value>,
    fingerprints: Fingerprints,
}

fn client(session: Bytes) -> link::Client {
    let (ip, form) = (std::net::Ipv4Addr::LOCALHOST, SessionForm::Whole);
    let id = ClientId::new(ip, 2900, 1);
    link::Client { id, ip: ip.into(), port: 4, gateway_port: 7, session, form }
}

fn session<S>(bytes: Bytes, fingerprints: &Fingerprints) -> Session<S>
where
    S: Serialize + DeserializeOwned + Default + 'static,
{
    Session::new(&client(bytes), fingerprints, &Rc::default())
}

fn bytes(number: i64) -> Bytes {
    session::encode(&Value::from([("n".to_owned(), number)])).unwrap()
}

impl Test {
    fn new() -> Self {
        let fingerprints = Fingerprints::default();
        Self { session: session(bytes(0), &fingerprints), fingerprints }
    }

    /// Runs a handler that gets `expected` and leaves `after`; returns whether it was written.
    fn event(&mut self, gateways: i64, expected: i64, after: i64) -> bool {
        self.session.incoming(&client(bytes(gateways)), &self.fingerprints);
        let mut value = self.session.take(&mut self.fingerprints).unwrap();
        assert_eq!(value.insert("n".to_owned(), after), Some(expected));
        let written = self.session.give(value, &mut self.fingerprints, 1).unwrap();
        let whole = SessionWrite::Whole(bytes(after));
        assert!(written.as_ref().is_none_or(|written| *written == whole));
        written.is_some()
    }
}

#[test]
fn what_a_handler_leaves_alone_is_not_written() {
    let mut test = Test::new();
    assert!(!test.event(0, 0, 0));
    assert!(test.event(0, 0, 1));
    assert!(!test.event(1, 1, 1));
}

#[test]
fn an_event_that_changes_nothing_writes_nothing_in_php_s_format() {
    thread_local! {
        static WRITTEN: Cell<usize> = const { Cell::new(0) };
    }

    /// Counts how often it is written in a format whose maps may say how long they are.
    #[derive(Default, serde::Deserialize)]
    struct Counting {}

    impl Serialize for Counting {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            WRITTEN.set(WRITTEN.get() + 1);
            serde::ser::SerializeMap::end(serializer.serialize_map(Some(0))?)
        }
    }

    let mut fingerprints = Fingerprints::default();
    let mut session: Session<Counting> = session(Bytes::new(), &fingerprints);
    let first = session.take(&mut fingerprints).unwrap();
    assert_eq!(session.give(first, &mut fingerprints, 1).unwrap(), None);
    let before = WRITTEN.get();
    for _ in 0..10 {
        let value = session.take(&mut fingerprints).unwrap();
        assert_eq!(session.give(value, &mut fingerprints, 1).unwrap(), None);
    }
    assert_eq!(WRITTEN.get() - before, 10, "a fingerprint each, and no encoding");
}

#[test]
fn the_local_copy_wins_over_events_that_were_under_way() {
    let mut test = Test::new();
    test.event(0, 0, 1);
    test.event(0, 1, 2);
    test.event(0, 2, 3);
    // The gateway has applied the first write, not yet the others.
    test.event(1, 3, 4);
    test.event(2, 4, 4);
    test.event(4, 4, 4);
}

#[test]
fn a_change_by_another_process_wins() {
    let mut test = Test::new();
    test.event(0, 0, 1);
    test.event(50, 50, 51);
    test.event(51, 51, 51);
    test.event(60, 60, 60);
}

#[test]
fn after_a_foreign_change_the_gateway_is_followed() {
    let mut test = Test::new();
    // Ours came after the foreign one in the gateway, where the last writer wins.
    test.event(0, 0, 1);
    test.event(50, 50, 50);
    test.event(1, 1, 1);
}

#[test]
fn a_failed_handler_changes_nothing() {
    let mut test = Test::new();
    test.session.take(&mut test.fingerprints).unwrap().clear();
    test.session.discard(&bytes(0));
    test.event(0, 0, 0);
}

#[test]
fn fields_that_the_type_does_not_know_are_no_change() {
    #[derive(Default, Serialize, serde::Deserialize)]
    struct Known {
        x: i64,
    }
    let mut fingerprints = Fingerprints::default();
    let foreign = Bytes::from_static(br#"a:2:{s:1:"x";i:1;s:1:"y";i:2;}"#);
    let mut session: Session<Known> = session(foreign, &fingerprints);
    let value = session.take(&mut fingerprints).unwrap();
    assert_eq!(value.x, 1);
    assert_eq!(session.give(value, &mut fingerprints, 1).unwrap(), None);
}

#[test]
fn bytes_of_another_shape_are_refused_and_kept() {
    let mut fingerprints = Fingerprints::default();
    let mut session: Session<Value> = session(Bytes::from_static(b"i:1;"), &fingerprints);
    assert!(session.take(&mut fingerprints).is_err());
    assert!(session.take(&mut fingerprints).is_err());
    session.incoming(&client(bytes(3)), &fingerprints);
    assert_eq!(session.take(&mut fingerprints).unwrap()["n"], 3);
}
