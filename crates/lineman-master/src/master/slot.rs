//! The slots and the processes in them, as values: states, deadlines, what is known of an end. The
//! master's machines read and change them; there is no process, no socket and no clock in here.

use std::ops::{Index, IndexMut};
use std::time::{Duration, Instant};

use lineman_wire::handover::RecordFormats;

use super::backoff::Failures;
use super::event::MasterAction;
use super::exit::{Evidence, ExitReason};
use super::lending::{Loan, Reach};
use super::life_sign::LifeSign;
use crate::config::Config;
use crate::control::Complaints;
use crate::control::message::ToWorker;
use crate::limit::finite;
use crate::service::Description;
use crate::service::sketch::{Sketch, differences};
use crate::terminal::plain::one_line;
use crate::terminal::units::plural;

/// How much longer than a limit the master waits before it acts, so that a worker that keeps the
/// limit is not caught by a scheduler's delay.
const GRACE: Duration = Duration::from_millis(250);

/// Names a slot for the master's life; made by [`Slots`] alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SlotId(usize);

/// Names a service for the master's life; made by [`Slots`] alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ServiceId(usize);

/// Names one process for the master's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct WorkerKey {
    pub(super) slot: SlotId,
    /// The process's number within the slot.
    pub(super) generation: u64,
}

/// Every slot of every service. None comes or goes, so that an id leads to a slot always.
#[derive(Debug)]
pub(super) struct Slots {
    pub(super) config: Config,
    services: Vec<Description>,
    all: Vec<Slot>,
}

impl Index<SlotId> for Slots {
    type Output = Slot;

    fn index(&self, id: SlotId) -> &Slot {
        &self.all[id.0]
    }
}

impl IndexMut<SlotId> for Slots {
    fn index_mut(&mut self, id: SlotId) -> &mut Slot {
        &mut self.all[id.0]
    }
}

impl Index<ServiceId> for Slots {
    type Output = Description;

    fn index(&self, id: ServiceId) -> &Description {
        &self.services[id.0]
    }
}

impl Slots {
    /// Returns the slots of these services; none has run yet.
    pub(super) fn new(config: Config, services: Vec<Description>) -> Self {
        let mut slots = Vec::new();
        for (position, service) in services.iter().enumerate() {
            let slot = |index| Slot::new(&service.name, ServiceId(position), index);
            slots.extend((0..service.count).map(slot));
        }
        Self { config, services, all: slots }
    }

