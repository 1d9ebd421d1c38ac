//! A gateway between a client's socket and a business's, found by way of a register.

mod process;

use std::convert::Infallible;
use std::sync::Arc;
use std::thread;

use bytes::{Bytes, BytesMut};
use flate2::{Decompress, FlushDecompress};
use lineman::http::Body as RequestBody;
use lineman::service::Service;
use lineman::websocket::{Deflate, Origins};
use lineman_gateway::{Gateway, Register};
use lineman_wire::link::{Audience, Body, Codec, Command, Login, Order, Packet, Query, Secret};
use lineman_wire::php;
use lineman_wire::websocket::{Message, encode_message};
use process::{Peer, Process, run, within};
use tokio::sync::Notify;

const HANDSHAKE: &[u8] = b"GET /chat?room=7 HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

fn worker(secret_key: &str) -> Packet {
    let secret_key = Secret::new(secret_key);
    Login::Worker { worker_key: "Bw:0".to_owned(), secret_key, lineman: None }.into()
}

async fn packet(peer: &mut Peer) -> Packet {
    let mut bytes = BytesMut::from(&peer.read(4).await[..]);
    let length = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    bytes.extend(peer.read(length as usize - 4).await);
    Codec::new().decode_packet(&mut bytes).expect("good").expect("whole")
}

async fn say(client: &mut Peer, text: &str) {
    let mut frame = BytesMut::new();
    encode_message(&Message::from(text), Some([1, 2, 3, 4]), &mut frame);
    client.write(&frame).await;
}

async fn websocket(gateway: &Process) -> Peer {
    let mut client = Peer::connect(gateway.addresses[0]).await;
    client.write(HANDSHAKE).await;
    let answer = client.read_to(b"\r\n\r\n").await;
    assert!(answer.starts_with(b"HTTP/1.1 101 "));
    client
}

#[test]
fn messages_go_both_ways() {
    run(async {
        let register = Process::start(Register::listen("unused").secret_key("k")).await;
        let address = register.addresses[0].to_string();
        let gateway = Gateway::websocket("unused").register(address).secret_key("k");
        let gateway = Process::start(gateway).await;
        register.reaches("gateways", 1).await;

        let mut asking = Peer::connect(register.addresses[0]).await;
        asking.write(b"{\"event\":\"worker_connect\",\"secret_key\":\"k\"}\n").await;
        let list = String::from_utf8(asking.read_to(b"\n").await).expect("text");
        assert!(list.contains(&gateway.addresses[1].to_string()), "{list}");

        // The client waits until there is a business.
        let mut client = websocket(&gateway).await;
        say(&mut client, "hello").await;
        assert_eq!(gateway.gauges()["held_clients"], 1);
        let mut business = Peer::connect(gateway.addresses[1]).await;
        business.write(&worker("k").to_bytes()).await;
        let connect = packet(&mut business).await;
        assert_eq!(connect.command, Command::OnConnect);
        assert_eq!(packet(&mut business).await.command, Command::OnWebSocketConnect);
        let message = packet(&mut business).await;
        assert_eq!((message.command, &message.body[..]), (Command::OnMessage, &b"hello"[..]));

        let id = connect.connection_id;
        let reply = Order::SendToOne { connection_id: id, message: Body::from("hi") };
        business.write(&Packet::from(reply).to_bytes()).await;
        assert_eq!(client.read(4).await, b"\x81\x02hi");

        let mut asking = Peer::connect(gateway.addresses[1]).await;
        let login = Login::Client { secret_key: Secret::new("k"), lineman: None };
        asking.write(&Packet::from(login).to_bytes()).await;
        asking.write(&Packet::from(Query::IsOnline { connection_id: id }).to_bytes()).await;
        assert_eq!(asking.read(8).await, b"\0\0\0\x04i:1;");

        drop(client);
        let close = packet(&mut business).await;
        assert_eq!((close.command, close.connection_id), (Command::OnClose, id));
        gateway.reaches("clients", 0).await;
    });
}

#[test]
fn a_wrong_key_opens_nothing() {
    run(async {
        let gateway = Process::start(Gateway::websocket("unused").secret_key("k")).await;
        for packet in [worker("wrong"), worker(""), Packet::new(Command::SendToAll, 0)] {
            let mut stranger = Peer::connect(gateway.addresses[1]).await;
            stranger.write(&packet.to_bytes()).await;
            assert!(stranger.is_closed().await);
        }
        assert_eq!(gateway.gauges()["links"], 0);
    });
}

