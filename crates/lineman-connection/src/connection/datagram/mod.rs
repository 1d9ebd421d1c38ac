//! Datagrams: a UDP socket in the table, and what its handlers hold. There is no connection, so
//! nothing is kept for a peer; each datagram is decoded by a protocol state of its own.

mod outbox;
mod receive;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::rc::Rc;

use bytes::BytesMut;
use lineman_wire::Protocol;
use mio::{Interest, Token};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::Ipv6DontFrag;
use quinn_udp::{UdpSockRef, UdpSocketState};
use rustix::net::sockopt::{self, Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery};

use super::SendError;
use super::table::Table;
use crate::LocalFuture;
use crate::{Error, Result};
use outbox::{Outbox, Outgoing};
use receive::Buffers;

/// The most bytes of a datagram: what IPv4 leaves of 65,535 for UDP.
const MAX_DATAGRAM: usize = 65_507;

#[doc(hidden)]
pub type OnMessage<P> = Rc<dyn Fn(Peer<P>, <P as Protocol>::Inbound) -> LocalFuture<Result>>;

/// A UDP socket and how its datagrams are served.
struct Post<P: Protocol> {
    table: Table,
    socket: RefCell<mio::net::UdpSocket>,
    state: UdpSocketState,
    /// Whether IPv4 addresses have to be mapped.
    ipv6: bool,
    make: Box<dyn Fn() -> P>,
    handler: Option<OnMessage<P>>,
    buffers: RefCell<Buffers>,
    outbox: RefCell<Outbox>,
    /// Handlers that wait.
    waiting: Cell<usize>,
    /// Errors of the socket without a datagram between them.
    faults: Cell<u32>,
    left: Cell<bool>,
}

/// The sender of a datagram; what a handler answers with. A handle that is cheap to clone.
///
/// ```no_run
/// # use lineman_connection::Result;
/// # use lineman_connection::connection::datagram::Peer;
/// # use lineman_wire::text::Text;
/// // Given to `on_message` of a worker of `Worker::datagrams`.
/// async fn answer(peer: Peer<Text>, question: String) -> Result {
///     peer.send(format!("you said {question}"))
/// }
/// ```
pub struct Peer<P: Protocol> {
    post: Rc<Post<P>>,
    address: SocketAddr,
    local: Option<IpAddr>,
}

impl<P: Protocol> Peer<P> {
    /// Returns the address the datagram came from; an IPv4 sender shows as itself.
    pub fn peer_addr(&self) -> SocketAddr {
        SocketAddr::new(self.address.ip().to_canonical(), self.address.port())
    }

    /// Returns the address of ours that the datagram was sent to, where the kernel tells.
    pub fn local_ip(&self) -> Option<IpAddr> {
        self.local.map(|ip| ip.to_canonical())
    }

    /// Sends a message to the sender, in a datagram of its own, from the address it wrote to.
    ///
    /// It leaves at the end of the loop's turn. As always with UDP it may get lost on the way.
    ///
    /// # Errors
    /// [`SendError::Full`] when 1 MiB waits for the kernel already, [`SendError::Closed`] when the
    /// process is leaving; the protocol's own error; or that the message fits no datagram (65,507
    /// bytes).
    pub fn send(&self, message: impl Into<P::Outbound>) -> Result {
        self.post.send(self.address, self.local, message.into())
    }

    /// Sends a message to another address from the same socket; as [`Peer::send`].
    ///
    /// # Errors
    /// As [`Peer::send`].
    pub fn send_to(&self, address: SocketAddr, message: impl Into<P::Outbound>) -> Result {
        self.post.send(self.post.reachable(address), None, message.into())
    }
}

impl<P: Protocol> Post<P> {
    /// A socket for both families knows IPv4 as mapped addresses.
    fn reachable(&self, address: SocketAddr) -> SocketAddr {
        match address.ip() {
            IpAddr::V4(ip) if self.ipv6 => {
                SocketAddr::new(ip.to_ipv6_mapped().into(), address.port())
            }
            IpAddr::V4(_) | IpAddr::V6(_) => address,
        }
    }

