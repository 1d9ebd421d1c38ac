//! What a business has been told of the roll, and what of its binds and joins it has been told are done.
//!
//! A link tells what has changed before everything else that it sends ([`Link::push`](super::links::Link::push)),
//! so that a business that hears of a client knows every name that was bound before; the rest is told at the end
//! of a turn. A link whose business does not read is told to forget everything, once, and nothing more until it
//! reads on: it costs no memory.

use std::time::Duration;

use lineman_wire::link::{Change, Event, Extent, HeldNames, NameKey};
use serde::{Deserialize, Serialize};

use super::core::Core;
use super::links::{Link, LinkId};
use super::outlet::Outlet;
use super::roll::{PART, SharedRoll};
use super::share::LOOK;

/// How many bytes may wait on a link that is told the roll's next part: events are not to wait behind all of it.
const ROOM: usize = 256 * 1024;

/// How far a business of version 3 has been told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Told {
    #[serde(skip)]
    roll: SharedRoll,
    /// Up to which change.
    version: u64,
    progress: ToldSoFar,
    /// How many of its binds and joins were dealt with, and how many of those it has been told of.
    claims: u32,
    claims_confirmed: u32,
    /// The last number it was asked to confirm, and the last that it did.
    asked: u32,
    confirmed: u32,
    /// What it waits for every business to confirm, its own number first; and what after that.
    settling: Option<(u32, u32)>,
    settles_next: Option<(u32, u32)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum ToldSoFar {
    /// It knows that it knows nothing.
    Nothing,
    /// It was told of the names up to this key.
    UpTo(NameKey),
    /// It was told of all.
    Whole,
}

impl Told {
    pub(super) fn new(roll: &SharedRoll) -> Self {
        let (version, settles) = (roll.borrow().version(), roll.borrow().settles());
        roll.borrow_mut().is_wanted = true;
        Self {
            roll: SharedRoll::clone(roll),
            version,
            progress: ToldSoFar::Nothing,
            claims: 0,
            claims_confirmed: 0,
            asked: settles,
            confirmed: settles,
            settling: None,
            settles_next: None,
        }
    }

    /// Goes on with the roll that it was about, in another process.
    pub(super) fn go_on_with(&mut self, roll: &SharedRoll) {
        self.roll = SharedRoll::clone(roll);
    }

    /// Whether names have come or gone that it was not told of.
    pub(super) fn has_changes(&self) -> bool {
        self.version != self.roll.borrow().version()
    }

    /// Returns what it has to be told now; `stuck` is whether its link takes nothing.
    pub(super) fn news(&mut self, stuck: bool) -> Option<HeldNames> {
        let (changes, version) = {
            let roll = self.roll.borrow();
            (roll.since(self.version).to_vec(), roll.version())
        };
        self.version = version;
        let behind = !changes.is_empty() && self.progress != ToldSoFar::Nothing;
        if stuck {
            return behind.then(|| {
                self.progress = ToldSoFar::Nothing;
                self.roll.borrow_mut().is_wanted = true;
                self.entries(Extent::Begin, &[])
            });
        }
        let changes = if behind { &*changes } else { &[] };
        let due = behind || self.claims != self.claims_confirmed;
        due.then(|| self.entries(Extent::Go, changes))
    }

    /// Returns the next part of the roll, if it was not told all of it; what has changed has been told before.
    pub(super) fn part(&mut self) -> Option<HeldNames> {
        let after = match self.progress {
            ToldSoFar::Nothing => None,
            ToldSoFar::UpTo(key) => Some(key),
            ToldSoFar::Whole => return None,
        };
        let keys = self.roll.borrow().part(after);
        let (stage, progress) = match keys.last() {
            Some(last) if keys.len() >= PART => (Extent::Go, ToldSoFar::UpTo(*last)),
            _ => (Extent::Whole, ToldSoFar::Whole),
        };
        self.progress = progress;
        let changes: Vec<_> = keys.into_iter().map(|key| Change { key, held: true }).collect();
        Some(self.entries(stage, &changes))
    }

    fn entries(&mut self, stage: Extent, changes: &[Change]) -> HeldNames {
        self.claims_confirmed = self.claims;
        HeldNames::new(stage, self.claims, self.version, changes.iter().copied())
    }

    /// Returns what it has to confirm, if it was not asked for that before.
    pub(super) fn question(&mut self) -> Option<u32> {
        let number = self.roll.borrow().settles();
        (std::mem::replace(&mut self.asked, number) != number).then_some(number)
    }

