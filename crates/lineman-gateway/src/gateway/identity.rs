//! Where a gateway process is in the cluster, and the headers of the packets it sends from there.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use bytes::Bytes;
use lineman_wire::link::{Command, Packet};

/// The addresses of this process, as packets and client ids show them.
#[derive(Debug, Clone)]
pub(super) struct GatewayIdentity {
    /// The address in the cluster, as it is announced.
    pub(super) lan_ip: Ipv4Addr,
    /// The port of the inner listener.
    pub(super) links_port: u16,
    /// The port clients connect to.
    pub(super) clients_port: u16,
    /// Names this run of the process: client ids of another one mean nothing.
    pub(super) epoch: String,
}

impl GatewayIdentity {
    /// Returns the beginning of a packet about a client.
    pub(super) fn packet(
        &self,
        command: Command,
        id: u32,
        client: SocketAddr,
        session: Bytes,
    ) -> Packet {
        Packet {
            local_ip: self.lan_ip,
            local_port: self.links_port,
            client_ip: ipv4(client),
            client_port: client.port(),
            gateway_port: self.clients_port,
            ext: session,
            ..Packet::new(command, id)
        }
    }
}

/// Finds the address at which a gateway is announced, or says why the settings cannot be right: `lan_ip` has to be
/// an address of this machine unless another one is announced, which leads here by NAT.
pub(super) fn announced(lan_ip: &str, announced_ip: Option<&str>) -> Result<Ipv4Addr, String> {
    let own = address("lan_ip", lan_ip)?;
    if let Some(announced) = announced_ip {
        let announced = address("announced_ip", announced)?;
        return can_be_reached("announced_ip", announced).map(|()| announced);
    }
    can_be_reached("lan_ip", own)?;
    // The kernel knows this machine's addresses, and which of them are a network's broadcast address.
    let tried = UdpSocket::bind((own, 0)).and_then(|socket| socket.connect((own, 9)));
    match tried.map_err(|error| error.kind()) {
        Err(io::ErrorKind::AddrNotAvailable) => Err(format!(
            "lan_ip {own} is no address of this machine (hint: `ip -4 address` shows them; announced_ip is for \
             an address that NAT leads here)"
        )),
        Err(io::ErrorKind::PermissionDenied) => {
            Err(format!("lan_ip {own} is the broadcast address of a network"))
        }
        Ok(()) | Err(_) => Ok(own),
    }
}

fn address(setting: &str, text: &str) -> Result<Ipv4Addr, String> {
    text.parse().map_err(|_| format!("{setting} {text:?} is no IPv4 address: client ids need one"))
}

/// Says why businesses cannot connect to an address, whatever machine has it.
fn can_be_reached(setting: &str, ip: Ipv4Addr) -> Result<(), String> {
    let kind = if ip.is_multicast() {
        "a multicast address"
    } else if ip.is_broadcast() {
        "the broadcast address"
    } else if ip.octets()[0] == 0 {
        "no machine's address: client ids of all machines would be alike"
    } else {
        return Ok(());
    };
    Err(format!("{setting} {ip} is {kind}"))
}

/// The header has room for IPv4 only; others show as 0.0.0.0.
pub(super) fn ipv4(address: SocketAddr) -> Ipv4Addr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => ip,
        IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
    }
}

/// A client that is gone while no business could be told.
#[derive(Debug, Clone)]
pub(super) struct Departed {
    pub(super) address: SocketAddr,
    pub(super) session: Bytes,
    /// Events of it that have left on no link, its end left out.
    pub(super) unsent: Vec<Packet>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_right_is_refused_with_the_setting_s_name() {
        let check = |lan_ip: &str, announced_ip: Option<&str>, expected: &str| match announced(
            lan_ip,
            announced_ip,
        ) {
            Ok(ip) => assert_eq!(ip.to_string(), expected),
            Err(problem) => assert!(problem.starts_with(expected), "{problem}"),
        };
        check("127.0.0.1", None, "127.0.0.1");
        check("127.0.0.7", None, "127.0.0.7");
        check("localhost", None, "lan_ip \"localhost\" is no IPv4 address");
        check("::1", None, "lan_ip \"::1\" is no IPv4 address");
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
        check("0.0.0.0", Some("192.0.2.7"), "192.0.2.7");
        check("127.0.0.1", Some("0.0.0.0"), "announced_ip 0.0.0.0 is no machine's address");
        check("127.0.0.1", Some("239.1.1.1"), "announced_ip 239.1.1.1 is a multicast address");
        check("127.0.0.1", Some("x"), "announced_ip \"x\" is no IPv4 address");
    }
}
