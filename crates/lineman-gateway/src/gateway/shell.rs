//! Between the table and the logic: events become inputs, handled one after the other. A new client waits at the
//! entrance before.
//!
//! A send can fill a queue and an abort ends a connection while the logic is at work; what such an
//! event says waits in the inbox until the input at hand is done.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};
use lineman::Table;
use lineman::connection::{CloseReason, Connection, Event, Handler, Turn};
use lineman::websocket::Refusal;
use lineman_wire::link::Codec;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::core::{Core, Input, Policy};
use super::dialect::ClientDialect;
use super::handover::MovedConnections;
use super::links::{Link, LinkOutlet};
use super::outlet::Outlet;
use crate::entrance::{Binding, Entrance, Question};

/// The logic of a gateway process, and what waits for it.
pub(super) struct Shell<C: Outlet> {
    core: RefCell<Core<C>>,
    inbox: RefCell<VecDeque<Input<C>>>,
    at_work: Cell<bool>,
    /// A look is due by itself.
    looking: Cell<bool>,
    /// So is telling businesses of names, at the end of the turn.
    telling: Cell<bool>,
    /// Everything is another process's now: this one has no say any more.
    gave: Cell<bool>,
    /// Wakes what waits for that.
    given: Notify,
    /// The connections that have come from the process before, until the rest has.
    moved: RefCell<MovedConnections<C>>,
    table: Table,
}

impl<C: Outlet> Shell<C> {
    pub(super) fn new(core: Core<C>, table: Table) -> Self {
        Self {
            core: RefCell::new(core),
            inbox: RefCell::default(),
            at_work: Cell::new(false),
            looking: Cell::new(false),
            telling: Cell::new(false),
            gave: Cell::new(false),
            given: Notify::new(),
            moved: RefCell::default(),
            table,
        }
    }

    /// Has an input handled: now, or right after the one at hand.
    pub(super) fn submit(self: &Rc<Self>, input: Input<C>) {
        if self.gave.get() {
            return;
        }
        self.inbox.borrow_mut().push_back(input);
        if self.at_work.replace(true) {
            return;
        }
        loop {
            let next = self.inbox.borrow_mut().pop_front();
            let Some(input) = next else { break };
            self.core.borrow_mut().handle(input, Instant::now());
        }
        self.at_work.set(false);
        if self.core.borrow().is_telling_due() && !self.telling.replace(true) {
            let shell = Rc::clone(self);
            self.table.before_flush(move || {
                shell.telling.set(false);
                shell.submit(Input::Tell);
            });
        }
        if !self.looking.get()
            && let Some(soon) = self.core.borrow().look_after()
        {
            self.looking.set(true);
            let shell = Rc::clone(self);
            tokio::task::spawn_local(async move {
                match soon {
                    // Sockets are seen to before this goes on.
                    Duration::ZERO => tokio::task::yield_now().await,
                    _ => tokio::time::sleep(soon).await,
                }
                shell.looking.set(false);
                shell.submit(Input::Look);
            });
        }
    }

    pub(super) fn gauges(&self) -> BTreeMap<&'static str, u64> {
        if self.gave.get() { BTreeMap::new() } else { self.core.borrow().gauges() }
    }

    /// A client's connection is this process's, if everything else becomes so.
    pub(super) fn adopt_client(&self, connection: C) {
        self.moved.borrow_mut().clients.insert(connection.id(), connection);
    }

    /// As [`Self::adopt_client`], of the inner port.
    pub(super) fn adopt_peer(&self, outlet: LinkOutlet) {
        self.moved.borrow_mut().peers.insert(outlet.id(), outlet);
    }

    /// Writes down what the logic knows; between two turns, when nothing waits for it.
    ///
    /// # Errors
    /// It has no written form.
    pub(super) fn save(&self) -> Result<Vec<u8>, String> {
        self.core.borrow().save(Instant::now())
    }

    /// Goes on with what another process wrote down, over the connections that have come from it.
    ///
    /// # Errors
    /// It is not understood, or not of this gateway.
    pub(super) fn restore(&self, saved: &[u8]) -> Result<(), String> {
        let mut moved = self.moved.take();
        self.core.borrow_mut().restore(saved, &mut moved, Instant::now())
    }

    /// This process serves from now on.
    pub(super) fn took_over(self: &Rc<Self>) {
        self.submit(Input::TookOver);
    }

    /// Another process serves from now on.
    pub(super) fn gave(&self) {
        self.gave.set(true);
        self.given.notify_waiters();
    }

    pub(super) fn policy<T>(&self, look: impl FnOnce(&Policy<C::Form>) -> T) -> T {
        look(&self.core.borrow().policy)
    }

    /// Returns which run of the gateway this is.
    pub(super) fn epoch(&self) -> String {
        self.core.borrow().identity.epoch.clone()
    }

    /// Returns for how long no business has served clients, if none does, and what there is none that does.
    pub(super) fn unserved(&self) -> Option<(Duration, &'static str)> {
        if self.gave.get() {
            return None;
        }
        let core = self.core.borrow();
        let does = if core.links.iter().any(Link::is_open) { "answers" } else { "is linked" };
        Some((core.unserved_since?.elapsed(), does))
    }

    fn clients_port(&self) -> u16 {
        self.core.borrow().identity.clients_port
    }
}

