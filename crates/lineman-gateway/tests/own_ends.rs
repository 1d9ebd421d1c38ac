//! What travels between a gateway and a business of ours and no others see: whether a message is text or binary, a
//! client's address in IPv6, and which fields of a session have changed.

mod process;

use std::collections::BTreeMap;

use bytes::BytesMut;
use lineman::Result;
use lineman_gateway::{
    Business, Client, Events, Gateway, Hub, Message, MessageType, Register, Request,
};
use lineman_wire::link::{Codec, Command, Login, Order, Packet, Query, Secret};
use lineman_wire::websocket::{Message as WebSocketMessage, encode_message};
use process::{Peer, Process, run};

const HANDSHAKE: &[u8] =
    b"GET / HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// Sends what it hears back, and says to all in the other type what it was.
struct Mirror;

impl Events for Mirror {
    type Session = ();

    async fn on_message(&self, hub: &Hub, client: &mut Client, message: Message) -> Result {
        client.send(&message)?;
        match message {
            Message::Text(_) => hub.send_to_all(&b"text"[..]),
            Message::Binary(_) => hub.send_to_all("binary"),
        }
    }
}

/// A register, a gateway, and a business of ours, all linked.
async fn cluster(message_type: MessageType) -> [Process; 3] {
    let register = Process::start(Register::listen("unused")).await;
    let address = register.addresses[0].to_string();
    let gateway = Gateway::websocket("unused").message_type(message_type).register(&address);
    let gateway = Process::start(gateway).await;
    register.reaches("gateways", 1).await;
    let business = Process::start(Business::new(Mirror).register(address)).await;
    gateway.reaches("links", 1).await;
    [register, gateway, business]
}

/// Tells each client what its address is, at each event, and the one that its handshake brought.
struct Addresses;

impl Events for Addresses {
    type Session = ();

    async fn on_connect(&self, _: &Hub, client: &mut Client) -> Result {
        client.send(format!("{}\n", client.addr()))
    }

    async fn on_websocket_connect(&self, _: &Hub, client: &mut Client, head: Request) -> Result {
        let server = head.as_php().as_array().and_then(|head| head.get("server")?.as_array());
        let address = server.and_then(|server| server.get("REMOTE_ADDR")?.as_str());
        client.send(format!("{}\n", address.unwrap_or_default()))
    }

    async fn on_message(&self, _: &Hub, client: &mut Client, _: Message) -> Result {
        client.send(format!("{}\n", client.addr()))
    }
}

#[test]
fn a_business_of_ours_sees_a_client_s_address_in_ipv6_and_php_what_it_always_did() {
    run(async {
        let register = Process::start(Register::listen("unused")).await;
        let address = register.addresses[0].to_string();
        let gateway = Gateway::websocket("unused").message_type(MessageType::Text);
        let gateway =
            Process::start_at("[::1]:0", gateway.register(&address)).await.expect("started");
        register.reaches("gateways", 1).await;
        let business = Process::start(Business::new(Addresses).register(address)).await;
        gateway.reaches("links", 1).await;

        let mut client = websocket(&gateway).await;
        let own = format!("{}\n", client.0.local_addr().expect("connected"));
        assert!(own.starts_with("[::1]:"), "{own}");
        let frame = |text: &str| {
            [&[0x81, u8::try_from(text.len()).expect("short")], text.as_bytes()].concat()
        };
        assert_eq!(client.read(own.len() + 2).await, frame(&own));
        assert_eq!(client.read(8).await, frame("[::1]\n"));
        client.write(&[0x81, 0x81, 0, 0, 0, 0, b'x']).await;
        assert_eq!(client.read(own.len() + 2).await, frame(&own), "of a later message, too");

        // Another one takes the new client, for it has none.
        let mut php = Peer::connect(gateway.addresses[1]).await;
        let (worker_key, secret_key) = ("Bw:0".to_owned(), Secret::default());
        php.write(
            &Packet::from(Login::Worker { worker_key, secret_key, lineman: None }).to_bytes(),
        )
        .await;
        gateway.reaches("links", 2).await;
        let other = websocket(&gateway).await;
        let header = php.read(28).await;
        assert_eq!(header[..5], [0, 0, 0, 28, Command::OnConnect.number()]);
        assert_eq!(header[11..15], [0; 4], "no address");
        let port = other.0.local_addr().expect("connected").port();
        assert_eq!(header[15..17], port.to_be_bytes());
        assert_eq!(header[21], 1, "and no flag that PHP does not know");
        let packet = Codec::new().decode_packet(&mut BytesMut::from(&header[..]));
        assert!(packet.is_ok_and(|packet| packet.is_some()), "it is whole");
        drop(business);
    });
}

/// Keeps what clients say in their sessions, as `key=value`, and answers with the whole.
struct Notes;

impl Events for Notes {
    type Session = BTreeMap<String, String>;

