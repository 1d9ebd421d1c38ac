//! How the sockets of a service are set up. The master sets what belongs to the listening socket;
//! what an accepted one has it gets from that one, so accepting costs no further call.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

use super::Socket;

/// The settings of an address; every one has a default.
///
/// ```
/// # use lineman_master::service::SocketOptions;
/// let options = SocketOptions::new().mode(0o600).backlog(1024).without_keepalive();
/// # let _ = options;
/// ```
///
/// A reload puts changes of [`delayed`](Self::delayed), the keepalive and the buffers into force for
/// connections that come after it; the others need a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketOptions {
    pub(crate) nagle: Nagle,
    pub(crate) keepalive: Option<Keepalive>,
    pub(crate) backlog: u16,
    pub(crate) receive_buffer: Option<usize>,
    pub(crate) send_buffer: Option<usize>,
    pub(crate) families: Families,
    pub(crate) sharing: Sharing,
    pub(crate) mode: u32,
    pub(crate) owner: Option<String>,
    pub(crate) group: Option<String>,
}

/// When TCP asks a silent peer whether it is still there. By default a peer that vanished is noticed within two
/// minutes, as with Workerman; but Workerman asks once, and a packet that is lost then ends a connection that is well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keepalive {
    /// Silence before the first probe. Default 55 s; whole seconds, 1 to 32,767.
    pub idle: Duration,
    /// Time for the answer to a probe. Default 11 s; whole seconds, 1 to 32,767.
    pub interval: Duration,
    /// Unanswered probes after which the connection is broken. Default 5; 1 to 127.
    pub count: u32,
}

impl Default for Keepalive {
    fn default() -> Self {
        Self { idle: Duration::from_secs(55), interval: Duration::from_secs(11), count: 5 }
    }
}

/// Whether small writes wait for the acknowledgement of earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nagle {
    Off,
    On,
}

/// What `[::]` stands for, and a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Families {
    /// IPv6, and IPv4 as mapped addresses; the first address of a name.
    Both,
    /// The first IPv4 address of a name.
    Ipv4,
    Ipv6,
}

/// How the slots of a service share a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// A socket each; the kernel spreads what arrives.
    ReusePort,
    /// All have the same socket.
    OneSocket,
}

impl SocketOptions {
    /// Returns the defaults.
    pub fn new() -> Self {
        Self {
            nagle: Nagle::Off,
            keepalive: Some(Keepalive::default()),
            backlog: 4096,
            receive_buffer: None,
            send_buffer: None,
            families: Families::Both,
            sharing: Sharing::ReusePort,
            mode: 0o660,
            owner: None,
            group: None,
        }
    }

    /// Lets small writes wait for the acknowledgement of earlier ones (Nagle's algorithm). By
    /// default they leave at once (`TCP_NODELAY`): the table writes once a turn anyway.
    #[must_use]
    pub fn delayed(mut self) -> Self {
        self.nagle = Nagle::On;
        self
    }

    /// Sets when TCP probes a silent peer. Default: [`Keepalive::default`].
    #[must_use]
    pub fn keepalive(mut self, keepalive: Keepalive) -> Self {
        self.keepalive = Some(keepalive);
        self
    }

    /// Never probes a silent peer.
    #[must_use]
    pub fn without_keepalive(mut self) -> Self {
        self.keepalive = None;
        self
    }

    /// Sets how many connections may wait to be accepted. Default 4,096: a slot that is being
    /// replaced must not refuse a burst. The kernel cuts it down to `net.core.somaxconn`.
    #[must_use]
    pub fn backlog(mut self, connections: u16) -> Self {
        self.backlog = connections;
        self
    }

    /// Sets the kernel's receive buffer of each connection, or of a UDP socket, in bytes. Default:
    /// the kernel's, which for TCP grows by itself; a fixed one does not.
    #[must_use]
    pub fn receive_buffer(mut self, bytes: usize) -> Self {
        self.receive_buffer = Some(bytes);
        self
    }

    /// Sets the kernel's send buffer, as [`receive_buffer`](Self::receive_buffer).
    #[must_use]
    pub fn send_buffer(mut self, bytes: usize) -> Self {
        self.send_buffer = Some(bytes);
        self
    }

