//! The address book itself: which peers are connected, and what a line changes. No socket, no clock.

use std::collections::BTreeMap;
use std::time::Duration;

use lineman_wire::link::Secret;
use lineman_wire::link::register::{Error, Line};
use rustc_hash::FxHashMap;
use tokio::time::Instant;

use crate::secret;
use crate::strangers::Strangers;

/// What a peer has shown itself to be.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Role {
    /// It has not said what it is, or shown no key.
    Stranger,
    /// It wants to know the gateways.
    Business(Speaks),
    /// It is a gateway at this address, and in this run of its process if it says so.
    Gateway(String, Option<String>),
}

/// What a business understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaks {
    /// What `GatewayWorker` does.
    Plain,
    /// Epochs, and signs of life.
    Extension,
}

/// What the register does about a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reaction {
    /// Nothing.
    Nothing,
    /// Tell the peer that the register lives.
    SayAlive,
    /// Tell this peer, a business that has come, the gateways.
    TellPeer,
    /// Tell every business the gateways.
    TellAll,
    /// Close without a word; the text is for the log.
    Refuse(String),
    /// Say this, then close.
    RefuseWith(&'static str),
}

/// The line for a peer that speaks another language; it begins as `GatewayWorker`'s does.
const BAD_REQUEST: &str =
    "Bad request for Register service: expected a JSON object with an \"event\" on each line";

/// Returns the period in each part of which strangers are looked at.
pub(super) fn period(silence_limit: Duration) -> Duration {
    silence_limit / 2
}

/// All peers of the register, by their number.
#[derive(Debug)]
pub(super) struct Book {
    secret_key: Secret,
    peers: FxHashMap<u64, Role>,
    pub(super) strangers: Strangers,
    /// The gateways in the order in which they came: that of the list.
    gateways: Vec<u64>,
}

impl Book {
    /// Returns an empty book.
    pub(super) fn new(secret_key: Secret, strangers: Strangers) -> Self {
        let (peers, gateways) = (FxHashMap::default(), Vec::new());
        Self { secret_key, peers, strangers, gateways }
    }

    /// A peer is there; returns those that give way to it.
    pub(super) fn connected(&mut self, peer: u64, now: Instant) -> Vec<u64> {
        self.peers.insert(peer, Role::Stranger);
        self.strangers.come(peer, now)
    }

    pub(super) fn heard(&mut self, peer: u64, line: &str) -> Reaction {
        match Line::parse(line.as_bytes()) {
            Ok(Line::GatewayConnect { address, secret_key, epoch }) => {
                if !secret::is_right(&self.secret_key, &secret_key) {
                    return Reaction::Refuse(format!("gateway {address} has a wrong secret key"));
                }
                self.enter(peer, Role::Gateway(address, epoch));
                Reaction::TellAll
            }
            Ok(Line::WorkerConnect { secret_key, lineman }) => {
                if !secret::is_right(&self.secret_key, &secret_key) {
                    return Reaction::Refuse("business has a wrong secret key".to_owned());
                }
                let extension = lineman >= Some(3);
                let speaks = if extension { Speaks::Extension } else { Speaks::Plain };
                self.enter(peer, Role::Business(speaks));
                Reaction::TellPeer
            }
            Ok(Line::Ping) if self.speaks(peer) == Speaks::Extension => Reaction::SayAlive,
            Ok(Line::Ping) => Reaction::Nothing,
            Err(Error::Malformed) => Reaction::RefuseWith(BAD_REQUEST),
            Err(error) => Reaction::Refuse(error.to_string()),
            Ok(other) => Reaction::Refuse(format!("unexpected {other:?}")),
        }
    }

    pub(super) fn gone(&mut self, peer: u64) -> Reaction {
        self.strangers.leave(peer);
        match self.peers.remove(&peer) {
            Some(Role::Gateway(..)) => {
                self.gateways.retain(|&gateway| gateway != peer);
                Reaction::TellAll
            }
            Some(Role::Stranger | Role::Business(_)) | None => Reaction::Nothing,
        }
    }

