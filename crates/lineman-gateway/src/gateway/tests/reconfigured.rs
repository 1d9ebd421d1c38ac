//! Other settings at a reload: what they mean to the clients and businesses that are there.

use lineman_wire::link::{Command, Control};

use super::*;

impl World {
    /// Puts other settings in force.
    fn reconfigure(&mut self, change: impl FnOnce(&mut Policy<Bytes>)) {
        let mut policy = policy("", websocket_form);
        change(&mut policy);
        self.submit(Input::Reconfigured(Box::new(policy)));
    }
}

fn given(business: &Rc<Fake>) -> usize {
    let heard = business.heard();
    heard
        .iter()
        .filter(|(command, _)| [Command::OnConnect, Command::Adopt].contains(command))
        .count()
}

#[test]
fn clients_that_are_there_go_by_another_router_when_their_business_leaves() {
    let mut world = World::new();
    let first = world.business("b:0");
    for machine in 1..=20 {
        world.client_from(([10, 0, 0, machine], 4000).into(), Bytes::new());
    }
    assert_eq!(given(&first), 20);
    let others = ["b:1", "b:2"].map(|key| world.business(key));
    let moved_by = |world: &mut World, first: &Rc<Fake>| {
        world.lose(first);
        others.each_ref().map(given)
    };
    world.reconfigure(|policy| policy.router = Router::HashOfAddress);
    let by_address = moved_by(&mut world, &first);
    assert_eq!(by_address.iter().sum::<usize>(), 20);
    // New ones of the same addresses have the same business.
    for machine in 1..=20 {
        world.client_from(([10, 0, 0, machine], 4000).into(), Bytes::new());
    }
    assert_eq!(others.each_ref().map(given), by_address);
}

#[test]
fn a_business_that_gets_no_clients_any_more_keeps_those_that_it_has() {
    let mut world = World::new();
    let [old, new] = ["old:0", "new:0"].map(|key| world.business(key));
    let client = world.client();
    assert_eq!((given(&old), given(&new)), (1, 0));
    world.reconfigure(|policy| policy.pinned = vec!["new".to_owned()]);
    world.say(&client, "hello");
    assert_eq!(old.heard().len(), 1);
    let _late = world.client();
    assert_eq!((given(&old), given(&new)), (0, 1));
    world.submit(Input::PeerFull(old.id));
    assert!(client.paused.get());
    world.submit(Input::PeerDrained(old.id));
    assert!(!client.paused.get(), "it is read on");
    world.reconfigure(|policy| policy.pinned = vec!["none".to_owned()]);
    let held = world.client();
    assert_eq!(world.gauge("held_clients"), 1);
    world.reconfigure(|policy| policy.pinned = vec!["old".to_owned()]);
    assert_eq!((given(&old), given(&new), held.paused.get()), (1, 0, false));
}

#[test]
fn a_share_is_another_one_for_businesses_to_come_and_for_those_that_report_nothing() {
    let flood = |world: &mut World| {
        let client = world.client();
        let mut said = 0;
        while !client.paused.get() {
            world.say(&client, "more");
            said += 1;
        }
        said
    };
    let mut world = World::new();
    let early = world.business("a:0");
    world.reconfigure(|policy| policy.share = Allowance { events: 10, bytes: 100_000 });
    // It gives back by what it was told: a smaller share would never be given back.
    assert_eq!(flood(&mut world), 254);
    let events = Allowance { events: 1000, bytes: u32::MAX };
    world.tell(&early, Control::Share(events));
    assert_eq!(flood(&mut world), 254);
    world.lose(&early);
    let _late = world.business("a:1");
    assert_eq!(flood(&mut world), 8);

    let mut world = World::new();
    let _php = world.link("a:0", None);
    world.reconfigure(|policy| policy.share.bytes = 1000);
    let client = world.client();
    world.say(&client, "hello");
    assert!(!client.paused.get());
    world.submit(Input::ClientSaid(client.id, Body::from("x".repeat(1000))));
    assert!(client.paused.get());
}

#[test]
fn heirs_are_told_that_they_are_none_any_more() {
    let mut world = World::new();
    let owner = world.link_from([10, 0, 0, 1], "b:0", Some(3));
    let _client = world.client();
    let heir = world.link_from([10, 0, 0, 2], "b:1", Some(3));
    let told = |world: &mut World| {
        world.now += Duration::from_secs(1);
        world.submit(Input::Sweep);
        heir.heard().iter().filter(|(command, _)| *command == Command::Witness).count()
    };
    assert_eq!(told(&mut world), 1);
    world.reconfigure(|policy| policy.heirs = false);
    assert_eq!(told(&mut world), 1, "to forget them");
    let _more = world.client();
    assert_eq!(told(&mut world), 0);
    world.reconfigure(|_| {});
    assert_eq!(told(&mut world), 1);
    drop(owner);
}