    /// Returns the ids of all slots, those of a service one after the other.
    pub(super) fn ids(&self) -> impl DoubleEndedIterator<Item = SlotId> + Clone + use<> {
        (0..self.all.len()).map(SlotId)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (SlotId, &Slot)> {
        self.ids().zip(&self.all)
    }

    pub(super) fn services(&self) -> impl Iterator<Item = (ServiceId, &Description)> {
        (0..).map(ServiceId).zip(&self.services)
    }

    /// Returns what a program of these services wants otherwise, a line for people each; nothing of one
    /// that is too old to say.
    pub(super) fn drift(&self, wanted: &[Sketch]) -> Vec<String> {
        if wanted.is_empty() {
            return Vec::new();
        }
        let had: Vec<_> = self.services.iter().map(Sketch::of).collect();
        let lines = differences(&had, wanted);
        lines.iter().map(|line| one_line(line).into_owned()).collect()
    }

    /// Returns the service of a slot.
    pub(super) fn service(&self, id: SlotId) -> &Description {
        &self[self[id].service]
    }

    /// Returns the slots of a service.
    pub(super) fn of(&self, service: ServiceId) -> impl Iterator<Item = &Slot> {
        self.all.iter().filter(move |slot| slot.service == service)
    }

    /// Returns how long a drain of this slot may take as a rule.
    pub(super) fn drain_limit(&self, id: SlotId) -> Duration {
        self.service(id).drain_limit.unwrap_or(self.config.drain_limit)
    }

    pub(super) fn worker(&mut self, key: WorkerKey) -> Option<&mut SlotWorker> {
        self[key.slot].workers.iter_mut().find(|worker| worker.key == key)
    }

    pub(super) fn workers(&self) -> impl Iterator<Item = &SlotWorker> {
        self.all.iter().flat_map(|slot| &slot.workers)
    }

    /// Returns the key of a slot's next process, which is to be started.
    pub(super) fn next_process(&mut self, slot: SlotId) -> WorkerKey {
        self[slot].generation += 1;
        WorkerKey { slot, generation: self[slot].generation }
    }

    /// Returns whether a process of this service is ready.
    pub(super) fn serves(&self, service: ServiceId) -> bool {
        self.of(service).any(Slot::is_ready)
    }

    /// Returns why clients are better off at another machine, if they are: every serving process of some
    /// service says so. One that says so beside a neighbour that does not is as one that has crashed there.
    pub(super) fn unfit(&self) -> Option<String> {
        self.services().find_map(|(service, _)| {
            let serving = || self.of(service).filter_map(|slot| Some((slot, slot.serving()?)));
            let why = |(slot, worker): (&Slot, &SlotWorker)| {
                Some(format!("{}: {}", slot.name, one_line(worker.condition.unfit.as_ref()?)))
            };
            serving().all(|found| why(found).is_some()).then(|| serving().find_map(why))?
        })
    }

    /// Returns the slots that a person names by a service or slot; `None` when no name was given, and
    /// the names there are when there is none of this one.
    pub(super) fn named(&self, wanted: Option<&str>) -> Result<Option<Vec<SlotId>>, String> {
        let Some(wanted) = wanted else { return Ok(None) };
        let is_named = |slot: &Slot| slot.name == wanted || self[slot.service].name == wanted;
        let named = self.iter().filter(|(_, slot)| is_named(slot));
        let named: Vec<SlotId> = named.map(|(id, _)| id).collect();
        if named.is_empty() {
            let mut known: Vec<&str> = self.services.iter().map(|service| &*service.name).collect();
            // Its service may be right, and only the number wrong.
            if let Some((of, _)) = wanted.rsplit_once('/') {
                let slots = self.all.iter().filter(|slot| self[slot.service].name == of);
                known.extend(slots.map(|slot| &*slot.name));
            }
            return Err(format!("no service or slot {wanted:?}; there are: {}", known.join(", ")));
        }
        Ok(Some(named))
    }

    /// Returns one line that says how much of the program serves.
    pub(super) fn condition(&self) -> String {
        let services = self.services().filter(|(service, _)| self.serves(*service)).count();
        let processes = self.all.iter().filter(|slot| slot.is_ready()).count();
        let failed = self.all.iter().filter(|slot| slot.has_failed()).count();
        let (of_services, of_slots) = (self.services.len(), self.all.len());
        let mut text =
            format!("{services}/{of_services} services ready, {processes}/{of_slots} processes");
        if failed > 0 {
            text.push_str(", failed: ");
            text.push_str(&plural(failed, "slot", "slots"));
        }
        let stalled = self.workers().filter(|worker| worker.is_stalled()).count();
        if stalled > 0 {
            text.push_str(", stalled: ");
            text.push_str(&plural(stalled, "process", "processes"));
        }
        text
    }

    /// Returns when something is due at a slot, if anything is.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.all.iter().filter_map(Slot::deadline).min()
    }
}

/// One slot: a place for one process of a service.
#[derive(Debug)]
pub(super) struct Slot {
    /// `service/index`.
    pub(super) name: String,
    pub(super) service: ServiceId,
    /// The slot's number within the service.
    pub(super) index: usize,
    /// What its listeners have to do with those of its neighbours, in the order of the service's
    /// description.
    pub(super) listeners: Vec<Reach>,
    /// Its processes: the serving one first; during a reload two.
    pub(super) workers: Vec<SlotWorker>,
    pub(super) outlook: Outlook,
    /// How many processes were started for it.
    pub(super) generation: u64,
    /// How often its process had to be started again because it had ended by itself.
    pub(super) restarts: u64,
    /// How its last process ended that was not asked to; how any ended, while there is none.
    pub(super) last_exit: Option<LastExit>,
    /// Its failures since it was last healthy.
    pub(super) failures: Failures,
    /// The process of a neighbour that accepts at its listeners while it is down.
    pub(super) loan: Option<Loan>,
    /// What its last process that served wanted the next one to know.
    pub(super) briefing: Option<String>,
}

