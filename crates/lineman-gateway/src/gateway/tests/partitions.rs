//! Businesses that are lost and come back: for each client, `on_connect` and `on_close` take turns.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use lineman_wire::link::Control;
use proptest::collection;
use proptest::prelude::*;

use super::*;

/// After so many seconds without a sign each end gives a link up.
const SILENCE: u32 = 15;

/// After so many more a business takes the gateway for dead.
const VERDICT: u32 = 5;

/// A business as far as starts and ends of clients go, with the wire between.
struct Business {
    key: String,
    /// The gateway's end of the link; what it was sent and has not arrived is in it.
    link: Option<Rc<Fake>>,
    /// Whether our end is open.
    up: bool,
    /// What was sent to the gateway and has not arrived.
    sent: VecDeque<Packet>,
    /// Nothing arrives here, or there.
    deaf: bool,
    mute: bool,
    unheard_here: u32,
    unheard_there: u32,
    handled: u32,
    /// The clients that it takes for connected: adopted, or told of.
    clients: BTreeSet<u32>,
    /// How long ago its link was lost, while there is no verdict.
    lost: Option<u32>,
    /// Those whose end it has told as the gateway seemed to be dead.
    ended: BTreeSet<u32>,
    /// What the gateway has not confirmed that it was kept.
    unsettled: BTreeSet<u32>,
}

impl Business {
    fn new(key: &str) -> Self {
        Self {
            key: key.to_owned(),
            link: None,
            up: false,
            sent: VecDeque::new(),
            deaf: false,
            mute: false,
            unheard_here: 0,
            unheard_there: 0,
            handled: 0,
            clients: BTreeSet::new(),
            lost: None,
            ended: BTreeSet::new(),
            unsettled: BTreeSet::new(),
        }
    }

    /// Deals with one packet; notes what the application is told.
    fn hear(&mut self, packet: &Packet, told: &mut Vec<(u32, bool)>) {
        let id = packet.connection_id;
        match packet.command {
            Command::Hello => {
                let mut kept = std::mem::take(&mut self.unsettled);
                if self.lost.take().is_some() {
                    kept.append(&mut self.clients);
                }
                let ids = |set: &BTreeSet<u32>| set.iter().copied().collect();
                let (clients, ended) = (ids(&kept), ids(&self.ended));
                self.sent.push_back(Control::Kept { clients, ended }.into());
                self.sent.push_back(Control::Sync.into());
                self.unsettled = kept;
            }
            Command::Synced => {
                self.unsettled.clear();
                self.ended.clear();
            }
            Command::Adopt => drop(self.clients.insert(id)),
            Command::Forget => drop(self.clients.remove(&id)),
            Command::OnConnect | Command::Returned => {
                self.clients.insert(id);
                told.push((id, true));
            }
            Command::OnClose => {
                self.clients.remove(&id);
                self.unsettled.remove(&id);
                told.push((id, false));
            }
            _ => {}
        }
        let events = [Command::OnConnect, Command::Returned, Command::OnClose];
        if events.contains(&packet.command) || packet.command == Command::OnWebSocketConnect {
            self.handled += 1;
            self.sent.push_back(Control::Handled(self.handled).into());
        }
    }
}

/// A gateway with two businesses of other machines, a second at a time.
pub(super) struct Cluster {
    pub(super) world: World,
    businesses: Vec<Business>,
    clients: Vec<Rc<Fake>>,
    /// What the application was told of each client: that it is here, or gone.
    pub(super) told: BTreeMap<u32, Vec<bool>>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    /// What a business sends does not arrive; nor does what it is sent.
    Mute(usize),
    Deaf(usize),
    Cut(usize),
    /// Its link takes nothing more.
    Jam(usize),
    Heal(usize),
    Comes,
    Goes(usize),
    /// It is closed for a peer that wants that.
    Kicked(usize),
    Pass(u32),
}

impl Cluster {
    pub(super) fn new() -> Self {
        let mut cluster = Self {
            world: World::new(),
            businesses: vec![Business::new("app:0:1"), Business::new("app:1:1")],
            clients: Vec::new(),
            told: BTreeMap::new(),
        };
        cluster.world.core.policy.no_business_limit = Duration::from_hours(99);
        cluster.world.core.policy.partition_limit = Duration::from_mins(50);
        cluster.second();
        cluster
    }

