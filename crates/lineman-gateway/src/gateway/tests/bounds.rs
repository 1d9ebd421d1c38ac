//! What happens where a bound is met, and at the door.

use lineman_wire::link::{Audience, Body, Command, Login, MAX_PACKET, Order};
use lineman_wire::php;

use super::*;

fn to_all(text: &str) -> Order {
    Order::SendToAll { audience: Audience::All, message: Body::from(text) }
}

#[test]
fn a_full_link_stops_its_clients_and_loses_nothing() {
    let mut world = World::new();
    let business = world.business("a:0");
    let (one, two) = (world.client(), world.client());
    drop(business.heard());
    business.room.set(0);
    world.say(&one, "waits");
    world.submit(Input::PeerFull(business.id));
    assert!(one.paused.get() && two.paused.get());
    world.leave(&two);
    let three = world.client();
    assert!(three.paused.get());
    assert_eq!(business.heard(), []);
    business.room.set(usize::MAX);
    world.submit(Input::PeerDrained(business.id));
    let expected = [
        (Command::OnMessage, 1),
        (Command::OnClose, 2),
        (Command::OnConnect, 3),
        (Command::OnWebSocketConnect, 3),
    ];
    assert_eq!(business.heard(), expected);
    assert!(!one.paused.get() && !three.paused.get());
}

#[test]
fn a_client_that_does_not_read_is_closed_or_misses_messages() {
    for (policy, clients, gauge) in
        [(SlowClient::Close, 0, "slow_clients"), (SlowClient::DropMessage, 1, "dropped_messages")]
    {
        let mut world = World::new();
        world.core.policy.slow_client = policy;
        let business = world.business("a:0");
        let one = world.client();
        one.room.set(1);
        world.order(&business, to_all("taken"));
        world.order(&business, to_all("not taken"));
        assert_eq!((world.gauge("clients"), world.gauge(gauge)), (clients, 1));
        let closed = (policy == SlowClient::Close).then_some(CloseReason::SlowPeer);
        assert_eq!(one.close_reason(), closed);
    }
}

#[test]
fn without_the_key_no_peer_gets_in() {
    let login = |key: &str| Login::Client { secret_key: Secret::new(key), lineman: None };
    let address = SocketAddr::from(([127, 0, 0, 1], 5000));

    let mut world = World::with("k", websocket_form);
    let stranger = world.peer_from(address);
    world.order(&stranger, to_all("x"));
    assert!(stranger.close_reason().is_some());

    let guesser = world.peer_from(address);
    world.tell(&guesser, login("wrong"));
    assert!(guesser.close_reason().is_some());

    let silent = world.peer_from(address);
    let known = world.peer_from(address);
    world.tell(&known, login("k"));
    world.now += Duration::from_secs(10);
    world.submit(Input::Sweep);
    assert!(silent.close_reason().is_some() && known.close_reason().is_none());
    assert_eq!(stranger.sent.borrow().len() + guesser.sent.borrow().len(), 0);
}

#[test]
fn a_peer_of_ours_is_told_why_it_is_refused_and_one_of_php_s_is_not() {
    let mut world = World::with("k", websocket_form);
    let say = |world: &mut World, login: Login| {
        let peer = world.peer_from(SocketAddr::from(([10, 0, 0, 3], 5000)));
        world.tell(&peer, login);
        let said: Vec<_> =
            peer.packets().into_iter().map(|packet| (packet.command, packet.body)).collect();
        (said, peer.close_reason())
    };
    let ask = |world: &mut World, secret_key: Secret, lineman| {
        let client = Login::Client { secret_key: secret_key.clone(), lineman };
        let business = Login::Worker { worker_key: "a:0".to_owned(), secret_key, lineman };
        let (client, business) = (say(world, client), say(world, business));
        assert_eq!(client, business);
        business
    };
    let refused = |problem: &str| CloseReason::Protocol { code: 1008, problem: problem.to_owned() };
    let problem = "wrong secret key";
    for lineman in [None, Some(1), Some(2)] {
        let answer = ask(&mut world, Secret::new("zz"), lineman);
        assert_eq!(answer, (vec![], Some(refused(problem))), "{lineman:?}");
    }
    let told = |problem: &str| vec![(Command::Refused, Bytes::from(problem.to_owned()))];
    let answer = ask(&mut world, Secret::new("zz"), Some(3));
    assert_eq!(answer, (told(problem), Some(refused(problem))));
    let problem = r#"wrong cluster: its cluster is "game", and this one's is none"#;
    let answer = ask(&mut world, Secret::new("k").in_cluster("game"), Some(3));
    let words = r#"it belongs to a cluster without a name, not to "game""#;
    assert_eq!(answer, (told(words), Some(refused(problem))));
    assert_eq!((world.gauge("refused_strangers"), world.gauge("links")), (10, 0));

    // One that is right is greeted, and is no link all the same.
    let greeted = |world: &mut World, lineman| {
        let (said, closed) = say(world, Login::Client { secret_key: Secret::new("k"), lineman });
        assert_eq!(closed, None);
        said.into_iter().map(|(command, _)| command).collect::<Vec<_>>()
    };
    assert_eq!(greeted(&mut world, None), []);
    assert_eq!(greeted(&mut world, Some(2)), []);
    assert_eq!(greeted(&mut world, Some(3)), [Command::Hello]);
    assert_eq!(world.gauge("links"), 0);
}

