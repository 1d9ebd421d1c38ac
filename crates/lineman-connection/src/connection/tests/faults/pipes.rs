//! Pipes whose source or target goes on with another protocol.

use lineman_wire::framed::Framed;

use super::*;
use crate::connection::inflow::Hold;

/// Another protocol to go on with; its handlers log.
fn frames(log: &Log) -> Rc<Serve<Framed>> {
    let (opened, heard, closed) = (log.clone(), log.clone(), log.clone());
    let handlers = Handlers {
        connect: Some(boxed(async move |_: Connection<Framed>| {
            opened.add("changed");
            Ok(())
        })),
        message: Some(messages(async move |_: Connection<Framed>, frame: Bytes| {
            heard.add(format!("frame {}", String::from_utf8_lossy(&frame)));
            Ok(())
        })),
        close: Some(boxed_with(async move |_: Connection<Framed>, reason: CloseReason| {
            closed.add(format!("end: {reason}"));
            Ok(())
        })),
        ..Handlers::default()
    };
    Rc::new(Serve::peers(Framed::default, Rc::new(handlers)))
}

/// Two connections, the first piped to the second.
async fn piped(table: &Table) -> (Line, Line) {
    let left = Line::with_limits(table, Limits::default()).await;
    let right = Line::with_limits(table, Limits::default()).await;
    left.connection.pipe(&right.connection);
    (left, right)
}

#[test]
fn the_end_of_a_pipes_source_that_changed_protocol_closes_the_target() {
    paused(async |table| {
        let log = Log::default();
        let (left, mut right) = piped(&table).await;
        left.connection.change_protocol(&frames(&log));
        log.until("changed").await;
        drop(left.peer);
        assert_eq!(rest(&mut right.peer).await, b"");
        assert_eq!(log.lines(), ["changed", "end: closed by peer"]);
    });
}

#[test]
fn the_end_of_a_pipes_target_that_changed_protocol_closes_the_source() {
    paused(async |table| {
        let log = Log::default();
        let (mut left, right) = piped(&table).await;
        right.connection.change_protocol(&frames(&log));
        log.until("changed").await;
        drop(right.peer);
        assert_eq!(rest(&mut left.peer).await, b"");
        assert_eq!(log.lines(), ["changed", "end: closed by peer"]);
    });
}

#[test]
fn the_end_of_a_pipes_source_closes_the_target_that_changed_protocol() {
    paused(async |table| {
        let log = Log::default();
        let (left, mut right) = piped(&table).await;
        right.connection.change_protocol(&frames(&log));
        log.until("changed").await;
        drop(left.peer);
        assert_eq!(rest(&mut right.peer).await, b"");
        log.until("end: closed by us").await;
    });
}

#[test]
fn a_pipe_from_a_connection_that_changed_protocol_ends() {
    paused(async |table| {
        let log = Log::default();
        let (mut left, mut right) = piped(&table).await;
        say(&mut left.peer, "through the pipe\n").await;
        hear(&mut right.peer, "through the pipe\n").await;
        left.connection.change_protocol(&frames(&log));
        log.until("changed").await;
        say(&mut left.peer, "\0\0\0\x07new").await;
        log.until("frame new").await;
        // The target goes on by itself: nothing of the new protocol reached it.
        say(&mut right.peer, "still here\n").await;
        hear(&mut right.peer, "still here\n").await;
    });
}

/// Two connections, the first piped to the second and paused, for that is full; it changes protocol.
async fn piped_and_full(table: &Table, log: &Log) -> (Line, Line) {
    let (mut left, right) = piped(table).await;
    right.connection.send("x".repeat(MUCH - 1)).expect("an empty queue takes any message");
    say(&mut left.peer, "more\n").await;
    settle().await;
    let source = &left.connection.entry().inflow;
    assert!(source.is_held(Hold::Piped) && right.connection.is_full());
    right.connection.change_protocol(&frames(log));
    log.until("changed").await;
    (left, right)
}

/// More than the kernel's buffers and the send queue take.
const MUCH: usize = 32 * 1024 * 1024;

#[test]
fn a_source_paused_for_a_target_that_changed_protocol_is_read_again_when_that_has_drained() {
    paused(async |table| {
        let log = Log::default();
        let (left, mut right) = piped_and_full(&table, &log).await;
        settle().await;
        let source = &left.connection.entry().inflow;
        assert!(source.is_held(Hold::Piped), "it has not drained");
        let mut got = vec![0; MUCH + "more\n".len()];
        right.peer.read_exact(&mut got).await.expect("everything that was sent before");
        settle().await;
        assert!(!source.is_held(Hold::Piped));
        drop(left.peer);
        left.log.until("end: closed by peer").await;
    });
}

#[test]
fn a_source_paused_for_a_target_that_changed_protocol_is_closed_when_that_is_gone() {
    paused(async |table| {
        let log = Log::default();
        let (mut left, right) = piped_and_full(&table, &log).await;
        drop(right.peer);
        assert_eq!(rest(&mut left.peer).await, b"");
        table.emptied().await;
    });
}
