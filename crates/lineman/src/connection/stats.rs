//! What a table counts, for `status` and `connections`; plain data that crosses to the master.

use std::cell::Cell;

use serde::{Deserialize, Serialize};

use super::reason::Limit;
use crate::tls::Version;

/// Makes, of one list of counters, the sums that cross to the master and the cells the table has.
macro_rules! counters {
    ($($(#[$about:meta])* $name:ident,)*) => {
        /// The sums of one worker process since it started.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct Stats {
            /// Connections open now, outgoing ones and HTTP requests included.
            pub connections: u64,
            /// Bytes that wait in send queues.
            pub queued_bytes: u64,
            $($(#[$about])* pub $name: u64,)*
        }

        impl Stats {
            /// Adds the sums of another process.
            pub(crate) fn add(&mut self, other: &Self) {
                self.connections += other.connections;
                self.queued_bytes += other.queued_bytes;
                $(self.$name += other.$name;)*
            }
        }

        /// The sums as the table keeps them: a cell each, for messages are counted one by one.
        #[derive(Debug, Default)]
        pub(super) struct Counters {
            $(pub(super) $name: Cell<u64>,)*
        }

        impl Counters {
            /// Returns the sums, with what is counted when asked for.
            pub(super) fn stats(&self, connections: u64, queued_bytes: u64) -> Stats {
                Stats { connections, queued_bytes, $($name: self.$name.get(),)* }
            }
        }
    };
}

counters! {
    /// Connections accepted so far.
    accepted,
    /// Bytes received from peers.
    bytes_in,
    /// Bytes given to the kernel.
    bytes_out,
    /// Messages handed to handlers, and HTTP requests.
    messages_in,
    /// Messages accepted by `send`, and answers to HTTP requests.
    messages_out,
    /// Messages refused because a send queue was full.
    refused,
    /// Handlers that returned an error or panicked.
    handler_errors,
    /// Connections closed because of what the peer sent, and malformed datagrams.
    protocol_errors,
    /// Datagrams dropped: too many handlers waited, or the kernel did not take an answer.
    datagrams_dropped,
    /// Handshakes given up: too slow, or too many under way.
    handshakes_failed,
    /// Connections refused at the bound of [`Limits::connections`](super::Limits::connections).
    limited_connections,
    /// Connections refused at the bound of their address.
    limited_addresses,
    /// Connections refused because too many were new.
    limited_arrivals,
    /// Times a peer sent more messages than its rate.
    limited_messages,
    /// Times a peer sent more bytes than its rate.
    limited_bytes,
    /// Peers closed because they were silent.
    heartbeats_missed,
    /// Times accepting paused for a moment, as the process was out of descriptors.
    accept_pauses,
}

impl Counters {
    pub(super) fn limited(&self, limit: Limit) -> &Cell<u64> {
        match limit {
            Limit::Connections => &self.limited_connections,
            Limit::ConnectionsPerAddress => &self.limited_addresses,
            Limit::ConnectionRate => &self.limited_arrivals,
            Limit::MessageRate => &self.limited_messages,
            Limit::ByteRate => &self.limited_bytes,
        }
    }
}

/// One line of `connections`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// The connection's number, unique within its process.
    pub id: u64,
    /// What it speaks.
    pub protocol: String,
    /// `connecting`, `preparing`, `handshake`, `open`, `closing`, `lingering`; HTTP is `open` or `closing`.
    pub state: String,
    /// The local address.
    pub local: String,
    /// The peer's address; behind a trusted proxy the client's, over HTTP that of the last request.
    pub peer: String,
    /// Messages received; HTTP requests.
    pub messages_in: u64,
    /// Messages accepted by `send`; answers to HTTP requests.
    pub messages_out: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes given to the kernel.
    pub bytes_out: u64,
    /// Bytes received that do not make a whole message yet; 0 for HTTP, whose buffers are hyper's.
    pub receive_queue: u64,
    /// Bytes that wait to be sent; 0 for HTTP.
    pub send_queue: u64,
    /// The version of TLS, `1.2` or `1.3`; `None` without TLS.
    pub tls: Option<String>,
    /// How old it is in milliseconds, to a tenth of a second and one part in sixteen.
    pub age_ms: Option<u64>,
}

/// Returns a version as it stands in a row.
pub(super) fn tls_name(version: Version) -> String {
    match version {
        Version::Tls12 => "1.2".to_owned(),
        Version::Tls13 => "1.3".to_owned(),
    }
}
