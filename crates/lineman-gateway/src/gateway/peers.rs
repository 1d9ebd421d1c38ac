//! The inner port: which peers may speak, which are businesses, and what their packets lead to.

use std::net::IpAddr;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use lineman::connection::CloseReason;
use lineman_client::LinkTls;
use lineman_wire::link::{
    Control, EXTENSION_VERSION, Event, Hello, Login, MAX_REPLY, Packet, Query, Request,
};

use super::Prefer;
use super::core::{Core, Counts, InnerPeer};
use super::links::{Distance, Intake, Link, LinkId, LinkOutlet};
use super::outlet::Outlet;
use super::router;
use super::told::Told;
use crate::losses::Toll;
use crate::secret::{self, Objection};

/// The version of the extension from which on a peer is told why it is refused, and a client that it is taken.
const TOLD: u32 = 3;

impl<C: Outlet> Core<C> {
    pub(super) fn peer_came(&mut self, outlet: LinkOutlet) {
        let authorised = self.policy.secret_key.is_empty();
        let id = outlet.id();
        self.peers.insert(id, InnerPeer { outlet, authorised, stranger: true, full: false });
        for oldest in self.strangers.come(id, self.now) {
            let oldest = self.peers.get(&oldest).map(|peer| Rc::clone(&peer.outlet));
            if let Some(oldest) = oldest {
                oldest.abort();
                self.refused(&*oldest, "too many that have shown no secret key");
            }
        }
    }

    pub(super) fn peer_went(&mut self, peer: u64, reason: &CloseReason) {
        let known = self.peers.remove(&peer);
        if let Some(problem) = self.strangers.end(peer, reason)
            && let Some(stranger) = known
        {
            self.refused(&*stranger.outlet, &problem);
        }
        self.unread_peers.remove(&peer);
        self.lose_link(peer, &reason.to_string());
    }

    pub(super) fn peer_said(&mut self, peer: u64, packet: Packet) {
        let Some(known) = self.peers.get_mut(&peer) else { return };
        let (authorised, outlet) = (known.authorised, Rc::clone(&known.outlet));
        let refuses = self.policy.link_tls == LinkTls::Require && known.stranger;
        let unencrypted = refuses && !outlet.is_encrypted();
        if authorised && std::mem::take(&mut known.stranger) {
            self.strangers.leave(peer);
        }
        let command = packet.command;
        match Request::try_from(packet) {
            Ok(Request::Login(login)) if unencrypted => {
                self.object(&*outlet, version_of(&login), &Objection::Unencrypted);
            }
            Ok(Request::Login(login)) => self.log_in(outlet, login),
            _ if unencrypted => self.refuse(&*outlet, &Objection::Unencrypted.to_string()),
            _ if !authorised => self.refuse(&*outlet, "the first packet shows no secret key"),
            Ok(Request::Order(order)) => {
                self.counts.orders += 1;
                if order.claim().is_some() {
                    self.count_claim(peer);
                }
                self.execute(peer, order);
                self.hold_sender(peer);
            }
            Ok(Request::Query(query)) => self.reply(&*outlet, query),
            Ok(Request::Control(control)) => self.control(peer, control),
            Ok(_) => tracing::debug!(?command, "unknown command ignored"),
            Err(error) => self.not_done(peer, &format!("packet ignored: {error}")),
        }
    }

    fn log_in(&mut self, outlet: LinkOutlet, login: Login) {
        let (Login::Worker { secret_key, .. } | Login::Client { secret_key, .. }) = &login;
        let lineman = version_of(&login);
        if let Some(objection) = secret::objection(&self.policy.secret_key, secret_key) {
            return self.object(&*outlet, lineman, &objection);
        }
        self.strangers.leave(outlet.id());
        if let Some(peer) = self.peers.get_mut(&outlet.id()) {
            peer.authorised = true;
            peer.stranger = false;
        }
        match login {
            Login::Worker { worker_key, .. } => self.open_link(outlet, &worker_key, lineman),
            Login::Client { .. } if lineman >= Some(TOLD) => {
                let hello = Packet::from(Event::Hello(self.hello())).to_bytes();
                if let Err(error) = outlet.send(&hello) {
                    tracing::debug!(peer = %outlet.peer(), %error, "client not greeted");
                }
            }
            Login::Client { .. } => {}
        }
    }

