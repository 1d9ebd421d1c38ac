//! Order: messages of one connection, one at a time; what follows a busy handler waits.

use std::io::Write as _;

use lineman_wire::text::Text;
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;

use super::*;
use crate::connection::table::TIME_FOR_LATER;

fn echo() -> Handlers<Text> {
    Handlers {
        message: Some(messages(async |connection: Connection<Text>, line| connection.send(line))),
        ..Handlers::default()
    }
}

fn text(handlers: Handlers<Text>) -> Serve<Text> {
    Serve::peers(Text::default, Rc::new(handlers))
}

#[test]
fn a_byte_at_a_time_gives_the_same_messages() {
    with_table(async |table| {
        let address = serve(&table, text(echo()));
        let mut peer = connect(address).await;
        for byte in b"one\ntwo\nthree\n" {
            say(&mut peer, [*byte]).await;
            tokio::task::yield_now().await;
        }
        hear(&mut peer, "one\ntwo\nthree\n").await;
    });
}

#[test]
fn a_message_larger_than_a_read_arrives_whole() {
    with_table(async |table| {
        let address = serve(&table, text(echo()));
        let mut peer = connect(address).await;
        let line = "x".repeat(5 * READ + 17) + "\n";
        let (mut reader, mut writer) = peer.split();
        let writing = async { writer.write_all(line.as_bytes()).await.expect("written") };
        let mut got = vec![0; line.len()];
        let reading = async { reader.read_exact(&mut got).await.expect("read") };
        tokio::join!(writing, reading);
        assert!(got == line.as_bytes());
    });
}

const READ: usize = 64 * 1024;

#[test]
fn messages_behind_a_busy_handler_wait_their_turn() {
    with_table(async |table| {
        let (gate, log) = (Rc::new(Notify::new()), Log::default());
        let (held, logged) = (Rc::clone(&gate), log.clone());
        let handlers = Handlers {
            message: Some(messages(async move |connection: Connection<Text>, line: String| {
                logged.add(format!("begin {line}"));
                held.notified().await;
                logged.add(format!("end {line}"));
                connection.send(line)
            })),
            ..Handlers::default()
        };
        let address = serve(&table, text(handlers));
        let mut peer = connect(address).await;
        say(&mut peer, "a\nb\n").await;
        log.until("begin a").await;
        say(&mut peer, "c\n").await;
        for answer in ["a\n", "b\n", "c\n"] {
            gate.notify_one();
            hear(&mut peer, answer).await;
        }
        let expected = ["begin a", "end a", "begin b", "end b", "begin c", "end c"];
        assert_eq!(log.lines(), expected);
    });
}

#[test]
fn a_close_waits_for_the_busy_handler_and_comes_once() {
    with_table(async |table| {
        let (gate, log) = (Rc::new(Notify::new()), Log::default());
        let (held, logged, closed) = (Rc::clone(&gate), log.clone(), log.clone());
        let handlers = Handlers {
            message: Some(messages(async move |_: Connection<Text>, line: String| {
                logged.add(format!("begin {line}"));
                held.notified().await;
                logged.add(format!("end {line}"));
                Ok(())
            })),
            close: Some(boxed_with(async move |_: Connection<Text>, reason: CloseReason| {
                closed.add(format!("closed: {reason}"));
                Ok(())
            })),
            ..Handlers::default()
        };
        let address = serve(&table, text(handlers));
        let mut peer = connect(address).await;
        say(&mut peer, "a\n").await;
        log.until("begin a").await;
        drop(peer);
        gate.notify_one();
        log.until("closed").await;
        table.emptied().await;
        assert_eq!(log.lines(), ["begin a", "end a", "closed: closed by peer"]);
    });
}

#[test]
fn a_half_closed_peer_gets_its_answers() {
    with_table(async |table| {
        let address = serve(&table, text(echo()));
        let mut peer = connect(address).await;
        say(&mut peer, "last words\n").await;
        peer.shutdown().await.expect("half closed");
        assert_eq!(rest(&mut peer).await, b"last words\n");
    });
}

#[test]
fn a_panicking_handler_costs_its_own_connection_only() {
    with_table(async |table| {
        let handlers = Handlers {
            message: Some(messages(async |connection: Connection<Text>, line: String| {
                assert_ne!(line, "boom");
                connection.send(line)
            })),
            ..Handlers::default()
        };
        let address = serve(&table, text(handlers));
        let (mut innocent, mut guilty) = (connect(address).await, connect(address).await);
        say(&mut guilty, "boom\nnever\n").await;
        assert_eq!(rest(&mut guilty).await, b"");
        say(&mut innocent, "still here\n").await;
        hear(&mut innocent, "still here\n").await;
        assert_eq!(table.stats().handler_errors, 1);
    });
}

#[test]
fn one_that_has_said_much_takes_turns_with_others() {
    with_table(async |table| {
        let log = Log::default();
        let heard = log.clone();
        let handlers = Handlers {
            message: Some(messages(async move |_: Connection<Text>, line: String| {
                heard.add(line);
                Ok(())
            })),
            ..Handlers::default()
        };
        let address = serve(&table, text(handlers));
        let (mut flood, mut other) = (connect(address).await, connect(address).await);
        settle().await;
        // The loop sees both in one turn.
        say(&mut flood, "x\n".repeat(20_000) + "last\n").await;
        say(&mut other, "hello\n").await;
        log.until("last").await;
        let lines = log.lines();
        let place = lines.iter().position(|line| line == "hello").expect("it is heard");
        assert!(place <= 256, "behind {place} lines");
        assert_eq!(lines.len(), 20_002, "each line is heard once");
    });
}

