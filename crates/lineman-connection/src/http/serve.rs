//! One connection's task: hyper, until the connection ends, is to be left alone, or asks to become a
//! WebSocket. A drain lets what is under way finish.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UnixStream};
use tokio_util::either::Either;

use super::counted::Counted;
use super::guarded::Guarded;
use super::socket::Socket;
use super::upgrade::Upgrading;
use super::watch::{Sign, Spoken, Watch};
use super::{Takeover, Terms, WebService};
use crate::BoxError;
use crate::connection::{
    Address, Admission, Guest, Layers, Shutdown, Stream, Table, Transit, Transport,
};
use crate::limit::finite;
use crate::tls::{self, TlsInfo};

/// The largest piece that hyper reads or gathers for a write: as much as the table reads at once.
const BUFFER: usize = 64 * 1024;

/// What the answers of one HTTP/2 stream may hold unsent, and a piece; a hundred streams hold 8 MiB.
const STREAM_BUFFER: usize = 64 * 1024;

/// What a peer may send ahead on one stream and on all of them, before a service reads it: 2 Mbit
/// and 8 Mbit a round trip, and no more than this to hold for a connection.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// How often an HTTP/2 peer is asked whether it is there, and how long its answer may take.
const PING: Duration = Duration::from_secs(30);
const PONG: Duration = Duration::from_secs(20);

/// How long an idle HTTP/2 peer may take to agree to the end.
const GOODBYE: Duration = Duration::from_secs(2);

impl<S: WebService> Takeover for S {
    fn take(&self, table: &Table, transit: Transit, spoken: Spoken, terms: Terms) {
        let Terms { front, limits, upgrades, crowd } = terms;
        let bytes = transit.take_unread().freeze();
        let Transit { facts, transport: Some(transport), .. } = transit else { return };
        let peer = facts.peer.clone();
        let (guest, admission) = Guest::enter(table, facts, &transport, spoken.name());
        let place = Place { guest: Rc::clone(&guest), admission: Some(admission) };
        let watch = Rc::new(Watch::new(limits, spoken, Rc::clone(&guest)));
        let tls = transport.tls().map(|info| Arc::new(TlsInfo::clone(info)));
        let service = Guarded {
            service: self.clone(),
            watch: Rc::clone(&watch),
            upgrades,
            peer: peer.clone(),
            tls,
            front,
            crowd,
        };
        tokio::task::spawn_local(async move {
            let served = async {
                let (mut stream, unsent) = asynchronous(transport, guest)?;
                if !unsent.is_empty() {
                    // What another protocol had to say on this connection.
                    let limit = finite(watch.limits.answer_stall);
                    tokio::time::timeout(limit, stream.write_all(&unsent)).await??;
                }
                let socket = Socket::new(stream, bytes, Rc::clone(&watch));
                serve(place, socket, service, &watch).await
            };
            if let Err(error) = served.await {
                tracing::debug!(%peer, %error, "HTTP connection ended");
            }
        });
    }
}

/// A connection's place among the table's and its listener's, given back however its task ends.
struct Place {
    guest: Rc<Guest>,
    admission: Option<Admission>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.guest.leave();
    }
}

/// The same socket for tokio, with its TLS if it has some.
pub(super) type Asynchronous = Either<Plain, tls::Stream<Plain>>;

type Plain = Counted<Either<TcpStream, UnixStream>>;

/// Returns it, and what is to be written first where no TLS does that.
fn asynchronous(transport: Transport, guest: Rc<Guest>) -> io::Result<(Asynchronous, BytesMut)> {
    let (stream, layers) = transport.into_parts();
    let is_tcp = matches!(stream, Stream::Tcp(_));
    let socket = OwnedFd::from(stream);
    let io = if is_tcp {
        Either::Left(TcpStream::from_std(socket.into())?)
    } else {
        Either::Right(UnixStream::from_std(socket.into())?)
    };
    let io = Counted::new(io, guest);
    let Layers { tls, raw: undecrypted, sealed: unsent, .. } = *layers.unwrap_or_default();
    Ok(match tls {
        None => (Either::Left(io), unsent),
        Some(session) => {
            let unread = BytesMut::new();
            let parts = tls::Parts { io, session, undecrypted, unread, unsent };
            (Either::Right(tls::Stream::new(parts)), BytesMut::new())
        }
    })
}

/// Returns the transport, and what was decrypted and not read.
fn synchronous(stream: Asynchronous) -> io::Result<(Transport, BytesMut)> {
    let (io, layers, unread) = match stream {
        Either::Left(io) => (io, None, BytesMut::new()),
        Either::Right(stream) => {
            let tls::Parts { io, session, undecrypted, unread, unsent } = stream.into_parts();
            let mut layers = Layers::of_tls(Some(session));
            (layers.raw, layers.sealed) = (undecrypted, unsent);
            (io, Some(layers), unread)
        }
    };
    let stream = match io.into_inner() {
        Either::Left(stream) => Stream::Tcp(mio::net::TcpStream::from_std(stream.into_std()?)),
        Either::Right(stream) => Stream::Unix(mio::net::UnixStream::from_std(stream.into_std()?)),
    };
    Ok((Transport::from_parts(stream, layers), unread))
}

