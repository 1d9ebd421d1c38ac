//! What the table says of its connections, and what it does to all of them: sums, rows, waits.

use std::time::Duration;

use lineman_wire::text::Text;

use super::*;

fn echo() -> Serve<Text> {
    let handlers = Handlers {
        message: Some(messages(async |connection: Connection<Text>, line: String| {
            connection.send(line)
        })),
        ..Handlers::default()
    };
    Serve::peers(Text::default, Rc::new(handlers))
}

async fn greeted(address: SocketAddr) -> TcpStream {
    let mut peer = connect(address).await;
    say(&mut peer, "hello\n").await;
    hear(&mut peer, "hello\n").await;
    peer
}

/// A peer, an outgoing connection and a link, each with its other end at a listener outside the table.
struct Three {
    peer: TcpStream,
    outgoing: (TcpStream, Connection<Text>),
    link: (TcpStream, Connection<Text>),
}

impl Three {
    async fn open(table: &Table) -> Self {
        let peer = greeted(serve(table, echo())).await;
        let elsewhere = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = elsewhere.local_addr().expect("an address");
        let handler = || Rc::new(Handlers::default());
        let connect = async |serve: Serve<Text>| {
            let connection = table.connect(address, &Rc::new(serve)).expect("begun");
            let (stream, _) = elsewhere.accept().await.expect("connected");
            (stream, connection)
        };
        let outgoing = connect(Serve::outgoing(Text::default, handler())).await;
        let link = connect(Serve::links(Text::default, handler())).await;
        settle().await;
        assert!(outgoing.1.is_open() && link.1.is_open());
        assert_eq!(table.len(), 1, "peers alone count");
        Self { peer, outgoing, link }
    }
}

#[test]
fn close_all_tells_peers_and_servers_once_and_leaves_links() {
    with_table_and_paused_clock(async |table| {
        let mut three = Three::open(&table).await;
        assert_eq!(table.close_all(&CloseReason::GoingAway), 1);
        assert_eq!(table.close_all(&CloseReason::GoingAway), 0, "they are told already");
        assert_eq!(rest(&mut three.peer).await, b"");
        assert_eq!(rest(&mut three.outgoing.0).await, b"");
        drop((three.peer, three.outgoing));
        table.emptied().await;
        assert!(three.link.1.is_open());
        assert_eq!(table.rows(0, 9).0.len(), 1);
    });
}

#[test]
fn abort_all_drops_peers_and_servers_and_leaves_links() {
    with_table_and_paused_clock(async |table| {
        let mut three = Three::open(&table).await;
        assert_eq!(table.abort_all(), 1);
        assert_eq!(table.abort_all(), 0);
        assert!(table.is_empty() && !table.is_accepting());
        assert!(!three.outgoing.1.is_open() && three.link.1.is_open());
        assert_eq!(rest(&mut three.peer).await, b"");
        table.emptied().await;
    });
}

#[test]
fn the_table_is_empty_without_outgoing_connections_once_everything_is_closed() {
    with_table_and_paused_clock(async |table| {
        let three = Three::open(&table).await;
        drop(three.peer);
        table.emptied().await;
        assert!(three.outgoing.1.is_open(), "a drain does not wait for it");
        let begun = tokio::time::Instant::now();
        assert_eq!(table.close_all(&CloseReason::GoingAway), 0);
        table.emptied().await;
        assert!(begun.elapsed() >= Duration::from_secs(1), "it lingers for its server's end");
        assert!(!three.outgoing.1.is_open());
        drop(three.outgoing.0);
    });
}

#[test]
fn what_leaves_the_table_is_waited_for_on_links_too() {
    with_table_and_paused_clock(async |table| {
        let (mut stream, link) = Three::open(&table).await.link;
        link.send("x".repeat(MUCH)).expect("an empty queue takes any message");
        settle().await;
        assert!(link.is_full() && table.stats().queued_bytes > 0);
        let flushed = table.clone();
        let waits = tokio::task::spawn_local(async move { flushed.flushed().await });
        settle().await;
        assert!(!waits.is_finished());
        let mut got = vec![0; MUCH + 1];
        stream.read_exact(&mut got).await.expect("everything");
        waits.await.expect("it resolves");
        assert_eq!((link.queued_bytes(), table.stats().queued_bytes), (0, 0));
    });
}

