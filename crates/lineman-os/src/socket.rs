//! The sockets a process of a service gets: bound by the master, inherited by the worker.

use std::ffi::OsStr;
use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use rustix::net::sockopt::{
    set_socket_keepalive, set_tcp_keepcnt, set_tcp_keepidle, set_tcp_keepintvl,
    set_tcp_user_timeout, socket_acceptconn, socket_domain, socket_type,
};
use rustix::net::{AddressFamily, SocketType};

use crate::Endpoint;

/// What arrives at an address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Traffic {
    /// Connections, over TCP or a Unix socket. The default.
    #[default]
    Streams,
    /// Datagrams, over UDP.
    Datagrams,
}

/// A bound socket of a service.
#[derive(Debug)]
pub enum Socket {
    /// Listens on IPv4 or IPv6.
    Tcp(TcpListener),
    /// Listens on a path or a name of this machine.
    Unix(UnixListener),
    /// Receives datagrams on IPv4 or IPv6.
    Udp(UdpSocket),
}

impl Socket {
    /// Returns where it is bound.
    ///
    /// # Errors
    /// The operating system's; "unnamed" for a Unix socket that was never bound.
    pub fn local(&self) -> io::Result<Endpoint> {
        match self {
            Self::Tcp(socket) => socket.local_addr().map(Endpoint::from),
            Self::Udp(socket) => socket.local_addr().map(Endpoint::from),
            Self::Unix(socket) => {
                let address = socket.local_addr()?;
                let path = address.as_pathname().map(|path| Endpoint::Path(path.to_owned()));
                let name = address.as_abstract_name().map(OsStr::from_bytes);
                let name = name.map(|name| Endpoint::Abstract(name.to_string_lossy().into_owned()));
                path.or(name).ok_or_else(|| io::Error::other("the Unix socket is unnamed"))
            }
        }
    }

    /// Returns its port; `None` for a Unix socket.
    pub fn port(&self) -> Option<u16> {
        self.local().ok()?.port()
    }

    /// Returns what arrives at it.
    pub fn traffic(&self) -> Traffic {
        match self {
            Self::Tcp(_) | Self::Unix(_) => Traffic::Streams,
            Self::Udp(_) => Traffic::Datagrams,
        }
    }
}

/// What a TCP socket does about a peer whose machine does not answer. In both cases a silent one is probed,
/// which its program does not see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerTimeout {
    /// The connection breaks when what was sent is not acknowledged for so long, or the peer takes nothing for so
    /// long of what waits: `TCP_USER_TIMEOUT`, which does not tell the two apart.
    Break(Duration),
    /// The socket's user looks itself (`acknowledgement`), and gives up after so long. The kernel does for an idle
    /// connection, but not for one whose peer takes nothing.
    Watch(Duration),
}

impl PeerTimeout {
    /// Returns how often a silent peer is probed: the kernel counts in seconds.
    pub fn probes_every(self) -> Duration {
        let (Self::Break(limit) | Self::Watch(limit)) = self;
        (limit / 15).clamp(Duration::from_secs(1), Duration::from_secs(32_767))
    }

    /// Sets it, on a connection or on a listener for those that are accepted there.
    ///
    /// # Errors
    /// The operating system's; the socket is not one of TCP.
    pub fn set(self, socket: impl AsFd) -> io::Result<()> {
        let (Self::Break(limit) | Self::Watch(limit)) = self;
        let every = self.probes_every();
        // Of one that breaks by itself the limit counts.
        let probes = limit.as_secs().clamp(1, 15);
        set_socket_keepalive(&socket, true)?;
        set_tcp_keepidle(&socket, every)?;
        set_tcp_keepintvl(&socket, every)?;
        set_tcp_keepcnt(&socket, u32::try_from(probes).unwrap_or(1))?;
        let breaks = match self {
            Self::Break(limit) => u32::try_from(limit.as_millis()).unwrap_or(u32::MAX),
            Self::Watch(_) => 0,
        };
        set_tcp_user_timeout(&socket, breaks)?;
        Ok(())
    }
}

/// Finds out what a descriptor is.
impl TryFrom<OwnedFd> for Socket {
    type Error = io::Error;

    fn try_from(descriptor: OwnedFd) -> io::Result<Self> {
        let no_socket = || io::Error::other("it neither listens nor receives datagrams");
        let internet = |family| family == AddressFamily::INET || family == AddressFamily::INET6;
        let family = socket_domain(descriptor.as_fd())?;
        let listens = socket_acceptconn(descriptor.as_fd())?;
        match socket_type(descriptor.as_fd())? {
            SocketType::STREAM if listens && internet(family) => Ok(Self::Tcp(descriptor.into())),
            SocketType::STREAM if listens && family == AddressFamily::UNIX => {
                Ok(Self::Unix(descriptor.into()))
            }
            SocketType::DGRAM if internet(family) => Ok(Self::Udp(descriptor.into())),
            _ => Err(no_socket()),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
            Self::Udp(socket) => socket.as_fd(),
        }
    }
}

impl From<TcpListener> for Socket {
    fn from(socket: TcpListener) -> Self {
        Self::Tcp(socket)
    }
}

impl From<UnixListener> for Socket {
    fn from(socket: UnixListener) -> Self {
        Self::Unix(socket)
    }
}

impl From<UdpSocket> for Socket {
    fn from(socket: UdpSocket) -> Self {
        Self::Udp(socket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Linux copies it from the listener.
    #[test]
    fn an_accepted_connection_has_its_listener_s_timeout() {
        use rustix::net::sockopt::{tcp_keepcnt, tcp_keepidle, tcp_user_timeout};
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let accepted = |peer_timeout: PeerTimeout| {
            peer_timeout.set(&listener).unwrap();
            let _peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (accepted, _) = listener.accept().unwrap();
            (tcp_user_timeout(&accepted), tcp_keepidle(&accepted), tcp_keepcnt(&accepted))
        };
        let seconds = Duration::from_secs;
        assert_eq!(accepted(PeerTimeout::Break(seconds(60))), (Ok(60_000), Ok(seconds(4)), Ok(15)));
        assert_eq!(accepted(PeerTimeout::Watch(seconds(3))), (Ok(0), Ok(seconds(1)), Ok(3)));
    }

    #[test]
    fn a_descriptor_is_what_it_is() {
        let tcp = TcpListener::bind("[::1]:0").unwrap();
        let local = tcp.local_addr().unwrap();
        let socket = Socket::try_from(OwnedFd::from(tcp)).unwrap();
        assert!(matches!(socket, Socket::Tcp(_)));
        assert_eq!(socket.local().unwrap().to_string(), local.to_string());

        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let socket = Socket::try_from(OwnedFd::from(udp)).unwrap();
        assert_eq!(socket.traffic(), Traffic::Datagrams);

        let (one_end, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        Socket::try_from(OwnedFd::from(one_end)).expect_err("it does not listen");
        let file = std::fs::File::open("/dev/null").unwrap();
        Socket::try_from(OwnedFd::from(file)).expect_err("no socket at all");
    }
}
