//! The end of our side keeps its time, whatever else happens: pauses, rates, in either order.

use super::*;

/// The connection is gone when `end_time` is over, and says that it was our end.
async fn gone_after(table: &Table, log: &Log, begun: Instant, end_time: Duration) {
    table.emptied().await;
    let (took, late) = (begun.elapsed(), Duration::from_millis(100));
    assert!((end_time..end_time + late).contains(&took), "{took:?}");
    log.until("end: closed by us").await;
}

#[test]
fn a_pause_leaves_the_time_of_a_half_close_alone() {
    for pause_first in [true, false] {
        paused(async |table| {
            let end_time = Duration::from_secs(10);
            let mut line =
                Line::with_limits(&table, Limits { end_time, ..Limits::default() }).await;
            let begun = Instant::now();
            if pause_first {
                line.connection.pause();
            }
            line.connection.end();
            assert_eq!(rest(&mut line.peer).await, b"");
            line.connection.pause();
            gone_after(&table, &line.log, begun, end_time).await;
        });
    }
}

#[test]
fn a_half_closed_peer_that_exceeds_its_rate_is_read_on_after_the_delay() {
    paused(async |table| {
        let end_time = Duration::from_secs(10);
        let mut line = Line::with_limits(&table, one_a_second(end_time)).await;
        let begun = Instant::now();
        line.connection.end();
        settle().await;
        say(&mut line.peer, "1\n2\n3\n4\n").await;
        line.log.until("4").await;
        let (least, most) = (Duration::from_secs(2), Duration::from_secs(3));
        assert!((least..most).contains(&begun.elapsed()), "{:?}", begun.elapsed());
        gone_after(&table, &line.log, begun, end_time).await;
        assert_eq!(line.log.lines(), ["1", "2", "3", "4", "end: closed by us"]);
    });
}

#[test]
fn a_half_closed_peer_that_exceeds_its_rate_has_no_more_time_for_it() {
    paused(async |table| {
        let end_time = Duration::from_millis(500);
        let mut line = Line::with_limits(&table, one_a_second(end_time)).await;
        let begun = Instant::now();
        line.connection.end();
        settle().await;
        say(&mut line.peer, "1\n2\n3\n").await;
        gone_after(&table, &line.log, begun, end_time).await;
        assert_eq!(line.log.lines(), ["1", "2", "end: closed by us"]);
    });
}

#[test]
fn an_end_in_the_middle_of_a_delay_leaves_the_delay_alone() {
    paused(async |table| {
        let begun = Instant::now();
        let mut line = Line::throttled(&table).await;
        line.connection.end();
        assert_eq!(rest(&mut line.peer).await, b"");
        line.log.until("3").await;
        let (least, most) = (Duration::from_secs(1), Duration::from_secs(2));
        assert!((least..most).contains(&begun.elapsed()), "{:?}", begun.elapsed());
        gone_after(&table, &line.log, begun, Duration::from_secs(10)).await;
    });
}

#[test]
fn the_end_of_a_half_closed_peer_is_seen_once_the_delay_is_over() {
    paused(async |table| {
        let begun = Instant::now();
        let mut line = Line::throttled(&table).await;
        line.connection.end();
        line.peer.shutdown().await.expect("half closed");
        table.emptied().await;
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
        assert_eq!(line.log.lines(), ["1", "2", "3", "end: closed by us"]);
    });
}
