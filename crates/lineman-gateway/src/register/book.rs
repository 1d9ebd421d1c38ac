//! The address book itself: which peers are connected, and what a line changes. No socket, no clock.

mod saved;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use lineman_wire::link::Secret;
use lineman_wire::link::register::{Error, Line};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::rivals::Rivals;
use crate::secret::{self, Objection};
use crate::strangers::Strangers;

/// What a peer has shown itself to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Role {
    /// It has not said what it is, or shown no key.
    Stranger,
    /// It wants to know the gateways.
    Business(Speaks),
    /// It is a gateway at this address.
    Gateway(Announced),
}

/// What a peer understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Speaks {
    /// What `GatewayWorker` does.
    Plain,
    /// Epochs, signs of life, and why it is refused.
    Extension,
}

impl Speaks {
    pub(super) fn of(lineman: Option<u32>) -> Self {
        if lineman >= Some(3) { Self::Extension } else { Self::Plain }
    }
}

/// What a gateway says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Announced {
    /// Where businesses reach it, `IP:PORT`.
    pub(super) address: String,
    /// Which run of it this is, if it is one of ours.
    pub(super) epoch: Option<String>,
    /// Where its connection comes from.
    pub(super) from: Option<SocketAddr>,
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
    /// Close what is not one of the cluster's peers, with this word.
    RefuseWith(&'static str),
    /// The peer is misconfigured: tell the log, and the peer with this line if it understands it, and close.
    Object(String, Option<String>),
    /// Something is odd about a peer that is taken: tell the log, and the peer if it understands.
    Notice(String, Speaks),
    /// Tell a peer that understands this line what the log has already.
    Say(String),
    /// Ask a gateway whether it lives.
    Ask,
    /// Close what does not answer.
    Drop,
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
    /// Gateways that announce the address of another one.
    rivals: Rivals,
    /// What is to be done about other peers than the one that spoke, or went.
    due: Vec<(u64, Reaction)>,
}

impl Book {
    /// Returns an empty book.
    pub(super) fn new(secret_key: Secret, strangers: Strangers) -> Self {
        let (peers, gateways, due) = (FxHashMap::default(), Vec::new(), Vec::new());
        Self { secret_key, peers, strangers, gateways, rivals: Rivals::default(), due }
    }

    /// A peer is there; returns those that give way to it.
    pub(super) fn connected(&mut self, peer: u64, now: Instant) -> Vec<u64> {
        self.peers.insert(peer, Role::Stranger);
        self.strangers.come(peer, now)
    }

    /// A peer that comes from this address has said something.
    pub(super) fn heard(
        &mut self,
        peer: u64,
        from: Option<SocketAddr>,
        line: &str,
        now: Instant,
    ) -> Reaction {
        // Whatever it says, it lives.
        self.refuse_rivals(peer);
        match Line::parse(line.as_bytes()) {
            Ok(Line::GatewayConnect { address, secret_key, lineman, epoch, explicit }) => {
                let speaks = Speaks::of(lineman);
                if let Some(objection) = secret::objection(&self.secret_key, &secret_key) {
                    return object(&format!("gateway {address}"), &objection, speaks);
                }
                if !explicit && let Some(text) = oddity(&address, from) {
                    self.due.push((peer, Reaction::Notice(text, speaks)));
                }
                self.announced(peer, Announced { address, epoch, from }, now)
            }
            Ok(Line::WorkerConnect { secret_key, lineman }) => {
                if let Some(objection) = secret::objection(&self.secret_key, &secret_key) {
                    return object("business", &objection, Speaks::of(lineman));
                }
                self.enter(peer, Role::Business(Speaks::of(lineman)));
                Reaction::TellPeer
            }
            Ok(Line::Ping) if self.speaks(peer) == Speaks::Extension => Reaction::SayAlive,
            Ok(Line::Ping) => Reaction::Nothing,
            Err(Error::Malformed) => Reaction::RefuseWith(BAD_REQUEST),
            Err(error) => Reaction::Refuse(error.to_string()),
            Ok(other) => Reaction::Refuse(format!("unexpected {other:?}")),
        }
    }

    /// A gateway has shown the key. One whose address another one has that may live waits for what that says.
    fn announced(&mut self, peer: u64, announced: Announced, now: Instant) -> Reaction {
        let former = announced.epoch.as_ref().and_then(|epoch| {
            self.gateways.iter().copied().find(|former| match self.peers.get(former) {
                Some(Role::Gateway(known)) if *former != peer => {
                    let is_other = known.epoch.as_ref().is_some_and(|known| known != epoch);
                    is_other && known.address == announced.address
                }
                _ => false,
            })
        });
        let Some(former) = former else {
            self.enter(peer, Role::Gateway(announced));
            return Reaction::TellAll;
        };
        self.strangers.leave(peer);
        self.due.push((former, Reaction::Ask));
        self.rivals.wait(peer, former, announced, now);
        Reaction::Nothing
    }

