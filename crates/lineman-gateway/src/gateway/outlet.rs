//! What the gateway's logic needs of a connection, so that it can be tested without a socket.

use std::net::SocketAddr;

use lineman::connection::{Acknowledgement, CloseReason, Connection, SendError};

use super::dialect::Dialect;

/// A connection as the gateway's logic sees it: messages in their final form go out, and it ends.
pub(super) trait Outlet: 'static {
    /// What goes out. It is made once, however many connections get it.
    type Form;

    /// The connection's number, unique in this process.
    fn id(&self) -> u64;
    fn peer(&self) -> SocketAddr;
    fn send(&self, form: &Self::Form) -> Result<(), SendError>;
    /// Whether it has TLS.
    fn is_encrypted(&self) -> bool;
    /// How many bytes wait to be sent.
    fn queued_bytes(&self) -> usize;
    /// How many bytes the kernel has taken, whether the connection is over or not.
    fn sent_bytes(&self) -> u64;
    /// What the peer's machine has acknowledged, if that can be known.
    fn acknowledgement(&self) -> Option<Acknowledgement>;
    fn close(&self, reason: CloseReason);
    fn abort(&self);
    fn pause(&self);
    fn resume(&self);
}

impl<D: Dialect> Outlet for Connection<D> {
    type Form = D::Form;

    fn id(&self) -> u64 {
        self.id()
    }

    /// Packets have no place for a Unix socket: its clients show as `0.0.0.0:0`.
    fn peer(&self) -> SocketAddr {
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        self.peer_addr().internet().unwrap_or(nowhere)
    }

    fn send(&self, form: &D::Form) -> Result<(), SendError> {
        D::deliver(self, form)
    }

    fn is_encrypted(&self) -> bool {
        self.tls().is_some()
    }

    fn queued_bytes(&self) -> usize {
        self.queued_bytes()
    }

    fn sent_bytes(&self) -> u64 {
        self.counters().bytes_out
    }

    fn acknowledgement(&self) -> Option<Acknowledgement> {
        self.acknowledgement()
    }

    fn close(&self, reason: CloseReason) {
        self.close(reason);
    }

    fn abort(&self) {
        self.abort();
    }

    fn pause(&self) {
        self.pause();
    }

    fn resume(&self) {
        self.resume();
    }
}
