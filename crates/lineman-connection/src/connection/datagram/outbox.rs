//! What waits for the kernel: the datagrams of a turn, sent at its end. Never retries one that the
//! kernel refused; UDP promises nothing.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};

use bytes::BytesMut;
use lineman_wire::Protocol;
use quinn_udp::{Transmit, UdpSockRef};

use super::Post;

/// Bytes that may wait for the kernel, as a connection's send queue; then `send` answers `Full`.
const MAX_WAITING: usize = 1024 * 1024;

/// What a datagram costs beyond its bytes: a million empty ones are no small queue.
const OVERHEAD: usize = 64;

pub(super) struct Outgoing {
    pub(super) to: SocketAddr,
    pub(super) from: Option<IpAddr>,
    pub(super) bytes: BytesMut,
}

#[derive(Default)]
pub(super) struct Outbox {
    waiting: VecDeque<Outgoing>,
    size: usize,
    /// Whether a flush is due: at the end of the turn, or when the socket becomes writable.
    due: bool,
}

impl Outbox {
    pub(super) fn is_full(&self) -> bool {
        self.size >= MAX_WAITING
    }

    /// Returns whether a flush has to be asked for.
    pub(super) fn push(&mut self, outgoing: Outgoing) -> bool {
        self.size += outgoing.bytes.len() + OVERHEAD;
        self.waiting.push_back(outgoing);
        !std::mem::replace(&mut self.due, true)
    }

    fn pop(&mut self) {
        if let Some(sent) = self.waiting.pop_front() {
            self.size -= sent.bytes.len() + OVERHEAD;
        }
    }

    pub(super) fn clear(&mut self) -> usize {
        self.size = 0;
        std::mem::take(&mut self.waiting).len()
    }
}

impl<P: Protocol> Post<P> {
    /// Sends what waits, until the kernel takes no more; being writable goes on from there.
    pub(super) fn flush(&self) {
        let mut outbox = self.outbox.borrow_mut();
        while let Some(next) = outbox.waiting.front() {
            match self.transmit(next) {
                Ok(()) => self.table.add(|counters| &counters.bytes_out, next.bytes.len() as u64),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !self.left.get() => {
                    return;
                }
                Err(error) => {
                    tracing::debug!(to = %next.to, %error, "a datagram was not sent");
                    self.table.add(|counters| &counters.datagrams_dropped, 1);
                }
            }
            outbox.pop();
        }
        outbox.due = false;
    }

    fn transmit(&self, outgoing: &Outgoing) -> io::Result<()> {
        let sent = self.transmit_from(outgoing, outgoing.from);
        let Err(error) = sent else { return Ok(()) };
        match error.kind() {
            // An interruption, or a report about an earlier datagram: this one was not tried.
            io::ErrorKind::Interrupted | io::ErrorKind::ConnectionRefused => {
                self.transmit_from(outgoing, outgoing.from)
            }
            io::ErrorKind::WouldBlock => Err(error),
            // The address it came to is none to send from: a subnet's broadcast.
            _ if outgoing.from.is_some() => self.transmit_from(outgoing, None),
            _ => Err(error),
        }
    }

    fn transmit_from(&self, outgoing: &Outgoing, src_ip: Option<IpAddr>) -> io::Result<()> {
        let transmit = Transmit {
            destination: outgoing.to,
            ecn: None,
            contents: &outgoing.bytes,
            segment_size: None,
            src_ip,
        };
        let socket = self.socket.borrow();
        self.state.try_send(UdpSockRef::from(&*socket), &transmit)
    }
}