    /// A gateway lives: those that announce its address are refused, and both are told of each other.
    fn refuse_rivals(&mut self, former: u64) {
        for (peer, Announced { address, from, .. }) in self.rivals.of(former) {
            let Some(Role::Gateway(known)) = self.peers.get(&former) else { continue };
            let (here, there) = (place(from), place(known.from));
            let reason = format!(
                "address {address} is taken: a gateway that lives announces it from {there}, and this one \
                 from {here} (hint: lan_ip and start_port)"
            );
            let line = Line::Refused { reason: reason.clone(), address_taken: true };
            self.due.push((peer, Reaction::Object(reason, Some(line.encode()))));
            let text = format!(
                "a gateway at {here} announced the address {address} of this one, and was refused"
            );
            self.due.push((former, Reaction::Say(Line::Notice { text }.encode())));
        }
    }

    /// Lets a gateway in whose address another one had that is gone; returns whether there was one.
    fn admit_rivals(&mut self, former: u64) -> bool {
        let Some((peer, announced)) = self.rivals.succeed(former) else { return false };
        self.enter(peer, Role::Gateway(announced));
        self.due.push((peer, Reaction::SayAlive));
        if self.rivals.are_waiting_for(peer) {
            self.due.push((peer, Reaction::Ask));
        }
        true
    }

    /// Closes gateways that did not say in time that they live, where another one announces their address.
    pub(super) fn give_up_silent(&mut self, now: Instant) {
        for former in self.rivals.late(now) {
            self.due.push((former, Reaction::Drop));
            if self.admit_rivals(former) {
                self.due.push((former, Reaction::TellAll));
            }
        }
    }

    /// Returns what is to be done about other peers, by their number, in that order.
    pub(super) fn take_due(&mut self) -> Vec<(u64, Reaction)> {
        std::mem::take(&mut self.due)
    }

    pub(super) fn gone(&mut self, peer: u64) -> Reaction {
        self.strangers.leave(peer);
        self.rivals.forget(peer);
        self.admit_rivals(peer);
        match self.peers.remove(&peer) {
            Some(Role::Gateway(_)) => {
                self.gateways.retain(|&gateway| gateway != peer);
                Reaction::TellAll
            }
            Some(Role::Stranger | Role::Business(_)) | None => Reaction::Nothing,
        }
    }

    fn enter(&mut self, peer: u64, role: Role) {
        self.strangers.leave(peer);
        self.gateways.retain(|&gateway| gateway != peer);
        if matches!(role, Role::Gateway(_)) {
            self.gateways.push(peer);
        }
        self.peers.insert(peer, role);
    }

    /// Returns whether a peer has not been taken for a gateway or a business.
    pub(super) fn is_stranger(&self, peer: u64) -> bool {
        matches!(self.peers.get(&peer), None | Some(Role::Stranger))
    }

    /// Returns what a peer understands.
    pub(super) fn speaks(&self, peer: u64) -> Speaks {
        match self.peers.get(&peer) {
            Some(Role::Business(speaks)) => *speaks,
            Some(Role::Gateway(Announced { epoch: Some(_), .. })) => Speaks::Extension,
            Some(Role::Stranger | Role::Gateway(_)) | None => Speaks::Plain,
        }
    }

