//! What is for a name goes to the gateways that have clients of it, and not one packet to the others.

use lineman_wire::link::{Change, Extent, HeldNames, NameKey};

use super::*;
use crate::HubError;

fn told(stage: Extent, claims: u32, changes: &[(NameKey, bool)]) -> link::Event {
    let changes = changes.iter().map(|(key, held)| Change { key: *key, held: *held });
    link::Event::HeldNames(HeldNames::new(stage, claims, 0, changes))
}

fn uid(name: &str) -> NameKey {
    NameKey::of_uid(name.as_bytes())
}

fn group(name: &str) -> NameKey {
    NameKey::of_group(name.as_bytes())
}

/// A business with three gateways that tell what they have, and one of PHP's.
struct Linked {
    cluster: Cluster,
    gateways: Vec<(Rc<Fake>, SocketAddr)>,
    /// How many packets each had got when a test looked last.
    fences: Cell<u32>,
}

impl Linked {
    async fn new(cluster: Cluster) -> Self {
        let table = &cluster.core.table;
        let gateway = |epoch| Fake::listen(table, "127.0.0.1:0", epoch);
        let gateways = [Some("e1"), Some("e2"), Some("e3"), None].map(gateway).to_vec();
        let addresses: Vec<_> = gateways.iter().map(|(_, address)| address.to_string()).collect();
        cluster.core.on_addresses(0, &addresses);
        cluster.core.linked().await;
        for (gateway, _) in &gateways {
            gateway.log.until("WorkerConnect").await;
        }
        let linked = Self { cluster, gateways, fences: Cell::new(0) };
        for (gateway, address) in &linked.gateways[..3] {
            linked.fence(*address, gateway).await;
        }
        linked
    }

    /// Has a gateway tell something, and the business hear it.
    async fn tell(&self, number: usize, event: link::Event) {
        let (gateway, address) = &self.gateways[number];
        gateway.send(event);
        self.fence(*address, gateway).await;
    }

    /// Waits until the business has read what the gateway sent.
    async fn fence(&self, address: SocketAddr, gateway: &Fake) {
        let number = self.fences.get() + 1;
        self.fences.set(number);
        gateway.send(link::Event::Settle(number));
        gateway.log.until(&format!("Settled {number} ")).await;
        assert!(self.cluster.core.hub.is_linked(address));
    }

    fn hub(&self) -> &Hub {
        &self.cluster.core.hub
    }

    fn client(&self, gateway: usize, number: u32) -> ClientId {
        ClientId::new(Ipv4Addr::LOCALHOST, self.gateways[gateway].1.port(), number)
    }

    /// Returns how many packets each gateway has got that are not about this.
    async fn packets(&self) -> Vec<usize> {
        self.hub().send_to_all("fence").unwrap();
        let mut counts = Vec::new();
        for (gateway, _) in &self.gateways {
            counts.push(gateway.log.until("SendToAll 0 fence").await.len() - 1);
        }
        counts
    }
}

/// In a cluster whose first gateway is unlisted at once, and keeps its link.
fn with_four(test: impl AsyncFnOnce(Linked)) {
    run(None, async move |cluster| test(Linked::new(cluster).await).await);
}

#[test]
fn a_send_costs_packets_to_the_owners_alone() {
    with_four(async |linked| {
        let hub = linked.hub();
        linked.tell(0, told(Extent::Whole, 0, &[(uid("ada"), true), (group("lobby"), true)])).await;
        linked.tell(1, told(Extent::Whole, 0, &[(group("lobby"), true), (uid("bob"), true)])).await;
        hub.send_to_uid("ada", "text").unwrap();
        assert_eq!(linked.packets().await, [1, 0, 1, 1], "the third has told nothing yet");
        linked.tell(2, told(Extent::Whole, 0, &[])).await;
        hub.send_to_uid("ada", "text").unwrap();
        assert_eq!(linked.packets().await, [1, 0, 0, 1], "the fourth is PHP's");
        hub.send_to_group("lobby", "text").unwrap();
        hub.send_to_group_except("lobby", "text", &[linked.client(2, 1)]).unwrap();
        assert_eq!(linked.packets().await, [2, 2, 0, 2]);
        hub.send_to_uids(&["ada", "bob"], "text").unwrap();
        hub.ungroup("lobby").unwrap();
        assert_eq!(linked.packets().await, [2, 2, 0, 2]);
        // A group is no uid, and a name that no gateway is known to have may be anywhere.
        hub.send_to_uid("lobby", "text").unwrap();
        hub.send_to_uids(&["ada", "eve"], "text").unwrap();
        assert_eq!(linked.packets().await, [2, 2, 2, 2]);
        linked.tell(0, told(Extent::Go, 0, &[(uid("ada"), false)])).await;
        linked.tell(2, told(Extent::Go, 0, &[(uid("ada"), true)])).await;
        hub.send_to_uid("ada", "text").unwrap();
        assert_eq!(linked.packets().await, [0, 0, 1, 1]);
    });
}

