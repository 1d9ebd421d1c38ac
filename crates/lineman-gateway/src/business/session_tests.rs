//! Which of two copies of a session is right.

use std::collections::BTreeMap;

use lineman_wire::php::{self, Array, Key};
use proptest::collection::vec;
use proptest::prelude::*;

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

/// A gateway that keeps versions, as far as sessions go; what is under way to it and from it.
#[derive(Default)]
struct Versions {
    session: Bytes,
    version: SessionVersion,
    told: Option<SessionVersion>,
    events: VecDeque<link::Client>,
    writes: VecDeque<SessionPatch>,
}

/// Something that happens between a gateway and a business: fields are few, so that they meet.
#[derive(Debug, Clone)]
enum Step {
    /// The client's next event leaves the gateway.
    Event,
    /// Others set a field at the gateway, or take it away.
    Others(u8, Option<i64>),
    /// The business handles the next event, and the handler sets a field, takes it away, or leaves all as it is.
    Handler(Option<(u8, Option<i64>)>),
    /// A write arrives at the gateway.
    Write,
}

fn field(name: u8) -> String {
    format!("f{name}")
}

fn changed(name: u8, value: Option<i64>) -> (Bytes, Vec<Key>) {
    let fields: Array = value.map(|value| (field(name), value)).into_iter().collect();
    let removed = if value.is_none() { vec![Key::from(field(name))] } else { Vec::new() };
    (Bytes::from(php::serialize(&php::Value::Array(fields))), removed)
}

impl Versions {
    fn change(&mut self, fields: &[u8], removed: &[Key]) {
        let limits = php::Limits::default();
        self.session = php::replace_fields(&self.session, fields, removed, limits).unwrap().into();
    }

    fn others(&mut self, name: u8, value: Option<i64>) {
        let (fields, removed) = changed(name, value);
        self.change(&fields, &removed);
        self.version.changes = self.version.changes.wrapping_add(1);
    }

    fn write(&mut self) {
        if let Some(patch) = self.writes.pop_front() {
            self.change(&patch.fields, &patch.removed);
            self.version.written = patch.number;
        }
    }

    fn event(&mut self) {
        let told = self.told.replace(self.version);
        let form = match told {
            Some(told) if told == self.version => SessionForm::Known(None),
            Some(told) if told.changes == self.version.changes => {
                SessionForm::Known(Some(self.version))
            }
            _ => SessionForm::Versioned(self.version),
        };
        let session =
            if matches!(form, SessionForm::Known(_)) { Bytes::new() } else { self.session.clone() };
        self.events.push_back(link::Client { form, ..client(session) });
    }
}

/// A business and its gateway, with one client.
struct Ends {
    gateway: Versions,
    session: Option<Session<Value>>,
    fingerprints: Fingerprints,
    sum: Rc<Cell<usize>>,
    number: u32,
    /// The fields that handlers left last, and nothing else has changed.
    own: BTreeMap<String, Option<i64>>,
}

impl Ends {
    fn new(first: u32) -> Self {
        let version = SessionVersion { changes: first, written: 0 };
        Self {
            gateway: Versions { version, ..Versions::default() },
            session: None,
            fingerprints: Fingerprints::default(),
            sum: Rc::default(),
            number: first,
            own: BTreeMap::new(),
        }
    }

    /// Has the next event handled; returns the session that the handler got.
    fn handle(&mut self, change: Option<(u8, Option<i64>)>) -> Option<Value> {
        let event = self.gateway.events.pop_front()?;
        let session =
            self.session.get_or_insert_with(|| Session::new(&event, &self.fingerprints, &self.sum));
        session.incoming(&event, &self.fingerprints);
        let got = session.take(&mut self.fingerprints).unwrap();
        let mut value = got.clone();
        match change {
            Some((name, Some(number))) => _ = value.insert(field(name), number),
            Some((name, None)) => _ = value.remove(&field(name)),
            None => {}
        }
        self.number = self.number.checked_add(1).unwrap_or(1);
        match session.give(value, &mut self.fingerprints, self.number).unwrap() {
            Some(SessionWrite::Patch(patch, _)) => {
                self.own.extend(change.map(|(name, number)| (field(name), number)));
                self.gateway.writes.push_back(patch);
            }
            Some(SessionWrite::Whole(_)) => panic!("it has versions"),
            None => {}
        }
        Some(got)
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Event => self.gateway.event(),
            Step::Others(name, value) => {
                self.gateway.others(name, value);
                self.own.remove(&field(name));
            }
            Step::Write => self.gateway.write(),
            Step::Handler(change) => {
                let own = self.own.clone();
                if let Some(got) = self.handle(change) {
                    for (name, value) in own {
                        assert_eq!(got.get(&name), value.as_ref(), "a handler sees what it wrote");
                    }
                }
            }
        }
    }
}

