//! What businesses are told of the names that have clients here.

use std::collections::{BTreeSet, VecDeque};

use lineman_wire::link::{Command, Control, Event, Extent, HeldNames, NameKey, Order};
use proptest::prelude::*;

use super::*;

/// What a business of version 3 knows by what it has heard.
#[derive(Default)]
struct Known {
    keys: BTreeSet<NameKey>,
    whole: bool,
    /// What it has bound itself, and is not confirmed.
    claims: VecDeque<NameKey>,
    confirmed: u32,
}

impl Known {
    fn hear(&mut self, entries: &HeldNames) {
        if entries.stage == Extent::Begin {
            (self.keys, self.whole) = (BTreeSet::new(), false);
        }
        for change in entries.changes() {
            let known = &mut self.keys;
            if change.held {
                known.insert(change.key)
            } else {
                known.remove(&change.key)
            };
        }
        self.whole |= entries.stage == Extent::Whole;
        for _ in self.confirmed..entries.claims {
            self.claims.pop_front().expect("no more is confirmed than was bound");
        }
        self.confirmed = entries.claims;
    }

    /// Whether what is sent to the name goes to this gateway.
    fn sends(&self, key: NameKey) -> bool {
        !self.whole || self.keys.contains(&key) || self.claims.contains(&key)
    }
}

fn entries(packet: Packet) -> Option<HeldNames> {
    match Event::try_from(packet) {
        Ok(Event::HeldNames(entries)) => Some(entries),
        _ => None,
    }
}

/// What one packet tells: how much, how many binds were dealt with, and the changes.
type ToldOnce = (Extent, u32, Vec<(usize, bool)>);

/// Takes what was sent as entries: their stages, claims, and changes by uid.
fn told(link: &Fake, uids: &[&str]) -> Vec<ToldOnce> {
    let number = |key: NameKey| uids.iter().position(|uid| NameKey::of_uid(uid.as_bytes()) == key);
    let read = |entries: HeldNames| {
        let changes =
            entries.changes().map(|c| (number(c.key).expect("a uid of the test"), c.held));
        (entries.stage, entries.claims, changes.collect())
    };
    link.packets().into_iter().filter_map(entries).map(read).collect()
}

fn bind(id: u32, uid: &str) -> Order {
    Order::BindUid { connection_id: id, uid: Bytes::from(uid.to_owned()) }
}

/// A connect hook binds before.
#[test]
fn a_client_that_comes_with_names_is_told_of_behind_them() {
    let mut world = World::new();
    let link = world.link("a:0", Some(3));
    drop(link.heard());
    let binding = Binding {
        uid: Some(Bytes::from_static(b"42")),
        groups: ["room", "room", "hall"].map(Bytes::from).to_vec(),
        session: Bytes::from_static(b"a:0:{}"),
    };
    let client = world.bound_client(binding);
    let told = link.packets();
    let commands: Vec<_> = told.iter().map(|packet| packet.command).collect();
    assert_eq!(commands, [Command::HeldNames, Command::OnConnect]);
    assert_eq!(told[1].ext, "a:0:{}");
    assert_eq!(entries(told[0].clone()).expect("entries").changes().count(), 3);
    assert_eq!(["uids", "groups"].map(|gauge| world.gauge(gauge)), [1, 2]);
    world.leave(&client);
    let [names, closed] = &link.packets()[..] else { panic!("two packets") };
    assert_eq!(entries(names.clone()).expect("entries").changes().count(), 3);
    assert_eq!((closed.command, &closed.ext[..]), (Command::OnClose, &b"a:0:{}"[..]));
}

