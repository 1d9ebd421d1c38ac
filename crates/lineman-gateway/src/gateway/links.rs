//! The links to businesses: which take events, how many are under way, and which is next.
//!
//! It sends packets and queues what a full link cannot take; it decides nothing about clients.

mod saved;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::num::NonZeroU64;
use std::rc::Rc;

use bytes::Bytes;
use lineman_wire::link::{Allowance, Command, Event, MAX_PACKET, Packet, SESSIONS};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::identity::Departed;
use super::outlet::Outlet;
use super::pulse::{Burden, LIGHT_BYTES, LIGHT_EVENTS, Pulse};
use super::router::{self, BusinessChoice};
use super::told::Told;
use super::unconfirmed::{Unconfirmed, UnconfirmedWords};
use crate::reach::{LinkReach, Reached};

pub(super) use saved::SavedLink;

/// Names a link: the number of its connection. Later links have greater numbers.
pub(super) type LinkId = u64;

/// The connection of a link; packets go out in their wire form.
pub(super) type LinkOutlet = Rc<dyn Outlet<Form = Bytes>>;

/// Whether a link takes new events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Intake {
    /// It takes events.
    Open,
    /// It asked for no more, and `Fence` was the last thing it got of that kind; it still commands.
    Draining,
    /// It has left: its clients are others'.
    Released,
}

/// Whether a business says when it is back what became of clients meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Settling {
    /// It cannot.
    Never,
    /// It has been lost before, and will say so: it gets no clients until then.
    Awaited,
    /// It has said so, or was not lost.
    Done,
}

/// Whether a business is preferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Distance {
    /// It is on this machine.
    Near,
    /// It is on another one, or all are alike.
    Far,
    /// It gets no clients: they are pinned to others.
    Excluded,
}

/// A business at the other end of a connection.
pub(super) struct Link {
    outlet: LinkOutlet,
    /// Address and `NAME:ID` of the business.
    pub(super) key: String,
    /// Whether it speaks Lineman's extension.
    pub(super) extension: bool,
    /// In which version; 0 of PHP's.
    version: u32,
    pub(super) distance: Distance,
    /// Where it is, as hashes see it.
    pub(super) place: NonZeroU64,
    /// Whether it reports by client what it has handled.
    pub(super) credits: bool,
    pub(super) settling: Settling,
    /// What each of its clients may have under way there at most, as it was told.
    pub(super) most: Allowance,
    /// What each of them may have now.
    pub(super) share: Allowance,
    pub(super) state: Intake,
    /// Whether its send queue is at the bound; its clients are paused then.
    pub(super) full: bool,
    /// What it knows of the uids and groups here, if it wants to.
    pub(super) told: Option<Told>,
    /// The clients whose events it gets.
    pub(super) clients: BTreeSet<u32>,
    /// Clients that went between `Fence` and `Release`: the next business hears of it.
    pub(super) departed: BTreeMap<u32, Departed>,
    pub(super) unconfirmed: UnconfirmedWords,
    /// The business that tells the end of its clients should it and this process die.
    pub(super) heir: Option<LinkId>,
    /// What the heir is to be told of next. Bounded by the clients.
    pub(super) unwitnessed: BTreeSet<u32>,
    pub(super) reach: LinkReach,
    /// Whether its machine answers. If not, nothing more is sent, so that it is known what it never got, and
    /// its clients are paused.
    pub(super) reached: Reached,
    /// What did not fit into the send queue, or is not sent for doubt. Bounded by the clients, for they are
    /// paused: an event for each that was being decoded, and the end of each.
    backlog: VecDeque<Packet>,
    backlog_bytes: u64,
    /// Bytes of all packets so far.
    pushed: u64,
    /// Of a business that does not report: where each event ends among them that had not left when the last one was
    /// pushed.
    leaving: VecDeque<u64>,
    pub(super) pulse: Pulse,
}

