//! A connection is written down in every state, or says why it cannot be; one that was written down and
//! read back goes on as if nothing had happened, wherever the bytes were cut.

use lineman_wire::framed::Framed;
use lineman_wire::raw::Raw;
use lineman_wire::text::Text;

use super::*;
use crate::connection::entry::Entry;
use crate::connection::handover::Movable;
use crate::connection::life::State;
use crate::connection::record::Record;
use crate::connection::stream::Stream as Socket;
use crate::connection::transit::Transit;
use crate::connection::{Admission, CannotMove};
use crate::tls::tests::Files;

/// Accepts one connection as a listener of `serve` would.
pub(super) async fn accepted<D: Driver>(
    table: &Table,
    serve: &Rc<Serve<D>>,
) -> (TcpStream, Connection<D>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let peer = connect(listener.local_addr().expect("an address")).await;
    let (stream, from) = listener.accept().expect("a peer");
    stream.set_nonblocking(true).expect("an option");
    let socket = Socket::Tcp(mio::net::TcpStream::from_std(stream));
    (peer, Connection::of(&begun(table, serve, socket, from.into())))
}

fn begun<D: Driver>(
    table: &Table,
    serve: &Rc<Serve<D>>,
    socket: Socket,
    from: Address,
) -> Rc<Entry<D>> {
    let address = from.ip();
    serve.set_place(Some(0));
    serve.population.admit(address).expect("room");
    let (prelude, session) = serve.fresh_layers(&from);
    let facts = table.facts(from, Admission::new(&serve.population, address), serve.weight);
    let transit = Transit::new(facts, Transport::new(socket, prelude, session));
    let entry = listener::insert(table, serve, State::Preparing, transit);
    let entry = entry.expect("a place");
    entry.begin();
    entry
}

/// Writes the connection down, forgets it, and goes on with what was written.
pub(super) fn moved<D: Driver>(
    table: &Table,
    serve: &Rc<Serve<D>>,
    connection: &Connection<D>,
) -> Result<Connection<D>, CannotMove> {
    let entry = connection.entry();
    let mut bytes = Vec::new();
    Movable::write(&**entry, &mut bytes)?;
    let socket = Rc::clone(entry).release().expect("a socket");
    let record: Record = rmp_serde::from_slice(&bytes).expect("a record");
    Ok(record.adopt(table, socket, serve).expect("understood"))
}

/// Waits until the table has dealt with everything that is there.
pub(super) async fn settled(table: &Table) {
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
    table.flushed().await;
}

pub(super) fn echo<D: Driver<Inbound: Into<D::Outbound>>>(log: &Log) -> Rc<Handlers<D>> {
    let closed = log.clone();
    Rc::new(Handlers {
        message: Some(messages(async |connection: Connection<D>, message: D::Inbound| {
            connection.send(message)
        })),
        close: Some(boxed_with(async move |connection: Connection<D>, reason: CloseReason| {
            closed.add(format!("{reason} after {}", connection.counters().messages_in));
            Ok(())
        })),
        ..Handlers::default()
    })
}

/// Says each byte by itself and moves the connection behind it; returns what came back.
async fn said_and_moved<D: Driver>(table: &Table, serve: &Rc<Serve<D>>, bytes: &[u8]) -> Vec<u8> {
    let (mut peer, mut connection) = accepted(table, serve).await;
    for byte in bytes {
        say(&mut peer, [*byte]).await;
        settled(table).await;
        if connection.entry().life.state() != State::Closed {
            connection = moved(table, serve, &connection).expect("it moves");
        }
    }
    peer.shutdown().await.expect("ended");
    rest(&mut peer).await
}

