//! What a table counts, for `status` and `connections`; plain data that crosses to the master.

use std::cell::Cell;

use serde::{Deserialize, Serialize};

/// The sums of one worker process since it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Connections open now, outgoing ones and HTTP requests included.
    pub connections: u64,
    /// Connections accepted so far.
    pub accepted: u64,
    /// Bytes received from peers.
    pub bytes_in: u64,
    /// Bytes given to the kernel.
    pub bytes_out: u64,
    /// Messages handed to handlers.
    pub messages_in: u64,
    /// Messages accepted by `send`.
    pub messages_out: u64,
    /// Bytes that wait in send queues.
    pub queued_bytes: u64,
    /// Messages refused because a send queue was full.
    pub refused: u64,
    /// Handlers that returned an error or panicked.
    pub handler_errors: u64,
    /// Connections closed because of what the peer sent.
    pub protocol_errors: u64,
}

/// The sums as the table keeps them: a cell each, for messages are counted one by one.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) accepted: Cell<u64>,
    pub(super) bytes_in: Cell<u64>,
    pub(super) bytes_out: Cell<u64>,
    pub(super) messages_in: Cell<u64>,
    pub(super) messages_out: Cell<u64>,
    pub(super) refused: Cell<u64>,
    pub(super) handler_errors: Cell<u64>,
    pub(super) protocol_errors: Cell<u64>,
}

impl Counters {
    /// Returns the sums, with what is counted when asked for.
    pub(super) fn stats(&self, connections: u64, queued_bytes: u64) -> Stats {
        Stats {
            connections,
            accepted: self.accepted.get(),
            bytes_in: self.bytes_in.get(),
            bytes_out: self.bytes_out.get(),
            messages_in: self.messages_in.get(),
            messages_out: self.messages_out.get(),
            queued_bytes,
            refused: self.refused.get(),
            handler_errors: self.handler_errors.get(),
            protocol_errors: self.protocol_errors.get(),
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
    /// `connecting`, `handshake`, `open`, `closing`, `lingering`.
    pub state: String,
    /// The local address.
    pub local: String,
    /// The peer's address.
    pub peer: String,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes given to the kernel.
    pub bytes_out: u64,
    /// Bytes received that do not make a whole message yet.
    pub receive_queue: u64,
    /// Bytes that wait to be sent.
    pub send_queue: u64,
}