#[test]
fn it_is_known_since_when_no_business_takes_events() {
    let mut world = World::new();
    let unserved = |world: &mut World, seconds| {
        world.now += Duration::from_secs(seconds);
        world.submit(Input::Sweep);
        world.core.unserved_since.map(|since| world.now.duration_since(since).as_secs())
    };
    assert!(unserved(&mut world, 40).is_some_and(|seconds| seconds >= 40), "from the start on");
    let business = world.business("a:0");
    assert_eq!(unserved(&mut world, 40), None);
    world.lose(&business);
    assert_eq!(unserved(&mut world, 1), Some(0));
    assert_eq!(unserved(&mut world, 7), Some(7));
    let drains = world.business("a:1");
    world.tell(&drains, Packet::new(Command::Drain, 0));
    assert_eq!(unserved(&mut world, 1), Some(0), "one that drains takes none");
}

#[test]
fn strangers_are_few_and_the_oldest_gives_way() {
    let mut world = World::with("k", websocket_form);
    let address = SocketAddr::from(([127, 0, 0, 1], 5000));
    let known = world.peer_from(address);
    world.tell(&known, Login::Client { secret_key: Secret::new("k"), lineman: None });
    let stranger = |world: &mut World| {
        world.now += Duration::from_millis(250);
        world.peer_from(address)
    };
    let strangers: Vec<_> = (0..4).map(|_| stranger(&mut world)).collect();
    let closed: Vec<_> = strangers.iter().map(|peer| peer.close_reason().is_some()).collect();
    assert_eq!(closed, [true, false, false, false]);
    assert_eq!((world.gauge("strangers"), world.gauge("refused_strangers")), (3, 1));
    world.lose(&strangers[1]);
    world.now += Duration::from_secs(5);
    world.submit(Input::Sweep);
    assert!(strangers[2].close_reason().is_some() && strangers[3].close_reason().is_some());
    assert_eq!((world.gauge("strangers"), world.gauge("refused_strangers")), (0, 3));
    assert!(known.close_reason().is_none());
}

/// The table ends such a connection before the logic hears of a packet.
#[test]
fn what_is_no_packet_before_the_key_is_a_refusal_and_behind_it_none() {
    let mut world = World::with("k", websocket_form);
    let fault = || CloseReason::Protocol { code: 1002, problem: "no packet".to_owned() };
    let address = SocketAddr::from(([127, 0, 0, 1], 5000));
    for (count, reason) in [(1, fault()), (2, CloseReason::TooBig), (2, CloseReason::Local)] {
        let stranger = world.peer_from(address);
        world.lose_by(&stranger, reason);
        assert_eq!(world.gauge("refused_strangers"), count);
    }
    let guesser = world.peer_from(address);
    world.order(&guesser, to_all("x"));
    world.lose_by(&guesser, fault());
    assert_eq!(world.gauge("refused_strangers"), 3, "it is counted once");
    let known = world.peer_from(address);
    world.tell(&known, Login::Client { secret_key: Secret::new("k"), lineman: None });
    world.lose_by(&known, fault());
    assert_eq!((world.gauge("refused_strangers"), world.gauge("strangers")), (3, 0));
}

