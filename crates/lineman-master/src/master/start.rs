//! A start under way: the slots are started one after the other, and get ready side by side. A machine
//! over the slots: it starts nothing itself.

use std::time::Instant;

use super::event::{MasterAction, Source};
use super::reload::{Round, merge};
use super::slot::{SlotId, Slots};
use crate::control::answers::Answers;
use crate::service::StartManner;

/// What is left of a start.
#[derive(Debug)]
pub(super) struct Starting {
    report: Answers,
    /// The slots that are still to be started, the next one last.
    due: Vec<SlotId>,
    since: Instant,
    /// Reloads that were asked for meanwhile, merged into one.
    reload: Option<Round>,
}

impl Starting {
    /// Begins now; it is reported to `report`.
    pub(super) fn new(slots: &Slots, report: Answers, now: Instant) -> Self {
        Self { report, due: slots.ids().rev().collect(), since: now, reload: None }
    }

    /// Goes on with the next slot: at first, and when the one before it was started.
    pub(super) fn start_next(&mut self, slots: &mut Slots) -> Option<MasterAction> {
        self.due.pop().map(|slot| {
            let key = slots.next_process(slot);
            MasterAction::Start(key, Source::Path, StartManner::Fresh)
        })
    }

    /// A reload was asked for: it follows.
    pub(super) fn reload(&mut self, asked: Round) -> Vec<MasterAction> {
        tracing::info!("asked to reload during the start: it follows");
        let actions = asked.tell("the program is starting; this reload follows");
        merge(&mut self.reload, asked);
        actions
    }

    /// Returns what follows when it is over, which it is when every slot is ready.
    pub(super) fn finish(
        &mut self,
        slots: &Slots,
        now: Instant,
    ) -> Option<(MasterAction, Option<Round>)> {
        if !slots.iter().all(|(_, slot)| slot.is_ready()) {
            return None;
        }
        tracing::info!(took = ?now.saturating_duration_since(self.since), "up");
        Some((MasterAction::Up(self.report.clone()), self.reload.take()))
    }

    /// Gives up the reload that waits, because the program stops.
    pub(super) fn abandon(&mut self) -> Vec<MasterAction> {
        self.reload.take().map(|round| round.abandon()).unwrap_or_default()
    }
}
