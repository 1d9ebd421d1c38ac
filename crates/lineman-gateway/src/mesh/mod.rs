//! The built-in carrier of a cluster: a link from this business to every gateway, and a connection for
//! questions to each that was asked. `business` makes the links and tells it of them.
//!
//! It knows which gateways have clients of a uid or a group, as far as they tell (`directory`), and troubles no
//! others. A name that no gateway is known to have goes to all: it may have been bound a moment ago.

mod directory;
mod query;
mod settle;
mod silence;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::try_join_all;
use lineman::Table;
use lineman::connection::{Connection, SendError};
use lineman::service::LocalFuture;
use lineman_wire::link::{self, Codec, HeldNames, NameKey, Order, Packet, Reply, Secret};

use crate::cluster::{Cluster, encode};
use crate::error::HubError;
use crate::link_tls::SharedSecurity;
use directory::{Directory, Holds};
use query::Queries;
use settle::Settles;

/// The links that are up.
pub(crate) struct Mesh {
    links: RefCell<BTreeMap<SocketAddr, Linked>>,
    /// The gateways that have a link, or should have one.
    known: RefCell<BTreeSet<SocketAddr>>,
    queries: Queries,
    /// The gateways that a register lists and that are not linked.
    unreachable: RefCell<BTreeSet<SocketAddr>>,
    /// How many commands one of them has missed.
    unreachable_sends: Cell<u64>,
}

/// A gateway with a link.
struct Linked {
    link: Connection<Codec>,
    /// The version of the extension that it speaks; 0 for none, and until it has said so.
    version: u32,
    directory: Rc<RefCell<Directory>>,
    settles: Rc<Settles>,
}

impl Mesh {
    /// `answer_limit` is how long a gateway may be silent that owes an answer; zero for ever.
    pub(crate) fn new(
        table: Table,
        secret_key: Secret,
        answer_limit: Duration,
        security: SharedSecurity,
    ) -> Self {
        let queries = Queries::new(table, secret_key, answer_limit, security);
        Self {
            links: RefCell::default(),
            known: RefCell::default(),
            queries,
            unreachable: RefCell::default(),
            unreachable_sends: Cell::new(0),
        }
    }

    /// These gateways have a link, or should have one.
    pub(crate) fn set_known(&self, gateways: impl Iterator<Item = SocketAddr>) {
        self.known.replace(gateways.collect());
    }

    /// These gateways are listed and not linked.
    pub(crate) fn set_unreachable(&self, gateways: BTreeSet<SocketAddr>) {
        self.unreachable.replace(gateways);
    }

    /// This one is listed, and its link is lost.
    pub(crate) fn miss(&self, gateway: SocketAddr) {
        self.unreachable.borrow_mut().insert(gateway);
    }

    /// Returns how many commands a gateway has missed that was listed and not linked, one for each such gateway.
    pub(crate) fn unreachable_sends(&self) -> u64 {
        self.unreachable_sends.get()
    }

    fn count_unreachable(&self, count: usize) {
        self.unreachable_sends.set(self.unreachable_sends.get().saturating_add(count as u64));
    }

    /// A link is up: sends go over it from now on.
    pub(crate) fn add_link(&self, gateway: SocketAddr, link: Connection<Codec>) {
        let (directory, settles) = (Rc::default(), Rc::default());
        let linked = Linked { link, version: 0, directory, settles };
        self.links.borrow_mut().insert(gateway, linked);
        self.unreachable.borrow_mut().remove(&gateway);
    }

    /// The gateway of a link speaks this version of the extension.
    pub(crate) fn on_version(&self, gateway: SocketAddr, version: u32) {
        self.with(gateway, |linked| linked.version = version);
    }

    /// The gateway of a link tells which names it has clients of.
    pub(crate) fn on_entries(&self, gateway: SocketAddr, entries: &HeldNames) {
        self.with(gateway, |linked| linked.directory.borrow_mut().hear(entries));
    }

    /// Every business knows what was bound at that gateway before the question of that number.
    pub(crate) fn on_settled(&self, gateway: SocketAddr, number: u32) {
        self.with(gateway, |linked| linked.settles.answer(number));
    }

    /// Returns how many names the gateways have told that they have clients of; one of two gateways counts twice.
    pub(crate) fn known_names(&self) -> usize {
        self.links.borrow().values().map(|linked| linked.directory.borrow().len()).sum()
    }

    /// A link is lost: what the gateway was asked gets no answer.
    pub(crate) fn remove_link(&self, gateway: SocketAddr) {
        if let Some(linked) = self.links.borrow_mut().remove(&gateway) {
            linked.settles.end();
        }
        self.queries.forget(gateway);
    }

