//! The gateway's logic: one value that owns everything, and takes one input after the other.
//!
//! What each input leads to is in the neighbours: `arrivals` (clients), `assignment` (which business),
//! `peers` (links), `orders` and `answers` (what businesses want). It reads no clock
//! and no socket: time comes with the inputs, connections are [`Outlet`]s.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use lineman::BoxError;
use lineman::connection::CloseReason;
use lineman_client::LinkTls;
use lineman_wire::link::{Allowance, Body, Packet, Secret};
use rustc_hash::{FxHashMap, FxHashSet};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::assignment::Held;
use super::clients::ConnectedClients;
use super::dialect::Typed;
use super::disputes::Disputes;
use super::fan_outs::FanOuts;
use super::handover::LeftBehind;
use super::heartbeat::Heartbeat;
use super::identity::GatewayIdentity;
use super::ids::Counter;
use super::links::{LinkId, LinkOutlet, Links};
use super::outlet::Outlet;
use super::stalls::StallLimits;
use super::{MessageType, Prefer, Router, SlowClient};
use crate::entrance::Binding;
use crate::losses::LinkLosses;
use crate::reach::ReachLimits;
use crate::recurrence::Recurrence;
use crate::rounds::Rounds;
use crate::strangers::{LOGIN_TIME, Strangers};

/// What the logic goes by.
pub(super) struct Policy<F> {
    pub(super) secret_key: Secret,
    pub(super) heartbeat: Heartbeat,
    /// How often each link is pinged; zero for never.
    pub(super) link_ping_interval: Duration,
    pub(super) slow_client: SlowClient,
    pub(super) prefer: Prefer,
    pub(super) router: Router,
    /// The names of the businesses that get clients; all if there is none.
    pub(super) pinned: Vec<String>,
    /// How long a client is held while there is no business.
    pub(super) no_business_limit: Duration,
    /// How long the end of a client is kept back that a lost business may have told.
    pub(super) partition_limit: Duration,
    /// Whether another business is told of the clients of each.
    pub(super) heirs: bool,
    /// What one client may have under way at its business.
    pub(super) share: Allowance,
    pub(super) stall_limits: StallLimits,
    /// When the machine at the other end of a link is not relied on; none for never.
    pub(super) reach: Option<ReachLimits>,
    /// How many peers there may be that have not shown the key.
    pub(super) strangers: usize,
    /// Whether peers have to come with TLS.
    pub(super) link_tls: LinkTls,
    /// Whether clients get text or binary.
    pub(super) message_type: MessageType,
    /// Makes a message into what clients of this gateway understand.
    pub(super) form: fn(Typed) -> Result<F, BoxError>,
    /// What it makes that of.
    pub(super) typed: fn(&F) -> Typed,
}

/// Something that happened. `C` is a client's connection.
pub(super) enum Input<C: Outlet> {
    /// A client is there, with the body of its handshake's packet, empty if there is no handshake, and with what is
    /// bound to it already.
    ClientCame(C, Bytes, Binding),
    /// A client, by the number of its connection, sent a message.
    ClientSaid(u64, Body),
    /// A client's connection has ended.
    ClientWent(u64),
    /// A peer connected to the inner port.
    PeerCame(LinkOutlet),
    /// A peer of the inner port sent a packet.
    PeerSaid(u64, Packet),
    /// The send queue of a peer is at its bound.
    PeerFull(u64),
    /// The send queue of a peer is empty again.
    PeerDrained(u64),
    /// A connection of the inner port has ended.
    PeerWent(u64, CloseReason),
    /// It is time to visit the next part of the clients.
    Beat,
    /// It is time to look for what has waited too long.
    Sweep,
    /// It is time to look whether what waits for a link or a turn may go on.
    Look,
    /// It is time to ping the next part of the links.
    PingLinks,
    /// It is time to look which machines answer.
    LookForMachines,
    /// The turn ends: businesses are told of the names that have come and gone in it.
    Tell,
    /// The clients that are left are closed next.
    Closing,
    /// This process has taken over from another one.
    TookOver,
    /// Other settings are in force from now on.
    Reconfigured(Box<Policy<C::Form>>),
}

/// A connection of the inner port: a business, or a peer that asks.
pub(super) struct InnerPeer {
    pub(super) outlet: LinkOutlet,
    pub(super) authorised: bool,
    /// It has shown no key yet; where there is none, it has said nothing yet.
    pub(super) stranger: bool,
    /// It does not read its answers, and is not read itself.
    pub(super) full: bool,
}

