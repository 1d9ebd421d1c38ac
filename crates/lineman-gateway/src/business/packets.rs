//! What gateways send: events of clients, and the answers of the extension.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use lineman::connection::Connection;
use lineman_wire::link::{self, Body, ClientId, Codec, Command, Control, Packet};
use lineman_wire::websocket::{Message, Utf8Bytes};
use tokio::time::Instant;

use super::SIGN_OF_LIFE;
use super::clients::{ClientEvent, LinkId, Work};
use super::core::Core;
use super::drain::{Action, Drain};
use super::gateway::{KnownGateway, Link, Report};
use crate::cluster::gateway_of;
use crate::error::HubError;
use crate::{Events, Request};

/// A loop that ticks each second and has not for so long stood still: far below the 30 s after which a gateway
/// gives a silent business up, above what a handler that computes takes.
pub(super) const STANDSTILL: Duration = Duration::from_secs(5);

impl<E: Events> Core<E> {
    /// Deals with one packet of a link.
    pub(super) fn on_packet(self: &Rc<Self>, gateway: SocketAddr, link: LinkId, packet: Packet) {
        let now = Instant::now();
        let heard = |link: &mut Link| {
            link.heard = now;
            link.connection.clone()
        };
        let Some(connection) = self.with_link(gateway, link, heard) else { return };
        if self.stood_still(now) && connection.is_ending() {
            tracing::warn!(%gateway, "this process stood still and was given up, its clients are others' now");
            self.dropped_events.set(self.dropped_events.get() + 1);
            return connection.abort();
        }
        let (command, weight) = (packet.command, packet.wire_length());
        let id = ClientId::new(packet.local_ip, packet.local_port, packet.connection_id);
        let event = match link::Event::try_from(packet) {
            Ok(event) => event,
            Err(error) => {
                tracing::warn!(%gateway, ?command, %error, "packet refused");
                if matches!(command, Command::OnMessage | Command::OnWebSocketConnect) {
                    self.handled(gateway, link, Report::Now);
                    self.credit(link, id, weight);
                }
                return;
            }
        };
        match event {
            link::Event::Connect(client) => {
                self.on_event(gateway, ClientEvent { link, client, work: Work::Connect, weight });
            }
            link::Event::WebSocketConnect(client, request) => {
                let work = Work::WebSocketConnect(Request::new(request));
                self.on_event(gateway, ClientEvent { link, client, work, weight });
            }
            link::Event::Message(client, body) => match message(body) {
                Ok(message) => {
                    let work = Work::Message(message);
                    self.on_event(gateway, ClientEvent { link, client, work, weight });
                }
                Err(error) => {
                    tracing::warn!(client = %client.id, %error, "message refused");
                    self.handled(gateway, link, Report::Soon);
                    self.credit(link, id, weight);
                }
            },
            link::Event::Close(client) => {
                self.on_event(gateway, ClientEvent { link, client, work: Work::Close, weight });
            }
            link::Event::Hello(hello) => self.on_hello(gateway, link, &hello),
            link::Event::Adopt(client) => self.clients.borrow_mut().adopt(&client),
            link::Event::Fence => self.answered(|drain| drain.fence(link)),
            link::Event::Synced if self.is_settled(gateway, link) => {}
            link::Event::Synced => self.answered(|drain| drain.synced(link)),
            link::Event::Returned(client) => {
                self.on_event(gateway, ClientEvent { link, client, work: Work::Return, weight });
            }
            link::Event::Forget(client) => self.forget_one(gateway, client.id),
            link::Event::Witness(witness) => self.on_witness(gateway, link, witness),
            link::Event::Relay(note) => self.on_note(gateway, link, note),
            link::Event::Ping => {}
            link::Event::Probe => {
                let count = self.with_link(gateway, link, |link| link.handled.count());
                control(&connection, Control::Alive(count.unwrap_or_default()));
            }
            link::Event::Refused(reason) => self.on_refusal(gateway, link, &reason),
            link::Event::HeldNames(entries) => self.mesh.on_entries(gateway, &entries),
            link::Event::Settle(number) => control(&connection, Control::Settled(number)),
            link::Event::Settled(number) => self.mesh.on_settled(gateway, number),
            unknown => tracing::debug!(%gateway, ?unknown, "a packet that is not for a business"),
        }
    }

