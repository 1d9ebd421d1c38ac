//! The answers that open no WebSocket: a handler's refusal, a forbidden origin, a handshake out of time.

use std::cell::Cell;
use std::fmt::{self, Write};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::{HeaderName, HeaderValue};
use lineman_wire::websocket::HandshakeError;
use tokio::time::Instant;

use crate::connection::CloseReason;

/// An error by which `on_websocket_connect` refuses a request, and what the client is told.
///
/// ```no_run
/// # use lineman_connection::Result;
/// # use lineman_connection::connection::{Connection, WebSocket};
/// # use lineman_connection::websocket::{Refusal, Request};
/// // Given to `on_websocket_connect`.
/// async fn admit(_connection: Connection<WebSocket>, request: Request) -> Result {
///     match request.cookie("session") {
///         Some(_) => Ok(()),
///         None => Err(Refusal::new(401).body("log in first").into()),
///     }
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Refusal {
    /// Refuses with an HTTP status, 300 to 599; any other counts as 500.
    pub fn new(status: u16) -> Self {
        let status = if (300..600).contains(&status) { status } else { 500 };
        Self { status, headers: Vec::new(), body: String::new() }
    }

    /// Sets the text that the client gets. Default: the status and its name, `403 Forbidden`.
    #[must_use]
    pub fn body(mut self, text: impl Into<String>) -> Self {
        self.body = text.into();
        self
    }

    /// Adds a header line, such as `Location` or `WWW-Authenticate`. One that would break the answer,
    /// or that the answer sets itself, is left out.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Returns the HTTP status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Returns the whole answer.
    pub(super) fn answer(&self) -> Bytes {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let reason = status.canonical_reason().unwrap_or_default();
        let mut answer = format!("HTTP/1.1 {} {reason}\r\nConnection: close\r\n", self.status);
        let body = match (self.body.as_str(), status) {
            // A 304 has none (RFC 9110, 15.4.5).
            ("", StatusCode::NOT_MODIFIED) => String::new(),
            ("", status) => format!("{} {reason}\n", status.as_u16()),
            (text, _) => text.to_owned(),
        };
        let mut has_type = false;
        for (name, value) in &self.headers {
            let fits = HeaderName::from_bytes(name.as_bytes()).is_ok_and(|name| !is_ours(&name))
                && HeaderValue::from_str(value).is_ok();
            if !fits {
                tracing::warn!(header = name, "a refusal cannot have this header, it is left out");
                continue;
            }
            has_type |= name.eq_ignore_ascii_case("content-type");
            push(&mut answer, format_args!("{name}: {value}\r\n"));
        }
        if !has_type && !body.is_empty() {
            answer.push_str("Content-Type: text/plain; charset=utf-8\r\n");
        }
        push(&mut answer, format_args!("Content-Length: {}\r\n\r\n{body}", body.len()));
        Bytes::from(answer)
    }
}

fn is_ours(name: &HeaderName) -> bool {
    [http::header::CONNECTION, http::header::CONTENT_LENGTH, http::header::TRANSFER_ENCODING]
        .contains(name)
}

fn push(answer: &mut String, text: fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _infallible = answer.write_fmt(text);
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "refused with status {}", self.status)?;
        if self.body.is_empty() { Ok(()) } else { write!(formatter, ": {}", self.body) }
    }
}

impl std::error::Error for Refusal {}

/// Returns what a peer of HTTP is told where TLS is expected.
pub(crate) fn without_tls(first: u8) -> &'static str {
    // A method begins so.
    if !first.is_ascii_uppercase() {
        return "";
    }
    "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n\
     Content-Length: 45\r\n\r\nthis port speaks TLS: use https:// or wss://\n"
}

/// How often the log tells of peers that speak TLS where there is none.
const TELL_EVERY: Duration = Duration::from_mins(1);

thread_local! {
    /// When the log told of them last, and of how many it has not told since.
    static HELLOS: Cell<(Option<Instant>, u32)> = const { Cell::new((None, 0)) };
}

/// Counts a peer that speaks TLS to a listener without it, and tells of all at most once a minute: each is
/// closed at once, and clients with a wrong address come again and again.
pub(crate) fn note_hello() {
    let (told, untold) = HELLOS.get();
    let count = untold.saturating_add(1);
    if told.is_some_and(|told| told.elapsed() < TELL_EVERY) {
        return HELLOS.set((told, count));
    }
    HELLOS.set((Some(Instant::now()), 0));
    tracing::warn!(peers = count, problem = %HandshakeError::Tls, "refused; not said again for a minute");
}

/// Returns the answer to a request that is not refused for what it says.
pub(super) fn answer_to_reason(reason: &CloseReason) -> Bytes {
    let status = match reason {
        CloseReason::Refused(426) => return HandshakeError::NotAnUpgrade.response(),
        CloseReason::HandshakeTimeout => 408,
        CloseReason::HandlerFailed(_) | CloseReason::HandlerPanicked(_) => 500,
        CloseReason::Refused(status) => *status,
        _ => 503,
    };
    Refusal::new(status).answer()
}