/// Numbers that only grow, for `status`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Counts {
    /// Commands of businesses and of clients of the cluster.
    pub(super) orders: u64,
    pub(super) lost_events: u64,
    pub(super) forgotten_clients: u64,
    pub(super) dropped_messages: u64,
    pub(super) slow_clients: u64,
    pub(super) share_reached: Recurrence,
    pub(super) stalls: Recurrence,
    pub(super) abandoned_links: u64,
    pub(super) unreachable_links: u64,
    pub(super) too_long: Recurrence,
    pub(super) fan_outs_full: Recurrence,
    /// Fields of sessions that a business changed after others, and without having seen it.
    pub(super) session_conflicts: Recurrence,
    /// Messages that have no form in what clients speak.
    pub(super) refused_messages: Recurrence,
    /// What peers wanted and was not done.
    pub(super) refused_requests: Recurrence,
    /// Clients that are connected though a business had told their end.
    pub(super) returned_clients: u64,
}

/// Everything a gateway process knows.
pub(super) struct Core<C: Outlet> {
    pub(super) identity: GatewayIdentity,
    pub(super) policy: Policy<C::Form>,
    pub(super) clients: ConnectedClients<C>,
    pub(super) peers: FxHashMap<u64, InnerPeer>,
    pub(super) strangers: Strangers,
    pub(super) links: Links,
    pub(super) held: Held,
    pub(super) disputes: Disputes,
    /// Messages to many that wait.
    pub(super) fan_outs: FanOuts<C::Form>,
    /// The clients that have met their share, and are not read.
    pub(super) waiting: BTreeSet<u32>,
    /// Those of them whose link reports nothing, so that it has to be looked what has left.
    pub(super) looked_for: BTreeSet<u32>,
    /// The clients that this input has ended: they leave the tables when it is done, whenever their connections
    /// are gone. Invariant: empty between two inputs.
    pub(super) ended: Vec<u32>,
    /// The peers of the inner port that are not read, for their messages to many have to wait.
    pub(super) unread_peers: FxHashSet<u64>,
    /// Some business is to be told something at the end of the turn, be it that nothing has changed.
    pub(super) untold: bool,
    /// When the last sweep was.
    pub(super) swept: Instant,
    /// Since when no business takes events and answers, if none does; as of the last sweep, or the last one that came.
    pub(super) unserved_since: Option<Instant>,
    /// The clients, for heartbeats.
    pub(super) client_rounds: Rounds<u32>,
    /// The links, for pings.
    pub(super) link_rounds: Rounds<LinkId>,
    pub(super) counts: Counts,
    /// Links that were lost of late, by business.
    pub(super) losses: BTreeMap<String, LinkLosses>,
    /// What has not moved with the rest from the process before.
    pub(super) left_behind: LeftBehind,
    /// The time of the input at hand.
    pub(super) now: Instant,
}

impl<C: Outlet> Core<C> {
    pub(super) fn new(
        identity: GatewayIdentity,
        policy: Policy<C::Form>,
        counter: Counter,
    ) -> Self {
        Self {
            client_rounds: Rounds::new(policy.heartbeat.period()),
            link_rounds: Rounds::new(policy.link_ping_interval),
            strangers: Strangers::new(policy.strangers, LOGIN_TIME),
            identity,
            policy,
            clients: ConnectedClients::new(counter),
            fan_outs: FanOuts::default(),
            peers: FxHashMap::default(),
            links: Links::default(),
            held: Held::default(),
            disputes: Disputes::default(),
            waiting: BTreeSet::new(),
            looked_for: BTreeSet::new(),
            ended: Vec::new(),
            unread_peers: FxHashSet::default(),
            untold: false,
            swept: Instant::now(),
            unserved_since: Some(Instant::now()),
            counts: Counts::default(),
            losses: BTreeMap::new(),
            left_behind: LeftBehind::default(),
            now: Instant::now(),
        }
    }

    /// Deals with one input.
    pub(super) fn handle(&mut self, input: Input<C>, now: Instant) {
        self.now = now;
        match input {
            Input::ClientCame(connection, handshake, binding) => {
                self.client_came(connection, handshake, &binding);
            }
            Input::ClientSaid(connection, message) => self.client_said(connection, message),
            Input::ClientWent(connection) => self.client_went(connection),
            Input::PeerCame(outlet) => self.peer_came(outlet),
            Input::PeerSaid(peer, packet) => self.peer_said(peer, packet),
            Input::PeerFull(peer) => self.link_full(peer),
            Input::PeerDrained(peer) => self.link_drained(peer),
            Input::PeerWent(peer, reason) => self.peer_went(peer, &reason),
            Input::Beat => self.beat(),
            Input::Sweep => self.sweep(),
            Input::Look => {
                self.look();
                self.go_on_with_fan_outs();
                self.go_on_with_roll();
            }
            Input::PingLinks => self.ping_links(),
            Input::LookForMachines => self.look_for_machines(),
            Input::Tell => self.tell_links(),
            Input::Closing => self.finish_fan_outs(),
            Input::TookOver => self.take_over(),
            Input::Reconfigured(policy) => self.reconfigure(*policy),
        }
        self.take_out_ended();
        if self.clients.roll.borrow().has_many_changes() {
            self.tell_links();
        }
    }

