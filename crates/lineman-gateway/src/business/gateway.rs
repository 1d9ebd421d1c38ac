//! What a business knows of one gateway: its link, what waits on it, and what to do without it.

use std::net::IpAddr;
use std::time::Duration;

use lineman::connection::{CloseReason, Connection};
use lineman_wire::link::{Allowance, Codec};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::SIGN_OF_LIFE;
use super::clients::LinkId;
use super::packets::STANDSTILL;
use crate::discovery::retry_pause;
use crate::losses::LinkLosses;
use crate::outage::{Outage, back_off, why};
use crate::reach::LinkReach;

/// How many events of one link may wait for their handlers before the gateway is not read any more,
/// and goes on when half of them are done.
///
/// A client's burst must not stop its neighbours, so it is far above what one client sends; an event
/// costs some hundred bytes, so it is a few megabytes for each gateway. A gateway that gives each client
/// a share is told to give less as this fills, so that clients wait and not the link.
const MAX_WAITING: usize = 10_000;

/// The same bound in bytes: two messages of the greatest size are below it.
const MAX_WAITING_BYTES: usize = 16 * 1024 * 1024;

/// So many times the bounds may wait on a link with shares: what many clients sent at once, before it was
/// known that they do.
const IN_FLIGHT: usize = 4;

/// A share is at most this part of the room that is left: with many clients at it, some room stays.
const PART_OF_ROOM: usize = 8;

/// A gateway of ours asks each second whether we live. One that has said nothing for so long hangs: longer than
/// this loop may stand still and not know it, and two questions more.
const HANGS: Duration = STANDSTILL.saturating_add(SIGN_OF_LIFE.saturating_mul(2));

/// How long such a gateway may be silent by default, as long as it waits for a business.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);

/// How long others on another machine may be: they say something every 25 s, and thrice that is silence.
const OTHERS_SILENCE_LIMIT: Duration = Duration::from_secs(75);

/// So many events may be handled before a gateway is told: half of what it takes for no load.
const MOST_UNTOLD: u32 = 32;

/// How seldom it is told while there are fewer: what it was not told of counts as lost if this process dies, and
/// far below what makes a business look slow.
const REPORT_PAUSE: Duration = Duration::from_millis(20);

/// A link that was up for less is not tried again at once: the gateway does not want us.
pub(super) const SETTLED: Duration = Duration::from_secs(1);

/// One gateway, listed by a register or linked.
#[derive(Debug, Default)]
pub(super) struct KnownGateway {
    /// A register lists it.
    pub(super) listed: bool,
    /// It has said that it speaks the extension: what is connected and does not say so hangs.
    pub(super) is_ours: bool,
    pub(super) link: Option<Link>,
    /// The last link is lost, and whether the gateway is dead is not known yet.
    pub(super) lost: Option<Lost>,
    /// A new attempt is due after a pause.
    pub(super) pause: Option<Pause>,
    /// When the last attempt began.
    pub(super) tried: Option<Instant>,
    /// What there has to be of it before this process is ready, a successor.
    pub(super) required: Option<Required>,
    /// Why there is no link, from the first failure until one has proved good.
    pub(super) outage: Option<Outage>,
    /// What the log has to say of lost links.
    pub(super) losses: LinkLosses,
}

impl KnownGateway {
    /// Returns whether there is a link that the gateway wants, as far as can be known: one of ours says so, and goes
    /// on to say something; one of `GatewayWorker`'s that does not want us ends it at once.
    pub(super) fn is_linked(&self, now: Instant) -> bool {
        let Some(link) = self.link.as_ref().filter(|link| !link.refused) else { return false };
        let Some(up) = link.up else { return false };
        if self.is_ours {
            return link.epoch.is_some() && !link.hangs(now);
        }
        self.outage.is_none() || now.saturating_duration_since(up) >= SETTLED
    }

    /// An attempt has failed, or the link has ended.
    pub(super) fn fail(&mut self, problem: String, now: Instant) {
        match &mut self.outage {
            Some(outage) => outage.again(problem),
            None => self.outage = Some(Outage::new(problem, now)),
        }
    }

    /// The gateway refuses us, by its last packet on the link.
    pub(super) fn refuse(&mut self, reason: &str, now: Instant) {
        let problem = format!("refuses this process: {reason}");
        self.outage.get_or_insert_with(|| Outage::new(problem.clone(), now)).refused(problem);
        if let Some(link) = &mut self.link {
            link.refused = true;
        }
    }

