//! The links to gateways: made for every address the registers list, made anew when they are lost.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use lineman::connection::{CloseReason, Connection, Event, Handler, Limits, Serve, Turn};
use lineman_wire::link::{Codec, Control, EXTENSION_VERSION, Hello, Login, Packet};
use tokio::time::Instant;

use super::addresses::MAX_LISTED;
use super::clients::LinkId;
use super::core::Core;
use super::gateway::{KnownGateway, Link, Lost, Pause, SETTLED};
use super::packets::control;
use crate::Events;
use crate::losses::Toll;
use crate::reach::{ReachLimits, Reached};

/// Hears the events of the link to one gateway.
struct LinkHandler<E: Events> {
    core: Rc<Core<E>>,
    gateway: SocketAddr,
}

impl<E: Events> Handler<Codec> for LinkHandler<E> {
    fn on_event(&self, connection: &Connection<Codec>, event: Event<Codec>) -> Turn {
        match event {
            Event::Connect => self.core.link_up(self.gateway, connection),
            Event::Message(packet) => self.core.on_packet(self.gateway, connection.id(), packet),
            Event::Close(reason) => self.core.link_lost(self.gateway, connection.id(), &reason),
            Event::Open(()) | Event::Opened | Event::Adopted => {}
        }
        Turn::Done(Ok(()))
    }
}

impl<E: Events> Core<E> {
    /// A register has told all gateways it knows.
    pub(super) fn on_addresses(self: &Rc<Self>, register: usize, addresses: &[String]) {
        let parse = |address: &String| address.parse().ok().filter(SocketAddr::is_ipv4);
        let list: Vec<_> = addresses.iter().filter_map(parse).take(MAX_LISTED).collect();
        if list.len() < addresses.len() {
            let mut unusable = self.unusable_lists.borrow_mut();
            unusable.add();
            if let Some(count) = unusable.untold(Instant::now()) {
                let example = addresses.iter().find(|address| parse(address).is_none());
                tracing::warn!(
                    register,
                    count,
                    ?example,
                    limit = MAX_LISTED,
                    "lists of a register had gateways without an IPv4 address, or too many"
                );
            }
        }
        self.addresses.borrow_mut().hear(register, list.iter().copied());
        self.follow_addresses();
        for gateway in list {
            self.hasten(gateway);
        }
    }

    /// Connects to every gateway that is listed, and forgets what is listed no more.
    pub(super) fn follow_addresses(self: &Rc<Self>) {
        let listed = self.addresses.borrow().listed();
        {
            let mut gateways = self.gateways.borrow_mut();
            gateways.retain(|address, gateway| {
                gateway.listed = listed.contains(address);
                gateway.is_wanted() || gateway.link.is_some()
            });
            for address in &listed {
                gateways.entry(*address).or_default().listed = true;
            }
            self.mesh.set_known(gateways.keys().copied());
            let missing = |known: &KnownGateway| {
                known.listed && known.link.as_ref().is_none_or(|link| link.up.is_none())
            };
            let missing = gateways.iter().filter(|(_, known)| missing(known));
            self.mesh.set_unreachable(missing.map(|(address, _)| *address).collect());
        }
        for gateway in listed {
            self.connect(gateway);
        }
        self.changed.notify_waiters();
    }

