//! Pings to silent clients and on links: which of them are visited, left alone and given up.

use lineman_wire::link::{Command, Control};

use super::*;
use crate::rounds::Rounds;

/// A gateway whose clients are pinged with this.
pub(super) fn beating(limit: u32, data: &'static str) -> World {
    let mut world = World::new();
    let (interval, data) = (Duration::from_secs(50), Bytes::from_static(data.as_bytes()));
    world.core.policy.heartbeat = Heartbeat { interval, limit, data };
    world.core.client_rounds = Rounds::new(world.core.policy.heartbeat.period());
    world
}

/// Lets a tick's period go by: each client is visited once.
pub(super) fn tick(world: &mut World) {
    (0..32).for_each(|_| world.submit(Input::Beat));
}

#[test]
fn a_silent_client_is_pinged_and_given_up_and_another_is_neither() {
    let mut world = beating(1, "ping");
    let _business = world.business("a:0");
    let (silent, talkative) = (world.client(), world.client());
    let ping = websocket_form(Typed::Text("ping".into())).expect("text");
    for pings in [0, 0, 1] {
        world.say(&talkative, "here");
        tick(&mut world);
        assert_eq!(*silent.sent.borrow(), vec![ping.clone(); pings]);
        assert_eq!(silent.close_reason(), None);
    }
    world.say(&talkative, "here");
    tick(&mut world);
    assert_eq!(silent.close_reason(), Some(CloseReason::HeartbeatTimeout));
    assert_eq!((talkative.close_reason(), talkative.sent.borrow().len()), (None, 0));
    assert_eq!(world.gauge("clients"), 1);
}

#[test]
fn without_data_a_silent_client_is_given_up_unasked() {
    let mut world = beating(1, "");
    let _business = world.business("a:0");
    let silent = world.client();
    (0..3).for_each(|_| tick(&mut world));
    assert_eq!((silent.close_reason(), silent.sent.borrow().len()), (None, 0));
    tick(&mut world);
    assert_eq!(silent.close_reason(), Some(CloseReason::HeartbeatTimeout));
}

#[test]
fn the_silence_of_a_client_that_is_not_read_is_not_its_own() {
    let mut world = beating(1, "ping");
    let held = world.client();
    (0..9).for_each(|_| tick(&mut world));
    let business = world.business("a:0");
    world.submit(Input::PeerFull(business.id));
    (0..9).for_each(|_| tick(&mut world));
    assert_eq!((held.close_reason(), held.sent.borrow().len()), (None, 0));
    world.submit(Input::PeerDrained(business.id));
    (0..2).for_each(|_| tick(&mut world));
    assert_eq!(held.sent.borrow().len(), 0, "its silence begins here");
    tick(&mut world);
    assert_eq!(held.sent.borrow().len(), 1);
}

/// Its peer may be gone, and no read would tell.
#[test]
fn a_client_at_its_share_is_given_up_when_nothing_of_it_is_handled_for_very_long() {
    let mut world = beating(1, "ping");
    world.core.policy.share.events = 4;
    let business = world.business("a:0");
    let client = world.client();
    let credit =
        |events| Control::Credit { connection_id: 1, share: Allowance { events, bytes: 0 } };
    let fill = |world: &mut World| {
        while !client.paused.get() {
            world.say(&client, "more");
        }
    };
    fill(&mut world);
    (0..15).for_each(|_| tick(&mut world));
    world.tell(&business, credit(2));
    fill(&mut world);
    (0..16).for_each(|_| tick(&mut world));
    assert_eq!((client.close_reason(), client.sent.borrow().len()), (None, 0));
    tick(&mut world);
    assert_eq!(client.close_reason(), Some(CloseReason::HeartbeatTimeout));
    assert_eq!(world.gauge("waiting_clients"), 0);
}

#[test]
fn each_link_is_pinged_once_in_a_period() {
    let mut world = World::new();
    world.core.policy.link_ping_interval = Duration::from_secs(25);
    world.core.link_rounds = Rounds::new(Duration::from_secs(25));
    let (first, second) = (world.business("a:0"), world.link("php:0", None));
    drop((first.heard(), second.heard()));
    (0..32).for_each(|_| world.submit(Input::PingLinks));
    let ping = [(Command::Ping, 0)];
    assert_eq!((first.heard(), second.heard()), (ping.to_vec(), ping.to_vec()));
    world.lose(&first);
    drop(second.heard());
    (0..32).for_each(|_| world.submit(Input::PingLinks));
    assert_eq!((first.heard(), second.heard()), (vec![], ping.to_vec()));
}

#[test]
fn packets_say_from_which_address_a_client_came() {
    for (version, ipv6) in [(None, "0.0.0.0"), (Some(4), "0.0.0.0"), (Some(5), "2001:db8::1")] {
        packets_say_it(version, ipv6);
    }
}

fn packets_say_it(version: Option<u32>, ipv6: &str) {
    let mut world = World::new();
    let business = world.link("a:0", version);
    drop(business.heard());
    let expected = [
        ("10.1.2.3:4", "10.1.2.3"),
        ("[::ffff:10.1.2.3]:4", "10.1.2.3"),
        ("[2001:db8::1]:4", ipv6),
    ];
    for (address, ip) in expected {
        let client = world.client_from(address.parse().expect("an address"), Bytes::new());
        let bytes: usize = business.sent.borrow().iter().map(Bytes::len).sum();
        let packets = business.packets();
        let ip: std::net::IpAddr = ip.parse().expect("an address");
        let version_length = if version >= Some(5) { 8 } else { 0 };
        let ip_length = if ip.is_ipv6() { 16 } else { 0 };
        assert_eq!(bytes, 28 + ip_length + version_length, "{version:?}");
        assert_eq!(packets.len(), 1, "without a handshake it has only come");
        assert_eq!((packets[0].client_ip, packets[0].client_port), (ip, 4));
        let (local, port) = (packets[0].local_ip, packets[0].local_port);
        assert_eq!((local, port, packets[0].gateway_port), (Ipv4Addr::LOCALHOST, 22900, 27272));
        world.say(&client, "x");
        world.leave(&client);
        let later: Vec<_> = business.packets().iter().map(|packet| packet.client_ip).collect();
        assert_eq!(later, [ip, ip], "{version:?}");
    }
}
