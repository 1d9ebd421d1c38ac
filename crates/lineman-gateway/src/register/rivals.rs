//! Gateways that announce an address which another gateway has: one of two machines is misconfigured, or a machine
//! is back before the connection of its former life has ended. The one that is known is asked whether it lives.
//! No socket, no clock.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::book::Announced;

/// How long the one that is known may take to say something: above what a packet takes that has to be sent
/// again, below what the other one's clients would wait for.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);

/// Those that wait. Each has a connection of its own and has shown the key, so there are few.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Rivals(Vec<Rival>);

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Rival {
    peer: u64,
    /// The gateway that has the address.
    former: u64,
    announced: Announced,
    #[serde(with = "crate::written")]
    until: Instant,
}

impl Rivals {
    /// A gateway waits for a sign of life of another one, which was asked for it.
    pub(super) fn wait(&mut self, peer: u64, former: u64, announced: Announced, now: Instant) {
        self.forget(peer);
        self.0.push(Rival { peer, former, announced, until: now + ANSWER_LIMIT });
    }

    /// Takes out those that wait for this one.
    pub(super) fn of(&mut self, former: u64) -> Vec<(u64, Announced)> {
        let waited = self.0.extract_if(.., |rival| rival.former == former);
        waited.map(|rival| (rival.peer, rival.announced)).collect()
    }

    /// Takes out the first of those that wait for this one, which has its place from now on: the others wait for a
    /// sign of life of that.
    pub(super) fn succeed(&mut self, former: u64) -> Option<(u64, Announced)> {
        let first = self.0.iter().position(|rival| rival.former == former)?;
        let Rival { peer, announced, .. } = self.0.remove(first);
        for rival in self.0.iter_mut().filter(|rival| rival.former == former) {
            (rival.former, rival.until) = (peer, rival.until + ANSWER_LIMIT);
        }
        Some((peer, announced))
    }

    pub(super) fn are_waiting_for(&self, former: u64) -> bool {
        self.0.iter().any(|rival| rival.former == former)
    }

    /// One that may have waited is gone.
    pub(super) fn forget(&mut self, peer: u64) {
        self.0.retain(|rival| rival.peer != peer);
    }

