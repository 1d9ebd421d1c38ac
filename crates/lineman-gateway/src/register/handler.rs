//! The register's connections: what the book decides is sent here.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use lineman::connection::{CloseReason, Connection, Event, Handler, Turn};
use lineman_client::LinkTls;
use lineman_wire::link::register::Line;
use lineman_wire::link::{EXTENSION_VERSION, Secret};
use lineman_wire::text::Text;
use rustc_hash::FxHashMap;
use tokio::time::Instant;

use super::book::{Book, Reaction, Speaks, object};
use crate::link_tls::{LinkSecurity, SharedSecurity};
use crate::secret::Objection;
use crate::strangers::Strangers;

/// Hears all connections of the register.
pub(super) struct Desk {
    book: RefCell<Book>,
    pub(super) security: SharedSecurity,
    connections: RefCell<FxHashMap<u64, Connection<Text>>>,
    /// The book is another process's now.
    gave: Cell<bool>,
}

impl Desk {
    pub(super) fn new(secret_key: Secret, strangers: Strangers, security: LinkSecurity) -> Self {
        let book = RefCell::new(Book::new(secret_key, strangers));
        let security = SharedSecurity::new(RefCell::new(security));
        Self { book, security, connections: RefCell::default(), gave: Cell::new(false) }
    }

    /// Writes the book down, between two turns.
    pub(super) fn save(&self) -> Result<Vec<u8>, String> {
        self.book.borrow().save(Instant::now())
    }

    /// Goes on with the book of another process.
    pub(super) fn restore(&self, state: &[u8]) -> Result<(), String> {
        self.book.borrow_mut().restore(state, Instant::now())
    }

    /// This process is the one that serves: peers whose connections have not come with the others are gone.
    pub(super) fn took_over(&self) {
        let is_there = |peer| self.connections.borrow().contains_key(&peer);
        let gone = self.book.borrow().without(is_there);
        let gone = gone.into_iter().map(|peer| self.book.borrow_mut().gone(peer));
        if gone.collect::<Vec<_>>().contains(&Reaction::TellAll) {
            self.tell_all();
        }
        self.carry_out_due();
    }

    /// Another process serves: this one says nothing more.
    pub(super) fn gave(&self) {
        self.gave.set(true);
    }

    /// Puts other bounds of strangers in force.
    pub(super) fn set_strangers(&self, bound: usize, time: Duration) {
        self.book.borrow_mut().strangers.set(bound, time);
    }

    /// Closes peers that have not said in time what they are; call it after each part of [`period`].
    pub(super) fn check_silence(&self) {
        self.book.borrow_mut().give_up_silent(Instant::now());
        self.carry_out_due();
        let late = self.book.borrow().strangers.late(Instant::now());
        for peer in late {
            let connection = self.connections.borrow().get(&peer).cloned();
            if let Some(connection) = connection.filter(Connection::is_open) {
                connection.close(CloseReason::HandshakeTimeout);
                self.refused(&connection, "it did not say in time what it is");
            }
        }
        // Those that are too many to be told of one by one.
        let refused = self.book.borrow_mut().strangers.refused.untold(Instant::now());
        if let Some(refused) = refused {
            tracing::warn!(refused, "peers refused, of many addresses");
        }
    }

    /// Counts a peer that was refused; the log tells of each address once, and then seldom.
    fn refused(&self, connection: &Connection<Text>, problem: &str) {
        let (peer, now) = (connection.peer_addr(), Instant::now());
        let address = peer.internet().map_or(IpAddr::from([0; 4]), |address| address.ip());
        let mut book = self.book.borrow_mut();
        book.strangers.leave(connection.id());
        let told = book.strangers.refuse(address, problem, now);
        drop(book);
        if let Some(attempts) = told {
            tracing::warn!(%peer, problem, attempts, "peer refused");
        } else {
            tracing::debug!(%peer, problem, "peer refused");
        }
    }

