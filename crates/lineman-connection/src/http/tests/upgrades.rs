//! HTTP and WebSocket on one port and on one connection: a request for a WebSocket finds its driver,
//! whatever came before it and whatever comes right behind.

use super::listing::{only_row, rows};
use super::*;
use crate::connection::{Connection, Handlers, Serve, WebSocket, messages};

const GET: &str = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
pub(super) const UPGRADE: &str = "GET /ws?x HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const FRAME: &[u8] = b"\x81\x82\x01\x02\x03\x04\x69\x6b";
const ECHOED: &[u8] = b"\x81\x02hi";

/// Echoes, with the peer's address behind the first message.
fn peers() -> Serve<WebSocket> {
    let message =
        messages(async |connection: Connection<WebSocket>, message| connection.send(message));
    let handlers = Handlers { message: Some(message), ..Handlers::default() };
    Serve::peers(WebSocket::server, Rc::new(handlers))
}

fn beside(table: &Table, seen: &Seen) -> SocketAddr {
    let (listener, address) = listener();
    let serve = peers().http(Some(Http::new(Echo(seen.clone()))));
    table.listen(listener, serve).expect("a place in the table");
    address
}

fn on_a_path(table: &Table, seen: &Seen) -> SocketAddr {
    let (listener, address) = listener();
    let (http, websockets) = (Http::new(Echo(seen.clone())), vec![("/ws".to_owned(), peers())]);
    table.listen_http(listener, http, Front::default(), websockets).expect("a place in the table");
    address
}

async fn hear_echo(peer: &mut TcpStream) {
    let mut echoed = [0; 4];
    peer.read_exact(&mut echoed).await.expect("a frame");
    assert_eq!(echoed, *ECHOED);
}

async fn hear_accepted(peer: &mut TcpStream) {
    let head = hear_head(peer).await;
    assert_eq!(statuses(&head), [101]);
    assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
}

#[test]
fn a_connection_is_http_until_it_asks_for_a_websocket() {
    with_table(async |table| {
        for listen in [beside, on_a_path] {
            let seen = Seen::default();
            let mut peer = connect(listen(&table, &seen)).await;
            for _ in 0..2 {
                say(&mut peer, GET).await;
                assert_eq!(statuses(&hear(&mut peer).await), [200]);
            }
            say(&mut peer, UPGRADE).await;
            hear_accepted(&mut peer).await;
            say(&mut peer, FRAME).await;
            hear_echo(&mut peer).await;
            assert_eq!(table.len(), 1, "it is one connection");
            assert_eq!(seen.0.take(), ["GET /a h", "GET /a h"]);
            // It idles as a WebSocket does: without a deadline.
            sleep(seconds(24 * 3600)).await;
            say(&mut peer, FRAME).await;
            hear_echo(&mut peer).await;
            drop(peer);
            table.emptied().await;
        }
    });
}

#[test]
fn nothing_is_lost_between_http_and_websocket() {
    let all = [GET.as_bytes(), GET.as_bytes(), UPGRADE.as_bytes(), FRAME, FRAME].concat();
    with_table(async |table| {
        for listen in [beside, on_a_path] {
            let address = listen(&table, &Seen::default());
            for split in (0..all.len()).step_by(7) {
                let mut peer = connect(address).await;
                peer.set_nodelay(true).expect("no delay");
                let (first, second) = all.split_at(split);
                say(&mut peer, first).await;
                sleep(seconds(1)).await;
                say(&mut peer, second).await;
                for _ in 0..2 {
                    assert_eq!(statuses(&hear(&mut peer).await), [200]);
                }
                hear_accepted(&mut peer).await;
                for _ in 0..2 {
                    hear_echo(&mut peer).await;
                }
            }
        }
    });
}