#[test]
fn clients_that_send_lines_are_served_too() {
    run(async {
        let gateway = Process::start(Gateway::text("unused")).await;
        let mut business = Peer::connect(gateway.addresses[1]).await;
        business.write(&worker("").to_bytes()).await;
        gateway.reaches("links", 1).await;
        let mut client = Peer::connect(gateway.addresses[0]).await;
        client.write(b"hello\n").await;
        assert_eq!(packet(&mut business).await.command, Command::OnConnect);
        let message = packet(&mut business).await;
        assert_eq!((message.command, &message.body[..]), (Command::OnMessage, &b"hello"[..]));
        let kick = Order::Kick { connection_id: message.connection_id, farewell: "bye".into() };
        business.write(&Packet::from(kick).to_bytes()).await;
        assert_eq!(client.read(4).await, b"bye\n");
        assert!(client.is_closed().await);
        assert_eq!(packet(&mut business).await.command, Command::OnClose);
    });
}

/// What a client sends arrives, and what it is sent, whatever the bytes are.
#[test]
fn bytes_pass_lines_frames_and_streams_unchanged() {
    run(async {
        let lines = |message: &[u8]| [message, b"\n"].concat();
        let frames = |message: &[u8]| {
            [&u32::try_from(4 + message.len()).expect("short").to_be_bytes(), message].concat()
        };
        passes(Gateway::text("unused"), lines).await;
        passes(Gateway::framed("unused"), frames).await;
        passes(Gateway::tcp("unused"), |message: &[u8]| message.to_vec()).await;
    });
}

