//! The socket under a connection: TCP or Unix, one type for the table and its poll set.

use std::io::{self, IoSlice, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use mio::event::Source;
use mio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use mio::{Interest, Registry, Token};
use rustix::net::{AddressFamily, SocketType, sockopt};

use super::Address;

/// A connected stream socket.
#[derive(Debug)]
pub(crate) enum Stream {
    /// Over IPv4 or IPv6.
    Tcp(TcpStream),
    /// Within this machine.
    Unix(UnixStream),
}

impl Stream {
    pub(crate) fn local_addr(&self) -> io::Result<Address> {
        match self {
            Self::Tcp(stream) => stream.local_addr().map(Address::from),
            Self::Unix(stream) => stream.local_addr().map(|address| Address::of_unix(&address)),
        }
    }

    pub(super) fn peer_addr(&self) -> io::Result<Address> {
        match self {
            Self::Tcp(stream) => stream.peer_addr().map(Address::from),
            Self::Unix(stream) => stream.peer_addr().map(|address| Address::of_unix(&address)),
        }
    }

    pub(super) fn take_error(&self) -> io::Result<Option<io::Error>> {
        match self {
            Self::Tcp(stream) => stream.take_error(),
            Self::Unix(stream) => stream.take_error(),
        }
    }

    pub(super) fn end_writing(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }
}

impl Stream {
    /// Takes a descriptor that came from another process.
    ///
    /// # Errors
    /// When it is no stream socket of a connection, over the network or within this machine as is said.
    pub(super) fn of_other_process(descriptor: OwnedFd, is_unix: bool) -> io::Result<Self> {
        let wrong = |what: &str| Err(io::Error::new(io::ErrorKind::InvalidData, what.to_owned()));
        let Ok(kind) = sockopt::socket_type(&descriptor) else {
            return wrong("a descriptor is no socket");
        };
        if kind != SocketType::STREAM || sockopt::socket_acceptconn(&descriptor)? {
            return wrong("a descriptor is no connection's socket");
        }
        match sockopt::socket_domain(&descriptor)? {
            AddressFamily::INET | AddressFamily::INET6 if !is_unix => {
                let stream = std::net::TcpStream::from(descriptor);
                stream.set_nonblocking(true)?;
                Ok(Self::Tcp(TcpStream::from_std(stream)))
            }
            AddressFamily::UNIX if is_unix => {
                let stream = std::os::unix::net::UnixStream::from(descriptor);
                stream.set_nonblocking(true)?;
                Ok(Self::Unix(UnixStream::from_std(stream)))
            }
            _ => wrong("a descriptor is a socket of another family than its record says"),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

impl From<Stream> for OwnedFd {
    fn from(stream: Stream) -> Self {
        match stream {
            Stream::Tcp(stream) => stream.into(),
            Stream::Unix(stream) => stream.into(),
        }
    }
}

impl Stream {
    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => (&*stream).write(bytes),
            Self::Unix(stream) => (&*stream).write(bytes),
        }
    }

    pub(super) fn write_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => (&*stream).write_vectored(pieces),
            Self::Unix(stream) => (&*stream).write_vectored(pieces),
        }
    }
}

impl Source for Stream {
    fn register(&mut self, registry: &Registry, token: Token, wish: Interest) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.register(registry, token, wish),
            Self::Unix(stream) => stream.register(registry, token, wish),
        }
    }

    fn reregister(&mut self, registry: &Registry, token: Token, wish: Interest) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.reregister(registry, token, wish),
            Self::Unix(stream) => stream.reregister(registry, token, wish),
        }
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.deregister(registry),
            Self::Unix(stream) => stream.deregister(registry),
        }
    }
}

/// A socket that listens for streams, in the table's poll set.
#[derive(Debug)]
pub enum StreamListener {
    /// On IPv4 or IPv6.
    Tcp(TcpListener),
    /// On a path of this machine.
    Unix(UnixListener),
}

impl StreamListener {
    pub(super) fn accept(&self) -> io::Result<(Stream, Address)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept()?;
                Ok((Stream::Tcp(stream), Address::from(peer)))
            }
            Self::Unix(listener) => {
                let (stream, peer) = listener.accept()?;
                Ok((Stream::Unix(stream), Address::of_unix(&peer)))
            }
        }
    }
}

impl StreamListener {
    pub(super) fn local(&self) -> io::Result<String> {
        match self {
            Self::Tcp(listener) => Ok(listener.local_addr()?.to_string()),
            Self::Unix(listener) => Ok(Address::of_unix(&listener.local_addr()?).to_string()),
        }
    }

    /// Returns the address; `None` for a Unix socket.
    pub(super) fn tcp_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }
}

impl TryFrom<std::net::TcpListener> for StreamListener {
    type Error = io::Error;

    fn try_from(listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self::Tcp(TcpListener::from_std(listener)))
    }
}

impl TryFrom<std::os::unix::net::UnixListener> for StreamListener {
    type Error = io::Error;

    fn try_from(listener: std::os::unix::net::UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self::Unix(UnixListener::from_std(listener)))
    }
}

impl TryFrom<lineman_os::Socket> for StreamListener {
    type Error = io::Error;

    fn try_from(socket: lineman_os::Socket) -> io::Result<Self> {
        match socket {
            lineman_os::Socket::Tcp(socket) => socket.try_into(),
            lineman_os::Socket::Unix(socket) => socket.try_into(),
            lineman_os::Socket::Udp(_) => Err(io::Error::other("a UDP socket has no connections")),
        }
    }
}

impl Source for StreamListener {
    fn register(&mut self, registry: &Registry, token: Token, wish: Interest) -> io::Result<()> {
        match self {
            Self::Tcp(listener) => listener.register(registry, token, wish),
            Self::Unix(listener) => listener.register(registry, token, wish),
        }
    }

    fn reregister(&mut self, registry: &Registry, token: Token, wish: Interest) -> io::Result<()> {
        match self {
            Self::Tcp(listener) => listener.reregister(registry, token, wish),
            Self::Unix(listener) => listener.reregister(registry, token, wish),
        }
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match self {
            Self::Tcp(listener) => listener.deregister(registry),
            Self::Unix(listener) => listener.deregister(registry),
        }
    }
}