    fn with<T>(&self, gateway: SocketAddr, run: impl FnOnce(&mut Linked) -> T) -> Option<T> {
        self.links.borrow_mut().get_mut(&gateway).map(run)
    }
}

impl Cluster for Mesh {
    fn gateways(&self) -> Vec<SocketAddr> {
        self.links.borrow().keys().copied().collect()
    }

    fn is_reachable(&self, gateway: SocketAddr) -> bool {
        self.links.borrow().contains_key(&gateway)
    }

    fn known(&self) -> Vec<SocketAddr> {
        self.known.borrow().union(&self.links.borrow().keys().copied().collect()).copied().collect()
    }

    fn note_missing(&self) {
        self.count_unreachable(self.unreachable.borrow().len());
    }

    fn has_pages(&self, gateway: SocketAddr) -> bool {
        self.links.borrow().get(&gateway).is_some_and(|linked| linked.version >= 2)
    }

    fn send(&self, gateway: SocketAddr, packet: Bytes) -> Result<(), HubError> {
        // A copy: a full queue runs code that may come back here.
        let found = self.links.borrow().get(&gateway).map(|to| (to.link.clone(), to.version));
        let Some((link, version)) = found else {
            self.count_unreachable(usize::from(self.unreachable.borrow().contains(&gateway)));
            return Err(HubError::Unlinked { gateway });
        };
        // Until a gateway has said that it is of ours, it is told as PHP's is.
        let packet = if version >= link::TYPES { packet } else { Packet::plain(packet) };
        link.send_encoded(packet).map_err(|error| match error {
            SendError::Full => HubError::Full { gateway },
            _ => HubError::Unlinked { gateway },
        })
    }

    fn order(&self, gateway: SocketAddr, order: Order) -> Result<(), HubError> {
        let claim = order.claim();
        self.send(gateway, encode(order)?)?;
        if let Some(key) = claim {
            self.with(gateway, |linked| linked.directory.borrow_mut().claim(key));
        }
        Ok(())
    }

    fn holders(&self, names: &[NameKey]) -> Vec<SocketAddr> {
        let links = self.links.borrow();
        let mut holders = Vec::new();
        let mut known = vec![false; names.len()];
        for (gateway, linked) in &*links {
            let mut concerned = false;
            for (name, known) in names.iter().zip(&mut known) {
                let holds = linked.directory.borrow().holds(*name);
                *known |= holds == Holds::Yes;
                concerned |= holds != Holds::No;
            }
            if concerned {
                holders.push(*gateway);
            }
        }
        if known.iter().all(|known| *known) { holders } else { links.keys().copied().collect() }
    }

    fn settled(&self) -> LocalFuture<Result<(), HubError>> {
        let asked = |(gateway, linked): (&SocketAddr, &Linked)| {
            let claims = linked.directory.borrow().claimed();
            let asked = (*gateway, linked.link.clone(), Rc::clone(&linked.settles), claims);
            (linked.version >= 3).then_some(asked)
        };
        // A copy: a full queue runs code that may come back here.
        let asked: Vec<_> = self.links.borrow().iter().filter_map(asked).collect();
        let ask = |(gateway, link, settles, claims): (_, Connection<_>, Rc<Settles>, _)| {
            settles.ask(gateway, &link, claims).transpose()
        };
        let waits: Result<Vec<_>, HubError> = asked.into_iter().filter_map(ask).collect();
        Box::pin(async move { try_join_all(waits?).await.map(drop) })
    }

    fn ask(&self, gateway: SocketAddr, packet: Bytes) -> LocalFuture<Result<Reply, HubError>> {
        let directory =
            |linked: &mut Linked| (linked.version >= 3).then(|| Rc::clone(&linked.directory));
        let Some(directory) = self.with(gateway, directory) else {
            return Box::pin(async move { Err(HubError::Unlinked { gateway }) });
        };
        let Some(directory) = directory else { return self.queries.ask(gateway, packet) };
        let answer = self.queries.ask(gateway, stamped(&packet));
        Box::pin(async move {
            let source = link::Error::UnexpectedReply { expected: "an answer with its version" };
            let unexpected = HubError::Reply { gateway, source };
            let (version, reply) = answer.await?.into_stamped().ok_or(unexpected)?;
            directory.borrow_mut().expect_version(version);
            Ok(reply)
        })
    }
}

/// Returns a query whose answer says as well how many changes of names there have been.
fn stamped(packet: &Bytes) -> Bytes {
    let packet = Codec::new().decode_packet(&mut BytesMut::from(&**packet));
    let packet = packet.ok().flatten().expect("it was encoded here, and is within the bound");
    packet.stamped().to_bytes()
}