    pub(super) fn step(&mut self, step: Step) {
        match step {
            Step::Mute(of) => self.businesses[of].mute = true,
            Step::Deaf(of) => self.businesses[of].deaf = true,
            Step::Cut(of) => {
                (self.businesses[of].mute, self.businesses[of].deaf) = (true, true);
            }
            Step::Heal(of) => {
                (self.businesses[of].mute, self.businesses[of].deaf) = (false, false);
                if let Some(link) = self.businesses[of].link.clone() {
                    link.room.set(usize::MAX);
                    self.world.submit(Input::PeerDrained(link.id));
                }
            }
            Step::Jam(of) => {
                if let Some(link) = &self.businesses[of].link {
                    link.room.set(0);
                }
            }
            Step::Comes => {
                let client = self.world.client();
                self.clients.push(client);
            }
            Step::Goes(which) => {
                if !self.clients.is_empty() {
                    let client = self.clients.remove(which % self.clients.len());
                    self.world.leave(&client);
                }
            }
            Step::Kicked(which) => {
                if !self.clients.is_empty() {
                    let client = self.clients.remove(which % self.clients.len());
                    let asks = self.world.peer_from(([127, 0, 0, 1], 6000).into());
                    self.world.kick(&asks, &client);
                    self.world.lose(&asks);
                }
            }
            Step::Pass(seconds) => (0..seconds).for_each(|_| self.second()),
        }
        self.deliver();
    }

    /// Brings what was sent to where it arrives, until nothing moves.
    fn deliver(&mut self) {
        let mut told = Vec::new();
        loop {
            let mut moved = false;
            for business in &mut self.businesses {
                let Some(link) = business.link.clone() else { continue };
                if business.up && !business.deaf {
                    for packet in link.packets() {
                        business.hear(&packet, &mut told);
                        moved = true;
                    }
                }
                while !business.mute
                    && let Some(packet) = business.sent.pop_front()
                {
                    self.world.submit(Input::PeerSaid(link.id, packet));
                    moved = true;
                }
            }
            if !moved {
                break;
            }
        }
        for (id, here) in told {
            self.told.entry(id).or_default().push(here);
        }
    }

    fn second(&mut self) {
        self.world.now += Duration::from_secs(1);
        self.world.submit(Input::Sweep);
        for at in 0..self.businesses.len() {
            self.look_at(at);
        }
        self.deliver();
    }

    fn look_at(&mut self, at: usize) {
        let business = &mut self.businesses[at];
        let count = |unheard: u32, deaf: bool| if deaf { unheard + 1 } else { 0 };
        // Neither end gets anything acknowledged, in whichever direction the way is cut.
        let cut = business.deaf || business.mute;
        business.unheard_here = count(business.unheard_here, cut);
        business.unheard_there = count(business.unheard_there, cut);
        let ended_there = business.link.as_ref().is_some_and(|link| link.close_reason().is_some());
        if let Some(link) = &business.link
            && (business.unheard_there >= SILENCE
                || ended_there
                || (!business.up && !business.mute))
        {
            let link = Rc::clone(link);
            business.link = None;
            business.sent.clear();
            let _lost = link.sent.take();
            self.world.peers.retain(|peer| peer.id != link.id);
            self.world.lose(&link);
        }
        let business = &mut self.businesses[at];
        let lost_here = business.link.is_none() && !business.deaf;
        if business.up && (business.unheard_here >= SILENCE || lost_here) {
            business.up = false;
            business.sent.clear();
            business.lost = Some(0);
        }
        if let Some(since) = &mut business.lost {
            *since += 1;
            if *since >= VERDICT {
                business.lost = None;
                for id in std::mem::take(&mut business.clients) {
                    business.ended.insert(id);
                    self.told.entry(id).or_default().push(false);
                }
            }
        }
        if !business.up && !cut && business.link.is_none() {
            (business.up, business.handled) = (true, 0);
            let key = business.key.clone();
            let link = self.world.link(&key, Some(3));
            self.businesses[at].link = Some(link);
        }
    }

    /// Lets everything come to rest, and looks at what the application was told: its last word is right, and where
    /// `strict`, starts and ends have taken turns.
    fn tell(steps: &[Step], strict: bool) {
        let mut cluster = Self::new();
        let rest = [Step::Heal(0), Step::Heal(1), Step::Pass(60)];
        for step in steps.iter().chain(&rest) {
            cluster.step(*step);
        }
        let here: BTreeSet<u32> = cluster.world.core.clients.iter().map(|(id, _)| id).collect();
        for (id, told) in &cluster.told {
            let last = told.last() == Some(&true);
            assert_eq!(here.contains(id), last, "client {id}: {told:?} after {steps:?}");
            let turns = told.iter().enumerate().all(|(place, here)| *here == (place % 2 == 0));
            assert!(turns || !strict, "client {id}: {told:?} after {steps:?}");
        }
        assert!(here.iter().all(|id| cluster.told.contains_key(id)), "after {steps:?}");
        assert_eq!(cluster.world.gauge("waiting_ends"), 0, "after {steps:?}");
    }
}

