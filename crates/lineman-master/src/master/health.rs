//! Answers probes: whether the master lives, and whether the program is ready for clients. Over HTTP
//! for load balancers and Kubernetes; the verb `health` asks the same over the control socket.
//!
//! Every answer comes from the master's loop, so one that stands still gives none. It serves
//! nothing else: no client of a service comes here. A request that two servers could read differently
//! does no harm here, so none is looked for as on a service's ports: a connection has one request and one
//! answer, and what follows is not read.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request as HttpRequest, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet, yield_now};
use tokio::time::timeout;

use super::bind_retry::Unbound;
use super::event::MasterEvent;
use crate::Error;
use crate::config::Config;
use crate::control::ExitCode;
use crate::control::answers::Answers;
use crate::control::environment;
use crate::control::request::{Answer, Probe, Request};
use crate::control::server::Asked;

/// How many probes are served at a time. At the bound the oldest one that has not sent its whole
/// request gives way, so that silent connections keep no probe from its answer.
const PROBES: usize = 64;

/// How long a probe may take from connect to the end of its answer: no prober waits longer for one.
const LIMIT: Duration = Duration::from_secs(5);

/// How long the head of a request may take: it is one packet, and a lost one comes again within this.
const HEAD_LIMIT: Duration = Duration::from_secs(1);

/// How long the loop may take: below [`LIMIT`], so that a probe hears what is wrong.
const LOOP_LIMIT: Duration = Duration::from_secs(3);

/// The longest head of a request, in bytes.
pub(crate) const HEAD: usize = 8 * 1024;

/// How long accepting rests when the process is out of descriptors: spinning would not free one.
const REST: Duration = Duration::from_millis(100);

/// Listens where the environment or the program's author wishes probes to be answered, if anywhere.
pub(super) fn bind(config: &Config) -> Result<Option<TcpListener>, Unbound> {
    let Some(address) = address(config) else { return Ok(None) };
    let bound = places(&address).and_then(|places| {
        let listener = TcpListener::bind(&*places)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    bound.map(Some).map_err(|error| unbound(address, error))
}

/// Says what [`bind`] would object to, as far as it can be seen without binding anything.
pub(crate) fn check(config: &Config) -> Result<(), Unbound> {
    let Some(address) = address(config) else { return Ok(()) };
    places(&address).map(drop).map_err(|error| unbound(address, error))
}

/// Returns where probes are answered, if anywhere.
pub(super) fn address(config: &Config) -> Option<String> {
    let wish = std::env::var_os(environment::HEALTH.name);
    // What is no text is no address either, and is refused as such.
    let wish = wish.map(|wish| wish.to_string_lossy().into_owned());
    wish.or_else(|| config.health.clone()).filter(|address| !address.is_empty())
}

fn places(address: &str) -> io::Result<Vec<SocketAddr>> {
    Ok(address.to_socket_addrs()?.collect())
}

fn unbound(address: String, source: io::Error) -> Unbound {
    let service = Some("health probes (LINEMAN_HEALTH or App::health)".to_owned());
    Unbound { service, error: Error::Listen { address, source } }
}

/// Answers probes for the master's life.
pub(super) async fn serve(listener: TcpListener, events: mpsc::Sender<MasterEvent>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "cannot answer health probes"),
    };
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "health probes are answered");
    }
    let mut probes = Probes::default();
    let mut failing = false;
    loop {
        tokio::select! {
            accepted = listener.accept(), if probes.have_room() => match accepted {
                Ok((stream, _)) => {
                    failing = false;
                    probes.serve(stream, &events).await;
                }
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(%error, "cannot accept health probes, resting");
                    }
                    tokio::time::sleep(REST).await;
                }
            },
            Some(_) = probes.tasks.join_next() => probes.forget_the_ended(),
        }
    }
}

#[derive(Debug, Default)]
struct Probes {
    tasks: JoinSet<()>,
    /// Oldest first.
    under_way: VecDeque<UnderWay>,
}

