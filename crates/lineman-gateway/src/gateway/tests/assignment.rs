//! Which business hears of which client, and what happens when one goes.

use lineman_wire::link::{Body, Command, Control, Order};

use super::*;

const NEWS: [Command; 2] = [Command::OnConnect, Command::OnWebSocketConnect];

fn news(id: u32) -> Vec<(Command, u32)> {
    NEWS.map(|command| (command, id)).to_vec()
}

#[test]
fn clients_go_to_the_business_with_the_least_and_stay() {
    let mut world = World::new();
    let (first, second) = (world.business("a:0"), world.business("a:1"));
    assert_eq!(
        (first.heard(), second.heard()),
        (vec![(Command::Hello, 0)], vec![(Command::Hello, 0)])
    );
    let one = world.client();
    let two = world.client();
    assert_eq!((first.heard(), second.heard()), (news(1), news(2)));
    world.leave(&one);
    world.say(&two, "still with the second");
    let three = world.client();
    world.say(&three, "hello");
    assert_eq!(second.heard(), [(Command::OnMessage, 2)]);
    let expected = [vec![(Command::OnClose, 1)], news(3), vec![(Command::OnMessage, 3)]].concat();
    assert_eq!(first.heard(), expected);
}

#[test]
fn without_a_business_clients_wait_unread_in_order() {
    let mut world = World::new();
    let (one, two) = (world.client(), world.client());
    assert!(one.paused.get() && two.paused.get());
    assert_eq!(world.gauge("held_clients"), 2);
    let business = world.link("php:0", None);
    assert_eq!(business.heard(), [news(1), news(2)].concat());
    assert!(!one.paused.get() && !two.paused.get());
    assert_eq!(world.gauge("held_clients"), 0);
}

#[test]
fn a_client_that_no_business_heard_of_goes_silently() {
    let mut world = World::new();
    let one = world.client();
    world.leave(&one);
    assert_eq!(world.business("a:0").heard(), [(Command::Hello, 0)]);
    assert_eq!(world.gauge("clients"), 0);
}

#[test]
fn a_client_that_waits_too_long_is_told_that_no_business_serves() {
    let mut world = World::new();
    let one = world.client();
    world.now += Duration::from_secs(29);
    world.submit(Input::Sweep);
    assert_eq!(one.close_reason(), None);
    world.now += Duration::from_secs(1);
    world.submit(Input::Sweep);
    assert!(matches!(one.close_reason(), Some(CloseReason::Unavailable(_))));
    assert_eq!((world.gauge("clients"), world.gauge("held_clients")), (0, 0));
}

#[test]
fn a_lost_business_leaves_its_clients_to_the_others() {
    let mut world = World::new();
    let first = world.business("a:0");
    let one = world.client();
    world.order(&first, Order::SetSession { connection_id: 1, session: "a:0:{}".into() });
    let (second, php) = (world.business("a:1"), world.link("php:0", None));
    let (_two, _three) = (world.client(), world.client());
    world.say(&one, "lost");
    world.tell(&first, Control::Handled(2));
    drop((first.heard(), second.heard(), php.heard()));
    world.lose(&first);
    assert_eq!(world.gauge("lost_events"), 1);
    let adopted = second.packets();
    assert_eq!(adopted.len(), 1);
    assert_eq!((adopted[0].command, adopted[0].connection_id), (Command::Adopt, 1));
    assert_eq!(adopted[0].ext, "a:0:{}");
    // A PHP business learns of a client by its next event.
    world.lose(&second);
    assert_eq!(php.heard(), []);
    world.say(&one, "hello");
    assert_eq!(php.heard(), [(Command::OnMessage, 1)]);
}

#[test]
fn the_last_business_lost_means_waiting_for_the_next() {
    let mut world = World::new();
    let first = world.business("a:0");
    let (one, two) = (world.client(), world.client());
    world.lose(&first);
    assert!(one.paused.get() && one.close_reason().is_none());
    world.leave(&two);
    let second = world.business("a:0");
    let expected =
        [(Command::Hello, 0), (Command::Adopt, 1), (Command::Adopt, 2), (Command::OnClose, 2)];
    assert_eq!(second.heard(), expected);
    assert!(!one.paused.get());
}

#[test]
fn a_business_that_drains_hands_its_clients_on() {
    let mut world = World::new();
    let old = world.business("a:0:1");
    let (one, two) = (world.client(), world.client());
    let new = world.business("a:0:2");
    drop((old.heard(), new.heard()));
    world.tell(&old, Control::Drain);
    world.tell(&old, Control::Drain);
    assert_eq!(old.heard(), [(Command::Fence, 0)]);
    assert!(one.paused.get() && two.paused.get());
    world.leave(&two);
    let _three = world.client();
    assert_eq!(new.heard(), news(3));
    // It still speaks.
    world.order(&old, Order::SendToOne { connection_id: 1, message: Body::from("bye") });
    assert_eq!(one.sent.borrow().len(), 1);
    world.tell(&old, Control::Sync);
    assert_eq!(old.heard(), [(Command::Synced, 0)]);
    assert_eq!(new.heard(), []);
    world.tell(&old, Control::Release);
    let expected = [(Command::Adopt, 1), (Command::Adopt, 2), (Command::OnClose, 2)];
    assert_eq!(new.heard(), expected);
    assert!(!one.paused.get());
    world.lose(&old);
    assert_eq!((new.heard(), old.heard()), (vec![], vec![]));
}

