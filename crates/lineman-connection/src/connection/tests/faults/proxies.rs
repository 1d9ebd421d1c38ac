//! A TCP proxy of a few lines carries half-closes, everything that is under way, and failures.

use lineman_wire::raw::Raw;
use tokio::net::TcpListener;

use super::*;
use crate::connection::tests::features::proxy;

/// More than all buffers on the way.
const MUCH: usize = 24 * 1024 * 1024;

/// Both ends of a connection through the proxy.
async fn through_proxy(table: &Table) -> (TcpStream, TcpStream) {
    let upstream = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = proxy(table, upstream.local_addr().expect("an address"));
    let client = connect(address).await;
    let (server, _) = upstream.accept().await.expect("the proxy");
    (client, server)
}

async fn end(stream: &mut TcpStream) {
    stream.shutdown().await.expect("half closed");
}

/// Writes so much, ends, and meanwhile reads to the end; returns how much that was.
async fn exchange(mut stream: TcpStream, count: usize) -> usize {
    let (mut reading, mut writing) = stream.split();
    let mut got = Vec::new();
    let write = async {
        writing.write_all(&vec![7; count]).await.expect("written");
        writing.shutdown().await.expect("half closed");
    };
    let ((), read) = tokio::join!(write, reading.read_to_end(&mut got));
    read.expect("an orderly end")
}

#[test]
fn a_request_that_ends_its_side_gets_its_answer_however_late() {
    paused(async |table| {
        let (mut client, mut server) = through_proxy(&table).await;
        say(&mut client, "request").await;
        end(&mut client).await;
        assert_eq!(rest(&mut server).await, b"request", "the end comes behind it");
        tokio::time::sleep(Duration::from_mins(30)).await;
        say(&mut server, "answer").await;
        hear(&mut client, "answer").await;
        tokio::time::sleep(Duration::from_mins(10)).await;
        say(&mut server, ", and more").await;
        end(&mut server).await;
        assert_eq!(rest(&mut client).await, b", and more");
        table.emptied().await;
    });
}

#[test]
fn a_request_that_ends_before_the_server_is_connected_gets_its_answer() {
    paused(async |table| {
        let upstream = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = proxy(&table, upstream.local_addr().expect("an address"));
        let socket = std::net::TcpStream::connect(address).expect("connected");
        std::io::Write::write_all(&mut (&socket), b"request").expect("written");
        socket.shutdown(std::net::Shutdown::Write).expect("half closed");
        let (mut server, _) = upstream.accept().await.expect("the proxy");
        assert_eq!(rest(&mut server).await, b"request");
        say(&mut server, "answer").await;
        drop(server);
        socket.set_nonblocking(true).expect("an option");
        let mut client = TcpStream::from_std(socket).expect("a stream");
        assert_eq!(rest(&mut client).await, b"answer");
    });
}

#[test]
fn much_in_both_directions_arrives_whole_whichever_ends_first() {
    with_table(async |table| {
        for (up, down) in [(MUCH, MUCH / 4), (MUCH / 4, MUCH), (MUCH, 0), (0, MUCH)] {
            let (client, server) = through_proxy(&table).await;
            let got = tokio::join!(exchange(client, up), exchange(server, down));
            assert_eq!(got, (down, up));
            table.emptied().await;
        }
    });
}

#[test]
fn what_a_slow_target_has_not_taken_arrives_when_the_source_is_gone() {
    paused(async |table| {
        let (mut client, mut server) = through_proxy(&table).await;
        let sent = tokio::task::spawn_local(async move {
            server.write_all(&vec![7; MUCH]).await.expect("written");
        });
        let (mut got, mut buffer) = (0, vec![0; 500_000]);
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            match client.read(&mut buffer).await.expect("no reset") {
                0 => break,
                count => got += count,
            }
        }
        sent.await.expect("everything was taken");
        assert_eq!(got, MUCH);
        drop(client);
        table.emptied().await;
    });
}

#[test]
fn a_reset_of_one_side_ends_the_other() {
    for client_fails in [true, false] {
        paused(async |table| {
            let (client, server) = through_proxy(&table).await;
            settle().await;
            let (failing, mut other) =
                if client_fails { (client, server) } else { (server, client) };
            say(&mut other, "unheard").await;
            settle().await;
            failing.set_zero_linger().expect("an option");
            drop(failing);
            assert_eq!(rest(&mut other).await, b"");
            drop(other);
            table.emptied().await;
        });
    }
}

#[test]
fn a_reset_is_noticed_behind_a_pause() {
    paused(async |table| {
        let line = Line::with_limits(&table, Limits::default()).await;
        line.connection.pause();
        settle().await;
        line.peer.set_zero_linger().expect("an option");
        drop(line.peer);
        line.log.until("end: broken").await;
        assert!(table.is_empty() && line.connection.is_paused());
    });
}

#[test]
fn a_reset_behind_a_busy_handler_loses_nothing_that_came_before_it() {
    paused(async |table| {
        let (log, gate) = (Log::default(), Rc::new(tokio::sync::Notify::new()));
        let (heard, closed, opens) = (log.clone(), log.clone(), Rc::clone(&gate));
        let handlers = Handlers {
            message: Some(messages(async move |_: Connection<Text>, line: String| {
                if heard.lines().is_empty() {
                    opens.notified().await;
                }
                heard.add(line);
                Ok(())
            })),
            close: Some(boxed_with(async move |_: Connection<Text>, reason: CloseReason| {
                closed.add(format!("end: {reason}"));
                Ok(())
            })),
            ..Handlers::default()
        };
        let serve_it = Serve::peers(Text::default, Rc::new(handlers));
        let mut peer = connect(serve(&table, serve_it)).await;
        // More than is read ahead.
        say(&mut peer, "line\n".repeat(20_000)).await;
        while crate::os::undelivered(&peer).expect("a socket") > 0 {
            settle().await;
        }
        peer.set_zero_linger().expect("an option");
        drop(peer);
        settle().await;
        gate.notify_one();
        log.until("end: broken").await;
        assert_eq!(log.lines().len(), 20_001);
    });
}

#[test]
fn a_half_closed_pipe_with_a_peer_that_is_silent_ends_by_the_heartbeat() {
    paused(async |table| {
        let limits = Limits { heartbeat: Some(Duration::from_secs(30)), ..Limits::default() };
        let make = |limits: &Limits| {
            let kept = Rc::new(RefCell::new(None));
            let keep = Rc::clone(&kept);
            let handlers = Handlers {
                connect: Some(boxed(async move |connection: Connection<Raw>| {
                    keep.replace(Some(connection));
                    Ok(())
                })),
                ..Handlers::default()
            };
            let serve_it = Serve::peers(|| Raw, Rc::new(handlers)).limits(limits.clone());
            (serve(&table, serve_it), kept)
        };
        let ((left, left_kept), (right, right_kept)) = (make(&limits), make(&limits));
        let (mut left, mut right) = (connect(left).await, connect(right).await);
        settle().await;
        let ends = (left_kept.take().expect("open"), right_kept.take().expect("open"));
        ends.0.pipe(&ends.1);
        ends.1.pipe(&ends.0);
        end(&mut left).await;
        assert_eq!(rest(&mut right).await, b"");
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_secs(20)).await;
            say(&mut right, "still").await;
            hear(&mut left, "still").await;
        }
        assert_eq!(rest(&mut left).await, b"", "the silence of the right one is a fault");
    });
}
