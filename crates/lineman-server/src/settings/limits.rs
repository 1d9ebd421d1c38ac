//! What a connection may cost, and all of a listener together: of clients, and of the peers of a register.

use lineman::connection::Excess;

use super::takes::{ANY, to_usize};
use super::{Effect, Setting, Takes, anew, plain, unset, unset_anew, where_set};

const fn count(set: fn(&mut crate::draft::Draft, u64)) -> Takes {
    Takes::Number(1, ANY, set)
}

fn small(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Those that `GatewayWorker` has a name for, or that only clients have.
pub(super) const CLIENTS: &[Setting] = &[
    Setting {
        key: "send_to_client_buffer_size",
        takes: Takes::Size(|draft, bytes| draft.limits.send_queue = to_usize(bytes)),
        default: "\"1MiB\"",
        example: "",
        effect: Effect::InPlace,
        php: "sendToClientBufferSize",
        help: "How much may wait to be sent to one client; then `slow_client` says what happens.",
    },
    anew(
        "limits.message_size",
        Takes::Size(|draft, bytes| draft.limits.websocket.max_message_size = to_usize(bytes)),
        "\"10MiB\"",
        "The largest message of a client over WebSocket; a larger one closes it (1009).",
    ),
    anew(
        "limits.frame_size",
        Takes::Size(|draft, bytes| draft.limits.websocket.max_frame_size = to_usize(bytes)),
        "\"10MiB\"",
        "The largest frame of a message over WebSocket.",
    ),
    anew(
        "limits.handshake_size",
        Takes::Size(|draft, bytes| draft.limits.handshake.max_head_size = to_usize(bytes)),
        "\"16KiB\"",
        "The largest head of a WebSocket's handshake, cookies included (431).",
    ),
    anew(
        "limits.handshake_headers",
        Takes::Number(1, 10_000, |draft, most| draft.limits.handshake.max_headers = to_usize(most)),
        "100",
        "The most header lines of a WebSocket's handshake (431).",
    ),
    anew(
        "limits.heartbeat",
        Takes::Duration(|draft, time| draft.limits.heartbeat = Some(time)),
        "\"0s\"",
        "Silence after which a WebSocket gets a ping frame, and is closed if it stays silent as long again; a client of \
         another protocol is closed. 0 is never. `ping_interval` sends a message in its place.",
    ),
];

pub(super) const LIMITS: &[Setting] = &[
    unset_anew(
        "limits.connections",
        count(|draft, most| draft.limits.connections = to_usize(most)),
        "50_000",
        "Connections in one process at once; those beyond it are closed at once. Default: what open files allow.",
    ),
    where_set(unset(
        "limits.connections_per_address",
        count(|draft, most| draft.limits.connections_per_address = to_usize(most)),
        "100",
        "Connections of one address in one process; those beyond it are closed at once. Default: no bound, and they \
         are not counted: a reload changes the bound, and a restart makes or ends it.",
    )),
    plain(
        "limits.ipv6_prefix",
        Takes::Number(1, 128, |draft, bits| {
            draft.limits.ipv6_prefix = u8::try_from(bits).unwrap_or(128);
        }),
        "64",
        "How many bits of an IPv6 address are one address to `limits.connections_per_address`. A restart, for \
         connections are counted by it.",
    ),
    unset_anew(
        "limits.connection_rate",
        Takes::Rate(|draft, rate| draft.limits.connection_rate = Some(rate)),
        "\"1000/s\"",
        "New connections in one process; those beyond it are closed at once. Default: no bound.",
    ),
    unset_anew(
        "limits.message_rate",
        Takes::Rate(|draft, rate| draft.limits.message_rate = Some(rate)),
        "\"50/s burst 200\"",
        "Messages of one connection. Default: no bound.",
    ),
    unset_anew(
        "limits.byte_rate",
        Takes::Rate(|draft, rate| draft.limits.byte_rate = Some(rate)),
        "\"100000/s\"",
        "Bytes of one connection. Default: no bound.",
    ),
    anew(
        "limits.excess",
        Takes::Choice(&["delay", "close"], |draft, excess| {
            draft.limits.excess = if excess == "close" { Excess::Close } else { Excess::Delay };
        }),
        "\"delay\"",
        "What happens to a peer beyond the two: it is not read until it may send again, or closed (1008).",
    ),
    anew(
        "limits.handshakes",
        count(|draft, most| draft.limits.handshakes = to_usize(most)),
        "4096",
        "Handshakes under way at once in one process; beyond it the oldest is dropped.",
    ),
    anew(
        "limits.handshake_time",
        Takes::Duration(|draft, time| draft.limits.handshake_time = time),
        "\"10s\"",
        "Time for the handshake, TLS included; 0 is for ever.",
    ),
    anew(
        "limits.message_time",
        Takes::Duration(|draft, time| draft.limits.message_time = time),
        "\"60s\"",
        "Time without a byte of a message that has begun (1008); 0 is for ever.",
    ),
    anew(
        "limits.send_stall",
        Takes::Duration(|draft, time| draft.limits.send_stall = time),
        "\"60s\"",
        "Time without a byte arriving of what was sent before a close; then the connection is dropped. 0 is for ever.",
    ),
    anew(
        "limits.least_rate",
        Takes::Number(0, ANY, |draft, bytes| draft.limits.least_rate = small(bytes)),
        "256",
        "Bytes a second that a message has to come with beyond the first `limits.message_time`; 0 is any pace.",
    ),
    anew(
        "limits.close_time",
        Takes::Duration(|draft, time| draft.limits.close_time = time),
        "\"2s\"",
        "Time for a peer to answer a farewell; 0 is for ever.",
    ),
    anew(
        "limits.end_time",
        Takes::Duration(|draft, time| draft.limits.end_time = time),
        "\"2s\"",
        "Time for a peer's last messages after our side has ended; 0 is for ever.",
    ),
    anew(
        "limits.read_ahead",
        Takes::Size(|draft, bytes| draft.limits.read_ahead = to_usize(bytes)),
        "\"64KiB\"",
        "Bytes that are read of a connection that waits for its turn; the rest stays in the kernel.",
    ),
];

pub(super) const HTTP: &[Setting] = &[
    anew(
        "http.header_size",
        Takes::Size(|draft, bytes| draft.http.header_size = to_usize(bytes)),
        "\"16KiB\"",
        "The largest head of a request for a page (431), at least 8 KiB.",
    ),
    anew(
        "http.headers",
        Takes::Number(1, 10_000, |draft, most| draft.http.headers = to_usize(most)),
        "100",
        "The most header lines of a request (431).",
    ),
    anew(
        "http.header_time",
        Takes::Duration(|draft, time| draft.http.header_time = time),
        "\"10s\"",
        "Time for a request's head (408); 0 is for ever.",
    ),
    anew(
        "http.body_size",
        Takes::Size(|draft, bytes| draft.http.body_size = bytes),
        "\"10MiB\"",
        "The largest body of a request (413).",
    ),
    anew(
        "http.body_stall",
        Takes::Duration(|draft, time| draft.http.body_stall = time),
        "\"30s\"",
        "Time without a byte of a body (408); 0 is for ever.",
    ),
    anew(
        "http.body_rate",
        Takes::Number(0, ANY, |draft, bytes| draft.http.body_rate = small(bytes)),
        "256",
        "Bytes a second that a body has to come with beyond the first `http.body_stall` (408); 0 is any pace.",
    ),
    anew(
        "http.answer_stall",
        Takes::Duration(|draft, time| draft.http.answer_stall = time),
        "\"60s\"",
        "Time without a byte taken of an answer; then the connection is dropped. 0 is for ever.",
    ),
    anew(
        "http.answer_rate",
        Takes::Number(0, ANY, |draft, bytes| draft.http.answer_rate = small(bytes)),
        "256",
        "Bytes a second that a peer has to take of an answer beyond the first `http.answer_stall`; 0 is any pace.",
    ),
    unset_anew(
        "http.requests_per_address",
        count(|draft, most| draft.http.requests_per_address = to_usize(most)),
        "100",
        "Requests of one address under way at once in one process (429). Default: no bound.",
    ),
    anew(
        "http.keep_alive",
        Takes::Duration(|draft, time| draft.http.keep_alive = time),
        "\"75s\"",
        "Time between two requests of a connection; then it is closed. 0 is for ever.",
    ),
    anew(
        "http.requests",
        Takes::Number(1, ANY, |draft, most| draft.http.requests = small(most)),
        "10_000",
        "Requests that a connection may carry.",
    ),
    anew(
        "http.streams",
        Takes::Number(1, ANY, |draft, most| draft.http.streams = small(most)),
        "100",
        "Requests under way at once on one connection of HTTP/2.",
    ),
];