    /// The link of that number has ended; returns it, if it was the one. `burden` says what it had: clients and events.
    pub(super) fn lose_link(
        &mut self,
        id: LinkId,
        reason: &CloseReason,
        burden: impl FnOnce() -> (u64, u64),
        now: Instant,
    ) -> Option<Link> {
        let link = self.link.take_if(|link| link.id() == id)?;
        match link.up {
            None => self.fail(format!("does not answer ({})", why(reason)), now),
            // The log tells of it once, and not each time.
            Some(_) if link.refused => {}
            Some(_) => {
                self.fail(format!("has lost its link ({})", why(reason)), now);
                let (clients, events) = burden();
                self.losses.add(reason.to_string(), clients, events);
            }
        }
        Some(link)
    }

    /// Returns how long to wait before it is tried again.
    pub(super) fn pause(&self) -> Duration {
        match &self.outage {
            Some(outage) if outage.refusals() > 0 => back_off(outage.refusals()),
            // The first is the loss of a link, perhaps, and the next the attempt at once after that.
            Some(outage) => retry_pause(outage.attempts().saturating_sub(2)),
            None => retry_pause(0),
        }
    }

    /// Returns whether there should be a link to it.
    pub(super) fn is_wanted(&self) -> bool {
        self.listed || self.lost.is_some() || self.required.is_some()
    }

    /// Returns whether what is required of it is not there.
    pub(super) fn is_missing(&self) -> bool {
        let link = self.link.as_ref();
        match self.required {
            None => false,
            Some(Required::Link) => link.is_none_or(|link| link.up.is_none()),
            Some(Required::Answer) => link.is_none_or(|link| link.epoch.is_none()),
        }
    }

    /// Returns what is known of why there is no link that works.
    pub(super) fn problem(&self) -> &str {
        match (&self.link, &self.outage) {
            (Some(link), _) if link.up.is_some() => "is connected and does not answer",
            (_, Some(outage)) => outage.problem(),
            (Some(_), None) => "does not answer",
            (None, None) => "is not tried yet",
        }
    }
}

/// What there has to be of a gateway before a successor is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Required {
    /// A connection: PHP's does not say whether it takes us.
    Link,
    /// Its `Hello`: it has seen our key and may send us clients.
    Answer,
}

/// The task that waits before a new attempt; dropped, it makes none.
#[derive(Debug)]
pub(super) struct Pause(pub(super) JoinHandle<()>);

impl Drop for Pause {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A connection to a gateway, up or on its way up.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) connection: Connection<Codec>,
    /// Since when it is up.
    pub(super) up: Option<Instant>,
    /// When the last packet came.
    pub(super) heard: Instant,
    /// The gateway speaks the extension: which run of it this is.
    pub(super) epoch: Option<String>,
    /// In which version; 0 of PHP's.
    pub(super) version: u32,
    /// The epoch that a register says it has, where that is another one, and the link was probed for it.
    pub(super) probed_for: Option<String>,
    /// The gateway has said that it does not want us.
    pub(super) refused: bool,
    /// It has not confirmed yet that it knows which clients were kept.
    pub(super) settling: bool,
    /// It wants to be told by client what was handled: what each may have unhandled, if little waits.
    pub(super) share: Option<Allowance>,
    pub(super) load: Load,
    pub(super) handled: Handled,
    /// Whether the gateway's machine answers.
    pub(super) reach: LinkReach,
}

/// A gateway whose link is lost, with clients of ours.
#[derive(Debug)]
pub(super) struct Lost {
    /// Which run of the gateway it was.
    pub(super) epoch: String,
    /// Which link it was.
    pub(super) link: LinkId,
}

impl Link {
    pub(super) fn new(connection: Connection<Codec>) -> Self {
        Self {
            connection,
            up: None,
            heard: Instant::now(),
            epoch: None,
            version: 0,
            probed_for: None,
            refused: false,
            settling: false,
            share: None,
            load: Load::default(),
            handled: Handled::default(),
            reach: LinkReach::default(),
        }
    }

    /// Returns what each client may have unhandled now.
    pub(super) fn share(&self) -> Option<Allowance> {
        self.share.map(|share| halved(share, self.load.halvings))
    }