    /// Returns whether an answer is the one to what was told of kept clients.
    fn is_settled(&self, gateway: SocketAddr, link: LinkId) -> bool {
        let settled = |link: &mut Link| std::mem::take(&mut link.settling);
        let settled = self.with_link(gateway, link, settled) == Some(true);
        if settled {
            self.unsettled.borrow_mut().settled(gateway);
        }
        settled
    }

    /// A client is gone, and another business has told its end.
    fn forget_one(self: &Rc<Self>, gateway: SocketAddr, client: ClientId) {
        let dropped = self.clients.borrow_mut().forget_one(client);
        for event in &dropped {
            self.unload(gateway, event.link, event.weight);
        }
        self.drop_events(gateway, &dropped);
        self.step_drain();
    }

    fn on_event(self: &Rc<Self>, gateway: SocketAddr, event: ClientEvent) {
        let (link, weight) = (event.link, event.weight);
        let begun = self.clients.borrow_mut().arrive(event);
        if let Some(event) = begun {
            return self.run(event);
        }
        let full = |link: &mut Link| link.load.add(weight).then(|| link.connection.clone());
        if let Some(connection) = self.with_link(gateway, link, full).flatten() {
            tracing::debug!(%gateway, "too many events wait, not reading for now");
            connection.pause();
        }
        self.adjust_share(gateway, link);
    }

    /// An event waits no longer.
    pub(super) fn unload(&self, gateway: SocketAddr, link: LinkId, weight: usize) {
        let room = |link: &mut Link| link.load.remove(weight).then(|| link.connection.clone());
        if let Some(connection) = self.with_link(gateway, link, room).flatten() {
            connection.resume();
        }
        self.adjust_share(gateway, link);
    }

    /// Has a gateway give each client less, or more again, as more or less waits on its link.
    fn adjust_share(&self, gateway: SocketAddr, link: LinkId) {
        let change = |link: &mut Link| Some((link.halvings()?, link.connection.clone()));
        let Some(((halvings, share), connection)) = self.with_link(gateway, link, change).flatten()
        else {
            return;
        };
        // If its queue is full, the next event tries again.
        if connection.send(Packet::from(Control::Share(share))).is_err() {
            return;
        }
        let set = |link: &mut Link| halvings > std::mem::replace(&mut link.load.halvings, halvings);
        if self.with_link(gateway, link, set) == Some(true) {
            tracing::debug!(%gateway, ?share, "many events wait, each client may have fewer");
            self.shrunk_shares.borrow_mut().add();
            // What was below half of a share may be all of the smaller one.
            let owed = self.clients.borrow().owed(gateway);
            for client in owed {
                self.tell_credit(link, client);
            }
        }
    }

    /// An event of a link has been dealt with.
    pub(super) fn handled(self: &Rc<Self>, gateway: SocketAddr, link: LinkId, report: Report) {
        let count = |link: &mut Link| link.epoch.is_some().then(|| link.handled.add(report));
        if self.with_link(gateway, link, count).flatten().is_some() {
            self.report_in_this_turn();
        }
    }

    fn report_in_this_turn(self: &Rc<Self>) {
        if !self.reporting.replace(true) {
            let core = Rc::clone(self);
            self.table.before_flush(move || core.report_behind_output());
        }
    }

    /// An event of a client has been dealt with: as much of it may come again.
    pub(super) fn credit(&self, link: LinkId, client: ClientId, weight: usize) {
        self.clients.borrow_mut().handled(client, weight);
        self.tell_credit(link, client);
    }

    fn tell_credit(&self, link: LinkId, client: ClientId) {
        let wanted = |link: &mut Link| Some((link.share()?, link.connection.clone()));
        let found = self.with_link(gateway_of(client), link, wanted).flatten();
        let Some((bound, connection)) = found else { return };
        let due = self.clients.borrow_mut().take_untold(client, bound);
        if let Some(share) = due {
            let connection_id = client.connection_id;
            if connection.send(Packet::from(Control::Credit { connection_id, share })).is_err() {
                self.clients.borrow_mut().untold(client, share);
                self.uncredited.borrow_mut().push((link, client));
            }
        }
    }

