//! The bounds of a listener and the rates of a connection: who is refused, delayed, pinged, closed.

use std::time::Duration;

use super::*;

/// Serves lines: they are echoed, and what ended a connection is logged.
fn echo(table: &Table, log: &Log, limits: Limits) -> SocketAddr {
    serve(table, Serve::peers(Text::default, Rc::new(echoing(log))).limits(limits))
}

#[test]
fn a_full_listener_closes_newcomers_and_keeps_those_it_has() {
    with_table(async |table| {
        let limits = Limits { connections: 1, ..Limits::default() };
        let address = echo(&table, &Log::default(), limits);
        let mut first = connect(address).await;
        say(&mut first, "a\n").await;
        hear(&mut first, "a\n").await;
        assert_eq!(rest(&mut connect(address).await).await, b"");
        say(&mut first, "b\n").await;
        hear(&mut first, "b\n").await;
        assert_eq!(table.stats().limited_connections, 1);
        drop(first);
        table.emptied().await;
        let mut next = connect(address).await;
        say(&mut next, "c\n").await;
        hear(&mut next, "c\n").await;
    });
}

#[test]
fn one_address_has_its_share_and_no_more() {
    with_table(async |table| {
        let limits = Limits { connections_per_address: 1, ..Limits::default() };
        let address = echo(&table, &Log::default(), limits);
        let mut first = connect(address).await;
        say(&mut first, "a\n").await;
        hear(&mut first, "a\n").await;
        assert_eq!(rest(&mut connect(address).await).await, b"");
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind(([127, 0, 0, 9], 0).into()).expect("another address");
        let mut other = socket.connect(address).await.expect("connected");
        say(&mut other, "b\n").await;
        hear(&mut other, "b\n").await;
        assert_eq!(table.stats().limited_addresses, 1);
    });
}

#[test]
fn a_talkative_peer_is_delayed_and_loses_nothing() {
    with_table_and_paused_clock(async |table| {
        let rate = Some(Rate::per_second(2));
        let limits = Limits { message_rate: rate, ..Limits::default() };
        let address = echo(&table, &Log::default(), limits);
        let mut peer = connect(address).await;
        let begun = tokio::time::Instant::now();
        say(&mut peer, "1\n2\n3\n4\n5\n6\n").await;
        hear(&mut peer, "1\n2\n3\n4\n5\n6\n").await;
        // Two at once, then the third, fourth and fifth pay for those before them.
        assert!(begun.elapsed() >= Duration::from_millis(1500), "{:?}", begun.elapsed());
        assert!(table.stats().limited_messages >= 3);
    });
}

#[test]
fn bytes_have_a_rate_too() {
    with_table_and_paused_clock(async |table| {
        let limits = Limits { byte_rate: Some(Rate::per_second(1000)), ..Limits::default() };
        let address = echo(&table, &Log::default(), limits);
        let mut peer = connect(address).await;
        let begun = tokio::time::Instant::now();
        let line = format!("{}\n", "x".repeat(2999));
        say(&mut peer, &line).await;
        hear(&mut peer, &line).await;
        say(&mut peer, "y\n").await;
        hear(&mut peer, "y\n").await;
        assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
        assert_eq!(table.stats().limited_bytes, 2);
    });
}

#[test]
fn a_talkative_peer_is_closed_where_that_is_asked_for() {
    with_table(async |table| {
        let log = Log::default();
        let rate = Some(Rate::per_second(2));
        let excess = Excess::Close;
        let address =
            echo(&table, &log, Limits { message_rate: rate, excess, ..Limits::default() });
        let mut peer = connect(address).await;
        say(&mut peer, "1\n2\n3\n4\n").await;
        assert_eq!(rest(&mut peer).await, b"1\n2\n3\n");
        log.until("too many messages").await;
    });
}

#[test]
fn a_silent_peer_of_a_protocol_without_pings_is_closed() {
    with_table_and_paused_clock(async |table| {
        let log = Log::default();
        let heartbeat = Some(Duration::from_secs(30));
        let address = echo(&table, &log, Limits { heartbeat, ..Limits::default() });
        let mut peer = connect(address).await;
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_secs(25)).await;
            say(&mut peer, "a\n").await;
            hear(&mut peer, "a\n").await;
        }
        let silent = tokio::time::Instant::now();
        assert_eq!(rest(&mut peer).await, b"");
        assert!(silent.elapsed() <= Duration::from_mins(1), "{:?}", silent.elapsed());
        log.until("no answer to heartbeat").await;
        assert_eq!(table.stats().heartbeats_missed, 1);
    });
}

#[test]
fn a_websocket_is_pinged_and_closed_when_it_does_not_answer() {
    with_table_and_paused_clock(async |table| {
        let handlers = Handlers::<WebSocket>::default();
        let limits = Limits { heartbeat: Some(Duration::from_secs(30)), ..Limits::default() };
        let serve_it = Serve::peers(WebSocket::server, Rc::new(handlers)).limits(limits);
        let address = serve(&table, serve_it);
        let mut peer = connect(address).await;
        say(&mut peer, websockets::REQUEST).await;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(peer.read_u8().await.expect("an answer"));
        }
        hear(&mut peer, [0x89, 0]).await;
        say(&mut peer, [0x8a, 0x80, 0, 0, 0, 0]).await;
        hear(&mut peer, [0x89, 0]).await;
        let close = rest(&mut peer).await;
        assert_eq!(close.get(..4), Some(&[0x88, 24, 0x03, 0xe9][..]), "{close:?}");
    });
}

#[test]
fn a_silence_is_counted_from_the_end_of_a_handler_that_was_waited_for() {
    with_table_and_paused_clock(async |table| {
        let log = Log::default();
        let limits = Limits { heartbeat: Some(Duration::from_secs(30)), ..Limits::default() };
        let handlers = Handlers {
            message: Some(messages(async |connection: Connection<Text>, line: String| {
                tokio::time::sleep(Duration::from_secs(line.parse().expect("seconds"))).await;
                connection.send(line)
            })),
            ..echoing(&log)
        };
        let address = serve(&table, Serve::peers(Text::default, Rc::new(handlers)).limits(limits));
        // The handler is done right before the next beat.
        for waits in [29, 58, 59, 89, 119] {
            let mut peer = connect(address).await;
            say(&mut peer, format!("{waits}\n")).await;
            hear(&mut peer, format!("{waits}\n")).await;
            let answered = tokio::time::Instant::now();
            rest(&mut peer).await;
            let silence = answered.elapsed();
            assert!(silence >= Duration::from_secs(29), "{waits} s, then cut after {silence:?}");
            drop(peer);
            table.emptied().await;
        }
    });
}
