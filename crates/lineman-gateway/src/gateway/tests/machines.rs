//! Machines that do not answer, and what becomes of the clients and events of their businesses.

use lineman_wire::link::{Command, Control};

use super::*;

impl World {
    /// Lets time pass, with a look at the machines four times a second.
    pub(super) fn wait(&mut self, milliseconds: u64) {
        for _ in 0..milliseconds / 250 {
            self.now += Duration::from_millis(250);
            self.submit(Input::LookForMachines);
        }
    }

    /// The machine of a business loses its power; it was asked at once.
    pub(super) fn kill(&mut self, business: &Rc<Fake>) {
        business.dead.set(Some(self.now));
        self.submit(Input::LookForMachines);
    }
}

#[test]
fn a_machine_in_doubt_gets_nothing_more_and_what_waits_when_it_answers() {
    let mut world = World::new();
    let (dead, lives) = (world.business("a:0"), world.business("a:1"));
    let (one, two) = (world.client(), world.client());
    drop((dead.heard(), lives.heard()));
    world.kill(&dead);
    world.wait(750);
    world.say(&one, "sent");
    assert_eq!((dead.heard().len(), world.gauge("links_in_doubt")), (1, 0));
    world.wait(250);
    assert_eq!(world.gauge("links_in_doubt"), 1);
    assert!(one.paused.get() && !two.paused.get());
    world.say(&one, "was read before");
    let (_three, four) = (world.client(), world.client());
    assert_eq!((dead.heard().len(), lives.heard().len()), (0, 4), "both are the other's");
    world.leave(&four);
    dead.dead.set(None);
    world.wait(250);
    assert_eq!(dead.heard(), [(Command::OnMessage, 1)]);
    assert!(!one.paused.get());
    assert_eq!((world.gauge("links_in_doubt"), world.gauge("unreachable_links")), (0, 0));
}

#[test]
fn the_clients_of_a_dead_machine_move_with_what_it_was_not_sent() {
    for (other, adopts) in [(Some(2), true), (None, false)] {
        let mut world = World::new();
        let dead = world.business("a:0");
        let (one, two) = (world.client(), world.client());
        world.tell(&dead, Control::Handled(4));
        let lives = world.link("b:0", other);
        drop((dead.heard(), lives.heard()));
        world.kill(&dead);
        world.say(&one, "sent, perhaps begun");
        world.wait(1000);
        world.say(&one, "not sent");
        world.leave(&two);
        assert_eq!(lives.heard(), []);
        world.wait(12_500);
        assert_eq!(dead.close_reason(), Some(CloseReason::Local));
        let adopt = |id| adopts.then_some((Command::Adopt, id));
        let moved = adopt(1).into_iter().chain([(Command::OnMessage, 1)]);
        let ended = adopt(2).into_iter().chain([(Command::OnClose, 2)]);
        assert_eq!(lives.heard(), moved.chain(ended).collect::<Vec<_>>());
        assert_eq!((world.gauge("lost_events"), world.gauge("unreachable_links")), (1, 1));
        assert!(!one.paused.get());
        world.say(&one, "goes on");
        assert_eq!(lives.heard(), [(Command::OnMessage, 1)]);
    }
}

#[test]
fn what_was_not_sent_waits_with_its_client_for_a_business() {
    let mut world = World::new();
    let dead = world.business("a:0");
    let (one, two) = (world.client(), world.client());
    world.kill(&dead);
    world.wait(1000);
    world.say(&one, "not sent");
    let three = world.client();
    assert_eq!(world.gauge("held_clients"), 1, "fresh ones wait for a machine that answers");
    world.wait(14_000);
    assert_eq!(world.gauge("held_clients"), 3);
    world.leave(&one);
    world.leave(&three);
    world.tell(&dead, Control::Handled(4));
    let lives = world.business("b:0");
    let expected = [
        (Command::Hello, 0),
        (Command::Adopt, 2),
        (Command::Adopt, 1),
        (Command::OnMessage, 1),
        (Command::OnClose, 1),
    ];
    assert_eq!(lives.heard(), expected);
    assert!(!two.paused.get());
}

#[test]
fn a_fresh_client_that_only_a_dead_machine_had_is_as_new() {
    let mut world = World::new();
    let dead = world.business("a:0");
    dead.room.set(0);
    world.kill(&dead);
    let one = world.client();
    world.say(&one, "hello");
    let two = world.client();
    world.say(&two, "nobody will hear this");
    world.leave(&two);
    world.wait(14_000);
    let lives = world.business("b:0");
    let expected = [Command::OnConnect, Command::OnWebSocketConnect, Command::OnMessage];
    let expected = expected.map(|command| (command, 1));
    assert_eq!(lives.heard()[1..], expected);
    assert_eq!(world.gauge("lost_events"), 1);
}

#[test]
fn a_session_that_changed_meanwhile_goes_along() {
    let mut world = World::new();
    let dead = world.business("a:0");
    let (one, session) = (world.client(), Bytes::from_static(b"a:0:{}"));
    dead.room.set(0);
    world.say(&one, "not sent");
    let order = Order::SetSession { connection_id: 1, session: session.clone() };
    world.order(&dead, order);
    let lives = world.business("a:1");
    world.lose(&dead);
    let packets = lives.packets();
    let sessions: Vec<_> =
        packets[1..].iter().map(|packet| (packet.command, &packet.ext)).collect();
    assert_eq!(sessions, [(Command::Adopt, &session), (Command::OnMessage, &session)]);
}

#[test]
fn a_business_that_drains_or_is_full_or_stalled_is_given_up_as_any_other() {
    for state in 0..4 {
        let mut world = World::new();
        let (dead, lives) = (world.business("a:0"), world.business("a:1"));
        let one = world.client();
        drop((dead.heard(), lives.heard()));
        match state {
            0 => world.tell(&dead, Control::Drain),
            1 => world.submit(Input::PeerFull(dead.id)),
            2 => {
                world.now += Duration::from_secs(2);
                world.submit(Input::Sweep);
                world.now += Duration::from_secs(2);
                world.submit(Input::Sweep);
                world.now += Duration::from_secs(2);
                world.submit(Input::Sweep);
                assert_eq!(world.gauge("stalled"), 1);
            }
            _ => (0..256).for_each(|_| world.say(&one, "its share")),
        }
        world.kill(&dead);
        world.wait(1000);
        // It answers for a moment, and what held its client before still does.
        dead.dead.set(None);
        world.wait(250);
        assert_eq!(one.paused.get(), state != 2, "{state}");
        world.kill(&dead);
        world.wait(13_500);
        assert_eq!(lives.heard(), [(Command::Adopt, 1)], "{state}");
        assert!(!one.paused.get(), "{state}");
    }
}

#[test]
fn when_all_machines_are_in_doubt_clients_wait_and_no_link_is_as_good_as_another() {
    let mut world = World::new();
    let both = [world.business("a:0"), world.business("a:1")];
    let _clients = [world.client(), world.client()];
    for business in &both {
        world.kill(business);
    }
    world.wait(13_500);
    assert_eq!((world.gauge("links"), world.gauge("held_clients")), (0, 2));
    assert_eq!(world.gauge("unreachable_links"), 2);
}

#[test]
fn without_a_limit_no_machine_is_given_up() {
    let mut world = World::new();
    world.core.policy.reach = None;
    let dead = world.business("a:0");
    let one = world.client();
    world.kill(&dead);
    world.wait(100_000);
    assert_eq!((dead.close_reason(), one.paused.get()), (None, false));
}