    /// Returns whether the loop stood still until a moment ago, as in a process that was suspended; asked
    /// each second, and before each packet.
    ///
    /// A link that ended meanwhile was given up by its gateway, so what is left in the kernel is about clients
    /// of others.
    pub(super) fn stood_still(&self, now: Instant) -> bool {
        if now.saturating_duration_since(self.last_seen.replace(now)) >= STANDSTILL {
            self.doubts_until.set(now + SIGN_OF_LIFE);
        }
        now < self.doubts_until.get()
    }

    /// Tells each gateway that this loop goes on, where it may wonder: it has not been told of all events.
    ///
    /// It says what was done, confirmed or not: a gateway that hangs holds up what the others are told.
    pub(super) fn give_signs(&self) {
        self.stood_still(Instant::now());
        self.tell_of_losses();
        for (link, client) in self.uncredited.take() {
            self.tell_credit(link, client);
        }
        if let Some(count) = self.shrunk_shares.borrow_mut().untold(Instant::now()) {
            tracing::warn!(count, "many events wait, each client of a gateway may have fewer");
        }
        let idle = self.clients.borrow().is_idle();
        let wondering = |known: &KnownGateway| {
            let link = known.link.as_ref().filter(|link| link.share.is_some())?;
            let unsure = !idle || link.handled.is_untold();
            unsure.then(|| (link.connection.clone(), link.handled.count()))
        };
        let wondering: Vec<_> = self.gateways.borrow().values().filter_map(wondering).collect();
        for (connection, count) in wondering {
            control(&connection, Control::Alive(count));
        }
    }

    /// Tells gateways what was handled when all that came of it has left.
    ///
    /// On a link of its own, order sees to that. What goes to other gateways has to be written first:
    /// a process killed between two writes would have reported a message as handled that half of its
    /// group never got. Where one gateway is concerned, it costs no write of its own.
    fn report_behind_output(self: &Rc<Self>) {
        if self.report_what_has_left() {
            return;
        }
        let core = Rc::clone(self);
        // A job that a job asks for runs behind the flush.
        self.table.before_flush(move || {
            if core.report_what_has_left() {
                return;
            }
            // A gateway reads slowly. `reporting` stays set, so this is the one task of its kind.
            tokio::task::spawn_local(async move {
                core.table.flushed().await;
                while !core.report_what_has_left() {
                    core.table.flushed().await;
                }
            });
        });
    }

    /// Tells each gateway that is to be told now what was handled, unless something waits to be sent to another
    /// one; returns whether all were told.
    fn report_what_has_left(self: &Rc<Self>) -> bool {
        let now = Instant::now();
        let (mut due, mut waiting, mut later) = (Vec::new(), Vec::new(), None);
        for (gateway, known) in self.gateways.borrow().iter() {
            let Some(link) = &known.link else { continue };
            match link.handled.due_after(now) {
                Some(Duration::ZERO) => due.push((*gateway, link.id())),
                Some(pause) => later = Some(later.map_or(pause, |other| pause.min(other))),
                None => {}
            }
            if link.connection.queued_bytes() > 0 {
                waiting.push(link.id());
            }
        }
        let mut all = true;
        for (gateway, link) in due {
            if waiting.iter().all(|other| *other == link) {
                self.report_handled(gateway, link);
            } else {
                all = false;
            }
        }
        self.reporting.set(!all);
        if let Some(pause) = later.filter(|_| !self.reporting_later.replace(true)) {
            let core = Rc::clone(self);
            tokio::task::spawn_local(async move {
                tokio::time::sleep(pause).await;
                core.reporting_later.set(false);
                core.report_in_this_turn();
            });
        }
        all
    }

    /// Tells each gateway what was handled, whatever waits: this process ends.
    pub(super) fn report_all(&self) {
        let links = |(gateway, known): (&SocketAddr, &KnownGateway)| {
            Some((*gateway, known.link.as_ref()?.id()))
        };
        let links: Vec<_> = self.gateways.borrow().iter().filter_map(links).collect();
        for (gateway, link) in links {
            self.report_handled(gateway, link);
        }
    }

