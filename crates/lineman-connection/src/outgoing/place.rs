//! Where to connect to, as people write it: `host:port`, `unix:/path`, `wss://host/path`.

use std::fmt;
use std::path::PathBuf;

/// The other end of a connection, before anything is resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// A name or an IP address, without brackets, and a port.
    Host(String, u16),
    /// A Unix socket.
    Unix(PathBuf),
}

impl Place {
    /// Reads `host:port`, `[::1]:port` or `unix:/path`.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        const FORM: &str = "write it as host:port or unix:/path";
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() { Err(FORM) } else { Ok(Self::Unix(path.into())) };
        }
        let (host, port) = text.rsplit_once(':').ok_or(FORM)?;
        let port = port.parse().map_err(|_| "its port is no number from 1 to 65535")?;
        Self::host(host, port)
    }

    pub(super) fn host(host: &str, port: u16) -> Result<Self, &'static str> {
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match bracketed {
            Some(inside) => inside,
            None if host.contains(':') => return Err("an IPv6 address stands in brackets"),
            None => host,
        };
        if host.is_empty() {
            return Err("it names no host");
        }
        if port == 0 {
            return Err("its port is no number from 1 to 65535");
        }
        Ok(Self::Host(host.to_owned(), port))
    }
}

impl Place {
    /// The name that a certificate has to have; a Unix socket is this machine.
    pub(super) fn server_name(&self) -> &str {
        match self {
            Self::Host(host, _) => host,
            Self::Unix(_) => "localhost",
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host, port) if host.contains(':') => write!(formatter, "[{host}]:{port}"),
            Self::Host(host, port) => write!(formatter, "{host}:{port}"),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_and_written() {
        for text in ["example.org:80", "127.0.0.1:1", "[::1]:65535", "unix:/run/a.sock", "unix:a"] {
            assert_eq!(Place::parse(text).map(|place| place.to_string()), Ok(text.to_owned()));
        }
        assert_eq!(Place::parse("[::1]:8"), Ok(Place::Host("::1".to_owned(), 8)));
        for text in ["", "a", "a:", "a:b", "a:0", "a:65536", "::1", "::1:80", "unix:", ":80"] {
            assert!(Place::parse(text).is_err(), "{text}");
        }
    }
}
