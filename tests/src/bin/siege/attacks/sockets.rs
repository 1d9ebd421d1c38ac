//! Attacks on the connections of one process: clients that misbehave, and datagrams.

use std::cell::Cell;
use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use flate2::Compression;
use flate2::write::DeflateEncoder;
use futures_util::future::{join_all, try_join_all};
use lineman_testkit::Client;
use lineman_tests::audience::{Audience, room_for};
use lineman_tests::raw::{Raw, UPGRADE, frame};
use tokio::net::UdpSocket;
use tokio::time::interval;

use crate::attack::{Siege, gathered};

/// First bytes of frames: whole ones, and the first fragment of a compressed message (RFC 7692, 6).
pub(super) const TEXT: u8 = 0x81;
pub(super) const BINARY: u8 = 0x82;
const PING: u8 = 0x89;
const COMPRESSED_FRAGMENT: u8 = 0x42;

/// A little less than the longest message that is taken.
const BOMB: usize = 10 * 1024 * 1024 - 64 * 1024;

/// What the kernel takes for a client that does not read.
const NARROW: usize = 32 * 1024;

/// A slow client reads 4 KB so often: 100 KB a second.
const SIP: usize = 4096;
const SIP_PACE: Duration = Duration::from_millis(40);

/// What is queued for it when its connection is closed.
const FAREWELL: usize = 900_000;

/// The first byte of a close frame, and how long one is that carries a code alone.
const CLOSE: u8 = 0x88;
const CLOSE_FRAME: usize = 4;

/// From where many connections come: not the address of the innocents, whose ports they would take.
const ELSEWHERE: &str = "127.0.0.3";

/// How many ports of that address are used at most: each stays in use for a minute.
const MOST_RECONNECTS: usize = 20_000;

pub(super) async fn pings(siege: &Siege) -> Result<String> {
    let frames = frame(PING, &[b'p'; 125])?.repeat(500);
    let peers =
        gathered(siege.crowd(20), async |_| Raw::websocket(&siege.target.plain).await).await;
    let count = peers.len();
    siege.goes_on(join_all(peers.into_iter().map(|peer| peer.flood(&frames)))).await;
    Ok(format!("{count} clients"))
}

pub(super) async fn slow_readers(siege: &Siege) -> Result<String> {
    let message = frame(BINARY, &vec![b'x'; 200_000])?;
    let peers = gathered(siege.crowd(200), async |_| {
        let mut peer = Raw::connect_narrow(&siege.target.plain, NARROW).await?;
        ensure!(peer.enters().await?, "not let in");
        Ok(peer)
    });
    let peers = peers.await;
    let count = peers.len();
    siege.goes_on(join_all(peers.into_iter().map(|peer| peer.flood(&message)))).await;
    Ok(format!("{count} clients"))
}

pub(super) async fn idle(siege: &Siege) -> Result<String> {
    let count = room_for(siege.crowd(15_000))?;
    let audience = Audience::seated(&siege.target.server, count).await?;
    siege.holds().await;
    audience.leaves().await?;
    Ok(format!("{count} clients"))
}

pub(super) async fn slow_handshakes(siege: &Siege) -> Result<String> {
    let count = siege.crowd(2000);
    let mut peers = gathered(count, async |_| Raw::connect(&siege.target.plain).await).await;
    let mut pace = interval(Duration::from_millis(100));
    siege
        .goes_on(async {
            for byte in UPGRADE.chunks(1) {
                pace.tick().await;
                // Those that were dropped do not come again.
                join_all(peers.iter_mut().map(|peer| peer.send(byte))).await;
            }
        })
        .await;
    Ok(format!("{count} clients"))
}

pub(super) async fn reconnects(siege: &Siege) -> Result<String> {
    let mut pace = interval(Duration::from_millis(10));
    let (came, entered) = (Cell::new(0), Cell::new(0));
    siege
        .goes_on(async {
            while came.get() < MOST_RECONNECTS {
                pace.tick().await;
                came.set(came.get() + 10);
                let let_in = gathered(10, async |_| {
                    let mut peer = Raw::connect_from(ELSEWHERE, &siege.target.plain).await?;
                    ensure!(peer.enters().await?, "not let in");
                    Ok(())
                });
                entered.set(entered.get() + let_in.await.len());
            }
        })
        .await;
    Ok(format!("{} came, {} were let in", came.get(), entered.get()))
}

pub(super) async fn bombs(siege: &Siege) -> Result<String> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&vec![0; BOMB])?;
    // Flushed and not finished: all of it can be inflated, and more could come.
    encoder.flush()?;
    let bomb = frame(COMPRESSED_FRAGMENT, encoder.get_ref())?;
    let peers = gathered(siege.crowd(100), async |_| {
        let mut peer = Raw::websocket_with_deflate(&siege.target.plain).await?;
        peer.send(&bomb).await?;
        Ok(peer)
    });
    let peers = peers.await;
    siege.holds().await;
    Ok(format!("{} messages of {} bytes", peers.len(), bomb.len()))
}

pub(super) async fn panics(siege: &Siege) -> Result<String> {
    let (url, count) = (format!("ws://{}/", siege.target.plain), Cell::new(0));
    siege
        .goes_on(async {
            let mut pace = interval(Duration::from_millis(20));
            loop {
                pace.tick().await;
                let mut client = Client::connect(&url).await?;
                client.send_text("panic").await?;
                client.ended().await?;
                count.set(count.get() + 1);
            }
            #[expect(unreachable_code, reason = "the type of the errors")]
            anyhow::Ok(())
        })
        .await;
    Ok(format!("{} panics", count.get()))
}

pub(super) async fn farewells(siege: &Siege) -> Result<String> {
    let addresses = [siege.target.plain.clone(), siege.target.gateway()];
    // In the short form they read faster, and still slower than the kernel would like.
    let piece = SIP * siege.effort.one_in.min(5);
    let order = frame(TEXT, format!("farewell {FAREWELL}").as_bytes())?;
    let clients = addresses.iter().cycle().take(siege.crowd(20).max(2)).map(async |address| {
        let mut peer = Raw::connect_narrow(address, NARROW).await?;
        ensure!(peer.enters().await?, "not let in");
        peer.send(&order).await?;
        let read = peer.reads_slowly(piece, SIP_PACE).await.context(address.clone())?;
        // Between the heads of two frames.
        ensure!(read.len() > FAREWELL, "a slow client got {} bytes of {FAREWELL}", read.len());
        let close = read.iter().nth_back(CLOSE_FRAME - 1);
        ensure!(close == Some(&CLOSE), "a slow client got no close frame");
        anyhow::Ok(())
    });
    let count = try_join_all(clients).await?.len();
    Ok(format!("{count} clients got all of {FAREWELL} bytes"))
}

pub(super) async fn datagrams(siege: &Siege) -> Result<String> {
    let sent = Cell::new(0);
    let floods = (0..siege.crowd(40)).map(async |_| {
        let socket = UdpSocket::bind("127.0.0.1:0").await?;
        socket.connect(&siege.target.datagrams).await?;
        let lines = "hello\n".repeat(500);
        let datagrams: [&[u8]; 5] =
            [b"", b"no end", b"\xff\xff\xff\xff", b"hello\n", lines.as_bytes()];
        loop {
            for datagram in datagrams {
                socket.send(datagram).await?;
                sent.set(sent.get() + 1);
            }
            tokio::task::yield_now().await;
        }
        #[expect(unreachable_code, reason = "the type of the errors")]
        anyhow::Ok(())
    });
    siege.goes_on(join_all(floods)).await;
    Ok(format!("{} datagrams", sent.get()))
}
