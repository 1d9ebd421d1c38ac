//! Plain HTTP: requests leave the table with their bytes and are served by hyper and a
//! `tower::Service`, an axum `Router` for one. Nothing here parses HTTP.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::io::{self, Cursor};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpStream, UnixStream};
use tokio_io_timeout::TimeoutWriter;
use tokio_util::either::Either;
use tower::Service;

use crate::BoxError;
use crate::connection::{Address, Admission, Front, Phase, Stream, Table, Transport};

/// Time for a request's header block, and for the next request on a connection that is kept alive.
const HEADER_TIME: Duration = Duration::from_secs(10);

/// How long a peer may take no byte of an answer that waits for it; then the connection is dropped.
/// As long as a message may take on the table: a phone in a tunnel, not one that never reads.
const STALL_TIME: Duration = Duration::from_mins(1);

/// The largest header block, in bytes; as the WebSocket handshake's. Then 431.
const HEADER_SIZE: usize = 16 * 1024;

/// An HTTP service that a worker or a gateway serves beside its own protocol.
#[derive(Clone)]
pub struct Http(pub(crate) Rc<dyn Takeover>);

impl Http {
    /// Wraps a `tower::Service`; it is cloned for each connection.
    pub fn new<S, B>(service: S) -> Self
    where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + 'static,
        S::Future: 'static,
        B: http_body::Body + 'static,
        B::Error: Into<BoxError>,
    {
        Self(Rc::new(Mounted { service }))
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Http(..)")
    }
}

/// How long an HTTP connection may live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeepAlive {
    /// Until the client or the header time ends it.
    On,
    /// For one request: beside a WebSocket the next request might be an upgrade, which the table
    /// has to see from its first byte.
    Off,
}

/// Takes a connection out of the table's hands.
pub(crate) trait Takeover {
    fn take(&self, table: &Table, taken: Taken);
}

/// A connection that becomes HTTP.
pub(crate) struct Taken {
    pub(crate) transport: Transport,
    pub(crate) peer: Address,
    /// What was read already; hyper gets it first.
    pub(crate) bytes: Bytes,
    pub(crate) keep_alive: KeepAlive,
    /// Its place among the connections of its listener.
    pub(crate) admission: Admission,
    /// What its listener trusts and bounds.
    pub(crate) front: Rc<Front>,
}

struct Mounted<S> {
    service: S,
}

impl<S, B> Takeover for Mounted<S>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + 'static,
    S::Future: 'static,
    B: http_body::Body + 'static,
    B::Error: Into<BoxError>,
{
    fn take(&self, table: &Table, taken: Taken) {
        let (table, service) = (table.clone(), self.service.clone());
        let peer = taken.peer.clone();
        table.enter();
        tokio::task::spawn_local(async move {
            if let Err(error) = serve(&table, service, taken).await {
                tracing::debug!(%peer, %error, "HTTP connection ended");
            }
            table.leave();
        });
    }
}

/// Serves one connection until it ends; a drain lets the request under way finish.
async fn serve<S, B>(table: &Table, service: S, taken: Taken) -> Result<(), BoxError>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + 'static,
    S::Future: 'static,
    B: http_body::Body + 'static,
    B::Error: Into<BoxError>,
{
    let _place = (taken.admission, taken.front);
    let (reader, writer) = tokio::io::split(stream(taken.transport.into_stream())?);
    let mut writer = TimeoutWriter::new(writer);
    writer.set_timeout(Some(STALL_TIME));
    let stream = tokio::io::join(Cursor::new(taken.bytes).chain(reader), Box::pin(writer));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(HEADER_SIZE)
        .keep_alive(taken.keep_alive == KeepAlive::On)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return Ok(ended?),
        () = table.reached(Phase::Draining) => connection.as_mut().graceful_shutdown(),
    }
    within(table, connection).await
}

/// The same socket for tokio.
fn stream(stream: Stream) -> io::Result<Either<TcpStream, UnixStream>> {
    let is_tcp = matches!(stream, Stream::Tcp(_));
    let socket = OwnedFd::from(stream);
    Ok(if is_tcp {
        Either::Left(TcpStream::from_std(socket.into())?)
    } else {
        Either::Right(UnixStream::from_std(socket.into())?)
    })
}

async fn within(
    table: &Table,
    connection: impl Future<Output = Result<(), hyper::Error>>,
) -> Result<(), BoxError> {
    tokio::select! {
        ended = connection => Ok(ended?),
        () = table.reached(Phase::Closing) => Err("cut: the process is going away".into()),
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use tokio::io::AsyncWriteExt;
    use tokio::task::LocalSet;

    use super::*;

    /// Time is paused, so it leaps to the next deadline as soon as nobody has anything to do.
    #[test]
    fn a_peer_that_never_reads_its_answer_is_dropped() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a runtime");
        LocalSet::new().block_on(&runtime, async {
            let table = Table::new().expect("a table");
            let served = table.clone();
            tokio::task::spawn_local(async move { served.run().await });
            let service = tower::service_fn(async |_: Request<Incoming>| {
                // More than the kernel holds for both ends.
                let body = "x".repeat(64 * 1024 * 1024);
                let answer = Response::builder().status(StatusCode::OK).body(body);
                Ok::<_, Infallible>(answer.expect("a sound answer"))
            });
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
            let address = listener.local_addr().expect("an address");
            table
                .listen_http(listener, Http::new(service), Front::default())
                .expect("a place in the table");
            let mut peer = TcpStream::connect(address).await.expect("connected");
            peer.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("written");
            while table.is_empty() {
                tokio::task::yield_now().await;
            }
            table.emptied().await;
        });
    }
}