    fn enter(&mut self, peer: u64, role: Role) {
        self.strangers.leave(peer);
        self.gateways.retain(|&gateway| gateway != peer);
        if matches!(role, Role::Gateway(..)) {
            self.gateways.push(peer);
        }
        self.peers.insert(peer, role);
    }

    /// Returns what a peer understands.
    pub(super) fn speaks(&self, peer: u64) -> Speaks {
        match self.peers.get(&peer) {
            Some(Role::Business(speaks)) => *speaks,
            Some(Role::Gateway(_, Some(_))) => Speaks::Extension,
            Some(Role::Stranger | Role::Gateway(_, None)) | None => Speaks::Plain,
        }
    }

    /// Returns the line that names all gateways, each address once; with the epoch of the one that came
    /// last, for those that understand it.
    pub(super) fn list(&self, speaks: Speaks) -> String {
        let mut addresses: Vec<String> = Vec::with_capacity(self.gateways.len());
        let mut epochs = BTreeMap::new();
        for gateway in &self.gateways {
            let Some(Role::Gateway(address, epoch)) = self.peers.get(gateway) else { continue };
            if !addresses.contains(address) {
                addresses.push(address.clone());
            }
            if speaks == Speaks::Extension
                && let Some(epoch) = epoch
            {
                epochs.insert(address.clone(), epoch.clone());
            }
        }
        Line::BroadcastAddresses { addresses, epochs }.encode()
    }

    pub(super) fn businesses(&self) -> Vec<u64> {
        let mut peers: Vec<u64> = self
            .peers
            .iter()
            .filter(|(_, role)| matches!(role, Role::Business(_)))
            .map(|(&peer, _)| peer)
            .collect();
        peers.sort_unstable();
        peers
    }