/// How and when a process of a slot ended.
#[derive(Debug, Clone)]
pub(super) struct LastExit {
    pub(super) reason: ExitReason,
    pub(super) at: Instant,
}

/// What becomes of a slot that has no process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outlook {
    /// It has a process, or gets one in this turn of the loop.
    Running,
    /// It gets one at this time.
    BackingOff(Instant),
    /// As [`Outlook::BackingOff`], after so many failures that they are a crash loop.
    Failed(Instant),
    /// The program stops.
    Stopped,
}

impl Outlook {
    /// Returns the state of a slot without a process, as people see it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Running => "starting",
            Self::BackingOff(_) => "backing-off",
            Self::Failed(_) => "failed",
            Self::Stopped => "stopped",
        }
    }

    /// Returns when the slot gets its next process, if it has to wait for it.
    pub(super) fn next_start(self) -> Option<Instant> {
        match self {
            Self::BackingOff(until) | Self::Failed(until) => Some(until),
            Self::Running | Self::Stopped => None,
        }
    }
}

impl Slot {
    fn new(name: &str, service: ServiceId, index: usize) -> Self {
        Self {
            name: format!("{name}/{index}"),
            service,
            index,
            listeners: Vec::new(),
            workers: Vec::new(),
            outlook: Outlook::Running,
            generation: 0,
            restarts: 0,
            last_exit: None,
            failures: Failures::default(),
            loan: None,
            briefing: None,
        }
    }

    /// Takes the process of this key out.
    pub(super) fn remove(&mut self, key: WorkerKey) -> Option<SlotWorker> {
        let position = self.workers.iter().position(|worker| worker.key == key)?;
        Some(self.workers.remove(position))
    }

    /// Remembers how a process ended. That one was asked to leave is no news, and hides no crash.
    pub(super) fn note_exit(&mut self, reason: ExitReason, at: Instant) {
        let wanted = |reason: &ExitReason| *reason == ExitReason::Asked;
        if !wanted(&reason) || self.last_exit.as_ref().is_none_or(|last| wanted(&last.reason)) {
            self.last_exit = Some(LastExit { reason, at });
        }
    }

    /// Returns whether a process of it serves.
    pub(super) fn is_ready(&self) -> bool {
        self.serving().is_some()
    }

    /// Returns its process that serves.
    pub(super) fn serving(&self) -> Option<&SlotWorker> {
        self.workers.iter().find(|worker| worker.is_ready() && !worker.is_stalled())
    }

    /// Returns whether no process of it serves or is about to: those that leave do not count.
    pub(super) fn is_vacant(&self) -> bool {
        self.workers.iter().all(SlotWorker::is_leaving)
    }

    /// Returns whether its processes end in a loop, and none serves now.
    pub(super) fn has_failed(&self) -> bool {
        self.failures.are_a_loop() && !self.is_ready()
    }

    /// Returns how often in a row its processes have ended by themselves, unless it is healthy again.
    pub(super) fn failures(&self, now: Instant) -> u32 {
        let mut failures = self.failures;
        failures.forgive(self.workers.iter().find_map(|worker| worker.ready_at), now);
        failures.number()
    }

    fn deadline(&self) -> Option<Instant> {
        let pause = self.outlook.next_start().filter(|_| self.is_vacant());
        self.workers.iter().filter_map(SlotWorker::deadline).chain(pause).min()
    }
}

