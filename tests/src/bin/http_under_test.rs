//! An HTTP server for the black-box tests, with knobs that are environment variables:
//!
//! - `HTTP_LISTEN`: the address; `HTTP_COUNT`: processes (1);
//! - `HTTP_CERTIFICATE`, `HTTP_KEY`: files for TLS; `HTTP_SECOND_CERTIFICATE`, `HTTP_SECOND_KEY`: more;
//! - `HTTP_CLIENTS`: clients show a certificate that an authority in this file has signed;
//! - `HTTP_HEAD_MS` (and for the handshake of TLS), `HTTP_STALL_MS`, `HTTP_BODY_BYTES`,
//!   `HTTP_ANSWER_MS`, `HTTP_IDLE_MS`, `HTTP_REQUESTS`: the bounds of `HttpLimits`.
//!
//! `/` says hello, `/large` is a mebibyte, `/endless` never ends, `/length` answers how many bytes it
//! was sent, `/mark` leaves a mark, and `/marks` answers how many there are.

use std::convert::Infallible;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use futures_util::stream;
use lineman::HttpLimits;
use lineman::prelude::*;
use lineman::tls::{ClientCertificates, Tls};

const LARGE: usize = 1024 * 1024;

/// The most that `/length` takes.
const LARGEST_UPLOAD: usize = 8 * LARGE;

static MARKS: AtomicU64 = AtomicU64::new(0);

fn main() -> Result {
    let router = Router::new()
        .route("/", get("hello"))
        .route("/large", get(async || "x".repeat(LARGE)))
        .route("/endless", get(async || endless()))
        .route("/mark", get(async || MARKS.fetch_add(1, Ordering::Relaxed).to_string()))
        .route("/marks", get(async || MARKS.load(Ordering::Relaxed).to_string()))
        .route("/length", post(async |body: Bytes| body.len().to_string()))
        .layer(DefaultBodyLimit::max(LARGEST_UPLOAD));
    let mut worker = Worker::http(std::env::var("HTTP_LISTEN")?, router).http_limits(limits());
    if let Ok(count) = std::env::var("HTTP_COUNT") {
        worker = worker.count(count.parse()?);
    }
    if let Some(tls) = tls() {
        worker = worker.tls(tls);
    }
    worker.run()
}

fn endless() -> Body {
    let piece = Bytes::from(vec![b'x'; 64 * 1024]);
    Body::from_stream(stream::repeat_with(move || Ok::<_, Infallible>(piece.clone())))
}

fn limits() -> HttpLimits {
    let defaults = HttpLimits::default();
    let time = |name, default| knob(name).map_or(default, Duration::from_millis);
    HttpLimits {
        header_time: time("HTTP_HEAD_MS", defaults.header_time),
        body_stall: time("HTTP_STALL_MS", defaults.body_stall),
        body_size: knob("HTTP_BODY_BYTES").unwrap_or(defaults.body_size),
        answer_stall: time("HTTP_ANSWER_MS", defaults.answer_stall),
        keep_alive: time("HTTP_IDLE_MS", defaults.keep_alive),
        requests: knob("HTTP_REQUESTS").unwrap_or(defaults.requests),
        ..defaults
    }
}

fn knob<T: FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

fn tls() -> Option<Tls> {
    let file = std::env::var_os;
    let mut tls = Tls::files(file("HTTP_CERTIFICATE")?, file("HTTP_KEY")?);
    if let (Some(certificate), Some(key)) =
        (file("HTTP_SECOND_CERTIFICATE"), file("HTTP_SECOND_KEY"))
    {
        tls = tls.also(certificate, key);
    }
    if let Some(authorities) = file("HTTP_CLIENTS") {
        tls = tls.client_certificates(ClientCertificates::Required(authorities.into()));
    }
    Some(tls)
}
