//! What a handle answers in each state of its connection, at its bounds, and after its end.

use std::time::Duration;

use lineman_wire::text::Text;

use super::*;
use crate::websocket::ClientRequest;

/// Both ends of a connection with a send queue of so many bytes, and what its handlers log.
async fn line(table: &Table, send_queue: usize) -> (TcpStream, Connection<Text>, Log) {
    let (log, kept) = (Log::default(), Rc::new(RefCell::new(None)));
    let (full, drained, closed) = (log.clone(), log.clone(), log.clone());
    let keep = Rc::clone(&kept);
    let handlers = Handlers {
        connect: Some(boxed(async move |connection: Connection<Text>| {
            keep.replace(Some(connection));
            Ok(())
        })),
        full: Some(Box::new(move |_| full.add("full"))),
        drain: Some(Box::new(move |_| drained.add("drained"))),
        close: Some(boxed_with(async move |_: Connection<Text>, reason: CloseReason| {
            closed.add(format!("end: {reason}"));
            Ok(())
        })),
        ..Handlers::default()
    };
    let limits = Limits { send_queue, ..Limits::default() };
    let serve_it = Serve::peers(Text::default, Rc::new(handlers)).limits(limits);
    let peer = connect(serve(table, serve_it)).await;
    settle().await;
    let connection = kept.take().expect("it is open");
    (peer, connection, log)
}

fn refusal(result: crate::Result) -> SendError {
    let error = result.expect_err("refused");
    *error.downcast_ref().expect("a reason")
}

#[test]
fn a_queue_is_full_at_its_bound_and_not_a_byte_before() {
    with_table_and_paused_clock(async |table| {
        // More than the kernel takes of a peer that does not read.
        let (bound, block) = (20_000_000, "z".repeat(16_000_000));
        let (mut peer, connection, log) = line(&table, bound).await;
        connection.send(block.clone()).expect("room");
        settle().await;
        let rest = "y".repeat(bound - connection.queued_bytes() - 2);
        connection.send(rest.clone()).expect("room");
        assert_eq!((connection.queued_bytes(), connection.is_full()), (bound - 1, false));
        assert_eq!(log.lines(), Vec::<String>::new());
        connection.send_encoded(Bytes::from_static(b"\n")).expect("room for one");
        assert_eq!((connection.queued_bytes(), connection.is_full()), (bound, true));
        assert_eq!(log.lines(), ["full"]);
        assert_eq!(refusal(connection.send("x")), SendError::Full);
        assert_eq!(connection.send_encoded(Bytes::from_static(b"x")), Err(SendError::Full));
        connection.push("behind the bound").expect("it is taken all the same");
        assert_eq!(connection.counters().messages_out, 4, "what was refused does not count");
        let all = format!("{block}\n{rest}\n\nbehind the bound\n");
        let length = all.len() as u64;
        hear(&mut peer, all).await;
        settle().await;
        assert_eq!((connection.queued_bytes(), connection.is_full()), (0, false));
        assert_eq!(log.lines(), ["full", "drained"], "each is said once");
        let (of_one, of_all) = (connection.counters(), table.stats());
        assert_eq!((of_one.messages_out, of_one.bytes_out), (4, length));
        assert_eq!((of_all.messages_out, of_all.bytes_out, of_all.refused), (4, length, 2));
    });
}

#[test]
fn a_handle_outlives_its_connection() {
    with_table_and_paused_clock(async |table| {
        let (mut peer, connection, log) = line(&table, 1024).await;
        let (own, theirs) = (peer.peer_addr(), peer.local_addr());
        assert_eq!(connection.local_addr(), own.ok().map(Into::into));
        assert_eq!(Some(connection.peer_addr()), theirs.ok().map(Into::into));
        assert!(connection.is_open() && connection.tls().is_none());
        let peer_addr = connection.peer_addr();
        connection.send("lost").expect("room");
        connection.abort();
        assert!(!connection.is_open() && table.is_empty());
        assert_eq!((connection.queued_bytes(), connection.local_addr()), (0, None));
        assert_eq!((connection.peer_addr(), connection.tls().is_none()), (peer_addr, true));
        assert_eq!(refusal(connection.send("late")), SendError::Closed);
        connection.close(CloseReason::GoingAway);
        connection.end();
        connection.pause();
        connection.resume();
        settle().await;
        assert_eq!(rest(&mut peer).await, b"");
        assert_eq!(log.lines(), ["end: closed by us"]);
    });
}