async fn passes(gateway: impl Service, wire: impl Fn(&[u8]) -> Vec<u8>) {
    const ANY: &[u8] = b"\xff\0\xc3(\r\x80";
    let gateway = Process::start(gateway).await;
    let mut business = Peer::connect(gateway.addresses[1]).await;
    business.write(&worker("").to_bytes()).await;
    gateway.reaches("links", 1).await;
    let mut client = Peer::connect(gateway.addresses[0]).await;
    client.write(&wire(ANY)).await;
    assert_eq!(packet(&mut business).await.command, Command::OnConnect);
    let said = packet(&mut business).await;
    assert_eq!((said.command, said.flags, &said.body[..]), (Command::OnMessage, 1, ANY));
    let connection_id = said.connection_id;
    let mut expected = Vec::new();
    for message in [ANY, b"", b"\x00\xff"] {
        let message = Bytes::from_static(message);
        expected.extend(wire(&message));
        let order = Order::SendToOne { connection_id, message: Body::Scalar(message) };
        business.write(&Packet::from(order).to_bytes()).await;
    }
    let array = php::Array::from_iter([("k", "/")]);
    let order = Order::SendToAll { audience: Audience::All, message: array.into() };
    business.write(&Packet::from(order).to_bytes()).await;
    let raw = Order::Kick { connection_id, farewell: Body::empty() };
    business.write(&Packet::from(raw).to_bytes()).await;
    expected.extend(wire(br#"{"k":"\/"}"#));
    expected.extend(wire(b""));
    assert_eq!(client.read(expected.len()).await, expected);
    assert!(client.is_closed().await);
}

/// Opens a connection with more lines in its request; returns it with the answer's head.
async fn asking(gateway: &Process, lines: &str) -> (Peer, String) {
    let mut client = Peer::connect(gateway.addresses[0]).await;
    let request =
        String::from_utf8_lossy(HANDSHAKE).replace("\r\n\r\n", &format!("\r\n{lines}\r\n\r\n"));
    client.write(request.as_bytes()).await;
    let answer = String::from_utf8(client.read_to(b"\r\n\r\n").await).expect("text");
    (client, answer)
}

/// Opens a connection that compresses.
async fn compressing(gateway: &Process) -> Peer {
    let (client, answer) = asking(gateway, "Sec-WebSocket-Extensions: permessage-deflate").await;
    assert!(answer.contains("permessage-deflate"), "{answer}");
    client
}

/// Reads one frame that is not masked: its first byte and its payload.
async fn frame(client: &mut Peer) -> (u8, Vec<u8>) {
    let head = client.read(2).await;
    assert!(head[1] < 127, "no message here is that long");
    let length = match head[1] {
        126 => usize::from(u16::from_be_bytes(client.read(2).await.try_into().expect("two"))),
        short => usize::from(short),
    };
    (head[0], client.read(length).await)
}

/// Inflates a message with zlib alone, none of our code (RFC 7692, 7.2.2).
fn inflated(payload: &[u8], length: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(length + 1);
    let whole = [payload, b"\0\0\xff\xff"].concat();
    let mut zlib = Decompress::new(false);
    zlib.decompress_vec(&whole, &mut out, FlushDecompress::Sync).expect("deflated");
    assert_eq!(zlib.total_in(), whole.len() as u64, "nothing is left over");
    out
}

/// A gateway that compresses, and the link of its business.
async fn compressed_gateway() -> (Process, Peer) {
    let gateway = Gateway::websocket("unused").compression(Deflate::new());
    let gateway = Process::start(gateway).await;
    let mut business = Peer::connect(gateway.addresses[1]).await;
    business.write(&worker("").to_bytes()).await;
    gateway.reaches("links", 1).await;
    (gateway, business)
}

/// Returns the number of the client that has just come.
async fn arrived(business: &mut Peer) -> u32 {
    let connect = packet(business).await;
    assert_eq!(connect.command, Command::OnConnect);
    assert_eq!(packet(business).await.command, Command::OnWebSocketConnect);
    connect.connection_id
}

#[test]
fn what_is_inflated_is_what_was_sent() {
    run(async {
        let (gateway, mut business) = compressed_gateway().await;
        let mut plain = websocket(&gateway).await;
        let plain_id = arrived(&mut business).await;
        let mut first = compressing(&gateway).await;
        let first_id = arrived(&mut business).await;
        let mut second = compressing(&gateway).await;
        let second_id = arrived(&mut business).await;
        for connection_id in [plain_id, first_id, second_id] {
            let join = Order::JoinGroup { connection_id, group: Bytes::from_static(b"room") };
            business.write(&Packet::from(join).to_bytes()).await;
        }

        // Text, and bytes that are none: the first goes as text, the other as binary.
        let text = "wörds that come again and again, ".repeat(40).into_bytes();
        let noise: Vec<u8> =
            (0..3000).map(|n| 0x80 | (n / 24)).map(|n: u16| n.to_be_bytes()[1]).collect();
        for (payload, opcode) in [(text, 1), (noise, 2)] {
            let body = || Body::Scalar(Bytes::from(payload.clone()));
            let groups = vec!["room".into()];
            let one = Order::SendToOne { connection_id: first_id, message: body() };
            let group = Order::SendToGroup { groups, exclude: vec![second_id], message: body() };
            let all = Order::SendToAll { message: body(), audience: Audience::All };
            for order in [one, group, all] {
                business.write(&Packet::from(order).to_bytes()).await;
            }
            // One by its number, one by its group, one as everyone: each gets what is meant for it.
            for (client, times) in [(&mut first, 3), (&mut second, 1)] {
                for _ in 0..times {
                    let (head, deflated) = frame(client).await;
                    assert_eq!(head, 0xC0 | opcode, "RSV1 says that it is compressed");
                    assert!(deflated.len() < payload.len() / 2, "{}", deflated.len());
                    assert!(inflated(&deflated, payload.len()) == payload, "opcode {opcode}");
                }
            }
            for _ in 0..2 {
                assert!(frame(&mut plain).await == (0x80 | opcode, payload.clone()));
            }
        }
    });
}

/// A mixed group gets one text, and the clients that compress get the very same bytes.
#[test]
fn a_mixed_group_gets_the_same_text() {
    run(async {
        let (gateway, mut business) = compressed_gateway().await;
        let (mut plains, mut others) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            plains.push((websocket(&gateway).await, arrived(&mut business).await));
            others.push((compressing(&gateway).await, arrived(&mut business).await));
        }
        for connection_id in plains.iter().chain(&others).map(|(_, id)| *id) {
            let join = Order::JoinGroup { connection_id, group: Bytes::from_static(b"room") };
            business.write(&Packet::from(join).to_bytes()).await;
        }
        let text = "the same again and again, ".repeat(40);
        let groups = vec!["room".into()];
        let order = Order::SendToGroup { groups, exclude: vec![], message: Body::from(&*text) };
        business.write(&Packet::from(order).to_bytes()).await;
        for (client, _) in &mut plains {
            assert_eq!(frame(client).await, (0x81, text.clone().into_bytes()));
        }
        let mut frames = Vec::new();
        for (client, _) in &mut others {
            frames.push(frame(client).await);
        }
        assert!(frames.iter().all(|other| *other == frames[0]));
        assert_eq!(frames[0].0, 0xC1);
        assert_eq!(inflated(&frames[0].1, text.len()), text.as_bytes());
    });
}

/// A raw body is in its wire form already: it is not touched, whatever a client has negotiated.
#[test]
fn a_raw_body_goes_out_as_it_is() {
    run(async {
        let (gateway, mut business) = compressed_gateway().await;
        let mut plain = websocket(&gateway).await;
        arrived(&mut business).await;
        let mut client = compressing(&gateway).await;
        let connection_id = arrived(&mut business).await;
        let wire = [&[0x81, 126, 1, 0][..], &[b'r'; 256]].concat();
        let raw = || Body::Raw(Bytes::from(wire.clone()));
        for order in [
            Order::SendToAll { message: raw(), audience: Audience::All },
            Order::SendToOne { connection_id, message: Body::from("then") },
        ] {
            business.write(&Packet::from(order).to_bytes()).await;
        }
        assert_eq!(plain.read(wire.len()).await, wire);
        assert_eq!(client.read(wire.len()).await, wire);
        assert_eq!(frame(&mut client).await, (0x81, b"then".to_vec()), "too short to compress");
    });
}

/// Of what a client offers, the gateway's own favourite is chosen.
#[test]
fn subprotocols_are_negotiated_and_headers_sent() {
    run(async {
        let gateway = Gateway::websocket("unused")
            .subprotocols(["chat.v2", "chat.v1"])
            .header("X-Served-By", "a gateway");
        let gateway = Process::start(gateway).await;
        let offers = [
            ("chat.v1, chat.v2", Some("chat.v2")),
            ("other, chat.v1", Some("chat.v1")),
            ("other", None),
        ];
        for (offered, chosen) in offers {
            let (_client, answer) =
                asking(&gateway, &format!("Sec-WebSocket-Protocol: {offered}")).await;
            assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
            let answer = answer.to_ascii_lowercase();
            assert!(answer.contains("\r\nx-served-by: a gateway\r\n"), "{answer}");
            let lines = answer.lines();
            let said = lines.filter_map(|line| line.strip_prefix("sec-websocket-protocol: "));
            assert_eq!(said.collect::<Vec<_>>(), Vec::from_iter(chosen), "{offered}");
        }
    });
}

/// One message for everyone: compressed for clients that negotiated it, as it is for the others.
#[test]
fn a_broadcast_goes_out_in_each_clients_own_form() {
    run(async {
        let (gateway, mut business) = compressed_gateway().await;
        let mut plain = websocket(&gateway).await;
        let mut compressing = compressing(&gateway).await;
        gateway.reaches("clients", 2).await;

        let text = "the same again and again, ".repeat(40);
        let order = Order::SendToAll { message: Body::from(&*text), audience: Audience::All };
        business.write(&Packet::from(order).to_bytes()).await;
        let head = plain.read(4).await;
        assert_eq!(head, [0x81, 126, 4, 16], "1040 bytes as they are");
        assert_eq!(plain.read(1040).await, text.as_bytes());
        let head = compressing.read(2).await;
        assert_eq!(head[0], 0xC1, "RSV1 says that it is compressed");
        assert!(head[1] < 126, "and it is short: {head:?}");
    });
}

#[test]
fn a_page_from_elsewhere_is_refused() {
    run(async {
        let origins = Origins::list(["https://example.org"]);
        let gateway = Process::start(Gateway::websocket("unused").origins(origins)).await;
        for (origin, status) in [("https://example.org", "101"), ("https://evil.example", "403")] {
            let (mut client, answer) = asking(&gateway, &format!("Origin: {origin}")).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{origin}: {answer}");
            if status == "403" {
                client.read_to(b"may not connect\n").await;
                assert!(client.is_closed().await, "nothing more to say to it");
            }
        }
    });
}

/// Asks for a page; returns the connection, for its answer.
async fn get(gateway: &Process, path: &str) -> Peer {
    let mut client = Peer::connect(gateway.addresses[0]).await;
    client.write(format!("GET {path} HTTP/1.1\r\nHost: here\r\n\r\n").as_bytes()).await;
    client
}

async fn status(page: &mut Peer) -> String {
    let head = String::from_utf8(page.read_to(b"\r\n\r\n").await).expect("text");
    head.split(' ').nth(1).expect("a status").to_owned()
}

/// Users' HTTP code cannot cost a client: not when it panics, nor when it blocks for ever.
#[test]
fn a_page_that_blocks_or_panics_costs_no_client() {
    run(async {
        let blocks = Arc::new(Notify::new());
        let begins = Arc::clone(&blocks);
        let pages = tower::service_fn(move |request: http::Request<RequestBody>| {
            match request.uri().path() {
                "/panic" => panic!("as told"),
                "/block" => {
                    begins.notify_one();
                    loop {
                        thread::park();
                    }
                }
                _ => {
                    std::future::ready(Ok::<_, Infallible>(http::Response::new("page".to_owned())))
                }
            }
        });
        let gateway = Process::start(Gateway::websocket("unused").http(pages)).await;
        let mut business = Peer::connect(gateway.addresses[1]).await;
        business.write(&worker("").to_bytes()).await;
        let mut client = websocket(&gateway).await;
        let connection_id = arrived(&mut business).await;

        assert_eq!(status(&mut get(&gateway, "/panic").await).await, "500");
        let mut page = get(&gateway, "/").await;
        assert_eq!(status(&mut page).await, "200");
        assert_eq!(page.read(4).await, b"page");

        let _blocked = get(&gateway, "/block").await;
        within(blocks.notified()).await;
        let _waits = get(&gateway, "/").await;
        for _ in 0..10 {
            say(&mut client, "hello").await;
            assert_eq!(packet(&mut business).await.body, "hello");
            let reply = Order::SendToOne { connection_id, message: Body::from("hi") };
            business.write(&Packet::from(reply).to_bytes()).await;
            assert_eq!(client.read(4).await, b"\x81\x02hi");
        }
        let mut second = websocket(&gateway).await;
        arrived(&mut business).await;
        drop(client);
        assert_eq!(packet(&mut business).await.command, Command::OnClose);
        say(&mut second, "still served").await;
        assert_eq!(packet(&mut business).await.body, "still served");
    });
}

/// One that does not answer the close frame has 2 s for that.
#[test]
fn a_kicked_client_is_offline_at_once() {
    run(async {
        let gateway = Process::start(Gateway::websocket("unused")).await;
        let mut business = Peer::connect(gateway.addresses[1]).await;
        business.write(&worker("").to_bytes()).await;
        let mut client = websocket(&gateway).await;
        let connection_id = arrived(&mut business).await;
        let mut asking = Peer::connect(gateway.addresses[1]).await;
        let uid = Bytes::from_static(b"ada");
        let group = Bytes::from_static(b"lobby");
        for order in [
            Order::BindUid { connection_id, uid: uid.clone() },
            Order::JoinGroup { connection_id, group: group.clone() },
            Order::Kick { connection_id, farewell: Body::from("bye") },
        ] {
            asking.write(&Packet::from(order).to_bytes()).await;
        }
        for (query, answer) in [
            (Query::IsOnline { connection_id }, "i:0;"),
            (Query::ClientIdsByUid { uid }, "a:0:{}"),
            (Query::ClientCountByGroup { group }, "i:0;"),
            (Query::ClientCountByGroup { group: Bytes::new() }, "i:0;"),
        ] {
            asking.write(&Packet::from(query).to_bytes()).await;
            let length = u32::try_from(answer.len()).expect("short").to_be_bytes();
            let expected = [&length[..], answer.as_bytes()].concat();
            assert_eq!(asking.read(expected.len()).await, expected);
        }
        let close = packet(&mut business).await;
        assert_eq!((close.command, close.connection_id), (Command::OnClose, connection_id));
        // It is told all the same.
        assert_eq!(client.read(5).await, b"\x81\x03bye");
        assert_eq!(client.read(4).await, b"\x88\x02\x03\xe8");
    });
}