#[test]
fn a_business_that_dies_while_it_drains_is_as_good_as_released() {
    let mut world = World::new();
    let old = world.business("a:0:1");
    let one = world.client();
    let new = world.business("a:0:2");
    drop(new.heard());
    world.tell(&old, Control::Drain);
    world.lose(&old);
    assert_eq!(new.heard(), [(Command::Adopt, 1)]);
    assert!(!one.paused.get());
}

#[test]
fn two_businesses_of_one_key_are_one_and_its_successor() {
    let mut world = World::new();
    let old = world.link("Bw:0", None);
    let one = world.client();
    let new = world.link("Bw:0", None);
    assert_eq!(old.close_reason(), Some(CloseReason::Local));
    world.lose(&old);
    world.say(&one, "hello");
    assert_eq!(new.heard(), [(Command::OnMessage, 1)]);
    assert_eq!(world.gauge("links"), 1);
}

#[test]
fn php_businesses_cannot_use_the_extension() {
    let mut world = World::new();
    let php = world.link("php:0", None);
    world.tell(&php, Control::Drain);
    world.tell(&php, Control::Sync);
    assert_eq!(php.heard(), []);
    let _one = world.client();
    assert_eq!(php.heard(), news(1));
}

/// A gateway on 10.0.0.1 with one business there and one on another machine, the first linked last.
fn near_and_far(prefer: Prefer) -> (World, Rc<Fake>, Rc<Fake>) {
    let mut world = World::new();
    world.core.identity.lan_ip = Ipv4Addr::new(10, 0, 0, 1);
    world.core.policy.prefer = prefer;
    let far = world.link_from([10, 0, 0, 2], "a:0", Some(2));
    let near = world.link_from([10, 0, 0, 1], "a:0", Some(2));
    drop((near.heard(), far.heard()));
    (world, near, far)
}

#[test]
fn a_client_goes_to_a_business_of_its_own_machine() {
    let (mut world, near, far) = near_and_far(Prefer::SameMachine);
    (0..5).for_each(|_| drop(world.client()));
    assert_eq!((near.heard().len(), far.heard().len()), (10, 0));
    // One on the loopback is as near, and has no clients yet.
    let loopback = world.link("b:0", Some(2));
    drop((world.client(), loopback.packets().remove(1)));
    world.lose(&near);
    world.lose(&loopback);
    drop(far.heard());
    drop(world.client());
    assert_eq!(far.heard(), news(7));
    // Those that are there stay there.
    let near = world.link_from([10, 0, 0, 1], "a:0", Some(2));
    drop(world.client());
    assert_eq!((near.heard().len(), far.heard().len()), (3, 0));
}

#[test]
fn where_no_business_is_preferred_the_one_with_the_least_gets_the_client() {
    let (mut world, near, far) = near_and_far(Prefer::Any);
    (0..4).for_each(|_| drop(world.client()));
    assert_eq!((near.heard().len(), far.heard().len()), (4, 4));
}

#[test]
fn a_business_far_away_is_chosen_where_those_near_are_far_behind() {
    let (mut world, near, far) = near_and_far(Prefer::SameMachine);
    let one = world.client();
    assert_eq!(near.heard(), news(1));
    world.now += Duration::from_millis(255);
    drop(world.client());
    assert_eq!(near.heard(), news(2), "it has handled nothing for less than 256 ms");
    world.now += Duration::from_millis(1);
    drop(world.client());
    assert_eq!((near.heard(), far.heard()), (vec![], news(3)));

    // By the number of events: 256, while the other has less than 64.
    world.tell(&near, Control::Handled(4));
    world.tell(&far, Control::Handled(2));
    for _ in 0..255 {
        world.say(&one, "text");
    }
    drop((near.heard(), world.client()));
    assert_eq!(far.heard(), []);
    assert_eq!(near.heard(), news(4), "257 events are under way now");
    drop(world.client());
    assert_eq!((near.heard(), far.heard()), (vec![], news(5)));

    // Where both are behind it is the near one again.
    world.now += Duration::from_secs(1);
    world.tell(&near, Control::Handled(261));
    world.say(&one, "text");
    drop(near.heard());
    drop(world.client());
    assert_eq!(near.heard(), news(6));
}

#[test]
fn a_business_far_away_is_chosen_where_those_near_are_stalled_or_full() {
    let (mut world, near, far) = near_and_far(Prefer::SameMachine);
    drop(world.client());
    world.submit(Input::PeerFull(near.id));
    drop((near.heard(), world.client()));
    assert_eq!((near.heard(), far.heard()), (vec![], news(2)));
    world.submit(Input::PeerDrained(near.id));
    world.tell(&near, Control::Handled(2));
    drop(world.client());
    assert_eq!(near.heard(), news(3));
}
