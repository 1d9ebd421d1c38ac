//! A stop: group by group in the order of dependence, at once or when the connections are gone. A
//! machine over the slots: it signals and tells nothing itself.

use std::fmt;
use std::time::{Duration, Instant};

use super::event::{MasterAction, ProgramEnd, note, progress};
use super::exit::ExitReason;
use super::slot::{Outlook, Slots};
use crate::control::ExitCode;
use crate::control::answers::Answers;
use crate::control::report::Step;
use crate::control::request::{Answer, Manner};
use crate::limit::{finite, is_none};
use crate::service::StopOrder;
use crate::terminal::units::{self, plural};

/// The groups in the order in which they stop.
const GROUPS: [StopOrder; 3] = [StopOrder::Edge, StopOrder::Middle, StopOrder::Core];

/// The end of the program.
#[derive(Debug)]
pub(super) struct Stop {
    manner: Manner,
    timeout: Option<Duration>,
    /// When it comes to the processes: after the drain delay.
    began: Instant,
    /// Where those who wait for it are answered.
    pub(super) watchers: Vec<Answers>,
    /// How many groups have been told.
    told: usize,
    /// What happened to connections and processes.
    pub(super) tally: Tally,
    /// Why the program stops, when it is because it did not start or gave up, and what the master
    /// exits with then.
    pub(super) failure: Option<(ExitCode, String)>,
}

/// What happened to the connections of processes that left in a stop or reload.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    /// How many connections were closed with 1001 because they had not ended by themselves.
    cut: usize,
    /// How many were closed with 1012 because they could not move to the successor.
    restarted: usize,
    /// How many handlers, callbacks of timers and blocking calls were not done within the limit.
    unfinished: usize,
    /// How many processes had to be killed.
    killed: usize,
}

impl Tally {
    /// Counts a process that has ended.
    pub(super) fn add(&mut self, cut: usize, unfinished: usize, reason: &ExitReason) {
        self.cut += cut;
        self.unfinished += unfinished;
        self.killed += usize::from(reason.was_forced());
    }

    /// Counts a process that has ended and had handed over before.
    pub(super) fn add_rest(&mut self, cut: usize, unfinished: usize, reason: &ExitReason) {
        self.restarted += cut;
        self.add(0, unfinished, reason);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} closed with 1001", plural(self.cut, "connection", "connections"))?;
        if self.restarted > 0 {
            write!(
                formatter,
                ", {} with 1012",
                plural(self.restarted, "connection", "connections")
            )?;
        }
        if self.unfinished > 0 {
            write!(formatter, ", {} cut off", plural(self.unfinished, "handler", "handlers"))?;
        }
        if self.killed > 0 {
            write!(formatter, ", {} killed", plural(self.killed, "process", "processes"))?;
        }
        Ok(())
    }
}

impl Stop {
    /// Begins, `delay` from now.
    pub(super) fn begin(
        manner: Manner,
        timeout: Option<Duration>,
        delay: Duration,
        answers: Option<Answers>,
        now: Instant,
    ) -> (Self, Vec<MasterAction>) {
        let watchers: Vec<Answers> = answers.into_iter().collect();
        let mut actions = Vec::new();
        if !delay.is_zero() {
            let text = if is_none(delay) {
                "the drain does not begin by itself".to_owned()
            } else {
                format!("the drain begins in {}", units::limit(delay))
            };
            let text = format!("not ready from now on; {text}");
            tracing::info!("{text}");
            actions.extend(watchers.iter().map(|watcher| note(watcher, &text)));
        }
        let began = now + finite(delay);
        let (told, tally) = (0, Tally::default());
        (Self { manner, timeout, began, watchers, told, tally, failure: None }, actions)
    }

    /// Joins another wish to stop, and hurries if that is in more of a hurry.
    pub(super) fn join(
        &mut self,
        manner: Manner,
        timeout: Option<Duration>,
        answers: Option<Answers>,
        slots: &mut Slots,
        now: Instant,
    ) -> Vec<MasterAction> {
        self.watchers.retain(|watcher| !watcher.is_gone());
        self.watchers.extend(answers);
        if manner == Manner::Plain && self.manner == Manner::Graceful {
            return self.hurry(slots, now);
        }
        let Some(limit) = timeout else { return Vec::new() };
        // The new limit, longer or shorter, counts from now.
        self.timeout = Some(now.saturating_duration_since(self.began).saturating_add(limit));
        if self.manner == Manner::Plain {
            return Vec::new();
        }
        self.told().iter().flat_map(|&group| self.tell(group, slots, now)).collect()
    }

    /// Returns whether the drain delay is not over: what serves goes on serving.
    pub(super) fn still_serves(&self, now: Instant) -> bool {
        self.manner == Manner::Graceful && now < self.began
    }