    /// Connects to a gateway, unless that is done or arranged.
    pub(super) fn connect(self: &Rc<Self>, gateway: SocketAddr) {
        let wanted = self.gateways.borrow().get(&gateway).is_some_and(|known| {
            known.is_wanted() && known.link.is_none() && known.pause.is_none()
        });
        let is_lost = self.is_lost(gateway);
        if !wanted || (self.is_draining() && !is_lost) {
            return;
        }
        let handler = Rc::new(LinkHandler { core: Rc::clone(self), gateway });
        let limits = Limits { send_queue: self.link_queue, ..Limits::default() };
        let reach = ReachLimits::new(self.link_timeout, gateway.ip());
        let serve = Serve::links(Codec::new, handler as Rc<dyn Handler<Codec>>).limits(limits);
        let serve = serve.peer_timeout(reach.map(ReachLimits::peer_timeout));
        let serve = serve.begins_tls(self.security.borrow().connecting());
        let connected = self.table.connect(gateway, &Rc::new(serve));
        if let Some(known) = self.gateways.borrow_mut().get_mut(&gateway) {
            known.tried = Some(Instant::now());
        }
        match connected {
            Ok(connection) => {
                if let Some(known) = self.gateways.borrow_mut().get_mut(&gateway) {
                    known.link = Some(Link::new(connection));
                }
            }
            Err(error) => {
                tracing::debug!(%gateway, %error, "no link");
                if let Some(known) = self.gateways.borrow_mut().get_mut(&gateway) {
                    known.fail(format!("does not answer ({error})"), Instant::now());
                }
                self.connect_later(gateway);
            }
        }
    }

    fn connect_later(self: &Rc<Self>, gateway: SocketAddr) {
        let pause = self.gateways.borrow().get(&gateway).map(KnownGateway::pause);
        if let Some(pause) = pause {
            self.connect_after(gateway, pause);
        }
    }

    /// Connects after a pause, in the place of any other.
    pub(super) fn connect_after(self: &Rc<Self>, gateway: SocketAddr, pause: Duration) {
        let core = Rc::clone(self);
        let task = tokio::task::spawn_local(async move {
            tokio::time::sleep(pause).await;
            let ended =
                core.gateways.borrow_mut().get_mut(&gateway).map(|known| known.pause.take());
            core.connect(gateway);
            // It is this task's own, which is done.
            drop(ended);
        });
        if let Some(known) = self.gateways.borrow_mut().get_mut(&gateway) {
            known.pause = Some(Pause(task));
        }
    }

    fn link_up(&self, gateway: SocketAddr, connection: &Connection<Codec>) {
        let up = |link: &mut Link| link.up = Some(Instant::now());
        if self.with_link(gateway, connection.id(), up).is_none() {
            return connection.abort();
        }
        let login = Packet::from(Login::Worker {
            worker_key: self.worker_key.clone(),
            secret_key: self.secret_key.clone(),
            lineman: Some(EXTENSION_VERSION),
        });
        if let Err(error) = connection.send(login) {
            tracing::warn!(%gateway, %error, "cannot introduce ourselves");
        }
        tracing::debug!(%gateway, "linked");
        self.mesh.add_link(gateway, connection.clone());
        self.changed.notify_waiters();
    }

    /// The gateway does not want us, and says why: its last packet on a link.
    pub(super) fn on_refusal(&self, gateway: SocketAddr, link: LinkId, reason: &str) {
        if self.with_link(gateway, link, |_| ()).is_none() {
            return;
        }
        if let Some(known) = self.gateways.borrow_mut().get_mut(&gateway) {
            known.refuse(reason, Instant::now());
        }
    }

    /// The gateway speaks the extension: its first packet on a link.
    pub(super) fn on_hello(self: &Rc<Self>, gateway: SocketAddr, link: LinkId, hello: &Hello) {
        let hear = |link: &mut Link| {
            link.epoch = Some(hello.epoch.clone());
            link.version = hello.version;
            link.share = hello.share;
            link.load.shared = hello.share.is_some();
            link.connection.tls().is_some()
        };
        let Some(tls) = self.with_link(gateway, link, hear) else { return };
        if let Some(known) = self.gateways.borrow_mut().get_mut(&gateway) {
            known.is_ours = true;
        }
        tracing::info!(%gateway, tls, "linked");
        self.mesh.on_version(gateway, hello.version);
        self.changed.notify_waiters();
        let lost = self.gateways.borrow_mut().get_mut(&gateway).and_then(|g| g.lost.take());
        let former = lost.as_ref().map(|lost| lost.link);
        let mut kept = Vec::new();
        match lost {
            Some(lost) if lost.epoch == hello.epoch => {
                kept = self.clients.borrow().kept(gateway);
                self.moved(gateway);
            }
            Some(lost) => {
                drop(self.dead(gateway, lost.link));
                self.claim(gateway, lost.link, None);
            }
            None => {}
        }
        self.heirs.borrow_mut().forget(gateway, &hello.epoch);
        if hello.version >= 3 {
            self.tell_kept(gateway, link, &hello.epoch, kept);
        }
        if let Some(former) = former {
            self.answered(|drain| drain.decided(former, Some(link)));
        }
    }

