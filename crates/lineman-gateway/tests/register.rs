//! The register answers a captured conversation as `GatewayWorker`'s does.

mod process;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use lineman_gateway::Register;
use process::{Peer, Process, run};

/// With an object for a list, the PHP register says that it dropped a duplicate; ours says a list.
const AS_OBJECT: &str = r#"{"0":"127.0.0.1:22900","2":"127.0.0.7:22999"}"#;
const AS_LIST: &str = r#"["127.0.0.1:22900","127.0.0.7:22999"]"#;

/// Returns when the register has read everything that was sent before.
async fn barrier(register: SocketAddr) {
    let mut peer = Peer::connect(register).await;
    peer.write(b"{\"event\":\"worker_connect\",\"secret_key\":\"k\"}\n").await;
    peer.read_to(b"\n").await;
}

fn unhex(digits: &str) -> Vec<u8> {
    let pair = |pair| u8::from_str_radix(str::from_utf8(pair).expect("ascii"), 16).expect("hex");
    digits.as_bytes().chunks(2).map(pair).collect()
}

async fn expect(peer: &mut Peer, line: &str) {
    let got = peer.read_to(b"\n").await;
    let got = str::from_utf8(&got).expect("text");
    if line.starts_with("Bad request") {
        assert!(got.starts_with("Bad request for Register service"), "{got}");
    } else {
        assert_eq!(got, line.replace(AS_OBJECT, AS_LIST));
    }
}

async fn replay(register: SocketAddr, capture: &str) -> (usize, usize) {
    let mut peers: BTreeMap<&str, Peer> = BTreeMap::new();
    let (mut lines, mut ends) = (0, 0);
    for record in capture.lines() {
        let fields: Vec<&str> = record.split(' ').collect();
        match fields[..] {
            // What follows is about silence: ten seconds of it.
            ["O", _, "R14", ..] => break,
            ["O", _, name, ..] => drop(peers.insert(name, Peer::connect(register).await)),
            ["M", _, name, ">", hex] => {
                peers.get_mut(name).expect("open").write(&unhex(hex)).await;
                barrier(register).await;
            }
            ["M", _, name, "<", hex] => {
                let line = String::from_utf8(unhex(hex)).expect("text");
                expect(peers.get_mut(name).expect("open"), &line).await;
                lines += 1;
            }
            ["X", _, name, ">", _] => {
                drop(peers.remove(name));
                barrier(register).await;
            }
            ["X", _, name, "<", _] => {
                if let Some(peer) = peers.get_mut(name) {
                    assert!(peer.is_closed().await, "{name}");
                    ends += 1;
                }
            }
            _ => {}
        }
    }
    (lines, ends)
}

#[test]
fn a_captured_conversation_is_answered_the_same() {
    let path = "../lineman-wire/tests/golden/gatewayworker/06-register.txt";
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path);
    let capture = std::fs::read_to_string(path).expect("the captures of lineman-wire");
    run(async {
        let register = Process::start(Register::listen("unused").secret_key("k")).await;
        assert_eq!(replay(register.addresses[0], &capture).await, (13, 6));
        register.reaches("gateways", 0).await;
    });
}