impl Link {
    /// Returns the link of a business that speaks this version of the extension, or none.
    pub(super) fn new(
        outlet: LinkOutlet,
        key: String,
        extension: Option<u32>,
        share: Allowance,
        now: Instant,
    ) -> Self {
        let light = if extension.is_some() { LIGHT_EVENTS } else { LIGHT_BYTES };
        Self {
            outlet,
            place: router::key(key.as_bytes()),
            key,
            extension: extension.is_some(),
            version: extension.unwrap_or(0),
            distance: Distance::Far,
            credits: extension >= Some(2),
            settling: if extension >= Some(3) { Settling::Done } else { Settling::Never },
            most: share,
            share,
            state: Intake::Open,
            full: false,
            told: None,
            clients: BTreeSet::new(),
            departed: BTreeMap::new(),
            reach: LinkReach::default(),
            reached: Reached::Yes,
            unconfirmed: UnconfirmedWords::default(),
            heir: None,
            unwitnessed: BTreeSet::new(),
            backlog: VecDeque::new(),
            backlog_bytes: 0,
            pushed: 0,
            leaving: VecDeque::new(),
            pulse: Pulse::new(light, now),
        }
    }

    pub(super) fn outlet(&self) -> &LinkOutlet {
        &self.outlet
    }

    /// Says whether its clients may be read: also those that it has from before others alone got clients.
    pub(super) fn reads(&self) -> bool {
        self.takes_events() && !self.full
    }

    /// Says whether it may be given clients.
    pub(super) fn takes_clients(&self) -> bool {
        self.takes_events() && self.distance != Distance::Excluded
    }

    fn takes_events(&self) -> bool {
        self.state == Intake::Open && !self.in_doubt() && self.settling != Settling::Awaited
    }

    /// Says whether it is one that gets clients, if all is well.
    pub(super) fn is_open(&self) -> bool {
        self.state == Intake::Open && self.distance != Distance::Excluded
    }

    /// Returns whether it is stalled, and whether its link is full: another one is better.
    fn trouble(&self) -> (bool, bool) {
        (self.pulse.is_stalled(), self.full)
    }

    /// Says whether its machine has not answered for a moment.
    pub(super) fn in_doubt(&self) -> bool {
        self.reached != Reached::Yes
    }

    /// Says whether its business says when it is back what became of clients.
    pub(super) fn settles(&self) -> bool {
        self.settling != Settling::Never
    }

    /// Sends a packet, behind everything that was sent before; it is never dropped. Names that were bound
    /// before are told of before it.
    ///
    /// Returns how many bytes it has on this link.
    pub(super) fn push(&mut self, packet: &Packet, now: Instant) -> usize {
        if self.told.as_ref().is_some_and(Told::has_changes) {
            self.tell(now);
        }
        self.queue(packet, now)
    }

    fn queue(&mut self, packet: &Packet, now: Instant) -> usize {
        let length = packet.length_for(self.wire_version(packet));
        if !self.extension {
            self.observe(now);
            self.pulse.sent(u32::try_from(length).unwrap_or(u32::MAX), now);
        } else if is_event(packet.command) {
            self.pulse.sent(1, now);
        }
        self.pushed += length as u64;
        if !self.extension && is_event(packet.command) {
            self.leaving.push_back(self.pushed);
        }
        self.backlog_bytes += length as u64;
        self.backlog.push_back(packet.clone());
        self.flush();
        length
    }

    /// Returns the version of the extension in which a packet goes out. One that has room for everything but what
    /// the extension adds goes out without that.
    fn wire_version(&self, packet: &Packet) -> u32 {
        if packet.length_for(self.version) > MAX_PACKET { 0 } else { self.version }
    }

    pub(super) fn id(&self) -> LinkId {
        self.outlet.id()
    }

    /// Says whether its business keeps the sessions of its clients.
    pub(super) fn keeps_sessions(&self) -> bool {
        self.version >= SESSIONS
    }

    /// Returns the version of the extension that its business speaks; 0 of PHP's.
    pub(super) fn version(&self) -> u32 {
        self.version
    }

    /// Sends an answer of the extension.
    pub(super) fn push_event(&mut self, event: Event, now: Instant) {
        self.push(&Packet::from(event), now);
    }

    /// The packet pushed last tells that a client is here, or gone: it is remembered until that is confirmed.
    pub(super) fn await_word(&mut self, id: u32, word: Unconfirmed) {
        if self.settles() {
            self.unconfirmed.tell(self.pulse.sent_so_far(), id, word);
        }
    }

    /// The packet pushed last gives it a client that others were told of.
    pub(super) fn await_adoption(&mut self, id: u32) {
        if self.settles() {
            self.unconfirmed.adopt(self.pulse.sent_so_far().wrapping_add(1), id);
        }
    }

