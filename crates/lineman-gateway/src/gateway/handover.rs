//! The gateway's logic written down for the process that takes over from this one, and read there: so that no business
//! and no client sees a difference. Each part writes itself down beside its type.
//!
//! Settings are not written: the other process goes by its own. A client whose connection has not moved is closed by
//! the process that has it: for the cluster it is gone with the takeover, and so is the link of such a business.
//! What this process knows of no client at all (a handshake under way, one that waits for the connect hook) no
//! business has heard of, and hears of no end.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use lineman::connection::{Acknowledgement, CloseReason, SendError};
use rustc_hash::{FxHashMap, FxHashSet};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::assignment::Held;
use super::clients::{ConnectedClients, SavedClient, SavedClients};
use super::core::{Core, Counts, InnerPeer};
use super::dialect::Typed;
use super::disputes::Disputes;
use super::fan_outs::FanOuts;
use super::identity::GatewayIdentity;
use super::links::{Link, LinkId, LinkOutlet, SavedLink};
use super::outlet::Outlet;
use crate::losses::LinkLosses;
use crate::rounds::Rounds;
use crate::strangers::Strangers;
use crate::written;

/// All of it, written down.
#[derive(Debug, Serialize, Deserialize)]
struct SavedGateway<'a> {
    identity: Cow<'a, GatewayIdentity>,
    clients: SavedClients,
    peers: BTreeMap<u64, SavedPeer>,
    strangers: Cow<'a, Strangers>,
    links: BTreeMap<LinkId, SavedLink>,
    held: Cow<'a, Held>,
    disputes: Cow<'a, Disputes>,
    fan_outs: FanOuts<Typed>,
    waiting: Cow<'a, BTreeSet<u32>>,
    looked_for: Cow<'a, BTreeSet<u32>>,
    unread_peers: Cow<'a, FxHashSet<u64>>,
    untold: bool,
    #[serde(with = "crate::written")]
    swept: Instant,
    #[serde(with = "crate::written")]
    unserved_since: Option<Instant>,
    /// Which part of the heartbeats is next, and of the pings to businesses.
    next_beat: usize,
    next_ping: usize,
    counts: Cow<'a, Counts>,
    losses: Cow<'a, BTreeMap<String, LinkLosses>>,
}

/// A peer of the inner port, written down.
#[derive(Debug, Serialize, Deserialize)]
struct SavedPeer {
    authorised: bool,
    stranger: bool,
    full: bool,
}

/// What could not move with the rest: it is seen to when this process is the one that serves.
#[derive(Debug, Default)]
pub(super) struct LeftBehind {
    clients: Vec<SavedClient>,
    links: Vec<LinkId>,
}

/// The connections that have moved, by their numbers.
pub(super) struct MovedConnections<C> {
    pub(super) clients: FxHashMap<u64, C>,
    pub(super) peers: FxHashMap<u64, LinkOutlet>,
}

impl<C> Default for MovedConnections<C> {
    fn default() -> Self {
        Self { clients: FxHashMap::default(), peers: FxHashMap::default() }
    }
}

impl<C: Outlet> Core<C> {
    /// Writes everything down, between two inputs, and changes nothing.
    ///
    /// # Errors
    /// It has no written form.
    pub(super) fn save(&self, now: Instant) -> Result<Vec<u8>, String> {
        let Self {
            identity,
            policy,
            clients,
            peers,
            strangers,
            links,
            held,
            disputes,
            fan_outs,
            waiting,
            looked_for,
            ended: _,
            unread_peers,
            untold,
            swept,
            unserved_since,
            client_rounds,
            link_rounds,
            counts,
            losses,
            left_behind: _,
            now: _,
        } = self;
        let typed = |form: &C::Form| Ok::<_, String>((policy.typed)(form));
        let save_peer = |(id, peer): (&u64, &InnerPeer)| {
            let InnerPeer { outlet: _, authorised, stranger, full } = peer;
            let (authorised, stranger, full) = (*authorised, *stranger, *full);
            (*id, SavedPeer { authorised, stranger, full })
        };
        let saved = SavedGateway {
            identity: Cow::Borrowed(identity),
            clients: clients.save(),
            peers: peers.iter().map(save_peer).collect(),
            strangers: Cow::Borrowed(strangers),
            links: links.save(),
            held: Cow::Borrowed(held),
            disputes: Cow::Borrowed(disputes),
            fan_outs: fan_outs.map(typed)?,
            waiting: Cow::Borrowed(waiting),
            looked_for: Cow::Borrowed(looked_for),
            unread_peers: Cow::Borrowed(unread_peers),
            untold: *untold,
            swept: *swept,
            unserved_since: *unserved_since,
            next_beat: client_rounds.progress(),
            next_ping: link_rounds.progress(),
            counts: Cow::Borrowed(counts),
            losses: Cow::Borrowed(losses),
        };
        written::encode(&saved, now).map_err(|error| format!("the gateway's state: {error}"))
    }