/// Why hyper is done with a connection, or we are.
enum Finish {
    Over(Result<(), hyper::Error>),
    Upgrade(Upgrading),
    /// No request came in time, or only a part of one.
    Silent(Overdue),
    Cut(&'static str),
}

enum Overdue {
    InHead,
    Idle,
}

async fn serve<S: WebService>(
    place: Place,
    socket: Socket<Asynchronous>,
    service: Guarded<S>,
    watch: &Watch,
) -> Result<(), BoxError> {
    match watch.spoken {
        Spoken::Http1 => serve_1(place, socket, service, watch).await,
        Spoken::Http2 => serve_2(place, socket, service, watch).await,
    }
}

async fn serve_1<S: WebService>(
    place: Place,
    socket: Socket<Asynchronous>,
    service: Guarded<S>,
    watch: &Watch,
) -> Result<(), BoxError> {
    let peer = service.peer.clone();
    let limits = &watch.limits;
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_header_size(limits.header_size)
        .max_headers(limits.headers)
        .max_buf_size(BUFFER.max(limits.header_size))
        // A peer that has ended its side still gets its answer.
        .half_close(true)
        .serve_connection(TokioIo::new(socket), service);
    let end = drive(Pin::new(&mut connection), place.guest.table(), watch).await;
    let silence = match end {
        Finish::Over(ended) => return Ok(ended?),
        Finish::Cut(why) => return Err(why.into()),
        Finish::Upgrade(upgrading) => {
            let parts = connection.into_parts();
            return go_back(place, upgrading, parts.io.into_inner(), &parts.read_buf, peer);
        }
        Finish::Silent(silence) => silence,
    };
    let mut socket = connection.into_parts().io.into_inner();
    if let Overdue::InHead = silence {
        let answer = "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\
            Content-Type: text/plain; charset=utf-8\r\nContent-Length: 20\r\n\r\n408 Request Timeout\n";
        socket.write_all(answer.as_bytes()).await?;
    }
    Ok(socket.shutdown().await?)
}

async fn serve_2<S: WebService>(
    place: Place,
    socket: Socket<Asynchronous>,
    service: Guarded<S>,
    watch: &Watch,
) -> Result<(), BoxError> {
    let header_size = u32::try_from(watch.limits.header_size).unwrap_or(u32::MAX);
    let connection = http2::Builder::new(Local)
        .timer(TokioTimer::new())
        .max_header_list_size(header_size)
        .max_concurrent_streams(watch.limits.streams)
        .max_send_buf_size(STREAM_BUFFER)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG)
        .serve_connection(TokioIo::new(socket), service);
    let mut connection = pin!(connection);
    match drive(connection.as_mut(), place.guest.table(), watch).await {
        Finish::Over(ended) => Ok(ended?),
        Finish::Cut(why) => Err(why.into()),
        Finish::Upgrade(_) => Err("HTTP/2 has no upgrades".into()),
        Finish::Silent(_) => {
            connection.as_mut().graceful_shutdown();
            Ok(tokio::time::timeout(GOODBYE, connection).await??)
        }
    }
}

/// Polls hyper until the connection ends or something is to be done about it.
async fn drive<C>(mut connection: Pin<&mut C>, table: &Table, watch: &Watch) -> Finish
where
    C: GracefulConnection<Error = hyper::Error>,
{
    let mut draining = pin!(table.reached(Shutdown::Draining));
    let mut closing = pin!(table.reached(Shutdown::Closing));
    let (mut is_draining, mut is_closing) = (false, false);
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => return Finish::Over(ended),
            sign = watch.sign() => match sign {
                Sign::Upgrade(upgrading) => return Finish::Upgrade(upgrading),
                Sign::LastRequest => {
                    watch.guest.closes();
                    connection.as_mut().graceful_shutdown();
                }
                Sign::Unheeded => return Finish::Cut("the peer heeds no farewell"),
                Sign::HeadOverdue => return Finish::Silent(Overdue::InHead),
                Sign::Idle => return Finish::Silent(Overdue::Idle),
                Sign::OverBudget => return Finish::Cut("the process holds too much"),
                Sign::AnswerStalled => return Finish::Cut("the peer takes nothing"),
            },
            // What is under way gets its answer, if it comes before the process ends.
            () = &mut closing, if !is_closing => {
                is_closing = true;
                watch.guest.closes();
                watch.says_farewell();
                connection.as_mut().graceful_shutdown();
            }
            () = &mut draining, if !is_draining => {
                is_draining = true;
                watch.guest.closes();
                // Over HTTP/1 a request may be on its way this moment, and nothing would tell its
                // sender that it was not served: the answer to it says that it is the last, and what
                // has been idle for longer than a request travels is closed.
                watch.drain();
                if watch.spoken == Spoken::Http2 {
                    watch.says_farewell();
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }
}

/// Makes the connection the table's again.
fn go_back(
    mut place: Place,
    upgrading: Upgrading,
    socket: Socket<Asynchronous>,
    read: &Bytes,
    peer: Address,
) -> Result<(), BoxError> {
    let (stream, rest) = socket.into_parts();
    let mut unread: BytesMut = upgrading.head;
    unread.extend_from_slice(read);
    unread.extend_from_slice(&rest);
    let (transport, decrypted) = synchronous(stream)?;
    unread.extend_from_slice(&decrypted);
    let table = place.guest.table().clone();
    if table.is_closing() {
        return Err("the process goes away".into());
    }
    let Some(admission) = place.admission.take() else { return Ok(()) };
    let facts = place.guest.facts(peer, admission);
    // The entry gets the place that becomes free: a list in slices meets the connection once.
    drop(place);
    let transit = Transit::with_unread(facts, transport, unread);
    Ok(upgrading.to.adopt(&table, transit)?)
}

/// Runs what hyper spawns on the worker's one thread.
#[derive(Clone)]
pub(super) struct Local;

impl<F: Future<Output = ()> + 'static> Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