    /// Returns whether it does not wait for connections.
    pub(super) fn is_at_once(&self) -> bool {
        self.manner == Manner::Plain
    }

    /// Returns when it must be looked at; the workers have deadlines of their own.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        let ends = [Some(self.began), self.end()];
        // Once they have passed, workers' deadlines are all there is to wait for.
        ends.into_iter().flatten().find(|end| *end > now && self.manner == Manner::Graceful)
    }

    /// Returns when a graceful one turns into one at once.
    fn end(&self) -> Option<Instant> {
        self.timeout.map(|limit| self.began + finite(limit))
    }

    /// Goes as far as it can go now; the last action is the verdict, when every process is gone.
    pub(super) fn advance(&mut self, slots: &mut Slots, now: Instant) -> Vec<MasterAction> {
        let mut actions = Vec::new();
        if self.manner == Manner::Graceful && self.end().is_some_and(|end| end <= now) {
            actions.extend(self.hurry(slots, now));
        }
        while !self.still_serves(now) {
            let told = self.told();
            if slots
                .workers()
                .any(|worker| told.contains(&slots.service(worker.key.slot).stop_order))
            {
                break;
            }
            let Some(&group) = GROUPS.get(self.told) else {
                actions.extend(self.finish());
                break;
            };
            self.told += 1;
            actions.extend(self.tell(group, slots, now));
        }
        actions
    }

    fn told(&self) -> &'static [StopOrder] {
        &GROUPS[..self.told.min(GROUPS.len())]
    }

    /// Has the processes of a group leave.
    fn tell(&self, group: StopOrder, slots: &mut Slots, now: Instant) -> Vec<MasterAction> {
        let stop_limit = slots.config.stop_limit;
        let mut actions = Vec::new();
        for id in slots.ids() {
            if slots.service(id).stop_order != group {
                continue;
            }
            let limit = self.timeout.unwrap_or(slots.drain_limit(id));
            // The limit is for the whole stop: what earlier groups took is gone.
            let left = (self.began + finite(limit)).saturating_duration_since(now);
            let slot = &mut slots[id];
            slot.outlook = Outlook::Stopped;
            for worker in slot.workers.iter_mut().filter(|worker| !worker.is_stopping()) {
                // One that drains already, for a reload, had the limit of that.
                let drains = worker.is_ready() || worker.is_draining();
                let (action, step) = if self.manner == Manner::Graceful && drains {
                    (worker.drain(now, left, stop_limit, None), Step::Draining)
                } else {
                    (worker.stop(now, stop_limit), Step::Stopping)
                };
                actions.push(action);
                let tell = |watcher| progress(watcher, &slot.name, worker.pid, step, None, None);
                actions.extend(self.watchers.iter().map(tell));
            }
        }
        actions
    }

    /// Turns a graceful one into one at once.
    fn hurry(&mut self, slots: &mut Slots, now: Instant) -> Vec<MasterAction> {
        self.manner = Manner::Plain;
        let (told, stop_limit) = (self.told(), slots.config.stop_limit);
        let mut actions = Vec::new();
        for id in slots.ids() {
            if told.contains(&slots.service(id).stop_order) {
                let workers = slots[id].workers.iter_mut().filter(|worker| !worker.is_stopping());
                actions.extend(workers.map(|worker| worker.stop(now, stop_limit)));
            }
        }
        actions
    }

    fn finish(&mut self) -> Vec<MasterAction> {
        let Tally { cut, restarted: _, unfinished, killed } = self.tally;
        tracing::info!(cut, unfinished, killed, "stopped");
        let code = if killed > 0 { ExitCode::Killed } else { ExitCode::Ok };
        let verdict = match self.failure.take() {
            Some((code, failure)) => ProgramEnd { code, failure: Some(failure) },
            None => ProgramEnd { code, failure: None },
        };
        let text = format!("stopped: {}", self.tally);
        let done = |watcher: &Answers| {
            MasterAction::Answer(watcher.clone(), Answer::Done { code, text: text.clone() })
        };
        [MasterAction::Stopped(verdict)].into_iter().chain(self.watchers.iter().map(done)).collect()
    }
}

/// Kills what is left: a person has asked twice.
pub(super) fn kill_all(slots: &mut Slots) -> Vec<MasterAction> {
    tracing::warn!("killing what is left");
    let mut actions = Vec::new();
    for id in slots.ids() {
        slots[id].outlook = Outlook::Stopped;
        let workers = slots[id].workers.iter_mut();
        actions.extend(workers.map(|worker| worker.kill(ExitReason::KilledAfterLimit)));
    }
    actions
}

#[cfg(test)]
#[path = "stop_tests.rs"]
mod tests;
