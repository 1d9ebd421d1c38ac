//! Attacks on the HTTP that a WebSocket's port speaks as well.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures_util::future::join_all;
use lineman_tests::raw::{Raw, statuses};
use tokio::time::{Instant, interval};

use crate::attack::{Siege, gathered};

const HEAD: &str = "POST /length HTTP/1.1\r\nHost: localhost\r\n";

/// A request that hides behind a malformed one; it has an answer of its own if it is served.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// What stands between [`HEAD`] and [`HIDDEN`]. Each has one answer, and closes its connection:
/// `tests/tests/hostile_http.rs` says which.
const MALFORMED: [&str; 12] = [
    "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "Content-Length: 0\r\nContent-Length: 44\r\n\r\n",
    "Content-Length: 0, 44\r\n\r\n",
    "Content-Length: +0\r\n\r\n",
    "X: a\r\n Content-Length: 44\r\n\r\n",
    "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "Content-Length\0: 0\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n10000000000000002\r\nhi\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n2\r\nhiho\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n0\r\n\r\n",
    "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\r\n\r\n",
];

/// An upload, of which so much comes at once.
const UPLOAD: usize = 2 * 1024 * 1024;
const AT_ONCE: usize = UPLOAD - 64 * 1024;

pub(super) async fn garbage(siege: &Siege) -> Result<String> {
    let (mut count, end) = (0, siege.end());
    while Instant::now() < end {
        for malformed in MALFORMED {
            let all = gathered(siege.crowd(50), async |_| {
                let mut peer = Raw::connect(&siege.target.plain).await?;
                // It may be refused before it has sent everything.
                drop(peer.send(format!("{HEAD}{malformed}{HIDDEN}").as_bytes()).await);
                Ok(statuses(&peer.rest().await?))
            });
            for answers in all.await {
                ensure!(answers.len() <= 1, "{malformed:?} was answered {answers:?}");
                count += 1;
            }
        }
    }
    Ok(format!("{count} requests"))
}

pub(super) async fn slow_bodies(siege: &Siege) -> Result<String> {
    let begun = format!("{HEAD}Content-Length: {UPLOAD}\r\n\r\n{}", "x".repeat(AT_ONCE));
    let peers = gathered(siege.crowd(200), async |_| {
        let mut peer = Raw::connect(&siege.target.plain).await?;
        peer.send(begun.as_bytes()).await?;
        Ok(peer)
    });
    let mut peers = peers.await;
    let mut pace = interval(Duration::from_millis(100));
    siege
        .goes_on(async {
            loop {
                pace.tick().await;
                join_all(peers.iter_mut().map(|peer| peer.send(b"x"))).await;
            }
        })
        .await;
    Ok(format!("{} uploads of {UPLOAD} bytes", peers.len()))
}

pub(super) async fn unread_answers(siege: &Siege) -> Result<String> {
    let requests = b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(100);
    let peers = gathered(siege.crowd(200), async |_| {
        let mut peer = Raw::connect_narrow(&siege.target.plain, 32 * 1024).await?;
        peer.send(&requests).await?;
        Ok(peer)
    });
    let peers = peers.await;
    siege.holds().await;
    Ok(format!("{} clients", peers.len()))
}
