//! How a business leaves without an event lost or handled twice: a state machine, fed with what
//! gateways answer.
//!
//! No gateway sends events behind its fence. When every event before the fences is handled, all
//! gateways confirm that they have applied everything we sent; only then may any of them give our
//! clients to others, so a successor's first message can never overtake our last one.

use std::collections::{BTreeMap, BTreeSet};

use super::clients::LinkId;

/// What to send on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// `Drain`: send me no more events.
    Drain(LinkId),
    /// `Sync`: answer when everything is applied.
    Sync(LinkId),
    /// `Release`: give my clients to others.
    Release(LinkId),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// Fences are awaited, and verdicts on gateways whose link is lost.
    Fencing,
    /// The events before the fences are being handled.
    Finishing,
    /// Confirmations are awaited.
    Syncing,
    /// The clients are others'.
    Released,
}

/// The way out of one process.
#[derive(Debug)]
pub(super) struct Drain {
    stage: Stage,
    /// The links that are up and speak the extension, each with how many confirmations it owes.
    links: BTreeMap<LinkId, u32>,
    /// Those of them whose fence is awaited.
    unfenced: BTreeSet<LinkId>,
    /// Links that were lost, of gateways that may be alive: what becomes of their clients is not known yet.
    undecided: BTreeSet<LinkId>,
    /// What is to be sent next.
    actions: Vec<Action>,
}

impl Drain {
    /// Begins on the links that speak the extension; others of the kind are `lost`.
    pub(super) fn begin(
        links: impl IntoIterator<Item = LinkId>,
        lost: impl IntoIterator<Item = LinkId>,
    ) -> (Self, Vec<Action>) {
        let unfenced: BTreeSet<_> = links.into_iter().collect();
        let actions = unfenced.iter().copied().map(Action::Drain).collect();
        let drain = Self {
            stage: Stage::Fencing,
            links: unfenced.iter().map(|&link| (link, 0)).collect(),
            unfenced,
            undecided: lost.into_iter().collect(),
            actions: Vec::new(),
        };
        (drain, actions)
    }

    /// A gateway's `Fence` came.
    pub(super) fn fence(&mut self, link: LinkId) {
        self.unfenced.remove(&link);
    }

    /// A gateway's `Synced` came.
    pub(super) fn synced(&mut self, link: LinkId) {
        if let Some(owed) = self.links.get_mut(&link) {
            *owed = owed.saturating_sub(1);
        }
    }

    /// A link is lost: nothing is awaited from it. If its gateway may be alive, its clients are ours until that
    /// is known, and the events of their ends come before everything else that was left.
    pub(super) fn lost(&mut self, link: LinkId, may_live: bool) {
        self.links.remove(&link);
        self.unfenced.remove(&link);
        if may_live && self.stage != Stage::Released {
            self.undecided.insert(link);
            self.stage = Stage::Fencing;
        }
    }

    /// The gateway of a lost link is dead, or is back on a new one.
    pub(super) fn decided(&mut self, link: LinkId, back: Option<LinkId>) {
        if !self.undecided.remove(&link) {
            return;
        }
        if let Some(back) = back {
            self.links.insert(back, 0);
            self.unfenced.insert(back);
            self.actions.push(Action::Drain(back));
        }
    }

    /// Goes as far as it can; `idle` says whether every event has been handled.
    pub(super) fn advance(&mut self, idle: bool) -> Vec<Action> {
        let mut actions = std::mem::take(&mut self.actions);
        if self.stage == Stage::Fencing && self.unfenced.is_empty() && self.undecided.is_empty() {
            self.stage = Stage::Finishing;
        }
        if self.stage == Stage::Finishing && idle {
            self.stage = Stage::Syncing;
            self.links.values_mut().for_each(|owed| *owed += 1);
            actions.extend(self.links.keys().copied().map(Action::Sync));
        }
        if self.stage == Stage::Syncing && self.links.values().all(|owed| *owed == 0) {
            self.stage = Stage::Released;
            actions.extend(self.links.keys().copied().map(Action::Release));
        }
        actions
    }

