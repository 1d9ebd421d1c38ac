//! What a site needs, on one port: files, sessions, server-sent events, streams, uploads and
//! compression by axum and its kin, and a WebSocket beside them.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Multipart};
use axum::http::StatusCode;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use axum::routing::{get, post};
use futures_util::{Stream, StreamExt, stream};
use lineman::HttpLimits;
use lineman::prelude::*;
use tower_http::compression::CompressionLayer;
use tower_http::services::ServeDir;
use tower_sessions::{MemoryStore, Session, SessionManagerLayer};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/page");

/// The largest upload, in bytes.
const UPLOAD: usize = 100 * 1024 * 1024;

fn main() -> Result {
    let address = std::env::var("WEB_LISTEN").unwrap_or_else(|_| "0.0.0.0:2347".to_owned());
    Worker::http(address, router())
        .name("web")
        .http_limits(HttpLimits { body_size: UPLOAD as u64, ..HttpLimits::default() })
        .with_websocket("/ws", |peers| {
            peers.on_message(async |connection, message| connection.send(message))
        })
        .run()
}

fn router() -> Router {
    // Of this process: more processes want a store that they share.
    let sessions = SessionManagerLayer::new(MemoryStore::default()).with_secure(false);
    Router::new()
        .route("/visits", get(visits))
        .route("/events", get(events))
        .route("/numbers", get(numbers))
        .route("/upload", post(upload).layer(DefaultBodyLimit::max(UPLOAD)))
        .fallback_service(ServeDir::new(PAGE))
        .layer(sessions)
        // It leaves server-sent events alone, and what is small.
        .layer(CompressionLayer::new())
}

/// A session: counts the visits of the browser that has its cookie.
async fn visits(session: Session) -> Result<String, StatusCode> {
    let failed = |_| StatusCode::INTERNAL_SERVER_ERROR;
    let visits = session.get::<u32>("visits").await.map_err(failed)?.unwrap_or_default() + 1;
    session.insert("visits", visits).await.map_err(failed)?;
    Ok(visits.to_string())
}

/// Server-sent events, one a second. The comments between them find out that a client is gone.
async fn events() -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let events = stream::iter(0_u64..).then(async |number| {
        if number > 0 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Ok(Event::default().data(number.to_string()))
    });
    Sse::new(events).keep_alive(KeepAlive::default())
}

/// A stream: a body of any length, made while it is sent, as fast as the client takes it.
async fn numbers() -> Body {
    let lines = stream::iter(1..=100_000).map(|number| Ok::<_, Infallible>(format!("{number}\n")));
    Body::from_stream(lines)
}

/// An upload: each field of the form as it comes, no file in memory as a whole.
async fn upload(mut form: Multipart) -> Result<String, (StatusCode, String)> {
    let failed =
        |error: axum::extract::multipart::MultipartError| (error.status(), error.body_text());
    let mut told = Vec::new();
    while let Some(mut field) = form.next_field().await.map_err(failed)? {
        let name = field.file_name().unwrap_or("no file").to_owned();
        let mut size = 0;
        while let Some(piece) = field.chunk().await.map_err(failed)? {
            size += piece.len();
        }
        told.push(format!("{name}: {size} bytes\n"));
    }
    Ok(told.concat())
}
