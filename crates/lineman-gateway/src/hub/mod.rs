//! The hub: the handle through which code reaches clients, wherever their gateway is.
//!
//! Sending ([`send`], [`order`]) queues a packet on the link of each gateway concerned and never
//! waits; asking ([`ask`]) goes over connections of its own and is `async`. The hub keeps no state
//! of clients: gateways do.

mod ask;
mod error;
mod message;
mod order;
mod query;
mod reply;
mod send;
pub(crate) mod session;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use lineman::connection::{Connection, SendError};
use lineman_wire::link::{ClientId, Codec, MAX_PACKET, Order, Packet};

pub use error::HubError;
pub use message::{IntoMessage, Json};
pub(crate) use order::kick;
pub(crate) use query::{Ask, Queries};

/// Reaches clients of the whole cluster; cheap to clone, and usable in timers and tasks.
///
/// What is sent to one gateway arrives in the order in which it was sent. An unknown client is
/// ignored, and so is one of a gateway that is gone: it is on its way to `on_close`.
#[derive(Clone)]
pub struct Hub(Rc<Inner>);

struct Inner {
    links: RefCell<BTreeMap<SocketAddr, Rc<dyn Outlet>>>,
    queries: Box<dyn Ask>,
    /// Packets for clients of gateways that have no link.
    unrouted: Cell<u64>,
}

/// A link to a gateway, as the hub sees it.
pub(crate) trait Outlet {
    /// Queues an encoded packet.
    fn send(&self, packet: Bytes) -> Result<(), SendError>;
}

impl Outlet for Connection<Codec> {
    fn send(&self, packet: Bytes) -> Result<(), SendError> {
        self.send_encoded(packet)
    }
}

/// What the business that owns the hub does with it.
impl Hub {
    pub(crate) fn new(queries: Box<dyn Ask>) -> Self {
        Self(Rc::new(Inner { links: RefCell::default(), queries, unrouted: Cell::new(0) }))
    }

    /// A link is up: sends go over it from now on.
    pub(crate) fn add_link(&self, gateway: SocketAddr, link: Rc<dyn Outlet>) {
        self.0.links.borrow_mut().insert(gateway, link);
    }

    /// A link is lost.
    pub(crate) fn remove_link(&self, gateway: SocketAddr) {
        self.0.links.borrow_mut().remove(&gateway);
    }

    pub(crate) fn is_linked(&self, gateway: SocketAddr) -> bool {
        self.0.links.borrow().contains_key(&gateway)
    }

    pub(crate) fn unrouted(&self) -> u64 {
        self.0.unrouted.get()
    }

    /// Sends a command about a client; unlike the public functions, it says when the link is gone.
    pub(crate) fn order(&self, client: ClientId, order: Order) -> Result<(), HubError> {
        self.send_packet(gateway_of(client), encode(order)?)
    }
}

/// How packets get to gateways.
impl Hub {
    /// Sends a command about a client that may be anybody's.
    fn order_any(&self, client: ClientId, order: Order) -> Result<(), HubError> {
        match self.order(client, order) {
            Err(HubError::Unlinked { gateway }) => {
                tracing::debug!(%client, %gateway, "client of a gateway that is not linked");
                self.0.unrouted.set(self.0.unrouted.get() + 1);
                Ok(())
            }
            result => result,
        }
    }

    fn send_packet(&self, gateway: SocketAddr, packet: Bytes) -> Result<(), HubError> {
        let link = self.0.links.borrow().get(&gateway).cloned();
        let link = link.ok_or(HubError::Unlinked { gateway })?;
        send_on(gateway, &*link, packet)
    }

    /// Sends one command to every gateway, encoded once.
    ///
    /// A gateway that fails does not keep the message from the others; the first failure is
    /// returned.
    fn order_everywhere(&self, order: Order) -> Result<(), HubError> {
        let packet = encode(order)?;
        self.each_link(|_| Ok(Some(packet.clone())))
    }

    /// Sends to every gateway what `packet` makes for it, if anything.
    fn each_link(
        &self,
        packet: impl Fn(SocketAddr) -> Result<Option<Bytes>, HubError>,
    ) -> Result<(), HubError> {
        let mut outcome = Ok(());
        for (gateway, link) in self.links() {
            let sent = match packet(gateway) {
                Ok(Some(packet)) => send_on(gateway, &*link, packet),
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            };
            outcome = outcome.and(sent);
        }
        outcome
    }

    /// A copy: a full queue runs code that may come back here.
    fn links(&self) -> Vec<(SocketAddr, Rc<dyn Outlet>)> {
        let links = self.0.links.borrow();
        links.iter().map(|(gateway, link)| (*gateway, Rc::clone(link))).collect()
    }

    fn gateways(&self) -> Vec<SocketAddr> {
        self.0.links.borrow().keys().copied().collect()
    }
}

fn send_on(gateway: SocketAddr, link: &dyn Outlet, packet: Bytes) -> Result<(), HubError> {
    match link.send(packet) {
        Ok(()) => Ok(()),
        Err(SendError::Full) => Err(HubError::Full { gateway }),
        Err(_) => Err(HubError::Unlinked { gateway }),
    }
}

fn encode(order: Order) -> Result<Bytes, HubError> {
    let packet = Packet::from(order);
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

impl fmt::Debug for Hub {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Hub").field("gateways", &self.gateways()).finish_non_exhaustive()
    }
}
