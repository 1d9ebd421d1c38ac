//! Peers behind proxies: who is believed, and who a handler sees.

use lineman_wire::proxy_protocol::Header;
use lineman_wire::text::Text;

use super::*;

/// Answers each line with the peer's address.
fn who(table: &Table, front: Front) -> SocketAddr {
    let handlers = Handlers {
        message: Some(messages(async |connection: Connection<Text>, _: String| {
            connection.send(connection.peer_addr().to_string())
        })),
        ..Handlers::default()
    };
    serve(table, Serve::peers(Text::default, Rc::new(handlers)).front(front))
}

pub(super) fn front(proxies: Proxies) -> Front {
    Front { proxies: Some(proxies), ..Front::default() }
}

pub(super) fn trusted(networks: &str) -> Proxies {
    Proxies::trust(networks.parse().expect("networks"))
}

const V1: &str = "PROXY TCP4 203.0.113.9 192.0.2.1 40000 443\r\n";

#[test]
fn a_trusted_header_tells_the_client_for_any_split() {
    let mut v2 = BytesMut::new();
    let source = SocketAddr::from(([203, 0, 113, 9], 40000));
    let header = Header::tcp(source, SocketAddr::from(([192, 0, 2, 1], 443)));
    header.encode_v2(&mut v2).expect("encoded");
    for head in [V1.as_bytes(), &v2[..]] {
        let stream = [head, b"who\n"].concat();
        for split in 0..stream.len() {
            with_table(async |table| {
                let address = who(&table, front(trusted("127.0.0.0/8").proxy_protocol()));
                let mut peer = connect(address).await;
                let (first, second) = stream.split_at(split);
                say(&mut peer, first).await;
                tokio::task::yield_now().await;
                say(&mut peer, second).await;
                hear(&mut peer, "203.0.113.9:40000\n").await;
            });
        }
    }
}

#[test]
fn a_proxy_that_does_not_tell_is_closed() {
    with_table(async |table| {
        let address = who(&table, front(trusted("127.0.0.1").proxy_protocol()));
        let mut peer = connect(address).await;
        say(&mut peer, "who\n").await;
        assert_eq!(rest(&mut peer).await, b"");
        assert_eq!(table.stats().protocol_errors, 1);
    });
}

#[test]
fn a_proxy_that_says_nothing_has_a_deadline() {
    with_table_and_paused_clock(async |table| {
        let address = who(&table, front(trusted("127.0.0.1").proxy_protocol()));
        let mut peer = connect(address).await;
        say(&mut peer, "PROXY TCP4 203.0.").await;
        assert_eq!(rest(&mut peer).await, b"");
        assert_eq!(table.stats().handshakes_failed, 1);
    });
}

#[test]
fn others_are_served_as_who_they_are_and_their_header_is_not_believed() {
    with_table(async |table| {
        let address = who(&table, front(trusted("192.0.2.0/24").proxy_protocol()));
        for head in ["", V1] {
            let mut peer = connect(address).await;
            say(&mut peer, format!("{head}who\n")).await;
            let own = peer.local_addr().expect("an address");
            hear(&mut peer, format!("{own}\n")).await;
        }
    });
}

#[test]
fn others_are_closed_where_that_is_asked_for() {
    with_table(async |table| {
        let proxies = trusted("192.0.2.0/24").proxy_protocol().others(Others::Refuse);
        let mut peer = connect(who(&table, front(proxies))).await;
        assert_eq!(rest(&mut peer).await, b"");
    });
}

#[test]
fn the_bound_of_an_address_is_the_clients_not_the_proxys() {
    with_table(async |table| {
        let limits = Limits { connections_per_address: 1, ..Limits::default() };
        let front = Front { limits, ..front(trusted("127.0.0.1").proxy_protocol()) };
        let address = who(&table, front);
        let mut first = connect(address).await;
        say(&mut first, format!("{V1}who\n")).await;
        hear(&mut first, "203.0.113.9:40000\n").await;
        let mut second = connect(address).await;
        say(&mut second, format!("{V1}who\n")).await;
        assert_eq!(rest(&mut second).await, b"");
        let mut third = connect(address).await;
        say(&mut third, "PROXY TCP4 203.0.113.7 192.0.2.1 1 443\r\nwho\n").await;
        hear(&mut third, "203.0.113.7:1\n").await;
        assert_eq!(table.stats().limited_addresses, 1);
        drop((first, third));
        table.emptied().await;
        let mut again = connect(address).await;
        say(&mut again, format!("{V1}who\n")).await;
        hear(&mut again, "203.0.113.9:40000\n").await;
    });
}

/// What a WebSocket's first handler sees, or how its request was refused.
async fn upgrade(proxies: Proxies, header: &str) -> String {
    let seen = Log::default();
    let heard = seen.clone();
    let handlers = Handlers::<WebSocket> {
        connect: Some(boxed(async move |connection: Connection<WebSocket>| {
            heard.add(connection.peer_addr().ip().expect("an address").to_string());
            Ok(())
        })),
        ..Handlers::default()
    };
    let table = Table::new().expect("a table");
    let served = table.clone();
    tokio::task::spawn_local(async move { served.run().await });
    let handlers = Serve::peers(WebSocket::server, Rc::new(handlers)).front(front(proxies));
    let mut peer = connect(serve(&table, handlers)).await;
    let request = websockets::REQUEST.replace("Host: a\r\n", &format!("Host: a\r\n{header}\r\n"));
    say(&mut peer, request).await;
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.push(peer.read_u8().await.expect("an answer"));
    }
    let status = String::from_utf8_lossy(&line).into_owned();
    seen.lines().pop().unwrap_or(status)
}

#[test]
fn headers_are_believed_from_trusted_addresses_alone() {
    with_table(async |_| {
        let local = "127.0.0.1, 10.0.0.0/8";
        let header = "X-Forwarded-For: 6.6.6.6, 203.0.113.9, 10.0.0.2";
        let x_forwarded = trusted(local).x_forwarded_for();
        assert_eq!(upgrade(x_forwarded.clone(), header).await, "203.0.113.9");
        assert_eq!(upgrade(x_forwarded, "X-Other: 1").await, "127.0.0.1");
        let forwarded = trusted(local).forwarded();
        let header_7239 = "Forwarded: for=\"[2001:db8::1]\", for=10.0.0.2";
        assert_eq!(upgrade(forwarded.clone(), header_7239).await, "2001:db8::1");
        assert_eq!(upgrade(forwarded, header).await, "127.0.0.1");
        let nobody = trusted("192.0.2.1").x_forwarded_for();
        assert_eq!(upgrade(nobody.clone(), header).await, "127.0.0.1");
        let refusal = upgrade(nobody.others(Others::Refuse), header).await;
        assert_eq!(refusal, "HTTP/1.1 400 Bad Request\r\n");
    });
}