/// A step; cuts are of the first `businesses`, of some kind more often than of others.
pub(super) fn any_step(businesses: usize, often: fn(usize) -> Step) -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => (0..businesses).prop_map(often),
        1 => (0..businesses).prop_map(Step::Deaf),
        2 => (0..businesses).prop_map(Step::Cut),
        1 => (0..businesses).prop_map(Step::Jam),
        3 => (0..businesses).prop_map(Step::Heal),
        4 => Just(Step::Comes),
        2 => (0..10_usize).prop_map(Step::Goes),
        1 => (0..10_usize).prop_map(Step::Kicked),
        4 => (1..30_u32).prop_map(Step::Pass),
    ]
}

#[test]
fn a_partition_of_each_kind_is_put_right() {
    for (cut, strict) in [(Step::Cut(0), true), (Step::Deaf(0), true), (Step::Mute(0), false)] {
        for seconds in [1, 5, 14, 16, 19, 21, 60, 590] {
            let mut steps = vec![Step::Comes; 6];
            steps.extend([cut, Step::Comes, Step::Goes(0), Step::Goes(0), Step::Pass(seconds)]);
            steps.extend([Step::Goes(0), Step::Goes(0), Step::Comes, Step::Pass(3)]);
            Cluster::tell(&steps, strict);
        }
    }
}

/// What a business hears of a client that others know comes in two packets, or never arrives: one that is back and
/// has not kept it may have told its end, or never heard of it.
#[test]
fn an_end_is_told_though_who_was_to_tell_it_never_knew_the_client() {
    use Step::*;
    let tell = |steps: &[Step]| Cluster::tell(steps, false);
    // The end alone went to another business; a client that had moved ended there.
    tell(&[Comes, Deaf(0), Pass(6), Goes(0), Pass(9), Cut(1), Heal(0), Pass(15)]);
    tell(&[Comes, Cut(0), Pass(14), Cut(1), Pass(2), Goes(0), Heal(0), Pass(14)]);
}

/// A business has heard of a start and could not say so, so another one is told of it as well, and hears nothing.
#[test]
fn an_end_is_told_though_the_start_was_told_elsewhere() {
    use Step::*;
    let tell = |steps: &[Step]| Cluster::tell(steps, false);
    // The first is back before the client goes, or when the second is lost, too.
    tell(&[Mute(0), Comes, Pass(12), Cut(1), Pass(4), Heal(0), Pass(2), Goes(0), Pass(15)]);
    tell(&[Mute(0), Comes, Pass(2), Cut(1), Pass(13), Goes(0), Pass(2), Heal(0), Pass(2)]);
    // The second is back before the first.
    tell(&[Mute(0), Cut(1), Pass(12), Comes, Pass(3), Goes(0), Heal(1), Pass(1)]);
    // The first tells the end before the second has heard of the start.
    tell(&[Mute(0), Jam(1), Comes, Pass(18), Goes(0), Heal(0), Pass(1)]);
    // The first has told the end before the second has heard of the start, and comes back after.
    let mut steps = vec![Mute(0), Comes, Comes, Comes, Cut(1), Pass(18), Goes(0), Heal(1), Pass(1)];
    steps.extend([Cut(1), Pass(15), Goes(1)]);
    tell(&steps);
    // What the second was told has not left.
    tell(&[Mute(0), Comes, Pass(12), Jam(1), Pass(4), Heal(0), Pass(2), Goes(0), Cut(1), Pass(15)]);
}

/// One has told the end of a client, and another one that has it never heard that it is here after all.
#[test]
fn what_was_kept_does_not_undo_an_end_that_another_one_told() {
    use Step::*;
    let mut steps = vec![Comes, Deaf(0), Pass(18), Jam(1), Comes, Heal(0), Pass(15)];
    steps.extend([Mute(0), Pass(15)]);
    Cluster::tell(&steps, false);
    // Both have told it, and the second was announced it again before the first is back.
    let mut steps = vec![Comes, Mute(0), Pass(1), Mute(1), Pass(18), Heal(1), Pass(1), Deaf(1)];
    steps.extend([Goes(0), Pass(15)]);
    Cluster::tell(&steps, false);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Where one business is out of reach now and then, and what it says arrives if it hears.
    #[test]
    fn starts_and_ends_take_turns(steps in collection::vec(any_step(1, Step::Cut), 1..40)) {
        Cluster::tell(&steps, true);
    }

    /// Where all may be, in one direction or both, a start may be told twice; the last word is right.
    #[test]
    fn the_last_word_is_right(steps in collection::vec(any_step(2, Step::Mute), 1..40)) {
        Cluster::tell(&steps, false);
    }
}
