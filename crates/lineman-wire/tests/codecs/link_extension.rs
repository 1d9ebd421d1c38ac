//! What our own ends of a link do beyond `GatewayWorker`: answers in parts, few bytes before a login, the
//! cookies of a handshake.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

use bytes::{Bytes, BytesMut};
use lineman_wire::link::register::{self, Line};
use lineman_wire::link::{
    Body, Codec, Command, Control, Error, Event, Field, Login, MAX_PACKET, Note, Order, Packet,
    Query, Reply, ReplyCodec, Request, RequestHead, Says, Secret, Select, SessionForm,
    SessionPatch, SessionVersion, Witness, Witnessed, flags, is_cluster_name,
};
use lineman_wire::{Protocol, php};

fn with_ext(command: Command, ext: &str) -> Packet {
    Packet { ext: Bytes::from(ext.to_owned()), ..Packet::new(command, 0) }
}

#[test]
fn pages_travel_as_their_query() {
    let select = Select { fields: vec![Field::Uid], conditions: Vec::new() };
    for query in [
        Query::AllClientSessions,
        Query::ClientSessionsByGroup { group: "g".into() },
        Query::Select(select),
    ] {
        let page = Query::Page { after: u32::MAX, query: Box::new(query) };
        assert_eq!(Query::try_from(Packet::from(page.clone())).unwrap(), page);
        let nested = Query::Page { after: 1, query: Box::new(page) };
        assert!(Query::try_from(Packet::from(nested)).is_err());
    }
    assert!(Query::try_from(Packet::new(Command::Page, 1)).is_err());
    let part = Reply::from(&php::Value::from(5));
    assert_eq!(Reply::page(7, &part).into_page(), Some((7, part)));
    assert_eq!(Reply { payload: "abc".into() }.into_page(), None);
}