    fn hello(&self) -> Hello {
        let (epoch, share) = (self.identity.epoch.clone(), Some(self.policy.share));
        Hello { version: EXTENSION_VERSION, epoch, share }
    }

    /// Refuses a peer that is misconfigured, and says why to one that understands it.
    fn object(
        &mut self,
        outlet: &dyn Outlet<Form = Bytes>,
        lineman: Option<u32>,
        objection: &Objection,
    ) {
        let problem = objection.to_string();
        let peer = outlet.peer();
        self.refused(outlet, &problem);
        if lineman >= Some(TOLD)
            && let Err(error) =
                outlet.send(&Packet::from(Event::Refused(objection.to_peer())).to_bytes())
        {
            tracing::debug!(%peer, %error, "refused without a word");
        }
        outlet.close(CloseReason::Protocol { code: 1008, problem });
    }

    fn open_link(&mut self, outlet: LinkOutlet, worker_key: &str, extension: Option<u32>) {
        let id = outlet.id();
        if self.links.get(id).is_some() {
            return;
        }
        let key = format!("{}:{worker_key}", outlet.peer().ip());
        let former = self.links.with_key(&key);
        self.losses.entry(key.clone()).or_default().open();
        let distance = self.distance(outlet.peer().ip(), worker_key);
        let mut link = Link::new(outlet, key.clone(), extension, self.policy.share, self.now);
        link.place = router::place(link.outlet().peer().ip(), worker_key);
        link.distance = distance;
        if link.extension {
            link.push_event(Event::Hello(self.hello()), self.now);
        }
        if extension >= Some(3) {
            link.told = Some(Told::new(&self.clients.roll));
            link.tell_part(self.now);
        }
        if link.distance != Distance::Excluded {
            self.unserved_since = None;
        }
        self.links.insert(id, link);
        self.tell_of_losses();
        self.link_rounds.insert(id);
        self.await_settlement(id, former);
        if let Some(former) = former {
            self.replace_link(former);
        }
        self.replace_business(&key);
        self.release_held();
    }

    /// Returns whether a business is preferred.
    fn distance(&self, peer: IpAddr, worker_key: &str) -> Distance {
        let pinned = &self.policy.pinned;
        let is_named = |name: &String| name == router::name(worker_key);
        match self.policy.prefer {
            _ if !pinned.is_empty() && !pinned.iter().any(is_named) => Distance::Excluded,
            Prefer::SameMachine if self.is_here(peer) => Distance::Near,
            Prefer::SameMachine | Prefer::Any => Distance::Far,
        }
    }

    /// Other businesses may get clients from now on. Those that are there stay where they are.
    pub(super) fn look_who_gets_clients(&mut self) {
        let links = self.links.iter();
        let distances: Vec<(LinkId, Distance)> = links
            .map(|link| {
                let outlet = link.outlet();
                (outlet.id(), self.distance(outlet.peer().ip(), link.worker_key()))
            })
            .collect();
        for (id, distance) in distances {
            if let Some(link) = self.links.get_mut(id) {
                link.distance = distance;
            }
        }
        if self.links.iter().any(Link::takes_clients) {
            self.release_held();
        }
    }

    /// Returns whether a peer is on this machine: what the kernel connects to an address of the same machine
    /// comes from that address.
    fn is_here(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        peer.is_loopback() || peer == IpAddr::V4(self.identity.lan_ip)
    }

    /// Two businesses call themselves the same: the later one is the living one.
    fn replace_link(&mut self, former: u64) {
        let Some(outlet) = self.links.get(former).map(|link| Rc::clone(link.outlet())) else {
            return;
        };
        self.lose_link(
            former,
            "its business opened another one, or one of the same name and number did (hint: two BusinessWorkers of \
             one machine have names of their own)",
        );
        outlet.close(CloseReason::Local);
    }

