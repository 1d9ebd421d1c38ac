//! Datagrams on real sockets: what is in one, who answers, what is dropped, what does no harm.

use std::net::{IpAddr, Ipv4Addr};

use lineman_wire::Protocol;
use lineman_wire::text::Text;
use tokio::net::UdpSocket;

use super::*;
use crate::connection::datagram::{self, Peer, Service};

fn serve<P: Protocol>(
    table: &Table,
    at: &str,
    make: impl Fn() -> P + 'static,
    handler: impl AsyncFn(Peer<P>, P::Inbound) -> crate::Result + 'static,
) -> SocketAddr {
    let socket = std::net::UdpSocket::bind(at).expect("a port");
    let address = socket.local_addr().expect("an address");
    let handler = Some(datagram::handler(handler));
    table.receive(socket, Service { make: Box::new(make), handler }).expect("a place");
    address
}

fn echo(table: &Table, at: &str) -> SocketAddr {
    serve(table, at, Text::default, async |peer, line| peer.send(line))
}

async fn peer_of(address: SocketAddr) -> UdpSocket {
    let any = if address.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
    let socket = UdpSocket::bind(any).await.expect("a socket");
    socket.connect(address).await.expect("connected");
    socket
}

async fn hear(socket: &UdpSocket) -> String {
    let mut bytes = vec![0; 65_535];
    let count = socket.recv(&mut bytes).await.expect("a datagram");
    String::from_utf8_lossy(&bytes[..count]).into_owned()
}

#[test]
fn a_datagram_holds_many_messages_and_each_answer_is_a_datagram() {
    with_table(async |table| {
        for at in ["127.0.0.1:0", "[::1]:0"] {
            let peer = peer_of(echo(&table, at)).await;
            peer.send(b"one\ntwo\r\n").await.expect("sent");
            assert_eq!(hear(&peer).await, "one\n");
            assert_eq!(hear(&peer).await, "two\n");
        }
        assert_eq!(table.stats().messages_in, 4);
        assert_eq!(table.stats().messages_out, 4);
        assert_eq!((table.stats().bytes_in, table.stats().bytes_out), (18, 16));
    });
}

#[test]
fn what_is_left_over_is_malformed_and_joins_nothing() {
    with_table(async |table| {
        let peer = peer_of(echo(&table, "127.0.0.1:0")).await;
        for datagram in [&b"whole\nhal"[..], b"f\n", b"", b"\xff\xfe\n", b"last\n"] {
            peer.send(datagram).await.expect("sent");
        }
        for expected in ["whole\n", "f\n", "last\n"] {
            assert_eq!(hear(&peer).await, expected);
        }
        assert_eq!(table.stats().protocol_errors, 2);
    });
}

#[test]
fn the_largest_datagram_fits_and_a_larger_message_is_an_error() {
    with_table(async |table| {
        let log = Log::default();
        let told = log.clone();
        let address = serve(&table, "127.0.0.1:0", Text::default, async move |peer, line| {
            let error = peer.send(format!("{line}x")).expect_err("one byte too many");
            told.add(error.to_string());
            peer.send(line)
        });
        let peer = peer_of(address).await;
        let line = format!("{}\n", "x".repeat(65_506));
        peer.send(line.as_bytes()).await.expect("sent");
        assert_eq!(hear(&peer).await, line);
        log.until("65508 bytes fit no datagram").await;
    });
}

#[test]
fn the_answer_comes_from_the_address_that_was_written_to() {
    with_table(async |table| {
        let address = serve(&table, "[::]:0", Text::default, async |peer, _line| {
            let local = peer.local_ip().map(|ip| ip.to_string()).unwrap_or_default();
            peer.send(format!("{} at {local}", peer.peer_addr().ip()))
        });
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        // One of this machine's that the kernel would not choose by itself.
        let unusual = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)), address.port());
        socket.send_to(b"who\n", unusual).await.expect("sent");
        let mut bytes = [0; 64];
        let (count, from) = socket.recv_from(&mut bytes).await.expect("an answer");
        assert_eq!((&bytes[..count], from), (&b"127.0.0.1 at 127.0.0.2\n"[..], unusual));
    });
}

#[test]
fn a_peer_that_is_gone_does_no_harm() {
    with_table(async |table| {
        let gone = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
        let gone = gone.local_addr().expect("an address");
        let address = serve(&table, "127.0.0.1:0", Text::default, async move |peer, line| {
            peer.send_to(gone, "anybody?")?;
            peer.send(line)
        });
        let peer = peer_of(address).await;
        for _ in 0..3 {
            peer.send(b"here\n").await.expect("sent");
            assert_eq!(hear(&peer).await, "here\n");
        }
    });
}

#[test]
fn handlers_that_wait_are_bounded_and_a_drain_waits_for_them() {
    with_table(async |table| {
        let gate = Rc::new(tokio::sync::Semaphore::new(0));
        let opened = Rc::clone(&gate);
        let address = serve(&table, "127.0.0.1:0", Text::default, async move |_peer, _line| {
            let _pass = gate.acquire().await?;
            Ok(())
        });
        let peer = peer_of(address).await;
        for _ in 0..103 {
            peer.send(b"1\n2\n3\n4\n5\n6\n7\n8\n9\n0\n").await.expect("sent");
            tokio::task::yield_now().await;
        }
        while table.stats().datagrams_dropped == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!((table.len(), table.stats().messages_in), (1024, 1024));
        table.stop_accepting();
        opened.add_permits(1);
        table.emptied().await;
    });
}

#[test]
fn an_answer_after_the_end_is_refused_and_an_error_is_counted() {
    with_table(async |table| {
        let gate = Rc::new(tokio::sync::Notify::new());
        let (opened, log) = (Rc::clone(&gate), Log::default());
        let told = log.clone();
        let address = serve(&table, "127.0.0.1:0", Text::default, async move |peer, line| {
            told.add("begun");
            gate.notified().await;
            peer.send(line)
        });
        peer_of(address).await.send(b"late\n").await.expect("sent");
        log.until("begun").await;
        table.stop_accepting();
        opened.notify_one();
        table.emptied().await;
        assert_eq!(table.stats().handler_errors, 1);
    });
}

#[test]
fn a_handler_that_panics_costs_its_message_alone() {
    with_table(async |table| {
        let address = serve(&table, "127.0.0.1:0", Text::default, async |peer, line: String| {
            assert_ne!(line, "bad");
            peer.send(line)
        });
        let peer = peer_of(address).await;
        peer.send(b"bad\ngood\n").await.expect("sent");
        assert_eq!(hear(&peer).await, "good\n");
        assert_eq!(table.stats().handler_errors, 1);
    });
}
