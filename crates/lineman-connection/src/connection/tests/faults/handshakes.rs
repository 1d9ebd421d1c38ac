//! The bound of handshakes is a listener's own: what happens elsewhere costs it none.

use super::*;
use crate::websocket::ClientRequest;

/// A listener whose peers shake hands, so many at once.
fn shaking(table: &Table, handshakes: usize) -> SocketAddr {
    let limits = Limits { handshakes, ..Limits::default() };
    let handlers = Rc::new(Handlers::<WebSocket>::default());
    serve(table, Serve::peers(WebSocket::server, handlers).limits(limits))
}

async fn half_open(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    let mut streams = Vec::new();
    for _ in 0..count {
        streams.push(connect(address).await);
        settle().await;
    }
    streams
}

/// Returns which of them are still waited for.
async fn kept(streams: &[TcpStream]) -> Vec<bool> {
    settle().await;
    let would_block = std::io::ErrorKind::WouldBlock;
    let is_kept = |stream: &TcpStream| {
        stream.try_read(&mut [0]).is_err_and(|error| error.kind() == would_block)
    };
    streams.iter().map(is_kept).collect()
}

#[test]
fn a_flood_of_handshakes_at_one_listener_costs_another_none() {
    paused(async |table| {
        let (flooded, innocent) = (shaking(&table, 3), shaking(&table, 3));
        let before = half_open(innocent, 1).await;
        let flood = half_open(flooded, 5).await;
        let after = half_open(innocent, 1).await;
        assert_eq!(kept(&before).await, [true], "came before the flood");
        assert_eq!(kept(&after).await, [true], "came after it");
        assert_eq!(kept(&flood).await, [false, false, true, true, true]);
        assert_eq!(table.stats().handshakes_failed, 2);
    });
}

#[test]
fn floods_at_two_listeners_are_bounded_together() {
    paused(async |table| {
        let (first, second) = (shaking(&table, 3), shaking(&table, 2));
        let mut streams = Vec::new();
        for _ in 0..10 {
            streams.extend(half_open(first, 1).await);
            streams.extend(half_open(second, 1).await);
        }
        let kept = kept(&streams).await;
        let of = |which: usize| kept.iter().skip(which).step_by(2).filter(|kept| **kept).count();
        assert_eq!((of(0), of(1)), (3, 2));
        assert_eq!(table.len(), 5);
        assert_eq!(table.stats().handshakes_failed, 15);
    });
}

#[test]
fn our_own_handshakes_with_others_cost_a_listener_none() {
    paused(async |table| {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = silent.local_addr().expect("an address");
        let make = WebSocket::client(ClientRequest::new("silent", "/")).expect("a good request");
        let links = Rc::new(Serve::links(make, Rc::new(Handlers::default())));
        let outgoing = table.connect(address, &links).expect("begun");
        settle().await;
        let peers = half_open(shaking(&table, 1), 1).await;
        assert_eq!(kept(&peers).await, [true]);
        assert!(!outgoing.is_open(), "it is still in its handshake");
    });
}

#[test]
fn a_second_handshake_is_as_old_as_it_is() {
    paused(async |table| {
        let files = crate::tls::tests::Files::new();
        let log = Log::default();
        let heard = log.clone();
        let next = Rc::new(RefCell::new(None::<Rc<Serve<WebSocket>>>));
        let then = Rc::clone(&next);
        let handlers = Handlers {
            message: Some(messages(async move |connection: Connection<Text>, line: String| {
                heard.add(&line);
                match (line.as_str(), &*then.borrow()) {
                    ("websocket", Some(next)) => connection.change_protocol(next),
                    _ => connection.start_tls()?,
                }
                Ok(())
            })),
            ..Handlers::default()
        };
        let limits = Limits { handshakes: 2, ..Limits::default() };
        let tls_on_demand = Some(files.tls("server"));
        let front = Front { limits, tls_on_demand, ..Front::default() };
        let first = Serve::peers(Text::default, Rc::new(handlers)).front(front);
        let second = Serve::peers(WebSocket::server, Rc::new(Handlers::default())).beside(&first);
        next.replace(Some(Rc::new(second)));
        let address = serve(&table, first);
        let mut streams = Vec::new();
        let mut twice = connect(address).await;
        say(&mut twice, "tls\n").await;
        settle().await;
        let mut twice = tls::secure(twice, &files).await;
        for _ in 0..2 {
            let mut once = connect(address).await;
            say(&mut once, "tls\n").await;
            settle().await;
            streams.push(once);
            if streams.len() == 1 {
                twice.write_all(b"websocket\n").await.expect("written");
                twice.flush().await.expect("sent");
                log.until("websocket").await;
                settle().await;
            }
        }
        assert_eq!(table.len(), 2);
        assert_eq!(kept(&streams).await, [false, true], "the oldest gives way");
    });
}
