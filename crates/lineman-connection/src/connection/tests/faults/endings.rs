//! What was sent before an end arrives while the peer takes it, and the handler does not wait for that.

use super::*;
use crate::connection::tests::tls::secure;
use crate::tls::tests::Files;
use lineman_wire::websocket::{Message, encode_message, encode_ping};

/// More than the kernel's buffers take, and at 100 kB a second far more than 2 s.
const MUCH: usize = 4_000_000;

const MASK: Option<[u8; 4]> = Some([1, 2, 3, 4]);

/// What the client says, and how the server ends: the code that the client is told.
const ENDS: &[(&str, u16)] = &[
    ("close", 1000),
    ("close with", 1000),
    ("code", 4001),
    ("error", 1011),
    ("panic", 1011),
    ("\u{1}protocol", 1007),
    ("\u{1}stop", 1001),
];

/// Handlers of a server that sends much to each client and ends as it is asked to.
fn generous(log: &Log) -> Handlers<WebSocket> {
    let closed = log.clone();
    Handlers {
        message: Some(messages(async |connection: Connection<WebSocket>, message: Message| {
            connection.send("y".repeat(MUCH))?;
            match message.as_text() {
                Some("close") => connection.close(CloseReason::Local),
                Some("close with") => connection.close_with(Message::from("bye"))?,
                Some("code") => connection.close_with_code(4001, ""),
                Some("error") => return Err("a handler's error".into()),
                Some("panic") => std::panic::panic_any("a handler's mistake"),
                _ => {}
            }
            Ok(())
        })),
        close: Some(boxed_with(async move |_: Connection<WebSocket>, reason: CloseReason| {
            closed.add(format!("end: {reason}"));
            Ok(())
        })),
        ..Handlers::default()
    }
}

fn frame(text: &str) -> BytesMut {
    let mut bytes = BytesMut::new();
    encode_message(&Message::from(text), MASK, &mut bytes);
    bytes
}

/// Reads so much each second, with a ping before; returns everything until the end.
async fn read_slowly<S>(stream: &mut S, each_second: usize) -> Vec<u8>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let (mut got, mut buffer) = (Vec::new(), vec![0; each_second]);
    let mut ping = BytesMut::new();
    encode_ping(b"still here", MASK, &mut ping).expect("short");
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        // Once the server has ended its side, a client need not speak any more.
        let count = stream.read(&mut buffer).await.expect("no reset");
        if count == 0 {
            return got;
        }
        got.extend_from_slice(&buffer[..count]);
        stream.write_all(&ping).await.expect("the server is still there");
        stream.flush().await.expect("the server is still there");
    }
}

/// Returns the last frame: a close with its code.
fn told(got: &[u8]) -> u16 {
    let start = got.iter().rposition(|&byte| byte == 0x88).expect("a close frame");
    u16::from_be_bytes([got[start + 2], got[start + 3]])
}

#[test]
fn what_was_sent_before_any_end_arrives_at_a_slow_reader() {
    for &(asked, code) in ENDS {
        paused(async |table| {
            let log = Log::default();
            let serve_it = Serve::peers(WebSocket::server, Rc::new(generous(&log)));
            let mut peer = connect(serve(&table, serve_it)).await;
            say(&mut peer, websockets::REQUEST).await;
            say(&mut peer, frame(asked)).await;
            settle().await;
            match asked {
                "\u{1}protocol" => say(&mut peer, b"\x81\x82\0\0\0\0\xc3\x28").await,
                "\u{1}stop" => assert_eq!(table.close_all(&CloseReason::GoingAway), 1),
                _ => {}
            }
            let begun = Instant::now();
            log.until("end:").await;
            let told_after = begun.elapsed();
            assert!(told_after <= Duration::from_secs(3), "{asked}: {told_after:?}");
            let got = read_slowly(&mut peer, 100_000).await;
            assert!(begun.elapsed() > Duration::from_secs(20), "it was slow");
            assert!(got.len() > MUCH, "{asked}: {} bytes", got.len());
            assert_eq!(told(&got), code, "{asked}");
            drop(peer);
            table.emptied().await;
            assert_eq!(log.lines().len(), 1, "{asked}: {:?}", log.lines());
        });
    }
}

