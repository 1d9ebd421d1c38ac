//! A running business: what its parts share, and its way out.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use lineman::Table;
use lineman::service::{Complaints, LocalFuture, ProcessHooks, Running};
use lineman_wire::link::{ClientId, Secret};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::addresses::AddressBook;
use super::clients::{LinkId, ServedClients};
use super::drain::Drain;
use super::gateway::{KnownGateway, Link};
use super::heirs::Heirs;
use super::reach::Shortage;
use super::unsettled::Unsettled;
use crate::discovery::Discovery;
use crate::link_tls::SharedSecurity;
use crate::mesh::Mesh;
use crate::recurrence::Recurrence;
use crate::{Events, Hub};

/// How long the last packets may take to leave before the process goes without them.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// One business process. `E` is the application.
pub(super) struct Core<E: Events> {
    pub(super) events: E,
    pub(super) hub: Hub,
    /// What the hub sends by.
    pub(super) mesh: Rc<Mesh>,
    pub(super) table: Table,
    /// Names this process to gateways; unique among the processes that live at the same time.
    pub(super) worker_key: String,
    pub(super) secret_key: Secret,
    pub(super) security: SharedSecurity,
    pub(super) clients: RefCell<ServedClients<E::Session>>,
    pub(super) gateways: RefCell<BTreeMap<SocketAddr, KnownGateway>>,
    pub(super) addresses: RefCell<AddressBook>,
    /// Lists of registers of which a part was left out.
    pub(super) unusable_lists: RefCell<Recurrence>,
    pub(super) discovery: RefCell<Option<Discovery>>,
    pub(super) drain: RefCell<Option<Drain>>,
    /// What gateways have not confirmed that we kept.
    pub(super) unsettled: RefCell<Unsettled>,
    /// Clients of others whose end may be ours to tell.
    pub(super) heirs: RefCell<Heirs>,
    /// Clients whose next event waits for its turn. Each of them is busy.
    pub(super) ready: RefCell<VecDeque<ClientId>>,
    /// A task sees to those.
    pub(super) taking_turns: Cell<bool>,
    /// Clients of which a gateway could not be told: its link was full.
    pub(super) uncredited: RefCell<Vec<(LinkId, ClientId)>>,
    /// How often a gateway was told to give its clients a smaller share.
    pub(super) shrunk_shares: RefCell<Recurrence>,
    /// When the loop was last known to go on.
    pub(super) last_seen: Cell<Instant>,
    /// Until then links that have ended are taken for given up: the loop stood still before.
    pub(super) doubts_until: Cell<Instant>,
    /// Gateways will be told soon what was handled.
    pub(super) reporting: Cell<bool>,
    /// And a moment later what is handled by then.
    pub(super) reporting_later: Cell<bool>,
    /// Gateways came, links came up, a drain got further.
    pub(super) changed: Notify,
    /// As it was set.
    pub(super) silence_limit: Option<Duration>,
    /// As it was set.
    pub(super) link_timeout: Option<Duration>,
    /// How many bytes may wait to be sent to a gateway.
    pub(super) link_queue: usize,
    /// How many links were given up as the gateway's machine did not answer.
    pub(super) unreachable_links: Cell<u64>,
    /// How long a gateway whose link is lost may take to answer.
    pub(super) verdict_limit: Duration,
    /// Since when too little of the cluster is reached.
    pub(super) shortage: RefCell<Shortage>,
    /// How long that may be.
    pub(super) reach_limit: Duration,
    pub(super) handler_errors: Cell<u64>,
    /// Events dropped unhandled: their client had failed, or was given to another business.
    pub(super) dropped_events: Cell<u64>,
}

impl<E: Events> Core<E> {
    /// Runs something on the link of that number, if it still exists.
    pub(super) fn with_link<T>(
        &self,
        gateway: SocketAddr,
        link: LinkId,
        run: impl FnOnce(&mut Link) -> T,
    ) -> Option<T> {
        let mut gateways = self.gateways.borrow_mut();
        let found = gateways.get_mut(&gateway)?.link.as_mut()?;
        (found.id() == link).then(|| run(found))
    }

