//! Outgoing connections on real sockets of the loopback, with the clock paused: it leaps to the next
//! deadline when nobody has anything to do, so limits and waits are met exactly.

mod proxies;
mod websockets;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::LocalSet;
use tokio::time::Instant;

use super::*;
use crate::connection::{Front, SendError};
use crate::tls::tests::Files;

fn run<F: Future<Output = ()>>(test: impl FnOnce() -> F) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().start_paused(true).build().expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let table = Table::new().expect("a table");
        tokio::task::spawn_local(async move { table.run().await });
        test().await;
    });
}

/// A list that handlers append to, and tests wait for.
#[derive(Clone, Default)]
struct Log(Rc<RefCell<Vec<String>>>, Rc<Notify>);

impl Log {
    fn add(&self, line: impl Into<String>) {
        self.0.borrow_mut().push(line.into());
        self.1.notify_one();
    }

    /// Waits for that many lines and returns them.
    async fn lines(&self, count: usize) -> Vec<String> {
        while self.0.borrow().len() < count {
            self.1.notified().await;
        }
        self.0.borrow().clone()
    }
}

/// Notes everything that happens.
fn noting<P>(outgoing: Outgoing<P>, log: &Log) -> Outgoing<P>
where
    P: Protocol<Inbound = String>,
{
    let [up, message, closed] = [log.clone(), log.clone(), log.clone()];
    outgoing
        .on_connect(async move |_connection| {
            up.add("up");
            Ok(())
        })
        .on_message(async move |_connection, line| {
            message.add(line);
            Ok(())
        })
        .on_close(async move |_connection, reason| {
            closed.add(reason.to_string());
            Ok(())
        })
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

/// An address where nobody listens.
async fn nobody() -> SocketAddr {
    listen().await.1
}

async fn accept(listener: &TcpListener) -> BufReader<TcpStream> {
    BufReader::new(listener.accept().await.expect("a connection").0)
}

async fn say(stream: &mut BufReader<TcpStream>, text: &str) {
    stream.get_mut().write_all(text.as_bytes()).await.expect("written");
}

async fn hear(stream: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    stream.read_line(&mut line).await.expect("a line");
    line
}

#[test]
fn lines_go_both_ways() {
    run(async || {
        let (listener, address) = listen().await;
        let log = Log::default();
        let outgoing = noting(Outgoing::text(address.to_string()), &log);
        let handle = outgoing.connect().expect("a good address");
        let early = handle.send("early").expect_err("it is not open yet");
        assert_eq!(early.downcast_ref(), Some(&SendError::NotOpen));
        let mut peer = accept(&listener).await;
        log.lines(1).await;
        handle.send("hello").expect("it is open");
        assert_eq!(hear(&mut peer).await, "hello\n");
        assert_eq!(handle.connection().expect("open").peer_addr(), address.into());
        say(&mut peer, "hi\n").await;
        assert_eq!(log.lines(2).await, ["up", "hi"]);
        handle.close();
        assert_eq!(hear(&mut peer).await, "");
        drop(peer);
        assert_eq!(log.lines(3).await, ["up", "hi", "closed by us"]);
        assert!(handle.is_ended());
        let late = handle.send("late").expect_err("it is closed");
        assert_eq!(late.downcast_ref(), Some(&SendError::Closed));
    });
}

#[test]
fn both_families_and_paths_and_names() {
    run(async || {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("socket");
        let unix = tokio::net::UnixListener::bind(&path).expect("a path");
        let v4 = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let v6 = TcpListener::bind("[::1]:0").await.expect("a port");
        let port = v4.local_addr().expect("an address").port();
        for address in [
            v4.local_addr().expect("an address").to_string(),
            v6.local_addr().expect("an address").to_string(),
            format!("unix:{}", path.display()),
            format!("localhost:{port}"),
        ] {
            let log = Log::default();
            let handle = noting(Outgoing::text(&address), &log).connect().expect("it is good");
            assert_eq!(log.lines(1).await, ["up"], "{address}");
            handle.cancel();
            assert_eq!(log.lines(2).await, ["up", "closed by us"]);
        }
        drop(unix);
    });
}

#[test]
fn a_refused_attempt_is_told_once_with_address_and_reason() {
    run(async || {
        let address = nobody().await;
        let log = Log::default();
        let handle = noting(Outgoing::text(address.to_string()), &log).connect();
        let handle = handle.expect("a good address");
        let lines = log.lines(1).await;
        let expected = format!("connect failed: {address}: Connection refused");
        assert!(lines[0].starts_with(&expected), "{lines:?}");
        tokio::time::sleep(Duration::from_secs(100)).await;
        assert_eq!(log.lines(1).await.len(), 1);
        assert!(handle.is_ended());
    });
}

#[test]
fn a_peer_that_accepts_and_never_speaks_meets_the_limit() {
    run(async || {
        let (listener, address) = listen().await;
        let log = Log::default();
        let began = Instant::now();
        // A proxy has to speak first, and this one does not.
        let outgoing = Outgoing::text("example.org:1").proxy(Proxy::socks5(address.to_string()));
        let handle = noting(outgoing.connect_limit(Duration::from_secs(7)), &log).connect();
        let _handle = handle.expect("good addresses");
        let _silent = accept(&listener).await;
        let reason = "connect failed: example.org:1: no answer within 7s";
        assert_eq!(log.lines(1).await, [reason]);
        assert_eq!(began.elapsed(), Duration::from_secs(7));
    });
}

#[test]
fn an_address_that_does_not_answer_meets_the_limit() {
    run(async || {
        let (address, _full) = black_hole();
        let log = Log::default();
        let began = Instant::now();
        let outgoing = Outgoing::text(address.to_string()).connect_limit(Duration::from_secs(3));
        let _handle = noting(outgoing, &log).connect().expect("a good address");
        let reason = format!("connect failed: {address}: no answer within 3s");
        assert_eq!(log.lines(1).await, [reason]);
        assert_eq!(began.elapsed(), Duration::from_secs(3));
    });
}

/// The kernel's clock counts here, which does not leap.
#[test]
fn a_peer_that_takes_nothing_for_the_limit_is_given_up() {
    run(async || {
        let (listener, address) = listen().await;
        let log = Log::default();
        let limits = Limits { send_queue: usize::MAX, ..Limits::default() };
        let outgoing = Outgoing::text(address.to_string()).limits(limits);
        let outgoing = outgoing.unanswered_limit(Duration::from_millis(200));
        let handle = noting(outgoing, &log).connect().expect("a good address");
        let _silent = accept(&listener).await;
        log.lines(1).await;
        handle.send("x".repeat(64 * 1024 * 1024)).expect("it is open");
        let lines = log.lines(2).await;
        assert!(lines[1].contains("Connection timed out"), "{lines:?}");
    });
}

#[test]
fn a_cancelled_attempt_ends_at_once() {
    run(async || {
        let (listener, address) = listen().await;
        let log = Log::default();
        let outgoing = Outgoing::text("example.org:1").proxy(Proxy::http(address.to_string()));
        let outgoing = outgoing.reconnect(Reconnect::default());
        let handle = noting(outgoing, &log).connect().expect("good addresses");
        let mut silent = accept(&listener).await;
        handle.cancel();
        assert_eq!(log.lines(1).await, ["closed by us"]);
        while !hear(&mut silent).await.is_empty() {}
        tokio::time::sleep(Duration::from_secs(100)).await;
        assert_eq!(log.lines(1).await.len(), 1);
    });
}

/// Waits as long as the policy's bound allows, each time.
fn longest(mut outgoing: Outgoing, policy: Reconnect) -> Outgoing {
    let failures = Rc::new(Cell::new(0));
    outgoing.random = Box::new(move || {
        failures.set(failures.get() + 1);
        let seconds = 2_u64.pow(failures.get() - 1).min(60);
        seconds * 1_000_000_000
    });
    outgoing.reconnect(policy)
}

#[test]
fn it_connects_again_with_growing_waits() {
    run(async || {
        let address = nobody().await;
        let (log, times) = (Log::default(), Rc::new(RefCell::new(Vec::new())));
        let outgoing = longest(Outgoing::text(address.to_string()), Reconnect::default());
        let (began, noted, told) = (Instant::now(), Rc::clone(&times), log.clone());
        let outgoing = outgoing.on_close(async move |_connection, _reason| {
            noted.borrow_mut().push(began.elapsed().as_secs());
            told.add("closed");
            Ok(())
        });
        let handle = outgoing.connect().expect("a good address");
        log.lines(8).await;
        assert_eq!(*times.borrow(), [0, 1, 3, 7, 15, 31, 63, 123]);
        handle.close();
        tokio::time::sleep(Duration::from_secs(1000)).await;
        assert_eq!(times.borrow().len(), 8);
    });
}

#[test]
fn it_comes_back_when_the_server_does() {
    run(async || {
        let (listener, address) = listen().await;
        let log = Log::default();
        let outgoing = Outgoing::text(address.to_string()).reconnect(Reconnect::default());
        let handle = noting(outgoing, &log).connect().expect("a good address");
        drop(accept(&listener).await);
        assert_eq!(log.lines(2).await, ["up", "closed by peer"]);
        assert!(!handle.is_ended() && !handle.is_open());
        let between = handle.send("lost").expect_err("there is no connection");
        assert_eq!(between.downcast_ref(), Some(&SendError::NotOpen));
        let mut peer = accept(&listener).await;
        assert_eq!(log.lines(3).await[2], "up");
        handle.send("again").expect("it is open");
        assert_eq!(hear(&mut peer).await, "again\n");
        // A handler that closes the connection has a new one made; the handle's close is the last.
        handle.connection().expect("open").close(CloseReason::Local);
        drop(peer);
        let _peer = accept(&listener).await;
        assert_eq!(log.lines(5).await[3..], ["closed by us", "up"]);
        handle.cancel();
        assert_eq!(log.lines(6).await[5], "closed by us");
    });
}

#[test]
fn it_ends_with_the_process() {
    run(async || {
        let (listener, address) = listen().await;
        let log = Log::default();
        let outgoing = Outgoing::text(address.to_string()).reconnect(Reconnect::default());
        let handle = noting(outgoing, &log).connect().expect("a good address");
        let mut peer = accept(&listener).await;
        log.lines(1).await;
        let table = Table::current().expect("a table");
        assert!(table.is_empty(), "a drain does not wait for it");
        table.stop_accepting();
        handle.send("still").expect("it lives through a drain");
        assert_eq!(hear(&mut peer).await, "still\n");
        table.close_all(&CloseReason::GoingAway);
        assert_eq!(hear(&mut peer).await, "");
        drop(peer);
        assert_eq!(log.lines(2).await, ["up", "server going away"]);
        assert!(handle.is_ended());
    });
}

#[test]
fn what_cannot_work_is_said_at_once() {
    let no_worker = Outgoing::text("127.0.0.1:1").connect().expect_err("no worker");
    let expected = "cannot connect to 127.0.0.1:1: connect in a worker: in on_start or a handler";
    assert_eq!(no_worker.to_string(), expected);
    run(async || {
        let through = |address: &str, proxy| Outgoing::text(address).proxy(proxy);
        let long = "p".repeat(256);
        for (outgoing, problem) in [
            (Outgoing::text("nowhere"), "write it as host:port or unix:/path"),
            (through("a:1", Proxy::http("b")), "proxy b: write it as host:port or unix:/path"),
            (through("unix:/a", Proxy::http("b:1")), "a proxy cannot reach a unix socket"),
            (
                through("a:1", Proxy::socks5("b:1").credentials("u", long)),
                "user or password has not 1 to 255 bytes",
            ),
        ] {
            let error = outgoing.connect().expect_err(problem).to_string();
            assert!(error.ends_with(problem), "{error}");
        }
        let proxy = Proxy::socks5("a:1").credentials("user", "swordfish");
        assert!(!format!("{proxy:?}").contains("swordfish"));
    });
}

/// Our server and our client, both on the table.
#[test]
fn tls_both_ways_and_a_stranger_is_refused() {
    run(async || {
        let files = Files::new();
        let log = Log::default();
        let handlers = Handlers {
            message: Some(messages(async |connection: Connection<Text>, line: String| {
                connection.send(format!("{line} {}", connection.tls().is_some()))
            })),
            ..Handlers::default()
        };
        let front = Front { tls: Some(files.tls("server")), ..Front::default() };
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let serve = Serve::peers(Text::default, Rc::new(handlers)).front(front);
        let table = Table::current().expect("a table");
        table.listen(listener, serve).expect("a place in the table");

        let to_us = || Outgoing::text(format!("localhost:{}", address.port()));
        let handle = noting(to_us().tls(files.client_tls()), &log).connect().expect("begun");
        log.lines(1).await;
        handle.send("secret").expect("it is open");
        assert_eq!(log.lines(2).await, ["up", "secret true"]);
        handle.close();

        let stranger = Log::default();
        let elsewhere = Files::new();
        noting(to_us().tls(elsewhere.client_tls()), &stranger).connect().expect("begun");
        let reason = stranger.lines(1).await.remove(0);
        assert!(reason.contains("no authority we trust"), "{reason}");
    });
}
