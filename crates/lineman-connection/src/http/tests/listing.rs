//! What `connections` and `status` tell of the connections that hyper serves.

use super::*;
use crate::connection::{CloseReason, Proxies, Row};

const GET: &str = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";

pub(super) fn rows(table: &Table) -> Vec<Row> {
    let (rows, next) = table.rows(0, usize::MAX);
    assert_eq!(next, None);
    rows
}

pub(super) fn only_row(table: &Table) -> Row {
    let rows = rows(table);
    let [row] = rows.as_slice() else { panic!("not one row: {rows:?}") };
    row.clone()
}

#[test]
fn a_kept_connection_is_a_row_until_it_closes() {
    with_table(async |table| {
        let address = listen(&table, Http::new(Echo(Seen::default())));
        let mut peer = connect(address).await;
        until_peers(&table, 1).await;
        let silent = only_row(&table);
        assert_eq!((silent.protocol.as_str(), silent.state.as_str()), ("http", "handshake"));
        let mut heard = 0;
        for requests in 1..=3 {
            say(&mut peer, GET).await;
            heard += hear(&mut peer).await.len() as u64;
            let row = only_row(&table);
            assert_eq!((row.protocol.as_str(), row.state.as_str()), ("http/1.1", "open"));
            assert_eq!((row.messages_in, row.messages_out), (requests, requests));
            assert_eq!((row.bytes_in, row.bytes_out), (requests * GET.len() as u64, heard));
            assert_eq!(row.peer, peer.local_addr().expect("an address").to_string());
            assert_eq!((row.local, row.id, row.tls), (address.to_string(), silent.id, None));
            assert!(row.age_ms.is_some());
            let stats = table.stats();
            assert_eq!((stats.connections, stats.accepted), (1, 1));
            assert_eq!((stats.messages_in, stats.messages_out), (requests, requests));
            assert_eq!((stats.bytes_in, stats.bytes_out), (row.bytes_in, row.bytes_out));
        }
        drop(peer);
        table.emptied().await;
        assert_eq!(rows(&table), []);
        assert_eq!(table.stats().messages_in, 3, "sums stay");
    });
}

#[test]
fn a_proxys_connection_shows_who_asked_last() {
    with_table(async |table| {
        let proxies = Proxies::trust("127.0.0.1".parse().expect("a network")).x_forwarded_for();
        let front = Front { proxies: Some(proxies), ..Front::default() };
        let address = listen_with(&table, Http::new(Echo(Seen::default())), front);
        let mut proxy = connect(address).await;
        for client in ["192.0.2.7", "192.0.2.8"] {
            say(&mut proxy, GET.replace("Host", &format!("X-Forwarded-For: {client}\r\nHost")))
                .await;
            hear(&mut proxy).await;
            let peer = only_row(&table).peer;
            assert!(peer.starts_with(client), "{peer}");
        }
        say(&mut proxy, GET).await;
        hear(&mut proxy).await;
        let own = proxy.local_addr().expect("an address").to_string();
        assert_eq!(only_row(&table).peer, own, "it asks for itself");
    });
}

#[test]
fn a_drain_and_an_end_show_as_closing() {
    with_table(async |table| {
        let service = tower::service_fn(async |_: Request<Body>| {
            sleep(seconds(5)).await;
            Ok::<_, Infallible>(Response::new(String::new()))
        });
        let mut peer = connect(listen(&table, Http::new(service))).await;
        say(&mut peer, GET).await;
        // The paused clock leaps when everybody waits: the service has the request.
        sleep(seconds(1)).await;
        let row = only_row(&table);
        assert_eq!((row.state.as_str(), row.messages_in, row.messages_out), ("open", 1, 0));
        table.stop_accepting();
        sleep(seconds(1)).await;
        assert_eq!(only_row(&table).state, "closing");
        assert_eq!(table.close_all(&CloseReason::GoingAway), 0, "hyper has it");
        assert_eq!(statuses(&rest(&mut peer).await), [200]);
        assert_eq!(only_row(&table).state, "closing", "it waits for the peer's end");
        drop(peer);
        table.emptied().await;
        assert_eq!(rows(&table), []);
    });
}