#[test]
fn nothing_is_sent_behind_an_end_or_a_farewell() {
    with_table_and_paused_clock(async |table| {
        let (mut peer, connection, _) = line(&table, 1024).await;
        connection.close_with("bye").expect("room");
        assert!(!connection.is_open());
        assert_eq!(refusal(connection.send("late")), SendError::Closed);
        assert_eq!(refusal(connection.close_with("later")), SendError::Closed);
        assert_eq!(rest(&mut peer).await, b"bye\n");
        let (mut peer, connection, _) = line(&table, 1024).await;
        connection.end();
        assert!(connection.is_open(), "the peer's side goes on");
        assert_eq!(refusal(connection.push("late")), SendError::Closed);
        assert_eq!(rest(&mut peer).await, b"");
    });
}

#[test]
fn before_it_is_open_a_connection_takes_messages_only_without_a_handshake() {
    with_table_and_paused_clock(async |table| {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let plain = Serve::outgoing(Text::default, Rc::new(Handlers::default()));
        let plain = table.connect(address, &Rc::new(plain)).expect("begun");
        assert!(!plain.is_open());
        plain.send("early").expect("it waits for the socket");
        let (mut peer, _) = listener.accept().await.expect("connected");
        hear(&mut peer, "early\n").await;

        let make = WebSocket::client(ClientRequest::new("silent", "/")).expect("a good request");
        let shaking = Serve::outgoing(make, Rc::new(Handlers::default()));
        let shaking = table.connect(address, &Rc::new(shaking)).expect("begun");
        assert_eq!(refusal(shaking.send("early")), SendError::NotOpen);
        let _peer = listener.accept().await.expect("connected");
        settle().await;
        assert_eq!(refusal(shaking.send("in the handshake")), SendError::NotOpen);
    });
}

#[test]
fn data_is_out_while_it_is_used_and_what_is_set_meanwhile_stays() {
    with_table_and_paused_clock(async |table| {
        let (_peer, connection, _) = line(&table, 1024).await;
        assert_eq!(connection.with_data(|data: &mut u8| *data), None);
        connection.set_data(1_u8);
        let within = connection.with_data(|data: &mut u8| {
            assert_eq!(connection.with_data(|_: &mut u8| ()), None, "it is in use");
            *data += 1;
            *data
        });
        assert_eq!((within, connection.with_data(|data: &mut u8| *data)), (Some(2), Some(2)));
        connection.with_data(|_: &mut u8| connection.set_data("new"));
        assert_eq!(connection.with_data(|data: &mut &str| *data), Some("new"));
    });
}

#[test]
fn a_pause_is_told_and_ends_the_time_of_a_message() {
    with_table_and_paused_clock(async |table| {
        let (mut peer, connection, log) = line(&table, 1024).await;
        say(&mut peer, "begun").await;
        settle().await;
        connection.pause();
        tokio::time::sleep(Duration::from_mins(2)).await;
        assert!(connection.is_paused() && connection.is_open());
        connection.resume();
        assert!(!connection.is_paused());
        let resumed = tokio::time::Instant::now();
        table.emptied().await;
        let (took, least) = (resumed.elapsed(), Limits::default().message_time);
        assert!(took >= least && took < least + Duration::from_secs(3), "{took:?}");
        assert_eq!(log.until("end").await, format!("end: {}", CloseReason::MessageTimeout));
    });
}
