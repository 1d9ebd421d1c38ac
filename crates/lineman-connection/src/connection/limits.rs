//! The bounds of a connection: every one has a default, a unit and a named answer when it is met.

use std::time::Duration;

use lineman_wire::websocket;

use super::Rate;
use crate::limit::zero_is_none;

/// What happens to a peer that sends more than its rate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Excess {
    /// It is not read until the rate allows: nothing is lost, and the peer has to wait.
    #[default]
    Delay,
    /// It is closed with 1008 and [`CloseReason::Limited`](super::CloseReason::Limited).
    Close,
}

/// What one connection may cost, and a listener's connections together. A time of zero is no limit.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes that may wait to be sent before `send` answers [`super::SendError::Full`].
    ///
    /// Tested before a message is appended, so a queue may hold this much and one message more.
    /// Default 1 MiB, as Workerman's: a slow phone takes seconds to drain it, a thousand of them
    /// cost a gigabyte.
    pub send_queue: usize,
    /// Bytes read ahead while a handler is busy; beyond it the peer's bytes stay in the kernel.
    ///
    /// Default 64 KiB, one read: enough to see a close behind a few messages.
    pub read_ahead: usize,
    /// Time for the handshake of a protocol that has one, or for an outgoing connect. Default 10 s.
    pub handshake_time: Duration,
    /// Time without a byte of a message that has begun, or of the TLS record it is in; then 1008.
    ///
    /// Default 60 s. A whole message may take longer, at [`Limits::least_rate`].
    pub message_time: Duration,
    /// Time for the peer to answer a farewell, from when everything that was sent has arrived; then our
    /// side is ended, and a second later the connection is dropped. Default 2 s.
    pub close_time: Duration,
    /// Time without a byte arriving of what was sent before [`super::Connection::close`] or
    /// [`super::Connection::end`]; then the connection is dropped, and counted. A process that stops waits
    /// no longer than its own limit. The target of a pipe may take any time before its end.
    ///
    /// Default 60 s, as of an HTTP answer: a phone in a tunnel, not one that never reads.
    pub send_stall: Duration,
    /// Bytes a second that a message has to come with, on average beyond the first
    /// [`Limits::message_time`], and that have to arrive of what was sent before an end, beyond the first
    /// [`Limits::send_stall`]; slower is 1008, or the connection is dropped.
    ///
    /// Default 256, as of an HTTP body: a modem is twenty times faster. 0 takes any pace.
    pub least_rate: u32,
    /// Handshakes under way at once at this listener in one process, TLS begun in mid-stream included;
    /// beyond it the oldest of them is dropped.
    ///
    /// Default 4,096: half-open peers cost a descriptor each, and the limit of those is often
    /// 20,000 or less.
    pub handshakes: usize,
    /// Connections of this listener in one process at once; those beyond it are closed at once.
    ///
    /// Default: no bound but the process's open files.
    pub connections: usize,
    /// Connections of one address at this listener in one process; those beyond it are closed at once.
    ///
    /// The address is the peer's own, or the one a trusted proxy tells; of an IPv6 address the first
    /// [`Limits::ipv6_prefix`] bits count. Peers of Unix sockets are not bounded. Default: no bound.
    pub connections_per_address: usize,
    /// How many bits of an IPv6 address are one address to [`Limits::connections_per_address`]; more than
    /// 128 are 128. Default 64: a household or a rented machine has a whole network of that size, and can
    /// come from each of its addresses.
    pub ipv6_prefix: u8,
    /// New connections each second at this listener in one process; those beyond it are closed at
    /// once. Default: no bound.
    pub connection_rate: Option<Rate>,
    /// Messages each second of one connection. Default: no bound.
    pub message_rate: Option<Rate>,
    /// Bytes each second off the wire of one connection. Default: no bound.
    pub byte_rate: Option<Rate>,
    /// What happens to a peer that exceeds one of the two. Default [`Excess::Delay`].
    pub excess: Excess,
    /// Silence after which a peer is pinged, if its protocol has pings; when it says nothing for as
    /// long again it is closed with 1001. A protocol without pings is closed after the first silence.
    ///
    /// Met to within once and twice this time, which begins anew behind a handler, a pause or a delay.
    /// Default: `None`, silence is no fault.
    pub heartbeat: Option<Duration>,
    /// Time for the peer's last messages after [`super::Connection::end`], from when everything that
    /// was sent before has arrived. Default 2 s.
    pub end_time: Duration,
    /// Bounds of WebSocket messages and frames, in bytes. Default 10 MiB each.
    pub websocket: websocket::Limits,
    /// Bounds of the WebSocket handshake's header block. Default 16 KiB and 100 headers.
    pub handshake: websocket::HandshakeLimits,
}

impl Limits {
    /// Returns them with a time of zero as what it means: none.
    pub(super) fn with_zero_as_none(mut self) -> Self {
        let Self { handshake_time, message_time, close_time, send_stall, end_time, .. } = &mut self;
        for limit in [handshake_time, message_time, close_time, send_stall, end_time] {
            *limit = zero_is_none(*limit);
        }
        self.heartbeat = self.heartbeat.filter(|silence| !silence.is_zero());
        self
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            send_queue: 1024 * 1024,
            read_ahead: 64 * 1024,
            handshake_time: Duration::from_secs(10),
            message_time: Duration::from_mins(1),
            close_time: Duration::from_secs(2),
            send_stall: Duration::from_mins(1),
            least_rate: 256,
            handshakes: 4096,
            connections: usize::MAX,
            connections_per_address: usize::MAX,
            ipv6_prefix: 64,
            connection_rate: None,
            message_rate: None,
            byte_rate: None,
            excess: Excess::Delay,
            heartbeat: None,
            end_time: Duration::from_secs(2),
            websocket: websocket::Limits::default(),
            handshake: websocket::HandshakeLimits::default(),
        }
    }
}
