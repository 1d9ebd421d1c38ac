//! What one client may have under way, in every state of its link.

use lineman_wire::link::{Command, Control, Order};

use super::*;

/// Has a client say as much as it is read; returns how many messages that were.
fn flood(world: &mut World, client: &Rc<Fake>) -> u32 {
    let mut said = 0;
    while !client.paused.get() {
        world.say(client, "more");
        said += 1;
        assert!(said < 40_000, "it is read for ever");
    }
    said
}

fn credit(events: u32) -> Control {
    Control::Credit { connection_id: 1, share: Allowance { events, bytes: 0 } }
}

#[test]
fn a_client_that_floods_is_not_read_and_its_neighbours_are() {
    let mut world = World::new();
    let business = world.business("a:0");
    let (one, two) = (world.client(), world.client());
    // Its two events of before count as well.
    assert_eq!(flood(&mut world, &one), 254);
    assert_eq!((world.gauge("waiting_clients"), world.gauge("share_reached")), (1, 1));
    drop(business.heard());
    world.say(&two, "hello");
    let three = world.client();
    assert_eq!(business.heard().len(), 3);
    assert!(!two.paused.get() && !three.paused.get());
    // Credit of another client, of another link or of none does nothing for it.
    let share = Allowance { events: 128, bytes: 0 };
    world.tell(&business, Control::Credit { connection_id: 2, share });
    world.tell(&business, Control::Credit { connection_id: 99, share });
    let other = world.business("a:1");
    world.tell(&other, credit(128));
    assert!(one.paused.get());
    world.tell(&business, credit(128));
    assert!(!one.paused.get());
    assert_eq!(flood(&mut world, &one), 128);
}

#[test]
fn bytes_count_as_events_do_and_one_long_message_passes() {
    let mut world = World::new();
    world.core.policy.share.bytes = 1000;
    let _business = world.business("a:0");
    let one = world.client();
    world.submit(Input::ClientSaid(one.id, Bytes::from(vec![b'x'; 5000]).into()));
    assert!(one.paused.get());
    let bytes = 5000 + 28 * 3 + 6;
    let share = |bytes| Allowance { events: 3, bytes };
    let business = Rc::clone(world.peers.first().unwrap());
    world.tell(&business, Control::Credit { connection_id: 1, share: share(bytes - 1000) });
    assert!(one.paused.get());
    world.tell(&business, Control::Credit { connection_id: 1, share: share(1000) });
    assert!(!one.paused.get());
}

#[test]
fn a_client_at_its_share_is_not_read_whatever_its_link_does_and_goes_on_with_another() {
    let mut world = World::new();
    let business = world.business("a:0");
    let one = world.client();
    flood(&mut world, &one);
    business.room.set(0);
    world.submit(Input::PeerFull(business.id));
    business.room.set(usize::MAX);
    world.submit(Input::PeerDrained(business.id));
    assert!(one.paused.get(), "the link drains, the client has its share all the same");
    business.room.set(0);
    world.submit(Input::PeerFull(business.id));
    world.tell(&business, credit(256));
    assert!(one.paused.get(), "it has credit, the link is full");
    business.room.set(usize::MAX);
    world.submit(Input::PeerDrained(business.id));
    assert!(!one.paused.get());

    flood(&mut world, &one);
    let next = world.business("a:1");
    world.tell(&business, Control::Drain);
    world.tell(&business, credit(256));
    assert!(one.paused.get(), "it has credit, its business drains");
    world.tell(&business, Control::Release);
    assert!(!one.paused.get());
    assert_eq!(flood(&mut world, &one), 256, "a whole share at the next one");
    world.lose(&next);
    world.lose(&business);
    assert_eq!((world.gauge("waiting_clients"), world.gauge("held_clients")), (0, 1));
    let _third = world.business("a:2");
    assert!(!one.paused.get());
}

#[test]
fn of_a_business_that_reports_nothing_what_has_not_left_counts() {
    for version in [None, Some(1)] {
        let mut world = World::new();
        world.core.policy.share.bytes = 10_000;
        let business = world.link("old:0", version);
        let (one, two) = (world.client(), world.client());
        drop(business.packets());
        for _ in 0..1000 {
            world.say(&one, "leaves at once");
        }
        assert!(!one.paused.get() && world.core.look_after().is_none());
        // The link takes what it is given, and nothing of it leaves.
        while !one.paused.get() {
            business.queued.set(business.queued.get() + 28 + 4);
            world.say(&one, "more");
        }
        assert!((9_000..11_000).contains(&business.queued.get()));
        world.say(&two, "hello");
        assert!(!two.paused.get() && world.core.look_after().is_some());
        business.queued.set(business.queued.get() + 28 + 5);
        world.submit(Input::Look);
        assert!(one.paused.get());
        business.queued.set(28 + 5);
        world.submit(Input::Look);
        assert!(
            !one.paused.get() && world.core.look_after().is_none(),
            "only its neighbour's waits"
        );
    }
}

