//! Packets, replies and lines that no capture has: split, broken, hostile, or Lineman's own.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::{Bytes, BytesMut};
use lineman_wire::link::register::{self, Line};
use lineman_wire::link::{
    Allowance, Audience, Body, Client, ClientId, Codec, Command, Condition, Control, Error, Event,
    Field, HEADER_LENGTH, Hello, Login, MAX_PACKET, Name, Order, Packet, Query, Reply, ReplyCodec,
    Request, RequestHead, Secret, Select, SessionForm, SessionVersion, flags,
};
use lineman_wire::{Protocol, php};
use proptest::prelude::*;

fn with_ext(command: Command, ext: &str) -> Packet {
    Packet { ext: Bytes::from(ext.to_owned()), ..Packet::new(command, 0) }
}

fn order(packet: Packet) -> Result<Order, Error> {
    Order::try_from(packet)
}

#[test]
fn broken_headers_are_refused_as_soon_as_they_are_there() {
    let decode = |bytes: &[u8]| Codec::new().decode_packet(&mut BytesMut::from(bytes));
    assert!(decode(&[0, 0, 0]).unwrap().is_none());
    assert!(matches!(decode(&[0, 0, 0, 27]), Err(Error::PacketTooShort { length: 27 })));
    assert!(matches!(decode(&[0; 4]), Err(Error::PacketTooShort { length: 0 })));
    let limit = u32::try_from(MAX_PACKET).unwrap();
    assert!(decode(&limit.to_be_bytes()).unwrap().is_none());
    assert!(matches!(
        decode(&(limit + 1).to_be_bytes()),
        Err(Error::PacketTooLong { limit: MAX_PACKET, .. })
    ));
    assert!(matches!(decode(&[0xff; 4]), Err(Error::PacketTooLong { .. })));
    let mut header = with_ext(Command::JoinGroup, "ab").to_bytes().to_vec();
    header[27] = 3;
    header.truncate(HEADER_LENGTH);
    assert!(matches!(decode(&header), Err(Error::ExtBeyondPacket { ext: 3, length: 30 })));
    header[24..].fill(0xff);
    assert!(matches!(decode(&header), Err(Error::ExtBeyondPacket { .. })));
}

#[test]
fn packets_beyond_the_limit_are_not_sent() {
    let packet = with_ext(Command::JoinGroup, "12345");
    let mut buffer = BytesMut::new();
    let error = Codec::with_limit(32).encode(packet.clone(), &mut buffer).unwrap_err();
    assert_eq!(error.to_string(), "packet of 33 bytes is longer than the limit of 32");
    assert!(buffer.is_empty());
    Codec::with_limit(33).encode(packet, &mut buffer).unwrap();
    assert_eq!(buffer.len(), 33);
}

#[test]
fn small_packets_let_go_of_the_read_buffer_and_large_ones_share_it() {
    let decode = |length| {
        let body = Bytes::from(vec![7; length]);
        let packet = Packet { body, ..Packet::new(Command::OnMessage, 1) };
        let mut buffer = BytesMut::with_capacity(64 * 1024);
        packet.encode_into(&mut buffer);
        let decoded = Codec::new().decode(&mut buffer).unwrap().unwrap();
        assert_eq!(decoded, packet);
        (buffer.try_reclaim(64 * 1024), decoded).0
    };
    assert!(decode(1000));
    assert!(!decode(20_000));
}

#[test]
fn every_number_has_one_command() {
    for number in 0..=u8::MAX {
        assert_eq!(Command::from(number).number(), number);
    }
    assert_eq!(Command::ALL.iter().filter(|c| matches!(c, Command::Unknown(_))).count(), 0);
    assert_eq!(format!("{:?} {:?}", Command::Fence, Command::Unknown(2)), "Fence Unknown(2)");
}

