//! Clients that are ended here: to the cluster they are gone at once, however long their connections take.

use lineman_wire::link::{Audience, Body, MAX_PACKET, Order};

use super::*;
use crate::rounds::Rounds;

impl World {
    /// Has a peer close a client, whose connection is gone later.
    pub(super) fn kick(&mut self, peer: &Rc<Fake>, client: &Rc<Fake>) {
        let connection_id = self.core.clients.id_of(client.id).expect("it is there");
        let kick = Order::Kick { connection_id, farewell: Body::from("bye") };
        self.submit_alone(Input::PeerSaid(peer.id, kick.into()));
    }

    /// A gateway with one client that is bound to a uid and in a group, and its business.
    fn with_one() -> (Self, Rc<Fake>, Rc<Fake>) {
        let mut world = Self::new();
        let business = world.business("a:0");
        let client = world.client();
        world.order(&business, Order::BindUid { connection_id: 1, uid: "ada".into() });
        world.order(&business, Order::JoinGroup { connection_id: 1, group: "lobby".into() });
        drop(business.heard());
        (world, business, client)
    }

    /// Looks that the client is in no table and its end told, once, though its connection is not gone yet.
    fn look_that_gone(mut self, business: &Fake, client: &Rc<Fake>, way: &str) {
        for gauge in ["clients", "uids", "groups"] {
            assert_eq!(self.gauge(gauge), 0, "{way}: {gauge}");
        }
        let ends = |business: &Fake| {
            let heard = business.heard().into_iter();
            heard.filter(|(command, _)| *command == Command::OnClose).collect::<Vec<_>>()
        };
        assert_eq!(ends(business), [(Command::OnClose, 1)], "{way}");
        let sent = client.sent.borrow().len();
        self.order(
            &Rc::clone(&self.peers[0]),
            Order::SendToAll { audience: Audience::All, message: Body::from("into the void") },
        );
        self.say(client, "too late");
        self.submit(Input::ClientWent(client.id));
        assert_eq!((ends(business), client.sent.borrow().len()), (vec![], sent), "{way}");
        self.clients.clear();
    }
}

#[test]
fn a_client_that_is_ended_for_a_peer_look_that_gone_with_that() {
    let kick = |farewell| Order::Kick { connection_id: 1, farewell };
    for (way, order) in [
        ("kick", kick(Body::from("bye"))),
        ("silent kick", kick(Body::empty())),
        ("failed handler", Order::Fail { connection_id: 1 }),
        ("destroyed", Order::Destroy { connection_id: 1 }),
    ] {
        let (mut world, business, client) = World::with_one();
        world.submit_alone(Input::PeerSaid(business.id, order.into()));
        assert!(client.close_reason().is_some(), "{way}");
        world.look_that_gone(&business, &client, way);
    }
}

#[test]
fn a_client_that_reads_too_slowly_look_that_gone_with_the_message_that_it_did_not_take() {
    let to_one = Order::SendToOne { connection_id: 1, message: Body::from("x") };
    let to_all = Order::SendToAll { audience: Audience::All, message: Body::from("x") };
    let kick = Order::Kick { connection_id: 1, farewell: Body::from("bye") };
    for (way, order) in [("message", to_one), ("message to all", to_all), ("farewell", kick)] {
        let (mut world, business, client) = World::with_one();
        client.room.set(0);
        world.submit_alone(Input::PeerSaid(business.id, order.into()));
        assert_eq!(client.close_reason(), Some(CloseReason::SlowPeer), "{way}");
        world.look_that_gone(&business, &client, way);
    }
}

#[test]
fn a_client_that_is_ended_for_a_limit_look_that_gone_with_that() {
    let (mut world, business, client) = World::with_one();
    let long = Bytes::from(vec![b'x'; MAX_PACKET]);
    world.submit_alone(Input::ClientSaid(client.id, long.into()));
    assert_eq!(client.close_reason(), Some(CloseReason::TooBig));
    world.look_that_gone(&business, &client, "too long a message");

    let (mut world, business, client) = World::with_one();
    world.core.policy.heartbeat.interval = Duration::from_secs(50);
    world.core.policy.heartbeat.limit = 1;
    world.core.client_rounds = Rounds::new(Duration::from_secs(25));
    world.core.client_rounds.insert(1);
    (0..32 * 4).for_each(|_| world.submit_alone(Input::Beat));
    assert_eq!(client.close_reason(), Some(CloseReason::HeartbeatTimeout));
    world.look_that_gone(&business, &client, "heartbeat");
}

/// The next business hears of the end, when there is one.
#[test]
fn a_client_that_has_waited_too_long_for_a_business_look_that_gone_with_the_limit() {
    let (mut world, business, client) = World::with_one();
    world.lose(&business);
    world.core.policy.no_business_limit = Duration::from_secs(1);
    world.now += Duration::from_secs(1);
    world.submit_alone(Input::Sweep);
    assert!(matches!(client.close_reason(), Some(CloseReason::Unavailable(_))));
    let next = world.business("a:1");
    world.look_that_gone(&next, &client, "no business");
}

/// It leaves a waiting message behind that others still get.
#[test]
fn what_a_client_is_owed_it_gets_before_its_farewell() {
    let mut world = World::new();
    let business = world.business("a:0");
    let clients: Vec<_> = (0..100).map(|_| world.client()).collect();
    let message = Body::from("x".repeat(60 * 1024));
    world.order(&business, Order::SendToAll { audience: Audience::All, message });
    assert_eq!(clients[90].sent.borrow().len(), 0);
    world.kick(&business, &clients[90]);
    let lengths = |client: &Fake| client.sent.borrow().iter().map(Bytes::len).collect::<Vec<_>>();
    assert_eq!(lengths(&clients[90]), [60 * 1024 + 4, 5]);
    assert_eq!(world.gauge("clients"), 99);
    world.submit(Input::ClientWent(clients[90].id));
    while world.core.look_after().is_some() {
        world.submit(Input::Look);
    }
    assert!(clients.iter().filter(|client| lengths(client).len() == 1).count() == 99);
    assert_eq!(lengths(&clients[90]).len(), 2);
}
