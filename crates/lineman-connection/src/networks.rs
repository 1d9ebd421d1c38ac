//! Addresses that a setting trusts: single ones, whole networks, and peers on Unix sockets.
//!
//! For settings such as "whose PROXY header is believed". It parses and compares; it resolves no name.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// A set of networks; empty by default.
///
/// IPv4 addresses in IPv6 form (`::ffff:10.0.0.1`, as a dual-stack listener sees them) are taken as
/// IPv4.
///
/// ```
/// # use lineman_connection::Networks;
/// let proxies: Networks = "10.0.0.0/8, ::1, unix".parse()?;
/// assert!(proxies.contains("10.1.2.3".parse()?));
/// assert!(!proxies.contains("192.0.2.1".parse()?));
/// assert!(proxies.contains_unix());
/// # Ok::<(), lineman_connection::BoxError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks {
    networks: Vec<IpNet>,
    unix: bool,
}

/// A name that is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither an address, a network as 10.0.0.0/8, nor `unix`")]
pub struct NetworksError(String);

impl Networks {
    /// Returns the set of these: an address (`::1`), a network (`10.0.0.0/8`; bits behind the prefix
    /// do not count), or `unix` for every peer on a Unix socket.
    ///
    /// # Errors
    /// Names the first that is none of them.
    pub fn new<N: AsRef<str>>(names: impl IntoIterator<Item = N>) -> Result<Self, NetworksError> {
        let mut set = Self::default();
        for name in names {
            let name = name.as_ref().trim();
            if name == "unix" {
                set.unix = true;
            } else {
                set.networks.push(network(name).ok_or_else(|| NetworksError(name.to_owned()))?);
            }
        }
        Ok(set)
    }

    /// Returns whether the address is in one of the networks.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.networks.iter().any(|network| network.contains(&ip))
    }

    /// Returns whether peers on Unix sockets are in the set.
    pub fn contains_unix(&self) -> bool {
        self.unix
    }

    /// Returns whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty() && !self.unix
    }
}

fn network(name: &str) -> Option<IpNet> {
    if let Ok(ip) = name.parse::<IpAddr>() {
        return Some(IpNet::from(ip.to_canonical()));
    }
    let network: IpNet = name.parse().ok()?;
    // `::ffff:10.0.0.0/104` is 10.0.0.0/8: addresses are compared in their IPv4 form.
    match (network.addr().to_canonical(), network) {
        (ip @ IpAddr::V4(_), IpNet::V6(long)) => {
            IpNet::new(ip, long.prefix_len().checked_sub(96)?).ok()
        }
        _ => Some(network.trunc()),
    }
}

impl FromStr for Networks {
    type Err = NetworksError;

    /// Reads a list separated by commas; an empty text is the empty set.
    fn from_str(list: &str) -> Result<Self, NetworksError> {
        Self::new(list.split(',').filter(|name| !name.trim().is_empty()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_a_set() {
        for (set, ip, expected) in [
            ("", "127.0.0.1", false),
            ("10.0.0.0/8", "10.255.255.255", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.0/8", "::ffff:10.1.1.1", true),
            ("10.1.2.3/8", "10.9.9.9", true),
            ("::ffff:10.0.0.0/104", "10.9.9.9", true),
            ("::ffff:10.0.0.1", "10.0.0.1", true),
            ("::1", "::1", true),
            ("::1", "::2", false),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            (" 192.0.2.0/31 ,, fe80::/10 ", "fe80::9", true),
            ("unix", "127.0.0.1", false),
        ] {
            let set: Networks = set.parse().unwrap();
            assert_eq!(set.contains(ip.parse().unwrap()), expected, "{ip} in {set:?}");
        }
        assert!(Networks::new(["unix"]).unwrap().contains_unix());
        assert!(!"::/0".parse::<Networks>().unwrap().contains_unix());
        assert!(Networks::default().is_empty());
    }

    #[test]
    fn what_is_no_network() {
        for name in ["localhost", "10.0.0.0/33", "10.0.0", "::1/129", "10.0.0.1:80", "/8"] {
            assert_eq!(Networks::new([name]), Err(NetworksError(name.to_owned())));
        }
    }
}
