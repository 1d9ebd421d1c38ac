//! The budget of the process: what counts for it, and what happens as it fills.

use std::time::Duration;

use lineman_wire::websocket::frame::{Header, Opcode};

use super::*;

const KIBI: usize = 1024;

/// Serves lines, echoed.
fn lines(table: &Table, log: &Log) -> SocketAddr {
    serve(table, Serve::peers(Text::default, Rc::new(echoing(log))))
}

/// Waits until the table has read everything: the sum stays the same.
async fn held(table: &Table) -> u64 {
    for _ in 0..50 {
        settle().await;
    }
    table.stats().held_bytes
}

/// Begins a frame of 10 MB, and sends that much of it.
fn begun(size: usize) -> Vec<u8> {
    let mut frame = BytesMut::new();
    let (opcode, mask) = (Opcode::Binary, Some([0; 4]));
    Header { last: true, reserved: 0, opcode, mask, length: 10_000_000 }.encode(&mut frame);
    frame.extend_from_slice(&vec![7; size]);
    frame.to_vec()
}

async fn websocket(address: SocketAddr) -> TcpStream {
    let mut peer = connect(address).await;
    say(&mut peer, websockets::REQUEST).await;
    head(&mut peer).await;
    peer
}

/// Reads an answer's head.
async fn head(peer: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(peer.read_u8().await.expect("an answer"));
    }
    String::from_utf8_lossy(&head).into_owned()
}

fn websockets_at(table: &Table, log: &Log) -> SocketAddr {
    let closed = log.clone();
    let handlers = Handlers::<WebSocket> {
        close: Some(boxed_with(async move |_, reason: CloseReason| {
            closed.add(reason.to_string());
            Ok(())
        })),
        ..Handlers::default()
    };
    serve(table, Serve::peers(WebSocket::server, Rc::new(handlers)))
}

#[test]
fn the_largest_is_not_read_at_half_and_goes_on_when_it_is_calm() {
    with_table_and_paused_clock(async |table| {
        // What came lies in buffers that have doubled: 512 KiB and 256 KiB.
        table.set_budget(1200 * KIBI);
        let address = lines(&table, &Log::default());
        let (mut large, mut small) = (connect(address).await, connect(address).await);
        say(&mut large, vec![b'l'; 300 * KIBI]).await;
        assert!(held(&table).await >= 300 * KIBI as u64);
        assert_eq!(table.stats().budget_held, 0);
        say(&mut small, vec![b's'; 120 * KIBI]).await;
        let before = held(&table).await;
        assert_eq!(table.stats().budget_held, 1);
        // The large one's end is not read, so its message does not end.
        say(&mut large, "\n").await;
        assert_eq!(held(&table).await, before);
        say(&mut small, "\n").await;
        hear(&mut small, [&vec![b's'; 120 * KIBI][..], b"\n"].concat()).await;
        hear(&mut large, [&vec![b'l'; 300 * KIBI][..], b"\n"].concat()).await;
        assert_eq!(held(&table).await, 0);
        assert_eq!((table.stats().budget_refused, table.stats().budget_closed), (0, 0));
    });
}

#[test]
fn one_that_is_not_read_keeps_the_deadline_of_its_message() {
    with_table_and_paused_clock(async |table| {
        table.set_budget(400 * KIBI);
        let log = Log::default();
        let address = lines(&table, &log);
        let mut peer = connect(address).await;
        say(&mut peer, vec![b'l'; 220 * KIBI]).await;
        assert_eq!(log.until("the server").await, "the server holds too much");
        assert_eq!((held(&table).await, table.stats().budget_held), (0, 1));
    });
}

#[test]
fn new_ones_are_refused_at_three_quarters_and_those_inside_go_on() {
    with_table_and_paused_clock(async |table| {
        let log = Log::default();
        let (lines, websockets) = (lines(&table, &log), websockets_at(&table, &log));
        let mut inside = connect(lines).await;
        let mut large = websocket(websockets).await;
        table.set_budget(320 * KIBI);
        say(&mut large, begun(270 * KIBI)).await;
        held(&table).await;
        assert_eq!(rest(&mut connect(lines).await).await, b"");
        let mut late = connect(websockets).await;
        say(&mut late, websockets::REQUEST).await;
        let answer = head(&mut late).await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert_eq!(table.stats().budget_refused, 2);
        say(&mut inside, "a\n").await;
        hear(&mut inside, "a\n").await;
        // It stays so for five seconds; then the largest makes room.
        assert_eq!(log.until("the server").await, "the server holds too much");
        assert_eq!(table.stats().budget_closed, 1);
        let mut next = connect(lines).await;
        say(&mut next, "b\n").await;
        hear(&mut next, "b\n").await;
    });
}