    /// Whether it was not told all of the roll yet.
    pub(super) fn is_partial(&self) -> bool {
        self.progress != ToldSoFar::Whole
    }

    /// A bind or join of its was dealt with.
    pub(super) fn add_claim(&mut self) {
        self.claims = self.claims.wrapping_add(1);
    }

    /// It wants to hear when every business knows what the roll is now.
    ///
    /// One that asks again and again waits for what it asked first, and then for what it asked last.
    fn settle(&mut self, theirs: u32) {
        let ours = self.roll.borrow_mut().settle();
        let place =
            if self.settling.is_none() { &mut self.settling } else { &mut self.settles_next };
        *place = Some((theirs, ours));
    }

    /// It knows the roll as it was at that number.
    fn confirm(&mut self, number: u32) {
        // A number that was not asked for is none.
        if is_reached(number, self.asked) && !is_reached(number, self.confirmed) {
            self.confirmed = number;
        }
    }

    /// Returns which of its numbers every business has confirmed, if it waits for that.
    fn settled(&mut self, reached: impl Fn(u32) -> bool) -> Option<u32> {
        let (theirs, _) = self.settling.take_if(|(_, ours)| reached(*ours))?;
        self.settling = self.settles_next.take();
        Some(theirs)
    }
}

/// Whether a number that wraps is not beyond another one.
fn is_reached(number: u32, by: u32) -> bool {
    by.wrapping_sub(number).cast_signed() >= 0
}

impl<C: Outlet> Core<C> {
    /// Tells every business what it does not know yet; at the end of a turn.
    pub(super) fn tell_links(&mut self) {
        self.untold = false;
        for link in self.links.iter_mut() {
            link.tell(self.now);
        }
        self.clients.roll.borrow_mut().forget_changes();
    }

    /// Whether there is something to tell at the end of the turn.
    pub(super) fn is_telling_due(&self) -> bool {
        self.untold || self.clients.roll.borrow().has_changes()
    }

    /// Tells the roll's next part to one business that was not told all of it, so that others are served between.
    pub(super) fn go_on_with_roll(&mut self) {
        if let Some(link) = self.links.iter_mut().find(|link| link.wants_part(ROOM)) {
            link.tell_part(self.now);
        }
        let wanted = self.links.iter().any(Link::is_partial);
        self.clients.roll.borrow_mut().is_wanted = wanted;
    }

    /// Returns how soon to go on with it, if some business was not told all.
    pub(super) fn roll_after(&self) -> Option<Duration> {
        let ready = || self.links.iter().any(|link| link.wants_part(ROOM));
        let wanted = self.clients.roll.borrow().is_wanted;
        wanted.then(|| if ready() { Duration::ZERO } else { LOOK })
    }

    /// A peer has bound or joined: its business is told how many of those were dealt with.
    pub(super) fn count_claim(&mut self, peer: LinkId) {
        if let Some(told) = self.links.get_mut(peer).and_then(|link| link.told.as_mut()) {
            told.add_claim();
            self.untold = true;
        }
    }

    /// A business wants to hear when every business knows what was bound before.
    pub(super) fn answer_when_known(&mut self, id: LinkId, number: u32) {
        if let Some(told) = self.links.get_mut(id).and_then(|link| link.told.as_mut()) {
            told.settle(number);
            self.untold = true;
        }
    }

    /// A business knows what it was told before a number.
    pub(super) fn known_up_to(&mut self, id: LinkId, number: u32) {
        if let Some(told) = self.links.get_mut(id).and_then(|link| link.told.as_mut()) {
            told.confirm(number);
        }
        self.answer_settles();
    }

    /// Answers the businesses that wait for what every one has confirmed now.
    pub(super) fn answer_settles(&mut self) {
        let behind = |confirmed: u32, number| !is_reached(number, confirmed);
        let told = self.links.iter().filter_map(|link| link.told.as_ref());
        let confirmed: Vec<u32> = told.map(|told| told.confirmed).collect();
        let reached = |number| !confirmed.iter().any(|confirmed| behind(*confirmed, number));
        for link in self.links.iter_mut() {
            while let Some(number) = link.told.as_mut().and_then(|told| told.settled(reached)) {
                link.push_event(Event::Settled(number), self.now);
            }
        }
    }
}