#[derive(Debug)]
pub(super) struct SlotWorker {
    pub(super) key: WorkerKey,
    pub(super) pid: u32,
    pub(super) started: Instant,
    pub(super) state: WorkerState,
    pub(super) life_sign: LifeSign,
    /// In which formats it hands over, if its service does.
    pub(super) formats: Option<RecordFormats>,
    /// Whether its connections have moved to another process.
    pub(super) has_handed_over: bool,
    /// What its service said of itself last.
    pub(super) condition: Complaints,
    /// Since when it serves, or served: kept when it is told to leave, or killed.
    pub(super) ready_at: Option<Instant>,
    /// What is known of its end before it comes.
    pub(super) evidence: Evidence,
    /// How many connections it cut when it left.
    pub(super) cut: usize,
    /// How much of the program's code it cut off then.
    pub(super) unfinished: usize,
}

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WorkerState {
    /// It starts, and is killed when it is not ready by then.
    Starting(Instant),
    /// It has started, waits for what it takes over, and is killed when it has not by then.
    Dormant(Instant),
    /// It serves.
    Ready,
    /// It waits until its connections end, and is told to stop when they have not by then.
    Draining(Instant),
    /// It closes its connections, and is killed when it is not gone by then.
    Stopping(Instant),
    /// It was killed and will be gone in an instant.
    Killed,
}

impl WorkerState {
    /// Returns its name in `status`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Starting(_) => "starting",
            Self::Dormant(_) => "taking-over",
            Self::Ready => "ready",
            Self::Draining(_) => "draining",
            Self::Stopping(_) | Self::Killed => "stopping",
        }
    }
}

impl SlotWorker {
    /// Returns a process that was started now.
    pub(super) fn new(key: WorkerKey, pid: u32, now: Instant, ready_limit: Duration) -> Self {
        Self {
            key,
            pid,
            started: now,
            state: WorkerState::Starting(now + finite(ready_limit)),
            life_sign: LifeSign::default(),
            formats: None,
            has_handed_over: false,
            condition: Complaints::default(),
            ready_at: None,
            evidence: Evidence::default(),
            cut: 0,
            unfinished: 0,
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        self.state == WorkerState::Ready
    }

    /// Returns whether it is ready and answers nothing.
    pub(super) fn is_stalled(&self) -> bool {
        self.is_ready() && matches!(self.life_sign, LifeSign::Stalled(_))
    }

    /// Returns what it does, as people see it.
    pub(super) fn shown_state(&self) -> &'static str {
        if self.is_stalled() { "stalled" } else { self.state.name() }
    }

    /// Returns whether it was told to leave.
    pub(super) fn is_leaving(&self) -> bool {
        use WorkerState::{Dormant, Ready, Starting};
        !matches!(self.state, Starting(_) | Dormant(_) | Ready)
    }

    pub(super) fn is_draining(&self) -> bool {
        matches!(self.state, WorkerState::Draining(_))
    }

    /// Returns whether it closes its connections without waiting.
    pub(super) fn is_stopping(&self) -> bool {
        matches!(self.state, WorkerState::Stopping(_) | WorkerState::Killed)
    }

    /// Returns when something is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.state {
            WorkerState::Starting(until)
            | WorkerState::Dormant(until)
            | WorkerState::Draining(until)
            | WorkerState::Stopping(until) => Some(until),
            WorkerState::Ready | WorkerState::Killed => None,
        }
    }

    /// Has it told that a reload leaves it as it is.
    pub(super) fn reload(&self) -> MasterAction {
        MasterAction::Tell(self.key, ToWorker::Reload { handed: None })
    }

    /// Has it leave when its connections are gone, and close so many a second meanwhile; one that has been told
    /// gets another limit.
    pub(super) fn drain(
        &mut self,
        now: Instant,
        limit: Duration,
        stop_limit: Duration,
        rate: Option<u32>,
    ) -> MasterAction {
        self.evidence.asked = true;
        self.state = WorkerState::Draining(now + finite(limit) + GRACE);
        MasterAction::Tell(self.key, ToWorker::Drain { limit, stop_limit, rate })
    }

    /// Has it close its connections and leave.
    pub(super) fn stop(&mut self, now: Instant, stop_limit: Duration) -> MasterAction {
        self.evidence.asked = true;
        self.state = WorkerState::Stopping(now + finite(stop_limit) + GRACE);
        MasterAction::Tell(self.key, ToWorker::Stop { stop_limit })
    }

    pub(super) fn kill(&mut self, reason: ExitReason) -> MasterAction {
        self.state = WorkerState::Killed;
        self.evidence.killed = Some(reason);
        MasterAction::Kill(self.key)
    }
}

#[cfg(test)]
#[path = "slot_tests.rs"]
mod tests;