#[test]
fn what_was_sent_before_an_end_arrives_over_tls_too() {
    paused(async |table| {
        let (files, log) = (Files::new(), Log::default());
        let front = Front { tls: Some(files.tls("server")), ..Front::default() };
        let serve_it = Serve::peers(WebSocket::server, Rc::new(generous(&log))).front(front);
        let mut peer = secure(connect(serve(&table, serve_it)).await, &files).await;
        peer.write_all(websockets::REQUEST.as_bytes()).await.expect("written");
        peer.write_all(&frame("close")).await.expect("written");
        peer.flush().await.expect("sent");
        let got = read_slowly(&mut peer, 100_000).await;
        assert!(got.len() > MUCH, "{} bytes", got.len());
        assert_eq!(told(&got), 1000);
    });
}

/// Lines, and a peer that has asked for much to be sent before the end.
async fn ended(table: &Table, limits: Limits, size: usize) -> Line {
    let line = Line::with_limits(table, limits).await;
    line.connection.send("y".repeat(size)).expect("room");
    line.connection.close(CloseReason::Local);
    settle().await;
    assert_eq!(line.log.lines(), ["end: closed by us"], "at once");
    line
}

/// One whose peer's kernel takes little ahead of the peer.
async fn narrow(table: &Table) -> Line {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(8192).expect("an option");
    let (log, kept) = (Log::default(), Rc::default());
    let address = serve(table, Serve::peers(Text::default, noting(&log, &kept)));
    let peer = socket.connect(address).await.expect("connected");
    settle().await;
    Line { peer, connection: kept.take().expect("a connection"), log }
}

#[test]
fn what_is_with_the_kernel_is_not_cut_off_by_a_reset() {
    paused(async |table| {
        let Line { mut peer, connection, .. } = narrow(&table).await;
        connection.close_with("y".repeat(50_000)).expect("room");
        settle().await;
        assert_eq!(connection.queued_bytes(), 0, "the kernel has all of it");
        assert_eq!(read_slowly(&mut peer, 5_000).await.len(), 50_001);
    });
}

#[test]
fn a_peer_that_takes_nothing_or_next_to_nothing_is_dropped() {
    paused(async |table| {
        let send_stall = Duration::from_secs(30);
        let limits = Limits { send_stall, least_rate: 10_000, ..Limits::default() };
        let begun = Instant::now();
        let line = ended(&table, limits.clone(), MUCH).await;
        table.emptied().await;
        let took = begun.elapsed();
        assert!(took >= send_stall && took < send_stall * 2, "{took:?}");
        assert_eq!(table.stats().ends_cut, 1);
        drop(line);

        let begun = Instant::now();
        let mut line = ended(&table, limits, 2 * MUCH).await;
        let mut buffer = vec![0; 1000];
        while !table.is_empty() {
            tokio::time::sleep(Duration::from_secs(1)).await;
            line.peer.read_exact(&mut buffer).await.expect("some of it");
        }
        let took = begun.elapsed();
        assert!(took >= send_stall && took < send_stall * 20, "{took:?}");
        assert_eq!(table.stats().ends_cut, 2);
    });
}

#[test]
fn the_peers_time_after_a_half_close_begins_when_it_has_everything() {
    paused(async |table| {
        let mut line = narrow(&table).await;
        line.connection.send("y".repeat(50_000)).expect("room");
        line.connection.end();
        let mut got = 0;
        let mut buffer = vec![0; 5_000];
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            match line.peer.read(&mut buffer).await.expect("no reset") {
                0 => break,
                count => got += count,
            }
        }
        assert_eq!(got, 50_001);
        say(&mut line.peer, "the last word\n").await;
        line.log.until("the last word").await;
    });
}

