//! Where a peer is: an internet address, or the other end of a Unix socket.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

/// The address of one end of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// IPv4 or IPv6, with the port. Made by `Address::from`, it is never IPv4 in IPv6 form
    /// (`::ffff:192.0.2.1`, as a listener for both families sees it): one peer has one address, to compare
    /// as to read.
    Internet(SocketAddr),
    /// A Unix socket; its path if it has one, which a connecting peer's rarely has.
    Unix(Option<Arc<Path>>),
}

impl Address {
    /// Returns the IP address; an IPv4 client of a listener for both families shows as itself.
    ///
    /// `None` for a Unix socket.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Internet(address) => Some(address.ip().to_canonical()),
            Self::Unix(_) => None,
        }
    }

    /// Returns the port; `None` for a Unix socket.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Internet(address) => Some(address.port()),
            Self::Unix(_) => None,
        }
    }

    /// Returns IP address and port; `None` for a Unix socket.
    pub fn internet(&self) -> Option<SocketAddr> {
        Some(SocketAddr::new(self.ip()?, self.port()?))
    }

    pub(crate) fn of_unix(address: &std::os::unix::net::SocketAddr) -> Self {
        Self::Unix(address.as_pathname().map(Arc::from))
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        match address.ip().to_canonical() {
            ip @ IpAddr::V4(_) => Self::Internet(SocketAddr::new(ip, address.port())),
            // With its scope, without which a link-local address is none.
            IpAddr::V6(_) => Self::Internet(address),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Internet(address) => address.fmt(formatter),
            Self::Unix(Some(path)) => write!(formatter, "unix:{}", path.display()),
            Self::Unix(None) => formatter.write_str("unix:"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_peer_has_one_address_however_the_kernel_writes_it() {
        let address = |text: &str| Address::from(text.parse::<SocketAddr>().expect("an address"));
        let mapped = address("[::ffff:192.0.2.1]:80");
        assert_eq!(mapped, address("192.0.2.1:80"));
        assert_eq!(mapped.to_string(), "192.0.2.1:80");
        assert_eq!(address("[fe80::1%3]:80").to_string(), "[fe80::1%3]:80");
    }
}
