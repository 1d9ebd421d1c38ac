//! Where a gateway process is in the cluster, and the headers of the packets it sends from there.

use std::net::{Ipv4Addr, SocketAddr};

use lineman_wire::link::{Command, Packet};
use serde::{Deserialize, Serialize};

use super::client_session::ClientSession;

/// The addresses of this process, as packets and client ids show them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct GatewayIdentity {
    /// The address in the cluster, as it is announced.
    pub(super) lan_ip: Ipv4Addr,
    /// The inner port, as it is announced.
    pub(super) links_port: u16,
    /// The port clients connect to.
    pub(super) clients_port: u16,
    /// Names this run of the process: client ids of another one mean nothing.
    pub(super) epoch: String,
}

impl GatewayIdentity {
    /// Returns the beginning of a packet about a client; it has no session yet.
    pub(super) fn packet(&self, command: Command, id: u32, client: SocketAddr) -> Packet {
        Packet {
            local_ip: self.lan_ip,
            local_port: self.links_port,
            client_ip: client.ip().to_canonical(),
            client_port: client.port(),
            gateway_port: self.clients_port,
            ..Packet::new(command, id)
        }
    }
}

/// A client that is gone while no business could be told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Departed {
    pub(super) address: SocketAddr,
    pub(super) session: ClientSession,
    /// Events of it that have left on no link, its end left out.
    #[serde(with = "crate::written")]
    pub(super) unsent: Vec<Packet>,
}
