//! What code that reaches clients needs of its cluster: which gateways there are, commands to them, and
//! questions. [`Hub`](crate::Hub) calls it and knows nothing of links, so that another carrier can take the
//! place of the [`Mesh`](crate::mesh::Mesh). A carrier keeps the order of what goes to one gateway and never
//! waits. Clients' events are not its matter: they come on links, as does the way out of a business.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;
use lineman::service::LocalFuture;
use lineman_wire::link::{ClientId, MAX_PACKET, NameKey, Order, Packet, Reply};

use crate::error::HubError;

/// Carries commands and questions to gateways.
pub(crate) trait Cluster {
    /// Returns the gateways that can be reached.
    fn gateways(&self) -> Vec<SocketAddr>;

    fn is_reachable(&self, gateway: SocketAddr) -> bool;

    /// Returns all gateways that the cluster should have: those that can be reached, and those that cannot
    /// at the moment.
    fn known(&self) -> Vec<SocketAddr> {
        self.gateways()
    }

    /// Counts a command that goes to all gateways, for those that are known and cannot be reached.
    fn note_missing(&self) {}

    /// Returns the gateways that may have clients of one of these names: all, where the carrier does not know.
    fn holders(&self, names: &[NameKey]) -> Vec<SocketAddr> {
        let _ = names;
        self.gateways()
    }

    /// Resolves when what this process has bound and joined before is known wherever something may be sent to it.
    fn settled(&self) -> LocalFuture<Result<(), HubError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Queues a command about a client of a gateway.
    ///
    /// # Errors
    /// As [`Cluster::send`]; [`HubError::TooLong`].
    fn order(&self, gateway: SocketAddr, order: Order) -> Result<(), HubError> {
        self.send(gateway, encode(order)?)
    }

    /// Queues an encoded command for one gateway.
    ///
    /// # Errors
    /// [`HubError::Full`], [`HubError::Unlinked`]: nothing was queued.
    fn send(&self, gateway: SocketAddr, packet: Bytes) -> Result<(), HubError>;

    /// Returns whether a gateway answers in parts where a query asks for it.
    fn has_pages(&self, gateway: SocketAddr) -> bool {
        let _ = gateway;
        false
    }

    /// Asks one gateway with an encoded query.
    fn ask(&self, gateway: SocketAddr, packet: Bytes) -> LocalFuture<Result<Reply, HubError>>;

    /// Queues a command for every gateway that it concerns, but for some clients: `order` makes it for a
    /// gateway, given those of `except` that are behind it. The command itself says which names it is for.
    ///
    /// A gateway that fails does not keep the command from the others; the first failure is returned.
    fn publish(
        &self,
        order: &dyn Fn(Vec<u32>) -> Order,
        except: &[ClientId],
    ) -> Result<(), HubError> {
        let except = by_gateway(except);
        // Made once for all gateways where nothing is left out.
        let for_others = order(Vec::new());
        let gateways = match for_others.names() {
            Some(names) => self.holders(&names),
            None => self.gateways(),
        };
        let for_others = encode(for_others)?;
        self.note_missing();
        let mut outcome = Ok(());
        for gateway in gateways {
            let packet = match except.get(&gateway) {
                Some(ids) => encode(order(ids.clone())),
                None => Ok(for_others.clone()),
            };
            outcome = outcome.and(packet.and_then(|packet| self.send(gateway, packet)));
        }
        outcome
    }
}

/// Returns a command or a question as it travels.
pub(crate) fn encode(packet: impl Into<Packet>) -> Result<Bytes, HubError> {
    let packet = packet.into();
    let length = packet.wire_length();
    if length > MAX_PACKET {
        return Err(HubError::TooLong { length, limit: MAX_PACKET });
    }
    Ok(packet.to_bytes())
}

/// Returns where a client's gateway can be reached; its id says it.
pub(crate) fn gateway_of(client: ClientId) -> SocketAddr {
    SocketAddr::from((client.local_ip, client.local_port))
}

/// Sorts clients by their gateways.
pub(crate) fn by_gateway(clients: &[ClientId]) -> BTreeMap<SocketAddr, Vec<u32>> {
    let mut sorted: BTreeMap<_, Vec<u32>> = BTreeMap::new();
    for client in clients {
        sorted.entry(gateway_of(*client)).or_default().push(client.connection_id);
    }
    sorted
}