    pub(super) fn gauges(&self) -> BTreeMap<&'static str, u64> {
        let book = self.book.borrow();
        BTreeMap::from([
            ("gateways", book.gateway_count() as u64),
            ("businesses", book.businesses().len() as u64),
            ("strangers", book.strangers.len() as u64),
            ("refused_strangers", book.strangers.refused.count()),
        ])
    }

    fn connected(&self, connection: &Connection<Text>) {
        let oldest = self.book.borrow_mut().connected(connection.id(), Instant::now());
        self.connections.borrow_mut().insert(connection.id(), connection.clone());
        for oldest in oldest {
            let oldest = self.connections.borrow().get(&oldest).cloned();
            if let Some(oldest) = oldest {
                oldest.abort();
                self.refused(&oldest, "too many that have not said what they are");
            }
        }
    }

    /// Does what has become due about other peers.
    fn carry_out_due(&self) {
        let due = self.book.borrow_mut().take_due();
        for (peer, reaction) in due {
            let connection = self.connections.borrow().get(&peer).cloned();
            match connection {
                Some(connection) => self.answer(&connection, reaction),
                None if reaction == Reaction::TellAll => self.tell_all(),
                None => {}
            }
        }
    }

    fn answer(&self, connection: &Connection<Text>, answer: Reaction) {
        match answer {
            Reaction::Nothing => {}
            Reaction::SayAlive => say_alive(connection),
            Reaction::TellPeer => {
                let speaks = self.book.borrow().speaks(connection.id());
                tell(connection, self.list(speaks));
            }
            Reaction::TellAll => self.tell_all(),
            Reaction::Refuse(problem) => {
                self.refused(connection, &problem);
                connection.close(CloseReason::Protocol { code: 1008, problem });
            }
            Reaction::RefuseWith(text) => {
                self.refused(connection, "not our protocol");
                close_with(connection, text.to_owned());
            }
            Reaction::Object(problem, line) => {
                self.refused(connection, &problem);
                match line {
                    Some(line) => close_with(connection, line),
                    None => connection.close(CloseReason::Protocol { code: 1008, problem }),
                }
            }
            Reaction::Notice(text, speaks) => {
                tracing::warn!(peer = %connection.peer_addr(), text, "a peer looks misconfigured");
                if speaks == Speaks::Extension {
                    say(connection, Line::Notice { text }.encode());
                }
            }
            Reaction::Say(line) => say(connection, line),
            Reaction::Ask => say(connection, Line::Ping.encode()),
            Reaction::Drop => {
                tracing::warn!(peer = %connection.peer_addr(), "another gateway has this one's address, and it is silent");
                connection.abort();
            }
        }
    }

    fn tell_all(&self) {
        let (plain, extended) = (self.list(Speaks::Plain), self.list(Speaks::Extension));
        let businesses = self.book.borrow().businesses();
        for business in businesses {
            let connection = self.connections.borrow().get(&business).cloned();
            let speaks = self.book.borrow().speaks(business);
            let list = if speaks == Speaks::Extension { &extended } else { &plain };
            if let Some(connection) = connection {
                tell(&connection, list.clone());
            }
        }
    }

    /// The list in its wire form, so that all businesses share it.
    fn list(&self, speaks: Speaks) -> Bytes {
        let mut line = self.book.borrow().list(speaks);
        line.push('\n');
        Bytes::from(line)
    }
}

/// Shows a peer that the register is there. One that does not read is cut off by the list, or sees no sign.
fn say_alive(connection: &Connection<Text>) {
    let alive = Line::Alive { lineman: EXTENSION_VERSION };
    if let Err(error) = connection.send(alive.encode()) {
        tracing::debug!(peer = %connection.peer_addr(), %error, "peer not told that we live");
    }
}

/// Says something beside the list; a peer that does not read need not hear it.
fn say(connection: &Connection<Text>, line: String) {
    if let Err(error) = connection.send(line) {
        tracing::debug!(peer = %connection.peer_addr(), %error, "not told");
    }
}

fn close_with(connection: &Connection<Text>, farewell: String) {
    if let Err(error) = connection.close_with(farewell) {
        tracing::debug!(%error, "refused without a word");
    }
}

/// Returns what is done about the first line of a peer that came without TLS, where that is required.
fn unencrypted(line: &str) -> Reaction {
    let lineman = match Line::parse(line.as_bytes()) {
        Ok(Line::GatewayConnect { lineman, .. } | Line::WorkerConnect { lineman, .. }) => lineman,
        _ => None,
    };
    object("peer", &Objection::Unencrypted, Speaks::of(lineman))
}

/// Sends the list; a business that does not read is cut off, and asks again when it comes back.
fn tell(connection: &Connection<Text>, list: Bytes) {
    if let Err(error) = connection.send_encoded(list) {
        tracing::warn!(peer = %connection.peer_addr(), %error, "business not told");
        connection.close(CloseReason::SlowPeer);
    }
}

impl Handler<Text> for Desk {
    fn on_adopt(&self, connection: &Connection<Text>) {
        self.connections.borrow_mut().insert(connection.id(), connection.clone());
    }

    fn on_event(&self, connection: &Connection<Text>, event: Event<Text>) -> Turn {
        if self.gave.get() {
            if matches!(event, Event::Connect) {
                connection.close(CloseReason::Replaced);
            }
            return Turn::Done(Ok(()));
        }
        match event {
            Event::Connect => self.connected(connection),
            Event::Message(line) => {
                let from = connection.peer_addr().internet();
                let (id, now) = (connection.id(), Instant::now());
                let requires = self.security.borrow().mode == LinkTls::Require;
                let answer = match connection.tls() {
                    None if requires && self.book.borrow().is_stranger(id) => unencrypted(&line),
                    _ => self.book.borrow_mut().heard(id, from, &line, now),
                };
                let speaks = self.book.borrow().speaks(id);
                let is_entered = matches!(answer, Reaction::TellPeer | Reaction::TellAll);
                if is_entered && speaks == Speaks::Extension {
                    say_alive(connection);
                }
                self.answer(connection, answer);
                self.carry_out_due();
            }
            Event::Close(reason) => {
                tracing::debug!(peer = %connection.peer_addr(), %reason, "peer gone");
                self.connections.borrow_mut().remove(&connection.id());
                let refused = self.book.borrow_mut().strangers.end(connection.id(), &reason);
                if let Some(problem) = refused {
                    self.refused(connection, &problem);
                }
                let answer = self.book.borrow_mut().gone(connection.id());
                self.answer(connection, answer);
                self.carry_out_due();
            }
            Event::Open(()) | Event::Opened | Event::Adopted => {}
        }
        Turn::Done(Ok(()))
    }
}
