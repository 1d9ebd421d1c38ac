//! The register's connections: what the book decides is sent here.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use lineman::connection::{CloseReason, Connection, Event, Handler, Turn};
use lineman_wire::link::Secret;
use lineman_wire::text::Text;
use rustc_hash::FxHashMap;
use tokio::time::Instant;

use super::book::{Book, Reaction};

/// Hears all connections of the register.
pub(super) struct Desk {
    book: RefCell<Book>,
    connections: RefCell<FxHashMap<u64, Connection<Text>>>,
}

impl Desk {
    pub(super) fn new(secret_key: Secret, silence_limit: Duration) -> Self {
        let book = RefCell::new(Book::new(secret_key, silence_limit));
        Self { book, connections: RefCell::default() }
    }

    /// Closes peers that have been silent for too long; call it after each part of [`period`].
    pub(super) fn check_silence(&self) {
        let silent = self.book.borrow_mut().too_silent(Instant::now());
        for peer in silent {
            let connection = self.connections.borrow().get(&peer).cloned();
            if let Some(connection) = connection {
                connection.close(CloseReason::HandshakeTimeout);
            }
        }
    }

    pub(super) fn gauges(&self) -> BTreeMap<&'static str, u64> {
        let book = self.book.borrow();
        BTreeMap::from([
            ("gateways", book.gateway_count() as u64),
            ("businesses", book.businesses().len() as u64),
        ])
    }

    fn connected(&self, connection: &Connection<Text>) {
        self.book.borrow_mut().connected(connection.id(), Instant::now());
        self.connections.borrow_mut().insert(connection.id(), connection.clone());
    }

    fn answer(&self, connection: &Connection<Text>, answer: Reaction) {
        match answer {
            Reaction::Nothing => {}
            Reaction::TellPeer => tell(connection, self.list()),
            Reaction::TellAll => self.tell_all(),
            Reaction::Refuse(problem) => {
                tracing::warn!(peer = %connection.peer_addr(), problem, "peer refused");
                connection.close(CloseReason::Protocol { code: 1008, problem });
            }
            Reaction::RefuseWith(text) => {
                tracing::warn!(peer = %connection.peer_addr(), "peer refused: not our protocol");
                if let Err(error) = connection.close_with(text.to_owned()) {
                    tracing::debug!(%error, "refused without a word");
                }
            }
        }
    }

    fn tell_all(&self) {
        let list = self.list();
        let businesses = self.book.borrow().businesses();
        for business in businesses {
            let connection = self.connections.borrow().get(&business).cloned();
            if let Some(connection) = connection {
                tell(&connection, list.clone());
            }
        }
    }

    /// The list in its wire form, so that all businesses share it.
    fn list(&self) -> Bytes {
        let mut line = self.book.borrow().list();
        line.push('\n');
        Bytes::from(line)
    }
}

/// Sends the list; a business that does not read is cut off, and asks again when it comes back.
fn tell(connection: &Connection<Text>, list: Bytes) {
    if let Err(error) = connection.send_encoded(list) {
        tracing::warn!(peer = %connection.peer_addr(), %error, "business not told");
        connection.close(CloseReason::SlowPeer);
    }
}

impl Handler<Text> for Desk {
    fn on_event(&self, connection: &Connection<Text>, event: Event<Text>) -> Turn {
        match event {
            Event::Connect => self.connected(connection),
            Event::Message(line) => {
                let answer = self.book.borrow_mut().heard(connection.id(), &line);
                self.answer(connection, answer);
            }
            Event::Close(reason) => {
                tracing::debug!(peer = %connection.peer_addr(), %reason, "peer gone");
                self.connections.borrow_mut().remove(&connection.id());
                let answer = self.book.borrow_mut().gone(connection.id());
                self.answer(connection, answer);
            }
            Event::Open(()) | Event::Opened => {}
        }
        Turn::Done(Ok(()))
    }
}