    /// Returns how often each client's share is to be halved from now on, if that changes.
    pub(super) fn halvings(&self) -> Option<(u32, Allowance)> {
        let share = self.share?;
        let halvings = self.load.halvings(share)?;
        Some((halvings, halved(share, halvings)))
    }

    pub(super) fn id(&self) -> LinkId {
        self.connection.id()
    }

    /// Returns for how long the gateway has said nothing.
    pub(super) fn silence(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.heard)
    }

    /// Returns whether a gateway that says something each second does not.
    pub(super) fn hangs(&self, now: Instant) -> bool {
        self.asks() && self.silence(now) >= HANGS
    }

    /// Returns how long a gateway at this address may be silent by default; zero for ever.
    pub(super) fn silence_limit(&self, at: IpAddr) -> Duration {
        match self.asks() {
            true => SILENCE_LIMIT,
            false if at.is_loopback() => Duration::ZERO,
            false => OTHERS_SILENCE_LIMIT,
        }
    }

    /// Returns whether the gateway asks each second whether we live.
    fn asks(&self) -> bool {
        self.version >= 3
    }
}

fn halved(share: Allowance, times: u32) -> Allowance {
    let half = |amount: u32| amount.checked_shr(times).unwrap_or(0).max(1);
    Allowance { events: half(share.events), bytes: half(share.bytes) }
}

/// What waits on a link.
#[derive(Debug, Default)]
pub(super) struct Load {
    events: usize,
    bytes: usize,
    full: bool,
    /// The gateway gives each client a share.
    pub(super) shared: bool,
    /// How often the gateway was told to halve it.
    pub(super) halvings: u32,
}

impl Load {
    /// An event waits; returns whether reading has to stop now.
    pub(super) fn add(&mut self, weight: usize) -> bool {
        self.events += 1;
        self.bytes += weight;
        let times = if self.shared { IN_FLIGHT } else { 1 };
        let over = self.events >= MAX_WAITING * times || self.bytes >= MAX_WAITING_BYTES * times;
        over && !std::mem::replace(&mut self.full, true)
    }

    /// An event waits no longer; returns whether reading goes on now.
    pub(super) fn remove(&mut self, weight: usize) -> bool {
        self.events = self.events.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(weight);
        let half = self.events <= MAX_WAITING / 2 && self.bytes <= MAX_WAITING_BYTES / 2;
        half && std::mem::replace(&mut self.full, false)
    }

    /// Returns how often a share is to be halved now, unless that is as it was, or nearly.
    fn halvings(&self, share: Allowance) -> Option<u32> {
        let times = |share: u32, room: usize| {
            let part = (room / PART_OF_ROOM).max(1);
            (share as usize).div_ceil(part).next_power_of_two().ilog2()
        };
        // Less at once, more again only when an eighth of the room is free beyond that.
        let with_margin = |part: usize| {
            let room = |bound: usize, used: usize| bound.saturating_sub(used + part * bound / 8);
            let events = times(share.events, room(MAX_WAITING, self.events));
            events.max(times(share.bytes, room(MAX_WAITING_BYTES, self.bytes)))
        };
        let (wanted, calmer) = (with_margin(0), with_margin(1));
        if wanted > self.halvings {
            return Some(wanted);
        }
        (calmer < self.halvings).then_some(calmer)
    }
}

/// How many events of a link were handled, and how many of them the gateway has been told of.
#[derive(Debug, Default)]
pub(super) struct Handled {
    count: u32,
    reported: u32,
    /// When the gateway was told last.
    told: Option<Instant>,
    /// Among those that it was not told of is one that it should know of.
    hurry: bool,
}

/// When a gateway is to be told that an event was handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Report {
    /// Now: should this process die, the start or the end of a client would be told again.
    Now,
    /// Soon, with others.
    Soon,
}

impl Handled {
    /// An event was handled.
    pub(super) fn add(&mut self, report: Report) {
        self.count = self.count.wrapping_add(1);
        self.hurry |= report == Report::Now;
    }

    /// Returns how many were handled.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Returns whether there is something to tell.
    pub(super) fn is_untold(&self) -> bool {
        self.reported != self.count
    }

