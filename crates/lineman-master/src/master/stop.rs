//! A stop: group by group in the order of dependence, at once or when the connections are gone.

use std::time::{Duration, Instant};

use super::exit::ExitReason;
use super::slot::Outlook;
use super::supervisor::{Phase, Supervisor, Verdict};
use super::tally::Tally;
use crate::control::ExitCode;
use crate::control::answers::Answers;
use crate::control::report::Step;
use crate::control::request::{Answer, Manner};
use crate::limit::{finite, is_none};
use crate::service::StopOrder;
use crate::terminal::units;

/// The groups in the order in which they stop.
const GROUPS: [StopOrder; 3] = [StopOrder::Edge, StopOrder::Middle, StopOrder::Core];

/// The end of the program.
#[derive(Debug)]
pub(super) struct Stop {
    manner: Manner,
    timeout: Option<Duration>,
    /// When it comes to the processes: after the drain delay.
    began: Instant,
    /// Who waits for it.
    pub(super) watchers: Vec<Answers>,
    /// How many groups have been told.
    told: usize,
    /// What happened to connections and processes.
    pub(super) tally: Tally,
    /// Why the program stops, when it is because it did not start.
    failure: Option<String>,
}

impl Stop {
    /// Returns whether the drain delay is not over: what serves goes on serving.
    pub(super) fn still_serves(&self) -> bool {
        self.manner == Manner::Graceful && Instant::now() < self.began
    }
}

impl Supervisor {
    /// Stops the program; a stop that is under way is joined, and hurried if this one is in more of
    /// a hurry.
    pub(super) fn stop(
        &mut self,
        manner: Manner,
        timeout: Option<Duration>,
        answers: Option<Answers>,
    ) {
        if let Phase::Stopping(stop) = &mut self.phase {
            stop.watchers.retain(|watcher| !watcher.is_gone());
            stop.watchers.extend(answers);
            if manner == Manner::Plain && stop.manner == Manner::Graceful {
                self.hurry();
            } else if let Some(limit) = timeout {
                self.set_limit(limit);
            }
            return;
        }
        tracing::info!(?manner, "stopping");
        self.abandon_reloads();
        let failure = match &self.phase {
            Phase::Starting(_) => Some("stopped before everything was up".to_owned()),
            Phase::Up(_) | Phase::Stopping(_) => None,
        };
        let delay = match (manner, &self.phase) {
            (Manner::Graceful, Phase::Up(_)) => self.config.drain_delay,
            _ => Duration::ZERO,
        };
        let watchers: Vec<Answers> = answers.into_iter().collect();
        if !delay.is_zero() {
            let text = if is_none(delay) {
                "the drain does not begin by itself".to_owned()
            } else {
                format!("the drain begins in {}", units::limit(delay))
            };
            let text = format!("not ready from now on; {text}");
            tracing::info!("{text}");
            for watcher in &watchers {
                watcher.give(Answer::Note { text: text.clone() });
            }
        }
        self.phase = Phase::Stopping(Stop {
            manner,
            timeout,
            began: Instant::now() + finite(delay),
            watchers,
            told: 0,
            tally: Tally::default(),
            failure,
        });
    }

    /// Tears everything down because a service did not start.
    pub(super) fn fail_start(&mut self, reason: &str) {
        tracing::error!(reason, "cannot start");
        self.stop(Manner::Plain, None, None);
        if let Phase::Stopping(Stop { failure: Some(text), .. }) = &mut self.phase {
            reason.clone_into(text);
        }
    }

    /// Returns whether a stop is under way that does not wait for connections.
    pub(super) fn is_stopping_at_once(&self) -> bool {
        matches!(&self.phase, Phase::Stopping(stop) if stop.manner == Manner::Plain)
    }

    /// Kills what is left: a person has asked twice.
    pub(super) fn kill_all(&mut self) {
        tracing::warn!("killing what is left");
        for slot in &mut self.slots {
            slot.outlook = Outlook::Stopped;
            for worker in &mut slot.workers {
                worker.kill(ExitReason::KilledAfterLimit);
            }
        }
    }

    /// Returns when the stop under way must be looked at; its workers have their own deadlines.
    pub(super) fn stop_deadline(&self) -> Option<Instant> {
        let Phase::Stopping(Stop { manner: Manner::Graceful, timeout, began, .. }) = &self.phase
        else {
            return None;
        };
        // Once they have passed, workers' deadlines are all there is to wait for.
        let ends = [Some(*began), timeout.map(|limit| *began + finite(limit))];
        ends.into_iter().flatten().find(|end| *end > Instant::now())
    }

