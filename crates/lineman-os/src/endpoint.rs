//! Where a service listens, parsed from the text of its author: an internet address, or a Unix
//! socket. Resolves no name and opens nothing; the master does both.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// The longest path of a Unix socket, in bytes: the kernel's 108 with a zero behind the path.
const LONGEST_PATH: usize = 107;

/// The place of a listening socket.
///
/// ```
/// # use lineman_os::{AddressError, Endpoint};
/// let endpoint: Endpoint = "[::]:7272".parse()?;
/// assert_eq!(endpoint, Endpoint::Internet { host: "::".to_owned(), port: 7272 });
/// let endpoint: Endpoint = "unix:///run/chat/clients.sock".parse()?;
/// assert_eq!(endpoint.to_string(), "unix:/run/chat/clients.sock");
/// # Ok::<(), AddressError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `host:port`, with an IPv6 address in brackets.
    Internet {
        /// An IP address or a name; a name stands for the first address it resolves to.
        host: String,
        /// The port; with 0 the kernel chooses one.
        port: u16,
    },
    /// `unix:/path` or `unix:///path`: a file of this machine. Absolute, at most 107 bytes.
    Path(PathBuf),
    /// `unix:@name`: a name of the kernel's without a file. Every process on this machine (in this
    /// network namespace) may connect to it, whatever mode or owner.
    Abstract(String),
}

/// A text that is no address to listen on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address:?}: {problem}")]
pub struct AddressError {
    /// The address as it was configured.
    pub address: String,
    /// What is wrong and how it is written.
    pub problem: &'static str,
}

impl Endpoint {
    /// Returns the port; `None` for a Unix socket.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Internet { port, .. } => Some(*port),
            Self::Path(_) | Self::Abstract(_) => None,
        }
    }
}

impl FromStr for Endpoint {
    type Err = AddressError;

    fn from_str(address: &str) -> Result<Self, AddressError> {
        let parsed = match address.strip_prefix("unix:") {
            Some(place) => unix(place),
            None => internet(address),
        };
        parsed.map_err(|problem| AddressError { address: address.to_owned(), problem })
    }
}

fn unix(place: &str) -> Result<Endpoint, &'static str> {
    if place.contains('\0') {
        return Err("it holds a zero byte");
    }
    if let Some(name) = place.strip_prefix('@') {
        return match name.len() {
            0 => Err("the name is empty: unix:@name"),
            1..=LONGEST_PATH => Ok(Endpoint::Abstract(name.to_owned())),
            _ => Err("the name is longer than 107 bytes"),
        };
    }
    // As in a URL: `unix://` has an authority, which is empty.
    let path = place.strip_prefix("//").unwrap_or(place);
    if !path.starts_with('/') {
        return Err("the path is not absolute: unix:/path/to.sock");
    }
    if path.ends_with('/') {
        return Err("the path names a folder: unix:/path/to.sock");
    }
    if path.len() > LONGEST_PATH {
        return Err("the path is longer than 107 bytes, the kernel's limit");
    }
    Ok(Endpoint::Path(PathBuf::from(path)))
}

fn internet(address: &str) -> Result<Endpoint, &'static str> {
    if address.contains("://") {
        return Err("the constructor chooses the protocol: leave out what stands before `://`");
    }
    let (host, port) = address.rsplit_once(':').ok_or("no port: host:port")?;
    let port = port.parse().map_err(|_| "the port is no number from 0 to 65535")?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').ok_or("the bracket is not closed: [::]:80")?,
        None if host.contains(':') => return Err("an IPv6 address stands in brackets: [::1]:80"),
        None => host,
    };
    match host {
        "" | "*" => Err("no host: 0.0.0.0 is every IPv4 address, [::] every address"),
        host => Ok(Endpoint::Internet { host: host.to_owned(), port }),
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self::Internet { host: address.ip().to_string(), port: address.port() }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Internet { host, port } if host.contains(':') => {
                write!(formatter, "[{host}]:{port}")
            }
            Self::Internet { host, port } => write!(formatter, "{host}:{port}"),
            Self::Path(path) => write!(formatter, "unix:{}", path.display()),
            Self::Abstract(name) => write!(formatter, "unix:@{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(address: &str, shown: &str) {
        let endpoint: Endpoint = address.parse().unwrap();
        assert_eq!(endpoint.to_string(), shown);
        assert_eq!(shown.parse::<Endpoint>().unwrap(), endpoint);
    }

    #[test]
    fn what_is_shown_can_be_typed() {
        check("0.0.0.0:80", "0.0.0.0:80");
        check("localhost:0", "localhost:0");
        check("[::]:65535", "[::]:65535");
        check("[fe80::1%eth0]:80", "[fe80::1%eth0]:80");
        check("unix:/run/a.sock", "unix:/run/a.sock");
        check("unix:///run/a.sock", "unix:/run/a.sock");
        check("unix:@chat", "unix:@chat");
    }

    #[track_caller]
    fn refused(address: &str, problem: &str) {
        let error = address.parse::<Endpoint>().expect_err("no address").to_string();
        assert!(error.contains(problem) && error.contains(&format!("{address:?}")), "{error}");
    }

    #[test]
    fn an_error_names_the_address_and_what_is_wrong() {
        refused("80", "no port");
        refused(":80", "no host");
        refused("*:80", "no host");
        refused("a:65536", "the port is no number");
        refused("a:", "the port is no number");
        refused("::1:80", "stands in brackets");
        refused("[::1:80", "the bracket is not closed");
        refused("websocket://0.0.0.0:80", "leave out");
        refused("unix:run/a.sock", "not absolute");
        refused("unix://host/a.sock", "not absolute");
        refused("unix:", "not absolute");
        refused("unix:/run/", "a folder");
        refused("unix:@", "the name is empty");
        refused(&format!("unix:/{}", "a".repeat(107)), "longer than 107");
        refused(&format!("unix:@{}", "a".repeat(108)), "longer than 107");
        check(&format!("unix:/{}", "a".repeat(106)), &format!("unix:/{}", "a".repeat(106)));
    }
}
