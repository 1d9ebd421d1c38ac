//! The part of a reload in which what a process serves moves to its successor. The two say what came of it,
//! and the commit is between them: either of them saying that it was there is enough, and as long as none has
//! said so, nothing has moved. It tells and kills nothing itself.

use std::time::{Duration, Instant};

use lineman_wire::handover::{HandedOver, MoveLimits};

use super::moved::line;
use super::{Awaited, Reloads, Round, what_is_kept};
use crate::limit::finite;
use crate::master::event::MasterAction;
use crate::master::exit::ExitReason;
use crate::master::machine::{Machine, MasterPhase};
use crate::master::slot::{SlotId, SlotWorker, Slots, WorkerKey, WorkerState};
use crate::service::{Reload, StartManner};

/// How long a successor may wait for what it takes over: what the two processes may take, and a moment for
/// them to say so.
pub(in crate::master) const HANDOVER: Duration =
    MoveLimits::new().whole.saturating_add(MoveLimits::new().still).saturating_add(MOMENT);

/// How long a process may take to say what came of a handover when its successor has ended: it sees that at
/// once, and has no more to do than to say it.
const MOMENT: Duration = Duration::from_secs(3);

/// Returns how the successor in a slot starts.
///
/// # Errors
/// Why it cannot: what is to move cannot.
pub(super) fn manner(slots: &Slots, id: SlotId) -> Result<StartManner, String> {
    if slots.service(id).reload != Reload::HandOver {
        return Ok(StartManner::Fresh);
    }
    match slots[id].serving() {
        Some(serving) if serving.formats.is_some() => Ok(StartManner::Dormant),
        Some(serving) => Err(format!(
            "{} (pid {}) runs a program that cannot hand its connections over: `restart` replaces it",
            slots[id].name, serving.pid
        )),
        None => Ok(StartManner::Fresh),
    }
}

impl Reloads {
    /// Returns when it must be looked at; the processes have deadlines of their own.
    pub(in crate::master) fn deadline(&self) -> Option<Instant> {
        let waiting = self.under_way.iter().filter_map(|round| match round.awaited {
            Awaited::LastWord { until, .. } => Some(until),
            _ => None,
        });
        waiting.min()
    }

    /// Returns the place of the one in whose handover this process is.
    pub(super) fn of_handover(&self, key: WorkerKey) -> Option<usize> {
        self.under_way.iter().position(|round| match round.awaited {
            Awaited::Handover { from, to } => from == key || to == key,
            Awaited::LastWord { from, .. } => from == key,
            Awaited::Nothing | Awaited::Successor(_) | Awaited::Dormant(_) | Awaited::End(_) => {
                false
            }
        })
    }

    /// One of the two processes of a handover has ended.
    pub(super) fn ended_while_handing_over(
        &mut self,
        key: WorkerKey,
        slots: &Slots,
        reason: &ExitReason,
        now: Instant,
    ) -> Option<Vec<MasterAction>> {
        let at = self.of_handover(key)?;
        let round = self.under_way.get_mut(at)?;
        let slot = &slots[key.slot];
        match round.awaited {
            Awaited::Handover { from, to } if to == key => {
                let old = slot.workers.iter().find(|worker| worker.key == from);
                if old.is_some_and(SlotWorker::is_ready) {
                    round.awaited = Awaited::LastWord { from, until: now + MOMENT };
                    round.moved.end = Some(reason.clone());
                    return None;
                }
                let (name, kept) = (&slot.name, what_is_kept(slot));
                let text = format!("{name}: both processes ended, the successor: {reason}; {kept}");
                Some(self.fail(at, slots, &text))
            }
            Awaited::LastWord { .. } => {
                let text =
                    format!("{}, and the old one: {reason}", round.successors_end(&slot.name));
                Some(self.fail(at, slots, &text))
            }
            // Its successor says whether it has all.
            _ => None,
        }
    }
}

impl Round {
    /// Returns why it fails, if the last word has not come in time.
    pub(super) fn has_waited(&self, slots: &Slots, now: Instant) -> Option<String> {
        let Awaited::LastWord { from, until } = self.awaited else { return None };
        let slot = &slots[from.slot];
        (until <= now).then(|| {
            let (end, kept) = (self.successors_end(&slot.name), what_is_kept(slot));
            format!("{end}; what has moved was not said; {kept}")
        })
    }

    fn successors_end(&self, slot: &str) -> String {
        let end = self.moved.end.as_ref().map(ExitReason::to_string).unwrap_or_default();
        format!("{slot}: the successor ended while it took over: {end}")
    }
}

impl Machine {
    /// Returns whether a process gives or takes in a handover.
    pub(in crate::master) fn hands_over(&self, key: WorkerKey) -> bool {
        let MasterPhase::Up(reloads) = &self.phase else { return false };
        reloads.of_handover(key).is_some()
    }