    /// Returns whether the clients are others'.
    pub(super) fn is_over(&self) -> bool {
        self.stage == Stage::Released
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fences_then_events_then_confirmations_then_release() {
        let (mut drain, actions) = Drain::begin([1, 2], []);
        assert_eq!(actions, [Action::Drain(1), Action::Drain(2)]);
        drain.fence(1);
        assert_eq!(drain.advance(true), []);
        drain.fence(2);
        assert_eq!(drain.advance(false), [], "events are still handled");
        assert_eq!(drain.advance(true), [Action::Sync(1), Action::Sync(2)]);
        drain.synced(2);
        assert_eq!(drain.advance(true), []);
        drain.synced(1);
        assert_eq!(drain.advance(true), [Action::Release(1), Action::Release(2)]);
        assert!(drain.is_over());
        assert_eq!(drain.advance(true), []);
    }

    #[test]
    fn a_link_lost_in_any_stage_is_not_waited_for() {
        let (mut drain, _) = Drain::begin([1, 2], []);
        drain.fence(1);
        drain.lost(2, false);
        assert_eq!(drain.advance(true), [Action::Sync(1)]);

        let (mut drain, _) = Drain::begin([1, 2], []);
        drain.fence(1);
        drain.fence(2);
        assert_eq!(drain.advance(false), []);
        drain.lost(1, false);
        assert_eq!(drain.advance(true), [Action::Sync(2)]);

        let (mut drain, _) = Drain::begin([1, 2], []);
        drain.fence(1);
        drain.fence(2);
        drain.advance(true);
        drain.synced(1);
        drain.lost(2, false);
        assert_eq!(drain.advance(true), [Action::Release(1)]);

        let (mut drain, _) = Drain::begin([1], []);
        drain.lost(1, false);
        assert_eq!(drain.advance(true), []);
        assert!(drain.is_over());
    }

    #[test]
    fn answers_out_of_turn_do_nothing() {
        let (mut drain, _) = Drain::begin([1], []);
        drain.synced(1);
        assert_eq!(drain.advance(true), []);
        drain.fence(1);
        assert_eq!(drain.advance(true), [Action::Sync(1)]);
        drain.fence(1);
        assert_eq!(drain.advance(true), []);
        assert!(!drain.is_over());
    }

    #[test]
    fn without_gateways_there_is_nothing_to_wait_for_but_events() {
        let (mut drain, actions) = Drain::begin([], []);
        assert_eq!(actions, []);
        assert_eq!(drain.advance(false), []);
        assert!(!drain.is_over());
        drain.advance(true);
        assert!(drain.is_over());
    }

    #[test]
    fn a_gateway_whose_link_is_lost_is_waited_for_in_any_stage() {
        let (mut drain, _) = Drain::begin([1], [9]);
        drain.fence(1);
        assert_eq!(
            drain.advance(true),
            [],
            "it is not known whether the clients of that one end here"
        );
        drain.decided(9, None);
        assert_eq!(drain.advance(true), [Action::Sync(1)]);
        drain.lost(1, true);
        assert_eq!(drain.advance(true), []);
        drain.decided(1, Some(2));
        assert_eq!(drain.advance(true), [Action::Drain(2)]);
        drain.fence(2);
        assert_eq!(drain.advance(true), [Action::Sync(2)]);
        drain.synced(2);
        assert_eq!(drain.advance(true), [Action::Release(2)]);
        drain.lost(2, true);
        assert_eq!((drain.advance(true), drain.is_over()), (vec![], true));
    }

    #[test]
    fn what_was_confirmed_before_a_loss_has_to_be_confirmed_again() {
        let (mut drain, _) = Drain::begin([1, 2], []);
        drain.fence(1);
        drain.fence(2);
        assert_eq!(drain.advance(true).len(), 2);
        drain.lost(2, true);
        drain.decided(2, None);
        assert_eq!(drain.advance(false), [], "the ends of its clients are handled");
        assert_eq!(drain.advance(true), [Action::Sync(1)]);
        drain.synced(1);
        assert_eq!(drain.advance(true), [], "that answers the first");
        drain.synced(1);
        assert_eq!(drain.advance(true), [Action::Release(1)]);
    }
}
