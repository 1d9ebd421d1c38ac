//! Replays of captures: what clients and businesses of a PHP cluster said is said to this gateway,
//! and it answers every one of them as the PHP gateway did, byte for byte.

use std::collections::BTreeMap;
use std::path::PathBuf;

use lineman_wire::Protocol;
use lineman_wire::text::ByteLines;
use lineman_wire::websocket::{Decoder, Event, HandshakeLimits, Limits, RequestParser, Role};

use super::*;

/// A line of a capture.
enum Record {
    /// `O`: a connection was opened from there.
    Opened(String, SocketAddr),
    /// `M`: the opener (or the other side, if false) said this.
    Said(String, bool, Vec<u8>),
    /// `X`: the opener (or the other side, if false) closed.
    Closed(String, bool),
}

fn records(name: &str) -> Vec<Record> {
    let folder = "../lineman-wire/tests/golden/gatewayworker";
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(folder).join(format!("{name}.txt"));
    let text = std::fs::read(path).expect("the captures of lineman-wire");
    String::from_utf8_lossy(&text).lines().filter_map(record).collect()
}

fn record(line: &str) -> Option<Record> {
    let fields: Vec<&str> = line.split(' ').collect();
    match fields[..] {
        ["O", _, name, from, "->", _] => {
            Some(Record::Opened(name.to_owned(), from.parse().expect("an address")))
        }
        ["M", _, name, side, hex] => Some(Record::Said(name.to_owned(), side == ">", unhex(hex))),
        ["X", _, name, side, _] => Some(Record::Closed(name.to_owned(), side == ">")),
        _ => None,
    }
}

fn unhex(digits: &str) -> Vec<u8> {
    let pair = |pair| u8::from_str_radix(str::from_utf8(pair).expect("ascii"), 16).expect("hex");
    digits.as_bytes().chunks(2).map(pair).collect()
}

/// What the client side of a gateway speaks in a capture.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Clients {
    WebSocket,
    Text,
}

struct Replay {
    world: World,
    speaks: Clients,
    /// Addresses of connections that were opened.
    from: BTreeMap<String, SocketAddr>,
    connections: BTreeMap<String, Rc<Fake>>,
    /// What the PHP gateway sent on each connection.
    expected: BTreeMap<String, Vec<Bytes>>,
}

impl Replay {
    fn run(name: &str, key: &str, speaks: Clients) -> Self {
        let form = match speaks {
            Clients::WebSocket => websocket_form,
            Clients::Text => <ByteLines as ClientDialect>::form,
        };
        let world = World::with(key, form);
        let (from, connections, expected) = Default::default();
        let mut replay = Self { world, speaks, from, connections, expected };
        for record in records(name) {
            replay.step(record);
        }
        replay
    }

    fn step(&mut self, record: Record) {
        match record {
            Record::Opened(name, from) if name.starts_with('G') => {
                let peer = self.world.peer_from(from);
                self.connections.insert(name, peer);
            }
            Record::Opened(name, from) if name.starts_with('C') && self.speaks == Clients::Text => {
                let client = self.world.client_from(from, Bytes::new());
                self.connections.insert(name, client);
            }
            Record::Opened(name, from) => drop(self.from.insert(name, from)),
            Record::Said(name, true, bytes) if name.starts_with('G') => {
                let mut buffer = BytesMut::from(&bytes[..]);
                let packet = Codec::new().decode_packet(&mut buffer).expect("good").expect("whole");
                let peer = Rc::clone(&self.connections[&name]);
                self.world.tell(&peer, packet);
            }
            Record::Said(name, true, bytes) if name.starts_with('C') => self.client(&name, &bytes),
            Record::Said(name, false, bytes) => {
                self.expected.entry(name).or_default().push(Bytes::from(bytes));
            }
            Record::Closed(name, true) => self.closed(&name),
            Record::Said(..) | Record::Closed(..) => {}
        }
    }

    fn client(&mut self, name: &str, bytes: &[u8]) {
        let mut buffer = BytesMut::from(bytes);
        if self.speaks == Clients::Text {
            let line = ByteLines::new().decode(&mut buffer).expect("good").expect("whole");
            let client = self.connections[name].id;
            return self
                .world
                .submit(Input::ClientSaid(client, <ByteLines as ClientDialect>::body(line)));
        }
        let Some(client) = self.connections.get(name).cloned() else {
            let request = RequestParser::new().parse(bytes, &HandshakeLimits::default());
            let request = request.expect("good").expect("whole");
            let from = self.from[name];
            let handshake = <WebSocket as ClientDialect>::handshake(&request, from, 27272);
            let client = self.world.client_from(from, handshake);
            self.connections.insert(name.to_owned(), client);
            return;
        };
        let event = Decoder::new(Role::Server).decode(&mut buffer, &Limits::default());
        match event.expect("good") {
            Some(Event::Message(message)) => {
                let body = <WebSocket as ClientDialect>::body(message);
                self.world.submit(Input::ClientSaid(client.id, body));
            }
            Some(Event::Close(_)) => self.closed(name),
            Some(Event::Ping(_) | Event::Pong(_)) | None => {}
        }
    }

    fn closed(&mut self, name: &str) {
        let Some(connection) = self.connections.get(name).cloned() else { return };
        if name.starts_with('C') {
            self.world.leave(&connection);
        } else {
            self.world.lose(&connection);
        }
    }

    /// Compares what was sent on each connection with what the PHP gateway sent.
    fn check(&self) -> usize {
        let mut compared = 0;
        for (name, connection) in &self.connections {
            let mut expected = self.expected.get(name).cloned().unwrap_or_default();
            if name.starts_with('C') && self.speaks == Clients::WebSocket {
                expected.retain(|bytes| is_message(bytes));
            }
            let got = connection.sent.borrow();
            for (number, (got, expected)) in got.iter().zip(&expected).enumerate() {
                assert_eq!(got, expected, "{name}, message {number}");
            }
            assert_eq!(got.len(), expected.len(), "{name}");
            compared += expected.len();
        }
        compared
    }
}

/// Handshakes, pongs and closes are the table's business, and heartbeats come with time.
fn is_message(frame: &[u8]) -> bool {
    matches!(frame, [0x81 | 0x82, _, message @ ..] if message != br#"{"type":"ping"}"#)
}

/// With each file, the number of messages that were compared: a replay that skips some would
/// otherwise pass.
#[test]
fn every_message_is_answered_as_by_php() {
    let check = |name, key, speaks, expected| {
        assert_eq!(Replay::run(name, key, speaks).check(), expected, "{name}");
    };
    check("01-all-api-one-gateway", "", Clients::WebSocket, 119);
    check("02-secret-key", "s3cret", Clients::WebSocket, 10);
    check("03-gatewayclient-no-secret", "", Clients::WebSocket, 11);
    check("04-raw-flag-and-types", "", Clients::WebSocket, 38);
    check("12-text-gateway", "", Clients::Text, 9);
    check("14-ipv6-client", "", Clients::WebSocket, 5);
    check("17-demo-chat", "", Clients::WebSocket, 22);
    check("18-demo-todpole", "", Clients::WebSocket, 22);
}
