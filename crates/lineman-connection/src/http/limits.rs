//! The bounds of HTTP: every one has a default, a unit, and a named answer when it is met.

use std::time::Duration;

use crate::limit::zero_is_none;

/// What one HTTP connection may cost; shared by all connections of a service. A time of zero is no limit.
///
/// ```
/// # use lineman_connection::http::Limits as HttpLimits;
/// let uploads = HttpLimits { body_size: 1024 * 1024 * 1024, ..HttpLimits::default() };
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request's line and header block; beyond it 431. At least 8 KiB.
    ///
    /// Default 16 KiB, as the WebSocket handshake's: the largest cookies that browsers send.
    pub header_size: usize,
    /// Header lines of a request; beyond it 431. Default 100.
    pub headers: usize,
    /// Time for a request's head, from its first byte to its last; then 408. Default 10 s.
    pub header_time: Duration,
    /// Bytes of a request's body; beyond it 413, at once where `Content-Length` says so.
    ///
    /// Default 10 MiB, as a message's. A service may allow less: axum's extractors take 2 MB.
    pub body_size: u64,
    /// Time without a byte of a body that the service waits for; then 408. Default 30 s.
    pub body_stall: Duration,
    /// Bytes a second that a body has to come with, on average over the time that the service waits
    /// for it beyond the first [`Limits::body_stall`]; slower is 408.
    ///
    /// Default 256: a modem is twenty times faster, one byte now and then is not. 0 takes any pace.
    pub body_rate: u32,
    /// Time without a byte taken of an answer that waits to be sent; then the connection is dropped.
    ///
    /// Default 60 s, as long as a message may take: a phone in a tunnel, not one that never reads.
    pub answer_stall: Duration,
    /// Bytes a second that a peer has to take of an answer over HTTP/1, on average over the time that the
    /// answer waits for it beyond the first [`Limits::answer_stall`]; slower is dropped. What the kernel
    /// takes before anything waits does not count. Over HTTP/2, 16 KiB have to be taken within each
    /// [`Limits::answer_stall`].
    ///
    /// Default 256, as a body has to come with. 0 takes any pace.
    pub answer_rate: u32,
    /// Requests under way at once from one address on all connections of a service in one process; beyond it
    /// 429. A request is under way from its head to the end of its answer.
    ///
    /// The address is the one that the request's extensions hold, of an IPv6 address the first 64 bits; peers
    /// of Unix sockets are not bounded. Default: no bound, for many people share one address, and a proxy that
    /// is not trusted to tell its clients has one for all of them.
    pub requests_per_address: usize,
    /// Time between two requests of a connection; then it is closed. Default 75 s, longer than
    /// browsers and proxies keep theirs, so that they close first and lose no request.
    pub keep_alive: Duration,
    /// Requests that a connection may carry; the last one's answer says `Connection: close`.
    ///
    /// Default 10,000: what a connection has gathered of memory goes away now and then.
    pub requests: u32,
    /// Requests under way at once on one connection of HTTP/2; more are refused there.
    ///
    /// Default 100, the least that RFC 9113 section 6.5.2 recommends.
    pub streams: u32,
}

impl Limits {
    /// Returns them with a time of zero as what it means: none.
    pub(super) fn with_zero_as_none(mut self) -> Self {
        let Self { header_time, body_stall, answer_stall, keep_alive, .. } = &mut self;
        for limit in [header_time, body_stall, answer_stall, keep_alive] {
            *limit = zero_is_none(*limit);
        }
        self
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_size: 16 * 1024,
            headers: 100,
            header_time: Duration::from_secs(10),
            body_size: 10 * 1024 * 1024,
            body_stall: Duration::from_secs(30),
            body_rate: 256,
            answer_stall: Duration::from_mins(1),
            answer_rate: 256,
            requests_per_address: usize::MAX,
            keep_alive: Duration::from_secs(75),
            requests: 10_000,
            streams: 100,
        }
    }
}