#[test]
fn a_turn_s_names_are_told_at_its_end_to_those_that_understand() {
    let mut world = World::new();
    let [first, second] = [world.link("a:0", Some(3)), world.link("a:1", Some(3))];
    let [older, php] = [world.link("a:2", Some(2)), world.link("php:0", None)];
    assert_eq!(first.heard(), [(Command::Hello, 0), (Command::HeldNames, 0)]);
    assert_eq!(told(&second, &[]), [(Extent::Whole, 0, vec![])]);
    drop((older.heard(), php.heard()));
    let clients = [world.client(), world.client()];
    drop([&first, &second, &older, &php].map(|link| link.heard()));
    for order in [bind(1, "ada"), bind(2, "bob"), bind(2, "eve"), bind(9, "nobody")] {
        world.order(&first, order);
    }
    assert!(first.heard().is_empty() && world.core.is_telling_due());
    world.submit(Input::Tell);
    let names = ["ada", "bob", "eve"];
    let changes = vec![(0, true), (1, true), (1, false), (2, true)];
    assert_eq!(told(&first, &names), [(Extent::Go, 4, changes.clone())]);
    assert_eq!(told(&second, &names), [(Extent::Go, 0, changes)]);
    assert!(older.heard().is_empty() && php.heard().is_empty());
    // Nothing has changed but that a bind was dealt with, which matters to the one that sent it.
    world.order(&second, bind(2, "eve"));
    world.submit(Input::Tell);
    assert_eq!(told(&second, &names), [(Extent::Go, 1, vec![])]);
    world.leave(&clients[0]);
    world.submit(Input::Tell);
    assert_eq!(told(&first, &names), [(Extent::Go, 4, vec![(0, false)])]);
    assert!(!world.core.is_telling_due());
}

#[test]
fn a_business_knows_a_name_before_what_comes_after() {
    let mut world = World::new();
    let (first, second) = (world.link("a:0", Some(3)), world.link("a:1", Some(3)));
    let (_one, two) = (world.client(), world.client());
    drop((first.heard(), second.heard()));
    world.order(&first, bind(1, "ada"));
    world.say(&two, "who is there?");
    assert_eq!(second.heard(), [(Command::HeldNames, 0), (Command::OnMessage, 2)]);
    world.say(&two, "and now?");
    assert_eq!(second.heard(), [(Command::OnMessage, 2)]);
    assert_eq!(first.heard(), []);
    world.submit(Input::Tell);
    assert_eq!(first.heard(), [(Command::HeldNames, 1)]);
    assert_eq!(second.heard(), []);
}

#[test]
fn a_business_that_does_not_read_costs_no_memory_and_is_told_anew() {
    let mut world = World::new();
    let (first, second) = (world.link("a:0", Some(3)), world.link("a:1", Some(3)));
    let _clients = [world.client(), world.client()];
    world.order(&first, bind(1, "ada"));
    world.submit(Input::Tell);
    drop((first.heard(), second.heard()));
    second.room.set(0);
    world.submit(Input::PeerFull(second.id));
    for number in 0..100 {
        world.order(&first, bind(2, if number % 2 == 0 { "bob" } else { "eve" }));
        world.submit(Input::Tell);
    }
    let names = ["ada", "bob", "eve"];
    assert_eq!(told(&first, &names).len(), 100);
    second.room.set(usize::MAX);
    world.submit(Input::PeerDrained(second.id));
    assert_eq!(told(&second, &names), [(Extent::Begin, 0, vec![])]);
    assert!(world.core.look_after().is_some());
    world.submit(Input::Look);
    let mut whole = told(&second, &names);
    whole[0].2.sort_unstable();
    assert_eq!(whole, [(Extent::Whole, 0, vec![(0, true), (2, true)])]);
    assert_eq!(world.core.look_after(), None);
}

