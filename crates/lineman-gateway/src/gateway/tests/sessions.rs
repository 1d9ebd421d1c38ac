//! Sessions between our own ends: sent when the business does not have them, and merged when it writes.

use lineman_wire::link::{Query, SESSIONS, SessionForm, SessionPatch, SessionVersion};
use lineman_wire::php::{self, Key};

use super::*;

/// A session of 4 KiB.
fn long() -> Bytes {
    let text = "x".repeat(4096 - 24);
    Bytes::from(format!(r#"a:1:{{s:1:"t";s:{}:"{text}";}}"#, text.len()))
}

fn set(connection_id: u32, session: impl Into<Bytes>) -> Order {
    Order::SetSession { connection_id, session: session.into() }
}

fn patch(base: u32, number: u32, fields: &'static str, removed: &[&str]) -> Order {
    let removed = removed.iter().map(|key| Key::from(*key)).collect();
    let patch = SessionPatch { base, number, fields: fields.into(), removed };
    Order::PatchSession { connection_id: 1, patch }
}

fn versioned(changes: u32, written: u32) -> SessionForm {
    SessionForm::Versioned(SessionVersion { changes, written })
}

/// Has the client say something; returns what its business gets of the session.
fn say(world: &mut World, client: &Rc<Fake>, business: &Rc<Fake>) -> (SessionForm, Bytes) {
    world.say(client, "x");
    let packet = business.packets().pop().expect("it is told");
    assert_eq!(packet.command, Command::OnMessage);
    (packet.session, packet.ext)
}

/// Returns the session as the gateway has it.
fn session(world: &World, connection_id: u32) -> Bytes {
    world.core.clients.answer(Query::Session { connection_id }).payload
}

#[test]
fn a_session_travels_when_it_has_changed_and_to_others_each_time() {
    let bytes_of_event = |version| {
        let mut world = World::new();
        let business = world.link("a:0", version);
        let client = world.client();
        world.order(&business, set(1, long()));
        world.say(&client, "hello");
        business.sent.take();
        world.say(&client, "hello");
        let sent = business.sent.take();
        assert_eq!(sent.len(), 1);
        sent[0].len()
    };
    assert_eq!(long().len(), 4096);
    assert_eq!([None, Some(4), Some(SESSIONS)].map(bytes_of_event), [4129, 4129, 33]);
}

#[test]
fn a_business_is_told_what_others_have_changed_and_what_of_its_own_has_arrived() {
    let mut world = World::new();
    let business = world.link("a:0", Some(SESSIONS));
    let (other, php) = (world.link("php:0", None), world.peer_from(([127, 0, 0, 1], 9).into()));
    let login = Login::Client { secret_key: Secret::default(), lineman: None };
    world.tell(&php, login);
    business.sent.take();
    let client = world.client();
    let first: Vec<_> = business.packets().iter().map(|packet| packet.session).collect();
    assert_eq!(first, [versioned(0, 0), SessionForm::Known(None)]);
    let nothing = Bytes::new();
    let known = (SessionForm::Known(None), nothing.clone());
    assert_eq!(say(&mut world, &client, &business), known);

    world.order(&business, patch(0, 7, r#"a:1:{s:1:"a";i:1;}"#, &[]));
    let version = SessionVersion { changes: 0, written: 7 };
    assert_eq!(say(&mut world, &client, &business), (SessionForm::Known(Some(version)), nothing));
    assert_eq!(say(&mut world, &client, &business), known);

    let session = Bytes::from_static(br#"a:2:{s:1:"a";i:1;s:1:"b";i:2;}"#);
    let update = Order::UpdateSession { connection_id: 1, session: r#"a:1:{s:1:"b";i:2;}"#.into() };
    world.order(&php, update.clone());
    assert_eq!(say(&mut world, &client, &business), (versioned(1, 7), session.clone()));
    world.order(&php, update);
    assert_eq!(say(&mut world, &client, &business), known, "it has not changed");

    // One of PHP's gets it, and has the session with each event.
    world.tell(&business, Control::Drain);
    world.tell(&business, Control::Release);
    let heard = other.packets();
    assert!(heard.iter().all(|packet| packet.command != Command::Adopt));
    for _ in 0..2 {
        assert_eq!(say(&mut world, &client, &other), (SessionForm::Whole, session.clone()));
    }
    // And one of ours again: the numbers of writes are of another life.
    let next = world.link("a:1", Some(SESSIONS));
    world.lose(&other);
    let adopted = next.packets().into_iter().find(|packet| packet.command == Command::Adopt);
    let adopted = adopted.map(|packet| (packet.session, packet.ext));
    assert_eq!(adopted, Some((versioned(1, 0), session)));
    assert_eq!(say(&mut world, &client, &next), known);
    world.leave(&client);
    let close = next.packets().pop().map(|packet| (packet.command, packet.session));
    assert_eq!(close, Some((Command::OnClose, SessionForm::Known(None))));
}

#[test]
fn what_two_have_changed_is_merged_by_field_and_a_conflict_is_counted() {
    let mut world = World::new();
    let business = world.link("a:0", Some(SESSIONS));
    let client = world.client();
    let fields = r#"a:3:{s:1:"a";i:1;s:1:"b";i:1;s:1:"c";i:1;}"#;
    world.order(&business, patch(0, 1, fields, &[]));
    // Others change two fields, and the business, before it has seen that, one of them and the third.
    let others = r#"a:2:{s:1:"a";i:2;s:1:"b";i:2;}"#;
    world.order(&business, Order::UpdateSession { connection_id: 1, session: others.into() });
    world.order(&business, patch(0, 2, r#"a:1:{s:1:"b";i:3;}"#, &["c"]));
    assert_eq!(session(&world, 1), r#"a:2:{s:1:"a";i:2;s:1:"b";i:3;}"#);
    assert_eq!(world.gauge("session_conflicts"), 1);
    // What it had seen, or what is the same, is none.
    let (form, _) = say(&mut world, &client, &business);
    assert_eq!(form, versioned(1, 2));
    world.order(&business, patch(1, 3, r#"a:1:{s:1:"b";i:4;}"#, &[]));
    world.order(&business, set(1, r#"a:1:{s:1:"b";i:5;}"#));
    world.order(&business, patch(1, 4, r#"a:1:{s:1:"b";i:5;}"#, &[]));
    assert_eq!(world.gauge("session_conflicts"), 1);
    // The one that was there before it, and is gone, is one.
    world.order(&business, patch(1, 5, r#"a:1:{s:1:"a";i:6;}"#, &[]));
    assert_eq!(session(&world, 1), r#"a:2:{s:1:"b";i:5;s:1:"a";i:6;}"#);
    assert_eq!(world.gauge("session_conflicts"), 2);
}

#[test]
fn a_write_that_cannot_be_done_leaves_the_session_and_its_business_is_told_what_it_is() {
    let mut world = World::new();
    let business = world.link("a:0", Some(SESSIONS));
    let client = world.client();
    world.order(&business, set(1, long()));
    assert_eq!(say(&mut world, &client, &business).1, long());
    world.order(&business, patch(1, 1, "a:1:{", &[]));
    assert_eq!(say(&mut world, &client, &business), (versioned(2, 1), long()));
    assert_eq!(world.gauge("refused_requests"), 1);
    // Of a client that is not here nothing is said.
    world.leave(&client);
    world.order(&business, patch(1, 1, "a:1:{", &[]));
    assert_eq!(world.gauge("refused_requests"), 1);
}

#[test]
fn what_another_business_still_writes_is_told_to_the_one_that_has_the_client() {
    let mut world = World::new();
    let former = world.link("a:0", Some(SESSIONS));
    let client = world.client();
    let business = world.link("a:1", Some(SESSIONS));
    world.tell(&former, Control::Drain);
    world.tell(&former, Control::Release);
    business.sent.take();
    world.order(&former, patch(0, 1, r#"a:1:{s:1:"a";i:1;}"#, &[]));
    let session = Bytes::from_static(br#"a:1:{s:1:"a";i:1;}"#);
    assert_eq!(say(&mut world, &client, &business), (versioned(1, 0), session));
    // More than are remembered are changed: conflicts beyond are not counted, and all is written.
    let many = |value: i64| {
        let fields = (0..100).map(|n| (Key::from(n), php::Value::Int(value))).collect();
        Bytes::from(php::serialize(&php::Value::Array(fields)))
    };
    world.order(&former, set(1, many(1)));
    let patch = SessionPatch { base: 1, number: 1, fields: many(2), removed: Vec::new() };
    world.order(&business, Order::PatchSession { connection_id: 1, patch });
    assert_eq!(
        world.gauge("session_conflicts"),
        63,
        "the last 64 are remembered, of which one is gone"
    );
    assert_eq!(self::session(&world, 1), many(2));
}