#[test]
fn protocols_go_on_behind_every_byte() {
    with_table(async |table| {
        let log = Log::default();
        let serve = Rc::new(Serve::peers(Text::default, echo(&log)));
        assert_eq!(said_and_moved(&table, &serve, b"one\ntwo\n\nth").await, b"one\ntwo\n\n");
        let serve = Rc::new(Serve::peers(Framed::default, echo(&log)));
        let frames = b"\0\0\0\x07one\0\0\0\x04\0\0\0\x07two";
        assert_eq!(said_and_moved(&table, &serve, frames).await, frames);
        let serve = Rc::new(Serve::peers(|| Raw, echo(&log)));
        assert_eq!(said_and_moved(&table, &serve, b"raw").await, b"raw");
        let ends = ["closed by peer after 3", "closed by peer after 3", "closed by peer after 3"];
        assert_eq!(log.lines(), ends);
        assert!(table.is_empty());
    });
}

#[test]
fn a_websocket_goes_on_behind_every_byte() {
    with_table(async |table| {
        let log = Log::default();
        let serve = Rc::new(Serve::peers(WebSocket::server, echo(&log)));
        // "hi", then "fragments" in three frames with a ping between them, then a close.
        let frames = [
            &[0x81, 0x82, 1, 2, 3, 4, b'h' ^ 1, b'i' ^ 2][..],
            &[0x01, 0x84, 0, 0, 0, 0, b'f', b'r', b'a', b'g'],
            &[0x89, 0x81, 0, 0, 0, 0, b'p'],
            &[0x00, 0x83, 9, 9, 9, 9, b'm' ^ 9, b'e' ^ 9, b'n' ^ 9],
            &[0x80, 0x82, 0, 0, 0, 0, b't', b's'],
            &[0x88, 0x85, 0, 0, 0, 0, 0x0f, 0xa0, b'b', b'y', b'e'],
        ]
        .concat();
        let bytes = [websockets::REQUEST.as_bytes(), &frames].concat();
        let answers = said_and_moved(&table, &serve, &bytes).await;
        let head = answers.windows(4).position(|end| end == b"\r\n\r\n").expect("an answer") + 4;
        assert!(answers.starts_with(b"HTTP/1.1 101 "));
        let expected = b"\x81\x02hi\x8a\x01p\x81\x09fragments\x88\x05\x0f\xa0bye";
        assert_eq!(&answers[head..], expected);
        assert_eq!(log.lines(), ["closed by peer (4000: bye) after 2"]);
    });
}

#[test]
fn tls_goes_on_between_records_and_within_one() {
    with_table(async |table| {
        let (files, log) = (Files::new(), Log::default());
        let front = Front { tls: Some(files.tls("server")), ..Front::default() };
        let serve = Serve::peers(Text::default, echo(&log)).front(front);
        serve.prepare_tls().expect("good files");
        let serve = Rc::new(serve);
        let (peer, connection) = accepted(&table, &serve).await;
        // Nothing of TLS has come: it moves, and shakes hands afterwards.
        let mut connection = moved(&table, &serve, &connection).expect("it moves");
        let mut client = tls::secure(peer, &files).await;
        for size in [0, 5, 16_383, 40_000] {
            let line = [vec![b'x'; size], vec![b'\n']].concat();
            let (first, second) = line.split_at(size / 2);
            tls::ask(&mut client, first, b"").await;
            settled(&table).await;
            connection = moved(&table, &serve, &connection).expect("it moves");
            assert_eq!(connection.tls().expect("TLS").server_name(), Some("localhost"));
            tls::ask(&mut client, second, &line).await;
        }
        client.shutdown().await.expect("ended");
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.expect("TLS is ended as well");
        log.until("closed by peer after 4").await;
    });
}