#[test]
fn many_names_are_told_part_by_part_while_they_change() {
    use crate::gateway::roll::PART;
    let mut world = World::new();
    let first = world.link("a:0", Some(3));
    let _client = world.client();
    let join = |number: usize| Order::JoinGroup {
        connection_id: 1,
        group: Bytes::from(number.to_string()),
    };
    for number in 1..=2 * PART {
        world.order(&first, join(number));
    }
    world.submit(Input::Tell);
    let second = world.link("a:1", Some(3));
    let mut known = Known::default();
    let hear = |known: &mut Known, link: &Fake| {
        let parts: Vec<_> = link.packets().into_iter().filter_map(entries).collect();
        for part in &parts {
            known.hear(part);
        }
        parts.len()
    };
    assert_eq!(hear(&mut known, &second), 1);
    assert!(!known.whole && known.keys.len() == PART);
    // While much waits for it, it is told no more.
    second.queued.set(1 << 20);
    assert!(world.core.look_after().is_some_and(|soon| !soon.is_zero()));
    world.submit(Input::Look);
    assert_eq!(hear(&mut known, &second), 0);
    second.queued.set(0);
    for number in 1..100 {
        world.order(&first, Order::Ungroup { group: Bytes::from(number.to_string()) });
        world.order(&first, join(2 * PART + number));
    }
    while world.core.look_after() == Some(Duration::ZERO) {
        world.submit(Input::Look);
        assert!(hear(&mut known, &second) <= 2);
    }
    assert!(known.whole && known.keys.len() == 2 * PART);
    for number in 100..2 * PART + 100 {
        assert!(known.keys.contains(&NameKey::of_group(number.to_string().as_bytes())));
    }
}

#[test]
fn names_are_settled_when_every_business_says_so() {
    let mut world = World::new();
    let links: Vec<_> = (0..3).map(|n| world.link(&format!("a:{n}"), Some(3))).collect();
    let php = world.link("php:0", None);
    let _client = world.client();
    for link in &links {
        drop(link.heard());
    }
    world.order(&links[0], bind(1, "ada"));
    world.tell(&links[0], Control::Settle(7));
    world.tell(&links[1], Control::Settle(8));
    world.submit(Input::Tell);
    // One question for both, behind what it is about.
    for (link, claims) in links.iter().zip([1, 0, 0]) {
        assert_eq!(link.heard(), [(Command::HeldNames, claims), (Command::Settle, 2)]);
    }
    world.tell(&links[0], Control::Settled(2));
    world.tell(&links[1], Control::Settled(2));
    // What was not asked is not answered.
    world.tell(&links[2], Control::Settled(3));
    assert_eq!(links[0].heard(), []);
    // One that comes now is told all of it.
    let late = world.link("a:9", Some(3));
    world.tell(&links[0], Control::Settle(9));
    world.tell(&links[0], Control::Settle(10));
    world.tell(&links[2], Control::Settled(2));
    assert_eq!(links[0].heard(), [(Command::Settled, 7)]);
    assert_eq!(links[1].heard(), [(Command::Settled, 8)]);
    world.submit(Input::Tell);
    for link in &links {
        assert_eq!(link.heard(), [(Command::Settle, 4)]);
    }
    drop(late.heard());
    for link in [&links[0], &links[1], &late] {
        world.tell(link, Control::Settled(4));
    }
    // Of one that is gone nothing is awaited.
    assert_eq!(links[0].heard(), []);
    world.lose(&links[2]);
    assert_eq!(links[0].heard(), [(Command::Settled, 10)]);
    assert!(!php.heard().iter().any(|(command, _)| *command == Command::Settle));
}

/// What may happen, by the numbers of a business, a client, a name.
#[derive(Debug, Clone, Copy)]
enum Step {
    Bind(usize, u32, usize),
    Join(usize, u32, usize),
    Unbind(usize, u32),
    Leave(usize, u32, usize),
    Ungroup(usize, usize),
    Go(usize),
    Say(usize),
    EndTurn,
    Fill(usize),
    Drain(usize),
    Look,
    Reconnect(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let (link, client, name) = (0..3_usize, 1..6_u32, 0..4_usize);
    prop_oneof![
        4 => (link.clone(), client.clone(), name.clone()).prop_map(|(l, c, n)| Step::Bind(l, c, n)),
        4 => (link.clone(), client.clone(), name.clone()).prop_map(|(l, c, n)| Step::Join(l, c, n)),
        1 => (link.clone(), client.clone()).prop_map(|(l, c)| Step::Unbind(l, c)),
        2 => (link.clone(), client, name.clone()).prop_map(|(l, c, n)| Step::Leave(l, c, n)),
        1 => (link.clone(), name).prop_map(|(l, n)| Step::Ungroup(l, n)),
        1 => (0..5_usize).prop_map(Step::Go),
        4 => (0..5_usize).prop_map(Step::Say),
        4 => Just(Step::EndTurn),
        1 => link.clone().prop_map(Step::Fill),
        2 => link.clone().prop_map(Step::Drain),
        2 => Just(Step::Look),
        1 => link.prop_map(Step::Reconnect),
    ]
}

/// A gateway, three businesses, and what each of them knows.
struct Story {
    world: World,
    links: Vec<Rc<Fake>>,
    known: Vec<Known>,
    clients: Vec<Rc<Fake>>,
}

impl Story {
    fn new() -> Self {
        let mut world = World::new();
        let links = (0..3).map(|n| world.link(&format!("a:{n}"), Some(3))).collect();
        let known = (0..3).map(|_| Known::default()).collect();
        let clients = (0..5).map(|_| world.client()).collect();
        Self { world, links, known, clients }
    }