#[test]
fn one_that_says_little_does_not_wait_for_all_that_say_much() {
    with_table(async |table| {
        let log = Log::default();
        let heard = log.clone();
        let quiet: Rc<RefCell<Option<std::net::TcpStream>>> = Rc::default();
        let other = Rc::clone(&quiet);
        let handlers = Handlers {
            message: Some(messages(async move |_: Connection<Text>, line: String| {
                if let Some(mut other) = other.borrow_mut().take_if(|_| line == "now") {
                    other.write_all(b"hello\n")?;
                    // This one has used up the time of all that say much.
                    let begun = std::time::Instant::now();
                    while begun.elapsed() < TIME_FOR_LATER {
                        std::hint::spin_loop();
                    }
                }
                heard.add(line);
                Ok(())
            })),
            ..Handlers::default()
        };
        let address = serve(&table, text(handlers));
        quiet.replace(Some(std::net::TcpStream::connect(address).expect("connected")));
        let mut floods = Vec::new();
        for _ in 0..20 {
            floods.push(connect(address).await);
        }
        settle().await;
        // Each is in its second share when the word comes.
        for flood in &mut floods {
            say(flood, "x\n".repeat(300) + "now\n" + &"x\n".repeat(700) + "last\n").await;
        }
        log.until("hello").await;
        let lines = log.lines();
        let place = |word| lines.iter().position(|line| line == word).expect("it is heard");
        let between = place("hello") - place("now");
        assert!(between <= 256, "behind {between} lines");
    });
}

#[test]
fn a_connect_that_fails_is_a_close_event() {
    with_table(async |table| {
        let log = Log::default();
        let closed = log.clone();
        let handlers = Handlers {
            close: Some(boxed_with(async move |_: Connection<Text>, reason: CloseReason| {
                closed.add(format!("{reason}"));
                Ok(())
            })),
            ..Handlers::default()
        };
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let nobody = free.local_addr().expect("an address");
        drop(free);
        let links = Serve::links(Text::default, Rc::new(handlers));
        table.connect(nobody, &Rc::new(links)).expect("begun");
        assert!(log.until("connect failed").await.contains("refused"));
    });
}

#[test]
fn two_tables_talk_and_early_sends_are_kept() {
    with_table(async |table| {
        let log = Log::default();
        let heard = log.clone();
        let address = serve(&table, text(echo()));
        let handlers = Handlers {
            message: Some(messages(async move |_: Connection<Text>, line: String| {
                heard.add(line);
                Ok(())
            })),
            ..Handlers::default()
        };
        let links = Serve::links(Text::default, Rc::new(handlers));
        let link = table.connect(address, &Rc::new(links)).expect("begun");
        link.send("before the connection is up".to_owned()).expect("queued");
        log.until("before the connection").await;
        assert_eq!(table.len(), 1, "the link itself does not count as a peer");
    });
}

#[test]
fn a_table_is_finished_when_what_handlers_of_gone_connections_have_begun_is_done() {
    with_table(async |table| {
        let (gate, log) = (Rc::new(Notify::new()), Log::default());
        let waits = |what: &'static str| {
            let (gate, log) = (Rc::clone(&gate), log.clone());
            async move || {
                log.add(format!("{what} begins"));
                gate.notified().await;
                log.add(format!("{what} ends"));
                Ok(())
            }
        };
        let (message, close) = (waits("message"), waits("close"));
        let handlers = Handlers {
            message: Some(messages(async move |_: Connection<Text>, _: String| message().await)),
            close: Some(boxed_with(async move |_: Connection<Text>, _: CloseReason| close().await)),
            ..Handlers::default()
        };
        let mut peer = connect(serve(&table, text(handlers))).await;
        say(&mut peer, "work\n").await;
        log.until("message begins").await;
        // A reset in the middle of a handler drops nothing of it.
        socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO)).expect("an option");
        drop(peer);
        while !table.is_empty() {
            tokio::task::yield_now().await;
        }
        let finished = table.clone();
        let finished = tokio::task::spawn_local(async move { finished.finished().await });
        for (unfinished, next) in [(1, "close begins"), (1, "close ends")] {
            assert_eq!((table.unfinished(), finished.is_finished()), (unfinished, false), "{next}");
            gate.notify_one();
            log.until(next).await;
        }
        finished.await.expect("it resolves");
        assert_eq!(table.unfinished(), 0);
        let all = ["message begins", "message ends", "close begins", "close ends"];
        assert_eq!(log.lines(), all);
    });
}

#[test]
fn a_connection_that_is_dropped_within_its_handler_is_no_work_afterwards() {
    with_table(async |table| {
        let handlers = Handlers {
            message: Some(messages(async |connection: Connection<Text>, _: String| {
                connection.abort();
                Ok(())
            })),
            ..Handlers::default()
        };
        let mut peer = connect(serve(&table, text(handlers))).await;
        say(&mut peer, "work\n").await;
        assert_eq!(rest(&mut peer).await, b"");
        table.finished().await;
        assert_eq!(table.unfinished(), 0);
    });
}
