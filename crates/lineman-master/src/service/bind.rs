//! Binds an internet address with the options of its service: by the master for its listeners, and by
//! a worker that listens on more while it runs.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};

use lineman_os::AddressError;
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket as Raw, Type};

use super::{Endpoint, Families, Listen, Socket, SocketOptions, Traffic};
use crate::Error;

/// Whether other sockets of this user may be bound to the same address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reuse {
    /// It is ours alone.
    Nothing,
    /// Others with the same option may (`SO_REUSEPORT`); the kernel spreads connections.
    Port,
}

/// Returns a socket bound to `address`; one of streams does not listen yet.
pub(crate) fn bind(
    address: SocketAddr,
    traffic: Traffic,
    reuse: Reuse,
    options: &SocketOptions,
) -> io::Result<Raw> {
    let (kind, protocol) = match traffic {
        Traffic::Streams => (Type::STREAM, Protocol::TCP),
        Traffic::Datagrams => (Type::DGRAM, Protocol::UDP),
    };
    let socket = Raw::new(Domain::for_address(address), kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    if traffic == Traffic::Streams {
        // Connections of the last run that linger in TIME_WAIT do not keep the address. For UDP
        // the option would let others take what arrives here.
        socket.set_reuse_address(true)?;
    }
    if reuse == Reuse::Port {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(options.families == Families::Ipv6)?;
    }
    socket.bind(&SockAddr::from(address))?;
    Ok(socket)
}

/// Returns the first address of a host; of those in IPv4, where only these are wished for.
pub(crate) fn resolve(host: &str, port: u16, families: Families) -> io::Result<SocketAddr> {
    let ipv4_only = families == Families::Ipv4;
    let mut found = (host, port).to_socket_addrs()?;
    let what = if ipv4_only { "the name has no IPv4 address" } else { "the name has no address" };
    let found = found.find(|address| address.is_ipv4() || !ipv4_only);
    found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, what))
}

/// Binds what a worker listens on besides the master's listeners. All processes of its service may
/// bind the same, and so may their successors.
///
/// # Errors
/// [`Error::Address`] or [`Error::Listen`], with the address.
pub fn in_this_process(listen: &Listen) -> Result<Socket, Error> {
    let failed = |source| Error::Listen { address: listen.address.clone(), source };
    let Endpoint::Internet { host, port } = listen.endpoint()? else {
        let problem = "a worker that runs can listen on `host:port` alone";
        return Err(AddressError { address: listen.address.clone(), problem }.into());
    };
    let open = || {
        let address = resolve(&host, port, listen.options.families)?;
        let socket = bind(address, listen.traffic, Reuse::Port, &listen.options)?;
        listen.options.tune_buffers(&SockRef::from(&socket))?;
        if listen.traffic == Traffic::Streams {
            socket.listen(i32::from(listen.options.backlog))?;
        }
        let socket = Socket::try_from(std::os::fd::OwnedFd::from(socket))?;
        listen.options.tune(&socket)?;
        Ok(socket)
    };
    open().map_err(failed)
}
