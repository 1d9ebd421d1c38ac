//! A gateway between a client's socket and a business's, found by way of a register.

mod process;

use bytes::BytesMut;
use lineman::websocket::{Deflate, Origins};
use lineman_gateway::{Gateway, Register};
use lineman_wire::link::{Audience, Body, Codec, Command, Login, Order, Packet, Query, Secret};
use lineman_wire::websocket::{Message, encode_message};
use process::{Peer, Process, run};

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
        let login = Login::Client { secret_key: Secret::new("k") };
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

/// One message for everyone: compressed for who negotiated it, as it is for the others.
#[test]
fn a_broadcast_goes_out_in_each_clients_own_form() {
    run(async {
        let gateway = Gateway::websocket("unused").compression(Deflate::new());
        let gateway = Process::start(gateway).await;
        let mut business = Peer::connect(gateway.addresses[1]).await;
        business.write(&worker("").to_bytes()).await;
        gateway.reaches("links", 1).await;

        let mut plain = websocket(&gateway).await;
        let offer = "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
        let request = String::from_utf8_lossy(HANDSHAKE).replace("\r\n\r\n", offer);
        let mut compressing = Peer::connect(gateway.addresses[0]).await;
        compressing.write(request.as_bytes()).await;
        let answer = String::from_utf8(compressing.read_to(b"\r\n\r\n").await).expect("text");
        assert!(answer.contains("permessage-deflate"), "{answer}");
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
            let mut client = Peer::connect(gateway.addresses[0]).await;
            let request = String::from_utf8_lossy(HANDSHAKE)
                .replace("\r\n\r\n", &format!("\r\nOrigin: {origin}\r\n\r\n"));
            client.write(request.as_bytes()).await;
            let line = String::from_utf8(client.read_to(b"\r\n").await).expect("text");
            assert!(line.starts_with(&format!("HTTP/1.1 {status} ")), "{origin}: {line}");
        }
    });
}