#[test]
fn the_websockets_driver_refuses_what_it_would_refuse() {
    with_table(async |table| {
        for listen in [beside, on_a_path] {
            let address = listen(&table, &Seen::default());
            for (good, bad) in [("Version: 13", "Version: 12"), ("Key: dGhl", "Key: ")] {
                let broken = UPGRADE.replace(good, bad);
                let mut direct = connect(beside(&table, &Seen::default())).await;
                say(&mut direct, &broken).await;
                let expected = rest(&mut direct).await;
                let mut peer = connect(address).await;
                say(&mut peer, GET).await;
                hear(&mut peer).await;
                say(&mut peer, &broken).await;
                assert_eq!(rest(&mut peer).await, expected);
            }
        }
    });
}

#[test]
fn what_is_no_request_for_this_websocket_is_the_services() {
    let elsewhere = UPGRADE.replace("/ws", "/elsewhere");
    let with_body = UPGRADE.replace("Host: h\r\n", "Host: h\r\nContent-Length: 2\r\n") + "hi";
    let without = UPGRADE.replace("Upgrade: websocket\r\n", "");
    with_table(async |table| {
        let seen = Seen::default();
        let mut peer = connect(on_a_path(&table, &seen)).await;
        for request in [elsewhere, with_body, without] {
            say(&mut peer, request).await;
            assert_eq!(statuses(&hear(&mut peer).await), [200]);
        }
        let expected = ["GET /elsewhere h", "GET /ws h hi", "GET /ws h"];
        assert_eq!(seen.0.take(), expected);
    });
}

#[test]
fn a_drain_tells_a_websocket_that_was_http() {
    with_table(async |table| {
        let mut peer = connect(on_a_path(&table, &Seen::default())).await;
        say(&mut peer, UPGRADE).await;
        hear_accepted(&mut peer).await;
        assert_eq!(table.close_all(&crate::connection::CloseReason::GoingAway), 1);
        let mut close = [0; 4];
        peer.read_exact(&mut close).await.expect("a close frame");
        assert_eq!((close[0], u16::from_be_bytes([close[2], close[3]])), (0x88, 1001));
    });
}

#[test]
fn a_connection_that_goes_back_is_one_row_with_its_number() {
    with_table(async |table| {
        for listen in [beside, on_a_path] {
            let mut peer = connect(listen(&table, &Seen::default())).await;
            say(&mut peer, GET).await;
            let answer = hear(&mut peer).await;
            let before = only_row(&table);
            assert_eq!(before.protocol, "http/1.1");
            say(&mut peer, UPGRADE).await;
            let head = hear_head(&mut peer).await;
            say(&mut peer, FRAME).await;
            hear_echo(&mut peer).await;
            let row = only_row(&table);
            assert_eq!((row.protocol.as_str(), row.state.as_str()), ("websocket", "open"));
            assert_eq!((row.id, &row.peer, &row.local), (before.id, &before.peer, &before.local));
            assert_eq!((row.messages_in, row.messages_out), (2, 2), "a request and a message");
            assert_eq!(row.bytes_in, (GET.len() + UPGRADE.len() + FRAME.len()) as u64);
            assert_eq!(row.bytes_out, (answer.len() + head.len() + ECHOED.len()) as u64);
            drop(peer);
            table.emptied().await;
            assert_eq!(rows(&table), []);
        }
    });
}

#[test]
fn a_list_in_slices_meets_each_connection_once_whatever_it_becomes() {
    with_table(async |table| {
        for listen in [beside, on_a_path] {
            let address = listen(&table, &Seen::default());
            for upgrades in 0..4 {
                let mut peers = Vec::new();
                for _ in 0..4 {
                    let mut peer = connect(address).await;
                    say(&mut peer, GET).await;
                    hear(&mut peer).await;
                    peers.push(peer);
                }
                let (mut listed, next) = table.rows(0, 2);
                say(&mut peers[upgrades], UPGRADE).await;
                hear_accepted(&mut peers[upgrades]).await;
                let (rest, end) = table.rows(next.expect("two more"), 2);
                assert!(end.is_none_or(|end| table.rows(end, 2).0.is_empty()));
                listed.extend(rest);
                let mut ids: Vec<u64> = listed.iter().map(|row| row.id).collect();
                ids.sort_unstable();
                ids.dedup();
                assert_eq!((ids.len(), listed.len()), (4, 4), "{listed:?}");
                drop(peers);
                table.emptied().await;
            }
        }
    });
}
