//! A register and gateways that do as a test says.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;
use std::thread;

use bytes::BytesMut;
use lineman_wire::link::register::Line;
use lineman_wire::link::{Codec, Command, Event, Hello, Packet, Reply, flags};
use lineman_wire::php::{Array, Value};

/// Lists these gateways to every peer that asks with the right key.
pub(crate) fn register(gateways: &[SocketAddr]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let list: Vec<_> = gateways.iter().map(|gateway| format!("\"{gateway}\"")).collect();
    let line =
        format!("{{\"event\":\"broadcast_addresses\",\"addresses\":[{}]}}\n", list.join(","));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut question = String::new();
            BufReader::new(&stream).read_line(&mut question).unwrap();
            if question.starts_with("{\"event\":\"worker_connect\",\"secret_key\":\"k\"") {
                stream.write_all(line.as_bytes()).unwrap();
            }
        }
    });
    address
}

/// A register of ours that refuses each peer of cluster a.
pub(crate) fn register_that_refuses() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut question = String::new();
            BufReader::new(&stream).read_line(&mut question).unwrap();
            assert!(question.contains(r#""secret_key":"a:k","lineman":5,"cluster":"a""#));
            let refused = Line::Refused { reason: REFUSAL.to_owned(), address_taken: false };
            for line in [Line::Notice { text: "odd".to_owned() }, refused] {
                stream.write_all(format!("{}\n", line.encode()).as_bytes()).unwrap();
            }
        }
    });
    address
}

const REFUSAL: &str = r#"it belongs to cluster "b", not "a""#;

/// Whose a gateway is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It reads past what it does not know.
    Php,
    /// It says so, and answers in parts of so many bytes: without an end, or if that is 0 three of what it knows.
    Ours { part: usize },
    /// One of ours that says why.
    Refuses,
}

/// A gateway of PHP's: reports each packet, and answers questions; closes when the key is wrong.
pub(crate) fn gateway() -> (SocketAddr, mpsc::Receiver<String>) {
    gateway_of(Kind::Php)
}

/// Reports each packet, and answers questions.
pub(crate) fn gateway_of(kind: Kind) -> (SocketAddr, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, packets) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, sender) = (stream.unwrap(), sender.clone());
            thread::spawn(move || {
                let (mut input, mut chunk) = (BytesMut::new(), [0; 4096]);
                while let Ok(count @ 1..) = stream.read(&mut chunk) {
                    input.extend_from_slice(&chunk[..count]);
                    while let Some(packet) = Codec::new().decode_packet(&mut input).unwrap() {
                        let ext = String::from_utf8_lossy(&packet.ext).into_owned();
                        let body = String::from_utf8_lossy(&packet.body).into_owned();
                        if body.contains(r#""secret_key":"wrong""#) {
                            return;
                        }
                        let (command, id) = (packet.command, packet.connection_id);
                        let kind_of_message = match packet.flags & !flags::PLAIN {
                            flags::TEXT => " (text)",
                            flags::BINARY => " (binary)",
                            _ => "",
                        };
                        sender.send(format!("{command:?} {id} {ext}{body}{kind_of_message}")).ok();
                        if command == Command::GatewayClientConnect {
                            if !greet(kind, &mut stream) {
                                return;
                            }
                        } else if let Some(answer) = answer_of(kind, &packet) {
                            let mut reply = BytesMut::new();
                            answer.encode_into(&mut reply);
                            stream.write_all(&reply).unwrap();
                        }
                    }
                }
            });
        }
    });
    (address, packets)
}

/// Says what a gateway of ours does to one that logs in; returns whether that is taken.
fn greet(kind: Kind, stream: &mut impl Write) -> bool {
    let event = match kind {
        Kind::Php => return true,
        Kind::Ours { .. } => Event::Hello(Hello { version: 4, epoch: "e".to_owned(), share: None }),
        Kind::Refuses => Event::Refused(REFUSAL.to_owned()),
    };
    stream.write_all(&Packet::from(event).to_bytes()).unwrap();
    kind != Kind::Refuses
}

fn answer_of(kind: Kind, packet: &Packet) -> Option<Reply> {
    let number = packet.body.first().copied();
    let (Kind::Ours { part }, Command::Page, Some(number)) = (kind, packet.command, number) else {
        return answer(packet.command).as_ref().map(Reply::from);
    };
    let next = packet.connection_id + 1;
    if part > 0 {
        return Some(Reply::page(next, &Reply { payload: vec![b'x'; part].into() }));
    }
    let reply = Reply::from(&answer(Command::from(number))?);
    Some(Reply::page(if next == 3 { 0 } else { next }, &reply))
}

/// What every gateway of the tests knows: 7 clients, of whom number 9 is ada, in the room.
fn answer(command: Command) -> Option<Value> {
    let session = Value::from(r#"a:1:{s:1:"n";i:5;}"#);
    let fields = [
        ("uid", Value::from("ada")),
        ("groups", Value::from(Array::from_iter([("room", "room")]))),
    ];
    Some(match command {
        Command::IsOnline | Command::GetClientCountByGroup => Value::from(7),
        Command::GetClientIdByUid => Value::from(Array::from_iter([(0, 9)])),
        Command::BatchGetClientIdByUid => {
            Value::from(Array::from_iter([("ada", Value::from(Array::from_iter([(0, 9)])))]))
        }
        Command::BatchGetClientCountByGroup => Value::from(Array::from_iter([("room", 7)])),
        Command::GetGroupIdList => Value::from(Array::from_iter([(0, "room")])),
        Command::Select => {
            Value::from(Array::from_iter([(9, Value::from(Array::from_iter(fields)))]))
        }
        Command::GetAllClientSessions | Command::GetClientSessionsByGroup => {
            Value::from(Array::from_iter([(9, session)]))
        }
        Command::GetSessionByClientId => Value::from(Array::from_iter([("n", 5)])),
        _ => return None,
    })
}
