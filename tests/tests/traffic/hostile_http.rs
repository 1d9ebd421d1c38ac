//! Peers that mean harm to an HTTP server: each gets the stated answer, and somebody on the same
//! process is served throughout, in bounded memory.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::future::{join_all, try_join_all};
use lineman_testkit::{Slot, Status, within};
use lineman_tests::innocent::{BASE_BYTES, echoes, is_greeted, served_throughout};
use lineman_tests::programs::{Server, echo, http};
use lineman_tests::raw::{Raw, frame, statuses};

/// Peers of one attack at once.
const CROWD: usize = 50;

/// What one connection may hold while it is attacked: hyper's buffers, 64 KiB of a body, a piece of
/// an answer.
const CONNECTION_BYTES: u64 = 384 * 1024;
const BOUND: u64 = BASE_BYTES + CROWD as u64 * CONNECTION_BYTES;

/// The page `/large`, of which a connection holds one at most.
const LARGE_BYTES: u64 = 1024 * 1024;

/// Requests at once whose heads are begun and never end; the bound of a head (`HttpLimits`), and what
/// a connection's task and socket cost beside it.
const HALF_OPEN: u64 = 4000;
const HALF_OPEN_BYTES: u64 = (16 + 16) * 1024;

/// A drop now and then: in time for any bound that looks at one drop alone.
const PACE: Duration = Duration::from_millis(50);

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
const POST: &str = "POST /length HTTP/1.1\r\nHost: localhost\r\n";
const CHUNKED: &str = "Transfer-Encoding: chunked\r\n\r\n";

/// The request that hides in or behind another one; it leaves a mark when it is served.
const HIDDEN: &str = "GET /mark HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Runs an attack beside somebody on the same process.
async fn attacked<T>(server: &Server, attack: impl Future<Output = Result<T>>) -> Result<T> {
    attacked_within(BOUND, server, attack).await
}

async fn attacked_within<T>(
    bound: u64,
    server: &Server,
    attack: impl Future<Output = Result<T>>,
) -> Result<T> {
    let mut innocent = Raw::connect(&server.port.address()).await?;
    let exchange = async || is_greeted(&mut innocent).await;
    served_throughout(&server.program, "http/0", bound, exchange, attack).await
}

/// Has each of a crowd connect, send `head` and drip `rest`; returns what each was answered.
async fn drips(server: &Server, head: &[u8], rest: &[u8]) -> Result<Vec<Vec<u16>>> {
    let address = server.port.address();
    let peers = (0..CROWD).map(async |_| {
        let mut peer = Raw::connect(&address).await?;
        peer.send(head).await?;
        anyhow::Ok(statuses(&peer.drip(rest, PACE).await?))
    });
    try_join_all(peers).await
}

/// Sends bytes and returns the statuses of all that is answered until the end.
async fn answers(address: &str, bytes: &[u8]) -> Result<Vec<u16>> {
    let mut peer = Raw::connect(address).await?;
    // It may be refused before it has sent everything.
    drop(peer.send(bytes).await);
    Ok(statuses(&peer.rest().await?))
}

#[tokio::test]
async fn headers_that_drip_are_408_at_their_limit() -> Result<()> {
    let server = http()?.knob("HTTP_HEAD_MS", "600").started().await?;
    let endless = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}", "a".repeat(10_000));
    let all = attacked(&server, drips(&server, b"", endless.as_bytes())).await?;
    assert_eq!(all, vec![[408]; CROWD]);
    // The second request of a connection has no more time than the first.
    let all = attacked(&server, drips(&server, GET, endless.as_bytes())).await?;
    assert_eq!(all, vec![[200, 408]; CROWD]);
    Ok(())
}

