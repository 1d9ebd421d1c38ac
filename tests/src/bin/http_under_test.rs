//! An HTTP server for the black-box tests, with knobs that are environment variables:
//!
//! - `HTTP_LISTEN`: the address; `HTTP_COUNT`: processes (1);
//! - `HTTP_CERTIFICATE`, `HTTP_KEY`: files for TLS; `HTTP_SECOND_CERTIFICATE`, `HTTP_SECOND_KEY`: more;
//! - `HTTP_CLIENTS`: clients show a certificate that an authority in this file has signed.
//!
//! `/` says hello, `/large` is a mebibyte, `/length` answers how many bytes it was sent.

use axum::Router;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use lineman::prelude::*;
use lineman::tls::{ClientCertificates, Tls};

const LARGE: usize = 1024 * 1024;

/// The most that `/length` takes.
const LARGEST_UPLOAD: usize = 8 * LARGE;

fn main() -> Result {
    let router = Router::new()
        .route("/", get("hello"))
        .route("/large", get(async || "x".repeat(LARGE)))
        .route("/length", post(async |body: Bytes| body.len().to_string()))
        .layer(DefaultBodyLimit::max(LARGEST_UPLOAD));
    let mut worker = Worker::http(std::env::var("HTTP_LISTEN")?, router);
    if let Ok(count) = std::env::var("HTTP_COUNT") {
        worker = worker.count(count.parse()?);
    }
    if let Some(tls) = tls() {
        worker = worker.tls(tls);
    }
    worker.run()
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