    fn names(&self) -> Vec<NameKey> {
        let clients = &self.world.core.clients;
        let uids = clients.uids.names().into_iter().map(|uid| NameKey::of_uid(uid));
        uids.chain(clients.groups.names().into_iter().map(|group| NameKey::of_group(group)))
            .collect()
    }

    /// Has businesses read what came; what they know behind each event has to be all that is so.
    fn read(&mut self) {
        let names = self.names();
        for (link, known) in self.links.iter().zip(&mut self.known) {
            let mut event = false;
            for packet in link.packets() {
                event |= packet.command == Command::OnMessage;
                if let Some(entries) = entries(packet) {
                    known.hear(&entries);
                }
            }
            assert!(!event || names.iter().all(|key| known.sends(*key)), "a name is missed");
        }
    }

    fn order(&mut self, link: usize, order: Order) {
        self.known[link].claims.extend(order.claim());
        let link = Rc::clone(&self.links[link]);
        self.world.order(&link, order);
    }

    fn take(&mut self, step: Step) {
        let name = |number: usize| Bytes::from(format!("n{number}"));
        match step {
            Step::Bind(link, connection_id, n) => {
                self.order(link, Order::BindUid { connection_id, uid: name(n) });
            }
            Step::Join(link, connection_id, n) => {
                self.order(link, Order::JoinGroup { connection_id, group: name(n) });
            }
            Step::Unbind(link, connection_id) => {
                self.order(link, Order::UnbindUid { connection_id, uid: Bytes::new() });
            }
            Step::Leave(link, connection_id, n) => {
                self.order(link, Order::LeaveGroup { connection_id, group: name(n) });
            }
            Step::Ungroup(link, n) => self.order(link, Order::Ungroup { group: name(n) }),
            Step::Go(client) => {
                let client = Rc::clone(&self.clients[client]);
                if client.close_reason().is_none() {
                    self.world.leave(&client);
                }
            }
            Step::Say(client) => {
                let client = Rc::clone(&self.clients[client]);
                self.world.say(&client, "text");
            }
            Step::EndTurn => self.world.submit(Input::Tell),
            Step::Fill(link) => {
                self.links[link].room.set(0);
                self.world.submit(Input::PeerFull(self.links[link].id));
            }
            Step::Drain(link) => {
                self.links[link].room.set(usize::MAX);
                self.world.submit(Input::PeerDrained(self.links[link].id));
            }
            Step::Look => self.world.submit(Input::Look),
            Step::Reconnect(link) => {
                let old = Rc::clone(&self.links[link]);
                self.world.lose(&old);
                drop(old.heard());
                self.links[link] = self.world.link(&format!("a:{link}"), Some(3));
                self.known[link] = Known::default();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_name_is_missed_and_none_is_kept(steps in prop::collection::vec(step(), 1..80)) {
        let mut story = Story::new();
        for step in steps {
            story.take(step);
            story.read();
        }
        for link in 0..3 {
            story.take(Step::Drain(link));
        }
        story.take(Step::EndTurn);
        (0..3).for_each(|_| story.take(Step::Look));
        story.read();
        let names: BTreeSet<_> = story.names().into_iter().collect();
        for known in &story.known {
            prop_assert!(known.whole && known.claims.is_empty());
            prop_assert_eq!(&known.keys, &names);
        }
    }
}
