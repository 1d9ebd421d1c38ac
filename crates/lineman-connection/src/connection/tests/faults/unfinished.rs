//! A message that has begun may take its time while it gets longer; one that does not ends, and so does a
//! record of TLS.

use super::*;
use crate::connection::tests::tls::secure;
use crate::tls::tests::Files;
use lineman_wire::websocket::encode_ping;

/// Time without a byte of a message.
const STALL: Duration = Duration::from_secs(1);

fn limits() -> Limits {
    Limits { message_time: STALL, ..Limits::default() }
}

/// Says the same again and again, each half of the stall, until the handler hears of the end; checks
/// when that is, and why.
async fn trickle(log: &Log, peer: &mut TcpStream, bytes: &[u8]) {
    let begun = Instant::now();
    let end = format!("end: {}", CloseReason::MessageTimeout);
    while log.lines().last() != Some(&end) {
        assert!(begun.elapsed() < STALL * 3, "{:?}", log.lines());
        tokio::time::sleep(STALL / 2).await;
        peer.write_all(bytes).await.unwrap_or_default();
    }
    assert!(begun.elapsed() >= STALL, "{:?}", begun.elapsed());
}

#[test]
fn a_slow_upload_that_flows_arrives() {
    paused(async |table| {
        let mut line = Line::with_limits(&table, limits()).await;
        for _ in 0..100 {
            say(&mut line.peer, [b'x'; 1000]).await;
            tokio::time::sleep(STALL / 2).await;
        }
        say(&mut line.peer, "\n").await;
        hear(&mut line.peer, "x".repeat(100_000) + "\n").await;
    });
}

#[test]
fn a_line_that_trickles_ends() {
    paused(async |table| {
        let mut line = Line::with_limits(&table, limits()).await;
        trickle(&line.log, &mut line.peer, b"x").await;
        // Any pace is good enough where that is set, and standing still is not.
        let any = Limits { least_rate: 0, ..limits() };
        let mut line = Line::with_limits(&table, any).await;
        for _ in 0..50 {
            say(&mut line.peer, "x").await;
            tokio::time::sleep(STALL / 2).await;
        }
        assert!(line.connection.is_open());
        line.log.until("end:").await;
    });
}

/// A WebSocket that has begun a message of two frames.
async fn fragment(table: &Table, log: &Log) -> TcpStream {
    let closed = log.clone();
    let handlers = Handlers {
        close: Some(boxed_with(async move |_: Connection<WebSocket>, reason: CloseReason| {
            closed.add(format!("end: {reason}"));
            Ok(())
        })),
        ..Handlers::default()
    };
    let serve_it = Serve::peers(WebSocket::server, Rc::new(handlers)).limits(limits());
    let mut peer = connect(serve(table, serve_it)).await;
    say(&mut peer, websockets::REQUEST).await;
    say(&mut peer, [&[0x01, 0xb2, 0, 0, 0, 0][..], &[b'x'; 50]].concat()).await;
    peer
}

#[test]
fn pings_and_empty_frames_make_a_message_no_longer() {
    paused(async |table| {
        let mut ping = BytesMut::new();
        encode_ping(&[b'p'; 125], Some([0; 4]), &mut ping).expect("short");
        let empty = [0x00, 0x80, 0, 0, 0, 0].repeat(200);
        for bytes in [ping.repeat(10), empty] {
            let log = Log::default();
            let mut peer = fragment(&table, &log).await;
            trickle(&log, &mut peer, &bytes).await;
        }
    });
}

#[test]
fn half_a_record_of_tls_has_a_deadline() {
    paused(async |table| {
        let files = Files::new();
        let front = Front { tls: Some(files.tls("server")), limits: limits(), ..Front::default() };
        let (log, kept) = (Log::default(), Rc::default());
        let serve_it = Serve::peers(Text::default, noting(&log, &kept)).front(front);
        let mut peer = secure(connect(serve(&table, serve_it)).await, &files).await;
        peer.write_all(b"a whole line\n").await.expect("written");
        peer.flush().await.expect("sent");
        log.until("a whole line").await;
        tokio::time::sleep(STALL * 10).await;
        assert_eq!(table.len(), 1, "between two records there is no deadline");
        let mut socket = peer.into_parts().io;
        // It announces a hundred bytes.
        say(&mut socket, [0x17, 3, 3, 0, 100, 1, 2, 3]).await;
        trickle(&log, &mut socket, b"").await;
    });
}