/// Each input asks for it, so it must not scan the others: 10,000 clients may be at their share.
#[test]
fn only_clients_whose_link_reports_nothing_are_looked_for() {
    let mut world = World::new();
    world.core.policy.share = Allowance { events: 3, bytes: 1000 };
    let reports = world.business("a:0");
    let clients: Vec<_> = (0..100).map(|_| world.client()).collect();
    for client in &clients {
        assert_eq!(flood(&mut world, client), 1);
    }
    assert_eq!(world.core.waiting.len(), 100);
    assert!(world.core.looked_for.is_empty() && world.core.look_after().is_none());
    let silent = world.link("php:0", None);
    silent.queued.set(2000);
    world.tell(&reports, Control::Drain);
    world.tell(&reports, Control::Release);
    for client in &clients[..10] {
        silent.queued.set(silent.queued.get() + 2000);
        world.submit(Input::ClientSaid(client.id, Bytes::from(vec![b'x'; 1900]).into()));
    }
    assert_eq!((world.core.waiting.len(), world.core.looked_for.len()), (10, 10));
    silent.queued.set(0);
    world.submit(Input::Look);
    assert!(world.core.waiting.is_empty() && world.core.looked_for.is_empty());
}

#[test]
fn a_business_in_which_much_waits_gives_each_client_less_and_then_more() {
    let mut world = World::new();
    let (business, other) = (world.business("a:0"), world.business("a:1"));
    let (one, two, three) = (world.client(), world.client(), world.client());
    let share = |events| Control::Share(Allowance { events, bytes: 1 << 20 });
    world.tell(&business, share(16));
    assert_eq!(flood(&mut world, &one), 14);
    assert_eq!(flood(&mut world, &two), 254, "it is the other one's");
    world.tell(&business, share(0));
    assert_eq!(flood(&mut world, &three), 1, "one at least is read");
    world.tell(&other, share(512));
    world.tell(&business, share(16));
    assert!(one.paused.get() && two.paused.get() && !three.paused.get());
    business.room.set(0);
    world.submit(Input::PeerFull(business.id));
    world.tell(&business, share(512));
    assert!(one.paused.get(), "its link is full");
    business.room.set(usize::MAX);
    world.submit(Input::PeerDrained(business.id));
    assert!(!one.paused.get() && two.paused.get());
    assert_eq!(flood(&mut world, &one), 240, "never more than the gateway gives");
    world.tell(&business, Control::Drain);
    world.tell(&business, Control::Release);
    assert_eq!(world.core.waiting.len(), 1, "at another it has a whole share");
}

#[test]
fn a_message_whose_packet_is_too_long_costs_its_client_and_not_the_link() {
    let mut world = World::new();
    let business = world.business("a:0");
    let (one, two) = (world.client(), world.client());
    let session = Bytes::from(vec![b's'; 1000]);
    world.order(&business, Order::SetSession { connection_id: 1, session });
    drop(business.packets());
    let longest = lineman_wire::link::MAX_PACKET - 28 - 1000;
    world.submit(Input::ClientSaid(one.id, Bytes::from(vec![b'x'; longest]).into()));
    assert_eq!((business.heard(), one.close_reason()), (vec![(Command::OnMessage, 1)], None));
    world.submit(Input::ClientSaid(one.id, Bytes::from(vec![b'x'; longest + 1]).into()));
    assert_eq!(one.close_reason(), Some(CloseReason::TooBig));
    assert_eq!(world.gauge("too_long_messages"), 1);
    assert_eq!(business.heard(), [(Command::OnClose, 1)]);
    assert!(business.close_reason().is_none() && two.close_reason().is_none());
}

/// It does not say what it has handled, but what has not left for the kernel it has not.
#[test]
fn of_a_business_in_php_events_that_have_not_left_are_lost_with_it() {
    let mut world = World::new();
    let business = world.link("Bw:0", None);
    let one = world.client();
    (0..2).for_each(|_| world.say(&one, "hello"));
    let length = business.sent.borrow().last().map_or(0, Bytes::len);
    for waiting in 1..=4 {
        // The first of them has left in part.
        business.queued.set(waiting * length - 3);
        world.say(&one, "hello");
    }
    world.lose(&business);
    assert_eq!(world.gauge("lost_events"), 4);
}
