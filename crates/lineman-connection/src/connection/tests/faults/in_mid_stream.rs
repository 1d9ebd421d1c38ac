//! TLS that begins in mid-stream is a handshake like any other: it has a deadline, and it counts.

use super::*;
use crate::tls::tests::Files;

/// Lines until STARTTLS on a listener of these bounds, and the address for more peers.
fn starttls(table: &Table, files: &Files, log: &Log, limits: Limits) -> SocketAddr {
    let (heard, closed) = (log.clone(), log.clone());
    let handlers = Handlers {
        message: Some(messages(async move |connection: Connection<Text>, line: String| {
            heard.add(&line);
            if line != "STARTTLS" {
                return connection.send(line);
            }
            connection.send("go ahead")?;
            connection.start_tls()?;
            Ok(())
        })),
        close: Some(boxed_with(async move |_: Connection<Text>, reason: CloseReason| {
            closed.add(format!("end: {reason}"));
            Ok(())
        })),
        ..Handlers::default()
    };
    let front = Front { tls_on_demand: Some(files.tls("server")), limits, ..Front::default() };
    serve(table, Serve::peers(Text::default, Rc::new(handlers)).front(front))
}

async fn begin_tls(address: SocketAddr) -> TcpStream {
    let mut stream = connect(address).await;
    say(&mut stream, "STARTTLS\n").await;
    hear(&mut stream, "go ahead\n").await;
    settle().await;
    stream
}

#[test]
fn tls_begun_in_mid_stream_has_the_deadline_of_a_handshake() {
    paused(async |table| {
        let (files, log) = (Files::new(), Log::default());
        let address = starttls(&table, &files, &log, Limits::default());
        let begun = Instant::now();
        let mut stream = begin_tls(address).await;
        rest(&mut stream).await;
        let (least, most) = (Duration::from_secs(10), Duration::from_secs(11));
        assert!((least..most).contains(&begun.elapsed()), "{:?}", begun.elapsed());
        log.until("end: handshake timed out").await;
        assert_eq!(table.stats().handshakes_failed, 1);
    });
}

#[test]
fn tls_begun_in_mid_stream_counts_among_the_handshakes() {
    paused(async |table| {
        let (files, log) = (Files::new(), Log::default());
        let limits = Limits { handshakes: 2, ..Limits::default() };
        let address = starttls(&table, &files, &log, limits);
        let mut oldest = begin_tls(address).await;
        let others = [begin_tls(address).await, begin_tls(address).await];
        let begun = Instant::now();
        let ended = oldest.read_to_end(&mut Vec::new()).await;
        assert!(begun.elapsed() < Duration::from_secs(1), "{ended:?} after {:?}", begun.elapsed());
        log.until("end: too many handshakes under way").await;
        assert_eq!(table.stats().handshakes_failed, 1);
        assert_eq!(table.len(), 2, "{} are waited for", others.len());
    });
}

#[test]
fn tls_that_was_begun_and_came_has_no_deadline_any_more() {
    paused(async |table| {
        let (files, log) = (Files::new(), Log::default());
        let limits = Limits { handshakes: 1, ..Limits::default() };
        let address = starttls(&table, &files, &log, limits);
        let mut first = tls::secure(begin_tls(address).await, &files).await;
        tokio::time::sleep(Duration::from_mins(10)).await;
        let _second = begin_tls(address).await;
        tls::ask(&mut first, b"still here\n", b"still here\n").await;
        assert_eq!(table.stats().handshakes_failed, 0, "{:?}", log.lines());
    });
}
