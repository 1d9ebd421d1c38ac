//! What a handler can do with a connection beyond sending: end, pipe, keep data, change protocol.

use futures_util::FutureExt;
use lineman_wire::framed::Framed;
use lineman_wire::raw::Raw;
use lineman_wire::text::Text;

use super::*;

fn lines<F>(handler: F) -> Handlers<Text>
where
    F: AsyncFn(Connection<Text>, String) -> crate::Result + 'static,
{
    Handlers { message: Some(messages(handler)), ..Handlers::default() }
}

#[test]
fn end_sends_what_waits_and_still_hears_the_peer() {
    with_table(async |table| {
        let log = Log::default();
        let heard = log.clone();
        let handlers = lines(async move |connection: Connection<Text>, line: String| {
            heard.add(&line);
            if line == "bye" {
                connection.send("x".repeat(500_000))?;
                connection.end();
                assert_eq!(
                    connection.send("late").expect_err("ended").downcast_ref(),
                    Some(&SendError::Closed)
                );
            }
            Ok(())
        });
        let address = serve(&table, Serve::peers(Text::default, Rc::new(handlers)));
        let mut peer = connect(address).await;
        say(&mut peer, "bye\n").await;
        assert_eq!(rest(&mut peer).await.len(), 500_001);
        say(&mut peer, "last words\n").await;
        log.until("last words").await;
        drop(peer);
        table.emptied().await;
    });
}

#[test]
fn a_peer_that_stays_after_our_end_is_dropped() {
    with_table_and_paused_clock(async |table| {
        let handlers = lines(async |connection: Connection<Text>, _| {
            connection.end();
            Ok(())
        });
        let address = serve(&table, Serve::peers(Text::default, Rc::new(handlers)));
        let mut peer = connect(address).await;
        say(&mut peer, "go\n").await;
        assert_eq!(rest(&mut peer).await, b"");
        table.emptied().await;
    });
}

/// A proxy in a few lines, as the documentation has it: what comes in goes to `upstream` and back.
pub(super) fn proxy(table: &Table, upstream: SocketAddr) -> SocketAddr {
    let inner = table.clone();
    let handlers = Handlers {
        connect: Some(boxed(async move |client: Connection<Raw>| {
            let out = Serve::outgoing(|| Raw, Rc::new(Handlers::default()));
            let server = inner.connect(upstream, &Rc::new(out))?;
            client.pipe(&server);
            server.pipe(&client);
            Ok(())
        })),
        ..Handlers::default()
    };
    serve(table, Serve::peers(|| Raw, Rc::new(handlers)))
}

#[test]
fn a_pipe_carries_everything_both_ways_and_both_ends_close() {
    with_table(async |table| {
        let echo = lines(async |connection: Connection<Text>, line: String| connection.send(line));
        let upstream = serve(&table, Serve::peers(Text::default, Rc::new(echo)));
        let mut peer = connect(proxy(&table, upstream)).await;
        for round in 0..20 {
            let line = format!("{}\n", "z".repeat(round * 10_000));
            say(&mut peer, &line).await;
            hear(&mut peer, &line).await;
        }
        drop(peer);
        table.emptied().await;
    });
}

/// An upstream that sends without end, and a client that does not read: nothing piles up.
#[test]
fn a_pipe_pushes_back() {
    with_table(async |table| {
        let flood = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let upstream = flood.local_addr().expect("an address");
        let peer = connect(proxy(&table, upstream)).await;
        flood.set_nonblocking(true).expect("an option");
        let flood = tokio::net::TcpListener::from_std(flood).expect("a listener");
        let (mut server, _) = flood.accept().await.expect("the proxy");
        let block = vec![7; 64 * 1024];
        let mut sent = 0;
        // Everything in between is full when a write would have to wait although all had their turn.
        let mut idle = 0;
        while idle < 50 {
            if let Ok(count) = server.try_write(&block) {
                (sent, idle) = (sent + count, 0);
            } else {
                idle += 1;
                tokio::task::yield_now().await;
                server.writable().now_or_never();
            }
        }
        let (bound, one_read) = (Limits::default().send_queue, 64 * 1024);
        let queued = usize::try_from(table.stats().queued_bytes).expect("fits");
        assert!(queued <= bound + one_read + 4096, "{queued} bytes wait in the proxy");
        let mut peer = peer;
        server.shutdown().await.expect("ended");
        let mut got = 0;
        let mut buffer = vec![0; 64 * 1024];
        while got < sent {
            let count = peer.read(&mut buffer).await.expect("more");
            assert_ne!(count, 0, "all {sent} bytes come, not {got}");
            got += count;
        }
    });
}

#[test]
fn data_is_kept_by_type() {
    with_table(async |table| {
        let handlers = lines(async |connection: Connection<Text>, line: String| {
            let known = connection.with_data(|lines: &mut Vec<String>| {
                lines.push(line.clone());
                lines.join("+")
            });
            if let Some(all) = known {
                return connection.send(all);
            }
            connection.set_data(vec![line]);
            assert!(connection.with_data(|_: &mut u8| ()).is_none(), "another type");
            connection.send("new")
        });
        let address = serve(&table, Serve::peers(Text::default, Rc::new(handlers)));
        let mut peer = connect(address).await;
        say(&mut peer, "a\nb\nc\n").await;
        hear(&mut peer, "new\na+b\na+b+c\n").await;
    });
}

/// Lines until "frames", then frames; the first frame may come with the line.
#[test]
fn the_protocol_changes_in_mid_stream_for_any_split() {
    let stream = b"hello\nframes\n\0\0\0\x07one\0\0\0\x07two";
    for split in 0..stream.len() {
        with_table(async |table| {
            let log = Log::default();
            let (closed, old) = (log.clone(), log.clone());
            let frames = Handlers {
                message: Some(messages(async |connection: Connection<Framed>, frame| {
                    let data = connection.with_data(|data: &mut u32| *data);
                    assert_eq!(data, Some(7));
                    connection.send(frame)
                })),
                close: Some(boxed_with(async move |connection: Connection<Framed>, _| {
                    closed.add(format!("closed after {}", connection.counters().messages_in));
                    Ok(())
                })),
                ..Handlers::default()
            };
            let frames = Rc::new(Serve::peers(Framed::default, Rc::new(frames)));
            let text = Handlers {
                message: Some(messages(async move |connection: Connection<Text>, line: String| {
                    connection.set_data(7_u32);
                    connection.send(&*line)?;
                    if line == "frames" {
                        connection.change_protocol(&frames);
                    }
                    Ok(())
                })),
                close: Some(boxed_with(async move |_, _| {
                    old.add("the old handlers heard of it");
                    Ok(())
                })),
                ..Handlers::default()
            };
            let address = serve(&table, Serve::peers(Text::default, Rc::new(text)));
            let mut peer = connect(address).await;
            let (first, second) = stream.split_at(split);
            say(&mut peer, first).await;
            tokio::task::yield_now().await;
            say(&mut peer, second).await;
            hear(&mut peer, stream).await;
            drop(peer);
            table.emptied().await;
            assert_eq!(log.lines(), ["closed after 4"]);
        });
    }
}
