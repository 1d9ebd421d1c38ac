//! What the table does as the budget fills: the largest holders are not read, new ones are refused, the
//! largest are closed. It looks for them only when the sum has come to a level, or a step beyond it.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Item, Table};
use crate::connection::budget::{Account, Level, Share};
use crate::connection::entry::{AnyEntry, Weight};

/// How long new connections may be refused before the largest holders are closed for them: those that are
/// not read may never finish what they hold.
const CROWDED: u32 = 5;

/// What is smaller is not worth a word: one that sends as it should holds as much for a moment.
const SMALL: usize = 4096;

/// What holds much.
enum Large {
    Entry(Rc<dyn AnyEntry>),
    Outside(Arc<Share>),
}

impl Table {
    /// Sets how many bytes this process may hold that are unfinished or unsent. Default: no bound.
    ///
    /// At a half the connections that hold most are not read, at three quarters new connections and
    /// requests are refused, and when it is used up, or new ones were refused for 5 s, the connections that
    /// hold most are closed, with 1013 where that can be said at once.
    pub fn set_budget(&self, bytes: usize) {
        self.0.budget.set(bytes);
    }

    pub(crate) fn account(&self) -> &Arc<Account> {
        &self.0.budget.account
    }

    /// Returns a holder for what a connection outside of the table holds.
    pub(crate) fn holder(&self) -> Arc<Share> {
        self.0.budget.holder()
    }

    pub(in crate::connection) fn charge(&self, before: u32, now: u32) {
        self.0.budget.change(before, now);
    }

    pub(in crate::connection) fn shared(&self, bytes: Bytes) -> Bytes {
        self.0.budget.share(bytes)
    }

    /// Returns whether the budget is used up.
    pub(in crate::connection) fn is_spent(&self) -> bool {
        self.account().is_spent()
    }

    /// Returns whether new connections and requests are refused for now, and counts one if so.
    pub(crate) fn refuses_new(&self) -> bool {
        let refuses = self.account().level() >= Level::Crowded;
        if refuses {
            self.add(|counters| &counters.budget_refused, 1);
        }
        refuses
    }

    /// Looks at the budget, at the end of a turn; returns whether anything was done.
    pub(super) fn relieve(&self) -> bool {
        let budget = &self.0.budget;
        budget.end_turn();
        let Some(level) = budget.crossed() else { return false };
        if level == Level::Calm {
            self.relax();
            return true;
        }
        if !budget.is_acting.replace(true) {
            tracing::warn!(
                bytes = budget.account.used(),
                "much is unfinished or unsent: the connections that hold most of it are not read"
            );
        }
        self.hold_largest();
        if level >= Level::Crowded {
            self.watch_crowd();
        }
        if level == Level::Spent {
            self.close_largest(Level::Crowded);
        }
        true
    }

    fn relax(&self) {
        for id in self.0.budget.calm() {
            if let Some(entry) = self.entry(id) {
                entry.within_budget();
            }
        }
        let counters = &self.0.counters;
        tracing::info!(
            bytes = self.0.budget.account.used(),
            held = counters.budget_held.get(),
            refused = counters.budget_refused.get(),
            closed = counters.budget_closed.get(),
            "what is unfinished or unsent is little again; the sums are since the process started"
        );
    }

    /// Stops reading the largest, as many as hold half of everything.
    fn hold_largest(&self) {
        let half = self.0.budget.account.used() / 2;
        let mut held = 0;
        for (size, large) in self.largest() {
            if held >= half {
                return;
            }
            held += size;
            // Outside of the table the bodies of requests wait by themselves.
            if let Large::Entry(entry) = large
                && entry.over_budget()
            {
                self.0.budget.held.borrow_mut().push(entry.id());
                self.add(|counters| &counters.budget_held, 1);
            }
        }
    }

    /// Closes the largest until the sum is below the level.
    fn close_largest(&self, below: Level) {
        for (_, large) in self.largest() {
            if self.account().level() < below {
                return;
            }
            match large {
                Large::Entry(entry) => entry.shed(),
                Large::Outside(holder) => holder.cut(),
            }
            self.add(|counters| &counters.budget_closed, 1);
        }
    }

    /// Returns the connections that hold much, the largest first. Links between our own processes have
    /// bounds of their own, and stay.
    fn largest(&self) -> Vec<(usize, Large)> {
        let mut all: Vec<(usize, Large)> = Vec::new();
        for (_, item) in self.0.items.borrow().iter() {
            if let Item::Entry(entry) = item
                && entry.weight() != Weight::Link
                && entry.holding() >= SMALL
            {
                all.push((entry.holding(), Large::Entry(Rc::clone(entry))));
            }
        }
        let outside = self.0.budget.holders().into_iter();
        let outside = outside.map(|holder| (holder.size(), Large::Outside(holder)));
        all.extend(outside.filter(|(size, _)| *size >= SMALL));
        all.sort_unstable_by_key(|(size, _)| std::cmp::Reverse(*size));
        all
    }

    /// Closes the largest when it has stayed crowded for some seconds.
    fn watch_crowd(&self) {
        if self.0.budget.is_watched.replace(true) {
            return;
        }
        let table = self.clone();
        tokio::task::spawn_local(async move {
            let mut crowded = 0;
            while table.account().level() >= Level::Crowded {
                if crowded == CROWDED {
                    table.close_largest(Level::Tight);
                    break;
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
                crowded += 1;
            }
            table.0.budget.is_watched.set(false);
            table.wake();
        });
    }
}
