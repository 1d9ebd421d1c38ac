//! How a business leaves without an event lost or handled twice: a state machine, fed with what
//! gateways answer.
//!
//! No gateway sends events behind its fence. When every event before the fences is handled, all
//! gateways confirm that they have applied everything we sent; only then may any of them give our
//! clients to others, so a successor's first message can never overtake our last one.

use std::collections::BTreeSet;

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
    /// Fences are awaited.
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
    /// The links that are up and speak the extension.
    links: BTreeSet<LinkId>,
    /// Those of them whose answer is awaited.
    awaited: BTreeSet<LinkId>,
}

impl Drain {
    /// Begins on the links that speak the extension.
    pub(super) fn begin(links: impl IntoIterator<Item = LinkId>) -> (Self, Vec<Action>) {
        let links: BTreeSet<_> = links.into_iter().collect();
        let actions = links.iter().copied().map(Action::Drain).collect();
        (Self { stage: Stage::Fencing, awaited: links.clone(), links }, actions)
    }

    /// A gateway's `Fence` came.
    pub(super) fn fence(&mut self, link: LinkId) {
        if self.stage == Stage::Fencing {
            self.awaited.remove(&link);
        }
    }

    /// A gateway's `Synced` came.
    pub(super) fn synced(&mut self, link: LinkId) {
        if self.stage == Stage::Syncing {
            self.awaited.remove(&link);
        }
    }

    /// A link is lost: nothing is awaited from it.
    pub(super) fn lost(&mut self, link: LinkId) {
        self.links.remove(&link);
        self.awaited.remove(&link);
    }

    /// Goes as far as it can; `idle` says whether every event has been handled.
    pub(super) fn advance(&mut self, idle: bool) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.stage == Stage::Fencing && self.awaited.is_empty() {
            self.stage = Stage::Finishing;
        }
        if self.stage == Stage::Finishing && idle {
            self.stage = Stage::Syncing;
            self.awaited = self.links.clone();
            actions.extend(self.links.iter().copied().map(Action::Sync));
        }
        if self.stage == Stage::Syncing && self.awaited.is_empty() {
            self.stage = Stage::Released;
            actions.extend(self.links.iter().copied().map(Action::Release));
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
        let (mut drain, actions) = Drain::begin([1, 2]);
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
        let (mut drain, _) = Drain::begin([1, 2]);
        drain.fence(1);
        drain.lost(2);
        assert_eq!(drain.advance(true), [Action::Sync(1)]);

        let (mut drain, _) = Drain::begin([1, 2]);
        drain.fence(1);
        drain.fence(2);
        assert_eq!(drain.advance(false), []);
        drain.lost(1);
        assert_eq!(drain.advance(true), [Action::Sync(2)]);

        let (mut drain, _) = Drain::begin([1, 2]);
        drain.fence(1);
        drain.fence(2);
        drain.advance(true);
        drain.synced(1);
        drain.lost(2);
        assert_eq!(drain.advance(true), [Action::Release(1)]);

        let (mut drain, _) = Drain::begin([1]);
        drain.lost(1);
        assert_eq!(drain.advance(true), []);
        assert!(drain.is_over());
    }

    #[test]
    fn answers_out_of_turn_do_nothing() {
        let (mut drain, _) = Drain::begin([1]);
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
        let (mut drain, actions) = Drain::begin([]);
        assert_eq!(actions, []);
        assert_eq!(drain.advance(false), []);
        assert!(!drain.is_over());
        drain.advance(true);
        assert!(drain.is_over());
    }
}
