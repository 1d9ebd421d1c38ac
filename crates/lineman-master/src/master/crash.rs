//! What follows when a process ends, or cannot be started: the next one, now or later, a failed start or
//! reload, the end of the program. The machine's part for that; it keeps no state of its own.

use std::process::ExitStatus;
use std::time::{Duration, Instant};

use super::event::{MasterAction, Source, note};
use super::exit::ExitReason;
use super::hooks::WorkerExit;
use super::machine::{Machine, MasterPhase};
use super::slot::{Outlook, SlotId, WorkerKey};
use crate::control::ExitCode;
use crate::control::report::Step;
use crate::control::request::Manner;
use crate::service::StartManner;

/// The pause after a reload's successor has failed where nothing served before: it has just failed
/// for a person who watches, and at once it would only fail again.
const AFTER_RELOAD: Duration = Duration::from_secs(1);

impl Machine {
    /// A worker has ended; `said` is what it said on stderr before it was a worker.
    pub(super) fn exited(
        &mut self,
        key: WorkerKey,
        status: Option<ExitStatus>,
        said: Option<String>,
        now: Instant,
    ) -> Vec<MasterAction> {
        let slot = &mut self.slots[key.slot];
        let Some(mut worker) = slot.remove(key) else { return Vec::new() };
        worker.evidence.said = said;
        let asked = worker.is_leaving() && worker.evidence.asked;
        let (pid, cut, ready) = (worker.pid, worker.cut, worker.ready_at);
        let (unfinished, has_handed_over) = (worker.unfinished, worker.has_handed_over);
        let uptime = now.saturating_duration_since(worker.started);
        let reason = ExitReason::tell(status, worker.evidence);
        let is_vacant = slot.is_vacant();
        let mut pause = Duration::ZERO;
        if asked {
            tracing::info!(slot = slot.name, pid, %reason, cut, unfinished, ?uptime, "ended");
        } else {
            // Beside another process it is no failure of the slot.
            if is_vacant {
                slot.failures.forgive(ready, now);
                pause = slot.failures.count(ready, (self.jitter)());
            }
            if slot.failures.are_news() {
                tracing::error!(slot = slot.name, pid, %reason, ?uptime, "ended by itself");
            }
        }
        slot.note_exit(reason.clone(), now);
        let failures = slot.failures.number();
        let (slot, of_exit) = (slot.name.clone(), reason.clone());
        let exit = WorkerExit { slot, pid, reason: of_exit, uptime, asked, failures };
        let mut actions = vec![MasterAction::Exited(exit)];
        let what = if reason.was_forced() { Step::Killed } else { Step::Ended };
        actions.extend(self.progress(key.slot, pid, what, None, None));
        if let Some(tally) = self.tally(key.slot) {
            if has_handed_over {
                tally.add_rest(cut, unfinished, &reason);
            } else {
                tally.add(cut, unfinished, &reason);
            }
        }
        if asked {
            actions.extend(self.note_death(key.slot, pid, &reason));
        }
        if let MasterPhase::Up(reloads) = &mut self.phase {
            let failed = reloads.ended(key, &self.slots, &reason, now);
            pause = failed.as_ref().map_or(pause, |_| not_at_once(pause));
            actions.extend(failed.into_iter().flatten());
        }
        if asked || !is_vacant {
            return actions;
        }
        match &self.phase {
            MasterPhase::Starting(_) => {
                let name = &self.slots[key.slot].name;
                actions.extend(self.fail_start(&format!("{name}: {reason}"), now));
            }
            MasterPhase::Stopping(stop) if !stop.still_serves(now) => {}
            MasterPhase::Stopping(_) | MasterPhase::Up(_) => {
                let reason = reason.to_string();
                actions.extend(self.replace_crashed(key.slot, pause, &reason, now));
            }
        }
        actions
    }

    /// Gives a slot whose process ended by itself its next one, after this pause, for ever; unless the
    /// program wishes to end after so many failures.
    fn replace_crashed(
        &mut self,
        id: SlotId,
        pause: Duration,
        reason: &str,
        now: Instant,
    ) -> Vec<MasterAction> {
        let most = self.slots.config.give_up_after;
        let slot = &mut self.slots[id];
        let failures = slot.failures.number();
        if (1..=failures).contains(&most) && matches!(self.phase, MasterPhase::Up(_)) {
            let text = format!("{} ended {failures} times in a row: {reason}", slot.name);
            tracing::error!("giving up: {text}");
            return self.fail(ExitCode::GaveUp, &format!("gave up: {text}"), now);
        }
        if pause.is_zero() {
            return vec![self.restart(id)];
        }
        let until = now + pause;
        slot.outlook = if slot.failures.are_a_loop() {
            if slot.failures.are_news() {
                let text = "failed: a crash loop, tried again later and later, and by a reload";
                tracing::error!(slot = slot.name, failures, reason, ?pause, "{text}");
            }
            Outlook::Failed(until)
        } else {
            tracing::warn!(slot = slot.name, ?pause, "backing off");
            Outlook::BackingOff(until)
        };
        Vec::new()
    }

    pub(super) fn restart(&mut self, id: SlotId) -> MasterAction {
        self.slots[id].restarts += 1;
        let key = self.slots.next_process(id);
        MasterAction::Start(key, Source::LastServed, StartManner::Fresh)
    }

    pub(super) fn not_started(
        &mut self,
        key: WorkerKey,
        reason: &str,
        now: Instant,
    ) -> Vec<MasterAction> {
        match &mut self.phase {
            MasterPhase::Starting(_) => return self.fail_start(reason, now),
            MasterPhase::Up(reloads) => {
                if let Some(mut actions) = reloads.not_started(key, &self.slots, reason) {
                    actions.extend(reloads.advance(&mut self.slots, now));
                    return actions;
                }
            }
            MasterPhase::Stopping(_) => {}
        }
        tracing::error!(reason, "cannot start a worker");
        let slot = &mut self.slots[key.slot];
        let pause = not_at_once(slot.failures.count(None, (self.jitter)()));
        self.replace_crashed(key.slot, pause, reason, now)
    }

    /// Tears everything down because a service did not start.
    fn fail_start(&mut self, reason: &str, now: Instant) -> Vec<MasterAction> {
        tracing::error!(reason, "cannot start");
        self.fail(ExitCode::Failed, reason, now)
    }

    /// Stops at once, to exit with this code.
    fn fail(&mut self, code: ExitCode, reason: &str, now: Instant) -> Vec<MasterAction> {
        let actions = self.stop(Manner::Plain, None, None, now);
        if let MasterPhase::Stopping(stop) = &mut self.phase {
            stop.failure = Some((code, reason.to_owned()));
        }
        actions
    }

    /// Tells of a process that had been told to leave and died before it had: its connections got no
    /// close frame.
    fn note_death(&self, slot: SlotId, pid: u32, reason: &ExitReason) -> Vec<MasterAction> {
        if matches!(reason, ExitReason::Asked | ExitReason::KilledAfterLimit) {
            return Vec::new();
        }
        let name = &self.slots[slot].name;
        let text = format!("{name} (pid {pid}): ended before it had left: {reason}");
        self.watchers(slot).into_iter().map(|watcher| note(watcher, &text)).collect()
    }
}

/// Returns the pause after a failure that would only come again at once.
fn not_at_once(pause: Duration) -> Duration {
    if pause.is_zero() { AFTER_RELOAD } else { pause }
}
