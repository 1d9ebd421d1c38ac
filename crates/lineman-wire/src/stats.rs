//! What a worker process counts, for `status` and `connections`: made by the connection table, shown by
//! the master and the command line. Plain data that crosses between them; it counts nothing itself.

use serde::{Deserialize, Serialize};

/// Gives the list of counters to a macro: the sums are made of it here, and the cells of a table.
#[doc(hidden)]
#[macro_export]
macro_rules! counters {
    ($make:ident) => {
        $make! {
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
            /// Connections refused at the bound of `Limits::connections`.
            limited_connections,
            /// Connections refused at the bound of their address.
            limited_addresses,
            /// HTTP requests refused at the bound of their address.
            limited_requests,
            /// Connections refused because too many were new.
            limited_arrivals,
            /// Times a peer sent more messages than its rate.
            limited_messages,
            /// Times a peer sent more bytes than its rate.
            limited_bytes,
            /// Peers closed because they were silent.
            heartbeats_missed,
            /// Connections dropped before their peer had taken what was sent before the end.
            ends_cut,
            /// Connections that were not read for a while, as they held most of a budget that was half used.
            budget_held,
            /// Connections and requests refused because the budget was used to three quarters.
            budget_refused,
            /// Connections closed because they held most of a budget that was used up.
            budget_closed,
            /// Times accepting paused for a moment, as the process was out of descriptors.
            accept_pauses,
        }
    };
}

/// Makes the sums of the list of counters, and how those of several processes are added.
macro_rules! stats {
    ($($(#[$about:meta])* $name:ident,)*) => {
        /// The sums of one worker process since it started.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct Stats {
            /// Connections open now, outgoing ones and HTTP requests included.
            pub connections: u64,
            /// Bytes that wait in send queues.
            pub queued_bytes: u64,
            /// Bytes that are unfinished or unsent, as the budget counts them.
            pub held_bytes: u64,
            $($(#[$about])* pub $name: u64,)*
        }

        impl Stats {
            /// Adds the sums of another process.
            pub fn add(&mut self, other: &Self) {
                self.connections += other.connections;
                self.queued_bytes += other.queued_bytes;
                self.held_bytes += other.held_bytes;
                $(self.$name += other.$name;)*
            }
        }
    };
}

counters!(stats);

/// What a service says of itself in words, beside its numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Complaints {
    /// A line for each thing that is not as it should be; `status` and `health` show them.
    pub remarks: Vec<String>,
    /// Why a client is better off at another machine, if it is. Where every process of a service says so,
    /// the program is not ready.
    pub unfit: Option<String>,
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
