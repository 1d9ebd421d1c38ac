//! HTTP/2, as ALPN would have chosen it; the peer is hyper's client.

use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{Builder as Client, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::task::JoinHandle;

use super::super::serve::Local;
use super::*;
use crate::connection::{Stream, Transport};

struct Peer {
    requests: SendRequest<Full<Bytes>>,
    connection: JoinHandle<Result<(), hyper::Error>>,
}

/// Connects, and hands the other end to the service as the table would.
async fn connected(table: &Table, http: &Http) -> Peer {
    connected_as(&Client::new(Local), table, http).await
}

async fn connected_as(client: &Client<Local>, table: &Table, http: &Http) -> Peer {
    let (listener, address) = listener();
    let stream = connect(address).await;
    let (accepted, from) = listener.accept().expect("accepted");
    accepted.set_nonblocking(true).expect("a non-blocking socket");
    let transport =
        Transport::new(Stream::Tcp(mio::net::TcpStream::from_std(accepted)), None, None);
    let transit = Transit::alone(table, transport, from.into());
    http.take(table, transit, Spoken::Http2, Rc::default(), None);
    let (requests, connection) = client.handshake(TokioIo::new(stream)).await.expect("a handshake");
    Peer { requests, connection: tokio::task::spawn_local(connection) }
}

impl Peer {
    async fn ask(&mut self, path: &str, body: impl Into<Bytes>) -> (u16, String) {
        ask(&mut self.requests, path, body).await
    }
}

async fn ask(
    requests: &mut SendRequest<Full<Bytes>>,
    path: &str,
    body: impl Into<Bytes>,
) -> (u16, String) {
    let request = Request::post(format!("https://h{path}")).body(Full::new(body.into()));
    let answer = requests.send_request(request.expect("a sound request")).await.expect("an answer");
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.expect("a body").to_bytes();
    (status, String::from_utf8(body.to_vec()).expect("text"))
}

#[test]
fn requests_of_one_connection_run_at_once() {
    with_table(async |table| {
        let service = tower::service_fn(async |request: Request<Body>| {
            sleep(seconds(60)).await;
            let host = request.headers()["host"].to_str().expect("text").to_owned();
            Ok::<_, Infallible>(Response::new(host + request.uri().path()))
        });
        let mut peer = connected(&table, &Http::new(service)).await;
        let began = Instant::now();
        let mut asked = Vec::new();
        for number in 0..50 {
            let (path, mut requests) = (format!("/{number}"), peer.requests.clone());
            asked
                .push(tokio::task::spawn_local(async move { ask(&mut requests, &path, "").await }));
        }
        for (number, answer) in asked.into_iter().enumerate() {
            assert_eq!(answer.await.expect("done"), (200, format!("h/{number}")));
        }
        assert!(began.elapsed() < seconds(120), "they ran one after the other");
        assert_eq!(peer.ask("/again", "").await.1, "h/again");
    });
}

#[test]
fn what_a_peer_does_not_read_of_an_answer_counts() {
    with_table(async |table| {
        let service = tower::service_fn(async |_: Request<Body>| {
            Ok::<_, Infallible>(Response::new("x".repeat(10_000_000)))
        });
        let mut peer = connected(&table, &Http::new(service)).await;
        let request = Request::get("https://h/a").body(Full::default()).expect("a sound request");
        let answer = peer.requests.send_request(request).await.expect("an answer");
        sleep(seconds(1)).await;
        let held = table.stats().held_bytes;
        assert!(held >= 10_000_000, "{held}");
        answer.into_body().collect().await.expect("a body");
        sleep(seconds(1)).await;
        assert_eq!(table.stats().held_bytes, 0);
    });
}

#[test]
fn a_bound_met_costs_its_own_stream() {
    with_table(async |table| {
        let limits = Limits { body_size: 10, headers: 20, ..Limits::default() };
        let http = Http::new(Echo(Seen::default())).limits(limits);
        let mut peer = connected(&table, &http).await;
        assert_eq!(peer.ask("/a", "0123456789").await.0, 200);
        assert_eq!(peer.ask("/a", "0123456789x").await.0, 413);
        let many = (0..30).fold(Request::get("https://h/a"), |request, number| {
            request.header(format!("x-{number}"), "y")
        });
        let many = many.body(Full::default()).expect("a sound request");
        let refused = peer.requests.send_request(many).await.expect("an answer");
        assert_eq!(refused.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        assert_eq!(peer.ask("/a", "hi").await.0, 200);
    });
}

#[test]
fn an_idle_connection_is_said_goodbye_to() {
    with_table(async |table| {
        let mut peer = connected(&table, &Http::new(Echo(Seen::default()))).await;
        assert_eq!(peer.ask("/a", "").await.0, 200);
        let since = Instant::now();
        peer.connection.await.expect("no panic").expect("an orderly end");
        assert!(since.elapsed() >= Limits::default().keep_alive);
        table.emptied().await;
    });
}

#[test]
fn a_connection_without_a_request_ends() {
    with_table(async |table| {
        let peer = connected(&table, &Http::new(Echo(Seen::default()))).await;
        let since = Instant::now();
        peer.connection.await.expect("no panic").expect("an orderly end");
        assert!(since.elapsed() < seconds(20));
        table.emptied().await;
    });
}

#[test]
fn the_last_request_of_a_connection_is_the_last() {
    with_table(async |table| {
        let limits = Limits { requests: 2, ..Limits::default() };
        let http = Http::new(Echo(Seen::default())).limits(limits);
        let mut peer = connected(&table, &http).await;
        assert_eq!(peer.ask("/a", "").await.0, 200);
        assert_eq!(peer.ask("/b", "").await.0, 200);
        peer.connection.await.expect("no panic").expect("an orderly end");
        table.emptied().await;
    });
}

#[test]
fn a_drain_lets_what_is_under_way_finish() {
    with_table(async |table| {
        let service = tower::service_fn(async |_: Request<Body>| {
            sleep(seconds(5)).await;
            Ok::<_, Infallible>(Response::new("done".to_owned()))
        });
        let mut peer = connected(&table, &Http::new(service)).await;
        let draining = async {
            sleep(seconds(1)).await;
            table.stop_accepting();
        };
        let (answer, ()) = tokio::join!(peer.ask("/a", ""), draining);
        assert_eq!(answer, (200, "done".to_owned()));
        peer.connection.await.expect("no panic").expect("an orderly end");
        table.emptied().await;
    });
}

/// It takes longer than a connection may be idle, and never as long as an answer may be stuck.
#[test]
fn a_page_in_one_piece_reaches_who_takes_it_slowly() {
    const PAGE: usize = 512 * 1024;
    with_table(async |table| {
        let service = tower::service_fn(async |_: Request<Body>| {
            Ok::<_, Infallible>(Response::new("x".repeat(PAGE)))
        });
        let mut slow = Client::new(Local);
        slow.initial_stream_window_size(64 * 1024);
        let mut peer = connected_as(&slow, &table, &Http::new(service)).await;
        let request = Request::get("https://h/a").body(Full::default()).expect("sound");
        let mut answer = peer.requests.send_request(request).await.expect("a head");
        let (since, mut taken) = (Instant::now(), 0);
        while let Some(frame) = answer.body_mut().frame().await {
            taken += frame.expect("all of it").into_data().expect("data").len();
            sleep(seconds(10)).await;
        }
        assert_eq!(taken, PAGE);
        assert!(since.elapsed() > 2 * Limits::default().keep_alive);
    });
}

/// The connection is alive and answers pings; only the stream's window stays shut.
#[test]
fn an_answer_that_nobody_takes_ends_the_connection() {
    with_table(async |table| {
        let service = tower::service_fn(async |_: Request<Body>| {
            let pieces = (0..1024).map(|_| Ok::<_, Infallible>(vec![b'x'; 64 * 1024]));
            let body = AxumBody::from_stream(futures_util::stream::iter(pieces));
            Ok::<_, Infallible>(Response::new(body))
        });
        let mut peer = connected(&table, &Http::new(service)).await;
        let request = Request::get("https://h/a").body(Full::default()).expect("sound");
        let unread = peer.requests.send_request(request).await.expect("a head");
        until_peers(&table, 1).await;
        table.emptied().await;
        drop(unread);
    });
}

#[test]
fn an_http2_connection_is_one_row_and_a_drain_shows() {
    with_table(async |table| {
        let service = tower::service_fn(async |_: Request<Body>| {
            sleep(seconds(5)).await;
            Ok::<_, Infallible>(Response::new("done".to_owned()))
        });
        let mut peer = connected(&table, &Http::new(service)).await;
        let mut requests = peer.requests.clone();
        let second = tokio::task::spawn_local(async move { ask(&mut requests, "/b", "").await });
        assert_eq!(peer.ask("/a", "").await, (200, "done".to_owned()));
        assert_eq!(second.await.expect("an answer"), (200, "done".to_owned()));
        let row = listing::only_row(&table);
        assert_eq!((row.protocol.as_str(), row.state.as_str()), ("http/2", "open"));
        assert_eq!((row.messages_in, row.messages_out), (2, 2));
        assert!(row.bytes_in > 0 && row.bytes_out > 0, "{row:?}");
        let mut requests = peer.requests.clone();
        let last = tokio::task::spawn_local(async move { ask(&mut requests, "/c", "").await });
        sleep(seconds(1)).await;
        table.stop_accepting();
        sleep(seconds(1)).await;
        assert_eq!(listing::only_row(&table).state, "closing");
        assert_eq!(last.await.expect("an answer"), (200, "done".to_owned()));
        table.emptied().await;
    });
}

#[test]
fn a_drain_waits_for_no_http2_connection_that_is_idle() {
    with_table(async |table| {
        let mut peer = connected(&table, &Http::new(Echo(Seen::default()))).await;
        assert_eq!(peer.ask("/a", "").await.0, 200);
        // This one does not even read what it is told.
        let deaf = listener();
        let mut stream = connect(deaf.1).await;
        let (accepted, from) = deaf.0.accept().expect("accepted");
        accepted.set_nonblocking(true).expect("a non-blocking socket");
        let transport =
            Transport::new(Stream::Tcp(mio::net::TcpStream::from_std(accepted)), None, None);
        let transit = Transit::alone(&table, transport, from.into());
        let http = Http::new(Echo(Seen::default()));
        http.take(&table, transit, Spoken::Http2, Rc::default(), None);
        say(&mut stream, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
        sleep(seconds(5)).await;
        table.stop_accepting();
        let began = Instant::now();
        table.emptied().await;
        assert!(began.elapsed() <= seconds(5), "{:?}", began.elapsed());
        assert!(peer.connection.await.expect("no panic").is_ok(), "an orderly end");
    });
}
