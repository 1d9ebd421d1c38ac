//! Everything real `GatewayWorker` programs said to each other is understood here, and what is built
//! here is byte for byte what they said.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use lineman_wire::link::register::{self, Line};
use lineman_wire::link::{Codec, Command, Event, Packet, Reply, ReplyCodec, Request, RequestHead};
use lineman_wire::{Protocol, php};

use crate::captures::{self, Capture, Message};

/// How many packets, replies and register lines each file has: a reader that skips some would
/// otherwise pass.
const CONTENTS: &[(&str, usize, usize, usize)] = &[
    ("01-all-api-one-gateway", 131, 26, 4),
    ("02-secret-key", 20, 4, 6),
    ("03-gatewayclient-no-secret", 18, 7, 6),
    ("04-raw-flag-and-types", 49, 3, 4),
    ("05-two-gateways-two-workers-keepalive", 66, 5, 14),
    ("06-register", 0, 0, 27),
    ("07-failures-and-reload", 25, 0, 23),
    ("08-heartbeat-limit0", 16, 0, 0),
    ("09-heartbeat-limit1", 16, 0, 0),
    ("10-heartbeat-limit2", 16, 0, 0),
    ("11-heartbeat-no-data", 16, 0, 0),
    ("12-text-gateway", 10, 0, 4),
    ("13-custom-protocol-array-body", 17, 0, 4),
    ("14-ipv6-client", 6, 0, 4),
    ("16-no-business-worker", 0, 0, 1),
    ("17-demo-chat", 28, 2, 3),
    ("18-demo-todpole", 23, 4, 4),
];

#[test]
fn every_message_of_every_file_is_read() {
    let counts: Vec<_> = captures::all()
        .iter()
        .map(|file| {
            let counts =
                (file.packets().count(), file.replies().count(), file.of_kind('R').count());
            (file.name.clone(), counts.0, counts.1, counts.2)
        })
        .collect();
    let expected: Vec<_> = CONTENTS.iter().map(|c| (c.0.to_owned(), c.1, c.2, c.3)).collect();
    assert_eq!(counts, expected);
}

#[test]
fn packets_encode_to_the_same_bytes() {
    each_packet(|message, packet| assert_eq!(packet.to_bytes(), message.bytes));
}

/// Of all packets captured, there is none whose typed form is written in another way.
#[test]
fn typed_packets_encode_to_the_same_bytes() {
    each_packet(|message, packet| {
        let again: Packet = if message.from_opener {
            let request = Request::try_from(packet).unwrap();
            assert!(!matches!(request, Request::Unknown(_)), "{request:?}");
            request.into()
        } else {
            let event = Event::try_from(packet).unwrap();
            assert!(!matches!(event, Event::Unknown(_)), "{event:?}");
            event.into()
        };
        let (expected, got) = (Bytes::from(message.bytes.clone()), again.to_bytes());
        assert_eq!(got, expected);
    });
}

#[test]
fn every_documented_command_is_in_the_captures() {
    let mut seen = Vec::new();
    each_packet(|_, packet| seen.push(packet.command));
    let extension = 120..200;
    let missing: Vec<_> = Command::ALL
        .iter()
        .filter(|command| !seen.contains(command) && !extension.contains(&command.number()))
        .collect();
    assert_eq!(missing, Vec::<&Command>::new());
}

#[test]
fn replies_and_their_values_encode_to_the_same_bytes() {
    for file in captures::all() {
        for message in file.replies() {
            let mut buffer = BytesMut::from(&message.bytes[..]);
            let reply = ReplyCodec::new().decode(&mut buffer).unwrap().unwrap();
            assert!(buffer.is_empty());
            assert_eq!(Reply::from(&reply.value().unwrap()), reply, "{}", file.name);
            reply.encode_into(&mut buffer);
            assert_eq!(buffer, message.bytes);
        }
    }
}

#[test]
fn sessions_serialize_to_the_same_bytes() {
    let mut sessions = 0;
    each_packet(|_, packet| {
        if packet.ext.starts_with(b"a:") {
            let value = php::unserialize(&packet.ext, php::Limits::default()).unwrap();
            assert_eq!(php::serialize(&value), packet.ext);
            sessions += 1;
        }
    });
    assert!(sessions > 20, "{sessions}");
}

