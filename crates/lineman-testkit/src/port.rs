//! Free ports without a race: the number stays ours from the moment it is chosen.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, Socket, Type};

/// A TCP port of 127.0.0.1 that no other program gets by chance while this value lives.
///
/// The socket is bound and never listens. It has `SO_REUSEPORT`, as the sockets of a Lineman master
/// do, so the program under test can bind the same port, and `SO_REUSEADDR`, so one that asks for
/// less can too. The kernel hands connections to listening sockets only.
#[derive(Debug)]
pub struct Port {
    number: u16,
    /// Invariant: bound to `number` and not listening.
    _socket: Socket,
}

impl Port {
    /// Reserves a port of the kernel's choice.
    ///
    /// # Errors
    /// When the machine is out of ports or descriptors.
    pub fn reserve() -> Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
        let address = socket.local_addr()?.as_socket().context("an address with a port")?;
        Ok(Self { number: address.port(), _socket: socket })
    }

    /// Returns the port's number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// Returns `127.0.0.1:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.number)
    }

    /// Returns the address for a WebSocket client.
    pub fn ws(&self) -> String {
        format!("ws://{}/", self.address())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    fn listener_with_reuse_port(port: &Port) -> Socket {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_reuse_port(true).expect("the option");
        let address: SocketAddr = port.address().parse().expect("an address");
        socket.bind(&address.into()).expect("the reservation lets it in");
        socket.listen(16).expect("to listen");
        socket
    }

    #[test]
    fn a_reservation_lets_reuse_port_in_and_takes_no_connection() {
        let port = Port::reserve().expect("a port");
        assert!(TcpStream::connect(port.address()).is_err());
        let listener = listener_with_reuse_port(&port);
        TcpStream::connect(port.address()).expect("a connection");
        assert!(TcpListener::bind(port.address()).is_err(), "somebody listens already");
        drop(listener);
    }
}