#[test]
fn what_was_sent_before_it_is_connected_arrives_though_it_is_closed() {
    paused(async |table| {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (log, kept) = (Log::default(), Rc::default());
        let serve_it = Serve::outgoing(Text::default, noting(&log, &kept));
        let connection = table.connect(address, &Rc::new(serve_it)).expect("begun");
        connection.send("early").expect("it waits for the socket");
        connection.close(CloseReason::Local);
        let late = connection.send("late").expect_err("closed");
        assert_eq!(late.downcast_ref(), Some(&SendError::Closed));
        let (mut peer, _) = listener.accept().await.expect("connected");
        assert_eq!(rest(&mut peer).await, b"early\n");
        drop(peer);
        table.emptied().await;
        assert_eq!((log.lines(), kept.take().is_none()), (vec!["end: closed by us".into()], true));
    });
}

#[test]
fn one_that_never_connects_is_gone_in_the_time_it_has_for_that() {
    paused(async |table| {
        let (address, _full) = crate::outgoing::black_hole();
        let log = Log::default();
        let serve_it = Serve::outgoing(Text::default, noting(&log, &Rc::default()));
        let connection = table.connect(address, &Rc::new(serve_it)).expect("begun");
        connection.send("early").expect("it waits for the socket");
        connection.close(CloseReason::Local);
        for (seconds, cut) in [(9, 0), (2, 1)] {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            assert_eq!((log.lines().len(), table.stats().ends_cut), (1, cut));
        }
        log.until("end: closed by us").await;
    });
}

/// A connection that has begun TLS, and has sent something and closed before that is up.
async fn closed_before_tls(table: &Table, files: &Files) -> Line {
    let front = Front { tls_on_demand: Some(files.tls("server")), ..Front::default() };
    let line = Line::open(table, front).await;
    line.connection.start_tls().expect("it has the files");
    settle().await;
    line.connection.send("late").expect("it waits for TLS");
    line.connection.close(CloseReason::Local);
    settle().await;
    assert_eq!(line.log.lines(), ["end: closed by us"], "at once");
    line
}

#[test]
fn what_was_sent_before_tls_is_up_arrives_though_it_is_closed() {
    paused(async |table| {
        let files = Files::new();
        let Line { peer, .. } = closed_before_tls(&table, &files).await;
        let mut client = secure(peer, &files).await;
        let mut got = Vec::new();
        client.read_to_end(&mut got).await.expect("an orderly end");
        assert_eq!(got, b"late\n");
        drop(client);
        table.emptied().await;
        assert_eq!(table.stats().ends_cut, 0);
    });
}

#[test]
fn what_waits_for_tls_is_given_up_with_it() {
    for (said, most) in [("", 11), ("no TLS", 2)] {
        paused(async |table| {
            let files = Files::new();
            let mut line = closed_before_tls(&table, &files).await;
            let begun = Instant::now();
            say(&mut line.peer, said).await;
            table.emptied().await;
            assert!(begun.elapsed() < Duration::from_secs(most), "{:?}", begun.elapsed());
            assert_eq!(table.stats().ends_cut, 1);
        });
    }
    // One that ends its side has no use for it either.
    paused(async |table| {
        let files = Files::new();
        let mut line = closed_before_tls(&table, &files).await;
        let begun = Instant::now();
        line.peer.shutdown().await.expect("half closed");
        table.emptied().await;
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    });
}

#[test]
fn a_peer_has_to_take_what_was_sent_before_a_half_close() {
    paused(async |table| {
        let limits = Limits { send_stall: Duration::from_secs(30), ..Limits::default() };
        for takes in [0_usize, 200_000] {
            let cut = table.stats().ends_cut;
            let mut line = Line::with_limits(&table, limits.clone()).await;
            line.connection.send("y".repeat(MUCH)).expect("room");
            line.connection.end();
            let begun = Instant::now();
            let (mut got, mut buffer) = (0, vec![0; takes]);
            while takes > 0 && got < MUCH + 1 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                got += line.peer.read(&mut buffer).await.expect("some of it");
            }
            // The paused clock leaps over the time that TCP may take to say that it came.
            let _peer = (takes == 0).then_some(line.peer);
            table.emptied().await;
            let (took, stall) = (begun.elapsed(), Duration::from_secs(30));
            assert!(takes > 0 || (stall..stall * 2).contains(&took), "{took:?}");
            assert_eq!(table.stats().ends_cut - cut, u64::from(takes == 0));
        }
    });
}