    pub(super) fn gateway_count(&self) -> usize {
        self.gateways.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    fn book(key: &str) -> Book {
        Book::new(Secret::new(key), Strangers::new(8, LIMIT))
    }

    fn gateway(address: &str) -> String {
        format!(r#"{{"event":"gateway_connect","address":"{address}","secret_key":"k"}}"#)
    }

    const BUSINESS: &str = r#"{"event":"worker_connect","secret_key":"k"}"#;
    const PING: &str = r#"{"event":"ping"}"#;

    fn listed(book: &Book) -> String {
        book.list(Speaks::Plain).replace(r#"{"event":"broadcast_addresses","addresses":"#, "")
    }

    #[tokio::test(start_paused = true)]
    async fn businesses_hear_of_gateways_in_the_order_in_which_they_came() {
        let (mut book, now) = (book("k"), Instant::now());
        (1..=5).for_each(|peer| assert!(book.connected(peer, now).is_empty()));
        assert_eq!(book.heard(4, BUSINESS), Reaction::TellPeer);
        assert_eq!(listed(&book), "[]}");
        assert_eq!(book.heard(3, &gateway("1.1.1.1:1")), Reaction::TellAll);
        assert_eq!(book.heard(1, &gateway("2.2.2.2:2")), Reaction::TellAll);
        assert_eq!(book.heard(2, BUSINESS), Reaction::TellPeer);
        assert_eq!(book.heard(5, &gateway("1.1.1.1:1")), Reaction::TellAll);
        assert_eq!(listed(&book), r#"["1.1.1.1:1","2.2.2.2:2"]}"#, "each address once");
        assert_eq!((book.gateway_count(), book.businesses()), (3, vec![2, 4]));
        // One that moves is listed last, and once.
        assert_eq!(book.heard(3, &gateway("3.3.3.3:3")), Reaction::TellAll);
        assert_eq!(listed(&book), r#"["2.2.2.2:2","1.1.1.1:1","3.3.3.3:3"]}"#);
        assert_eq!(book.gateway_count(), 3);
        assert_eq!(book.gone(5), Reaction::TellAll);
        assert_eq!(listed(&book), r#"["2.2.2.2:2","3.3.3.3:3"]}"#);
        assert_eq!((book.gone(4), book.gone(4)), (Reaction::Nothing, Reaction::Nothing));
        assert_eq!((book.gateway_count(), book.businesses()), (2, vec![2]));
    }

    #[tokio::test(start_paused = true)]
    async fn epochs_and_signs_of_life_are_for_those_that_offered_to_understand_them() {
        let (mut book, now) = (book("k"), Instant::now());
        (1..=5).for_each(|peer| assert!(book.connected(peer, now).is_empty()));
        let with = |line: &str, field: &str| line.replace('}', &format!(",{field}}}"));
        let of = |epoch: &str| with(&gateway("1.1.1.1:1"), &format!(r#""epoch":"{epoch}""#));
        assert_eq!(book.heard(1, &with(BUSINESS, r#""lineman":3"#)), Reaction::TellPeer);
        assert_eq!(book.heard(2, &with(BUSINESS, r#""lineman":2"#)), Reaction::TellPeer);
        assert_eq!(book.heard(3, &of("old")), Reaction::TellAll);
        assert_eq!(book.heard(4, &gateway("2.2.2.2:2")), Reaction::TellAll);
        // The machine has restarted, and the register has not noticed the end of its former life.
        assert_eq!(book.heard(5, &of("new")), Reaction::TellAll);
        let plain = r#"["1.1.1.1:1","2.2.2.2:2"]}"#;
        assert_eq!(listed(&book), plain);
        let expected = plain.replace('}', r#","epochs":{"1.1.1.1:1":"new"}}"#);
        assert!(book.list(Speaks::Extension).ends_with(&expected), "{expected}");
        let answers: Vec<_> = (1..=4).map(|peer| book.heard(peer, PING)).collect();
        let (silence, alive) = (Reaction::Nothing, Reaction::SayAlive);
        assert_eq!(answers, [alive.clone(), silence.clone(), alive, silence]);
        assert_eq!(
            (book.gone(3), listed(&book)),
            (Reaction::TellAll, r#"["2.2.2.2:2","1.1.1.1:1"]}"#.to_owned())
        );
    }

    #[tokio::test(start_paused = true)]
    async fn without_the_key_or_with_another_language_no_peer_is_entered() {
        let mut book = book("other");
        book.connected(1, Instant::now());
        for line in [&*gateway("1.1.1.1:1"), BUSINESS] {
            let reaction = book.heard(1, line);
            let Reaction::Refuse(problem) = &reaction else { panic!("{reaction:?}") };
            assert!(problem.ends_with("has a wrong secret key"), "{problem}");
        }
        assert_eq!(book.heard(1, "GET / HTTP/1.1"), Reaction::RefuseWith(BAD_REQUEST));
        let unknown = r#"{"event":"unheard of"}"#;
        assert!(matches!(book.heard(1, unknown), Reaction::Refuse(_)));
        let not_for_us = r#"{"event":"broadcast_addresses","addresses":[]}"#;
        assert!(matches!(book.heard(1, not_for_us), Reaction::Refuse(_)));
        assert_eq!((book.gateway_count(), book.businesses()), (0, vec![]));
        assert_eq!(book.gone(1), Reaction::Nothing);
    }

    fn sweep(book: &mut Book, now: Instant) -> Vec<u64> {
        book.strangers.late(now)
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_say_what_it_is_is_found_and_no_other() {
        let (mut book, begun) = (book("k"), Instant::now());
        (1..=5).for_each(|peer| assert!(book.connected(peer, begun).is_empty()));
        book.connected(6, begun + Duration::from_millis(1));
        assert_eq!(book.heard(1, PING), Reaction::Nothing);
        book.heard(2, BUSINESS);
        book.heard(3, &gateway("1.1.1.1:1"));
        book.gone(4);
        let almost = begun + LIMIT - Duration::from_millis(1);
        assert_eq!(sweep(&mut book, almost), Vec::<u64>::new());
        assert_eq!(sweep(&mut book, begun + LIMIT), [1, 5], "a ping renews nothing");
        assert_eq!(book.heard(2, PING), Reaction::Nothing, "it is a business all the same");
        assert_eq!((book.gateway_count(), book.businesses()), (1, vec![2]));
        assert_eq!(sweep(&mut book, begun + 2 * LIMIT), [1, 5, 6]);
        assert_eq!(period(LIMIT), Duration::from_secs(5));
        (1..=6).for_each(|peer| drop(book.gone(peer)));
        assert!(book.strangers.len() == 0 && book.peers.is_empty());
    }
}
