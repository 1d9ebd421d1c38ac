//! What the log says of peers that come again and again: each kind once, and then seldom.

use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex};

use lineman_wire::link::{Audience, Order, Query};
use tracing::field::{Field, Visit};
use tracing::span;
use tracing::{Event, Level, Metadata, Subscriber};

use super::*;

/// Keeps what the log has of a test, down to this level.
#[derive(Clone)]
struct Warnings(Arc<Mutex<Vec<String>>>, Level);

/// One of them, as text.
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, "{}={value:?} ", field.name()).expect("a string takes it");
    }
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.1
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// Does something each second for an hour; returns the warnings.
fn an_hour_of(world: World, what: impl FnMut(&mut World)) -> Vec<String> {
    an_hour_at(Level::WARN, world, what)
}

/// The same; returns what the log has down to this level.
fn an_hour_at(level: Level, mut world: World, mut what: impl FnMut(&mut World)) -> Vec<String> {
    let warnings = Warnings(Arc::default(), level);
    tracing::subscriber::with_default(warnings.clone(), || {
        for _ in 0..3600 {
            world.now += Duration::from_secs(1);
            what(&mut world);
            world.submit(Input::Sweep);
            let ended = |peer: &mut Rc<Fake>| peer.close_reason().is_some();
            for peer in world.peers.extract_if(.., ended).collect::<Vec<_>>() {
                world.submit(Input::PeerWent(peer.id, CloseReason::Local));
            }
        }
    });
    std::mem::take(&mut *warnings.0.lock().unwrap())
}

type PeerKind<'a> = (&'static str, Box<dyn FnMut(&mut World) + 'a>);

/// A load balancer's probe, a scanner, a process of another cluster: one tries again each second.
#[test]
fn a_wrong_peer_of_each_kind_fills_no_log() {
    let address = SocketAddr::from(([10, 0, 0, 9], 5000));
    let fault = || CloseReason::Protocol { code: 1002, problem: "no packet".to_owned() };
    let login = |secret_key| Login::Worker { worker_key: "a:0".into(), secret_key, lineman: None };
    let to_all = || Order::SendToAll { audience: Audience::All, message: Body::from("x") };
    let come = |world: &mut World, packet: Packet| {
        let peer = world.peer_from(address);
        world.tell(&peer, packet);
        world.lose(&peer);
    };
    let kinds: [PeerKind<'_>; 6] = [
        (
            "TLS, HTTP or garbage",
            Box::new(|world: &mut World| {
                let peer = world.peer_from(address);
                world.lose_by(&peer, fault());
            }),
        ),
        (
            "garbage that is long",
            Box::new(|world: &mut World| {
                let peer = world.peer_from(address);
                world.lose_by(&peer, CloseReason::TooBig);
            }),
        ),
        ("silent", Box::new(|world: &mut World| drop(world.peer_from(address)))),
        ("wrong key", Box::new(|world: &mut World| come(world, login(Secret::new("z")).into()))),
        (
            "wrong cluster",
            Box::new(|world: &mut World| {
                come(world, login(Secret::new("k").in_cluster("game")).into());
            }),
        ),
        ("no key", Box::new(|world: &mut World| come(world, to_all().into()))),
    ];
    for (kind, what) in kinds {
        let warnings = an_hour_of(World::with("k", websocket_form), what);
        assert!((1..=7).contains(&warnings.len()), "{kind}: {} lines", warnings.len());
        assert!(warnings[0].contains("10.0.0.9") && warnings[0].contains("problem="), "{kind}");
    }
}

/// One with the key that asks for what cannot be done has a line in ten seconds, with how often.
#[test]
fn requests_that_are_not_carried_out_are_told_of_in_sums() {
    let mut world = World::new();
    let business = world.business("a:0");
    let broken = Bytes::from_static(b"{not json");
    let warnings = an_hour_of(world, move |world| {
        for _ in 0..10 {
            let ext = broken.clone();
            world.tell(&business, Packet { ext, ..Packet::new(Command::SendToGroup, 0) });
            world.order(&business, Order::BindUid { connection_id: 1, uid: "0".into() });
            world.tell(&business, Query::GroupIds);
        }
    });
    assert!((300..=361).contains(&warnings.len()), "{} lines", warnings.len());
    let counts = warnings.iter().filter_map(|line| line.split("count=").nth(1));
    let counts = counts.filter_map(|rest| rest.split(' ').next()?.parse::<u64>().ok());
    assert!((100_000..=108_000).contains(&counts.sum::<u64>()));
}

/// Each of them takes the other's link away, and comes back in a second.
#[test]
fn two_businesses_of_one_name_fill_no_log() {
    let lines = an_hour_at(Level::INFO, World::new(), |world| drop(world.link("a:0", None)));
    for (kind, most) in [("link opened", 361), ("link lost", 361)] {
        let told: Vec<&String> = lines.iter().filter(|line| line.contains(kind)).collect();
        assert!((300..=most).contains(&told.len()), "{kind}: {} lines", told.len());
        let times = told.iter().filter_map(|line| line.split("times=").nth(1));
        let times = times.filter_map(|rest| rest.split(' ').next()?.parse::<u64>().ok());
        assert!((3580..=3600).contains(&times.sum::<u64>()), "{kind}");
    }
    assert!(lines.iter().any(|line| line.contains("names of their own")), "{:?}", lines.get(1));
}
