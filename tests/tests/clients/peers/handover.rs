//! openssl's and Python's TLS while the process at the other end is replaced, each time with half of a record on
//! its way.

use anyhow::{Context, Result, ensure};
use lineman_testkit::within;
use lineman_tests::alone;
use lineman_tests::certificates::{Authority, Pair};
use lineman_tests::peer::Peer;
use lineman_tests::programs::{Server, cluster, lines};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

const RELOADS: usize = 3;

/// Carries bytes between a client and a server. While it holds, the second half of what the client sends waits.
struct Relay {
    port: u16,
    holds: watch::Sender<bool>,
    halved: watch::Receiver<bool>,
}

impl Relay {
    async fn to(server: String) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let (holds, held) = watch::channel(false);
        let (announces, halved) = watch::channel(false);
        // It ends with its connections, which the test sees.
        tokio::spawn(carry(listener, server, held, announces));
        Ok(Self { port, holds, halved })
    }

    /// Waits until half of something has gone on.
    async fn halved(&mut self) -> Result<()> {
        within("half of a record", self.halved.wait_for(|halved| *halved)).await??;
        Ok(())
    }
}

async fn carry(
    listener: TcpListener,
    server: String,
    mut held: watch::Receiver<bool>,
    halves: watch::Sender<bool>,
) -> Result<()> {
    let (client, _) = listener.accept().await?;
    let server = TcpStream::connect(server).await?;
    server.set_nodelay(true)?;
    let (mut questions, mut to_client) = client.into_split();
    let (mut answers, mut to_server) = server.into_split();
    let forth = async {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = questions.read(&mut buffer).await?;
            ensure!(read > 0, "the client has ended");
            let now = if *held.borrow() { read / 2 } else { read };
            to_server.write_all(&buffer[..now]).await?;
            if now < read {
                halves.send_replace(true);
                held.wait_for(|held| !held).await?;
                halves.send_replace(false);
                to_server.write_all(&buffer[now..read]).await?;
            }
        }
    };
    let back = async {
        tokio::io::copy(&mut answers, &mut to_client).await?;
        to_client.shutdown().await?;
        anyhow::Ok(())
    };
    tokio::try_join!(forth, back).map(|((), ())| ())
}

/// A peer behind a relay.
struct Remote {
    peer: Peer,
    relay: Relay,
    /// Whether it can be told to change the keys.
    changes_keys: bool,
    name: String,
}

impl Remote {
    async fn openssl(server: &Server, authority: &str, version: &str) -> Result<Self> {
        let relay = Relay::to(server.port.address()).await?;
        let address = format!("127.0.0.1:{}", relay.port);
        let common = ["s_client", "-connect", &address, "-servername", "localhost", "-brief"];
        let trust = ["-CAfile", authority, "-verify_return_error", version];
        let peer = Peer::program("openssl", &[&common[..], &trust].concat())?;
        let changes_keys = version == "-tls1_3";
        Ok(Self { peer, relay, changes_keys, name: format!("openssl {version}") })
    }

    async fn python(server: &Server, authority: &str, version: &str, wss: bool) -> Result<Self> {
        let relay = Relay::to(server.port.address()).await?;
        let port = relay.port.to_string();
        let arguments = [&port, authority, version, "websocket"];
        let count = if wss { 4 } else { 3 };
        let peer = Peer::python("tls_lines.py", &arguments[..count])?;
        let name = format!("Python, TLS {version}{}", if wss { ", wss" } else { "" });
        Ok(Self { peer, relay, changes_keys: false, name })
    }

    async fn hears(&mut self, expected: &str) -> Result<()> {
        let heard = self.peer.line().await.with_context(|| self.name.clone())?;
        ensure!(heard == expected, "{}: {heard:?} in place of {expected:?}", self.name);
        Ok(())
    }
}

/// Lets peers talk through reloads. A word is said as `question` says, and its answer is as `answer` says.
async fn talk_through_reloads(
    server: &Server,
    mut peers: Vec<Remote>,
    question: impl Fn(&str) -> String,
    answer: impl Fn(&str) -> String,
) -> Result<()> {
    let pids = async || {
        let slots = server.program.status().await?.slots;
        anyhow::Ok(slots.into_iter().map(|slot| slot.pid).collect::<Vec<_>>())
    };
    for round in 0..RELOADS {
        for peer in &mut peers {
            peer.peer.tell(&question("before")).await?;
            peer.hears(&answer("before")).await?;
            peer.relay.holds.send_replace(true);
            if peer.changes_keys && round > 0 {
                // It changes its keys and asks for the same, in a record of which half arrives.
                peer.peer.tell("K\n").await?;
                peer.relay.halved().await?;
            }
            peer.peer.tell(&question("during")).await?;
            peer.relay.halved().await?;
        }
        let before = pids().await?;
        server.program.reload().await?;
        let after = pids().await?;
        ensure!(after.iter().all(|pid| !before.contains(pid)), "{before:?} and {after:?}");
        for peer in &mut peers {
            peer.relay.holds.send_replace(false);
            peer.hears(&answer("during")).await?;
            peer.peer.tell(&question("behind")).await?;
            peer.hears(&answer("behind")).await?;
        }
    }
    Ok(())
}

async fn of_lines(server: &Server, authority: &str) -> Result<Vec<Remote>> {
    Ok(vec![
        Remote::openssl(server, authority, "-tls1_2").await?,
        Remote::openssl(server, authority, "-tls1_3").await?,
        Remote::python(server, authority, "1.2", false).await?,
        Remote::python(server, authority, "1.3", false).await?,
    ])
}

#[tokio::test]
async fn a_worker_is_replaced_within_a_record() -> Result<()> {
    let _machine = alone().await;
    let authority = Authority::new().await?;
    let server = lines(&authority.sign("localhost").await?)?.knob("TLS_MOVES", "1");
    let server = server.started().await?;
    let root = authority.certificate();
    let peers = of_lines(&server, root.to_str().context("UTF-8")?).await?;
    talk_through_reloads(&server, peers, |word| format!("{word}\n"), |word| format!("{word}: "))
        .await
}

async fn gateway_under(scheme: &str, authority: &Authority) -> Result<Server> {
    let Pair { certificate, key } = authority.sign("localhost").await?;
    cluster()?
        .knob("CLUSTER_SCHEME", scheme)
        .knob("CLUSTER_CERTIFICATE", certificate)
        .knob("CLUSTER_KEY", key)
        .started()
        .await
}

#[tokio::test]
async fn a_gateway_of_lines_is_replaced_within_a_record() -> Result<()> {
    let _machine = alone().await;
    let authority = Authority::new().await?;
    let server = gateway_under("text", &authority).await?;
    let root = authority.certificate();
    let peers = of_lines(&server, root.to_str().context("UTF-8")?).await?;
    talk_through_reloads(&server, peers, |word| format!("/me {word}\n"), str::to_owned).await
}

#[tokio::test]
async fn a_gateway_for_wss_is_replaced_within_a_record() -> Result<()> {
    let _machine = alone().await;
    let authority = Authority::new().await?;
    let server = gateway_under("websocket", &authority).await?;
    let root = authority.certificate();
    let root = root.to_str().context("UTF-8")?;
    let peers = vec![
        Remote::python(&server, root, "1.2", true).await?,
        Remote::python(&server, root, "1.3", true).await?,
    ];
    talk_through_reloads(&server, peers, |word| format!("/me {word}\n"), str::to_owned).await
}