fn any_step() -> impl Strategy<Value = Step> {
    let field = || (0..4u8, any::<Option<u8>>().prop_map(|value| value.map(i64::from)));
    prop_oneof![
        3 => Just(Step::Event),
        1 => field().prop_map(|(name, value)| Step::Others(name, value)),
        3 => proptest::option::of(field()).prop_map(Step::Handler),
        2 => Just(Step::Write),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is under way, both ends come to the same session, and handlers see what they wrote.
    #[test]
    fn both_ends_come_to_the_same_session(
        steps in vec(any_step(), 0..60), first in prop_oneof![Just(0), Just(u32::MAX - 3)],
    ) {
        let mut ends = Ends::new(first);
        for step in steps {
            ends.step(&step);
        }
        while ends.handle(None).is_some() {}
        while !ends.gateway.writes.is_empty() {
            ends.gateway.write();
        }
        ends.gateway.event();
        let got = ends.handle(None);
        prop_assert_eq!(got, Some(session::decode::<Value>(&ends.gateway.session).unwrap()));
        prop_assert!(ends.gateway.writes.is_empty(), "nothing was changed");
        drop(ends.session);
        prop_assert_eq!(ends.sum.get(), 0, "what is gone holds nothing");
    }
}

#[derive(Debug, Default, Clone, PartialEq, Serialize, serde::Deserialize)]
struct Typed {
    name: String,
    #[serde(default)]
    count: u32,
}

fn versioned(session: &'static str, changes: u32) -> link::Client {
    let form = SessionForm::Versioned(SessionVersion { changes, written: 0 });
    link::Client { form, ..client(session.into()) }
}

fn patch(write: Option<SessionWrite>) -> (String, Vec<Key>) {
    let Some(SessionWrite::Patch(patch, _)) = write else { panic!("{write:?}") };
    (String::from_utf8(patch.fields.to_vec()).unwrap(), patch.removed)
}

#[test]
fn a_write_has_what_has_changed_and_what_the_gateway_lacks() {
    let (mut fingerprints, sum) = (Fingerprints::default(), Rc::default());
    // A new session has all fields of its type: another process reads it, too.
    let first = versioned("", 0);
    let mut session: Session<Typed> = Session::new(&first, &fingerprints, &sum);
    let value = Typed { name: "ada".to_owned(), ..session.take(&mut fingerprints).unwrap() };
    let all = r#"a:2:{s:4:"name";s:3:"ada";s:5:"count";i:0;}"#;
    let written = session.give(value, &mut fingerprints, 1).unwrap();
    assert_eq!(patch(written), (all.to_owned(), vec![]));
    assert_eq!(sum.get(), all.len());
    let value = Typed { count: 1, ..session.take(&mut fingerprints).unwrap() };
    let written = session.give(value, &mut fingerprints, 2).unwrap();
    assert_eq!(patch(written), (r#"a:1:{s:5:"count";i:1;}"#.to_owned(), vec![]));
    // Fields of others' stay where they are.
    let foreign = versioned(r#"a:2:{s:4:"name";s:1:"x";s:5:"other";i:1;}"#, 9);
    let mut session: Session<Typed> = Session::new(&foreign, &fingerprints, &sum);
    let value = Typed { count: 1, ..session.take(&mut fingerprints).unwrap() };
    let written = session.give(value, &mut fingerprints, 3).unwrap();
    assert_eq!(patch(written), (r#"a:1:{s:5:"count";i:1;}"#.to_owned(), vec![]));
}

#[test]
fn what_a_failed_handler_did_is_void_with_versions_as_well() {
    let (mut fingerprints, sum) = (Fingerprints::default(), Rc::default());
    let first = versioned(r#"a:1:{s:4:"name";s:1:"x";}"#, 0);
    let mut session: Session<Typed> = Session::new(&first, &fingerprints, &sum);
    session.take(&mut fingerprints).unwrap();
    session.discard(&Bytes::new());
    let value = session.take(&mut fingerprints).unwrap();
    assert_eq!(value.name, "x", "it failed");
    let value = Typed { count: 7, ..value };
    let Some(SessionWrite::Patch(_, former)) = session.give(value, &mut fingerprints, 1).unwrap()
    else {
        panic!()
    };
    session.discard(&former);
    assert_eq!(session.take(&mut fingerprints).unwrap().count, 0, "it could not be written");
}

#[test]
fn what_comes_while_a_handler_has_the_session_is_merged_when_it_is_done() {
    let (mut fingerprints, sum) = (Fingerprints::default(), Rc::default());
    let first = versioned(r#"a:2:{s:4:"name";s:1:"x";s:5:"count";i:1;}"#, 4);
    let mut session: Session<Typed> = Session::new(&first, &fingerprints, &sum);
    let value = Typed { count: 2, ..session.take(&mut fingerprints).unwrap() };
    session.adopted(&versioned(r#"a:2:{s:4:"name";s:1:"y";s:5:"count";i:5;}"#, 6), &fingerprints);
    let Some(SessionWrite::Patch(patch, _)) = session.give(value, &mut fingerprints, 1).unwrap()
    else {
        panic!()
    };
    assert_eq!((patch.base, &*patch.fields), (4, &br#"a:1:{s:5:"count";i:2;}"#[..]));
    let expected = Typed { name: "y".to_owned(), count: 2 };
    assert_eq!(session.take(&mut fingerprints).unwrap(), expected);
}

#[test]
fn a_session_that_is_said_to_be_known_and_is_not_is_an_error() {
    let (mut fingerprints, sum) = (Fingerprints::default(), Rc::default());
    let known = link::Client { form: SessionForm::Known(None), ..client(Bytes::new()) };
    let mut session: Session<Typed> = Session::new(&known, &fingerprints, &sum);
    session.incoming(&known, &fingerprints);
    let error = session.take(&mut fingerprints).unwrap_err().to_string();
    assert!(error.contains("is said to be known"), "{error}");
    session.discard(&Bytes::new());
    session.incoming(&versioned("", 3), &fingerprints);
    assert_eq!(session.take(&mut fingerprints).unwrap(), Typed::default());
}
