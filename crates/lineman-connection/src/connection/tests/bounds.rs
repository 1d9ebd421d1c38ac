//! Bounds: what happens when a queue is full, a peer is silent, or too many are at the door.

use std::time::Duration;

use lineman_wire::text::Text;

use super::*;

#[test]
fn a_full_queue_refuses_then_drains_and_nothing_accepted_is_lost() {
    with_table(async |table| {
        let log = Log::default();
        let (full, drained, begun) = (log.clone(), log.clone(), log.clone());
        let accepted = Rc::new(RefCell::new(0));
        let counted = Rc::clone(&accepted);
        let line = "y".repeat(1000);
        let handlers = Handlers {
            message: Some(messages(async move |connection: Connection<Text>, _: String| {
                let refusal = loop {
                    match connection.send(line.clone()) {
                        Ok(()) => *counted.borrow_mut() += 1,
                        Err(error) => break error,
                    }
                };
                assert_eq!(refusal.downcast_ref(), Some(&SendError::Full));
                begun.add("flooded");
                Ok(())
            })),
            full: Some(Box::new(move |_| full.add("full"))),
            drain: Some(Box::new(move |_| drained.add("drained"))),
            ..Handlers::default()
        };
        let limits = Limits { send_queue: 8 * 1024 * 1024, ..Limits::default() };
        let address = serve(&table, Serve::peers(Text::default, Rc::new(handlers)).limits(limits));
        let mut peer = connect(address).await;
        say(&mut peer, "go\n").await;
        log.until("flooded").await;
        let total = *accepted.borrow() * 1001;
        let mut got = vec![0; total];
        peer.read_exact(&mut got).await.expect("everything");
        log.until("drained").await;
        assert_eq!(log.lines(), ["full", "flooded", "drained"]);
        assert_eq!(table.stats().refused, 1);
    });
}

#[test]
fn a_handler_that_passes_a_full_queue_on_closes_a_slow_peer_with_1013() {
    with_table_and_paused_clock(async |table| {
        let log = Log::default();
        let closed = log.clone();
        let handlers = Handlers::<WebSocket> {
            message: Some(messages(async |connection: Connection<WebSocket>, _| {
                connection.send(vec![0; FLOOD])
            })),
            close: Some(boxed_with(async move |_, reason: CloseReason| {
                closed.add(format!("{}: {reason}", reason.code()));
                Ok(())
            })),
            ..Handlers::default()
        };
        let limits = Limits { send_queue: 1000, ..Limits::default() };
        let serve_it = Serve::peers(WebSocket::server, Rc::new(handlers)).limits(limits);
        let address = serve(&table, serve_it);
        let mut peer = connect(address).await;
        say(&mut peer, websockets::REQUEST).await;
        // Two messages that come together: the first fills the queue.
        let frame = [&[0x82, 0xfe, 4, 0, 0, 0, 0, 0][..], &[7; 1024]].concat();
        say(&mut peer, [&frame[..], &frame].concat()).await;
        assert_eq!(log.until("1013").await, "1013: peer reads too slowly");
        assert_eq!((table.stats().handler_errors, table.stats().refused), (0, 1));
    });
}

/// Far above the bound, and the kernel takes it all within the turn.
#[test]
fn a_burst_is_written_before_anything_of_it_is_refused() {
    for answer in [400, 100_000] {
        with_table(async |table| {
            let log = Log::default();
            let full = log.clone();
            let handlers = Handlers {
                message: Some(messages(async move |connection: Connection<Text>, _: String| {
                    for _ in 0..400_000 / answer {
                        connection.send("y".repeat(answer - 1))?;
                    }
                    Ok(())
                })),
                full: Some(Box::new(move |_| full.add("full"))),
                ..Handlers::default()
            };
            let limits = Limits { send_queue: 10_000, ..Limits::default() };
            let serve_it = Serve::peers(Text::default, Rc::new(handlers)).limits(limits);
            let mut peer = connect(serve(&table, serve_it)).await;
            say(&mut peer, "go\n").await;
            let mut got = vec![0; 400_000];
            peer.read_exact(&mut got).await.expect("everything");
            assert_eq!((table.stats().refused, log.lines()), (0, vec![]));
        });
    }
}

#[test]
fn a_paused_peer_is_not_read() {
    with_table(async |table| {
        let log = Log::default();
        let heard = log.clone();
        let kept = Rc::new(RefCell::new(None));
        let keep = Rc::clone(&kept);
        let handlers = Handlers {
            message: Some(messages(async move |connection: Connection<Text>, line: String| {
                heard.add(line);
                connection.pause();
                keep.replace(Some(connection));
                Ok(())
            })),
            ..Handlers::default()
        };
        let address = serve(&table, Serve::peers(Text::default, Rc::new(handlers)));
        let mut peer = connect(address).await;
        say(&mut peer, "one\ntwo\n").await;
        log.until("one").await;
        // Another connection's round trip proves that turns went by.
        let mut other = connect(address).await;
        say(&mut other, "other\n").await;
        log.until("other").await;
        let paused = kept.replace(None).expect("the other");
        assert!(paused.is_paused());
        assert_eq!(log.lines(), ["one", "other"]);
    });
}