    fn report_handled(&self, gateway: SocketAddr, link: LinkId) {
        let now = Instant::now();
        let due = |link: &mut Link| Some((link.handled.report(now)?, link.connection.clone()));
        if let Some((count, connection)) = self.with_link(gateway, link, due).flatten() {
            control(&connection, Control::Handled(count));
        }
    }

    /// Asks every gateway to send no more events.
    pub(super) fn begin_drain(self: &Rc<Self>) {
        let (mut extended, mut others, mut lost) = (Vec::new(), Vec::new(), Vec::new());
        for gateway in self.gateways.borrow().values() {
            match &gateway.link {
                Some(link) if link.up.is_some() && link.epoch.is_some() => extended.push(link.id()),
                Some(link) => others.push((link.up.is_some(), link.connection.clone())),
                None => {}
            }
            lost.extend(gateway.lost.as_ref().map(|lost| lost.link));
        }
        self.heirs.borrow_mut().resign();
        let (drain, actions) = Drain::begin(extended, lost);
        self.drain.replace(Some(drain));
        for (up, connection) in others {
            // A gateway of PHP's cannot be asked; what it has sent is handled.
            if up { connection.pause() } else { connection.abort() }
        }
        self.act(&actions);
        self.step_drain();
    }

    pub(super) fn answered(self: &Rc<Self>, answer: impl FnOnce(&mut Drain)) {
        if let Some(drain) = self.drain.borrow_mut().as_mut() {
            answer(drain);
        }
        self.step_drain();
    }

    /// Goes on with the drain, if there is one and it can.
    pub(super) fn step_drain(self: &Rc<Self>) {
        let idle = self.clients.borrow().is_idle() && self.heirs.borrow().is_idle();
        let actions = match self.drain.borrow_mut().as_mut() {
            Some(drain) => drain.advance(idle),
            None => return,
        };
        self.act(&actions);
        self.changed.notify_waiters();
    }

    fn act(self: &Rc<Self>, actions: &[Action]) {
        for action in actions {
            let (link, command) = match *action {
                Action::Drain(link) => (link, Control::Drain),
                Action::Sync(link) => (link, Control::Sync),
                Action::Release(link) => (link, Control::Release),
            };
            let Some((gateway, connection)) = self.link_of(link) else { continue };
            if command == Control::Sync {
                self.report_handled(gateway, link);
            }
            if command == Control::Release {
                self.give_away(gateway);
            }
            control(&connection, command);
        }
    }

    pub(super) fn link_of(&self, id: LinkId) -> Option<(SocketAddr, Connection<Codec>)> {
        self.gateways.borrow().iter().find_map(|(gateway, known)| {
            let link = known.link.as_ref().filter(|link| link.id() == id)?;
            Some((*gateway, link.connection.clone()))
        })
    }

    /// Closes every link; what is queued still leaves.
    pub(super) fn close_links(&self) {
        let links: Vec<_> = {
            let mut gateways = self.gateways.borrow_mut();
            gateways.values_mut().filter_map(|gateway| gateway.link.take()).collect()
        };
        for link in links {
            link.connection.close(lineman::connection::CloseReason::GoingAway);
        }
    }
}

/// A link that does not take 28 bytes is full or gone, and its gateway gives its clients away.
pub(super) fn control(connection: &Connection<Codec>, control: Control) {
    let packet = Packet::from(control);
    let command = packet.command;
    if let Err(error) = connection.send(packet) {
        tracing::warn!(gateway = %connection.peer_addr(), ?command, %error, "not sent");
    }
}

/// Makes a message of a packet's body. Where the packet does not say its type, what is UTF-8 is text; JSON is made
/// of what only PHP's own protocols send.
fn message(body: Body) -> Result<Message, HubError> {
    match body {
        Body::Binary(bytes) => Ok(Message::Binary(bytes)),
        Body::Text(bytes) | Body::Scalar(bytes) | Body::Raw(bytes) => {
            match Utf8Bytes::try_from(bytes.clone()) {
                Ok(text) => Ok(Message::Text(text)),
                Err(_) => Ok(Message::Binary(bytes)),
            }
        }
        Body::Value(value) => {
            let json = serde_json::Value::try_from(&value).map_err(link::Error::from);
            Ok(Message::from(json.map_err(HubError::Session)?))
        }
    }
}
