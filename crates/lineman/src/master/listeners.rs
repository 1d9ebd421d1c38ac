//! The sockets of all slots: bound before anything starts, kept for the master's life, lent to every
//! process of their slot.

use std::cell::Cell;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::os::fd::OwnedFd;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::Error;
use crate::os::procfs;
use crate::service::{Description, Listen, Ports};

/// How many connections may wait to be accepted: a slot that is being replaced must not refuse a
/// burst. The kernel cuts it down to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// One slot's socket for one address.
#[derive(Debug)]
pub(super) struct Listener {
    socket: Socket,
    address: SocketAddr,
    parked: Cell<bool>,
}

impl Listener {
    /// Returns the address in force.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns a descriptor of the same socket, for a process to inherit.
    pub(super) fn lend(&self) -> io::Result<OwnedFd> {
        Ok(self.socket.try_clone()?.into())
    }

    /// Stops listening and keeps the address: while a slot has no process, the kernel would go on
    /// feeding its share of the connections to a socket on which nobody accepts.
    pub(super) fn park(&self) {
        match self.socket.shutdown(std::net::Shutdown::Both) {
            Ok(()) => self.parked.set(true),
            Err(error) => {
                tracing::debug!(address = %self.address, %error, "cannot park a listener");
            }
        }
    }

    /// Listens again after [`Listener::park`].
    pub(super) fn unpark(&self) -> io::Result<()> {
        if self.parked.replace(false) { self.socket.listen(BACKLOG) } else { Ok(()) }
    }
}

/// Binds the sockets of one service: for each slot, one for each address.
pub(super) fn bind(description: &Description) -> Result<Vec<Vec<Listener>>, Error> {
    let mut slots: Vec<Vec<Listener>> = (0..description.count).map(|_| Vec::new()).collect();
    for listen in &description.listeners {
        let sockets = bind_address(listen, description.count)
            .map_err(|source| Error::Listen { address: listen.address.clone(), source })?;
        for (slot, listener) in slots.iter_mut().zip(sockets) {
            slot.push(listener);
        }
    }
    Ok(slots)
}

/// Says so when the kernel keeps fewer connections waiting than asked for.
pub(super) fn note_backlog() {
    if let Some(limit) = procfs::backlog_limit()
        && i64::from(limit) < i64::from(BACKLOG)
    {
        tracing::warn!(
            wanted = BACKLOG,
            limit,
            "net.core.somaxconn is low: bursts of connections may be refused"
        );
    }
}

fn bind_address(listen: &Listen, count: usize) -> io::Result<Vec<Listener>> {
    let address = resolve(&listen.address)?;
    match listen.ports {
        Ports::Shared => shared(address, count),
        Ports::PerSlot => (0..count).map(|index| own(nth_port(address, index)?)).collect(),
    }
}

fn resolve(address: &str) -> io::Result<SocketAddr> {
    let mut found = address.to_socket_addrs()?;
    found.next().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))
}

fn nth_port(address: SocketAddr, index: usize) -> io::Result<SocketAddr> {
    if address.port() == 0 {
        return Ok(address);
    }
    let port = u16::try_from(index).ok().and_then(|index| address.port().checked_add(index));
    let port = port.ok_or_else(|| io::Error::other(format!("slot {index} has no port left")))?;
    Ok(SocketAddr::new(address.ip(), port))
}

/// One socket with the address to itself.
fn own(address: SocketAddr) -> io::Result<Listener> {
    let (address, _reserved) = with_port(address)?;
    listener(address, Sharing::No)
}

/// A socket for each slot on one address.
fn shared(address: SocketAddr, count: usize) -> io::Result<Vec<Listener>> {
    if count == 1 {
        return Ok(vec![own(address)?]);
    }
    let (address, _reserved) = with_port(address)?;
    // SO_REUSEPORT lets a second copy of the program in without a word: it would share the
    // connections. So first ask the way that is refused when somebody listens.
    drop(listener(address, Sharing::No)?);
    (0..count).map(|_| listener(address, Sharing::Yes)).collect()
}

/// Lets the kernel choose the port where it is 0, and returns the socket that reserves it until the
/// real ones are bound by its number: a socket bound to port 0 itself would lose it when parked.
fn with_port(address: SocketAddr) -> io::Result<(SocketAddr, Option<Socket>)> {
    if address.port() != 0 {
        return Ok((address, None));
    }
    let socket = bound(address, Sharing::Yes)?;
    let chosen = local(&socket)?;
    Ok((chosen, Some(socket)))
}

/// Whether other sockets of this user may listen on the same address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sharing {
    No,
    Yes,
}

fn listener(address: SocketAddr, sharing: Sharing) -> io::Result<Listener> {
    let socket = bound(address, sharing)?;
    socket.listen(BACKLOG)?;
    Ok(Listener { address: local(&socket)?, socket, parked: Cell::new(false) })
}

fn bound(address: SocketAddr, sharing: Sharing) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // Connections of the last run that linger in TIME_WAIT do not keep the address.
    socket.set_reuse_address(true)?;
    if sharing == Sharing::Yes {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&SockAddr::from(address))?;
    Ok(socket)
}

fn local(socket: &Socket) -> io::Result<SocketAddr> {
    let address = socket.local_addr()?;
    address.as_socket().ok_or_else(|| io::Error::other("the socket has no internet address"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    fn localhost() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    #[test]
    fn slots_share_the_port_the_kernel_chose() {
        let listeners = shared(localhost(), 3).unwrap();
        let address = listeners[0].address();
        assert_ne!(address.port(), 0);
        assert!(listeners.iter().all(|listener| listener.address() == address));
    }

    #[test]
    fn a_second_copy_is_refused_although_ports_are_shared() {
        let first = shared(localhost(), 2).unwrap();
        let error = shared(first[0].address(), 2).expect_err("somebody listens");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_port_that_a_test_reserved_is_free() {
        let reserved = bound(localhost(), Sharing::Yes).unwrap();
        shared(local(&reserved).unwrap(), 2).unwrap();
        own(local(&reserved).unwrap()).unwrap();
    }

    #[test]
    fn a_parked_listener_refuses_and_comes_back_on_its_address() {
        let listener = own(localhost()).unwrap();
        TcpStream::connect(listener.address()).unwrap();
        listener.park();
        TcpStream::connect(listener.address()).expect_err("parked");
        listener.unpark().unwrap();
        TcpStream::connect(listener.address()).unwrap();
    }

    #[test]
    fn each_slot_has_the_next_port() {
        let address = SocketAddr::from(([127, 0, 0, 1], 4000));
        assert_eq!(nth_port(address, 3).unwrap().port(), 4003);
        nth_port(SocketAddr::from(([127, 0, 0, 1], 65_535)), 1).expect_err("no such port");
        assert_eq!(nth_port(localhost(), 9).unwrap().port(), 0);
    }
}
