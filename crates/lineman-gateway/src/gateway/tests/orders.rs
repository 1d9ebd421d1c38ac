//! What businesses may do to clients, and what is refused; ids that are not used again too early.

use lineman_wire::link::{Condition, Control, Field, Order, Query, ReplyCodec, Select};
use lineman_wire::php;

use super::*;
use crate::gateway::clients::ConnectedClients;
use crate::gateway::ids::Counter;

fn uids(world: &World, uid: &[u8]) -> Vec<u32> {
    world.core.clients.uids.ids(uid).collect()
}

#[test]
fn a_name_that_is_empty_or_zero_is_refused() {
    let mut world = World::new();
    let business = world.business("a:0");
    let _client = world.client();
    let bind = |uid: &'static str| Order::BindUid { connection_id: 1, uid: uid.into() };
    let join = |group: &'static str| Order::JoinGroup { connection_id: 1, group: group.into() };
    world.order(&business, bind("ada"));
    world.order(&business, join("lobby"));
    for name in ["", "0"] {
        world.order(&business, bind(name));
        world.order(&business, join(name));
        assert!(uids(&world, name.as_bytes()).is_empty());
    }
    assert_eq!(uids(&world, b"ada"), [1], "it keeps the one it had");
    assert_eq!((world.gauge("uids"), world.gauge("groups")), (1, 1));
    world.order(&business, bind("bob"));
    assert_eq!((uids(&world, b"ada"), uids(&world, b"bob")), (vec![], vec![1]));
}

#[test]
fn a_client_whose_handler_failed_is_closed_for_that_reason() {
    let mut world = World::new();
    let business = world.business("a:0");
    let client = world.client();
    world.order(&business, Order::Fail { connection_id: 1 });
    assert!(matches!(client.close_reason(), Some(CloseReason::HandlerFailed(_))));
}

/// `closeClient($id, '')` sends an empty message in `GatewayWorker`, and `closeClient($id)` none.
#[test]
fn an_empty_farewell_is_a_message_and_null_is_none() {
    let mut world = World::new();
    let business = world.link("a:0", None);
    let (empty, none) = (world.client(), world.client());
    let kick = |connection_id, farewell| Order::Kick { connection_id, farewell };
    world.order(&business, kick(1, Body::empty()));
    world.order(&business, kick(2, Body::Value(php::Value::Null)));
    assert_eq!(
        (empty.sent.take(), none.sent.take()),
        (vec![Bytes::from_static(b"\x81\0")], vec![])
    );
    for client in [empty, none] {
        assert_eq!(client.close_reason(), Some(CloseReason::Local));
    }
}

#[test]
fn an_array_that_cannot_become_json_is_refused_and_counted() {
    let mut world = World::new();
    let business = world.business("a:0");
    let client = world.client();
    let array = |value: php::Value| {
        let message = Body::Value(php::Value::Array([("k", value)].into_iter().collect()));
        Order::SendToOne { connection_id: 1, message }
    };
    world.order(&business, array(b"\xff"[..].into()));
    world.order(&business, array(f64::INFINITY.into()));
    assert_eq!((client.sent.take(), world.gauge("refused_messages")), (vec![], 2));
    world.order(&business, array("\u{e9}/".into()));
    assert_eq!(client.sent.take(), [&b"\x81\x0c{\"k\":\"\xc3\xa9\\/\"}"[..]]);
}

#[test]
fn an_id_in_use_is_not_given_out_again() {
    let mut world = World::new();
    let business = world.business("a:0");
    let _one = world.client();
    world.core.clients.counter = Counter::starting_at(1);
    let _two = world.client();
    assert_eq!(world.gauge("clients"), 2);
    assert_eq!(business.heard().last(), Some(&(Command::OnWebSocketConnect, 2)));
}

/// No business has heard of the end of its former client.
#[test]
fn an_id_that_is_still_remembered_is_not_given_out_again() {
    let mut world = World::new();
    let business = world.business("a:0");
    let one = world.client();
    world.lose(&business);
    world.leave(&one);
    world.core.clients.counter = Counter::starting_at(1);
    let _two = world.client();
    let heard = world.business("a:1").heard();
    let expected = [
        (Command::Hello, 0),
        (Command::OnConnect, 2),
        (Command::OnWebSocketConnect, 2),
        (Command::Adopt, 1),
        (Command::OnClose, 1),
    ];
    assert_eq!(heard, expected);
    // Now one has: the id is free.
    world.core.clients.counter = Counter::starting_at(1);
    let _one = world.client();
    assert!(world.core.clients.get(1).is_some());
}

#[test]
fn an_id_whose_end_waits_for_a_release_is_not_given_out_again() {
    let mut world = World::new();
    let old = world.business("a:0:1");
    let one = world.client();
    let new = world.business("a:0:2");
    world.tell(&old, Control::Drain);
    world.leave(&one);
    world.core.clients.counter = Counter::starting_at(1);
    let _two = world.client();
    world.tell(&old, Control::Release);
    let expected = [
        (Command::Hello, 0),
        (Command::OnConnect, 2),
        (Command::OnWebSocketConnect, 2),
        (Command::Adopt, 1),
        (Command::OnClose, 1),
    ];
    assert_eq!(new.heard(), expected);
}