#[test]
fn the_lines_of_a_register_have_more_fields_between_our_own_ends_and_none_toward_php() {
    let there_and_back = |line: Line, expected: &str| {
        assert_eq!(line.encode(), expected);
        assert_eq!(Line::parse(expected.as_bytes()).unwrap().encode(), expected);
    };
    let connect = |epoch: Option<&str>| Line::GatewayConnect {
        address: "1.1.1.1:1".to_owned(),
        secret_key: Secret::new("k"),
        epoch: epoch.map(ToOwned::to_owned),
        lineman: None,
        explicit: false,
    };
    let php = r#"{"event":"gateway_connect", "address":"1.1.1.1:1", "secret_key":"k"}"#;
    there_and_back(connect(None), php);
    there_and_back(connect(Some("e")), &php.replace('}', r#","epoch":"e"}"#));
    let connect = |lineman| Line::WorkerConnect { secret_key: Secret::new("k"), lineman };
    there_and_back(connect(None), r#"{"event":"worker_connect","secret_key":"k"}"#);
    there_and_back(connect(Some(3)), r#"{"event":"worker_connect","secret_key":"k","lineman":3}"#);
    there_and_back(Line::Alive { lineman: 3 }, r#"{"event":"alive","lineman":3}"#);
    let list = |epochs| Line::BroadcastAddresses { addresses: vec!["1.1.1.1:1".into()], epochs };
    let php = r#"{"event":"broadcast_addresses","addresses":["1.1.1.1:1"]}"#;
    there_and_back(list(BTreeMap::new()), php);
    let epochs = BTreeMap::from([("1.1.1.1:1".to_owned(), "e".to_owned())]);
    there_and_back(list(epochs), &php.replace('}', r#","epochs":{"1.1.1.1:1":"e"}}"#));
    for odd in ["[]", "7", "null", r#"{"1.1.1.1:1":7}"#] {
        let line = php.replace('}', &format!(r#","epochs":{odd}}}"#));
        assert_eq!(Line::parse(line.as_bytes()).unwrap().encode(), php, "{odd}");
    }
}

#[test]
fn before_its_login_a_peer_may_send_little() {
    let login =
        |key: &str| Packet::from(Login::Client { secret_key: Secret::new(key), lineman: None });
    let long = with_ext(Command::JoinGroup, &"x".repeat(5000));
    let decode = |codec: &mut Codec, packet: &Packet| {
        codec.decode(&mut BytesMut::from(&packet.to_bytes()[..]))
    };
    let mut codec = Codec::until_login(4096);
    assert_eq!(codec.max_message_size(), 4096);
    assert!(decode(&mut codec, &long).is_err());
    assert!(decode(&mut codec, &login(&"k".repeat(5000))).is_err());
    assert!(decode(&mut codec, &with_ext(Command::JoinGroup, "x")).unwrap().is_some());
    assert!(decode(&mut codec, &long).is_err(), "that was no login");
    assert!(codec.encode(long.clone(), &mut BytesMut::new()).is_ok(), "what we send is ours");
    assert!(decode(&mut codec, &login("k")).unwrap().is_some());
    assert!(decode(&mut codec, &long).unwrap().is_some());
    assert_eq!(codec.max_message_size(), MAX_PACKET);
}

#[test]
fn cookies_of_two_lines_are_joined_as_cookies() {
    let headers: [(&str, &[u8]); 5] = [
        ("Cookie", b"a=1; b=2,3"),
        ("Accept", b"x"),
        ("cookie", b"c=4"),
        ("Host", b"h"),
        ("Accept", b"y"),
    ];
    let head = RequestHead {
        method: "GET",
        uri: "/",
        version: "HTTP/1.1",
        headers: &headers,
        remote: "127.0.0.1:1".parse().unwrap(),
        server_port: 1,
    };
    let array = head.to_php();
    let cookies = array.get("cookie").unwrap().as_array().unwrap();
    let text = |key: &str| cookies.get(key).unwrap().clone();
    assert_eq!([text("a"), text("b"), text("c")], ["1", "2,3", "4"].map(php::Value::from));
    let server = array.get("server").unwrap().as_array().unwrap();
    assert_eq!(server.get("HTTP_COOKIE"), Some(&php::Value::from("a=1; b=2,3; c=4")));
    assert_eq!(server.get("HTTP_ACCEPT"), Some(&php::Value::from("x,y")));
}

#[test]
fn a_cluster_s_name_is_part_of_what_is_shown_and_without_one_nothing_changes() {
    let json = |secret: &Secret, lineman| {
        let secret_key = secret.clone();
        let worker = Login::Worker { worker_key: "B:0".into(), secret_key, lineman };
        [worker, Login::Client { secret_key: secret.clone(), lineman }]
            .map(|login| String::from_utf8(Packet::from(login).body.to_vec()).unwrap())
    };
    let plain = Secret::new("k").in_cluster("");
    let bodies = [r#"{"worker_key":"B:0","secret_key":"k"}"#, r#"{"secret_key":"k"}"#];
    assert_eq!((json(&plain, None), plain.cluster()), (bodies.map(str::to_owned), ""));
    let named = Secret::new("k").in_cluster("chat");
    let bodies = [
        r#"{"worker_key":"B:0","secret_key":"chat:k","cluster":"chat","lineman":3}"#,
        r#"{"secret_key":"chat:k","cluster":"chat","lineman":3}"#,
    ];
    assert_eq!((json(&named, Some(3)), named.cluster()), (bodies.map(str::to_owned), "chat"));
    assert_eq!(Secret::default().in_cluster("chat").expose(), "chat:", "a name asks for itself");
    for body in bodies {
        let command = if body.contains("worker") {
            Command::WorkerConnect
        } else {
            Command::GatewayClientConnect
        };
        let packet = Packet { body: Bytes::from(body), ..Packet::new(command, 0) };
        let (Login::Worker { secret_key, lineman, .. } | Login::Client { secret_key, lineman }) =
            Login::try_from(packet).unwrap();
        let read = (secret_key.expose(), secret_key.cluster(), lineman);
        assert_eq!(read, ("chat:k", "chat", Some(3)));
    }
    assert!(is_cluster_name("Chat-2_b.eu") && is_cluster_name(&"x".repeat(64)));
    for name in ["", "a:b", "a b", "é", "a\n", &"x".repeat(65)] {
        assert!(!is_cluster_name(name), "{name:?}");
    }
}

#[test]
fn register_lines_between_our_ends_say_more_and_php_s_say_what_they_did() {
    let secret = || Secret::new("k").in_cluster("chat");
    let gateway = Line::GatewayConnect {
        address: "10.0.0.1:4000".to_owned(),
        secret_key: secret(),
        lineman: Some(3),
        epoch: Some("e1".to_owned()),
        explicit: true,
    };
    let fields = r#","lineman":3,"cluster":"chat","epoch":"e1","explicit":true}"#;
    let text = gateway.encode();
    assert!(
        text.starts_with(r#"{"event":"gateway_connect", "address":"10.0.0.1:4000", "#),
        "{text}"
    );
    assert!(text.ends_with(fields), "{text}");
    let Ok(Line::GatewayConnect { secret_key, lineman, epoch, explicit, .. }) =
        Line::parse(text.as_bytes())
    else {
        panic!("{text}")
    };
    let said = (lineman, epoch.as_deref(), secret_key.cluster(), explicit);
    assert_eq!(said, (Some(3), Some("e1"), "chat", true));
    let business = Line::WorkerConnect { secret_key: Secret::new("k"), lineman: Some(3) };
    assert_eq!(business.encode(), r#"{"event":"worker_connect","secret_key":"k","lineman":3}"#);
    let refused = Line::Refused { reason: "a \"b\"".to_owned(), address_taken: true };
    let text = r#"{"event":"refused","reason":"a \"b\"","address_taken":true}"#;
    assert_eq!(
        (refused.encode().as_str(), format!("{:?}", Line::parse(text.as_bytes()))),
        (text, format!("{:?}", Ok::<_, register::Error>(refused)))
    );
    let notice = r#"{"event":"notice","text":"odd"}"#;
    assert_eq!(Line::parse(notice.as_bytes()).unwrap().encode(), notice);
    for broken in [r#"{"event":"refused"}"#, r#"{"event":"notice","text":7}"#] {
        assert_eq!(Line::parse(broken.as_bytes()).unwrap_err(), register::Error::MissingText);
    }
}

#[test]
fn what_a_peer_says_to_people_is_one_short_line() {
    let packet = Packet::from(Event::Refused("wrong secret key".to_owned()));
    assert_eq!((packet.command.number(), &packet.body[..]), (140, &b"wrong secret key"[..]));
    assert_eq!(Event::try_from(packet).unwrap(), Event::Refused("wrong secret key".to_owned()));
    let body = Bytes::from(format!("a\nb\u{1b}[2J\u{0}{}", "é".repeat(10_000)));
    let hostile = Packet { body, ..Packet::new(Command::Refused, 0) };
    let Ok(Event::Refused(reason)) = Event::try_from(hostile) else { panic!() };
    assert!(reason.starts_with("ab[2Jé") && reason.chars().count() == 400, "{reason}");
    let not_utf8 = Packet { body: Bytes::from_static(b"\xff"), ..Packet::new(Command::Refused, 0) };
    assert_eq!(Event::try_from(not_utf8).unwrap(), Event::Refused("\u{fffd}".to_owned()));
}

fn note() -> Note {
    let gateway = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 9), 4000);
    Note { worker_key: "chat:0:77-0f".to_owned(), gateway, says: Says::Whose }
}

fn ipv6() -> IpAddr {
    "2001:db8::1".parse().expect("an address")
}

fn witness() -> Witness {
    let here = Witnessed::Here {
        connection_id: 7,
        ip: Ipv4Addr::new(192, 0, 2, 1).into(),
        port: 50_000,
        session: "a:0:{}".into(),
    };
    let ip = ipv6();
    let ipv6 = Witnessed::Here { connection_id: 9, ip, port: 5, session: "a:0:{}".into() };
    let clients = vec![here, ipv6, Witnessed::Gone { connection_id: 8 }];
    Witness { worker_key: "chat:0:77-0f".to_owned(), anew: true, gateway_port: 443, clients }
}

#[test]
fn clients_are_witnessed_in_parts_without_what_is_too_long() {
    let client = |connection_id, length| {
        let (ip, port) = (Ipv4Addr::LOCALHOST.into(), 1);
        let session = Bytes::from(vec![b'x'; length]);
        Witnessed::Here { connection_id, ip, port, session }
    };
    let clients = vec![client(1, 40_000), client(2, 25_000), client(3, 65_537), client(4, 65_536)];
    let parts = Witness::parts(clients);
    assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [3, 1]);
    assert_eq!(parts[0][2], client(3, 0));
    assert_eq!(Witness::parts(Vec::new()), Vec::<Vec<_>>::new());
    for body in
        ["\u{3}\0\0\0\0", "\u{2}\0\0\0\0", "\0\0\0\0", "\u{1}\0\0\0\0\0\0\0\0\0\0\0\0\0\u{1}"]
    {
        let packet = Packet { body: body.into(), ..Packet::new(Command::Witness, 0) };
        assert!(matches!(Event::try_from(packet), Err(Error::Shape { .. })), "{body:?}");
    }
}

#[test]
fn what_heirs_are_told_travels_in_packets() {
    for event in [Event::Probe, Event::Witness(witness()), Event::Relay(note())] {
        assert_eq!(Event::try_from(Packet::from(event.clone())).unwrap(), event);
    }
    for command in [Command::Returned, Command::Forget] {
        let event = Event::try_from(Packet::new(command, 7)).unwrap();
        assert_eq!(Packet::from(event).command, command);
    }
    let packet = Packet::from(Control::Relay(note()));
    let Ok(Request::Control(Control::Relay(again))) = Request::try_from(packet.clone()) else {
        panic!("no note");
    };
    assert_eq!(again, note());
    for body in ["", "short", "\u{2}123456"] {
        let packet = Packet { body: body.into(), ..packet.clone() };
        assert!(Request::try_from(packet).is_err(), "{body:?}");
    }
}

#[test]
fn strangers_see_nothing_of_types() {
    for message in [Body::from("x"), Body::from(&b"\xff"[..]), Body::Raw("x".into())] {
        let order = Order::SendToOne { connection_id: 7, message };
        let packet = Packet::from(order);
        let plain = packet.bytes_for(0);
        assert!(plain[21] & !flags::PLAIN == 0 && plain[21] & flags::SCALAR != 0);
        // Alone, and shared with another one that keeps its type.
        assert_eq!(Packet::plain(packet.to_bytes()), plain);
        let typed = packet.to_bytes();
        assert_eq!(Packet::plain(typed.clone()), plain);
        assert_eq!(typed, packet.to_bytes());
    }
    assert_eq!(Packet::plain(Bytes::from_static(b"short")), "short");
}

#[test]
fn an_address_in_ipv6_travels_between_ends_that_know_it() {
    let packet = Packet {
        client_ip: ipv6(),
        client_port: 9,
        ext: "session".into(),
        body: "body".into(),
        flags: flags::SCALAR | flags::TEXT,
        ..Packet::new(Command::OnMessage, 7)
    };
    let old = Packet { client_ip: Ipv4Addr::UNSPECIFIED.into(), ..packet.clone() };
    let decode = |wire: &[u8]| Codec::new().decode_packet(&mut BytesMut::from(wire));
    for (version, packet) in [(5, &packet), (4, &old)] {
        let wire = packet.bytes_for(version);
        assert_eq!((wire.len(), wire[21]), (packet.length_for(version), wire[21] & 0x1f));
        assert_eq!(decode(&wire).unwrap().as_ref(), Some(packet));
    }
    let untyped = Packet { flags: flags::SCALAR, ..old.clone() };
    assert_eq!(packet.bytes_for(0), untyped.to_bytes());
    assert_eq!(packet.bytes_for(4), old.to_bytes());
    assert_eq!(packet.wire_length(), old.wire_length() + 16);
    // One that says it has an address, and has no room for it, or not for its ext data beside it.
    let mut wire = packet.to_bytes().to_vec();
    wire[..4].copy_from_slice(&43u32.to_be_bytes());
    assert!(matches!(decode(&wire[..28]), Err(Error::PacketTooShort { length: 43 })));
    wire[..4].copy_from_slice(&50u32.to_be_bytes());
    assert!(matches!(decode(&wire[..28]), Err(Error::ExtBeyondPacket { ext: 7, length: 50 })));
    wire[..4].copy_from_slice(&51u32.to_be_bytes());
    assert!(decode(&wire[..43]).unwrap().is_none(), "the address is not whole");
    let mut hidden = witness();
    hidden.hide_addresses();
    let Witnessed::Here { ip, .. } = hidden.clients[1] else { panic!() };
    assert_eq!(ip, Ipv4Addr::UNSPECIFIED);
}

#[test]
fn a_session_travels_with_its_version_or_not_at_all_and_to_others_as_ever() {
    let whole =
        Packet { ext: "a:0:{}".into(), body: "x".into(), ..Packet::new(Command::OnMessage, 7) };
    let decode = |wire: &[u8]| Codec::new().decode_packet(&mut BytesMut::from(wire)).unwrap();
    let version = SessionVersion { changes: 3, written: u32::MAX };
    let without = Packet { ext: Bytes::new(), ..whole.clone() };
    for (session, left, more) in [
        (SessionForm::Whole, &whole, 6),
        (SessionForm::Versioned(version), &whole, 8 + 6),
        (SessionForm::Known(None), &without, 0),
        (SessionForm::Known(Some(version)), &without, 8),
    ] {
        let packet = Packet { session, ..whole.clone() };
        let wire = packet.bytes_for(5);
        assert_eq!((wire.len(), packet.length_for(5)), (29 + more, 29 + more), "{session:?}");
        assert_eq!(decode(&wire), Some(Packet { session, ..left.clone() }));
        for length in 28..wire.len() {
            assert_eq!(decode(&wire[..length]), None);
        }
        assert_eq!((packet.bytes_for(4), packet.length_for(4)), (whole.to_bytes(), 35));
        assert_eq!(packet.bytes_for(0), whole.to_bytes());
    }
    // What is said to be known is not read, if it is there.
    let mut wire = Packet { session: SessionForm::Whole, ..whole }.to_bytes().to_vec();
    wire[21] |= flags::KNOWN;
    assert_eq!(decode(&wire), Some(Packet { session: SessionForm::Known(None), ..without }));
}

#[test]
fn what_changes_in_a_session_travels_in_packets() {
    let removed = vec![php::Key::from("a"), php::Key::from(7)];
    let patch = SessionPatch { base: 3, number: 9, fields: "a:0:{}".into(), removed };
    let order = Order::PatchSession { connection_id: 7, patch };
    let packet = Packet::from(order.clone());
    assert_eq!(packet.body, &b"\0\0\0\x03\0\0\0\x09a:2:{i:0;s:1:\"a\";i:1;i:7;}"[..]);
    let Ok(Request::Order(again)) = Request::try_from(packet.clone()) else { panic!() };
    assert_eq!(again, order);
    for body in ["", "1234567", "12345678", "12345678i:7;", "12345678a:1:{i:0;N;}"] {
        let packet = Packet { body: body.into(), ..packet.clone() };
        assert!(matches!(Order::try_from(packet), Err(Error::Shape { .. })), "{body}");
    }
}

#[test]
fn codecs_tell_their_names_and_limits() {
    assert_eq!((Codec::name(), ReplyCodec::name()), ("link", "reply"));
    assert_eq!((Codec::new().max_message_size(), MAX_PACKET), (MAX_PACKET, 10 * 1024 * 1024));
    assert_eq!(Codec::with_limit(99).max_message_size(), 99);
    // A reply's limit does not count the prefix.
    assert_eq!(ReplyCodec::with_limit(99).max_message_size(), 103);
}

#[test]
fn unknown_commands_survive() {
    let packet = Packet::new(Command::from(77), 5);
    assert_eq!(packet.command, Command::Unknown(77));
    let decoded =
        Codec::new().decode(&mut BytesMut::from(&packet.to_bytes()[..])).unwrap().unwrap();
    assert_eq!(decoded, packet);
    assert!(matches!(Event::try_from(packet.clone()), Ok(Event::Unknown(Command::Unknown(77)))));
    assert!(matches!(Request::try_from(packet), Ok(Request::Unknown(Command::Unknown(77)))));
}