    /// Returns the line that names all gateways, each address once; with the epoch of the one that came
    /// last, for those that understand it.
    pub(super) fn list(&self, speaks: Speaks) -> String {
        let mut addresses: Vec<String> = Vec::with_capacity(self.gateways.len());
        let mut epochs = BTreeMap::new();
        for gateway in &self.gateways {
            let Some(Role::Gateway(Announced { address, epoch, .. })) = self.peers.get(gateway)
            else {
                continue;
            };
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

pub(super) fn object(what: &str, objection: &Objection, speaks: Speaks) -> Reaction {
    let text = format!("{what}: {objection}");
    let line = Line::Refused { reason: objection.to_peer(), address_taken: false };
    Reaction::Object(text, (speaks == Speaks::Extension).then(|| line.encode()))
}

/// Returns where a peer is, for people. Its port is another one each time it comes.
fn place(address: Option<SocketAddr>) -> String {
    let ip = |address: SocketAddr| address.ip().to_canonical().to_string();
    address.map_or_else(|| "this machine".to_owned(), ip)
}

/// Returns what is odd about a gateway that comes from elsewhere than it says it is. One of this machine may come
/// from any address.
pub(super) fn oddity(announced: &str, from: Option<SocketAddr>) -> Option<String> {
    let announced: SocketAddr = announced.parse().ok()?;
    let from = from?.ip().to_canonical();
    if from == announced.ip() || from.is_loopback() {
        return None;
    }
    let hint = if announced.ip().is_loopback() || announced.ip() == IpAddr::from([0; 4]) {
        "no other machine finds it there (hint: lan_ip)"
    } else {
        "right only if its machine has both (hint: lan_ip; with inner_listen it is meant)"
    };
    Some(format!("gateway announces {announced} and comes from {from}: {hint}"))
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

    /// Has a peer of this machine say something.
    fn say(book: &mut Book, peer: u64, line: &str) -> Reaction {
        let from = Some(SocketAddr::from(([127, 0, 0, 1], 5000)));
        let reaction = book.heard(peer, from, line, Instant::now());
        assert!(book.take_due().is_empty());
        reaction
    }

    fn listed(book: &Book) -> String {
        book.list(Speaks::Plain).replace(r#"{"event":"broadcast_addresses","addresses":"#, "")
    }

    #[tokio::test(start_paused = true)]
    async fn businesses_hear_of_gateways_in_the_order_in_which_they_came() {
        let (mut book, now) = (book("k"), Instant::now());
        (1..=5).for_each(|peer| assert!(book.connected(peer, now).is_empty()));
        assert_eq!(say(&mut book, 4, BUSINESS), Reaction::TellPeer);
        assert_eq!(listed(&book), "[]}");
        assert_eq!(say(&mut book, 3, &gateway("1.1.1.1:1")), Reaction::TellAll);
        assert_eq!(say(&mut book, 1, &gateway("2.2.2.2:2")), Reaction::TellAll);
        assert_eq!(say(&mut book, 2, BUSINESS), Reaction::TellPeer);
        assert_eq!(say(&mut book, 5, &gateway("1.1.1.1:1")), Reaction::TellAll);
        assert_eq!(listed(&book), r#"["1.1.1.1:1","2.2.2.2:2"]}"#, "each address once");
        assert_eq!((book.gateway_count(), book.businesses()), (3, vec![2, 4]));
        // One that moves is listed last, and once.
        assert_eq!(say(&mut book, 3, &gateway("3.3.3.3:3")), Reaction::TellAll);
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
        assert_eq!(say(&mut book, 1, &with(BUSINESS, r#""lineman":3"#)), Reaction::TellPeer);
        assert_eq!(say(&mut book, 2, &with(BUSINESS, r#""lineman":2"#)), Reaction::TellPeer);
        assert_eq!(say(&mut book, 3, &of("old")), Reaction::TellAll);
        assert_eq!(say(&mut book, 4, &gateway("2.2.2.2:2")), Reaction::TellAll);
        // The machine has restarted, and its former life ends when the register asks for it.
        let from = Some(SocketAddr::from(([127, 0, 0, 1], 5000)));
        assert_eq!(book.heard(5, from, &of("new"), now), Reaction::Nothing);
        assert_eq!(book.take_due(), [(3, Reaction::Ask)]);
        let alive = say(&mut book, 1, PING);
        assert_eq!((alive, say(&mut book, 2, PING)), (Reaction::SayAlive, Reaction::Nothing));
        assert_eq!(say(&mut book, 4, PING), Reaction::Nothing);
        assert_eq!(book.gone(3), Reaction::TellAll);
        assert_eq!(book.take_due(), [(5, Reaction::SayAlive)]);
        let plain = r#"["2.2.2.2:2","1.1.1.1:1"]}"#;
        assert_eq!(listed(&book), plain);
        let expected = plain.replace('}', r#","epochs":{"1.1.1.1:1":"new"}}"#);
        assert!(book.list(Speaks::Extension).ends_with(&expected), "{expected}");
        assert_eq!(say(&mut book, 5, PING), Reaction::SayAlive);
    }

    #[tokio::test(start_paused = true)]
    async fn without_the_key_or_with_another_language_no_peer_is_entered() {
        let mut book = book("other");
        book.connected(1, Instant::now());
        let wrong = |what: &str| format!("{what}: wrong secret key");
        let ours = |line: &str| line.replace('}', r#","lineman":3}"#);
        for (line, what) in [(&*gateway("1.1.1.1:1"), "gateway 1.1.1.1:1"), (BUSINESS, "business")]
        {
            assert_eq!(say(&mut book, 1, line), Reaction::Object(wrong(what), None));
            let said = r#"{"event":"refused","reason":"wrong secret key","address_taken":false}"#;
            let object = Reaction::Object(wrong(what), Some(said.to_owned()));
            assert_eq!(say(&mut book, 1, &ours(line)), object, "one of ours is told");
            let older = line.replace('}', r#","lineman":2}"#);
            assert_eq!(say(&mut book, 1, &older), Reaction::Object(wrong(what), None));
        }
        assert_eq!(say(&mut book, 1, "GET / HTTP/1.1"), Reaction::RefuseWith(BAD_REQUEST));
        let unknown = r#"{"event":"unheard of"}"#;
        assert!(matches!(say(&mut book, 1, unknown), Reaction::Refuse(_)));
        let not_for_us = r#"{"event":"broadcast_addresses","addresses":[]}"#;
        assert!(matches!(say(&mut book, 1, not_for_us), Reaction::Refuse(_)));
        assert_eq!((book.gateway_count(), book.businesses()), (0, vec![]));
        assert_eq!(book.gone(1), Reaction::Nothing);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_of_another_cluster_is_refused_with_both_names() {
        let secret = Secret::new("k").in_cluster("chat");
        let mut book = Book::new(secret, Strangers::new(8, LIMIT));
        book.connected(1, Instant::now());
        let business = |name: &str| {
            let secret_key = Secret::new("k").in_cluster(name);
            Line::WorkerConnect { secret_key, lineman: Some(3) }.encode()
        };
        let reaction = say(&mut book, 1, &business("game"));
        let Reaction::Object(text, Some(said)) = reaction else { panic!("{reaction:?}") };
        let problem = r#"wrong cluster: its cluster is "game", and this one's is "chat""#;
        assert_eq!(text, format!("business: {problem}"));
        let told = r#"it belongs to cluster \"chat\", not \"game\""#;
        assert!(said.contains(told) && !said.contains(":k"), "{said}");
        assert_eq!(say(&mut book, 1, &business("chat")), Reaction::TellPeer);
        // One of PHP's has the name in its key.
        book.connected(2, Instant::now());
        let php = BUSINESS.replace("\"k\"", "\"chat:k\"");
        assert_eq!(say(&mut book, 2, &php), Reaction::TellPeer);
    }

    #[tokio::test(start_paused = true)]
    async fn the_log_and_one_of_ours_are_told_what_is_odd_unless_it_is_meant() {
        let mut book = book("");
        let line = |lineman, explicit| {
            let (secret_key, epoch) = (Secret::default(), Some("e".to_owned()));
            let address = "127.0.0.1:4000".to_owned();
            Line::GatewayConnect { address, secret_key, lineman, epoch, explicit }.encode()
        };
        let from = Some(SocketAddr::from(([10, 0, 0, 2], 5000)));
        for (line, expected) in [
            (line(Some(3), false), Some(Speaks::Extension)),
            (line(None, false), Some(Speaks::Plain)),
            (line(Some(3), true), None),
        ] {
            assert_eq!(
                book.heard(1, from, &line, Instant::now()),
                Reaction::TellAll,
                "it is taken"
            );
            let told = book.take_due().into_iter().map(|(peer, reaction)| match reaction {
                Reaction::Notice(_, speaks) => (peer, speaks),
                other => panic!("{other:?}"),
            });
            assert_eq!(
                told.collect::<Vec<_>>(),
                expected.map(|tell| (1, tell)).into_iter().collect::<Vec<_>>()
            );
        }
    }

    fn sweep(book: &mut Book, now: Instant) -> Vec<u64> {
        book.strangers.late(now)
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_say_what_it_is_is_found_and_no_other() {
        let (mut book, begun) = (book("k"), Instant::now());
        (1..=5).for_each(|peer| assert!(book.connected(peer, begun).is_empty()));
        book.connected(6, begun + Duration::from_millis(1));
        assert_eq!(say(&mut book, 1, PING), Reaction::Nothing);
        say(&mut book, 2, BUSINESS);
        say(&mut book, 3, &gateway("1.1.1.1:1"));
        book.gone(4);
        let almost = begun + LIMIT - Duration::from_millis(1);
        assert_eq!(sweep(&mut book, almost), Vec::<u64>::new());
        assert_eq!(sweep(&mut book, begun + LIMIT), [1, 5], "a ping renews nothing");
        assert_eq!(say(&mut book, 2, PING), Reaction::Nothing, "it is a business all the same");
        assert_eq!((book.gateway_count(), book.businesses()), (1, vec![2]));
        assert_eq!(sweep(&mut book, begun + 2 * LIMIT), [1, 5, 6]);
        assert_eq!(period(LIMIT), Duration::from_secs(5));
        (1..=6).for_each(|peer| drop(book.gone(peer)));
        assert!(book.strangers.len() == 0 && book.peers.is_empty());
    }
}
