//! Everything moves to another process, as in a handover: no client and no business can tell.

use std::collections::BTreeMap;

use lineman_wire::link::{Audience, Condition, Control, Field, Name, Order, Query, Reply, Select};
use proptest::collection;
use proptest::prelude::*;

use super::*;
use crate::rounds::Rounds;

/// What is to be the same: what each connection got, how it ended, whether it is read; the numbers, and the answers.
type Outcome =
    (Vec<(Vec<Bytes>, Option<CloseReason>, bool)>, BTreeMap<&'static str, u64>, Vec<Reply>);

fn outcome(world: &World) -> Outcome {
    let of = |fake: &Rc<Fake>| (fake.sent.borrow().clone(), fake.close_reason(), fake.paused.get());
    let fields = || vec![Field::Uid, Field::Session, Field::Groups];
    let names = || ["n0", "n1", "n2"].map(Name::from).to_vec();
    let conditions = vec![Condition::Groups(names()), Condition::Uids(names())];
    let queries = [
        Query::AllClientSessions,
        Query::Select(Select { conditions: Vec::new(), fields: fields() }),
        Query::Select(Select { conditions, fields: fields() }),
        Query::Stamped(Box::new(Query::GroupIds)),
    ];
    let answers = queries.into_iter().map(|query| world.core.clients.answer(query)).collect();
    (world.ever.iter().map(of).collect(), world.core.gauges(), answers)
}

#[derive(Debug, Clone)]
enum Act {
    Come(usize),
    Leave(usize),
    Say(usize),
    Order(usize, Order),
    ToAll(usize, usize),
    Fill(usize),
    Drain(usize),
    Handled(usize, u32),
    Release(usize),
    Lose(usize),
    Link(usize),
    Tell,
    Look,
    Beat,
    Wait(u64),
}

/// The versions of the extension that the businesses speak.
const VERSIONS: [Option<u32>; 4] = [Some(5), Some(3), Some(2), None];

fn any_act() -> impl Strategy<Value = Act> {
    let link = || 0..VERSIONS.len();
    let any_name = || (0..3_usize).prop_map(|n| Bytes::from(format!("n{n}")));
    let id = || 1..8_u32;
    let order = prop_oneof![
        (id(), any_name()).prop_map(|(connection_id, uid)| Order::BindUid { connection_id, uid }),
        (id(), any_name())
            .prop_map(|(connection_id, group)| Order::JoinGroup { connection_id, group }),
        (id(), any_name())
            .prop_map(|(connection_id, group)| Order::LeaveGroup { connection_id, group }),
        any_name().prop_map(|group| Order::Ungroup { group }),
        (id(), any_name())
            .prop_map(|(connection_id, session)| Order::SetSession { connection_id, session }),
        id().prop_map(|connection_id| Order::Kick { connection_id, farewell: Body::from("bye") }),
        any_name().prop_map(|group| Order::SendToGroup {
            groups: vec![Name::from(String::from_utf8_lossy(&group).into_owned())],
            exclude: Vec::new(),
            message: Body::from("to a group"),
        }),
    ];
    prop_oneof![
        3 => (0..4_usize).prop_map(Act::Come),
        2 => (0..8_usize).prop_map(Act::Leave),
        6 => (0..8_usize).prop_map(Act::Say),
        8 => (link(), order).prop_map(|(link, order)| Act::Order(link, order)),
        2 => (link(), 1..3_usize).prop_map(|(link, length)| Act::ToAll(link, length)),
        2 => link().prop_map(Act::Fill),
        2 => link().prop_map(Act::Drain),
        3 => (link(), 1..9_u32).prop_map(|(link, count)| Act::Handled(link, count)),
        1 => link().prop_map(Act::Release),
        1 => link().prop_map(Act::Lose),
        3 => link().prop_map(Act::Link),
        2 => Just(Act::Tell),
        2 => Just(Act::Look),
        2 => Just(Act::Beat),
        3 => (1..20_000_u64).prop_map(Act::Wait),
    ]
}

/// A gateway to which things happen.
struct Scene {
    world: World,
    links: [Option<Rc<Fake>>; 4],
    clients: Vec<Rc<Fake>>,
    handled: [u32; 4],
}

impl Scene {
    fn new() -> Self {
        let mut world = World::new();
        world.until_move = 0;
        world.core.policy.heartbeat.interval = Duration::from_secs(1);
        world.core.policy.heartbeat.data = Bytes::from_static(b"ping");
        world.core.policy.share = Allowance { events: 3, bytes: 200 };
        world.core.client_rounds = Rounds::new(world.core.policy.heartbeat.period());
        Self { world, links: [const { None }; 4], clients: Vec::new(), handled: [0; 4] }
    }

    fn act(&mut self, act: Act) {
        self.clients.retain(|client| client.close_reason().is_none());
        for link in &mut self.links {
            if let Some(lost) = link.take_if(|link| link.close_reason().is_some()) {
                self.world.lose(&lost);
            }
        }
        match act {
            Act::Come(groups) => {
                let group = |n| Bytes::from(format!("n{n}"));
                let uid = (groups > 0).then(|| group(0));
                let (groups, session) = ((0..groups).map(group).collect(), Bytes::new());
                let client = self.world.bound_client(Binding { uid, groups, session });
                self.clients.push(client);
            }
            Act::Leave(client) => {
                if let Some(client) = self.clients.get(client).cloned() {
                    self.world.leave(&client);
                }
            }
            Act::Say(client) => {
                if let Some(client) =
                    self.clients.get(client).filter(|client| !client.paused.get()).cloned()
                {
                    self.world.say(&client, "hello");
                }
            }
            Act::Order(link, order) => self.tell(link, order),
            Act::ToAll(link, length) => {
                let message = Body::Binary(vec![0; length * 1_000_000].into());
                self.tell(link, Order::SendToAll { audience: Audience::All, message });
            }
            Act::Fill(link) => self.fill(link, 0),
            Act::Drain(link) => self.fill(link, usize::MAX),
            Act::Handled(link, count) => {
                self.handled[link] += count;
                self.tell(link, Control::Handled(self.handled[link]));
            }
            Act::Release(link) => {
                self.tell(link, Control::Drain);
                self.tell(link, Control::Release);
            }
            Act::Lose(link) => {
                if let Some(lost) = self.links[link].take() {
                    self.world.lose(&lost);
                }
            }
            Act::Link(link) => {
                if self.links[link].is_none() {
                    self.handled[link] = 0;
                    let fake = self.world.link(&format!("a:{link}:1"), VERSIONS[link]);
                    self.links[link] = Some(fake);
                }
            }
            Act::Tell => self.world.submit(Input::Tell),
            Act::Look => self.world.submit(Input::Look),
            Act::Beat => (0..32).for_each(|_| self.world.submit(Input::Beat)),
            Act::Wait(milliseconds) => {
                self.world.now += Duration::from_millis(milliseconds);
                self.world.submit(Input::Sweep);
            }
        }
    }

    fn tell(&mut self, link: usize, packet: impl Into<Packet>) {
        if let Some(link) = self.links[link].clone().filter(|link| !link.paused.get()) {
            self.world.tell(&link, packet);
        }
    }

    fn fill(&mut self, link: usize, room: usize) {
        let Some(link) = self.links[link].clone() else { return };
        link.room.set(room);
        let id = link.id;
        self.world.submit(if room == 0 { Input::PeerFull(id) } else { Input::PeerDrained(id) });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_follows_is_what_it_would_have_been(
        acts in collection::vec((any_act(), prop::bool::weighted(0.1)), 1..60),
    ) {
        let [mut stays, mut moves] = [Scene::new(), Scene::new()];
        for (act, is_moved) in acts {
            stays.act(act.clone());
            moves.act(act);
            if is_moved {
                moves.world.relocate();
            }
            prop_assert_eq!(outcome(&moves.world), outcome(&stays.world));
        }
    }

    /// As one client, its business and one that asks see it.
    #[test]
    fn what_befalls_a_client_is_what_it_would_have_been(
        steps in collection::vec((0..pairs::ALL.len(), prop::bool::weighted(0.2)), 1..20),
    ) {
        let [mut stays, mut moves] = [pairs::Story::new(), pairs::Story::new()];
        (stays.world.until_move, moves.world.until_move) = (0, 0);
        for (step, is_moved) in steps {
            stays.happen(pairs::ALL[step]);
            moves.happen(pairs::ALL[step]);
            if is_moved {
                moves.world.relocate();
            }
            prop_assert_eq!(outcome(&moves.world), outcome(&stays.world));
        }
        stays.look();
        moves.look();
        prop_assert_eq!(outcome(&moves.world), outcome(&stays.world));
    }

    /// As businesses see it that are lost and come back.
    #[test]
    fn what_becomes_of_a_dispute_is_what_it_would_have_been(
        steps in collection::vec(
            (partitions::any_step(2, partitions::Step::Mute), prop::bool::weighted(0.2)),
            1..40,
        ),
    ) {
        let [mut stays, mut moves] = [partitions::Cluster::new(), partitions::Cluster::new()];
        (stays.world.until_move, moves.world.until_move) = (0, 0);
        for (step, is_moved) in steps {
            stays.step(step);
            moves.step(step);
            if is_moved {
                moves.world.relocate();
            }
            prop_assert_eq!(outcome(&moves.world), outcome(&stays.world));
            prop_assert_eq!(&moves.told, &stays.told);
        }
    }
}

/// Its connection is left in the process that was replaced, which closes it.
#[test]
fn a_client_that_could_not_move_is_gone_when_the_other_process_serves() {
    let mut world = World::new();
    world.until_move = 0;
    let business = world.link("a:0", Some(4));
    let binding = |group: &'static str| Binding {
        uid: None,
        groups: vec![Bytes::from_static(b"both"), group.into()],
        session: Bytes::from_static(b"a:0:{}"),
    };
    let (stays, moves) = (world.bound_client(binding("own")), world.bound_client(binding("other")));
    drop(business.heard());
    world.relocate_without(&[stays.id]);
    assert!(business.heard().is_empty(), "it is told nothing before");
    assert_eq!(["clients", "groups"].map(|gauge| world.gauge(gauge)), [1, 2]);
    world.submit(Input::TookOver);
    let told = business.packets();
    let commands: Vec<_> = told.iter().map(|p| (p.command, p.connection_id, p.ext.len())).collect();
    assert_eq!(commands[1..], [(Command::OnClose, 1, 6)], "behind the news of its group");
    assert_eq!((commands[0].0, commands.len()), (Command::HeldNames, 2));
    world.clients.retain(|client| client.id == moves.id);
    world.say(&moves, "still here");
    assert_eq!(business.heard(), [(Command::OnMessage, 2)]);
}

#[test]
fn a_link_that_could_not_move_is_lost_when_the_other_process_serves() {
    let mut world = World::new();
    world.until_move = 0;
    let lost = world.link("a:0", Some(4));
    let client = world.client();
    let (other, asker) = (world.link("a:1", Some(4)), world.peer_from(([127, 0, 0, 1], 9).into()));
    world.say(&client, "lost with it");
    drop((lost.heard(), other.heard()));
    world.relocate_without(&[lost.id, asker.id]);
    assert!(other.heard().is_empty() && lost.heard().is_empty());
    world.submit(Input::TookOver);
    assert_eq!(other.heard(), [(Command::OnConnect, 1), (Command::OnWebSocketConnect, 1)]);
    assert_eq!(["links", "strangers"].map(|gauge| world.gauge(gauge)), [1, 0]);
    assert!(lost.heard().is_empty());
    world.peers.retain(|peer| peer.id == other.id);
}

#[test]
fn the_other_process_goes_by_its_own_settings() {
    let mut world = World::new();
    world.until_move = 0;
    let (first, heir) = (world.link("a:0", Some(4)), world.link("b:0", Some(4)));
    let client = world.client();
    world.submit(Input::Sweep);
    drop((first.heard(), heir.heard()));
    world.core.policy.heirs = false;
    world.core.policy.heartbeat =
        Heartbeat { interval: Duration::from_secs(1), limit: 0, data: Bytes::from_static(b"ping") };
    world.relocate();
    assert_eq!(heir.heard(), [(Command::Witness, 1)], "it has nothing to inherit any more");
    (0..64).for_each(|_| world.submit(Input::Beat));
    assert_eq!(client.sent.borrow().len(), 1, "it is pinged");
}

#[test]
fn what_is_no_state_of_this_gateway_is_refused() {
    let mut world = World::new();
    let _client = world.client();
    let written = world.core.save(world.now).unwrap();
    let fresh = |links_port| {
        let identity = GatewayIdentity { links_port, ..identity("e2") };
        Core::<Rc<Fake>>::new(identity, policy("", websocket_form), Counter::starting_at(1))
    };
    let problem =
        fresh(4711).restore(&written, &mut MovedConnections::default(), world.now).unwrap_err();
    assert!(problem.contains("127.0.0.1:22900 and would be at 127.0.0.1:4711"), "{problem}");
    for garbage in [&b""[..], b"\x81\xa3abc\x01", &written[..written.len() / 2]] {
        let problem =
            fresh(22900).restore(garbage, &mut MovedConnections::default(), world.now).unwrap_err();
        assert!(problem.starts_with("the gateway's state is not understood: "), "{problem}");
    }
    assert_eq!(fresh(22900).restore(&written, &mut MovedConnections::default(), world.now), Ok(()));
}
