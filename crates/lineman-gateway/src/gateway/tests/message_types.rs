//! Text or binary: what each kind of peer sends, to whom, to clients that have spoken either.

use lineman_wire::link::{Audience, TYPES, flags};
use lineman_wire::php;

use super::heartbeats::{beating, tick};
use super::*;

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;

/// A gateway with a business and two clients, of which the second speaks binary.
struct Types {
    world: World,
    business: Rc<Fake>,
    clients: [Rc<Fake>; 2],
}

impl Types {
    fn new(message_type: MessageType, version: Option<u32>) -> Self {
        let mut world = World::new();
        world.core.policy.message_type = message_type;
        let business = world.link("a:0", version);
        let clients = [world.client(), world.client()];
        for (connection_id, client) in (1..).zip(&clients) {
            world.order(&business, Order::BindUid { connection_id, uid: "u".into() });
            world.order(&business, Order::JoinGroup { connection_id, group: "g".into() });
            let said =
                if connection_id == 2 { Body::Binary("x".into()) } else { Body::Text("x".into()) };
            world.submit(Input::ClientSaid(client.id, said));
        }
        business.sent.take();
        Self { world, business, clients }
    }

    /// Returns the first bytes of the frames that the two clients got.
    fn send(&mut self, order: Order) -> [Option<u8>; 2] {
        self.world.order(&self.business, order);
        self.clients.each_ref().map(|client| {
            let sent = client.sent.take();
            assert!(sent.len() <= 1, "{sent:?}");
            Some(*sent.first()?.first()?)
        })
    }
}

/// Every way of sending a message to both clients.
fn ways(message: &Body) -> Vec<Order> {
    let message = || message.clone();
    vec![
        Order::SendToAll { audience: Audience::All, message: message() },
        Order::SendToAll { audience: Audience::Only(vec![1, 2]), message: message() },
        Order::SendToAll { audience: Audience::Except(vec![3]), message: message() },
        Order::SendToUid { uids: vec!["u".into()], message: message() },
        Order::SendToGroup { groups: vec!["g".into()], exclude: vec![], message: message() },
    ]
}

/// Checks what both clients get, in every way to send.
#[track_caller]
fn check(message_type: MessageType, message: &Body, expected: [Option<u8>; 2]) {
    let mut types = Types::new(message_type, Some(TYPES));
    for order in ways(message) {
        let shown = format!("{order:?}");
        assert_eq!(types.send(order), expected, "{message_type:?}, {shown}");
    }
    for (connection_id, expected) in (1..).zip(expected) {
        let one = Order::SendToOne { connection_id, message: message.clone() };
        let got = types.send(one).into_iter().flatten().next();
        assert_eq!(got, expected, "{message_type:?}, one, {message:?}");
    }
    let refused = if expected == [None; 2] { 7 } else { 0 };
    assert_eq!(types.world.gauge("refused_messages"), refused);
    for (connection_id, expected) in (1..).zip(expected) {
        let farewell = Order::Kick { connection_id, farewell: message.clone() };
        assert_eq!(types.send(farewell).into_iter().flatten().next(), expected, "farewell");
    }
}

#[test]
fn each_message_to_each_client_has_its_type() {
    use MessageType::{AsReceived, Binary, Text};
    let (text, binary) = ([Some(TEXT); 2], [Some(BINARY); 2]);
    let as_spoken = [Some(TEXT), Some(BINARY)];
    let array = || Body::Value(php::Value::Array(php::Array::from_iter([("k", 1)])));
    let not_utf8 = || Bytes::from_static(b"\xff");
    // From PHP, and as PHP says it.
    check(AsReceived, &Body::Scalar("a".into()), as_spoken);
    check(AsReceived, &Body::Scalar(not_utf8()), binary);
    check(AsReceived, &array(), as_spoken);
    check(Text, &Body::Scalar("a".into()), text);
    check(Text, &Body::Scalar(not_utf8()), [None; 2]);
    check(Text, &array(), text);
    check(Binary, &Body::Scalar("a".into()), binary);
    check(Binary, &Body::Scalar(not_utf8()), binary);
    check(Binary, &array(), binary);
    // From our own.
    check(AsReceived, &Body::Text("a".into()), text);
    check(AsReceived, &Body::Text(not_utf8()), [None; 2]);
    check(AsReceived, &Body::Binary("a".into()), binary);
    check(AsReceived, &Body::Binary(not_utf8()), binary);
    check(Text, &Body::Text("a".into()), text);
    check(Text, &Body::Binary("a".into()), text);
    check(Text, &Body::Binary(not_utf8()), [None; 2]);
    check(Binary, &Body::Text("a".into()), binary);
    check(Binary, &Body::Binary(not_utf8()), binary);
}

#[test]
fn what_is_encoded_already_goes_out_as_it_is() {
    for message_type in [MessageType::Text, MessageType::Binary, MessageType::AsReceived] {
        let mut types = Types::new(message_type, None);
        let raw = Body::Raw(Bytes::from_static(b"\x8a\0"));
        for order in ways(&raw) {
            assert_eq!(types.send(order), [Some(0x8a); 2]);
        }
    }
}

#[test]
fn a_client_that_has_said_nothing_gets_text_and_one_that_changes_gets_what_it_spoke_last() {
    let mut world = World::new();
    let business = world.link("a:0", None);
    let client = world.client();
    let mut got = |said: Option<Body>| {
        if let Some(said) = said {
            world.submit(Input::ClientSaid(client.id, said));
        }
        world.order(
            &business,
            Order::SendToOne { connection_id: 1, message: Body::Scalar("a".into()) },
        );
        client.sent.take()[0][0]
    };
    assert_eq!(got(None), TEXT);
    assert_eq!(got(Some(Body::Binary("x".into()))), BINARY);
    assert_eq!(got(None), BINARY);
    assert_eq!(got(Some(Body::Text("x".into()))), TEXT);
}

#[test]
fn heartbeats_have_the_type_that_a_client_speaks() {
    let mut world = beating(9, "ping");
    let _business = world.link("a:0", None);
    let clients = [world.client(), world.client()];
    world.submit(Input::ClientSaid(clients[1].id, Body::Binary("x".into())));
    (0..4).for_each(|_| tick(&mut world));
    assert_eq!(clients.map(|client| client.sent.take()[0][0]), [TEXT, BINARY]);
}

/// PHP, and versions before, see the flags that they know.
#[test]
fn a_business_is_told_of_the_type_if_it_knows_types() {
    let said = [Body::Text("x".into()), Body::Binary("x".into()), Body::Scalar("x".into())];
    let typed = [flags::SCALAR | flags::TEXT, flags::SCALAR | flags::BINARY, flags::SCALAR];
    let check = |version, expected: [u8; 3]| {
        let mut world = World::new();
        let business = world.link("a:0", version);
        let client = world.client();
        business.sent.take();
        for said in said.clone() {
            world.submit(Input::ClientSaid(client.id, said));
        }
        let flags: Vec<u8> = business.packets().iter().map(|packet| packet.flags).collect();
        assert_eq!(flags, expected, "{version:?}");
    };
    check(Some(TYPES), typed);
    check(Some(TYPES - 1), [flags::SCALAR; 3]);
    check(None, [flags::SCALAR; 3]);
}