    fn reply(&mut self, outlet: &dyn Outlet<Form = Bytes>, query: Query) {
        if self.links.get(outlet.id()).is_some() {
            // Nothing tells a reply from a packet.
            return self.not_done(outlet.id(), "query on the link of a business ignored");
        }
        let mut wire = BytesMut::new();
        let reply = self.clients.answer(query);
        let length = reply.payload.len();
        if length > MAX_REPLY {
            // An answer that is left out would shift all that follow.
            let problem = format!("the answer of {length} bytes is longer than {MAX_REPLY}");
            self.not_done(outlet.id(), &problem);
            return outlet.close(CloseReason::Protocol { code: 1009, problem });
        }
        reply.encode_into(&mut wire);
        if let Err(error) = outlet.send(&wire.freeze()) {
            // A reply that is left out would shift all that follow.
            self.not_done(outlet.id(), &format!("answer not sent: {error}"));
            outlet.close(CloseReason::SlowPeer);
        }
    }

    fn control(&mut self, id: u64, control: Control) {
        let Some(link) = self.links.get_mut(id).filter(|link| link.extension) else {
            return tracing::debug!(?control, "extension was not offered, command ignored");
        };
        match control {
            Control::Drain => {
                if link.state != Intake::Open {
                    return;
                }
                tracing::info!(business = link.key, "business drains");
                link.state = Intake::Draining;
                link.push_event(Event::Fence, self.now);
                self.pause_clients(id);
            }
            // Packets are applied in their order, and what clients get is queued in theirs; what is for many
            // may wait for its turn.
            Control::Sync => self.synchronise(id),
            Control::Release if link.state == Intake::Draining => {
                link.state = Intake::Released;
                // It takes none for connected any more.
                self.disputes.disown(id);
                self.move_clients(id);
            }
            Control::Release => tracing::warn!(business = link.key, "release without drain"),
            Control::Handled(events) => {
                link.pulse.handled(events, self.now);
                let begun = link.confirm();
                self.begun(&begun);
            }
            Control::Alive(events) => {
                link.pulse.alive(events, self.now);
                let begun = link.confirm();
                self.begun(&begun);
            }
            Control::Kept { clients, ended } => self.settle(id, &clients, &ended),
            Control::Relay(note) => self.relay(id, &note),
            Control::Credit { connection_id, share } => {
                link.pulse.progress(self.now);
                self.credit(id, connection_id, share);
            }
            Control::Share(share) => self.change_share(id, share),
            Control::Probe => link.push_event(Event::Ping, self.now),
            Control::Settle(number) => self.answer_when_known(id, number),
            Control::Settled(number) => self.known_up_to(id, number),
        }
    }

    /// Looks for what has waited too long: peers without a key, clients without a business.
    pub(super) fn sweep(&mut self) {
        if self.links.iter().any(|link| link.is_open() && !link.pulse.is_stalled()) {
            self.unserved_since = None;
        } else {
            self.unserved_since.get_or_insert(self.now);
        }
        for peer in self.strangers.late(self.now) {
            let outlet = self.peers.get(&peer).map(|peer| Rc::clone(&peer.outlet));
            if let Some(outlet) = outlet {
                self.refuse(&*outlet, "no secret key, or no word, came in time");
            }
        }
        self.tell_of_refusals();
        self.give_up_held();
        self.expire_disputes();
        self.see_to_heirs();
        self.look_for_stalls();
        self.tell_of_bounds();
        self.tell_of_losses();
    }

    /// Keeps links busy where something between us might forget them.
    pub(super) fn ping_links(&mut self) {
        for id in self.link_rounds.next_part() {
            if let Some(link) = self.links.get_mut(id) {
                link.push_event(Event::Ping, self.now);
            }
        }
    }

    /// Closes without a reply, and logs why without the key.
    fn refuse(&mut self, outlet: &dyn Outlet<Form = Bytes>, problem: &str) {
        outlet.close(CloseReason::Protocol { code: 1008, problem: problem.to_owned() });
        self.refused(outlet, problem);
    }