    /// Goes as far as the stop can go now; returns the verdict when everything is gone.
    pub(super) fn advance_stop(&mut self, now: Instant) -> Option<Verdict> {
        loop {
            let Phase::Stopping(stop) = &self.phase else { return None };
            if stop.timeout.is_some_and(|limit| stop.began + finite(limit) <= now)
                && stop.manner == Manner::Graceful
            {
                self.hurry();
                continue;
            }
            if stop.manner == Manner::Graceful && now < stop.began {
                return None;
            }
            let told = &GROUPS[..stop.told.min(GROUPS.len())];
            if self.workers_of(told) > 0 {
                return None;
            }
            match GROUPS.get(stop.told) {
                Some(&group) => self.tell_group(group, now),
                None => return Some(self.finish_stop()),
            }
        }
    }

    fn workers_of(&self, groups: &[StopOrder]) -> usize {
        let slots = self.slots.iter().filter(|slot| groups.contains(&self.order_of(slot.service)));
        slots.map(|slot| slot.workers.len()).sum()
    }

    fn order_of(&self, service: usize) -> StopOrder {
        self.services.get(service).map_or(StopOrder::Edge, |service| service.stop_order)
    }

    /// Gives a stop under way another limit, longer or shorter: it counts from now.
    fn set_limit(&mut self, limit: Duration) {
        let Phase::Stopping(stop) = &mut self.phase else { return };
        let now = Instant::now();
        stop.timeout = Some(now.saturating_duration_since(stop.began).saturating_add(limit));
        if stop.manner == Manner::Graceful {
            for group in GROUPS.into_iter().take(stop.told) {
                self.tell_processes(group, now);
            }
        }
    }

    fn tell_group(&mut self, group: StopOrder, now: Instant) {
        if let Phase::Stopping(stop) = &mut self.phase {
            stop.told += 1;
        }
        self.tell_processes(group, now);
    }

    fn tell_processes(&mut self, group: StopOrder, now: Instant) {
        let Phase::Stopping(stop) = &self.phase else { return };
        let (manner, timeout, began) = (stop.manner, stop.timeout, stop.began);
        let stop_limit = self.config.stop_limit;
        let mut told = Vec::new();
        for position in 0..self.slots.len() {
            let service = self.slots.get(position).map(|slot| slot.service).unwrap_or_default();
            if self.order_of(service) != group {
                continue;
            }
            let own = self.services.get(service).and_then(|service| service.drain_limit);
            let limit = timeout.or(own).unwrap_or(self.config.drain_limit);
            // The limit is for the whole stop: what earlier groups took is gone.
            let left = (began + finite(limit)).saturating_duration_since(now);
            let Some(slot) = self.slots.get_mut(position) else { continue };
            slot.outlook = Outlook::Stopped;
            for worker in slot.workers.iter_mut().filter(|worker| !worker.is_stopping()) {
                let what = match manner {
                    // One that drains already, for a reload, had the limit of that.
                    Manner::Graceful if worker.is_ready() || worker.is_draining() => {
                        worker.drain(left, stop_limit);
                        Step::Draining
                    }
                    Manner::Graceful | Manner::Plain => {
                        worker.stop(stop_limit);
                        Step::Stopping
                    }
                };
                told.push((position, worker.pid, what));
            }
        }
        for (position, pid, what) in told {
            self.progress(position, pid, what, None, None);
        }
    }

    /// Tells whoever watches of a process that had been told to leave and died before it had: nobody
    /// said good-bye to its connections.
    pub(super) fn note_death(&self, position: usize, pid: u32, reason: &ExitReason) {
        if matches!(reason, ExitReason::Asked | ExitReason::KilledAfterLimit) {
            return;
        }
        let name = self.slots.get(position).map_or("", |slot| slot.name.as_str());
        let text = format!("{name} (pid {pid}): ended before it had left: {reason}");
        for watcher in self.watchers(position) {
            watcher.give(Answer::Note { text: text.clone() });
        }
    }

    /// Turns a graceful stop into one at once.
    fn hurry(&mut self) {
        let Phase::Stopping(stop) = &mut self.phase else { return };
        stop.manner = Manner::Plain;
        let told = &GROUPS[..stop.told.min(GROUPS.len())];
        let stop_limit = self.config.stop_limit;
        for slot in &mut self.slots {
            let order = self.services.get(slot.service).map(|service| service.stop_order);
            if order.is_some_and(|order| told.contains(&order)) {
                for worker in slot.workers.iter_mut().filter(|worker| !worker.is_stopping()) {
                    worker.stop(stop_limit);
                }
            }
        }
    }

    fn finish_stop(&mut self) -> Verdict {
        let Phase::Stopping(stop) = &mut self.phase else {
            return Verdict { code: ExitCode::Ok, failure: None };
        };
        self.hooks.stopped();
        let code = stop.tally.code();
        tracing::info!(cut = stop.tally.cut, killed = stop.tally.killed, "stopped");
        for watcher in &stop.watchers {
            watcher.done(code, format!("stopped: {}", stop.tally));
        }
        let failure = stop.failure.take();
        let code = if failure.is_some() { ExitCode::Failed } else { code };
        Verdict { code, failure }
    }
}