    fn send(self: &Rc<Self>, to: SocketAddr, from: Option<IpAddr>, message: P::Outbound) -> Result {
        if self.left.get() {
            return Err(SendError::Closed.into());
        }
        let mut outbox = self.outbox.borrow_mut();
        if outbox.is_full() {
            self.table.add(|counters| &counters.refused, 1);
            return Err(SendError::Full.into());
        }
        let mut bytes = BytesMut::new();
        (self.make)().encode(message, &mut bytes)?;
        if bytes.len() > MAX_DATAGRAM {
            let length = bytes.len();
            let problem = format!("{length} bytes fit no datagram: {MAX_DATAGRAM} are the limit");
            return Err(problem.into());
        }
        // What cannot be a sender, a multicast or broadcast address, is left to the kernel.
        let from = from.filter(|ip| match ip.to_canonical() {
            IpAddr::V4(ip) => !ip.is_multicast() && !ip.is_broadcast(),
            IpAddr::V6(ip) => !ip.is_multicast(),
        });
        self.table.add(|counters| &counters.messages_out, 1);
        if outbox.push(Outgoing { to, from, bytes }) {
            let post = Rc::clone(self);
            self.table.before_flush(move || post.flush());
        }
        Ok(())
    }
}

impl<P: Protocol> Clone for Peer<P> {
    fn clone(&self) -> Self {
        Self { post: Rc::clone(&self.post), ..*self }
    }
}

impl<P: Protocol> fmt::Debug for Peer<P> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Peer")
            .field("protocol", &P::name())
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// Makes a message handler storable.
#[doc(hidden)]
pub fn handler<P, H>(handler: H) -> OnMessage<P>
where
    P: Protocol,
    H: AsyncFn(Peer<P>, P::Inbound) -> Result + 'static,
{
    let handler = Rc::new(handler);
    Rc::new(move |peer, message| {
        let handler = Rc::clone(&handler);
        Box::pin(async move { handler(peer, message).await })
    })
}

/// How the datagrams of a socket are served.
#[doc(hidden)]
pub struct Service<P: Protocol> {
    pub make: Box<dyn Fn() -> P>,
    pub handler: Option<OnMessage<P>>,
}

impl<P: Protocol> fmt::Debug for Service<P> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Service").finish_non_exhaustive()
    }
}

impl Table {
    /// Serves the datagrams that arrive at a socket.
    ///
    /// # Errors
    /// When the socket cannot be put into the poll set.
    #[doc(hidden)]
    pub fn receive<P: Protocol>(
        &self,
        socket: UdpSocket,
        service: Service<P>,
    ) -> Result<(), Error> {
        let failed = |source| Error::Os { action: "watch a UDP socket", source };
        socket.set_nonblocking(true).map_err(failed)?;
        let state = UdpSocketState::new(UdpSockRef::from(&socket)).map_err(failed)?;
        let ipv6 = socket.local_addr().map_err(failed)?.is_ipv6();
        allow_fragments(&socket, ipv6).map_err(failed)?;
        let mut socket = mio::net::UdpSocket::from_std(socket);
        let Service { make, handler } = service;
        self.insert_listener(|key, registry| {
            registry.register(&mut socket, Token(key), Interest::READABLE | Interest::WRITABLE)?;
            Ok(Rc::new(Post {
                table: self.clone(),
                socket: RefCell::new(socket),
                state,
                ipv6,
                make,
                handler,
                buffers: RefCell::default(),
                outbox: RefCell::default(),
                waiting: Cell::new(0),
                faults: Cell::new(0),
                left: Cell::new(false),
            }))
        })
        .map_err(failed)
    }
}

/// Undoes what QUIC wants of a socket and the library for batches sets: that a datagram larger than
/// the path is refused. Here it is fragmented, as any program's is.
fn allow_fragments(socket: &UdpSocket, ipv6: bool) -> io::Result<()> {
    // For a socket of both families this counts as well.
    sockopt::set_ip_mtu_discover(socket, Ipv4PathMtuDiscovery::DONT)?;
    if ipv6 {
        sockopt::set_ipv6_mtu_discover(socket, Ipv6PathMtuDiscovery::DONT)?;
        setsockopt(socket, Ipv6DontFrag, &false)?;
    }
    Ok(())
}