    /// Goes by other settings from now on. The key, and when a machine counts as gone, stay what they were: peers and
    /// their sockets are set up for them.
    fn reconfigure(&mut self, policy: Policy<C::Form>) {
        let Policy { secret_key, reach, .. } = &self.policy;
        let (secret_key, reach) = (secret_key.clone(), *reach);
        if policy.heartbeat.period() != self.policy.heartbeat.period() {
            let ids = self.clients.iter().map(|(id, _)| id);
            self.client_rounds = Rounds::with_period(policy.heartbeat.period(), ids);
        }
        if policy.link_ping_interval != self.policy.link_ping_interval {
            self.link_rounds = Rounds::with_period(policy.link_ping_interval, self.links.ids());
        }
        self.strangers.set(policy.strangers, LOGIN_TIME);
        let other_router = policy.router != self.policy.router;
        self.policy = Policy { secret_key, reach, ..policy };
        if other_router {
            self.route_anew();
        }
        self.apply_policy();
    }

    /// Has what is there go by the settings, as far as that can change.
    pub(super) fn apply_policy(&mut self) {
        if !self.policy.heirs {
            let links: Vec<LinkId> = self.links.ids().collect();
            for link in links {
                self.disinherit(link);
            }
        }
        self.links.iter_mut().for_each(|link| link.allow(self.policy.share));
        self.look_who_gets_clients();
    }

    /// Returns the numbers for `status`.
    pub(super) fn gauges(&self) -> BTreeMap<&'static str, u64> {
        BTreeMap::from([
            ("clients", self.clients.len() as u64),
            ("uids", self.clients.uids.len() as u64),
            ("groups", self.clients.groups.len() as u64),
            ("links", self.links.len() as u64),
            (
                "tls_links",
                self.links.iter().filter(|link| link.outlet().is_encrypted()).count() as u64,
            ),
            ("full_links", self.links.iter().filter(|link| link.full).count() as u64),
            ("held_clients", self.held.len() as u64),
            ("orders", self.counts.orders),
            ("lost_events", self.counts.lost_events),
            ("forgotten_clients", self.counts.forgotten_clients),
            ("returned_clients", self.counts.returned_clients),
            ("waiting_ends", self.disputes.kept_back() as u64),
            ("dropped_messages", self.counts.dropped_messages),
            ("slow_clients", self.counts.slow_clients),
            ("waiting_clients", self.waiting.len() as u64),
            ("share_reached", self.counts.share_reached.count()),
            ("stalled", self.links.iter().filter(|link| link.pulse.is_stalled()).count() as u64),
            ("abandoned_links", self.counts.abandoned_links),
            ("links_in_doubt", self.links.iter().filter(|link| link.in_doubt()).count() as u64),
            ("unreachable_links", self.counts.unreachable_links),
            ("too_long_messages", self.counts.too_long.count()),
            ("waiting_fan_outs", self.fan_outs.len() as u64),
            ("fan_outs_full", self.counts.fan_outs_full.count()),
            ("session_conflicts", self.counts.session_conflicts.count()),
            ("refused_messages", self.counts.refused_messages.count()),
            ("strangers", self.strangers.len() as u64),
            ("refused_requests", self.counts.refused_requests.count()),
            ("refused_strangers", self.strangers.refused.count()),
        ])
    }

    /// The send queue of a link is at its bound: its clients have to wait. One that asks has to wait itself:
    /// several long answers are more than a queue may have.
    fn link_full(&mut self, link: LinkId) {
        let Some(link) = self.links.get_mut(link) else {
            if let Some(peer) = self.peers.get_mut(&link) {
                peer.full = true;
                peer.outlet.pause();
            }
            return;
        };
        tracing::debug!(business = link.key, "link is full, its clients are paused");
        link.full = true;
        let id = link.outlet().id();
        self.pause_clients(id);
    }

    /// Stops reading the clients of a link.
    pub(super) fn pause_clients(&self, link: LinkId) {
        for &id in self.links.get(link).iter().flat_map(|link| &link.clients) {
            if let Some(client) = self.clients.get(id) {
                client.connection.pause();
            }
        }
    }

    /// Reads the clients of a link again, if nothing of it speaks against that. If what waited has filled it
    /// again, the next input says so, and pauses them again.
    pub(super) fn resume_clients(&self, link: LinkId) {
        for &id in self.links.get(link).filter(|link| link.reads()).iter().flat_map(|l| &l.clients)
        {
            if let Some(client) = self.clients.get(id).filter(|client| !client.share.waits()) {
                client.connection.resume();
            }
        }
    }

    fn link_drained(&mut self, link: LinkId) {
        if let Some(peer) = self.peers.get_mut(&link)
            && std::mem::take(&mut peer.full)
            && !self.unread_peers.contains(&link)
        {
            peer.outlet.resume();
        }
        let Some(known) = self.links.get_mut(link) else { return };
        known.full = false;
        known.flush();
        known.tell(self.now);
        self.resume_clients(link);
    }
}
