//! Faults of a connection's state that were found one by one, each with its tests; here are those of
//! rates and pauses. `pairs` has the whole kind as tables.

mod changes;
mod endings;
mod half_closes;
mod in_mid_stream;
mod unfinished;
mod pipes;
mod proxies;
mod handshakes;

use std::time::Duration;

use lineman_wire::text::Text;
use tokio::time::Instant;

use super::*;

/// As [`with_table_and_paused_clock`]; what waits for ever fails after an hour.
fn paused<F: Future<Output = ()>>(test: impl FnOnce(Table) -> F) {
    with_table_and_paused_clock(async |table| {
        let limit = Duration::from_hours(1);
        tokio::time::timeout(limit, test(table)).await.expect("nothing waits for ever");
    });
}

/// Handlers that log each line and the end, echo while they may, and keep the connection.
fn noting(log: &Log, kept: &Rc<RefCell<Option<Connection<Text>>>>) -> Rc<Handlers<Text>> {
    let (keep, heard, closed) = (Rc::clone(kept), log.clone(), log.clone());
    Rc::new(Handlers {
        connect: Some(boxed(async move |connection: Connection<Text>| {
            keep.replace(Some(connection));
            Ok(())
        })),
        message: Some(messages(async move |connection: Connection<Text>, line: String| {
            heard.add(&line);
            // After our end there is nothing to be sent.
            connection.send(line).or(Ok(()))
        })),
        close: Some(boxed_with(async move |_: Connection<Text>, reason: CloseReason| {
            closed.add(format!("end: {reason}"));
            Ok(())
        })),
        ..Handlers::default()
    })
}

/// Both ends of a connection that speaks lines, and what its handlers log.
struct Line {
    peer: TcpStream,
    connection: Connection<Text>,
    log: Log,
}

impl Line {
    async fn open(table: &Table, front: Front) -> Self {
        let (log, kept) = (Log::default(), Rc::default());
        let serve_it = Serve::peers(Text::default, noting(&log, &kept)).front(front);
        let peer = connect(serve(table, serve_it)).await;
        settle().await;
        let connection = kept.take().expect("a connection");
        Self { peer, connection, log }
    }

    async fn with_limits(table: &Table, limits: Limits) -> Self {
        Self::open(table, Front { limits, ..Front::default() }).await
    }

    /// One that may say a line a second and has said three: the third waits.
    async fn throttled(table: &Table) -> Self {
        let mut line = Self::with_limits(table, one_a_second(Duration::from_secs(10))).await;
        say(&mut line.peer, "1\n2\n3\n").await;
        hear(&mut line.peer, "1\n2\n").await;
        line
    }
}

fn one_a_second(end_time: Duration) -> Limits {
    Limits { message_rate: Some(Rate::per_second(1)), end_time, ..Limits::default() }
}

#[test]
fn a_pause_in_the_middle_of_a_delay_does_not_end_reading_for_good() {
    paused(async |table| {
        let begun = Instant::now();
        let mut line = Line::throttled(&table).await;
        line.connection.pause();
        line.connection.resume();
        hear(&mut line.peer, "3\n").await;
        assert!(begun.elapsed() >= Duration::from_secs(1), "the rate holds: {:?}", begun.elapsed());
        // The rate counts on, and what it delays is paused again.
        for (seconds, said) in [(2, "4\n"), (3, "5\n"), (4, "6\n")] {
            say(&mut line.peer, said).await;
            settle().await;
            line.connection.pause();
            line.connection.resume();
            hear(&mut line.peer, said).await;
            assert!(begun.elapsed() >= Duration::from_secs(seconds), "{:?}", begun.elapsed());
        }
    });
}

#[test]
fn a_pause_that_outlasts_the_delay_ends_with_resume() {
    paused(async |table| {
        let mut line = Line::throttled(&table).await;
        line.connection.pause();
        tokio::time::sleep(Duration::from_secs(100)).await;
        assert_eq!(line.log.lines(), ["1", "2"]);
        line.connection.resume();
        hear(&mut line.peer, "3\n").await;
    });
}

#[test]
fn the_peers_end_is_seen_after_a_pause_in_the_middle_of_a_delay() {
    paused(async |table| {
        let mut line = Line::throttled(&table).await;
        line.connection.pause();
        line.connection.resume();
        line.peer.shutdown().await.expect("half closed");
        assert_eq!(rest(&mut line.peer).await, b"3\n", "a half-closed peer gets its answers");
        line.log.until("end: closed by peer").await;
    });
}

#[test]
fn a_bytes_delay_survives_a_pause_too() {
    paused(async |table| {
        let limits = Limits { byte_rate: Some(Rate::per_second(10)), ..Limits::default() };
        let mut line = Line::with_limits(&table, limits).await;
        say(&mut line.peer, format!("{}\n", "x".repeat(29))).await;
        settle().await;
        line.connection.pause();
        line.connection.resume();
        let begun = Instant::now();
        hear(&mut line.peer, format!("{}\n", "x".repeat(29))).await;
        assert!(begun.elapsed() >= Duration::from_millis(1900), "{:?}", begun.elapsed());
    });
}
