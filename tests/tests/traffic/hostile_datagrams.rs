//! A flood of datagrams, sound ones and garbage, beside connections of the same program: those go on,
//! no process is replaced, memory is bounded, and who sends a sound datagram afterwards is answered.

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use lineman_testkit::{Program, within};
use lineman_tests::innocent::{BASE_BYTES, served_throughout};
use lineman_tests::programs::built;
use lineman_tests::raw::Raw;
use tokio::net::UdpSocket;

/// Sockets that flood, and how often each sends everything.
const SOCKETS: usize = 4;
const ROUNDS: usize = 500;

/// What queues of one socket may hold (`Bounds` of `ARCHITECTURE.md`).
const QUEUE_BYTES: u64 = 2 * 1024 * 1024;

/// A service of datagrams, and a message of its protocol.
const SERVICES: [(&str, &[u8]); 3] =
    [("udp-text", b"hello\n"), ("udp-framed", b"\0\0\0\x09hello"), ("udp-shout", b"hello!")];

/// Nothing of this is a message of any of them, but for its first bytes.
fn garbage() -> Vec<Vec<u8>> {
    let mut giant = b"\x7f\xff\xff\xff".to_vec();
    giant.resize(60_000, b'x');
    vec![
        Vec::new(),
        vec![0],
        b"no end".to_vec(),
        b"\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(),
        b"\0\0\0\0\0\0\0\0".to_vec(),
        b"\0\0\0\x09hell".to_vec(),
        giant,
    ]
}

async fn socket(address: &str) -> Result<UdpSocket> {
    let socket = UdpSocket::bind("127.0.0.1:0").await?;
    socket.connect(address).await?;
    Ok(socket)
}

/// Sends everything again and again, and never reads what is answered.
async fn flood(address: &str, message: &[u8]) -> Result<()> {
    let socket = socket(address).await?;
    let many = message.repeat(500);
    let mut datagrams = garbage();
    datagrams.extend([message.to_vec(), many]);
    for _ in 0..ROUNDS {
        for datagram in &datagrams {
            socket.send(datagram).await?;
        }
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// Sends a message until it is answered: a queue of the kernel's may still be full.
async fn is_answered(address: &str, message: &[u8]) -> Result<()> {
    let socket = socket(address).await?;
    let mut tries = tokio::time::interval(std::time::Duration::from_millis(200));
    let mut answer = [0; 64];
    let answered = async {
        loop {
            tokio::select! {
                count = socket.recv(&mut answer) => return anyhow::Ok(count?),
                _ = tries.tick() => drop(socket.send(message).await?),
            }
        }
    };
    let count = within("a datagram to be answered", answered).await??;
    ensure!(answer[..count] == *message, "{:?} was answered", &answer[..count]);
    Ok(())
}

#[tokio::test]
async fn floods_of_datagrams_hurt_nobody() -> Result<()> {
    let words = SERVICES.map(|(name, _)| format!("{name}=127.0.0.1:0"));
    let listen = format!("text=127.0.0.1:0 {}", words.join(" "));
    let program = Program::new(built("transports_under_test", "lineman-tests")?)?;
    let program = program.env("LISTEN", listen).env("COUNT", "1");
    program.start().await?;
    let status = program.status().await?;
    let address = |service: &str| -> Result<String> {
        Ok(status.listen(service, "clients").next().context("an address")?.to_owned())
    };
    let mut connected = Raw::connect(&address("text")?).await?;
    for (service, message) in SERVICES {
        let at = address(service)?;
        let slot = format!("{service}/0");
        let exchange = async || {
            connected.send(b"hello\n").await?;
            connected.until(b"hello\n").await
        };
        let wrong = async || -> Result<u64> {
            let status = program.status().await?;
            status.slot(&slot)?.stats["protocol_errors"].as_u64().context("a count")
        };
        let before = wrong().await?;
        let attack = async {
            try_join_all((0..SOCKETS).map(|_| flood(&at, message))).await?;
            is_answered(&at, message).await.context("nobody is answered any more")?;
            ensure!(wrong().await? > before, "garbage is not counted");
            Ok(())
        };
        // The watched process is the one that is flooded.
        let bound = BASE_BYTES + QUEUE_BYTES;
        served_throughout(&program, &slot, bound, exchange, attack).await.context(service)?;
    }
    Ok(())
}