    /// Makes an IPv6 address take IPv6 alone. By default `[::]` takes IPv4 as well, whatever
    /// `net.ipv6.bindv6only` says: it is every address of the machine. Needed beside a `0.0.0.0` of
    /// the same port.
    #[must_use]
    pub fn ipv6_only(mut self) -> Self {
        self.families = Families::Ipv6;
        self
    }

    /// Takes a host name for the first IPv4 address that it has. By default it stands for its first
    /// address, which may be IPv6.
    #[must_use]
    pub fn ipv4_only(mut self) -> Self {
        self.families = Families::Ipv4;
        self
    }

    /// Gives all slots the same socket, in place of an `SO_REUSEPORT` socket each.
    ///
    /// A process that is idle takes the next connection, so a slot that is slow keeps none waiting; but each
    /// arrival wakes every process (the poll set knows no `EPOLLEXCLUSIVE`). A Unix socket is always
    /// shared in this way.
    #[must_use]
    pub fn one_socket(mut self) -> Self {
        self.sharing = Sharing::OneSocket;
        self
    }

    /// Sets the mode of a Unix socket's file; users that may write to it may connect. Default 0660: the
    /// owner and the group.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode & 0o777;
        self
    }

    /// Sets the owner of a Unix socket's file, a name or a number. Default: the user that starts the program.
    #[must_use]
    pub fn owner(mut self, user: impl Into<String>) -> Self {
        self.owner = Some(user.into());
        self
    }

    /// Sets the group of a Unix socket's file, a name or a number. Default: that of the user that starts
    /// the program.
    #[must_use]
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.group = Some(group.into());
        self
    }

    /// Sets what a process may set on an inherited socket as well.
    pub(crate) fn tune(&self, socket: &Socket) -> io::Result<()> {
        self.tune_buffers(&SockRef::from(socket))?;
        match socket {
            Socket::Tcp(socket) => self.tune_tcp(&SockRef::from(socket)),
            Socket::Unix(_) | Socket::Udp(_) => Ok(()),
        }
    }

    pub(crate) fn tune_buffers(&self, socket: &SockRef<'_>) -> io::Result<()> {
        if let Some(bytes) = self.receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        if let Some(bytes) = self.send_buffer {
            socket.set_send_buffer_size(bytes)?;
        }
        Ok(())
    }

    fn tune_tcp(&self, socket: &SockRef<'_>) -> io::Result<()> {
        socket.set_tcp_nodelay(self.nagle == Nagle::Off)?;
        let Some(Keepalive { idle, interval, count }) = self.keepalive else {
            return socket.set_keepalive(false);
        };
        let keepalive =
            TcpKeepalive::new().with_time(idle).with_interval(interval).with_retries(count);
        socket.set_tcp_keepalive(&keepalive)
    }
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// Linux copies them from the listening socket; the table relies on that.
    #[test]
    fn an_accepted_socket_has_the_options_of_its_listener() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let socket = Socket::Tcp(listener.try_clone().unwrap());
        SocketOptions::new().receive_buffer(100_000).tune(&socket).unwrap();
        let _peer = TcpStream::connect(address).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let accepted = SockRef::from(&accepted);
        assert!(accepted.tcp_nodelay().unwrap());
        assert!(accepted.keepalive().unwrap());
        assert_eq!(accepted.tcp_keepalive_time().unwrap(), Duration::from_secs(55));
        assert_eq!(accepted.tcp_keepalive_interval().unwrap(), Duration::from_secs(11));
        assert_eq!(accepted.tcp_keepalive_retries().unwrap(), 5);
        assert_eq!(accepted.recv_buffer_size().unwrap(), 200_000, "the kernel doubles it");

        SocketOptions::new().delayed().without_keepalive().tune(&socket).unwrap();
        let _peer = TcpStream::connect(address).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert!(!SockRef::from(&accepted).tcp_nodelay().unwrap());
        assert!(!SockRef::from(&accepted).keepalive().unwrap());
    }
}
