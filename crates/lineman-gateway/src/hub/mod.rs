//! The hub: the handle through which code reaches clients, wherever their gateway is.
//!
//! Sending ([`send`], [`order`]) queues a packet on the link of each gateway concerned and never
//! waits; asking ([`ask`], [`gather`]) is `async`. What is sent goes by way of the [`Cluster`]. The hub keeps no
//! state of clients: gateways do.

mod ask;
mod gather;
mod message;
mod order;
mod send;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;

use lineman_wire::link::{self, ClientId, Order};

use crate::cluster::{Cluster, gateway_of};
use crate::error::HubError;

pub use message::{IntoMessage, Json};
pub(crate) use order::kick;

/// What is known from the gateways of the cluster, and which of them gave no answer.
pub type Answers<T> = link::Answers<T, HubError>;

/// Reaches clients of the whole cluster; cheap to clone, and usable in timers and tasks.
///
/// What is sent to one gateway arrives in the order in which it was sent. An unknown client is
/// ignored, and so is one of a gateway that is gone: it is on its way to `on_close`.
///
/// What is for a uid or a group goes to the gateways that have clients of it, as they have told; to all where
/// none is known to. It reaches every client that was bound, or has joined, before the sender could learn of it
/// from Lineman: by a call of its own process, by an answer, or by an event of that client. What a process
/// learns otherwise, from a database or from what another client says, may be ahead of what gateways tell, and
/// then a client that has joined others of its name on another gateway is missed. Where that matters, the
/// process that binds awaits [`Hub::settled`] before it tells.
#[derive(Clone)]
pub struct Hub(Rc<Inner>);

struct Inner {
    cluster: Rc<dyn Cluster>,
    /// Packets for clients of gateways that have no link.
    unrouted: Cell<u64>,
    /// Questions that a gateway did not answer.
    unanswered: Cell<u64>,
}

/// What the business that owns the hub does with it.
impl Hub {
    pub(crate) fn new(cluster: Rc<dyn Cluster>) -> Self {
        Self(Rc::new(Inner { cluster, unrouted: Cell::new(0), unanswered: Cell::new(0) }))
    }

    pub(crate) fn is_linked(&self, gateway: SocketAddr) -> bool {
        self.cluster().is_reachable(gateway)
    }

    pub(crate) fn unrouted(&self) -> u64 {
        self.0.unrouted.get()
    }

    pub(crate) fn unanswered(&self) -> u64 {
        self.0.unanswered.get()
    }

    fn count_missing(&self, gateways: usize) {
        self.0.unanswered.set(self.0.unanswered.get() + gateways as u64);
    }

    /// Sends a command about a client; unlike the public functions, it says when the link is gone.
    pub(crate) fn order(&self, client: ClientId, order: Order) -> Result<(), HubError> {
        self.cluster().order(gateway_of(client), order)
    }
}

/// How packets get to gateways.
impl Hub {
    fn cluster(&self) -> &dyn Cluster {
        &*self.0.cluster
    }

    /// Sends a command about a client whose gateway may not be linked.
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

    /// Sends one command to every gateway that it concerns.
    fn publish(&self, order: &Order) -> Result<(), HubError> {
        self.cluster().publish(&|_| order.clone(), &[])
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Hub")
            .field("gateways", &self.cluster().gateways())
            .finish_non_exhaustive()
    }
}