/// What a connection says that is in a state, and what it does when its other half was moved.
#[test]
fn every_state_is_written_down_or_says_why_not() {
    with_table_and_paused_clock(async |table| {
        let log = Log::default();
        let limits = Limits { message_rate: Some(Rate::per_second(1)), ..Limits::default() };
        let serve = Rc::new(Serve::peers(Text::default, echo(&log)).limits(limits));

        // Throttled: the debt moves, and what was read waits for it.
        let (mut peer, connection) = accepted(&table, &serve).await;
        say(&mut peer, "1\n2\n3\n").await;
        hear(&mut peer, "1\n2\n").await;
        let began = tokio::time::Instant::now();
        let connection = moved(&table, &serve, &connection).expect("it moves");
        hear(&mut peer, "3\n").await;
        assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());

        // Paused: nothing is heard before it is resumed.
        connection.pause();
        say(&mut peer, "4\n").await;
        settled(&table).await;
        let connection = moved(&table, &serve, &connection).expect("it moves");
        assert!(connection.is_paused());
        connection.resume();
        hear(&mut peer, "4\n").await;

        // Full: what waits is sent.
        let block = "z".repeat(40_000_000);
        connection.send(block.clone()).expect("room");
        settled_once(&table).await;
        assert!(connection.is_full());
        let connection = moved(&table, &serve, &connection).expect("it moves");
        assert!(connection.is_full() && connection.send("no").is_err());
        hear(&mut peer, block + "\n").await;

        // Half-closed: the peer's end has its deadline, and its last messages are heard.
        connection.end();
        settled(&table).await;
        let connection = moved(&table, &serve, &connection).expect("it moves");
        assert!(connection.send("no").is_err());
        assert_eq!(rest(&mut peer).await, b"");
        log.until("closed by us after 4").await;
        assert!(table.is_empty());

        // Closing, with the peer's answer awaited; then lingering.
        let serve = Rc::new(Serve::peers(WebSocket::server, echo(&log)));
        let (mut peer, connection) = accepted(&table, &serve).await;
        say(&mut peer, websockets::REQUEST).await;
        settled(&table).await;
        connection.close_with_code(4001, "go");
        settled(&table).await;
        assert_eq!(connection.entry().life.state(), State::Closing);
        let connection = moved(&table, &serve, &connection).expect("it moves");
        assert_eq!(connection.entry().life.state(), State::Closing);
        say(&mut peer, [0x88, 0x82, 0, 0, 0, 0, 0x0f, 0xa1]).await;
        settled(&table).await;
        assert_eq!(connection.entry().life.state(), State::Lingering);
        let connection = moved(&table, &serve, &connection).expect("it moves");
        assert!(rest(&mut peer).await.ends_with(b"\x88\x04\x0f\xa1go"));
        log.until("closed by us (4001: go)").await;
        table.emptied().await;
        assert_eq!(connection.entry().life.state(), State::Closed);
        assert_eq!(connection.entry().save(), Err(CannotMove("it is closed")));
    });
}

/// As [`settled`], while a peer does not read.
async fn settled_once(table: &Table) {
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
    assert!(table.stats().queued_bytes > 0);
}

#[test]
fn what_cannot_be_written_down_says_why() {
    with_table(async |table| {
        let log = Log::default();
        let check = |connection: &Connection<Text>, why: &'static str| {
            assert_eq!(connection.entry().save(), Err(CannotMove(why)));
        };
        let serve = Rc::new(Serve::peers(Text::default, echo(&log)));
        let (_peer, first) = accepted(&table, &serve).await;
        let (_other_peer, second) = accepted(&table, &serve).await;
        first.pipe(&second);
        check(&first, "it is an end of a pipe");
        check(&second, "it is an end of a pipe");
        let (_peer, with_data) = accepted(&table, &serve).await;
        with_data.set_data(7);
        check(&with_data, "it has data of the application's");
        check(&table.reserve(&serve).expect("a place"), "it is not connected");

        let busy = Handlers {
            connect: Some(boxed(async |_: Connection<Text>| std::future::pending().await)),
            ..Handlers::default()
        };
        let (_peer, busy) =
            accepted(&table, &Rc::new(Serve::peers(Text::default, Rc::new(busy)))).await;
        check(&busy, "its handler is at work");

        let files = Files::new();
        let front = Front { tls: Some(files.tls("server")), ..Front::default() };
        let serve = Serve::peers(Text::default, echo(&log)).front(front);
        serve.prepare_tls().expect("good files");
        let (mut peer, shaking) = accepted(&table, &Rc::new(serve)).await;
        // The first bytes of a handshake record.
        say(&mut peer, [0x16, 3, 1]).await;
        settled(&table).await;
        check(&shaking, "its TLS handshake is under way");
    });
}