    /// Tells a gateway which of its clients were ours until now: of the others that it gave us, the end is told.
    fn tell_kept(&self, gateway: SocketAddr, link: LinkId, epoch: &str, kept: Vec<u32>) {
        let (clients, ended) =
            self.unsettled.borrow_mut().tell(gateway, epoch, kept, Instant::now());
        let settling = |link: &mut Link| {
            link.settling = true;
            link.connection.clone()
        };
        if let Some(connection) = self.with_link(gateway, link, settling) {
            control(&connection, Control::Kept { clients, ended });
            control(&connection, Control::Sync);
        }
    }

    fn link_lost(self: &Rc<Self>, gateway: SocketAddr, id: LinkId, reason: &CloseReason) {
        let burden = || self.clients.borrow().burden(gateway);
        let lose = |known: &mut KnownGateway| known.lose_link(id, reason, burden, Instant::now());
        let link = self.gateways.borrow_mut().get_mut(&gateway).and_then(lose);
        let Some(link) = link else { return };
        tracing::debug!(%gateway, %reason, "no link");
        let Some(since) = link.up else {
            return self.after_loss(gateway, false);
        };
        self.mesh.remove_link(gateway);
        self.tell_of_losses();
        if let Some(drain) = self.drain.borrow_mut().as_mut() {
            drain.lost(id, link.epoch.is_some());
        }
        match link.epoch {
            Some(epoch) => self.await_verdict(gateway, Lost { epoch, link: id }),
            None if self.is_lost(gateway) => {}
            // PHP's gateways do not say which run of them it is.
            None => drop(self.dead(gateway, id)),
        }
        self.after_loss(gateway, !link.refused && since.elapsed() >= SETTLED);
        self.step_drain();
    }

    /// Tells of links that were lost: of the first at once, of others to the same gateway in sums.
    pub(super) fn tell_of_losses(&self) {
        let now = Instant::now();
        for (gateway, known) in self.gateways.borrow_mut().iter_mut() {
            if let Some(Toll { times, reason, clients, events }) = known.losses.untold(now) {
                tracing::warn!(%gateway, reason, times, clients, events, "link lost, its clients are held");
            }
        }
    }

    fn after_loss(self: &Rc<Self>, gateway: SocketAddr, at_once: bool) {
        self.changed.notify_waiters();
        let mut gateways = self.gateways.borrow_mut();
        let Some(known) = gateways.get(&gateway).filter(|known| known.is_wanted()) else {
            gateways.remove(&gateway);
            self.mesh.set_known(gateways.keys().copied());
            return;
        };
        if known.listed {
            self.mesh.miss(gateway);
        }
        drop(gateways);
        if at_once {
            self.connect(gateway);
        } else {
            self.connect_later(gateway);
        }
    }

    /// Returns whether a verdict on the gateway is awaited already.
    fn is_lost(&self, gateway: SocketAddr) -> bool {
        self.gateways.borrow().get(&gateway).is_some_and(|known| known.lost.is_some())
    }