    /// Counts a peer that was refused; the log tells of each address once, and then seldom.
    fn refused(&mut self, outlet: &dyn Outlet<Form = Bytes>, problem: &str) {
        self.strangers.leave(outlet.id());
        let peer = outlet.peer();
        if let Some(attempts) = self.strangers.refuse(peer.ip(), problem, self.now) {
            tracing::warn!(%peer, problem, attempts, "peer of the inner port refused");
        } else {
            tracing::debug!(%peer, problem, "peer of the inner port refused");
        }
    }

    /// Counts something that a peer wanted and that is not done; the log has a line for the first, and then for
    /// many.
    pub(super) fn not_done(&mut self, peer: u64, problem: &str) {
        let peer = self.name_of(peer);
        self.counts.refused_requests.add();
        if let Some(count) = self.counts.refused_requests.untold(self.now) {
            tracing::warn!(peer, problem, count, "request of a peer not carried out");
        } else {
            tracing::debug!(peer, problem, "request of a peer not carried out");
        }
    }

    /// Returns what the log calls a peer: its key, if it is a business, or its address.
    pub(super) fn name_of(&self, peer: u64) -> String {
        let address = self.peers.get(&peer).map(|peer| peer.outlet.peer().to_string());
        let key = self.links.get(peer).map(|link| link.key.clone());
        key.or(address).unwrap_or_default()
    }

    /// Tells of clients and peers that met their bounds, in sums.
    fn tell_of_bounds(&mut self) {
        let Counts { share_reached, too_long, fan_outs_full, stalls, .. } = &mut self.counts;
        if let Some(count) = share_reached.untold(self.now) {
            tracing::warn!(count, "clients met the bound of their events, and were not read");
        }
        if let Some(count) = stalls.untold(self.now) {
            let stalled = self.links.iter().filter(|link| link.pulse.is_stalled());
            let businesses: Vec<_> = stalled.map(|link| &*link.key).collect();
            tracing::warn!(count, ?businesses, "businesses stalled, they get no new clients");
        }
        if let Some(count) = too_long.untold(self.now) {
            tracing::warn!(count, "clients closed: a message and its session were too long");
        }
        if let Some(count) = fan_outs_full.untold(self.now) {
            tracing::warn!(count, "peers with too many messages to many were not read");
        }
        let Counts { refused_messages, refused_requests, session_conflicts, .. } = &mut self.counts;
        if let Some(count) = session_conflicts.untold(self.now) {
            tracing::warn!(
                count,
                "fields of sessions were changed by two at once, the later write counts"
            );
        }
        if let Some(count) = refused_messages.untold(self.now) {
            tracing::warn!(count, "messages to clients refused");
        }
        if let Some(count) = refused_requests.untold(self.now) {
            tracing::warn!(count, "requests of peers not carried out");
        }
    }

    /// Tells of links that were opened and lost: of the first at once, of others of the same business in sums.
    pub(super) fn tell_of_losses(&mut self) {
        for (business, losses) in &mut self.losses {
            if let Some(times) = losses.untold_openings(self.now) {
                let link = self.links.with_key(business).and_then(|id| self.links.get(id));
                let extension = link.is_some_and(|link| link.extension);
                let tls = link.is_some_and(|link| link.outlet().is_encrypted());
                tracing::info!(business, times, extension, tls, "link opened");
            }
            if let Some(Toll { times, reason, clients, events }) = losses.untold(self.now) {
                tracing::warn!(
                    business,
                    reason,
                    times,
                    clients,
                    events,
                    "link lost, its clients move"
                );
            }
        }
        self.losses.retain(|_, losses| !losses.is_over(self.now));
    }

    /// Tells in a sum of those that are too many to be told of one by one.
    fn tell_of_refusals(&mut self) {
        if let Some(refused) = self.strangers.refused.untold(self.now) {
            tracing::warn!(refused, "peers of the inner port refused, of many addresses");
        }
    }
}

/// Returns the version of the extension that a peer says it speaks.
fn version_of(login: &Login) -> Option<u32> {
    let (Login::Worker { lineman, .. } | Login::Client { lineman, .. }) = login;
    *lineman
}
