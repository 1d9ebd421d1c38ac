//! Every sequence of a few things that can befall a client and its business: at the end nothing waits.
//!
//! A client is paused while its link is full, while no business is there, while its business is being
//! replaced, and while it has its share of events under way; each of these can begin and end during the
//! others. A peer is paused while it does not read, and while its messages to many wait.

use lineman_wire::link::{Audience, Control, Order};

use super::*;
use crate::rounds::Rounds;

#[derive(Debug, Clone, Copy)]
pub(super) enum Happening {
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
    OldBusinessComes,
    FanOut,
    MachineInDoubt,
    MachineAnswers,
    MachineDies,
    AskerFills,
    AskerDrains,
}

use Happening as H;

pub(super) const ALL: [Happening; 21] = [
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
    H::OldBusinessComes,
    H::FanOut,
    H::MachineInDoubt,
    H::MachineAnswers,
    H::MachineDies,
    H::AskerFills,
    H::AskerDrains,
];

/// Those of which each sequence of four is told; of all of them, each of three.
const OFTEN: usize = 14;

/// A message for many, in its wire form: a turn has room for one client's.
static LONG: [u8; 1_500_000] = [0; 1_500_000];

pub(super) struct Story {
    pub(super) world: World,
    client: Rc<Fake>,
    /// A peer that asks, and sends as well.
    asker: Rc<Fake>,
    asker_is_full: bool,
    /// Those that are linked.
    living: Vec<Rc<Fake>>,
    /// The one that is being replaced.
    draining: Option<Rc<Fake>>,
    /// All there ever were.
    businesses: Vec<Rc<Fake>>,
    said: usize,
    /// How many messages were sent to all.
    sent_to_all: usize,
    a_business_died: bool,
}

impl Story {
    pub(super) fn new() -> Self {
        let mut world = World::new();
        world.core.policy.heartbeat.interval = Duration::from_secs(1);
        world.core.policy.heartbeat.data = Bytes::from_static(b"ping");
        world.core.client_rounds = Rounds::new(world.core.policy.heartbeat.period());
        let first = world.business("a:0");
        let client = world.client();
        let _neighbour = world.client();
        let asker = world.peer_from(([127, 0, 0, 1], 5000).into());
        let (living, businesses) = (vec![Rc::clone(&first)], vec![first]);
        Self {
            world,
            client,
            asker,
            asker_is_full: false,
            living,
            draining: None,
            businesses,
            said: 0,
            sent_to_all: 0,
            a_business_died: false,
        }
    }

    fn is_there(&self) -> bool {
        self.client.close_reason().is_none()
    }