#[test]
fn clients_that_went_without_a_business_are_forgotten_with_the_limit() {
    let mut world = World::new();
    let business = world.business("a:0");
    let one = world.client();
    world.lose(&business);
    world.leave(&one);
    assert!(world.core.held.remembers(1));
    world.now += Duration::from_secs(29);
    world.submit(Input::Sweep);
    assert!(world.core.held.remembers(1));
    world.now += Duration::from_secs(1);
    world.submit(Input::Sweep);
    assert!(!world.core.held.remembers(1));
    assert_eq!(world.gauge("forgotten_clients"), 1);
    assert_eq!(world.business("a:1").heard(), [(Command::Hello, 0)]);
}

#[test]
fn clients_that_went_without_a_business_are_forgotten_where_they_are_too_many() {
    let mut world = World::new();
    world.core.policy.no_business_limit = Duration::MAX;
    let business = world.business("a:0");
    let clients: Vec<_> = (0..20).map(|_| world.client()).collect();
    for connection_id in 1..=20 {
        let session = Bytes::from("s".repeat(1024 * 1024));
        world.order(&business, Order::SetSession { connection_id, session });
    }
    world.lose(&business);
    for client in &clients {
        world.leave(client);
    }
    world.now += Duration::from_hours(1000);
    world.submit(Input::Sweep);
    let forgotten = u32::try_from(world.gauge("forgotten_clients")).expect("few");
    assert!((4..8).contains(&forgotten), "{forgotten}");
    for id in 1..=20 {
        assert_eq!(world.core.held.remembers(id), id > forgotten, "the oldest go first: {id}");
    }
    let next = world.business("a:1").heard();
    let told = next.iter().filter(|(command, _)| *command == Command::OnClose).count();
    assert_eq!(told, 20 - usize::try_from(forgotten).expect("few"));
    world.core.policy.no_business_limit = Duration::from_secs(30);
}

#[test]
fn long_answers_come_in_parts_that_are_the_whole_together() {
    let mut world = World::new();
    let business = world.business("a:0");
    let asks = world.peer_from(SocketAddr::from(([127, 0, 0, 1], 5000)));
    let uid = Bytes::from("u".repeat(300_000));
    for connection_id in 1..=8 {
        let _client = world.client();
        let session = Bytes::from("s".repeat(300_000));
        world.order(&business, Order::SetSession { connection_id, session });
        world.order(&business, Order::JoinGroup { connection_id, group: "g".into() });
        world.order(&business, Order::BindUid { connection_id, uid: uid.clone() });
    }
    let mut ask = |query: Query| {
        world.tell(&asks, query);
        let mut wire = BytesMut::from(&asks.sent.take().concat()[..]);
        ReplyCodec::new().decode_reply(&mut wire).unwrap().unwrap()
    };
    let select = |conditions| Query::Select(Select { fields: vec![Field::Uid], conditions });
    let group = || Condition::Groups(vec!["g".into()]);
    for (query, pages) in [
        (Query::AllClientSessions, 2),
        (Query::ClientSessionsByGroup { group: "g".into() }, 2),
        (Query::ClientSessionsByGroup { group: "none".into() }, 1),
        (Query::ClientIdsByUid { uid: uid.clone() }, 1),
        (select(vec![]), 2),
        (select(vec![group()]), 2),
        (select(vec![group(), Condition::Uids(vec!["u".into()])]), 1),
        (Query::ClientCountByGroup { group: Bytes::new() }, 1),
    ] {
        let whole = ask(query.clone()).value().unwrap();
        let (mut after, mut parts) = (0, Vec::new());
        loop {
            let page = ask(Query::Page { after, query: Box::new(query.clone()) });
            let (next, part) = page.into_page().unwrap();
            parts.push(part.value().unwrap());
            after = next;
            if after == 0 {
                break;
            }
        }
        assert_eq!(parts.len(), pages, "{query:?}");
        if let Ok(whole) = whole.into_array() {
            let parts = parts.into_iter().flat_map(|part| part.into_array().unwrap());
            let (mut all, mut seen) = (Vec::new(), Vec::new());
            all.extend(whole.into_iter().map(|(_, value)| value));
            seen.extend(parts.map(|(_, value)| value));
            assert_eq!(seen, all, "{query:?}");
        }
    }
}

/// What is in the part counts, and nothing else that a client has.
#[test]
fn a_part_has_as_many_clients_as_take_its_bytes() {
    let mut clients = ConnectedClients::new(Counter::starting_at(1));
    let long = "u".repeat(10_000);
    for id in 1..=17_500 {
        clients.insert(u64::from(id), (), |_| false);
        clients.bind(id, if id <= 1000 { long.as_bytes() } else { b"short" });
        clients.join(id, b"g");
    }
    let select = |field| Query::Select(Select { fields: vec![field], conditions: vec![] });
    let last = |query: Query| {
        clients.answer(Query::Page { after: 0, query: query.into() }).into_page().unwrap().0
    };
    assert_eq!(last(select(Field::Uid)), 104);
    assert_eq!(last(Query::ClientIdsByUid { uid: long.clone().into() }), 0, "all of them");
    assert_eq!(last(Query::ClientIdsByUid { uid: "short".into() }), 16_384);
}