#[derive(Debug)]
struct UnderWay {
    task: AbortHandle,
    /// Whether its whole request has come.
    asked: Arc<AtomicBool>,
}

impl UnderWay {
    fn may_give_way(&self) -> bool {
        !self.asked.load(Ordering::Relaxed)
    }
}

impl Probes {
    fn have_room(&self) -> bool {
        self.under_way.len() < PROBES || self.under_way.iter().any(UnderWay::may_give_way)
    }

    async fn serve(&mut self, stream: TcpStream, events: &mpsc::Sender<MasterEvent>) {
        if self.under_way.len() >= PROBES {
            // What has just been accepted may have sent its request already: it is read first.
            yield_now().await;
            self.drop_the_oldest();
        }
        let asked = Arc::new(AtomicBool::new(false));
        let answer = answer(stream, events.clone(), Arc::clone(&asked));
        let answer = async { drop(timeout(LIMIT, answer).await) };
        let task = self.tasks.spawn(answer);
        self.under_way.push_back(UnderWay { task, asked });
    }

    /// Drops the oldest probe that has not asked. When all have asked meanwhile, they are about to be
    /// answered, and one more does no harm.
    fn drop_the_oldest(&mut self) {
        let oldest = self.under_way.iter().position(UnderWay::may_give_way);
        if let Some(oldest) = oldest.and_then(|oldest| self.under_way.remove(oldest)) {
            oldest.task.abort();
        }
    }

    fn forget_the_ended(&mut self) {
        self.under_way.retain(|probe| !probe.task.is_finished());
    }
}

/// Serves one probe.
pub(crate) async fn answer<Event: From<Asked>>(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    events: mpsc::Sender<Event>,
    asked: Arc<AtomicBool>,
) {
    let service = service_fn(|request| {
        asked.store(true, Ordering::Relaxed);
        let events = events.clone();
        async move { Ok::<_, Infallible>(respond(&request, &events).await) }
    });
    // One request a connection: a probe that keeps its connection would keep a place. One that ends
    // its half when it has asked is answered all the same.
    let connection = http1::Builder::new()
        .keep_alive(false)
        .half_close(true)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a health probe failed");
    }
}

async fn respond<Event: From<Asked>>(
    request: &HttpRequest<Incoming>,
    events: &mpsc::Sender<Event>,
) -> Response<Full<Bytes>> {
    let probe = match request.uri().path() {
        "/live" => Probe::Live,
        "/ready" => Probe::Ready,
        _ => return text(StatusCode::NOT_FOUND, "there are /live and /ready"),
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "probes ask with GET or HEAD");
        let allowed = header::HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(header::ALLOW, allowed);
        return response;
    }
    // hyper leaves the body out of the answer to a HEAD.
    match timeout(LOOP_LIMIT, ask(probe, events)).await {
        Ok(Some((ExitCode::Ok, said))) => text(StatusCode::OK, &said),
        Ok(Some((_, said))) => text(StatusCode::SERVICE_UNAVAILABLE, &said),
        Ok(None) => text(StatusCode::SERVICE_UNAVAILABLE, "the master ends"),
        Err(_) => text(StatusCode::SERVICE_UNAVAILABLE, "the master's loop does not answer"),
    }
}

/// Asks the loop as the command line does.
async fn ask<Event: From<Asked>>(
    probe: Probe,
    events: &mpsc::Sender<Event>,
) -> Option<(ExitCode, String)> {
    let (answers, mut receiver) = Answers::channel();
    let asked = Asked { request: Request::Health { probe }, answers };
    events.send(asked.into()).await.ok()?;
    while let Some(answer) = receiver.recv().await {
        if let Answer::Done { code, text } = answer {
            return Some((code, text));
        }
    }
    None
}

fn text(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(format!("{text}\n")));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let plain = header::HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, plain);
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    response
}
