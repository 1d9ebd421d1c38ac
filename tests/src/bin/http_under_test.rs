//! An HTTP server for the black-box tests, with knobs that are environment variables:
//!
//! - `HTTP_LISTEN`: the address.
//!
//! `/` says hello, `/large` is a mebibyte, `/length` answers how many bytes it was sent.

use axum::Router;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use lineman::prelude::*;

const LARGE: usize = 1024 * 1024;

/// The most that `/length` takes.
const LARGEST_UPLOAD: usize = 8 * LARGE;

fn main() -> Result {
    let router = Router::new()
        .route("/", get("hello"))
        .route("/large", get(async || "x".repeat(LARGE)))
        .route("/length", post(async |body: Bytes| body.len().to_string()))
        .layer(DefaultBodyLimit::max(LARGEST_UPLOAD));
    Worker::http(std::env::var("HTTP_LISTEN")?, router).run()
}