#[test]
fn the_largest_is_closed_with_1013_when_it_is_used_up() {
    with_table_and_paused_clock(async |table| {
        let log = Log::default();
        let address = websockets_at(&table, &log);
        table.set_budget(400 * KIBI);
        let mut large = websocket(address).await;
        let mut others = Vec::new();
        for _ in 0..3 {
            others.push(websocket(address).await);
        }
        // It is held; it would not grow to the end of the budget by itself.
        say(&mut large, begun(190 * KIBI)).await;
        held(&table).await;
        for other in &mut others {
            say(other, begun(60 * KIBI)).await;
            held(&table).await;
        }
        let close = rest(&mut large).await;
        assert_eq!(close.get(2..4), Some(&1013_u16.to_be_bytes()[..]), "{close:?}");
        log.until("the server holds too much").await;
        assert_eq!(table.stats().budget_closed, 1);
        drop(others);
    });
}

#[test]
fn a_queue_counts_and_a_payload_of_many_counts_once() {
    with_table_and_paused_clock(async |table| {
        let kept = Rc::new(RefCell::new(Vec::new()));
        let keep = Rc::clone(&kept);
        let handlers = Handlers::<Text> {
            connect: Some(boxed(async move |connection: Connection<Text>| {
                keep.borrow_mut().push(connection);
                Ok(())
            })),
            ..Handlers::default()
        };
        let limits = Limits { send_queue: 64 * KIBI * KIBI, ..Limits::default() };
        let serve_it = Serve::peers(Text::default, Rc::new(handlers)).limits(limits);
        let address = serve(&table, serve_it);
        let peers = [connect(address).await, connect(address).await, connect(address).await];
        settle().await;
        let payload = Bytes::from(vec![7; 10_000_000]);
        for connection in kept.borrow().iter() {
            connection.send_encoded(payload.clone()).expect("room");
        }
        let shared = held(&table).await;
        assert!((10_000_000..11_000_000).contains(&shared), "{shared}");
        for connection in kept.borrow().iter() {
            connection.send("x".repeat(1_000_000)).expect("room");
        }
        let all = held(&table).await;
        assert!((13_000_000..14_000_000).contains(&all), "{all}");
        // Used up, nothing is added to what waits; the largest have been closed for it.
        table.set_budget(12_000_000);
        let sent = kept.borrow()[0].send("x");
        let full = sent.expect_err("no room").downcast_ref().copied();
        assert_eq!(full, Some(SendError::Full));
        kept.borrow()[0].send("y").expect_err("no room");
        table.before_flush(|| {});
        held(&table).await;
        assert!(table.stats().budget_closed > 0);
        drop(peers);
        kept.borrow_mut().clear();
        assert_eq!(held(&table).await, 0);
    });
}

#[test]
fn a_message_counts_while_its_handler_waits() {
    with_table_and_paused_clock(async |table| {
        let log = Log::default();
        let begun = log.clone();
        let handlers = Handlers::<Text> {
            message: Some(messages(async move |_: Connection<Text>, _: String| {
                begun.add("begun");
                tokio::time::sleep(Duration::from_secs(30)).await;
                begun.add("done");
                Ok(())
            })),
            ..Handlers::default()
        };
        let address = serve(&table, Serve::peers(Text::default, Rc::new(handlers)));
        let mut peer = connect(address).await;
        say(&mut peer, [&vec![b'x'; 200 * KIBI][..], b"\n"].concat()).await;
        log.until("begun").await;
        assert!(held(&table).await >= 200 * KIBI as u64);
        log.until("done").await;
        assert_eq!(held(&table).await, 0);
    });
}

#[test]
fn a_few_bytes_do_not_keep_a_read_buffer() {
    with_table_and_paused_clock(async |table| {
        let address = lines(&table, &Log::default());
        let mut peer = connect(address).await;
        for _ in 0..5 {
            say(&mut peer, "x").await;
            let held = held(&table).await;
            assert!(held > 0 && held < 1000, "{held}");
        }
    });
}