    /// Returns after how long it is to be told, if there is something to tell: at once after a pause, so that it
    /// travels with what the event sent, and then seldom.
    pub(super) fn due_after(&self, now: Instant) -> Option<Duration> {
        let untold = self.count.wrapping_sub(self.reported);
        match self.told {
            _ if untold == 0 => None,
            Some(told) if !self.hurry && untold < MOST_UNTOLD => {
                Some(REPORT_PAUSE.saturating_sub(now.saturating_duration_since(told)))
            }
            _ => Some(Duration::ZERO),
        }
    }

    /// Returns the number to tell, if there is something to tell.
    pub(super) fn report(&mut self, now: Instant) -> Option<u32> {
        let before = std::mem::replace(&mut self.reported, self.count);
        if before == self.count {
            return None;
        }
        (self.told, self.hurry) = (Some(now), false);
        Some(self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_stops_at_the_bound_and_goes_on_at_half_of_it() {
        let mut load = Load::default();
        assert_eq!((0..MAX_WAITING).filter(|_| load.add(10)).count(), 1);
        assert!(!load.add(10));
        let resumed = (0..=MAX_WAITING).position(|_| load.remove(10));
        assert_eq!(resumed, Some(MAX_WAITING / 2));

        assert!(load.add(MAX_WAITING_BYTES));
        assert!(load.remove(MAX_WAITING_BYTES));
        assert!(!load.remove(10));
    }

    #[test]
    fn either_bound_stops_reading_and_both_have_to_be_half_free() {
        let mut load = Load::default();
        assert!(!load.add(MAX_WAITING_BYTES - 1));
        assert!(load.add(1), "the bound of bytes is met");
        assert!(!load.add(1), "and was before");
        assert!(!load.remove(MAX_WAITING_BYTES / 2), "one byte more than half waits");
        assert!(load.remove(1));
        assert!(!load.remove(1), "it is read already");
    }

    #[test]
    fn a_share_shrinks_as_room_does_and_grows_again() {
        let share = Allowance { events: 256, bytes: 1024 * 1024 };
        let mut load = Load { shared: true, ..Load::default() };
        let mut told = Vec::new();
        for _ in 0..MAX_WAITING {
            assert!(!load.add(10), "the link is read");
            if let Some(halvings) = load.halvings(share) {
                load.halvings = halvings;
                told.push(halvings);
            }
        }
        assert_eq!(told, [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(halved(share, 8), Allowance { events: 1, bytes: 4096 });
        assert_eq!(halved(share, 99), Allowance { events: 1, bytes: 1 });
        let mut told = Vec::new();
        for left in (0..MAX_WAITING).rev() {
            assert!(!load.remove(10));
            if let Some(halvings) = load.halvings(share) {
                load.halvings = halvings;
                told.push((left, halvings));
            }
        }
        assert_eq!(told.last(), Some(&(6702, 0)));
        assert!(!load.add(MAX_WAITING_BYTES) && load.halvings(share) == Some(20));
        assert!(load.add((IN_FLIGHT - 1) * MAX_WAITING_BYTES), "it is not endless");
    }

    #[tokio::test(start_paused = true)]
    async fn handled_events_are_told_at_once_after_a_pause_and_then_together() {
        let (begun, mut handled) = (Instant::now(), Handled::default());
        let at = |milliseconds| begun + Duration::from_millis(milliseconds);
        assert_eq!((handled.due_after(begun), handled.report(begun)), (None, None));
        handled.add(Report::Soon);
        assert_eq!(handled.due_after(begun), Some(Duration::ZERO));
        assert_eq!((handled.report(begun), handled.due_after(begun)), (Some(1), None));
        for _ in 1..MOST_UNTOLD {
            handled.add(Report::Soon);
            assert_eq!(handled.due_after(at(5)), Some(Duration::from_millis(15)));
        }
        assert_eq!(handled.due_after(at(20)), Some(Duration::ZERO));
        handled.add(Report::Soon);
        assert_eq!(handled.due_after(at(5)), Some(Duration::ZERO), "they are many");
        assert_eq!(handled.report(at(5)), Some(MOST_UNTOLD + 1));
        handled.add(Report::Soon);
        assert_ne!(handled.due_after(at(6)), Some(Duration::ZERO));
        handled.add(Report::Now);
        assert_eq!(handled.due_after(at(6)), Some(Duration::ZERO));
        assert_eq!((handled.report(at(6)), handled.is_untold()), (Some(MOST_UNTOLD + 3), false));
    }
}
