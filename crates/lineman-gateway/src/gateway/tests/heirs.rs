//! What the heir of a business is told.

use lineman_wire::link::{Control, Event, Note, Order, Says, Witness, Witnessed};

use super::*;

/// Opens the link of a business on that machine, and forgets what it is told first.
fn business(world: &mut World, machine: [u8; 4], key: &str) -> Rc<Fake> {
    let peer = world.peer_from((machine, 5000).into());
    let (worker_key, secret_key) = (key.to_owned(), Secret::default());
    world.tell(&peer, Login::Worker { worker_key, secret_key, lineman: Some(3) });
    peer.heard();
    peer
}

/// Returns a world with a business on one machine, which has one client, and another one elsewhere.
fn owner_and_heir() -> (World, Rc<Fake>, Rc<Fake>) {
    let mut world = World::new();
    let owner = business(&mut world, [10, 0, 0, 1], "b:0");
    let _client = world.client();
    owner.heard();
    let heir = business(&mut world, [10, 0, 0, 2], "b:1");
    (world, owner, heir)
}

/// Passes a second; returns what a business is told of others' clients.
fn witnessed(world: &mut World, heir: &Rc<Fake>) -> Vec<Witness> {
    world.now += Duration::from_secs(1);
    world.submit(Input::Sweep);
    let event = |packet: Packet| match Event::try_from(packet) {
        Ok(Event::Witness(witness)) => Some(witness),
        _ => None,
    };
    heir.packets().into_iter().filter_map(event).collect()
}

fn here(connection_id: u32, session: &'static str) -> Witnessed {
    let ip = Ipv4Addr::LOCALHOST.into();
    Witnessed::Here { connection_id, ip, port: 4000, session: session.into() }
}

fn news(key: &str, anew: bool, clients: Vec<Witnessed>) -> Vec<Witness> {
    vec![Witness { worker_key: key.to_owned(), anew, gateway_port: 27272, clients }]
}

#[test]
fn an_heir_is_told_who_came_with_which_session_and_who_went() {
    let mut world = World::new();
    let owner = business(&mut world, [10, 0, 0, 1], "b:0");
    let (one, _two) = (world.client(), world.client());
    // One of the same machine would die with it.
    let near = business(&mut world, [10, 0, 0, 1], "b:1");
    let heir = business(&mut world, [10, 0, 0, 2], "b:0");
    let both = vec![here(1, ""), here(2, "")];
    assert_eq!(witnessed(&mut world, &heir), news("b:0", true, both));
    assert_eq!(witnessed(&mut world, &heir), [], "nothing has changed");
    world.order(&owner, Order::SetSession { connection_id: 2, session: "a:0:{}".into() });
    world.leave(&one);
    let changes = vec![Witnessed::Gone { connection_id: 1 }, here(2, "a:0:{}")];
    assert_eq!(witnessed(&mut world, &heir), news("b:0", false, changes));
    // It leaves: another one is told everything.
    world.tell(&heir, Control::Drain);
    let now = vec![here(2, "a:0:{}")];
    assert_eq!(witnessed(&mut world, &near), news("b:0", true, now));
}

#[test]
fn an_heir_has_nothing_to_tell_of_clients_that_are_others() {
    let (mut world, owner, heir) = owner_and_heir();
    assert_eq!(witnessed(&mut world, &heir).len(), 1);
    let third = business(&mut world, [10, 0, 0, 3], "b:2");
    world.tell(&owner, Control::Drain);
    world.tell(&owner, Control::Release);
    assert_eq!(witnessed(&mut world, &heir)[..1], news("b:0", true, vec![]));
    let now = vec![here(1, "")];
    assert_eq!(
        witnessed(&mut world, &third),
        news("b:1", true, now),
        "the heir has it, who has one"
    );
}

#[test]
fn one_that_is_full_is_told_later_and_one_of_another_version_never() {
    let mut world = World::new();
    let owner = business(&mut world, [10, 0, 0, 1], "b:0");
    let _client = world.client();
    let old = world.business("old:0");
    old.heard();
    assert_eq!(witnessed(&mut world, &old), []);
    let heir = business(&mut world, [10, 0, 0, 2], "b:1");
    heir.queued.set(2 * 1024 * 1024);
    assert_eq!(witnessed(&mut world, &heir), []);
    heir.queued.set(0);
    assert_eq!(witnessed(&mut world, &heir).len(), 1);
    drop(owner);

    world.core.policy.heirs = false;
    let other = business(&mut world, [10, 0, 0, 4], "b:4");
    world.lose(&heir);
    assert_eq!(witnessed(&mut world, &other), []);
}

#[test]
fn a_note_reaches_the_business_that_it_is_for() {
    let (mut world, owner, heir) = owner_and_heir();
    let note = |key: &str, says| {
        let gateway = "10.0.0.9:4000".parse().unwrap();
        Note { worker_key: key.to_owned(), gateway, says }
    };
    world.tell(&heir, Control::Relay(note("b:0", Says::Whose)));
    world.tell(&heir, Control::Relay(note("b:9", Says::Whose)));
    let heard = |peer: &Rc<Fake>| {
        peer.packets()
            .into_iter()
            .map(|packet| Event::try_from(packet).unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(heard(&owner), [Event::Relay(note("b:1", Says::Whose))]);
    world.tell(&owner, Control::Relay(note("b:1", Says::Mine)));
    assert_eq!(heard(&heir), [Event::Relay(note("b:0", Says::Mine))]);
}

/// It has told the end of a client in the place of the one that has it, and neither was dead.
#[test]
fn a_client_whose_end_an_heir_has_told_is_announced_again() {
    let (mut world, owner, heir) = owner_and_heir();
    world.tell(&owner, Control::Handled(2));
    world.tell(&heir, Control::Kept { clients: vec![], ended: vec![1, 5] });
    assert_eq!(owner.heard(), [(Command::Returned, 1)]);
    assert_eq!(world.gauge("returned_clients"), 1);
}
