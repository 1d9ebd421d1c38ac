//! HTTP on real sockets of the loopback: one runtime holds the server and its clients, and its clock
//! is paused. Bytes on the loopback are there at once, so time leaps only when all wait for a peer.

mod messages;
mod bodies;
mod bounds;
mod connections;
mod listing;
mod upgrades;
mod http2;
mod ends;

use std::cell::RefCell;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use axum::body::{Body as AxumBody, to_bytes};
use bytes::Bytes;
use http::{Request, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep};

use super::*;
use crate::connection::Address;

/// Runs a test with a table in it.
fn with_table<F: Future<Output = ()>>(test: impl FnOnce(Table) -> F) {
    let runtime =
        Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let table = Table::new().expect("a table");
        let served = table.clone();
        tokio::task::spawn_local(async move { served.run().await });
        test(table).await;
    });
}

/// Serves on a free port.
fn listen(table: &Table, http: Http) -> SocketAddr {
    listen_with(table, http, Front::default())
}

fn listen_with(table: &Table, http: Http, front: Front) -> SocketAddr {
    let (listener, address) = listener();
    table.listen_http(listener, http, front, Vec::new()).expect("a place in the table");
    address
}

fn listener() -> (std::net::TcpListener, SocketAddr) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

/// What a service saw: the target, the host and the body of each request.
#[derive(Clone, Default)]
struct Seen(Rc<RefCell<Vec<String>>>);

/// Answers each request with its method and path, and remembers it; a broken body is a 418.
#[derive(Clone)]
struct Echo(Seen);

impl Service<Request<Body>> for Echo {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>>>>;

    fn poll_ready(
        &mut self,
        _context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let seen = self.0.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let told = format!("{} {}", head.method, head.uri.path());
            let host = head.headers.get("host").map(|host| host.to_str().expect("text").to_owned());
            let body = to_bytes(AxumBody::new(body), usize::MAX).await;
            let (status, body) = match &body {
                Ok(body) => (StatusCode::OK, String::from_utf8_lossy(body)),
                Err(_) => (StatusCode::IM_A_TEAPOT, "broken".into()),
            };
            let host = host.unwrap_or_default();
            seen.0.borrow_mut().push(format!("{told} {host} {body}").trim_end().to_owned());
            let mut answer = Response::new(told);
            *answer.status_mut() = status;
            Ok(answer)
        })
    }
}

async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.expect("connected")
}

async fn say(stream: &mut TcpStream, bytes: impl AsRef<[u8]>) {
    stream.write_all(bytes.as_ref()).await.expect("written");
}

/// Reads one answer: its head, and the body that `Content-Length` announces.
async fn hear(stream: &mut TcpStream) -> String {
    let mut answer = hear_head(stream).await;
    let length = answer.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().expect("a length"))];
    stream.read_exact(&mut body).await.expect("the body");
    answer.push_str(&String::from_utf8(body).expect("text"));
    answer
}

/// Reads a head alone.
async fn hear_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a head"));
    }
    String::from_utf8(head).expect("text")
}

/// Reads until the other side ends.
async fn rest(stream: &mut TcpStream) -> String {
    let mut got = Vec::new();
    stream.read_to_end(&mut got).await.expect("an orderly end");
    String::from_utf8(got).expect("text")
}

/// Returns the statuses in what was answered; no body of these tests looks like one.
fn statuses(answers: &str) -> Vec<u16> {
    let found = answers.match_indices("HTTP/1.").map(|(at, _)| &answers[at + 9..at + 12]);
    found.map(|status| status.parse().expect("a status")).collect()
}

/// Waits until the table holds so many peers.
async fn until_peers(table: &Table, count: usize) {
    while table.len() != count {
        tokio::task::yield_now().await;
    }
}

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}