    async fn on_message(
        &self,
        _: &Hub,
        client: &mut Client<Self::Session>,
        message: Message,
    ) -> Result {
        if let Some((key, value)) = message.as_text().and_then(|text| text.split_once('=')) {
            client.session.insert(key.to_owned(), value.to_owned());
        }
        let all: Vec<_> =
            client.session.iter().map(|(key, value)| format!("{key}={value}")).collect();
        client.send(format!("{} {}\n", client.id().connection_id, all.join(" ")))
    }
}

/// Has a client say something; returns the client's number, and its session.
async fn note(client: &mut Peer, text: &str) -> (u32, String) {
    let mut frame = BytesMut::new();
    encode_message(&WebSocketMessage::from(text), Some([1, 2, 3, 4]), &mut frame);
    client.write(&frame).await;
    let header = client.read(2).await;
    let text = String::from_utf8(client.read(header[1].into()).await).expect("text");
    let (id, session) = text.trim_end().split_once(' ').expect("a number and a session");
    (id.parse().expect("a number"), session.to_owned())
}

#[test]
fn what_a_handler_and_others_change_in_a_session_is_merged() {
    run(async {
        let register = Process::start(Register::listen("unused")).await;
        let address = register.addresses[0].to_string();
        let gateway = Gateway::websocket("unused").message_type(MessageType::Text);
        let gateway = Process::start(gateway.register(&address)).await;
        register.reaches("gateways", 1).await;
        let business = Process::start(Business::new(Notes).register(address)).await;
        gateway.reaches("links", 1).await;
        let mut client = websocket(&gateway).await;
        let (id, session) = note(&mut client, "a=1").await;
        assert_eq!(session, "a=1");
        // What was written behind an answer is there when the next one comes.
        note(&mut client, "?").await;

        let mut php = Peer::connect(gateway.addresses[1]).await;
        let login = Login::Client { secret_key: Secret::default(), lineman: None };
        let session = r#"a:1:{s:1:"b";s:1:"2";}"#.into();
        let update = Order::UpdateSession { connection_id: id, session };
        let question = || Packet::from(Query::Session { connection_id: id }).to_bytes();
        for packet in [Packet::from(login), update.into()] {
            php.write(&packet.to_bytes()).await;
        }
        php.write(&question()).await;
        let both = r#"a:2:{s:1:"a";s:1:"1";s:1:"b";s:1:"2";}"#;
        let length = u32::try_from(both.len()).expect("short").to_be_bytes();
        assert_eq!(php.read(4 + both.len()).await, [&length, both.as_bytes()].concat());

        assert_eq!(note(&mut client, "?").await, (id, "a=1 b=2".to_owned()));
        assert_eq!(note(&mut client, "a=3").await, (id, "a=3 b=2".to_owned()));
        for said in ["c=4", "?"] {
            assert_eq!(note(&mut client, said).await, (id, "a=3 b=2 c=4".to_owned()));
        }
        php.write(&question()).await;
        let all = r#"a:3:{s:1:"a";s:1:"3";s:1:"b";s:1:"2";s:1:"c";s:1:"4";}"#;
        assert_eq!(php.read(4 + all.len()).await[4..], *all.as_bytes());
        assert_eq!(business.gauges()["session_bytes"], all.len() as u64);
        assert_eq!(gateway.gauges()["session_conflicts"], 0);
        drop(client);
        business.reaches("session_bytes", 0).await;
    });
}

async fn websocket(gateway: &Process) -> Peer {
    let mut client = Peer::connect(gateway.addresses[0]).await;
    client.write(HANDSHAKE).await;
    client.read_to(b"\r\n\r\n").await;
    client
}

#[test]
fn a_message_keeps_its_type_to_a_business_and_back() {
    // All bytes are UTF-8: nothing could be guessed by them.
    let check = async |message_type, [echo, of_text, of_binary]: [[u8; 2]; 3]| {
        let [_register, gateway, _business] = cluster(message_type).await;
        let mut client = websocket(&gateway).await;
        let mut other = websocket(&gateway).await;
        let said = [WebSocketMessage::from("hi"), WebSocketMessage::from(&b"hi"[..])];
        for ((said, echo), to_all) in
            said.iter().zip(echo).zip([(of_text, "text"), (of_binary, "binary")])
        {
            let mut frame = BytesMut::new();
            encode_message(said, Some([1, 2, 3, 4]), &mut frame);
            client.write(&frame).await;
            assert_eq!(client.read(4).await, [&[echo, 2], &b"hi"[..]].concat());
            let (first, text) = to_all;
            let expected = [&[first[0], first[1]], text.as_bytes()].concat();
            assert_eq!(client.read(expected.len()).await, expected);
            assert_eq!(other.read(expected.len()).await, expected);
        }
        client.write(b"\x88\x80\0\0\0\0").await;
        assert_eq!((client.read(2).await, client.is_closed().await), (b"\x88\0".to_vec(), true));
    };
    run(async {
        check(MessageType::AsReceived, [[0x81, 0x82], [0x82, 4], [0x81, 6]]).await;
        check(MessageType::Text, [[0x81, 0x81], [0x81, 4], [0x81, 6]]).await;
        check(MessageType::Binary, [[0x82, 0x82], [0x82, 4], [0x82, 6]]).await;
    });
}
