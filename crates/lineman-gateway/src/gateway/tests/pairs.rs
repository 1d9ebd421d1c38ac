//! Every sequence of a few things that can befall a client and its business: at the end nothing waits.
//!
//! A client is paused while its link is full, while no business is there, while its business is being
//! replaced, and while it has its share of events under way; each of these can begin and end during the
//! others.

use lineman_wire::link::{Control, Order};

use super::*;
use crate::rounds::Rounds;

#[derive(Debug, Clone, Copy)]
enum Happening {
    LinksFill,
    LinksDrain,
    BusinessComes,
    BusinessDies,
    ReloadBegins,
    ReloadEnds,
    ClientSpeaks,
    ClientFloods,
    Credit,
    ClientEnds,
    BusinessHangs,
    Heartbeat,
    Sweep,
    Kick,
}

use Happening as H;

const ALL: [Happening; 14] = [
    H::LinksFill,
    H::LinksDrain,
    H::BusinessComes,
    H::BusinessDies,
    H::ReloadBegins,
    H::ReloadEnds,
    H::ClientSpeaks,
    H::ClientFloods,
    H::Credit,
    H::ClientEnds,
    H::BusinessHangs,
    H::Heartbeat,
    H::Sweep,
    H::Kick,
];

struct Story {
    world: World,
    client: Rc<Fake>,
    /// Those that are linked.
    living: Vec<Rc<Fake>>,
    /// The one that is being replaced.
    draining: Option<Rc<Fake>>,
    /// All there ever were.
    businesses: Vec<Rc<Fake>>,
    said: usize,
    someone_died: bool,
}

impl Story {
    fn new() -> Self {
        let mut world = World::new();
        world.core.policy.heartbeat.interval = Duration::from_secs(1);
        world.core.policy.heartbeat.data = Bytes::from_static(b"ping");
        world.core.client_rounds = Rounds::new(world.core.policy.heartbeat.period());
        let first = world.business("a:0");
        let client = world.client();
        let (living, businesses) = (vec![Rc::clone(&first)], vec![first]);
        Self { world, client, living, draining: None, businesses, said: 0, someone_died: false }
    }

    fn is_there(&self) -> bool {
        self.client.close_reason().is_none()
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            H::LinksFill => {
                for business in self.living.clone() {
                    business.room.set(0);
                    self.world.submit(Input::PeerFull(business.id));
                }
            }
            H::LinksDrain => {
                for business in self.living.clone() {
                    business.room.set(usize::MAX);
                    self.world.submit(Input::PeerDrained(business.id));
                }
            }
            H::BusinessComes => {
                let business = self.world.business(&format!("a:{}", self.businesses.len()));
                self.living.push(Rc::clone(&business));
                self.businesses.push(business);
            }
            H::BusinessDies => {
                if !self.living.is_empty() {
                    let business = self.living.remove(0);
                    self.draining.take_if(|draining| draining.id == business.id);
                    self.world.lose(&business);
                    self.someone_died = true;
                }
            }
            H::ReloadBegins => {
                if self.draining.is_none()
                    && let Some(old) = self.living.first().cloned()
                {
                    self.happen(H::BusinessComes);
                    self.world.tell(&old, Control::Drain);
                    self.draining = Some(old);
                }
            }
            H::ReloadEnds => {
                if let Some(old) = self.draining.take() {
                    // It has read everything up to the fence.
                    old.room.set(usize::MAX);
                    self.world.submit(Input::PeerDrained(old.id));
                    self.world.tell(&old, Control::Sync);
                    self.world.tell(&old, Control::Release);
                    self.living.retain(|business| business.id != old.id);
                    self.world.lose(&old);
                }
            }
            // A client that is paused is not read.
            H::ClientSpeaks if self.is_there() && !self.client.paused.get() => {
                self.said += 1;
                self.world.say(&self.client, "hello");
            }
            H::ClientFloods => (0..300).for_each(|_| self.happen(H::ClientSpeaks)),
            H::Credit => self.credit(),
            H::BusinessHangs => self.hang(),
            H::ClientEnds if self.is_there() => self.world.leave(&self.client),
            H::ClientSpeaks | H::ClientEnds => {}
            H::Heartbeat => (0..64).for_each(|_| self.world.submit(Input::Beat)),
            H::Sweep => {
                self.world.now += Duration::from_secs(1);
                self.world.submit(Input::Sweep);
            }
            H::Kick => {
                if let Some(business) = self.living.first().cloned() {
                    let farewell = Body::from("bye");
                    self.world.order(&business, Order::Kick { connection_id: 1, farewell });
                }
            }
        }
    }

    fn credit(&mut self) {
        for business in &self.living {
            let share = Allowance { events: 300, bytes: 1_000_000 };
            self.world.tell(business, Control::Credit { connection_id: 1, share });
        }
    }

    /// The first business says nothing for so long that it is given up, if there is another.
    fn hang(&mut self) {
        for _ in 0..31 {
            self.world.now += Duration::from_secs(1);
            for works in self.living.iter().skip(1) {
                self.world.tell(works, Control::Handled(0));
            }
            self.world.submit(Input::Sweep);
        }
        let closed = |business: &mut Rc<Fake>| business.close_reason().is_some();
        for business in self.living.extract_if(.., closed).collect::<Vec<_>>() {
            self.draining.take_if(|draining| draining.id == business.id);
            self.world.lose(&business);
            self.someone_died = true;
        }
    }

    /// Lets everything that waits come to its end, and looks at what came of it.
    fn check(mut self, story: &[Happening]) {
        self.happen(H::LinksDrain);
        self.happen(H::ReloadEnds);
        if self.living.is_empty() {
            self.happen(H::BusinessComes);
        }
        self.happen(H::Credit);
        let heard = |businesses: &[Rc<Fake>], command| {
            let count = |business: &Rc<Fake>| {
                let packets = business.packets();
                packets.iter().filter(|packet| packet.command == command).count()
            };
            businesses.iter().map(count).sum::<usize>()
        };
        if self.is_there() {
            assert!(!self.client.paused.get(), "it waits for ever after {story:?}");
            self.businesses.iter().for_each(|business| drop(business.heard()));
            self.world.say(&self.client, "after");
            assert_eq!(heard(&self.living, Command::OnMessage), 1, "after {story:?}");
            assert!(self.world.core.is_read(self.world.core.clients.get(1).unwrap().link));
        } else {
            let ends = heard(&self.businesses, Command::OnClose);
            assert!(ends <= 1 && (ends == 1 || self.someone_died), "{ends} ends after {story:?}");
        }
    }
}