/// Lines that a program other than `GatewayWorker`'s own wrote, to see what the register does.
const PROBES: &[(&str, Result<(), register::Error>)] = &[
    // A real gateway puts blanks behind the commas.
    (r#"{"event":"gateway_connect","address":"127.0.0.1:22900","secret_key":"k"}"#, Ok(())),
    (r#"{"event":"gateway_connect","address":"127.0.0.7:22999","secret_key":"k"}"#, Ok(())),
    (r#"{"event":"gateway_connect","address":"127.0.0.9:1","secret_key":"zz"}"#, Ok(())),
    (r#"{"event":"gateway_connect","secret_key":"k"}"#, Err(register::Error::MissingAddress)),
    ("nonsense", Err(register::Error::Malformed)),
    (r#"{"x":1}"#, Err(register::Error::Malformed)),
];

#[test]
fn register_lines_are_understood_and_built() {
    let mut objects = 0;
    let mut canonical = 0;
    for file in captures::all() {
        for message in file.of_kind('R') {
            let text = str::from_utf8(&message.bytes).unwrap().trim_end();
            let line = Line::parse(&message.bytes);
            if let Some((_, expected)) = PROBES.iter().find(|(probe, _)| *probe == text) {
                assert_eq!(&line.map(|_| ()), expected, "{text}");
            } else if text == r#"{"event":"foo"}"# {
                assert_eq!(line.unwrap_err(), register::Error::UnknownEvent("foo".to_owned()));
            } else if text.starts_with("Bad request for Register service") {
                assert_eq!(line.unwrap_err(), register::Error::Malformed);
            } else if text.contains(r#""addresses":{"#) {
                // The register dropped a duplicate; that form is read, but never written.
                let Line::BroadcastAddresses { addresses, .. } = line.unwrap() else {
                    panic!("{text}")
                };
                assert_eq!(addresses, ["127.0.0.1:22900", "127.0.0.7:22999"]);
                objects += 1;
            } else {
                assert_eq!(line.unwrap().encode(), text);
                canonical += 1;
            }
        }
    }
    assert_eq!((objects, canonical), (2, 93));
}

#[test]
fn handshakes_become_the_bodies_that_were_captured() {
    let mut handshakes = 0;
    for file in captures::all() {
        for message in file.packets().filter(|message| message.bytes[4] == 205) {
            let packet = decode(message);
            let Event::WebSocketConnect(client, request) = Event::try_from(packet).unwrap() else {
                panic!("not a handshake");
            };
            let (remote, head) = handshake_from(&file, client.port);
            let mut lines = head.trim_end().split("\r\n");
            let request_line: Vec<&str> = lines.next().unwrap().split(' ').collect();
            let [method, uri, version] = request_line[..] else { panic!("{head}") };
            let headers: Vec<_> = lines
                .map(|line| line.split_once(": ").unwrap())
                .map(|(name, value)| (name, value.as_bytes()))
                .collect();
            let head = RequestHead {
                method,
                uri,
                version,
                headers: &headers,
                remote,
                server_port: client.gateway_port,
            };
            assert_eq!(php::Value::Array(head.to_php()), request, "{}", file.name);
            handshakes += 1;
        }
    }
    assert!(handshakes > 20, "{handshakes}");
}

fn each_packet(mut check: impl FnMut(&Message, Packet)) {
    for file in captures::all() {
        for message in file.packets() {
            check(message, decode(message));
        }
    }
}

fn decode(message: &Message) -> Packet {
    let mut buffer = BytesMut::from(&message.bytes[..]);
    let packet = Codec::new().decode_packet(&mut buffer).ok().flatten();
    assert!(buffer.is_empty());
    packet.expect("a message is one whole packet")
}

/// Finds the handshake of the client that came from `port`.
fn handshake_from(file: &Capture, port: u16) -> (SocketAddr, String) {
    let clients = file.opened.iter().filter(|(name, _)| name.starts_with('C'));
    let (connection, remote) = clients
        .filter_map(|(name, from)| Some((name, from.parse::<SocketAddr>().ok()?)))
        .find(|(_, remote)| remote.port() == port)
        .expect("a capture shows how each client connects");
    let head = file.messages.iter().find(|message| &message.connection == connection);
    let head = head.expect("a capture shows each handshake").bytes.clone();
    (remote, String::from_utf8(head).expect("the captured handshakes are text"))
}