#[test]
fn connections_are_values_and_exclusions_are_keys() {
    let audience = |ext: &str| match order(with_ext(Command::SendToAll, ext)) {
        Ok(Order::SendToAll { audience, .. }) => Some(audience),
        Ok(other) => panic!("{other:?}"),
        Err(_) => None,
    };
    assert_eq!(audience(""), Some(Audience::All));
    assert_eq!(audience("[]"), Some(Audience::All));
    assert_eq!(audience("{}"), Some(Audience::All));
    assert_eq!(audience(r#"{"connections":{"9":1,"8":"2"}}"#), Some(Audience::Only(vec![1, 2])));
    assert_eq!(
        audience(r#"{"connections":[3,4],"exclude":{"3":3}}"#),
        Some(Audience::Only(vec![3, 4]))
    );
    assert_eq!(audience(r#"{"connections":[]}"#), Some(Audience::Only(vec![])));
    assert_eq!(
        audience(r#"{"exclude":{"1":9,"2":0,"3":null}}"#),
        Some(Audience::Except(vec![1, 2]))
    );
    assert_eq!(audience(r#"{"exclude":["7","8"]}"#), Some(Audience::Except(vec![0, 1])));
    assert_eq!(audience(r#"{"connections":null,"exclude":null}"#), Some(Audience::All));
    // To exclude no connection is to send to all, which is written as nothing.
    for audience in [Audience::All, Audience::Except(vec![])] {
        let packet = Packet::from(Order::SendToAll { audience, message: Body::empty() });
        assert_eq!(packet.ext, Bytes::new());
    }
    // What cannot be an id names nobody.
    let odd = r#"{"connections":[-1,1.5,"01","x",4294967296,null,[],5]}"#;
    assert_eq!(audience(odd), Some(Audience::Only(vec![5])));
    // A broken list must not become a broadcast to everybody.
    for broken in ["x", "{", "1", "null", "[1]", r#"{"connections":1}"#, r#"{"exclude":"a"}"#] {
        assert_eq!(audience(broken), None, "{broken}");
    }
}

#[test]
fn a_failed_handler_closes_its_client_as_a_kick_with_a_code() {
    let packet = Packet::from(Order::Fail { connection_id: 7 });
    let farewell = Body::Value(php::Value::Null);
    let kick = Packet::from(Order::Kick { connection_id: 7, farewell: farewell.clone() });
    let without_code = Packet { ext: Bytes::new(), ..packet.clone() };
    assert_eq!(without_code, kick, "a gateway that does not look at the code sees a kick");
    assert_eq!(order(packet).unwrap(), Order::Fail { connection_id: 7 });
    assert_eq!(order(kick).unwrap(), Order::Kick { connection_id: 7, farewell });
}

#[test]
fn names_are_read_from_lists_and_objects() {
    let uids = |ext: &str| match order(with_ext(Command::SendToUid, ext)) {
        Ok(Order::SendToUid { uids, .. }) => {
            Some(uids.iter().map(Name::to_bytes).collect::<Vec<_>>())
        }
        Ok(other) => panic!("{other:?}"),
        Err(_) => None,
    };
    assert_eq!(uids(r#"["a",7,"7",true]"#).unwrap(), ["a", "7", "7", "1"]);
    assert_eq!(uids(r#"{"0":"a","2":-7}"#).unwrap(), ["a", "-7"]);
    for broken in ["", "x", "7", "\"a\"", "[[]]", "[{}]"] {
        assert_eq!(uids(broken), None, "{broken}");
    }
    for broken in ["", "[]", "{}", r#"{"group":"a"}"#, r#"{"group":[1],"exclude":3}"#] {
        assert!(order(with_ext(Command::SendToGroup, broken)).is_err(), "{broken}");
    }
}

#[test]
fn queries_are_always_understood_since_they_must_be_answered() {
    let query = |command, ext: &str| Query::try_from(with_ext(command, ext)).unwrap();
    for broken in ["", "x", "[]", "7", r#"{"fields":7}"#, r#"{"fields":["uid"],"where":{"uid":3}}"#]
    {
        assert_eq!(query(Command::Select, broken), Query::Select(Select::default()), "{broken}");
        let expected = Query::BatchClientIdsByUid { uids: vec![] };
        if !broken.starts_with('{') {
            assert_eq!(query(Command::BatchGetClientIdByUid, broken), expected, "{broken}");
        }
    }
    let ext = r#"{"fields":["uid","id"],"where":{"connection_id":[4],"uid":["a",7],"odd":[1]}}"#;
    let expected = Select {
        fields: vec![Field::Uid, Field::Unknown("id".to_owned())],
        conditions: vec![
            Condition::Connections(vec![4]),
            Condition::Uids(vec!["a".into(), 7.into()]),
            Condition::Connections(vec![]),
        ],
    };
    assert_eq!(query(Command::Select, ext), Query::Select(expected));
    assert!(matches!(
        Query::try_from(Packet::new(Command::SendToOne, 1)),
        Err(Error::UnexpectedCommand(Command::SendToOne))
    ));
}

#[test]
fn bodies_are_what_the_flags_say() {
    let read = |flags, body: &'static [u8]| Body::read(flags, Bytes::from_static(body));
    assert_eq!(read(flags::SCALAR, b"x").unwrap(), Body::Scalar("x".into()));
    assert_eq!(read(flags::SCALAR | flags::TEXT, b"x").unwrap(), Body::from("x"));
    assert_eq!(read(flags::SCALAR | flags::BINARY, b"x").unwrap(), Body::from(&b"x"[..]));
    // Both are neither, and what PHP has encoded has no type.
    let both = flags::TEXT | flags::BINARY;
    assert_eq!(read(flags::SCALAR | both, b"x").unwrap(), Body::Scalar("x".into()));
    assert_eq!(read(flags::SCALAR | flags::RAW | both, b"x").unwrap(), Body::Raw("x".into()));
    assert_eq!(read(both, b"N;").unwrap(), Body::Value(php::Value::Null));
    assert_eq!(read(3, b"x").unwrap(), Body::Raw(Bytes::from_static(b"x")));
    assert_eq!(read(0, b"N;").unwrap(), Body::Value(php::Value::Null));
    assert_eq!(read(flags::RAW, b"s:1:\"x\";").unwrap(), Body::Raw(Bytes::from_static(b"x")));
    assert!(matches!(read(flags::RAW, b"i:1;"), Err(Error::RawBody)));
    assert!(matches!(read(0, b"x"), Err(Error::Php(_))));
    assert!(matches!(read(0, b""), Err(Error::Php(_))));
    assert_eq!(Body::empty().into_parts(), (1, Bytes::new()));
    assert_eq!(Body::from(php::Array::new()).into_parts(), (0, Bytes::from_static(b"a:0:{}")));
}

#[test]
fn keys_are_not_printed() {
    let secret = || Secret::from("hunter2");
    let login = Login::Worker { worker_key: "B:0".into(), secret_key: secret(), lineman: Some(1) };
    let packet = Packet::from(login.clone());
    assert_eq!(packet.body, &br#"{"worker_key":"B:0","secret_key":"hunter2","lineman":1}"#[..]);
    let line = Line::GatewayConnect {
        address: "a".to_owned(),
        secret_key: secret(),
        lineman: None,
        epoch: None,
        explicit: false,
    };
    let broken =
        Packet { body: Bytes::from_static(b"{\"secret_key\":\"hunter2"), ..packet.clone() };
    let error = Login::try_from(broken).unwrap_err();
    for text in [
        format!("{login:?}"),
        format!("{packet:?}"),
        format!("{line:?}"),
        format!("{error:?} {error}"),
    ] {
        assert!(!text.contains("hunter2"), "{text}");
    }
    assert!(!secret().is_empty() && Secret::default().is_empty());
    assert_eq!(Secret::from("hunter2".to_owned()).expose(), "hunter2");
    let Ok(Login::Worker { secret_key, lineman, .. }) = Login::try_from(packet) else { panic!() };
    assert_eq!((secret_key.expose(), lineman), ("hunter2", Some(1)));
    let without =
        Packet { body: Bytes::from_static(b"{}"), ..Packet::new(Command::GatewayClientConnect, 0) };
    assert!(
        matches!(Login::try_from(without), Ok(Login::Client { secret_key, lineman: None }) if secret_key.is_empty())
    );
}

#[test]
fn client_ids_are_twenty_hex_digits() {
    let id = ClientId::new(Ipv4Addr::LOCALHOST, 22900, 1);
    assert_eq!(id.to_string(), "7f000001597400000001");
    assert_eq!("7F000001597400000001".parse::<ClientId>().unwrap(), id);
    assert!(id < ClientId::new(Ipv4Addr::LOCALHOST, 22900, 2));
    assert_eq!(serde_json::to_string(&id).unwrap(), "\"7f000001597400000001\"");
    assert_eq!(serde_json::from_str::<ClientId>("\"7f000001597400000001\"").unwrap(), id);
    for bad in [
        "",
        "7f00000159740000000",
        "7f0000015974000000011",
        "7f00000159740000000g",
        "+f000001597400000001",
        "7f000001+97400000001",
        "ééééééééééé",
        "7f000001597éé00000",
    ] {
        assert!(bad.parse::<ClientId>().is_err(), "{bad}");
    }
    let error = serde_json::from_str::<ClientId>("7").unwrap_err().to_string();
    assert!(error.contains("expected 20 hex digits"), "{error}");
}

fn client() -> Client {
    Client {
        id: ClientId::new(Ipv4Addr::new(10, 0, 0, 1), 2000, 7),
        ip: Ipv4Addr::new(192, 0, 2, 1).into(),
        port: 50_000,
        gateway_port: 443,
        session: Bytes::from_static(b"a:0:{}"),
        form: SessionForm::Whole,
    }
}

#[test]
fn the_extension_travels_in_packets() {
    let hello = Hello { version: 1, epoch: "00ff".to_owned(), share: None };
    let events =
        [Event::Hello(hello), Event::Adopt(client()), Event::Fence, Event::Synced, Event::Ping];
    for event in events {
        let packet = Packet::from(event.clone());
        assert_eq!(Event::try_from(packet).unwrap(), event);
    }
    let hello = Hello { version: 1, epoch: "00ff".to_owned(), share: None };
    assert_eq!(Packet::from(Event::Hello(hello)).body, &br#"{"lineman":1,"epoch":"00ff"}"#[..]);
    let share = Allowance { events: 256, bytes: u32::MAX };
    let hello = Hello { version: 2, epoch: "00ff".to_owned(), share: Some(share) };
    let packet = Packet::from(Event::Hello(hello.clone()));
    assert_eq!(Event::try_from(packet).unwrap(), Event::Hello(hello));
    for control in [
        Control::Drain,
        Control::Sync,
        Control::Release,
        Control::Probe,
        Control::Handled(u32::MAX),
        Control::Alive(u32::MAX),
        Control::Share(share),
        Control::Credit { connection_id: 7, share },
        Control::Kept { clients: vec![], ended: vec![] },
        Control::Kept { clients: vec![1, u32::MAX], ended: vec![7] },
    ] {
        let packet = Packet::from(control.clone());
        let Ok(Request::Control(again)) = Request::try_from(packet) else { panic!("{control:?}") };
        assert_eq!(again, control);
    }
    for command in [Command::Credit, Command::Kept] {
        let short = Packet { body: "7 bytes".into(), ..Packet::new(command, 7) };
        assert!(matches!(Request::try_from(short), Err(Error::Shape { .. })));
    }
}

#[test]
fn replies_have_a_limit() {
    let decode = |bytes: &[u8]| ReplyCodec::with_limit(4).decode_reply(&mut BytesMut::from(bytes));
    assert!(decode(b"\0\0\0").unwrap().is_none());
    assert!(decode(b"\0\0\0\x04i:1").unwrap().is_none());
    assert_eq!(decode(b"\0\0\0\x04i:1;").unwrap().unwrap().value().unwrap(), php::Value::Int(1));
    assert!(matches!(decode(b"\0\0\0\x05"), Err(Error::ReplyTooLong { length: 5, limit: 4 })));
    let long = Reply::from(&php::Value::from("long"));
    assert!(ReplyCodec::with_limit(4).encode(long.clone(), &mut BytesMut::new()).is_err());
    let mut wire = BytesMut::new();
    ReplyCodec::with_limit(11).encode(long, &mut wire).unwrap();
    assert_eq!(&wire[..], b"\0\0\0\x0bs:4:\"long\";");
    assert!(wire.capacity() < 30, "{} bytes reserved", wire.capacity());
}

#[test]
fn register_lines_are_told_apart_as_php_does() {
    let parse = |line: &str| Line::parse(line.as_bytes());
    let error = |line: &str| parse(line).unwrap_err();
    for line in ["", "{", "[]", "null", "7", "{}", r#"{"event":""}"#, r#"{"event":"0"}"#, "\u{0}"] {
        assert_eq!(error(line), register::Error::Malformed, "{line}");
    }
    assert_eq!(error(r#"{"event":7}"#), register::Error::UnknownEvent("7".to_owned()));
    for line in [r#"{"event":"gateway_connect"}"#, r#"{"event":"gateway_connect","address":""}"#] {
        assert_eq!(error(line), register::Error::MissingAddress, "{line}");
    }
    for line in
        [r#"{"event":"broadcast_addresses"}"#, r#"{"event":"broadcast_addresses","addresses":[1]}"#]
    {
        assert_eq!(error(line), register::Error::MissingAddresses, "{line}");
    }
    let key = |line: &str| match parse(line) {
        Ok(Line::WorkerConnect { secret_key, .. }) => secret_key.expose().to_owned(),
        other => panic!("{other:?}"),
    };
    assert_eq!(key(r#"{"event":"worker_connect"}"#), "");
    assert_eq!(key("{\"event\":\"worker_connect\",\"secret_key\":\"0\"}\r\n"), "0");
    let odd = Line::WorkerConnect { secret_key: Secret::from("a\"b\\/é"), lineman: None };
    assert_eq!(odd.encode(), r#"{"event":"worker_connect","secret_key":"a\"b\\/é"}"#);
    assert_eq!(key(&odd.encode()), "a\"b\\/é");
}

#[test]
fn odd_handshakes_become_arrays_all_the_same() {
    let head = RequestHead {
        method: "GET",
        uri: "/?a=1?b#c?d",
        version: "HTTP/1.0",
        headers: &[("X-Two", b"1"), ("Content-Type", b"text/plain"), ("x-two", b"\xff")],
        remote: SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 5)),
        server_port: 80,
    };
    let array = head.to_php();
    let server = array.get("server").and_then(php::Value::as_array).unwrap();
    let text = |name: &str| server.get(name).and_then(php::Value::as_bytes).cloned();
    assert_eq!(text("QUERY_STRING").unwrap(), "a=1?b");
    assert_eq!(text("CONTENT_TYPE").unwrap(), "text/plain");
    assert_eq!(text("REMOTE_ADDR").unwrap(), "[::1]");
    assert_eq!(text("HTTP_X_TWO").unwrap(), &b"1,\xff"[..]);
    assert_eq!(server.get("SERVER_NAME"), Some(&php::Value::Null));
    assert_eq!(server.len(), 11);
}

fn any_packet() -> impl Strategy<Value = Packet> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from);
    let header = (any::<u8>(), any::<u32>(), any::<u16>(), any::<IpAddr>(), any::<u16>());
    let session = (any::<bool>(), any::<Option<(u32, u32)>>()).prop_map(|(is_known, version)| {
        let version = version.map(|(changes, written)| SessionVersion { changes, written });
        match version {
            version if is_known => SessionForm::Known(version),
            Some(version) => SessionForm::Versioned(version),
            None => SessionForm::Whole,
        }
    });
    (header, any::<u32>(), any::<u8>(), any::<u16>(), bytes(), bytes(), session).prop_map(
        |(
            (command, local, local_port, client, client_port),
            connection_id,
            flags,
            gateway_port,
            ext,
            body,
            session,
        )| Packet {
            command: Command::from(command),
            local_ip: Ipv4Addr::from_bits(local),
            local_port,
            client_ip: client,
            client_port,
            connection_id,
            // The others are the address's and the session's own.
            flags: flags & 0x8f,
            gateway_port,
            ext: if matches!(session, SessionForm::Known(_)) { Bytes::new() } else { ext },
            session,
            body,
        },
    )
}

/// JSON and PHP values of the kinds that occur in packets, whole and in pieces.
fn any_content() -> impl Strategy<Value = Bytes> {
    const PIECES: &str = "(\\{\"(connections|exclude|group|fields|where|uid|groups|connection_id|secret_key|worker_key|lineman|epoch)\":|[\\[\\]{},:]|\"[a-z0-9]{0,3}\"|-?[0-9]{1,11}|null|true|1.5|N;|i:1;|a:1:\\{|s:1:\"x\";|\\}){0,8}";
    prop_oneof![
        PIECES.prop_map(Bytes::from),
        "[\\[\\]{}0-9\",:a-c]{0,16}".prop_map(Bytes::from),
        proptest::collection::vec(any::<u8>(), 0..16).prop_map(Bytes::from),
    ]
}

/// Feeds a decoder pieces of `wire` that end at the cuts.
fn in_pieces<P: Protocol>(
    mut codec: P,
    wire: &[u8],
    cuts: &[prop::sample::Index],
) -> Vec<P::Inbound> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(wire.len() + 1)).collect();
    cuts.push(wire.len());
    cuts.sort_unstable();
    let (mut buffer, mut messages, mut start) = (BytesMut::new(), Vec::new(), 0);
    for end in cuts {
        buffer.extend_from_slice(&wire[start..end]);
        start = end;
        while let Some(message) = codec.decode(&mut buffer).expect("it was encoded here") {
            messages.push(message);
        }
    }
    assert!(buffer.is_empty());
    messages
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn any_split_gives_the_same_packets(
        packets in proptest::collection::vec(any_packet(), 0..5), cuts in any::<Vec<prop::sample::Index>>(),
    ) {
        let mut wire = BytesMut::new();
        for packet in &packets {
            Codec::new().encode(packet.clone(), &mut wire).unwrap();
        }
        prop_assert_eq!(in_pieces(Codec::new(), &wire, &cuts), packets);
    }

    #[test]
    fn any_split_gives_the_same_replies(
        payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 0..5),
        cuts in any::<Vec<prop::sample::Index>>(),
    ) {
        let replies: Vec<_> = payloads.into_iter().map(|payload| Reply { payload: payload.into() }).collect();
        let mut wire = BytesMut::new();
        for reply in &replies {
            ReplyCodec::new().encode(reply.clone(), &mut wire).unwrap();
        }
        prop_assert_eq!(in_pieces(ReplyCodec::new(), &wire, &cuts), replies);
    }

    /// What was understood once is understood again, and is then written in the same way.
    #[test]
    fn hostile_contents_do_no_harm(packet in any_packet(), command in 0..Command::ALL.len(), ext in any_content(), body in any_content()) {
        for packet in [packet.clone(), Packet { command: Command::ALL[command], ext, body, ..packet }] {
            if let Ok(event) = Event::try_from(packet.clone()) {
                let wire = Packet::from(event);
                prop_assert_eq!(Packet::from(Event::try_from(wire.clone()).unwrap()), wire);
            }
            if let Ok(request) = Request::try_from(packet) {
                let wire = Packet::from(request);
                prop_assert_eq!(Packet::from(Request::try_from(wire.clone()).unwrap()), wire);
            }
        }
    }

    #[test]
    fn garbage_does_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..80), length in 0..100_u8, line in any_content()) {
        drop(Codec::new().decode_packet(&mut BytesMut::from(&bytes[..])));
        drop(ReplyCodec::new().decode_reply(&mut BytesMut::from(&bytes[..])));
        let mut likely = vec![0, 0, 0, length];
        likely.extend(bytes);
        drop(Codec::new().decode_packet(&mut BytesMut::from(&likely[..])));
        drop(ReplyCodec::new().decode_reply(&mut BytesMut::from(&likely[..])));
        drop(Line::parse(&line));
        drop(str::from_utf8(&line).map(str::parse::<ClientId>));
    }

    #[test]
    fn client_ids_survive(ip in any::<u32>(), port in any::<u16>(), connection_id in any::<u32>()) {
        let id = ClientId::new(Ipv4Addr::from_bits(ip), port, connection_id);
        prop_assert_eq!(id.to_string().parse::<ClientId>().unwrap(), id);
    }
}