#[test]
fn nothing_waits_for_ever() {
    let mut ended = 0;
    for first in ALL {
        for second in ALL {
            for third in ALL {
                for fourth in ALL {
                    let story = [first, second, third, fourth];
                    let mut told = Story::new();
                    for happening in story {
                        told.happen(happening);
                    }
                    ended += usize::from(!told.is_there());
                    told.check(&story);
                }
            }
        }
    }
    // Of 14^4 stories, those in which the client leaves or is closed.
    assert!(ended > 0 && ended < 14_usize.pow(4), "{ended}");
}

#[test]
fn a_message_that_was_read_is_never_lost_to_a_business_that_lives() {
    for happening in [H::LinksFill, H::ReloadBegins, H::BusinessComes, H::Heartbeat, H::Sweep] {
        let mut story = Story::new();
        for step in [H::ClientSpeaks, happening, H::ClientSpeaks, H::LinksDrain, H::ReloadEnds] {
            story.happen(step);
        }
        let messages = |business: &Rc<Fake>| {
            let packets = business.packets();
            packets.iter().filter(|packet| packet.command == Command::OnMessage).count()
        };
        let heard: usize = story.businesses.iter().map(messages).sum();
        assert_eq!(heard, story.said, "after {happening:?}");
    }
}

/// Its silence is ours: it is not pinged, not given up, and its count goes on where it was.
#[test]
fn a_client_that_is_not_read_has_no_heartbeat() {
    for (begins, ends) in [
        (H::LinksFill, H::LinksDrain),
        (H::BusinessDies, H::BusinessComes),
        (H::ReloadBegins, H::ReloadEnds),
        (H::ClientFloods, H::Credit),
    ] {
        let mut story = Story::new();
        story.world.core.policy.heartbeat.limit = 1;
        story.happen(begins);
        assert!(story.client.paused.get(), "{begins:?}");
        story.happen(H::Heartbeat);
        story.happen(H::Heartbeat);
        assert!(story.is_there() && story.client.sent.borrow().is_empty(), "{begins:?}");
        story.happen(ends);
        assert!(!story.client.paused.get(), "{ends:?}");
        story.happen(H::Heartbeat);
        story.happen(H::Heartbeat);
        assert_eq!(story.client.sent.borrow().len(), 1, "pinged once, {ends:?}");
        assert_eq!(story.client.close_reason(), Some(CloseReason::HeartbeatTimeout), "{ends:?}");
    }
}