    /// The business has confirmed something. It has received at least as much as it says that it has handled,
    /// and what it has received it deals with. Returns the clients of which it has heard that they are here.
    pub(super) fn confirm(&mut self) -> Vec<u32> {
        self.unconfirmed.confirm(|sent| self.pulse.has_done(sent))
    }

    /// Returns what tells its business that a client is here whose end was told.
    pub(super) fn return_command(&self) -> Command {
        if self.settles() { Command::Returned } else { Command::OnConnect }
    }

    /// Tells which names have got or lost their clients, and asks whether that is known, where that is due.
    pub(super) fn tell(&mut self, now: Instant) {
        let stuck = self.is_stuck();
        let Some(told) = &mut self.told else { return };
        let news = told.news(stuck).map(|entries| Packet::from(Event::HeldNames(entries)));
        let question = if stuck { None } else { told.question() };
        let question = question.map(|number| Packet::from(Event::Settle(number)));
        for packet in news.into_iter().chain(question) {
            self.queue(&packet, now);
        }
    }

    /// Asks its business for a sign of life, by which it hears one of ours.
    pub(super) fn probe(&mut self, now: Instant) {
        if self.settles() && !self.is_stuck() {
            self.push_event(Event::Probe, now);
            self.pulse.asked(now);
        }
    }

    /// Whether it takes nothing now.
    fn is_stuck(&self) -> bool {
        self.full || self.in_doubt() || !self.backlog.is_empty()
    }

    /// Whether its business does not know all names yet.
    pub(super) fn is_partial(&self) -> bool {
        self.told.as_ref().is_some_and(Told::is_partial)
    }

    /// Whether that is so, and less than so many bytes wait to be sent to it.
    pub(super) fn wants_part(&self, room: usize) -> bool {
        self.is_partial() && !self.is_stuck() && self.outlet.queued_bytes() < room
    }

    /// Tells of the next names that it does not know yet.
    pub(super) fn tell_part(&mut self, now: Instant) {
        self.tell(now);
        if let Some(entries) = self.told.as_mut().and_then(Told::part) {
            self.queue(&Packet::from(Event::HeldNames(entries)), now);
        }
    }

    /// Returns how many bytes were pushed so far.
    pub(super) fn pushed(&self) -> u64 {
        self.pushed
    }

    /// Returns how many of them have left for the kernel.
    pub(super) fn left(&self) -> u64 {
        let waiting = self.backlog_bytes.saturating_add(self.outlet.queued_bytes() as u64);
        self.pushed.saturating_sub(waiting)
    }

    /// Sees what has left, of a business that does not report what it has handled.
    pub(super) fn observe(&mut self, now: Instant) {
        if !self.extension {
            let left = self.left();
            while self.leaving.pop_front_if(|end| *end <= left).is_some() {}
            // The pulse's numbers wrap.
            self.pulse.handled(u32::try_from(left & u64::from(u32::MAX)).unwrap_or(0), now);
        }
    }

    /// Sends what waits, as far as the send queue takes it.
    pub(super) fn flush(&mut self) {
        if self.in_doubt() {
            return;
        }
        while let Some(packet) = self.backlog.pop_front() {
            let wire = packet.bytes_for(self.wire_version(&packet));
            match self.outlet.send(&wire) {
                Ok(()) => self.backlog_bytes -= wire.len() as u64,
                // Room follows, or its end: others get the rest then.
                Err(_) => return self.backlog.push_front(packet),
            }
        }
    }

    /// Takes the events that have not left this process: no business has begun them.
    pub(super) fn take_unsent(&mut self) -> Vec<Packet> {
        self.backlog_bytes = 0;
        let packets = std::mem::take(&mut self.backlog).into_iter();
        packets.filter(|packet| is_event(packet.command)).collect()
    }

    /// Returns how many events were sent and are not known to be handled; of a business that does not report, how
    /// many are known not to be, for they have not left.
    pub(super) fn outstanding(&self) -> u64 {
        if self.extension {
            return u64::from(self.pulse.outstanding());
        }
        let sent = self.outlet.sent_bytes();
        self.leaving.iter().filter(|end| **end > sent).count() as u64
    }
}