/// Hears the clients.
pub(super) struct ClientDoor<D: ClientDialect> {
    pub(super) shell: Rc<Shell<Connection<D>>>,
    pub(super) entrance: Rc<Entrance>,
}

impl<D: ClientDialect> ClientDoor<D> {
    /// A client asks to open: it is let in, refused, or waits for the hook.
    fn open(&self, connection: &Connection<D>, opening: &D::Opening) -> Turn {
        if self.shell.gave.get() {
            return Turn::Done(Err(Box::new(replaced())));
        }
        let (peer, server_port) = (connection.peer_addr(), self.shell.clients_port());
        let request = D::request(opening);
        if let Err(refusal) = self.entrance.check(&peer, request) {
            return Turn::Done(Err(refusal));
        }
        let handshake = D::handshake(opening, connection.peer(), server_port);
        if let Some(request) = request.filter(|_| self.entrance.has_hook()) {
            let scheme = if connection.tls().is_some() { "wss" } else { "ws" };
            let question = Question { peer, scheme, server_port, request: request.clone() };
            self.ask(connection.clone(), question, handshake);
            return Turn::Busy;
        }
        self.shell.submit(Input::ClientCame(connection.clone(), handshake, Binding::default()));
        Turn::Done(Ok(()))
    }

    /// Asks the hook about a client. The end of the connection, however it comes, ends the wait: the process stops,
    /// the handshake's time is up, the client leaves. No business has heard of it then.
    fn ask(&self, connection: Connection<D>, question: Question, handshake: Bytes) {
        let (shell, entrance) = (Rc::clone(&self.shell), Rc::clone(&self.entrance));
        tokio::task::spawn_local(async move {
            let add_headers = |headers| D::add_headers(&connection, headers);
            let asked = pin!(entrance.ask(&question, add_headers));
            let ended = pin!(connection.ended());
            let answered = match select(pin!(shell.given.notified()), select(ended, asked)).await {
                // It is let in by the process that serves now, and at once.
                Either::Left(((), _)) => return connection.finished(Err(Box::new(replaced()))),
                Either::Right((answered, _)) => answered,
            };
            match answered {
                Either::Right((Ok(binding), _)) => {
                    shell.submit(Input::ClientCame(connection.clone(), handshake, binding));
                    connection.finished(Ok(()));
                }
                Either::Right((Err(refusal), _)) => connection.finished(Err(refusal)),
                Either::Left(((), asked)) => {
                    let reason = String::new();
                    connection.close(CloseReason::Peer { code: None, reason });
                    connection.finished(Ok(()));
                    // The hook works on it, so that its place stays taken.
                    drop(asked.await);
                }
            }
        });
    }
}

/// A client asks a process that has handed over to another one: the other one takes it when it comes again.
fn replaced() -> Refusal {
    Refusal::new(503)
}

impl<D: ClientDialect> Handler<D> for ClientDoor<D> {
    fn on_event(&self, connection: &Connection<D>, event: Event<D>) -> Turn {
        let input = match event {
            // Without a handshake a client is there when it has connected, with one when it has
            // asked to open: of half-open connections no business hears.
            Event::Connect => {
                if self.shell.gave.get() {
                    connection.close(CloseReason::Replaced);
                    return Turn::Done(Ok(()));
                }
                if self.entrance.check(&connection.peer_addr(), None).is_err() {
                    connection.close(CloseReason::Refused(403));
                    return Turn::Done(Ok(()));
                }
                Input::ClientCame(connection.clone(), Bytes::new(), Binding::default())
            }
            Event::Open(opening) => return self.open(connection, &opening),
            Event::Opened | Event::Adopted => return Turn::Done(Ok(())),
            Event::Message(message) => Input::ClientSaid(connection.id(), D::body(message)),
            Event::Close(reason) => {
                tracing::debug!(peer = %connection.peer_addr(), %reason, "client gone");
                Input::ClientWent(connection.id())
            }
        };
        self.shell.submit(input);
        Turn::Done(Ok(()))
    }

    fn on_adopt(&self, connection: &Connection<D>) {
        self.shell.adopt_client(connection.clone());
    }
}

/// Hears the inner port.
pub(super) struct LinkDoor<D: ClientDialect>(pub(super) Rc<Shell<Connection<D>>>);

impl<D: ClientDialect> Handler<Codec> for LinkDoor<D> {
    fn on_event(&self, connection: &Connection<Codec>, event: Event<Codec>) -> Turn {
        let input = match event {
            Event::Connect => Input::PeerCame(Rc::new(connection.clone())),
            Event::Message(packet) => Input::PeerSaid(connection.id(), packet),
            Event::Close(reason) => {
                tracing::debug!(peer = %connection.peer_addr(), %reason, "peer gone");
                Input::PeerWent(connection.id(), reason)
            }
            Event::Open(()) | Event::Opened | Event::Adopted => return Turn::Done(Ok(())),
        };
        self.0.submit(input);
        Turn::Done(Ok(()))
    }

    fn on_adopt(&self, connection: &Connection<Codec>) {
        self.0.adopt_peer(Rc::new(connection.clone()));
    }

    fn on_full(&self, connection: &Connection<Codec>) {
        self.0.submit(Input::PeerFull(connection.id()));
    }

    fn on_drain(&self, connection: &Connection<Codec>) {
        self.0.submit(Input::PeerDrained(connection.id()));
    }
}
