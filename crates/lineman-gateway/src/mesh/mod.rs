//! The built-in carrier of a cluster: a link from this business to every gateway, and a connection for
//! questions to each that was asked. `business` makes the links and tells it of them.

mod directory;
mod query;
mod silence;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use lineman::Table;
use lineman::connection::{Connection, SendError};
use lineman::service::LocalFuture;
use lineman_wire::link::{Codec, Reply, Secret};

use crate::cluster::Cluster;
use crate::error::HubError;
use query::Queries;

/// The links that are up.
pub(crate) struct Mesh {
    links: RefCell<BTreeMap<SocketAddr, Connection<Codec>>>,
    /// The gateways that answer in parts.
    paging: RefCell<BTreeSet<SocketAddr>>,
    /// The gateways that have a link, or should have one.
    known: RefCell<BTreeSet<SocketAddr>>,
    queries: Queries,
    /// The gateways that a register lists and that are not linked.
    unreachable: RefCell<BTreeSet<SocketAddr>>,
    /// How many commands one of them has missed.
    unreachable_sends: Cell<u64>,
}

impl Mesh {
    /// `answer_limit` is how long a gateway may be silent that owes an answer; zero for ever.
    pub(crate) fn new(table: Table, secret_key: Secret, answer_limit: Duration) -> Self {
        let queries = Queries::new(table, secret_key, answer_limit);
        Self {
            links: RefCell::default(),
            paging: RefCell::default(),
            known: RefCell::default(),
            queries,
            unreachable: RefCell::default(),
            unreachable_sends: Cell::new(0),
        }
    }

    /// These gateways have a link, or should have one.
    pub(crate) fn set_known(&self, gateways: impl Iterator<Item = SocketAddr>) {
        self.known.replace(gateways.collect());
    }

    /// These gateways are listed and not linked.
    pub(crate) fn set_unreachable(&self, gateways: BTreeSet<SocketAddr>) {
        self.unreachable.replace(gateways);
    }

    /// Returns how many commands a gateway has missed that was listed and not linked, one for each such gateway.
    pub(crate) fn unreachable_sends(&self) -> u64 {
        self.unreachable_sends.get()
    }

    fn count_unreachable(&self, count: usize) {
        self.unreachable_sends.set(self.unreachable_sends.get().saturating_add(count as u64));
    }

    /// A link is up: sends go over it from now on.
    pub(crate) fn add_link(&self, gateway: SocketAddr, link: Connection<Codec>) {
        self.links.borrow_mut().insert(gateway, link);
    }

    /// The gateway of a link speaks this version of the extension.
    pub(crate) fn on_version(&self, gateway: SocketAddr, version: u32) {
        if version >= 2 {
            self.paging.borrow_mut().insert(gateway);
        }
    }

    /// A link is lost: what the gateway was asked gets no answer.
    pub(crate) fn remove_link(&self, gateway: SocketAddr) {
        self.links.borrow_mut().remove(&gateway);
        self.paging.borrow_mut().remove(&gateway);
        self.queries.forget(gateway);
    }
}

impl Cluster for Mesh {
    fn gateways(&self) -> Vec<SocketAddr> {
        self.links.borrow().keys().copied().collect()
    }

    fn is_reachable(&self, gateway: SocketAddr) -> bool {
        self.links.borrow().contains_key(&gateway)
    }

    fn known(&self) -> Vec<SocketAddr> {
        self.known.borrow().union(&self.links.borrow().keys().copied().collect()).copied().collect()
    }

    fn note_missing(&self) {
        self.count_unreachable(self.unreachable.borrow().len());
    }

    fn has_pages(&self, gateway: SocketAddr) -> bool {
        self.paging.borrow().contains(&gateway)
    }

    fn send(&self, gateway: SocketAddr, packet: Bytes) -> Result<(), HubError> {
        // A copy: a full queue runs code that may come back here.
        let link = self.links.borrow().get(&gateway).cloned();
        let Some(link) = link else {
            self.count_unreachable(usize::from(self.unreachable.borrow().contains(&gateway)));
            return Err(HubError::Unlinked { gateway });
        };
        link.send_encoded(packet).map_err(|error| match error {
            SendError::Full => HubError::Full { gateway },
            _ => HubError::Unlinked { gateway },
        })
    }

    fn ask(&self, gateway: SocketAddr, packet: Bytes) -> LocalFuture<Result<Reply, HubError>> {
        if self.is_reachable(gateway) {
            self.queries.ask(gateway, packet)
        } else {
            Box::pin(async move { Err(HubError::Unlinked { gateway }) })
        }
    }
}