    pub(super) fn happen(&mut self, happening: Happening) {
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
            H::BusinessComes => self.come(2),
            H::OldBusinessComes => self.come(1),
            H::BusinessDies => {
                if !self.living.is_empty() {
                    let business = self.living.remove(0);
                    self.draining.take_if(|draining| draining.id == business.id);
                    self.world.lose(&business);
                    self.a_business_died = true;
                }
            }
            H::ReloadBegins => self.begin_reload(),
            H::ReloadEnds => self.end_reload(),
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
                self.look();
            }
            H::FanOut => self.fan_out(),
            H::MachineInDoubt => self.lose_power(1_000),
            H::MachineDies => self.lose_power(13_500),
            H::MachineAnswers => {
                self.living.iter().for_each(|business| business.dead.set(None));
                self.world.wait(250);
            }
            H::AskerFills => {
                self.asker_is_full = true;
                self.world.submit(Input::PeerFull(self.asker.id));
            }
            H::AskerDrains => {
                self.asker_is_full = false;
                self.world.submit(Input::PeerDrained(self.asker.id));
            }
            H::Kick => {
                if let Some(business) = self.living.first().cloned() {
                    let farewell = Body::from("bye");
                    self.world.order(&business, Order::Kick { connection_id: 1, farewell });
                }
            }
        }
    }

    /// What waits for its turn has it.
    pub(super) fn look(&mut self) {
        while self.world.core.look_after().is_some() {
            self.world.submit(Input::Look);
        }
    }

    fn begin_reload(&mut self) {
        if self.draining.is_none()
            && let Some(old) = self.living.first().cloned()
        {
            self.happen(H::BusinessComes);
            self.world.tell(&old, Control::Drain);
            self.draining = Some(old);
        }
    }

    fn end_reload(&mut self) {
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

    /// A business comes that speaks this version of the extension.
    fn come(&mut self, version: u32) {
        let key = format!("a:{}", self.businesses.len());
        let business = self.world.link(&key, Some(version));
        self.living.push(Rc::clone(&business));
        self.businesses.push(business);
    }

    /// A business and the peer that asks send to all as long as they are read.
    fn fan_out(&mut self) {
        for peer in self.living.first().into_iter().chain([&self.asker]) {
            for _ in 0..6 {
                if !peer.paused.get() {
                    let message = Body::Raw(Bytes::from_static(&LONG));
                    let order = Order::SendToAll { audience: Audience::All, message };
                    self.world.submit(Input::PeerSaid(peer.id, order.into()));
                    self.sent_to_all += 1;
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
        self.see_who_was_given_up();
    }

    /// The first business's machine answers nothing for so long.
    fn lose_power(&mut self, milliseconds: u64) {
        if let Some(business) = self.living.first().cloned() {
            self.world.kill(&business);
            self.world.wait(milliseconds);
            self.see_who_was_given_up();
        }
    }

    fn see_who_was_given_up(&mut self) {
        let closed = |business: &mut Rc<Fake>| business.close_reason().is_some();
        for business in self.living.extract_if(.., closed).collect::<Vec<_>>() {
            self.draining.take_if(|draining| draining.id == business.id);
            self.world.lose(&business);
            self.a_business_died = true;
        }
    }

    /// Lets everything that waits come to its end, and looks at what came of it.
    fn check(mut self, story: &[Happening]) {
        self.happen(H::MachineAnswers);
        self.happen(H::LinksDrain);
        self.happen(H::ReloadEnds);
        if self.living.is_empty() {
            self.happen(H::BusinessComes);
        }
        self.happen(H::Credit);
        self.happen(H::AskerDrains);
        self.look();
        let core = &self.world.core;
        assert!(core.unread_peers.is_empty() && core.fan_outs.len() == 0, "after {story:?}");
        for peer in self.living.iter().chain([&self.asker]) {
            assert!(!peer.paused.get(), "a peer is not read after {story:?}");
        }
        let heard = |businesses: &[Rc<Fake>], command| {
            let count = |business: &Rc<Fake>| {
                let packets = business.packets();
                let about =
                    |packet: &&Packet| (packet.command, packet.connection_id) == (command, 1);
                packets.iter().filter(about).count()
            };
            businesses.iter().map(count).sum::<usize>()
        };
        if self.is_there() {
            assert!(!self.client.paused.get(), "it waits for ever after {story:?}");
            let got = self.client.sent.borrow().iter().filter(|m| m.len() == LONG.len()).count();
            assert_eq!(got, self.sent_to_all, "after {story:?}");
            self.businesses.iter().for_each(|business| drop(business.heard()));
            self.world.say(&self.client, "after");
            assert_eq!(heard(&self.living, Command::OnMessage), 1, "after {story:?}");
            assert!(self.world.core.is_read(self.world.core.clients.get(1).unwrap().link));
        } else {
            let ends = heard(&self.businesses, Command::OnClose);
            assert!(
                ends <= 1 && (ends == 1 || self.a_business_died),
                "{ends} ends after {story:?}"
            );
        }
    }
}

#[test]
fn nothing_waits_for_ever() {
    let (mut ended, mut told) = (0, 0);
    let mut tell = |steps: &[Happening]| {
        let mut story = Story::new();
        if told % 256 != 0 {
            // A move with long messages takes its time.
            story.world.until_move = 0;
        }
        for &happening in steps {
            story.happen(happening);
            assert!(!story.asker_is_full || story.asker.paused.get(), "it is read in {steps:?}");
        }
        ended += usize::from(!story.is_there());
        told += 1;
        story.check(steps);
    };
    for first in ALL {
        for second in ALL {
            for third in ALL {
                tell(&[first, second, third]);
            }
        }
    }
    for first in &ALL[..OFTEN] {
        for second in &ALL[..OFTEN] {
            for third in &ALL[..OFTEN] {
                for fourth in &ALL[..OFTEN] {
                    tell(&[*first, *second, *third, *fourth]);
                }
            }
        }
    }
    // Those in which the client leaves or is closed.
    assert!(ended > 0 && ended < told, "{ended}");
}

#[test]
fn a_message_that_was_read_is_never_lost_to_a_business_that_lives() {
    let ends = [H::ClientSpeaks, H::MachineAnswers, H::LinksDrain, H::ReloadEnds];
    for happening in
        [H::LinksFill, H::ReloadBegins, H::BusinessComes, H::Heartbeat, H::Sweep, H::MachineInDoubt]
    {
        let mut story = Story::new();
        for step in [H::ClientSpeaks, happening].into_iter().chain(ends) {
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
        (H::MachineInDoubt, H::MachineAnswers),
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
