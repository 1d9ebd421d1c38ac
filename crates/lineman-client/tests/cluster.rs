//! The client against a register and a gateway that do as a test says.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on is to panic")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use bytes::BytesMut;
use lineman_client::{ClientId, Cluster, Error};
use lineman_wire::link::{Codec, Command, Reply};
use lineman_wire::php::Value;

/// Lists these gateways to every peer that asks with the right key.
fn register(gateways: &[SocketAddr]) -> String {
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
            if question == "{\"event\":\"worker_connect\",\"secret_key\":\"k\"}\n" {
                stream.write_all(line.as_bytes()).unwrap();
            }
        }
    });
    address
}

/// Reports each packet, and answers questions with 7; closes when the key is wrong.
fn gateway() -> (SocketAddr, mpsc::Receiver<String>) {
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
                        if body == r#"{"secret_key":"wrong"}"# {
                            return;
                        }
                        let (command, id) = (packet.command, packet.connection_id);
                        sender.send(format!("{command:?} {id} {ext}{body}")).ok();
                        if matches!(command, Command::IsOnline | Command::GetClientCountByGroup) {
                            let mut reply = BytesMut::new();
                            Reply::from(&Value::from(7)).encode_into(&mut reply);
                            stream.write_all(&reply).unwrap();
                        }
                    }
                }
            });
        }
    });
    (address, packets)
}

fn next(packets: &mpsc::Receiver<String>) -> String {
    packets.recv_timeout(Duration::from_secs(10)).expect("a packet")
}

#[test]
fn messages_reach_every_gateway_on_kept_connections() {
    let ((first, at_first), (second, at_second)) = (gateway(), gateway());
    let mut cluster = Cluster::new(register(&[first, second])).secret_key("k");
    cluster.send_to_all("hello").unwrap();
    cluster.send_to_uid(42, "to 42").unwrap();
    cluster.send_to_group("room", String::from("to all there")).unwrap();
    for packets in [&at_first, &at_second] {
        assert_eq!(next(packets), r#"GatewayClientConnect 0 {"secret_key":"k"}"#);
        assert_eq!(next(packets), "IsOnline 0 ", "asks whether the key is right");
        assert_eq!(next(packets), "SendToAll 0 hello");
        assert_eq!(next(packets), r#"SendToUid 0 ["42"]to 42"#);
        let group = r#"SendToGroup 0 {"group":["room"],"exclude":null}to all there"#;
        assert_eq!(next(packets), group);
    }
}

#[test]
fn one_client_is_its_gateway_s_business_alone() {
    let (address, packets) = gateway();
    // No register is asked: the id says where the client is.
    let mut cluster = Cluster::new("127.0.0.1:1");
    let client = ClientId::new(Ipv4Addr::LOCALHOST, address.port(), 9);
    cluster.send_to_client(client, "hello").unwrap();
    cluster.close_client_with(client, "bye").unwrap();
    cluster.close_client(client).unwrap();
    assert!(cluster.is_online(client).unwrap());
    assert_eq!(next(&packets), "SendToOne 9 hello");
    assert_eq!(next(&packets), "Kick 9 bye");
    assert_eq!(next(&packets), "Kick 9 N;");
    assert_eq!(next(&packets), "IsOnline 9 ");
}

#[test]
fn counts_are_sums() {
    let ((first, _first), (second, _second)) = (gateway(), gateway());
    let mut cluster = Cluster::new(register(&[first, second])).secret_key("k");
    assert_eq!(cluster.client_count().unwrap(), 14);
    assert_eq!(cluster.client_count_in_group("room").unwrap(), 14);
}

#[test]
fn a_dead_gateway_is_named_and_the_others_get_the_message() {
    let (alive, packets) = gateway();
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut cluster = Cluster::new(register(&[dead, alive])).secret_key("k");
    let error = cluster.send_to_all("hello").unwrap_err();
    assert!(matches!(error, Error::Gateway { gateway, .. } if gateway == dead), "{error}");
    assert!(std::iter::repeat_with(|| next(&packets)).any(|packet| packet == "SendToAll 0 hello"));
}

#[test]
fn a_wrong_key_is_an_error() {
    let (address, _packets) = gateway();
    let mut cluster = Cluster::new(register(&[address])).secret_key("wrong");
    assert!(matches!(cluster.send_to_all("hello"), Err(Error::NoList { .. })));
    let client = ClientId::new(Ipv4Addr::LOCALHOST, address.port(), 9);
    let error = cluster.send_to_client(client, "hello").unwrap_err();
    assert!(matches!(error, Error::Refused { gateway } if gateway == address), "{error}");
}

#[test]
fn names_that_gateways_refuse_are_refused() {
    let mut cluster = Cluster::new("127.0.0.1:1");
    assert!(matches!(cluster.send_to_group("", "text"), Err(Error::EmptyName)));
    assert!(matches!(cluster.send_to_uid(0, "text"), Err(Error::EmptyName)));
}
