//! Our register, asked by everything that spoke with the captured one.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use lineman_testkit::Port;
use lineman_tests::programs::{Server, part_of_cluster};

use super::capture::{Capture, End, Record, What, compare};
use super::peer::{Cut, Peer};

/// With an object for a list, the PHP register says that it dropped a duplicate; ours says a list.
const AS_OBJECT: &str = r#"{"0":"127.0.0.1:22900","2":"127.0.0.7:22999"}"#;
const AS_LIST: &str = r#"["127.0.0.1:22900","127.0.0.7:22999"]"#;

/// Our register, and what is connected to it.
struct Replay {
    capture: Capture,
    server: Server,
    address: SocketAddr,
    secret: &'static str,
    peers: BTreeMap<String, Peer>,
}

/// Replays a file; returns how many lines were compared.
pub(crate) async fn replay(
    name: &str,
    secret: &'static str,
    until: f64,
    killed: Option<f64>,
) -> Result<usize> {
    let capture = Capture::read(name, until)?;
    let port = Port::reserve()?;
    let server = part_of_cluster("register", &port)?.knob("CLUSTER_SECRET", secret);
    let server = server.started().await?;
    let address = port.address().parse()?;
    let mut replay = Replay { capture, server, address, secret, peers: BTreeMap::new() };
    let (records, mut killed, mut compared) = (replay.capture.records.clone(), killed, 0);
    for record in records.iter().filter(|record| record.name.starts_with('R')) {
        if let Some(time) = killed
            && record.time >= time
        {
            let old = replay.server.program.kill("register/0").await?;
            replay.server.program.replaced("register/0", &old).await?;
            killed = None;
        }
        compared += replay.step(record).await.with_context(|| record.place.clone())?;
    }
    ensure!(killed.is_none(), "{name}: nothing happened after the kill");
    Ok(compared)
}

impl Replay {
    async fn step(&mut self, record: &Record) -> Result<usize> {
        let open = self.peers.get_mut(&record.name);
        match (&record.what, open) {
            (What::Opened { .. }, _) => {
                self.peers.insert(record.name.clone(), Peer::connect(self.address).await?);
            }
            (What::Said(End::Opener, bytes), open) => {
                open.context("not open")?.send(bytes).await?;
                self.settled().await?;
            }
            (What::Said(End::Listener, bytes), open) => {
                let got = open.context("not open")?.message(Cut::Line).await?;
                let got = got.context("closed in place of an answer")?;
                let bad_request = b"Bad request for Register service";
                if !(bytes.starts_with(bad_request) && got.starts_with(bad_request)) {
                    let expected = str::from_utf8(bytes)?.replace(AS_OBJECT, AS_LIST);
                    compare(&record.place, expected.as_bytes(), &got)?;
                }
                return Ok(1);
            }
            (What::Closed(End::Opener), _) => {
                self.peers.remove(&record.name);
                self.settled().await?;
            }
            (What::Closed(End::Listener), Some(peer)) => {
                let more = peer.message(Cut::Line).await?;
                ensure!(more.is_none(), "{more:?} in place of an end");
                self.peers.remove(&record.name);
            }
            (What::Closed(End::Listener), None) => {}
        }
        Ok(0)
    }

    /// Returns when the register has read everything that was sent before.
    async fn settled(&self) -> Result<()> {
        let mut peer = Peer::connect(self.address).await?;
        let key = serde_json::to_string(self.secret)?;
        let line = format!("{{\"event\":\"worker_connect\",\"secret_key\":{key}}}\n");
        peer.send(line.as_bytes()).await?;
        peer.message(Cut::Line).await?.context("no list")?;
        Ok(())
    }
}
