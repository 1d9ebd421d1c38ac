//! The rules by which clients get their businesses, and names that leave businesses out.

use lineman_wire::link::{Command, Control};

use super::*;

impl World {
    fn routed(router: Router) -> Self {
        let mut world = Self::new();
        world.core.policy.router = router;
        world
    }

    fn enters(&mut self, room: &str) -> Rc<Fake> {
        let length = room.len();
        let handshake = format!(r#"a:1:{{s:3:"get";a:1:{{s:4:"room";s:{length}:"{room}";}}}}"#);
        self.client_from(([127, 0, 0, 1], 4000).into(), handshake.into())
    }
}

fn by_room() -> World {
    World::routed(Router::HashOfQuery("room".to_owned()))
}

/// Returns which of the businesses has heard of how many clients since it was last asked.
fn given(businesses: &[Rc<Fake>]) -> Vec<usize> {
    let given = |business: &Rc<Fake>| {
        let new = [Command::OnConnect, Command::Adopt];
        business.heard().iter().filter(|(command, _)| new.contains(command)).count()
    };
    businesses.iter().map(given).collect()
}

/// Returns the business that hears of the next client of a room.
fn owner(world: &mut World, businesses: &[Rc<Fake>], room: &str) -> usize {
    drop(given(businesses));
    world.enters(room);
    let given = given(businesses);
    assert_eq!(given.iter().sum::<usize>(), 1, "{given:?}");
    given.iter().position(|&count| count == 1).unwrap()
}

const ROOMS: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];

#[test]
fn a_room_has_one_business_and_keeps_it_when_others_leave_and_come() {
    let mut world = by_room();
    let businesses = ["b:0", "b:1", "b:2"].map(|key| world.business(key));
    let owners = |world: &mut World, businesses: &[Rc<Fake>]| {
        ROOMS.map(|room| owner(world, businesses, room))
    };
    let before = owners(&mut world, &businesses);
    assert!((0..3).all(|each| before.contains(&each)), "{before:?}");
    assert_eq!(owners(&mut world, &businesses), before);
    world.lose(&businesses[1]);
    let without = owners(&mut world, &businesses);
    for (was, is) in before.iter().zip(without) {
        assert!(is == *was || *was == 1, "{before:?} {without:?}");
    }
    let [zero, _, two] = businesses;
    let back = [zero, world.business("b:1"), two];
    assert_eq!(owners(&mut world, &back), before);
}

#[test]
fn the_next_process_of_a_slot_gets_its_rooms_when_the_first_drains() {
    let mut world = by_room();
    let former = [world.business("b:0:11-aa"), world.business("b:1:12-bb")];
    let before = ROOMS.map(|room| owner(&mut world, &former, room));
    let [zero, one] = former;
    let all = [zero, one, world.business("b:0:21-cc"), world.business("b:1:22-dd")];
    assert_eq!(ROOMS.map(|room| owner(&mut world, &all, room)), before, "they get none yet");
    drop(given(&all));
    for old in &all[..2] {
        world.tell(old, Control::Drain);
        world.tell(old, Control::Release);
    }
    let count = |each| 2 * before.iter().filter(|owner| **owner == each).count();
    assert_eq!(given(&all), [0, 0, count(0), count(1)], "the clients move along");
    let after = before.map(|owner| owner + 2);
    assert_eq!(ROOMS.map(|room| owner(&mut world, &all, room)), after);
}

#[test]
fn a_hash_passes_over_who_is_stalled_and_not_over_who_is_full_or_far() {
    let mut world = by_room();
    let businesses = [[127, 0, 0, 1], [10, 0, 0, 9]].map(|ip| world.link_from(ip, "b:0", Some(2)));
    let before = ROOMS.map(|room| owner(&mut world, &businesses, room));
    assert!(before.contains(&0) && before.contains(&1), "near and far: {before:?}");
    world.submit(Input::PeerFull(businesses[0].id));
    assert_eq!(ROOMS.map(|room| owner(&mut world, &businesses, room)), before);
    world.submit(Input::PeerDrained(businesses[0].id));
    // The other one has something to do as well, and says that it goes on.
    for _ in 0..3 {
        world.now += Duration::from_secs(2);
        world.tell(&businesses[1], Control::Alive(0));
        world.submit(Input::Sweep);
    }
    assert_eq!(world.gauge("stalled"), 1);
    assert_eq!(ROOMS.map(|room| owner(&mut world, &businesses, room)), [1; 12]);
    for _ in 0..4 {
        world.now += Duration::from_secs(2);
        world.submit(Input::Sweep);
    }
    assert_eq!(world.gauge("stalled"), 2);
    assert_eq!(ROOMS.map(|room| owner(&mut world, &businesses, room)), before, "all are");
}