    /// Goes on where another process was, by this one's own settings, over the connections that have moved. Sends
    /// nothing: [`Self::take_over`] does.
    ///
    /// # Errors
    /// It is not understood, or this gateway is at another address: client ids would be of another one.
    pub(super) fn restore(
        &mut self,
        saved: &[u8],
        moved: &mut MovedConnections<C>,
        now: Instant,
    ) -> Result<(), String> {
        let saved = written::decode::<SavedGateway<'_>>(saved, now);
        let SavedGateway {
            identity,
            clients,
            peers,
            strangers,
            links,
            held,
            disputes,
            fan_outs,
            waiting,
            looked_for,
            unread_peers,
            untold,
            swept,
            unserved_since,
            next_beat,
            next_ping,
            counts,
            losses,
        } = saved.map_err(|error| format!("the gateway's state is not understood: {error}"))?;
        self.identity.succeed(identity.into_owned())?;
        self.now = now;
        let find = |number| moved.clients.remove(&number);
        (self.clients, self.left_behind.clients) = ConnectedClients::restore(clients, find);
        self.restore_links(peers, links, moved);
        let form = |typed: &Typed| (self.policy.form)(typed.clone());
        self.fan_outs = fan_outs.map(form).map_err(|error| error.to_string())?;
        self.strangers = strangers.into_owned().with_bounds_of(&self.strangers);
        self.held = held.into_owned();
        self.disputes = disputes.into_owned();
        self.waiting = waiting.into_owned();
        self.looked_for = looked_for.into_owned();
        self.unread_peers = unread_peers.into_owned();
        (self.untold, self.swept, self.unserved_since) = (untold, swept, unserved_since);
        (self.counts, self.losses) = (counts.into_owned(), losses.into_owned());
        let ids = self.clients.iter().map(|(id, _)| id);
        self.client_rounds = Rounds::with_period(self.policy.heartbeat.period(), ids);
        self.client_rounds.go_on_at(next_beat);
        let ids = self.links.ids();
        self.link_rounds = Rounds::with_period(self.policy.link_ping_interval, ids);
        self.link_rounds.go_on_at(next_ping);
        Ok(())
    }

    fn restore_links(
        &mut self,
        peers: BTreeMap<u64, SavedPeer>,
        links: BTreeMap<LinkId, SavedLink>,
        moved: &mut MovedConnections<C>,
    ) {
        self.peers = FxHashMap::default();
        for (id, peer) in peers {
            let Some(outlet) = moved.peers.get(&id).cloned() else { continue };
            let SavedPeer { authorised, stranger, full } = peer;
            self.peers.insert(id, InnerPeer { outlet, authorised, stranger, full });
        }
        for (id, saved) in links {
            let address = saved.address;
            let outlet = moved.peers.get(&id).cloned().unwrap_or_else(|| {
                self.left_behind.links.push(id);
                Rc::new(LostOutlet { id, address })
            });
            let link = Link::restore(saved, outlet, &self.clients.roll, self.now);
            self.links.insert(id, link);
        }
    }

    /// From now on this process is the one that serves: what could not move is gone.
    pub(super) fn take_over(&mut self) {
        let LeftBehind { clients, links } = std::mem::take(&mut self.left_behind);
        for SavedClient { id, address, session, link, presence, .. } in clients {
            self.client_left(id, (presence, link), address, session);
        }
        for peer in links {
            self.unread_peers.remove(&peer);
            self.lose_link(peer, "its connection ended while the process was replaced");
        }
        let gone = |peer: &u64| !self.peers.contains_key(peer);
        self.unread_peers.extract_if(gone).for_each(drop);
        self.strangers.keep(|peer| self.peers.contains_key(&peer));
        self.apply_policy();
    }
}

impl GatewayIdentity {
    /// Goes on as another process of the same gateway.
    ///
    /// # Errors
    /// It was at another address.
    fn succeed(&mut self, former: Self) -> Result<(), String> {
        let Self { lan_ip, links_port, clients_port: _, epoch } = former;
        if (lan_ip, links_port) != (self.lan_ip, self.links_port) {
            return Err(format!(
                "the gateway was at {lan_ip}:{links_port} and would be at {}:{}: its clients' ids would change (hint: \
                 restart it)",
                self.lan_ip, self.links_port
            ));
        }
        self.epoch = epoch;
        Ok(())
    }
}

/// The connection of a link that has not moved: it has ended.
struct LostOutlet {
    id: u64,
    address: SocketAddr,
}

impl Outlet for LostOutlet {
    type Form = Bytes;

    fn id(&self) -> u64 {
        self.id
    }

    fn peer(&self) -> SocketAddr {
        self.address
    }

    fn is_encrypted(&self) -> bool {
        false
    }

    fn send(&self, _: &Bytes) -> Result<(), SendError> {
        Err(SendError::Closed)
    }

    fn queued_bytes(&self) -> usize {
        0
    }

    fn sent_bytes(&self) -> u64 {
        0
    }

    fn acknowledgement(&self) -> Option<Acknowledgement> {
        None
    }

    fn close(&self, _: CloseReason) {}

    fn abort(&self) {}

    fn pause(&self) {}

    fn resume(&self) {}
}
