//! Receives datagrams in batches, decodes each to its messages and runs their handlers.

use std::cell::Cell;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use futures_util::FutureExt;
use lineman_wire::Protocol;
use mio::Registry;
use quinn_udp::{RecvMeta, UdpSockRef};

use super::{Peer, Post};
use crate::LocalFuture;
use crate::connection::entry::Readiness;
use crate::connection::stats::Counters;
use crate::connection::table::{Arrivals, Table};
use crate::{BoxError, Result};

/// Buffers filled by one call, which is all that a turn takes: enough to amortise the call, few
/// enough that a flood leaves connections their turn. The kernel may have put up to 64 datagrams of
/// one sender into each.
const BATCH: usize = 16;

/// The largest datagram, and the most that the kernel merges.
const BUFFER: usize = 65_535;

/// Handlers that may wait at once, for each socket; a connection's would hold up its peer, a
/// datagram's would only pile up. Beyond it datagrams are dropped.
const MAX_WAITING: usize = 1024;

/// Errors in a row after which the socket rests until it is readable again.
const MAX_FAULTS: u32 = 16;

/// One megabyte for each socket, of which the kernel gives as much as is ever filled.
pub(super) struct Buffers {
    bytes: Vec<u8>,
    meta: [RecvMeta; BATCH],
}

impl Default for Buffers {
    fn default() -> Self {
        Self { bytes: vec![0; BATCH * BUFFER], meta: [RecvMeta::default(); BATCH] }
    }
}

impl<P: Protocol> Arrivals for Post<P> {
    fn ready(self: Rc<Self>, table: &Table, readiness: Readiness) {
        if readiness.writable {
            self.flush();
        }
        if readiness.readable {
            self.take_some(table);
        }
    }

    /// Takes one batch; what is left has its turn after the others had theirs.
    fn take_some(self: Rc<Self>, table: &Table) {
        if self.left.get() {
            return;
        }
        // A handler gets at the outbox alone, never at the buffers.
        let mut buffers = self.buffers.borrow_mut();
        match self.fill(&mut buffers) {
            Ok(count) => {
                self.faults.set(0);
                let Buffers { bytes, meta } = &*buffers;
                for (buffer, meta) in bytes.chunks(BUFFER).zip(meta).take(count) {
                    self.deal_out(buffer.get(..meta.len).unwrap_or_default(), meta);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            // A report about a datagram of ours, a peer without a socket for one; or a real fault.
            Err(error) => {
                tracing::debug!(%error, "cannot receive datagrams");
                self.faults.set(self.faults.get() + 1);
                if self.faults.get() >= MAX_FAULTS {
                    tracing::error!(%error, "a UDP socket rests after too many errors");
                    self.faults.set(0);
                    return;
                }
            }
        }
        drop(buffers);
        table.take_again(self);
    }

    /// Leaves the poll set; what arrives from now on waits for the successor, which has the same
    /// socket. Answers of handlers that still wait are refused.
    fn leave(&self, registry: &Registry) {
        self.flush();
        self.left.set(true);
        let lost = self.outbox.borrow_mut().clear();
        self.table.add(|counters| &counters.datagrams_dropped, lost as u64);
        if let Err(error) = registry.deregister(&mut *self.socket.borrow_mut()) {
            tracing::warn!(%error, "cannot leave a UDP socket");
        }
    }
}

impl<P: Protocol> Post<P> {
    fn fill(&self, buffers: &mut Buffers) -> io::Result<usize> {
        let mut chunks = buffers.bytes.chunks_mut(BUFFER);
        let mut slices: [IoSliceMut<'_>; BATCH] =
            std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
        let socket = self.socket.borrow();
        self.state.recv(UdpSockRef::from(&*socket), &mut slices, &mut buffers.meta)
    }

    fn deal_out(self: &Rc<Self>, bytes: &[u8], meta: &RecvMeta) {
        self.table.add(|counters| &counters.bytes_in, bytes.len() as u64);
        if bytes.is_empty() {
            return self.datagram(bytes, meta.addr, meta.dst_ip);
        }
        for datagram in bytes.chunks(meta.stride.max(1)) {
            self.datagram(datagram, meta.addr, meta.dst_ip);
        }
    }

    /// Decodes a datagram to all its messages; what is left over is malformed.
    fn datagram(self: &Rc<Self>, bytes: &[u8], address: SocketAddr, local: Option<IpAddr>) {
        let mut protocol = (self.make)();
        let mut rest = BytesMut::from(bytes);
        loop {
            if self.waiting.get() >= MAX_WAITING {
                return self.count(|counters| &counters.datagrams_dropped);
            }
            match protocol.decode(&mut rest) {
                Ok(Some(message)) => {
                    self.count(|counters| &counters.messages_in);
                    let peer = Peer { post: Rc::clone(self), address, local };
                    self.run(peer, message);
                }
                Ok(None) if rest.is_empty() => return,
                Ok(None) => {
                    tracing::debug!(peer = %address, left = rest.len(), "malformed datagram");
                    return self.count(|counters| &counters.protocol_errors);
                }
                Err(error) => {
                    tracing::debug!(peer = %address, %error, "malformed datagram");
                    return self.count(|counters| &counters.protocol_errors);
                }
            }
        }
    }

    /// Polls the handler in place; one that waits becomes a task, which a drain waits for.
    fn run(self: &Rc<Self>, peer: Peer<P>, message: P::Inbound) {
        let Some(handler) = &self.handler else { return };
        let address = peer.address;
        let polled = catch_unwind(AssertUnwindSafe(|| {
            let mut future = handler(peer, message);
            let polled = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            (future, polled)
        }));
        match polled {
            Ok((_, Poll::Ready(result))) => self.ended(address, Ok(result)),
            Ok((future, Poll::Pending)) => self.go_on(address, future),
            Err(panic) => self.ended(address, Err(panic)),
        }
    }

    fn go_on(self: &Rc<Self>, address: SocketAddr, future: LocalFuture<Result>) {
        let post = Rc::clone(self);
        post.waiting.set(post.waiting.get() + 1);
        post.table.enter();
        tokio::task::spawn_local(async move {
            let outcome = AssertUnwindSafe(future).catch_unwind().await;
            post.ended(address, outcome);
            post.waiting.set(post.waiting.get() - 1);
            post.table.leave();
        });
    }

    fn ended(&self, peer: SocketAddr, outcome: std::thread::Result<Result<(), BoxError>>) {
        match outcome {
            Ok(Ok(())) => return,
            Ok(Err(error)) => tracing::warn!(%peer, %error, "handler failed"),
            // The panic hook has said what it was.
            Err(_) => tracing::error!(%peer, "handler panicked"),
        }
        self.count(|counters| &counters.handler_errors);
    }

    fn count(&self, counter: impl FnOnce(&Counters) -> &Cell<u64>) {
        self.table.add(counter, 1);
    }
}