#[test]
fn resuming_goes_on_with_what_was_read_already() {
    with_table(async |table| {
        let log = Log::default();
        let heard = log.clone();
        let handlers = Handlers {
            message: Some(messages(async move |connection: Connection<Text>, line: String| {
                heard.add(line);
                connection.pause();
                tokio::task::spawn_local(async move {
                    tokio::task::yield_now().await;
                    connection.resume();
                });
                Ok(())
            })),
            ..Handlers::default()
        };
        let address = serve(&table, Serve::peers(Text::default, Rc::new(handlers)));
        let mut peer = connect(address).await;
        say(&mut peer, "one\ntwo\nthree\n").await;
        log.until("three").await;
        assert_eq!(log.lines(), ["one", "two", "three"]);
    });
}

#[test]
fn a_line_without_end_is_closed_at_the_bound() {
    with_table(async |table| {
        let address =
            serve(&table, Serve::peers(|| Text::with_max_size(1000), Rc::new(Handlers::default())));
        let mut peer = connect(address).await;
        say(&mut peer, "z".repeat(1001)).await;
        assert_eq!(rest(&mut peer).await, b"");
        assert_eq!(table.stats().protocol_errors, 1);
    });
}

#[test]
fn a_message_that_is_not_finished_in_time_closes() {
    with_table(async |table| {
        let log = Log::default();
        let closed = log.clone();
        let handlers = Handlers {
            close: Some(boxed_with(async move |_: Connection<Text>, reason: CloseReason| {
                closed.add(format!("{reason:?}"));
                Ok(())
            })),
            ..Handlers::default()
        };
        let limits = Limits { message_time: Duration::from_millis(20), ..Limits::default() };
        let address = serve(&table, Serve::peers(Text::default, Rc::new(handlers)).limits(limits));
        let mut silent = connect(address).await;
        let mut slow = connect(address).await;
        say(&mut slow, "never finish").await;
        assert_eq!(rest(&mut slow).await, b"");
        log.until("MessageTimeout").await;
        drop(slow);
        while table.len() > 1 {
            tokio::task::yield_now().await;
        }
        // One that is silent between messages has all the time in the world.
        say(&mut silent, "fine\n").await;
        assert_eq!(table.len(), 1);
    });
}

#[test]
fn messages_that_overlap_in_the_reads_have_a_time_each() {
    with_table_and_paused_clock(async |table| {
        let handlers = Handlers {
            message: Some(messages(async |connection: Connection<Text>, line| {
                connection.send(line)
            })),
            ..Handlers::default()
        };
        let limits = Limits { message_time: Duration::from_secs(1), ..Limits::default() };
        let address = serve(&table, Serve::peers(Text::default, Rc::new(handlers)).limits(limits));
        let mut peer = connect(address).await;
        say(&mut peer, "be").await;
        for _ in 0..12 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            // The end of one and the beginning of the next, in one read.
            say(&mut peer, "gin\nbe").await;
            hear(&mut peer, "begin\n").await;
        }
    });
}

#[test]
fn whole_messages_behind_a_pause_are_not_one_that_is_too_big() {
    with_table(async |table| {
        let log = Log::default();
        let heard = log.clone();
        let handlers = Handlers {
            message: Some(messages(async move |connection: Connection<Text>, line: String| {
                connection.pause();
                heard.add(line);
                tokio::task::spawn_local(async move {
                    tokio::task::yield_now().await;
                    connection.resume();
                });
                Ok(())
            })),
            ..Handlers::default()
        };
        let address = serve(&table, Serve::peers(|| Text::with_max_size(10), Rc::new(handlers)));
        let mut peer = connect(address).await;
        say(&mut peer, "first\nsecond\nthird\nlast\n").await;
        log.until("last").await;
        assert_eq!(log.lines(), ["first", "second", "third", "last"]);
        assert_eq!(table.stats().protocol_errors, 0);
    });
}

/// More than the kernel takes of a peer that does not read.
const FLOOD: usize = 16_000_000;

/// A handler that fills the send queue of 1 KiB once, and does something when it has drained.
fn floods(drain: impl Fn(&Connection<Text>) + 'static) -> Handlers<Text> {
    Handlers {
        message: Some(messages(async |connection: Connection<Text>, _: String| {
            connection.send("y".repeat(FLOOD))
        })),
        drain: Some(Box::new(drain)),
        ..Handlers::default()
    }
}

#[test]
fn a_last_message_of_on_drain_is_sent_before_the_close() {
    with_table(async |table| {
        let handlers = floods(|connection| connection.close_with("bye").expect("room"));
        let limits = Limits { send_queue: 1024, ..Limits::default() };
        let address = serve(&table, Serve::peers(Text::default, Rc::new(handlers)).limits(limits));
        let mut peer = connect(address).await;
        say(&mut peer, "go\n").await;
        assert!(rest(&mut peer).await.ends_with(b"y\nbye\n"));
    });
}

#[test]
fn a_panic_of_on_drain_costs_its_own_connection() {
    with_table(async |table| {
        let handlers = floods(|_| std::panic::panic_any("a handler's mistake"));
        let limits = Limits { send_queue: 1024, ..Limits::default() };
        let address = serve(&table, Serve::peers(Text::default, Rc::new(handlers)).limits(limits));
        for _ in 0..2 {
            let mut peer = connect(address).await;
            say(&mut peer, "go\n").await;
            assert_eq!(rest(&mut peer).await.len(), FLOOD + 1);
        }
        assert_eq!(table.stats().handler_errors, 2);
    });
}