    /// Holds the clients of a gateway until it answers, or does not.
    fn await_verdict(self: &Rc<Self>, gateway: SocketAddr, lost: Lost) {
        let link = lost.link;
        self.clients.borrow_mut().hold(gateway);
        if let Some(known) = self.gateways.borrow_mut().get_mut(&gateway) {
            known.lost = Some(lost);
        }
        let core = Rc::clone(self);
        tokio::task::spawn_local(async move {
            tokio::time::sleep(core.verdict_limit).await;
            core.verdict(gateway, link);
        });
    }

    /// The gateway has not answered.
    fn verdict(self: &Rc<Self>, gateway: SocketAddr, link: LinkId) {
        let lost = match self.gateways.borrow_mut().get_mut(&gateway) {
            Some(known) => known.lost.take_if(|lost| lost.link == link),
            None => None,
        };
        if let Some(lost) = lost {
            let ended = self.dead(gateway, link);
            self.unsettled.borrow_mut().told_end(gateway, &lost.epoch, ended, Instant::now());
            self.claim(gateway, link, Some(&lost.epoch));
            self.answered(|drain| drain.decided(link, None));
        }
    }

    /// The gateway lives and has given our clients to others: they are nothing to us any more.
    fn moved(self: &Rc<Self>, gateway: SocketAddr) {
        let (clients, events) = self.clients.borrow().burden(gateway);
        tracing::info!(%gateway, clients, events, "gateway lives, others have our clients");
        self.give_away(gateway);
    }

    /// The clients of a gateway are others' from now on.
    pub(super) fn give_away(self: &Rc<Self>, gateway: SocketAddr) {
        let forgotten = self.clients.borrow_mut().forget(gateway);
        self.dropped_events.set(self.dropped_events.get() + forgotten.dropped.len() as u64);
        for event in forgotten.begun {
            self.run(event);
        }
    }

    /// The gateway is dead, and its clients with it.
    /// Returns those that were not known to be gone.
    fn dead(self: &Rc<Self>, gateway: SocketAddr, link: LinkId) -> Vec<u32> {
        let ends = self.clients.borrow_mut().close_all(gateway, link);
        if !ends.clients.is_empty() {
            let clients = ends.clients.len();
            tracing::warn!(%gateway, clients, "gateway is dead, closing its clients");
        }
        for event in ends.begun {
            self.run(event);
        }
        ends.clients
    }

    /// Looks which gateways' machines answer, and gives up the links to those that have not for too long.
    pub(super) fn look_for_machines(&self) {
        let now = Instant::now();
        let look = |(gateway, known): (&SocketAddr, &mut KnownGateway)| {
            let limits = ReachLimits::new(self.link_timeout, gateway.ip())?;
            let link = known.link.as_mut().filter(|link| link.up.is_some())?;
            let said = link.connection.acknowledgement();
            let lost = link.reach.look(said, limits, now) == Reached::No;
            lost.then(|| (*gateway, link.connection.clone()))
        };
        let lost: Vec<_> = self.gateways.borrow_mut().iter_mut().filter_map(look).collect();
        for (gateway, connection) in lost {
            tracing::error!(%gateway, "machine of the gateway does not answer");
            self.unreachable_links.set(self.unreachable_links.get() + 1);
            connection.abort();
        }
    }

    /// Gives up the links to gateways that have said nothing for too long.
    pub(super) fn look_for_silence(&self, now: Instant) {
        let stood_still = self.stood_still(now);
        let silent = |(gateway, known): (&SocketAddr, &mut KnownGateway)| {
            let link = known.link.as_mut()?;
            // What we do not read is silent by our doing.
            if stood_still || link.connection.is_paused() {
                link.heard = now;
            }
            let limit = self.silence_limit.unwrap_or_else(|| link.silence_limit(gateway.ip()));
            let silent = !limit.is_zero() && link.silence(now) >= limit;
            silent.then(|| (*gateway, link.connection.clone()))
        };
        let silent: Vec<_> = self.gateways.borrow_mut().iter_mut().filter_map(silent).collect();
        for (gateway, connection) in silent {
            tracing::warn!(%gateway, "gateway is silent");
            connection.abort();
        }
    }
}