/// More than the kernel's buffers and the send queue take.
const MUCH: usize = 32 * 1024 * 1024;

#[test]
fn the_end_of_a_link_ends_the_wait_for_what_it_had_to_send() {
    with_table_and_paused_clock(async |table| {
        let (_stream, link) = Three::open(&table).await.link;
        link.send("x".repeat(MUCH)).expect("an empty queue takes any message");
        let flushed = table.clone();
        let waits = tokio::task::spawn_local(async move { flushed.flushed().await });
        settle().await;
        assert!(!waits.is_finished());
        link.abort();
        waits.await.expect("it resolves");
    });
}

#[test]
fn sums_and_rows_say_what_went_over_each_connection() {
    with_table_and_paused_clock(async |table| {
        let address = serve(&table, echo());
        let (mut first, second) = (greeted(address).await, greeted(address).await);
        say(&mut first, "again\nbeg").await;
        hear(&mut first, "again\n").await;
        settle().await;
        let sums = table.stats();
        assert_eq!((sums.accepted, sums.connections, sums.queued_bytes), (2, 2, 0));
        assert_eq!((sums.messages_in, sums.messages_out), (3, 3));
        assert_eq!((sums.bytes_in, sums.bytes_out), (21, 18));
        let (rows, next) = table.rows(0, 9);
        assert_eq!((rows.len(), next), (2, None));
        let of = |row: &Row| (row.messages_in, row.messages_out, row.bytes_in, row.bytes_out);
        assert_eq!((of(&rows[0]), of(&rows[1])), ((2, 2, 15, 12), (1, 1, 6, 6)));
        assert_eq!((rows[0].receive_queue, rows[1].receive_queue), (3, 0));
        assert_eq!((rows[0].send_queue, rows[0].state.as_str()), (0, "open"));
        assert_eq!(rows[0].local, address.to_string());
        assert_eq!(rows[0].peer, first.local_addr().expect("an address").to_string());
        assert_eq!(rows[1].id, rows[0].id + 1, "numbers follow one another");
        // In slices of one row, each goes on where the last one stopped.
        let (one, next) = table.rows(0, 1);
        let (two, end) = table.rows(next.expect("one more"), 1);
        assert_eq!((&one[..], &two[..]), (&rows[..1], &rows[1..]));
        assert!(end.is_none_or(|end| table.rows(end, 1).0.is_empty()));
        drop((first, second));
        table.emptied().await;
        assert_eq!((table.stats().connections, table.rows(0, 9).0.len()), (0, 0));
    });
}

#[test]
fn what_sums_up_a_turn_is_sent_with_it_and_what_that_asks_for_behind_it() {
    with_table_and_paused_clock(async |table| {
        let log = Log::default();
        let (peer, connection) = Three::open(&table).await.link;
        connection.send("in the turn").expect("room");
        let (first, second, inner) = (log.clone(), log.clone(), table.clone());
        let at_first = connection.clone();
        table.before_flush(move || {
            first.add(format!("before: {}", at_first.queued_bytes()));
            inner
                .before_flush(move || second.add(format!("behind: {}", connection.queued_bytes())));
        });
        log.until("behind").await;
        assert_eq!(log.lines(), ["before: 12", "behind: 0"]);
        drop(peer);
    });
}

#[test]
fn the_process_is_on_its_way_out_and_never_back() {
    with_table(async |table| {
        assert!(table.is_accepting());
        table.reached(Shutdown::Serving).await;
        table.stop_accepting();
        assert!(!table.is_accepting());
        table.reached(Shutdown::Draining).await;
        table.close_all(&CloseReason::GoingAway);
        table.stop_accepting();
        table.reached(Shutdown::Closing).await;
    });
}

#[test]
fn the_pauses_of_an_episode_are_one() {
    with_table(async |table| {
        assert!(table.note_pause(Duration::MAX), "the first");
        assert!(!table.note_pause(Duration::MAX));
        assert!(table.note_pause(Duration::ZERO), "the last one is as long ago as that");
    });
}
