//! What travels between a gateway and a business of ours and no others see: whether a message is text or binary.

mod process;

use bytes::BytesMut;
use lineman::Result;
use lineman_gateway::{Business, Client, Events, Gateway, Hub, Message, MessageType, Register};
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
