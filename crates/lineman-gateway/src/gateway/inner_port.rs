//! The inner port as it is set: where businesses are told to connect, and where their links are listened for. The two
//! differ where something between translates addresses. It resolves names and binds nothing.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs as _, UdpSocket};

/// The settings.
#[derive(Debug, Clone)]
pub(super) struct InnerPort {
    /// What is announced, and in client ids: an IPv4 address, or a host name.
    pub(super) lan_ip: String,
    /// The first process's port; 0 for one that the kernel chooses.
    pub(super) start_port: u16,
    /// Where links are listened for instead: `host` or `host:port`.
    pub(super) listen: Option<String>,
}

impl InnerPort {
    pub(super) fn new() -> Self {
        Self { lan_ip: "127.0.0.1".to_owned(), start_port: 0, listen: None }
    }

    /// Returns where the first process listens for links.
    pub(super) fn listen_address(&self) -> String {
        let (host, port) = self.listens();
        let is_ipv6 = host.contains(':') && !host.starts_with('[');
        if is_ipv6 { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    fn listens(&self) -> (&str, u16) {
        let Some(listen) = &self.listen else { return (&self.lan_ip, self.start_port) };
        let with_port = listen.rsplit_once(':');
        let with_port = with_port.and_then(|(host, port)| Some((host, port.parse().ok()?)));
        with_port.unwrap_or((listen, self.start_port))
    }

    /// Finds the address to announce, or says why the settings cannot be right: `lan_ip` has to be an address of
    /// this machine unless links are listened for elsewhere, which it leads to by NAT. A name is resolved, which
    /// may take as long as the system likes.
    pub(super) fn announced(&self) -> Result<Ipv4Addr, String> {
        if let Some(listen) = self.listen.as_ref().filter(|_| self.listens().0.contains(':')) {
            return Err(format!("inner_listen {listen:?} is IPv6: links are IPv4 (hint: 0.0.0.0)"));
        }
        let own = resolve(&self.lan_ip)?;
        can_be_reached(&self.lan_ip, own)?;
        if self.listen.is_some() {
            return Ok(own);
        }
        // The kernel knows this machine's addresses, and which of them are a network's broadcast address.
        let tried = UdpSocket::bind((own, 0)).and_then(|socket| socket.connect((own, 9)));
        let shown = shown(&self.lan_ip, own);
        match tried.map_err(|error| error.kind()) {
            Err(io::ErrorKind::AddrNotAvailable) => Err(format!(
                "lan_ip {shown} is no address of this machine (hint: `ip -4 address` shows them; with inner_listen \
                 it may be one that NAT leads here)"
            )),
            Err(io::ErrorKind::PermissionDenied) => {
                Err(format!("lan_ip {shown} is the broadcast address of a network"))
            }
            Ok(()) | Err(_) => Ok(own),
        }
    }

    /// Returns the address that the socket of the links has, if `lan_ip` is a name for that: the master has
    /// resolved it already.
    pub(super) fn bound(&self, links: Option<IpAddr>) -> Option<Ipv4Addr> {
        let is_its_name = self.listen.is_none() && self.has_name();
        match links {
            Some(IpAddr::V4(ip)) if is_its_name && !ip.is_unspecified() => Some(ip),
            _ => None,
        }
    }

    /// Returns whether `lan_ip` has to be resolved.
    pub(super) fn has_name(&self) -> bool {
        self.lan_ip.parse::<IpAddr>().is_err()
    }

    /// Returns the port to announce for a process whose links have this one.
    pub(super) fn announced_port(&self, index: usize, bound: u16) -> Result<u16, String> {
        if self.start_port == 0 || self.listens().1 == self.start_port {
            return Ok(bound);
        }
        let offset = u16::try_from(index).ok();
        let port = offset.and_then(|offset| self.start_port.checked_add(offset));
        port.ok_or_else(|| format!("start_port {} leaves process {index} no port", self.start_port))
    }
}

/// Returns the first IPv4 address of a name, or the address that it is.
fn resolve(lan_ip: &str) -> Result<Ipv4Addr, String> {
    let needed = "client ids need an IPv4 address";
    if let Ok(address) = lan_ip.parse::<IpAddr>() {
        return match address {
            IpAddr::V4(address) => Ok(address),
            IpAddr::V6(_) => Err(format!("lan_ip {lan_ip} is IPv6: {needed}")),
        };
    }
    let found = (lan_ip, 0).to_socket_addrs();
    let mut found =
        found.map_err(|error| format!("lan_ip {lan_ip:?} cannot be resolved: {error}"))?;
    let ipv4 = found.find_map(|address| match address {
        SocketAddr::V4(address) => Some(*address.ip()),
        SocketAddr::V6(_) => None,
    });
    ipv4.ok_or_else(|| format!("lan_ip {lan_ip:?} has no IPv4 address: {needed}"))
}

/// Says why businesses cannot connect to an address, whatever machine has it.
fn can_be_reached(lan_ip: &str, ip: Ipv4Addr) -> Result<(), String> {
    let kind = if ip.is_multicast() {
        "a multicast address"
    } else if ip.is_broadcast() {
        "the broadcast address"
    } else if ip.octets()[0] == 0 {
        "no machine's address: client ids of all machines would be alike (hint: inner_listen may be 0.0.0.0)"
    } else {
        return Ok(());
    };
    Err(format!("lan_ip {} is {kind}", shown(lan_ip, ip)))
}

/// Returns an address, and the name that it was found by, if there is one.
fn shown(lan_ip: &str, ip: Ipv4Addr) -> String {
    if ip.to_string() == lan_ip { lan_ip.to_owned() } else { format!("{lan_ip} ({ip})") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inner(lan_ip: &str, start_port: u16, listen: Option<&str>) -> InnerPort {
        InnerPort { lan_ip: lan_ip.to_owned(), start_port, listen: listen.map(str::to_owned) }
    }

    #[test]
    fn what_cannot_be_right_is_refused_with_the_setting_s_name() {
        let check =
            |lan_ip: &str, listen: Option<&str>, expected: &str| match inner(lan_ip, 0, listen)
                .announced()
            {
                Ok(ip) => assert_eq!(ip.to_string(), expected),
                Err(problem) => assert!(problem.starts_with(expected), "{problem}"),
            };
        check("127.0.0.1", None, "127.0.0.1");
        check("127.0.0.7", None, "127.0.0.7");
        check("localhost", None, "127.0.0.1");
        check("no-such-host.invalid", None, "lan_ip \"no-such-host.invalid\" cannot be resolved: ");
        check("::1", None, "lan_ip ::1 is IPv6");
        check("0.0.0.0", None, "lan_ip 0.0.0.0 is no machine's address");
        check("0.1.2.3", None, "lan_ip 0.1.2.3 is no machine's address");
        check("224.0.0.1", None, "lan_ip 224.0.0.1 is a multicast address");
        check("255.255.255.255", None, "lan_ip 255.255.255.255 is the broadcast address");
        // Of the networks for documentation: no machine has it.
        check("192.0.2.7", None, "lan_ip 192.0.2.7 is no address of this machine (hint:");
        check(
            "127.255.255.255",
            None,
            "lan_ip 127.255.255.255 is the broadcast address of a network",
        );
        check("192.0.2.7", Some("0.0.0.0"), "192.0.2.7");
        check("localhost", Some("0.0.0.0:4000"), "127.0.0.1");
        check("0.0.0.0", Some("127.0.0.1"), "lan_ip 0.0.0.0 is no machine's address");
        check("239.1.1.1", Some("127.0.0.1"), "lan_ip 239.1.1.1 is a multicast address");
        check("127.0.0.1", Some("[::]:4000"), "inner_listen \"[::]:4000\" is IPv6");
        check("127.0.0.1", Some("::"), "inner_listen \"::\" is IPv6");
    }

    #[test]
    fn links_are_listened_for_at_lan_ip_unless_it_is_set() {
        let check = |start_port, listen, expected: &str, announced| {
            let inner = inner("db1", start_port, listen);
            assert_eq!(inner.listen_address(), expected);
            assert_eq!(inner.announced_port(2, 4711), announced);
        };
        check(0, None, "db1:0", Ok(4711));
        check(4000, None, "db1:4000", Ok(4711));
        check(4000, Some("0.0.0.0"), "0.0.0.0:4000", Ok(4711));
        // Ports are translated as well.
        check(4000, Some("0.0.0.0:9000"), "0.0.0.0:9000", Ok(4002));
        check(0, Some("10.0.0.1:9000"), "10.0.0.1:9000", Ok(4711));
        let problem = "start_port 65534 leaves process 2 no port".to_owned();
        check(65534, Some("0.0.0.0:9000"), "0.0.0.0:9000", Err(problem));
    }

    #[test]
    fn a_name_that_the_master_has_resolved_is_not_resolved_again() {
        let bound = Some(IpAddr::from([10, 0, 0, 1]));
        assert_eq!(inner("db1", 0, None).bound(bound), Some(Ipv4Addr::new(10, 0, 0, 1)));
        assert_eq!(inner("db1", 0, None).bound(Some(IpAddr::from([0, 0, 0, 0]))), None);
        assert_eq!(inner("db1", 0, Some("10.0.0.1")).bound(bound), None);
        assert_eq!(inner("10.0.0.2", 0, None).bound(bound), None, "a socket that was given");
    }
}