#[test]
fn what_this_process_has_bound_is_reached_at_once() {
    with_four(async |linked| {
        let hub = linked.hub();
        linked.tell(0, told(Extent::Whole, 0, &[(uid("ada"), true), (group("lobby"), true)])).await;
        linked.tell(1, told(Extent::Whole, 0, &[])).await;
        linked.tell(2, told(Extent::Whole, 0, &[])).await;
        hub.bind_uid(linked.client(1, 1), "ada").unwrap();
        hub.join(linked.client(2, 1), "lobby").unwrap();
        hub.send_to_uid("ada", "text").unwrap();
        hub.send_to_group("lobby", "text").unwrap();
        assert_eq!(linked.packets().await, [2, 2, 2, 2]);
        // The client of the first was gone.
        linked.tell(1, told(Extent::Go, 1, &[])).await;
        linked.tell(2, told(Extent::Go, 1, &[(group("lobby"), true)])).await;
        hub.send_to_uid("ada", "text").unwrap();
        hub.send_to_group("lobby", "text").unwrap();
        assert_eq!(linked.packets().await, [2, 0, 1, 2]);
    });
}

#[test]
fn a_gateway_that_is_back_has_everything_until_it_has_told_all() {
    with_four(async |linked| {
        let hub = linked.hub();
        for number in 0..3 {
            linked.tell(number, told(Extent::Whole, 0, &[(uid(&number.to_string()), true)])).await;
        }
        hub.send_to_uid(1, "text").unwrap();
        assert_eq!(linked.packets().await, [0, 1, 0, 1]);
        let (gateway, address) = &linked.gateways[0];
        gateway.link.take().unwrap().abort();
        gateway.log.until("WorkerConnect").await;
        linked.fence(*address, gateway).await;
        hub.send_to_uid(1, "text").unwrap();
        assert_eq!(linked.packets().await, [1, 1, 0, 1]);
        linked.tell(0, told(Extent::Go, 0, &[(uid("5"), true)])).await;
        hub.send_to_uid(1, "text").unwrap();
        assert_eq!(linked.packets().await, [1, 1, 0, 1]);
        linked.tell(0, told(Extent::Whole, 0, &[])).await;
        hub.send_to_uid(1, "text").unwrap();
        hub.send_to_uid(5, "text").unwrap();
        assert_eq!(linked.packets().await, [1, 1, 0, 2]);
        // One that was too full to be told forgets.
        linked.tell(2, told(Extent::Begin, 0, &[])).await;
        hub.send_to_uid(1, "text").unwrap();
        assert_eq!(linked.packets().await, [0, 1, 1, 1]);
    });
}

#[test]
fn questions_about_a_name_go_to_its_owners() {
    with_four(async |linked| {
        let hub = linked.hub();
        for number in 0..3 {
            linked
                .tell(number, told(Extent::Whole, 0, &[(group(&number.to_string()), true)]))
                .await;
        }
        // Each answers 1: its owner, the one of PHP's, and the one that the cluster began with, another of PHP's.
        assert_eq!(hub.client_count_in_group(2).await.unwrap().value, 3);
        assert_eq!(hub.client_count_in_group(9).await.unwrap().value, 5);
        assert_eq!(hub.client_count().await.unwrap().value, 5);
    });
}

#[test]
fn what_an_answer_may_have_shown_is_reached() {
    with_four(async |linked| {
        let hub = linked.hub();
        for (number, name) in ["ada", "bob", "eve"].iter().enumerate() {
            linked.tell(number, told(Extent::Whole, 0, &[(uid(name), true)])).await;
        }
        linked.gateways[1].0.changes.set(2);
        assert_eq!(hub.client_count().await.unwrap().value, 5);
        hub.send_to_uid("ada", "text").unwrap();
        assert_eq!(linked.packets().await, [3, 3, 2, 3], "each was shown the key and asked, too");
        let changes = [(uid("ada"), true)].map(|(key, held)| Change { key, held });
        let told = HeldNames::new(Extent::Go, 0, 2, changes.into_iter());
        linked.tell(1, link::Event::HeldNames(told)).await;
        hub.send_to_uid("ada", "text").unwrap();
        hub.send_to_uid("eve", "text").unwrap();
        assert_eq!(linked.packets().await, [1, 1, 1, 2]);
    });
}

#[test]
fn names_are_settled_when_their_gateways_say_so() {
    with_four(async |linked| {
        let core = Rc::clone(&linked.cluster.core);
        linked.hub().settled().await.expect("there is nothing to wait for");
        linked.hub().bind_uid(linked.client(0, 1), "ada").unwrap();
        linked.hub().join(linked.client(1, 1), "lobby").unwrap();
        linked.hub().join(linked.client(3, 1), "lobby").unwrap();
        let settled =
            |core: Rc<Core<App>>| tokio::task::spawn_local(async move { core.hub.settled().await });
        let (first, again) = (settled(Rc::clone(&core)), settled(Rc::clone(&core)));
        let heard = linked.gateways[0].0.log.until("Settle 1").await;
        assert_eq!(heard, ["BindUid 1 ada", "Settle 1 "]);
        linked.gateways[1].0.log.until("Settle 1").await;
        linked.tell(0, link::Event::Settled(1)).await;
        linked.tell(1, link::Event::Settled(2)).await;
        assert!(!first.is_finished(), "the second has answered what was not asked");
        linked.tell(1, link::Event::Settled(1)).await;
        first.await.unwrap().unwrap();
        again.await.unwrap().unwrap();
        assert_eq!(linked.packets().await, [0, 0, 0, 1]);
        linked.hub().settled().await.expect("there is nothing new");

        linked.hub().join(linked.client(0, 1), "attic").unwrap();
        let lost = settled(core);
        linked.gateways[0].0.log.until("Settle 2").await;
        linked.gateways[0].0.link.take().unwrap().abort();
        let error = lost.await.unwrap().unwrap_err();
        assert!(matches!(error, HubError::Unlinked { gateway } if gateway == linked.gateways[0].1));
    });
}