    /// Returns those that were asked, and have taken too long.
    pub(super) fn late(&self, now: Instant) -> BTreeSet<u64> {
        self.0.iter().filter(|rival| rival.until <= now).map(|rival| rival.former).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use lineman_wire::link::Secret;
    use lineman_wire::link::register::Line;

    use super::*;
    use crate::register::book::{Book, Reaction, oddity};
    use crate::strangers::Strangers;

    const ADDRESS: &str = "10.0.0.2:4000";

    struct Scene {
        book: Book,
        now: Instant,
    }

    impl Scene {
        /// A register that a gateway, peer 1, has told its address.
        fn new() -> Self {
            let strangers = Strangers::new(8, Duration::from_secs(5));
            let mut scene =
                Self { book: Book::new(Secret::default(), strangers), now: Instant::now() };
            assert_eq!(scene.announce(1, Some("e1")), Reaction::TellAll);
            assert!(scene.book.take_due().is_empty());
            scene
        }

        fn announce(&mut self, peer: u64, epoch: Option<&str>) -> Reaction {
            self.book.connected(peer, self.now);
            let line = Line::GatewayConnect {
                address: ADDRESS.to_owned(),
                secret_key: Secret::default(),
                lineman: epoch.map(|_| 3),
                epoch: epoch.map(str::to_owned),
                explicit: true,
            };
            self.say(peer, &line)
        }

        fn say(&mut self, peer: u64, line: &Line) -> Reaction {
            let from = SocketAddr::from(([10, 0, 0, u8::try_from(peer).unwrap()], 50_000));
            self.book.heard(peer, Some(from), &line.encode(), self.now)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_second_of_two_that_live_is_refused_and_both_are_told() {
        let mut scene = Scene::new();
        assert_eq!(scene.announce(2, Some("e2")), Reaction::Nothing);
        assert_eq!(scene.book.take_due(), [(1, Reaction::Ask)]);
        assert_eq!(scene.book.gateway_count(), 1, "it is not listed meanwhile");
        scene.say(1, &Line::Ping);
        let due = scene.book.take_due();
        let [(2, Reaction::Object(reason, Some(line))), (1, Reaction::Say(text))] = &due[..] else {
            panic!("{due:?}")
        };
        let taken = "address 10.0.0.2:4000 is taken: a gateway that lives announces it from 10.0.0.1, and this one from";
        assert!(reason.starts_with(taken) && reason.contains("from 10.0.0.2 (hint"), "{reason}");
        assert!(line.contains(r#""address_taken":true"#), "{line}");
        let notice = r#"{"event":"notice","text":"a gateway at 10.0.0.2 announced the address"#;
        assert!(text.starts_with(notice), "{text}");
        scene.book.gone(2);
        scene.say(1, &Line::Ping);
        assert!(scene.book.take_due().is_empty() && scene.book.gateway_count() == 1);
    }

    #[tokio::test(start_paused = true)]
    async fn of_two_that_wait_for_one_that_is_gone_one_gets_the_address() {
        let mut scene = Scene::new();
        scene.announce(2, Some("e2"));
        scene.announce(3, Some("e3"));
        assert_eq!(scene.book.take_due(), [(1, Reaction::Ask), (1, Reaction::Ask)]);
        assert_eq!(scene.book.gone(1), Reaction::TellAll);
        assert_eq!(scene.book.take_due(), [(2, Reaction::SayAlive), (2, Reaction::Ask)]);
        assert_eq!(scene.book.gateway_count(), 1);
        scene.say(2, &Line::Ping);
        assert!(matches!(scene.book.take_due()[0], (3, Reaction::Object(..))));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_back_takes_the_place_of_its_former_life() {
        // The connection ends, as the machine that is asked knows it no more.
        let mut scene = Scene::new();
        scene.announce(2, Some("e2"));
        assert_eq!(scene.book.gone(1), Reaction::TellAll);
        assert_eq!(scene.book.gateway_count(), 1);
        assert_eq!(scene.book.gone(2), Reaction::TellAll, "it is listed");

        // Or there is no answer.
        let mut scene = Scene::new();
        scene.announce(2, Some("e2"));
        assert_eq!(scene.book.take_due(), [(1, Reaction::Ask)]);
        let almost = scene.now + ANSWER_LIMIT - Duration::from_millis(1);
        scene.book.give_up_silent(almost);
        assert!(scene.book.take_due().is_empty());
        scene.book.give_up_silent(scene.now + ANSWER_LIMIT);
        let due = [(1, Reaction::Drop), (2, Reaction::SayAlive), (1, Reaction::TellAll)];
        assert_eq!(scene.book.take_due(), due);
        scene.book.gone(1);
        assert_eq!(scene.book.gateway_count(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_run_and_those_of_php_s_are_not_asked() {
        for (first, second) in [(Some("e1"), None), (None, Some("e1")), (None, None)] {
            let mut scene = Scene::new();
            scene.book.gone(1);
            assert_eq!(scene.announce(1, first), Reaction::TellAll);
            assert_eq!(scene.announce(2, second), Reaction::TellAll);
            assert!(scene.book.take_due().is_empty());
        }
        let mut scene = Scene::new();
        assert_eq!(scene.announce(2, Some("e1")), Reaction::TellAll, "its own new connection");
        // It says again what it said.
        assert_eq!(scene.announce(2, Some("e1")), Reaction::TellAll);
        assert_eq!(scene.book.gateway_count(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_goes_while_it_waits_is_forgotten() {
        let mut scene = Scene::new();
        scene.announce(2, Some("e2"));
        assert_eq!(scene.book.gone(2), Reaction::Nothing);
        scene.book.take_due();
        scene.say(1, &Line::Ping);
        scene.book.give_up_silent(scene.now + ANSWER_LIMIT);
        assert!(scene.book.take_due().is_empty());
    }

    #[test]
    fn a_gateway_that_comes_from_elsewhere_than_it_announces_is_odd() {
        let odd = |announced: &str, from: [u8; 4]| oddity(announced, Some((from, 9).into()));
        assert_eq!(odd("10.0.0.2:4000", [10, 0, 0, 2]), None);
        assert_eq!(odd("10.0.0.2:4000", [127, 0, 0, 1]), None, "it is on this machine");
        assert_eq!(oddity("10.0.0.2:4000", None), None);
        assert_eq!(odd("no address", [10, 0, 0, 2]), None);
        let text = odd("127.0.0.1:4000", [10, 0, 0, 2]).unwrap();
        let said =
            "gateway announces 127.0.0.1:4000 and comes from 10.0.0.2: no other machine finds it";
        assert!(text.starts_with(said), "{text}");
        let text = odd("10.0.0.3:4000", [10, 0, 0, 2]).unwrap();
        assert!(text.contains("comes from 10.0.0.2: right only if"), "{text}");
        let mapped = "[::ffff:10.0.0.2]:9".parse().unwrap();
        assert_eq!(oddity("10.0.0.2:4000", Some(mapped)), None);
    }
}