    pub(super) fn is_draining(&self) -> bool {
        self.drain.borrow().is_some()
    }

    pub(super) async fn until(&self, reached: impl Fn() -> bool) {
        loop {
            let changed = self.changed.notified();
            if reached() {
                return;
            }
            changed.await;
        }
    }

    /// Gives every client to others, without an event lost.
    async fn leave(self: Rc<Self>) {
        self.discovery.take();
        self.begin_drain();
        self.until(|| self.drain.borrow().as_ref().is_some_and(Drain::is_over)).await;
        self.flush().await;
    }

    /// Leaves after a start that has failed: gateways may have given it clients already.
    pub(super) async fn give_up(self: &Rc<Self>) {
        if tokio::time::timeout(FLUSH_LIMIT, Rc::clone(self).leave()).await.is_err() {
            tracing::warn!("a gateway does not let us go");
        }
        Rc::clone(self).stop().await;
    }

    async fn stop(self: Rc<Self>) {
        self.discovery.take();
        if let Err(error) = self.events.on_stop(&self.hub).await {
            tracing::error!(%error, "on_stop failed");
        }
        self.report_all();
        self.flush().await;
        self.close_links();
    }

    async fn flush(&self) {
        if tokio::time::timeout(FLUSH_LIMIT, self.table.flushed()).await.is_err() {
            tracing::warn!("a gateway does not take our last packets");
        }
    }
}

/// The handle the process holds.
pub(super) struct RunningBusiness<E: Events> {
    pub(super) core: Rc<Core<E>>,
    pub(super) hooks: ProcessHooks,
}

impl<E: Events> Running for RunningBusiness<E> {
    fn drain(&self, _table: &Table) -> LocalFuture<()> {
        Box::pin(Rc::clone(&self.core).leave())
    }

    fn reload(&self) -> LocalFuture<()> {
        if let Some(discovery) = self.core.discovery.borrow().as_ref() {
            discovery.hurry();
        }
        self.hooks.reload()
    }

    fn stopped(&self) -> LocalFuture<()> {
        let (core, ended) = (Rc::clone(&self.core), self.hooks.stopped());
        Box::pin(async move {
            core.stop().await;
            ended.await;
        })
    }

    fn briefing(&self) -> Option<String> {
        self.core.briefing()
    }

    fn gauges(&self) -> BTreeMap<&'static str, u64> {
        let core = &self.core;
        let clients = core.clients.borrow();
        let up =
            |gateway: &&KnownGateway| gateway.link.as_ref().is_some_and(|link| link.up.is_some());
        let links = core.gateways.borrow().values().filter(up).count();
        let listed = core.gateways.borrow().values().filter(|known| known.listed).count();
        let registers = core.discovery.borrow().as_ref().map_or(0, Discovery::connected);
        BTreeMap::from([
            ("clients", clients.len() as u64),
            ("links", links as u64),
            ("known_names", core.mesh.known_names() as u64),
            ("waiting_events", clients.waiting() as u64),
            ("session_bytes", clients.session_bytes() as u64),
            ("witnessed_clients", core.heirs.borrow().len() as u64),
            ("shrunk_shares", core.shrunk_shares.borrow().count()),
            ("handler_errors", core.handler_errors.get()),
            ("dropped_events", core.dropped_events.get()),
            ("unrouted", core.hub.unrouted()),
            ("unanswered", core.hub.unanswered()),
            ("unreachable_sends", core.mesh.unreachable_sends()),
            ("listed_gateways", listed as u64),
            ("registers", registers as u64),
            ("unreachable_links", core.unreachable_links.get()),
        ])
    }

    fn condition(&self) -> Complaints {
        self.core.condition()
    }
}