#[test]
fn without_a_key_a_peer_is_a_stranger_until_it_says_something() {
    let mut world = World::new();
    let address = SocketAddr::from(([127, 0, 0, 1], 5000));
    let (silent, speaks) = (world.peer_from(address), world.peer_from(address));
    world.order(&speaks, to_all("x"));
    assert_eq!(world.gauge("strangers"), 1);
    world.now += Duration::from_secs(5);
    world.submit(Input::Sweep);
    assert!(silent.close_reason().is_some() && speaks.close_reason().is_none());
}

#[test]
fn one_that_asks_is_not_read_while_it_does_not_read_the_answers() {
    let mut world = World::new();
    let asks = world.peer_from(SocketAddr::from(([127, 0, 0, 1], 5000)));
    world.submit(Input::PeerFull(asks.id));
    assert!(asks.paused.get());
    world.submit(Input::PeerDrained(asks.id));
    assert!(!asks.paused.get());
}

#[test]
fn a_session_that_no_packet_can_carry_is_not_taken() {
    let mut world = World::new();
    let business = world.business("a:0");
    let _one = world.client();
    for key in ["a", "b"] {
        let changes = php::Array::from_iter([(key, "x".repeat(6_000_000).as_str())]);
        let session = Bytes::from(php::serialize(&php::Value::Array(changes)));
        world.order(&business, Order::UpdateSession { connection_id: 1, session });
    }
    let session = world.core.clients.get(1).unwrap().session.bytes();
    assert!((6_000_000..6_001_000).contains(&session.len()), "{}", session.len());
}

/// Headers of megabytes, where the limits allow them.
#[test]
fn a_handshake_that_no_packet_can_carry_ends_its_client_alone() {
    let mut world = World::new();
    let address = SocketAddr::from(([127, 0, 0, 1], 4000));
    let huge = || Bytes::from(vec![b'x'; MAX_PACKET]);
    // One comes before there is a business, one while there is.
    let held = world.client_from(address, huge());
    let business = world.business("a:0");
    assert_eq!(held.close_reason(), Some(CloseReason::TooBig));
    let client = world.client_from(address, huge());
    assert_eq!(client.close_reason(), Some(CloseReason::TooBig));
    assert_eq!(world.gauge("too_long_messages"), 2);
    let told = [
        (Command::OnConnect, 1),
        (Command::OnClose, 1),
        (Command::OnConnect, 2),
        (Command::OnClose, 2),
    ];
    assert_eq!(business.heard().split_off(1), told, "behind the greeting");
    let _other = world.client();
    assert!(business.close_reason().is_none() && business.heard().len() == 2);
}

/// Another business's, in PHP.
#[test]
fn a_session_with_an_object_is_merged_around_it() {
    let mut world = World::new();
    let business = world.business("a:0");
    let _one = world.client();
    let session =
        Bytes::from_static(br#"a:2:{s:4:"user";O:4:"User":1:{s:1:"x";d:0.1;}s:4:"same";r:2;}"#);
    world.order(&business, Order::SetSession { connection_id: 1, session });
    let session = Bytes::from_static(br#"a:1:{s:4:"room";i:7;}"#);
    world.order(&business, Order::UpdateSession { connection_id: 1, session });
    let expected =
        br#"a:3:{s:4:"user";O:4:"User":1:{s:1:"x";d:0.1;}s:4:"same";r:2;s:4:"room";i:7;}"#;
    assert_eq!(&world.core.clients.get(1).unwrap().session.bytes()[..], expected);
}

#[test]
fn broken_packets_are_ignored() {
    let mut world = World::new();
    let business = world.business("a:0");
    let one = world.client();
    let ext = Bytes::from_static(b"{not json");
    world.tell(&business, Packet { ext, ..Packet::new(Command::SendToGroup, 0) });
    world.tell(&business, Packet::new(Command::from(99), 0));
    let session = Bytes::from_static(b"a:1:{i:0;");
    world.order(&business, Order::UpdateSession { connection_id: 1, session });
    world.order(&business, Order::Destroy { connection_id: 77 });
    assert!(business.close_reason().is_none() && one.close_reason().is_none());
}