#[tokio::test]
async fn thousands_of_half_open_requests_hurt_nobody() -> Result<()> {
    let server = http()?.knob("HTTP_HEAD_MS", "5000").started().await?;
    let address = server.port.address();
    let half = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}", "a".repeat(2000));
    let bound = BASE_BYTES + HALF_OPEN * HALF_OPEN_BYTES;
    attacked_within(bound, &server, async {
        let mut peers = Vec::new();
        for _ in 0..HALF_OPEN {
            let mut peer = Raw::connect(&address).await?;
            peer.send(half.as_bytes()).await?;
            peers.push(peer);
        }
        // Somebody new gets in all the same.
        is_greeted(&mut Raw::connect(&address).await?).await?;
        for mut peer in peers {
            assert_eq!(statuses(&peer.rest().await?), [408]);
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_body_that_drips_or_stops_is_408() -> Result<()> {
    let server = http()?.knob("HTTP_STALL_MS", "600").started().await?;
    let sized = format!("{POST}Content-Length: 100000\r\n\r\n");
    let chunked = format!("{POST}{CHUNKED}");
    for (head, rest) in [(&sized, "x".repeat(1000)), (&chunked, "1\r\nx\r\n".repeat(1000))] {
        for rest in [rest.as_bytes(), b""] {
            let all = attacked(&server, drips(&server, head.as_bytes(), rest)).await?;
            assert_eq!(all, vec![[408]; CROWD], "{head}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_body_beyond_its_bound_is_413() -> Result<()> {
    let server = http()?.knob("HTTP_BODY_BYTES", "65536").started().await?;
    let address = server.port.address();
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    let offences = [
        format!("{POST}Content-Length: 65537\r\n\r\n"),
        format!("{POST}Content-Length: 9223372036854775807\r\n\r\n"),
        format!("{POST}Content-Length: 1000000\r\n\r\n{}", "x".repeat(1_000_000)),
        format!("{POST}{CHUNKED}{}", chunk.repeat(16)),
        format!("{POST}{CHUNKED}10001\r\n{}", "x".repeat(0x10001)),
    ];
    attacked(&server, async {
        for offence in &offences {
            let crowd = (0..CROWD).map(|_| answers(&address, offence.as_bytes()));
            let all = try_join_all(crowd).await?;
            let what = offence.get(..100).unwrap_or(offence);
            assert_eq!(all, vec![[413]; CROWD], "{what}");
        }
        let most = format!("{POST}Connection: close\r\nContent-Length: 65536\r\n\r\n");
        let fits = most + &"x".repeat(0x10000);
        assert_eq!(answers(&address, fits.as_bytes()).await?, [200]);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn who_does_not_read_is_dropped_and_holds_little() -> Result<()> {
    let server = http()?.knob("HTTP_ANSWER_MS", "600").started().await?;
    let address = server.port.address();
    attacked(&server, async {
        let mut peers = Vec::new();
        for _ in 0..CROWD {
            let mut peer = Raw::connect(&address).await?;
            peer.send(b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
            peers.push(peer);
        }
        // Only the innocent is left. A look at the peers' sockets would be reading.
        let alone =
            |slot: &Slot| slot.stats["accepted"] == CROWD + 1 && slot.stats["connections"] == 1;
        let over = |status: &Status| status.slots.iter().any(alone);
        Box::pin(server.program.until("those who do not read to be dropped", over)).await?;
        for mut peer in peers {
            let answer = peer.rest().await?;
            ensure!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"), "no answer had begun");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_head_beyond_its_bounds_is_431() -> Result<()> {
    let server = http()?.started().await?;
    let address = server.port.address();
    let head = "GET / HTTP/1.1\r\nHost: localhost\r\n";
    let offences = [
        format!("{head}X: {}\r\n\r\n", "a".repeat(16 * 1024)),
        format!("{head}X: {}", "a".repeat(512 * 1024)),
        format!("{head}{}\r\n", "X: y\r\n".repeat(100)),
        format!("{head}{}\r\n", "X: y\r\n".repeat(50_000)),
        format!("{head}{}: x\r\n\r\n", "n".repeat(17 * 1024)),
    ];
    attacked(&server, async {
        for offence in &offences {
            let crowd = (0..CROWD).map(|_| answers(&address, offence.as_bytes()));
            assert_eq!(try_join_all(crowd).await?, vec![[431]; CROWD], "{} bytes", offence.len());
        }
        Ok(())
    })
    .await
}

/// Requests that two servers in a row could take for different ones. Whatever the answer, it is the
/// only one, the connection is closed behind it, and what hides is never served.
async fn no_request_hides_behind(offences: &[(&str, String, u16)]) -> Result<()> {
    let server = http()?.started().await?;
    let address = server.port.address();
    attacked(&server, async {
        for (what, offence, expected) in offences {
            let bytes = format!("{POST}{offence}{HIDDEN}");
            let got = answers(&address, bytes.as_bytes()).await.context((*what).to_owned())?;
            ensure!(got == [*expected], "{what}: {got:?} was answered");
        }
        let old = POST.replace("HTTP/1.1", "HTTP/1.0");
        let got = answers(&address, format!("{old}{CHUNKED}0\r\n\r\n{HIDDEN}").as_bytes()).await?;
        ensure!(got == [400], "a coding over HTTP/1.0: {got:?} was answered");
        let mut peer = Raw::connect(&address).await?;
        peer.send(b"GET /marks HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
        peer.until(b"\r\n\r\n0").await.context("a hidden request was served")
    })
    .await
}

#[tokio::test]
async fn no_request_is_smuggled_in() -> Result<()> {
    let length = HIDDEN.len();
    no_request_hides_behind(&[
        (
            "a length, then chunked",
            format!("Content-Length: {}\r\n{CHUNKED}0\r\n\r\n", length + 5),
            400,
        ),
        (
            "chunked, then a length",
            format!(
                "Transfer-Encoding: chunked\r\nContent-Length: {}\r\n\r\n0\r\n\r\n",
                length + 5
            ),
            400,
        ),
        ("the same length twice", "Content-Length: 0\r\ncontent-length: 0\r\n\r\n".to_owned(), 400),
        ("a bare line feed", format!("X: a\nContent-Length: {length}\r\n\r\n"), 400),
        ("a bare line feed before a coding", format!("X: a\n{CHUNKED}0\r\n\r\n"), 400),
        ("a bare line feed as the last line", "X: a\r\n\n".to_owned(), 400),
        (
            "a line that begins with a tab",
            format!("X: a\r\n\tContent-Length: {length}\r\n\r\n"),
            400,
        ),
        ("a tab before a colon", format!("Content-Length\t: {length}\r\n\r\n"), 400),
        ("NUL in a value", format!("X: a\0\r\nContent-Length: {length}\r\n\r\n"), 400),
        (
            "a control character in a coding",
            "Transfer-Encoding: \x01chunked\r\n\r\n".to_owned(),
            400,
        ),
        ("a length of no ASCII", "Content-Length: \u{0661}\r\n\r\n".to_owned(), 400),
        ("two lengths", format!("Content-Length: 0\r\nContent-Length: {length}\r\n\r\n"), 400),
        ("a list of lengths", format!("Content-Length: 0, {length}\r\n\r\n"), 400),
        ("a length with a sign", "Content-Length: +0\r\n\r\n".to_owned(), 400),
        ("a folded line", format!("X: a\r\n Content-Length: {length}\r\n\r\n"), 400),
        ("a folded coding", "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n".to_owned(), 400),
        ("a coding that is none", "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n".to_owned(), 400),
        ("another coding", "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n".to_owned(), 501),
        ("chunked twice", format!("Transfer-Encoding: chunked\r\n{CHUNKED}0\r\n\r\n"), 400),
        ("a vertical tab", "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n".to_owned(), 400),
        ("space before a colon", "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n".to_owned(), 400),
        ("NUL in a name", "Content-Length\0: 0\r\n\r\n".to_owned(), 400),
        ("a line feed in a name", "Content-\nLength: 0\r\n\r\n".to_owned(), 400),
        ("a carriage return in a value", format!("X: a\rContent-Length: {length}\r\n\r\n"), 400),
    ])
    .await
}

#[tokio::test]
async fn no_request_is_smuggled_in_by_chunks() -> Result<()> {
    no_request_hides_behind(&[
        ("a space behind a size", format!("{CHUNKED}2 \r\nhi\r\n0\r\n\r\n"), 400),
        ("a space behind the last size", format!("{CHUNKED}2\r\nhi\r\n0 \r\n\r\n"), 400),
        ("a bare line feed behind the last size", format!("{CHUNKED}0\n\r\n"), 400),
        ("a bare line feed in a trailer", format!("{CHUNKED}0\r\nX: a\nY: b\r\n\r\n"), 400),
        ("a bare line feed behind the trailers", format!("{CHUNKED}0\r\nX: a\r\n\n"), 400),
        ("a chunk's size of 2^64", format!("{CHUNKED}10000000000000000\r\n\r\n0\r\n\r\n"), 400),
        (
            "a chunk's size of 2^64 and two",
            format!("{CHUNKED}10000000000000002\r\nhi\r\n0\r\n\r\n"),
            400,
        ),
        ("a chunk's size with a sign", format!("{CHUNKED}-1\r\n\r\n0\r\n\r\n"), 400),
        ("a chunk's size in another base", format!("{CHUNKED}0x2\r\nhi\r\n0\r\n\r\n"), 400),
        ("a chunk longer than it says", format!("{CHUNKED}2\r\nhiho\r\n0\r\n\r\n"), 400),
        ("a bare line feed behind a size", format!("{CHUNKED}2\nhi\r\n0\r\n\r\n"), 400),
        ("a bare line feed in an extension", format!("{CHUNKED}2;a\nxx\r\n0\r\n\r\n"), 400),
    ])
    .await
}

#[tokio::test]
async fn a_length_nobody_can_send_is_refused_unread() -> Result<()> {
    let server = http()?.started().await?;
    let address = server.port.address();
    let most = u64::MAX;
    attacked(&server, async {
        for (length, expected) in
            [("10485761", 413), ("9223372036854775808", 413), ("18446744073709551616", 400)]
        {
            let bytes = format!("{POST}Content-Length: {length}\r\n\r\n{HIDDEN}");
            assert_eq!(answers(&address, bytes.as_bytes()).await?, [expected], "{length}");
        }
        let bytes = format!("{POST}Content-Length: {most}\r\n\r\n{HIDDEN}");
        let got = answers(&address, bytes.as_bytes()).await?;
        // hyper has no room for this one number and calls it a head too large.
        ensure!(matches!(got[..], [413 | 431]), "{got:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn floods_of_pipelined_requests_meet_their_bounds() -> Result<()> {
    let server = http()?.knob("HTTP_ANSWER_MS", "600").started().await?;
    let address = server.port.address();
    let pages = GET.repeat(500);
    let large = b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(500);
    let bound = BOUND + CROWD as u64 * LARGE_BYTES;
    attacked_within(bound, &server, async {
        let mut peers = Vec::new();
        for number in 0..CROWD {
            let peer = Raw::connect(&address).await?;
            peers.push(peer.flood(if number % 5 == 0 { &pages } else { &large }));
        }
        // They never read: the server stops to read too, and drops them.
        within("those who flood to be dropped", join_all(peers)).await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_connection_has_so_many_requests_and_so_much_time_between() -> Result<()> {
    let server = http()?.knob("HTTP_REQUESTS", "100").knob("HTTP_IDLE_MS", "600").started().await?;
    let address = server.port.address();
    // Somebody innocent comes anew each time: here a connection does not last.
    let exchange = async || is_greeted(&mut Raw::connect(&address).await?).await;
    let attack = async {
        let all = GET.repeat(5000);
        let crowd = (0..CROWD).map(|_| answers(&address, &all));
        for got in try_join_all(crowd).await? {
            ensure!(got == [200; 100], "{} answers", got.len());
        }
        let idle = (0..CROWD).map(|_| answers(&address, GET));
        assert_eq!(try_join_all(idle).await?, vec![[200]; CROWD]);
        Ok(())
    };
    served_throughout(&server.program, "http/0", BOUND, exchange, attack).await
}

/// RFC 6455, 4.1 gives the request no body: what stands there would be taken for frames. Its head has the
/// rules of all heads.
#[tokio::test]
async fn an_upgrade_with_a_body_or_two_meanings_is_refused() -> Result<()> {
    let server = echo()?.started().await?;
    let address = server.port.address();
    let frame = frame(0x81, b"smuggled")?;
    let mut innocent = server.client().await?;
    let attack = async {
        for line in [
            format!("Content-Length: {}", frame.len()),
            "Transfer-Encoding: chunked".to_owned(),
            "Content-Length: 0\r\nContent-Length: 14".to_owned(),
            "Content-Length: +0".to_owned(),
            // What the request says can be read in two ways.
            "X: a\nY: b".to_owned(),
            "X: a\rY: b".to_owned(),
            "X: a\r\n b".to_owned(),
            "X : a".to_owned(),
            "X: a\0".to_owned(),
            "X\0: a".to_owned(),
            "X: a\r\n\nGET".to_owned(),
        ] {
            let head = format!(
                "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                 {line}\r\n\r\n"
            );
            let got = answers(&address, &[head.as_bytes(), &frame].concat()).await?;
            ensure!(got == [400], "{line}: {got:?} was answered");
        }
        Ok(())
    };
    let exchange = async || echoes(&mut innocent).await;
    served_throughout(&server.program, "echo/0", BOUND, exchange, attack).await
}
