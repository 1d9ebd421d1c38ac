//! A register and gateways that do as a test says.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;
use std::thread;

use bytes::BytesMut;
use lineman_wire::link::{Codec, Command, Reply};
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
            if question == "{\"event\":\"worker_connect\",\"secret_key\":\"k\"}\n" {
                stream.write_all(line.as_bytes()).unwrap();
            }
        }
    });
    address
}

/// Reports each packet, and answers questions; closes when the key is wrong.
pub(crate) fn gateway() -> (SocketAddr, mpsc::Receiver<String>) {
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
                        if let Some(answer) = answer(command) {
                            let mut reply = BytesMut::new();
                            Reply::from(&answer).encode_into(&mut reply);
                            stream.write_all(&reply).unwrap();
                        }
                    }
                }
            });
        }
    });
    (address, packets)
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
