//! What our own ends of a link do beyond `GatewayWorker`: answers in parts, few bytes before a login, the
//! cookies of a handshake.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use lineman_wire::link::register::Line;
use lineman_wire::link::{
    Codec, Command, Field, Login, MAX_PACKET, Packet, Query, Reply, RequestHead, Secret, Select,
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
    let login = |key: &str| Packet::from(Login::Client { secret_key: Secret::new(key) });
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