    /// A process is ready to take over: what serves its slot hands over to it.
    pub(in crate::master) fn dormant(&mut self, to: WorkerKey, now: Instant) -> Vec<MasterAction> {
        let serving = self.slots[to.slot].serving().map(|worker| worker.key);
        let Some(worker) = self.slots.worker(to) else { return Vec::new() };
        if !matches!(worker.state, WorkerState::Starting(_)) {
            return Vec::new();
        }
        worker.state = WorkerState::Dormant(now + finite(HANDOVER));
        let round = match &mut self.phase {
            MasterPhase::Up(reloads) => reloads.at_mut(to.slot),
            MasterPhase::Starting(_) | MasterPhase::Stopping(_) => None,
        };
        let round = round.filter(|round| round.awaited == Awaited::Dormant(to));
        let (Some(from), Some(round)) = (serving, round) else {
            tracing::warn!(pid = worker.pid, "nothing is there to be taken over");
            return vec![worker.kill(ExitReason::NotNeeded)];
        };
        round.awaited = Awaited::Handover { from, to };
        tracing::info!(slot = self.slots[to.slot].name, "handing over");
        vec![MasterAction::HandOver { from, to }]
    }

    /// A process that was to wait serves already: its program knows no handover.
    pub(in crate::master) fn not_dormant(&mut self, key: WorkerKey) -> Option<Vec<MasterAction>> {
        let MasterPhase::Up(reloads) = &mut self.phase else { return None };
        let at = reloads.of_successor(key)?;
        if reloads.under_way.get(at)?.awaited != Awaited::Dormant(key) {
            return None;
        }
        let (name, kept) = (&self.slots[key.slot].name, what_is_kept(&self.slots[key.slot]));
        let text = format!("{name}: the new program does not take connections over; {kept}");
        let mut actions = reloads.fail(at, &self.slots, &text);
        actions.extend(self.slots.worker(key).map(|worker| worker.kill(ExitReason::NotNeeded)));
        Some(actions)
    }

    /// A process has taken over.
    pub(in crate::master) fn took_over(
        &mut self,
        key: WorkerKey,
        now: Instant,
    ) -> Vec<MasterAction> {
        let waits = |worker: &mut SlotWorker| matches!(worker.state, WorkerState::Dormant(_));
        if self.slots.worker(key).is_some_and(waits) { self.serves(key, now) } else { Vec::new() }
    }

    /// A process has handed over: what served its slot is its successor, which may have ended since.
    pub(in crate::master) fn handed_over(
        &mut self,
        key: WorkerKey,
        report: &HandedOver,
        now: Instant,
    ) -> Vec<MasterAction> {
        let Some(worker) = self.slots.worker(key) else { return Vec::new() };
        worker.has_handed_over = true;
        let was_ready = worker.is_ready();
        let MasterPhase::Up(reloads) = &mut self.phase else { return Vec::new() };
        let mut actions = Vec::new();
        let at = reloads.under_way.iter().position(|round| round.concerns(key.slot));
        let awaited = at.and_then(|at| {
            let round = reloads.under_way.get_mut(at)?;
            round.moved.add(report);
            actions.extend(round.tell(&line(&self.slots[key.slot].name, report)));
            Some(round.awaited)
        });
        match (at, awaited) {
            (_, Some(Awaited::Handover { from, to })) if from == key => {
                actions.extend(self.took_over(to, now));
                return actions;
            }
            (Some(at), Some(Awaited::LastWord { from, .. })) if from == key => {
                let name = &self.slots[key.slot].name;
                let end = reloads.under_way.get(at).map(|round| round.successors_end(name));
                let text = format!("{}; all had moved to it", end.unwrap_or_default());
                actions.extend(reloads.fail(at, &self.slots, &text));
            }
            _ => {}
        }
        if was_ready {
            let (limit, stop_limit) =
                (self.slots.drain_limit(key.slot), self.slots.config.stop_limit);
            let worker = self.slots.worker(key);
            actions.extend(worker.map(|worker| worker.drain(now, limit, stop_limit, None)));
            if self.slots[key.slot].is_vacant() {
                tracing::error!(
                    slot = self.slots[key.slot].name,
                    "the process that took over has ended: starting another one"
                );
                actions.push(self.restart(key.slot));
            }
        }
        actions
    }

    /// A process has not handed over, and goes on: its successor is of no use.
    pub(in crate::master) fn not_handed_over(
        &mut self,
        key: WorkerKey,
        reason: &str,
    ) -> Vec<MasterAction> {
        let MasterPhase::Up(reloads) = &mut self.phase else { return Vec::new() };
        let Some(at) = reloads.of_handover(key) else { return Vec::new() };
        let Some(round) = reloads.under_way.get(at) else { return Vec::new() };
        let slot = &self.slots[key.slot];
        let kept = what_is_kept(slot);
        let (text, to) = match round.awaited {
            Awaited::Handover { from, to } if from == key => {
                (format!("{}: not handed over: {reason}; {kept}", slot.name), Some(to))
            }
            Awaited::LastWord { .. } => {
                (format!("{}; {reason}; {kept}", round.successors_end(&slot.name)), None)
            }
            _ => return Vec::new(),
        };
        let mut actions = reloads.fail(at, &self.slots, &text);
        let to = to.and_then(|to| self.slots.worker(to));
        actions.extend(to.map(|worker| worker.kill(ExitReason::NotNeeded)));
        actions
    }
}

#[cfg(test)]
#[path = "handover_tests.rs"]
mod tests;