/// The commands that a business counts in `Handled`.
fn is_event(command: Command) -> bool {
    use Command as C;
    matches!(
        command,
        C::OnConnect | C::OnWebSocketConnect | C::OnMessage | C::OnClose | C::Returned
    )
}

impl fmt::Debug for Link {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Link")
            .field("key", &self.key)
            .field("state", &self.state)
            .field("clients", &self.clients.len())
            .finish_non_exhaustive()
    }
}

/// All links, in the order in which they opened.
#[derive(Debug, Default)]
pub(super) struct Links(BTreeMap<LinkId, Link>);

impl Links {
    /// Returns the business for a client, of those that take any.
    pub(super) fn choose(&mut self, way: BusinessChoice, now: Instant) -> Option<LinkId> {
        match way {
            BusinessChoice::LeastBusy => self.least_busy(now),
            BusinessChoice::Random(dice) => self.random(dice),
            BusinessChoice::Owner(key) => self.owner(key),
        }
    }

    fn takers(&self) -> impl Iterator<Item = (LinkId, &Link)> + Clone {
        self.0.iter().map(|(&id, link)| (id, link)).filter(|(_, link)| link.takes_clients())
    }

    /// One of the best by trouble, then by distance.
    fn random(&self, dice: u64) -> Option<LinkId> {
        let rank = |link: &Link| (link.trouble(), link.distance);
        let best = self.takers().map(|(_, link)| rank(link)).min()?;
        let good = self.takers().filter(|(_, link)| rank(link) == best);
        let count = u64::try_from(good.clone().count()).ok()?;
        let choice = usize::try_from(dice.checked_rem(count)?).ok()?;
        good.map(|(id, _)| id).nth(choice)
    }

    /// The one that suits the key best, unless it is stalled and another one is not. Of two processes of one slot the
    /// first, which serves until it drains.
    fn owner(&self, key: NonZeroU64) -> Option<LinkId> {
        let suits = |(id, link): &(LinkId, &Link)| {
            (!link.pulse.is_stalled(), router::score(key, link.place), Reverse(*id))
        };
        self.takers().max_by_key(suits).map(|(id, _)| id)
    }

    /// Returns the business for a new client: a near one, unless one of the others is far better off; of
    /// each kind the one whose work is the least behind, among equals the one with the least clients of this
    /// gateway, then the oldest; one that is stalled, or whose link is full, only if all are; never one whose
    /// machine does not answer.
    fn least_busy(&mut self, now: Instant) -> Option<LinkId> {
        let (mut near, mut far) = (None, None);
        for (&id, link) in &mut self.0 {
            if !link.takes_clients() {
                continue;
            }
            link.observe(now);
            let trouble = link.trouble();
            let candidate =
                (Burden { trouble, load: link.pulse.load(now) }, link.clients.len(), id);
            let best = match link.distance {
                Distance::Near => &mut near,
                Distance::Far | Distance::Excluded => &mut far,
            };
            if best.is_none_or(|best| candidate < best) {
                *best = Some(candidate);
            }
        }
        let leave = matches!((near, far), (Some(near), Some(far)) if near.0.is_far_above(far.0));
        let chosen = if leave { far } else { near.or(far) };
        chosen.map(|(_, _, id)| id)
    }

    pub(super) fn insert(&mut self, id: LinkId, link: Link) {
        self.0.insert(id, link);
    }

    pub(super) fn remove(&mut self, id: LinkId) -> Option<Link> {
        self.0.remove(&id)
    }

    pub(super) fn get(&self, id: LinkId) -> Option<&Link> {
        self.0.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        self.0.get_mut(&id)
    }

    /// Returns which of these clients a link was told of as new and has not confirmed.
    pub(super) fn announced(&self, clients: &BTreeSet<u32>) -> BTreeSet<(LinkId, u32)> {
        let of_link = |(link, at): (&LinkId, &Link)| {
            let link = *link;
            at.unconfirmed.announced(clients).map(move |id| (link, id)).collect::<Vec<_>>()
        };
        self.0.iter().flat_map(of_link).collect()
    }

    /// Returns the link of that key, if there is one.
    pub(super) fn with_key(&self, key: &str) -> Option<LinkId> {
        self.0.iter().find(|(_, link)| link.key == key).map(|(&id, _)| id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Link> {
        self.0.values()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Link> {
        self.0.values_mut()
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = LinkId> {
        self.0.keys().copied()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
