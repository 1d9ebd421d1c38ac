//! Messages to many: in parts, in order, bounded.

use lineman_wire::link::{Audience, Body, Command, Control, Order};
use lineman_wire::php;

use super::*;

const LARGE: usize = 60 * 1024;

fn to_all(length: usize) -> Order {
    Order::SendToAll { audience: Audience::All, message: Body::from("x".repeat(length)) }
}

fn to_one(connection_id: u32, text: &str) -> Order {
    Order::SendToOne { connection_id, message: Body::from(text) }
}

/// A gateway with so many clients, and its business.
fn crowd(clients: u32) -> (World, Rc<Fake>, Vec<Rc<Fake>>) {
    let mut world = World::new();
    let business = world.business("a:0");
    let clients = (0..clients).map(|_| world.client()).collect();
    (world, business, clients)
}

impl Fake {
    fn lengths(&self) -> Vec<usize> {
        self.sent.borrow().iter().map(Bytes::len).collect()
    }
}

#[test]
fn others_are_served_between_the_parts_and_nothing_overtakes() {
    let (mut world, business, clients) = crowd(200);
    world.order(&business, to_all(LARGE));
    let served = |clients: &[Rc<Fake>]| clients.iter().filter(|c| !c.lengths().is_empty()).count();
    assert_eq!((served(&clients), world.core.look_after()), (34, Some(Duration::ZERO)));
    let (first, last, left) = (&clients[0], &clients[199], &clients[198]);
    world.order(&business, to_one(1, "one"));
    world.order(&business, to_one(200, "two"));
    assert_eq!(first.lengths(), [LARGE + 4, 5]);
    assert_eq!(last.lengths(), [LARGE + 4, 5], "it has caught up");
    world.order(&business, to_all(100));
    world.order(
        &business,
        Order::Kick { connection_id: 100, farewell: Body::Value(php::Value::Null) },
    );
    assert_eq!(clients[99].lengths(), [LARGE + 4, 102], "it has what was sent before its end");
    world.leave(left);
    let late = world.client();
    world.lose(&business);
    while world.core.look_after().is_some() {
        world.submit(Input::Look);
    }
    for client in &clients[1..98] {
        assert_eq!(client.lengths(), [LARGE + 4, 102]);
    }
    assert_eq!(first.lengths(), [LARGE + 4, 5, 102]);
    assert_eq!(last.lengths(), [LARGE + 4, 5, 102], "each of them once");
    assert_eq!((late.lengths(), left.lengths()), (vec![], vec![]));
    assert_eq!(world.gauge("waiting_fan_outs"), 0);
}

/// Rooms are fast while anything waits.
#[test]
fn a_turn_takes_as_many_messages_as_it_has_room_for() {
    let (mut world, business, clients) = crowd(400);
    world.order(&business, to_all(LARGE));
    (0..9).for_each(|_| world.order(&business, to_all(100)));
    let mut turns = 0;
    while world.core.look_after().is_some() {
        world.submit(Input::Look);
        turns += 1;
    }
    // The first one takes 34 clients a turn, the others 1,024 together.
    assert_eq!(turns, 400_usize.div_ceil(34) - 1 + 9 * 400 / 1024);
    assert!(clients.iter().all(|client| client.lengths().len() == 10));
}

#[test]
fn of_a_very_long_message_one_client_gets_it_in_a_turn() {
    let (mut world, business, clients) = crowd(5);
    world.order(&business, to_all(9_000_000));
    let served = |clients: &[Rc<Fake>]| clients.iter().filter(|c| !c.lengths().is_empty()).count();
    for turn in 1..=5 {
        assert_eq!(served(&clients), turn);
        world.submit(Input::Look);
    }
    world.order(&business, to_all(1_500_000));
    world.order(&business, to_all(1_500_000));
    assert_eq!(clients[0].lengths().len() + clients[1].lengths().len(), 3);
    world.submit(Input::Closing);
    assert!(clients.iter().all(|client| client.lengths().len() == 3), "before they are closed");
}

#[test]
fn a_business_hears_that_all_is_in_the_queues_of_its_clients_when_it_is() {
    let (mut world, business, clients) = crowd(200);
    let (other, gone) = (world.business("a:1"), world.business("a:2"));
    drop((business.heard(), other.heard()));
    world.order(&business, to_all(LARGE));
    for peer in [&business, &gone, &other] {
        world.tell(peer, Control::Sync);
    }
    world.order(&other, to_all(LARGE));
    world.lose(&gone);
    while clients[199].lengths().is_empty() {
        assert!(business.heard().is_empty());
        world.submit(Input::Look);
    }
    let synced = vec![(Command::Synced, 0)];
    assert_eq!((business.heard(), other.heard()), (synced.clone(), synced.clone()));
    world.submit(Input::Closing);
    world.tell(&business, Control::Sync);
    assert_eq!(business.heard(), synced, "nothing waits");
}

/// It is not read for two reasons.
#[test]
fn a_peer_that_does_not_read_its_answers_is_not_read_when_its_messages_are_done() {
    let (mut world, _business, _clients) = crowd(1100);
    let asks = world.peer_from(([127, 0, 0, 1], 5000).into());
    for full_first in [true, false] {
        if full_first {
            world.submit(Input::PeerFull(asks.id));
        }
        while world.core.unread_peers.is_empty() {
            world.order(&asks, to_all(100));
        }
        if !full_first {
            world.submit(Input::PeerFull(asks.id));
        }
        world.submit(Input::Closing);
        assert!(asks.paused.get() && world.core.unread_peers.is_empty());
        world.submit(Input::PeerDrained(asks.id));
        assert!(!asks.paused.get());
    }
    while world.core.unread_peers.is_empty() {
        world.order(&asks, to_all(100));
    }
    world.submit(Input::PeerFull(asks.id));
    world.submit(Input::PeerDrained(asks.id));
    assert!(asks.paused.get(), "its messages wait");
    world.submit(Input::Closing);
    assert!(!asks.paused.get());
}

#[test]
fn a_client_in_two_groups_gets_it_twice_in_parts_as_well() {
    let (mut world, business, clients) = crowd(50);
    for connection_id in 1..=50 {
        for group in ["a", "b"] {
            world.order(&business, Order::JoinGroup { connection_id, group: group.into() });
        }
    }
    let message = Body::from("x".repeat(LARGE));
    let groups = vec!["a".into(), "b".into()];
    world.order(&business, Order::SendToGroup { groups, exclude: vec![7], message });
    world.order(&business, to_one(50, "y"));
    while world.core.look_after().is_some() {
        world.submit(Input::Look);
    }
    assert_eq!(clients[48].lengths(), [LARGE + 4; 2]);
    assert_eq!(clients[49].lengths(), [LARGE + 4, LARGE + 4, 3]);
    assert!(clients[6].lengths().is_empty());
}

#[test]
fn a_peer_that_sends_to_many_without_end_is_not_read_until_half_is_done() {
    for length in [1_000_000, 100] {
        let (mut world, business, clients) = crowd(1100);
        let mut sent = 0;
        while !business.paused.get() {
            world.order(&business, to_all(length));
            sent += 1;
            assert!(sent <= 65);
        }
        assert_eq!(world.gauge("fan_outs_full"), 1);
        let parts = std::iter::from_fn(|| {
            world.submit(Input::Look);
            business.paused.get().then_some(())
        });
        assert!(parts.count() > 10);
        assert!(world.gauge("waiting_fan_outs") <= sent / 2);
        while world.core.look_after().is_some() {
            world.submit(Input::Look);
        }
        assert_eq!(clients[1099].lengths().len() as u64, sent);
    }
}