#[test]
fn a_client_without_a_key_goes_to_the_one_that_is_least_busy() {
    let mut world = by_room();
    let businesses = ["b:0", "b:1"].map(|key| world.business(key));
    let clients: Vec<_> = (0..10).map(|_| world.client()).collect();
    assert_eq!(given(&businesses), [5, 5]);
    drop(clients);
    world.core.policy.router = Router::HashOfAddress;
    for machine in 1..=20 {
        for _ in 0..2 {
            world.client_from(([10, 0, 0, machine], 4000).into(), Bytes::new());
        }
    }
    let given = given(&businesses);
    assert!(given.iter().sum::<usize>() == 40, "{given:?}");
    assert!(given.iter().all(|count| *count >= 10 && count % 2 == 0), "{given:?}");
}

#[test]
fn random_is_any_of_the_preferred_ones_in_good_order() {
    let mut world = World::routed(Router::Random);
    let near = ["b:0", "b:1"].map(|key| world.business(key));
    let far = world.link_from([10, 0, 0, 9], "b:0", Some(2));
    let clients: Vec<_> = (0..128).map(|_| world.client()).collect();
    let counts = given(&near);
    assert!(counts.iter().sum::<usize>() == 128 && !counts.contains(&0), "{counts:?}");
    assert!(!far.heard().iter().any(|(command, _)| *command == Command::OnConnect));
    world.submit(Input::PeerFull(near[0].id));
    drop(clients);
    for _ in 0..32 {
        world.client();
    }
    assert_eq!(given(&near), [0, 32]);
}

#[test]
fn clients_of_a_uid_come_together_when_their_business_leaves() {
    let mut world = World::routed(Router::HashOfUid);
    let mut businesses = Vec::from(["b:0", "b:1", "b:2", "b:3"].map(|key| world.business(key)));
    let clients: Vec<_> = (0..16).map(|_| world.client()).collect();
    assert_eq!(given(&businesses), [4; 4], "none has a uid yet");
    for connection_id in 1..=16 {
        let uid = Bytes::from_static(b"ada");
        world.order(&businesses[0], Order::BindUid { connection_id, uid });
    }
    assert_eq!(given(&businesses), [0; 4], "a client stays where it is");
    let leaves = businesses.remove(0);
    world.lose(&leaves);
    let mut moved = given(&businesses);
    moved.sort_unstable();
    assert_eq!(moved, [0, 0, 4]);
    drop(clients);
}

#[test]
fn only_businesses_of_the_names_it_is_pinned_to_get_clients() {
    let mut world = World::new();
    world.core.policy.pinned = vec!["game".to_owned(), "lobby".to_owned()];
    let chat = world.business("chat:0:1-a");
    let (one, _two) = (world.client(), world.client());
    assert_eq!((world.gauge("held_clients"), given(&[Rc::clone(&chat)])), (2, vec![0]));
    world.submit(Input::Sweep);
    assert!(world.core.unserved_since.is_some(), "there is none for its clients");
    // What others send reaches its clients all the same.
    let message = Body::Scalar(Bytes::from_static(b"hello"));
    world.order(&chat, Order::SendToOne { connection_id: 1, message });
    assert_eq!(one.sent.borrow().len(), 1);
    let games = [world.business("game:0:2-b"), world.link("lobby:1", None)];
    assert_eq!(given(&games), [2, 0]);
    world.client();
    assert_eq!((given(&games), given(&[Rc::clone(&chat)])), (vec![0, 1], vec![0]));
    // An end is told to one of them as well.
    world.lose(&games[0]);
    world.lose(&games[1]);
    world.leave(&one);
    assert_eq!(chat.heard(), []);
    let game = world.business("game:0:3-c");
    let ends = game.heard().into_iter().filter(|(command, _)| *command == Command::OnClose);
    assert_eq!(ends.count(), 1);
}
