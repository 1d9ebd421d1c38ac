//! What the table does as the budget fills: the largest holders are not read, new ones are refused, the
//! largest are closed. It looks for them only when the sum has come to a level, or a step beyond it.

use std::cmp::Reverse;
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

/// One that sends as it should holds less than this for a moment.
pub(in crate::connection) const SMALL: usize = 4096;

/// What holds something and can be closed.
enum Closable {
    Entry(Rc<dyn AnyEntry>),
    Outside(Arc<Share>),
}

/// Which is closed first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// Its handshake is not done, so that it costs its peer least. The largest first.
    HalfOpen(Reverse<usize>),
    /// The largest first.
    Large(Reverse<usize>),
    /// The oldest first: many that hold little are as much as a few that hold much.
    Small(u64),
}

/// What holds the sum.
struct Holders {
    /// What can be closed, in that order.
    closable: Vec<(Rank, usize, Closable)>,
    /// What links between our own processes hold: those have bounds of their own, and stay.
    links: usize,
    /// What is given back soon by connections whose end is on its way.
    going: usize,
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
        let Some(level) = budget.crossed() else {
            if budget.is_acting.get() {
                self.watch_crowd();
            }
            return false;
        };
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
        if level == Level::Spent {
            self.close_largest(Level::Crowded);
        }
        self.watch_crowd();
        true
    }

    fn relax(&self) {
        self.0.budget.calm();
        for (_, item) in self.0.items.borrow().iter() {
            if let Item::Entry(entry) = item {
                Rc::clone(entry).within_budget();
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

    /// Stops reading the largest, as many as hold half of what links do not. What is not open yet is
    /// bounded by its handshake, and goes on with that.
    fn hold_largest(&self) {
        let Holders { closable, links, .. } = self.holders();
        let half = self.account().used().saturating_sub(links) / 2;
        let mut held = 0;
        for (rank, size, holder) in closable {
            if held >= half || matches!(rank, Rank::Small(_)) {
                return;
            }
            match holder {
                Closable::Entry(entry) if !entry.life().is_open() => continue,
                Closable::Entry(entry) if entry.over_budget() => {
                    self.add(|counters| &counters.budget_held, 1);
                }
                // Outside of the table the bodies of requests wait by themselves.
                Closable::Entry(_) | Closable::Outside(_) => {}
            }
            held += size;
        }
    }

    /// Closes the largest until what is left, without the links' share, is below the level: closing cannot
    /// help where links hold the rest.
    fn close_largest(&self, below: Level) {
        let border = self.account().border(below);
        let Holders { closable, links, going } = self.holders();
        let mut not_left = links + going;
        for (_, size, holder) in closable {
            if self.account().used().saturating_sub(not_left) < border {
                break;
            }
            match holder {
                Closable::Entry(entry) => {
                    Rc::clone(&entry).shed();
                    // One that is told why gives back when that is over.
                    if !entry.life().is_closed() {
                        not_left += entry.holding();
                    }
                }
                Closable::Outside(holder) => {
                    holder.cut();
                    not_left += size;
                }
            }
            self.add(|counters| &counters.budget_closed, 1);
        }
        self.0.budget.look_again();
    }

    fn holders(&self) -> Holders {
        let mut found = Holders { closable: Vec::new(), links: 0, going: 0 };
        for (_, item) in self.0.items.borrow().iter() {
            let Item::Entry(entry) = item else { continue };
            let size = entry.holding();
            let is_before_the_end = entry.life().state().is_before_the_end();
            let is_half_open = is_before_the_end && !entry.life().is_open();
            if entry.weight() == Weight::Link {
                found.links += size;
            } else if !is_before_the_end && entry.queued() == 0 {
                found.going += size;
            } else if size > 0 {
                let rank = match size {
                    ..SMALL => Rank::Small(entry.id().number),
                    SMALL.. if is_half_open && entry.weight() == Weight::Peer => {
                        Rank::HalfOpen(Reverse(size))
                    }
                    SMALL.. => Rank::Large(Reverse(size)),
                };
                found.closable.push((rank, size, Closable::Entry(Rc::clone(entry))));
            }
        }
        for holder in self.0.budget.holders() {
            let size = holder.size();
            if holder.is_going() {
                found.going += size;
            } else if size > 0 {
                // They are listed by age, and stay in that order.
                let is_large = size >= SMALL;
                let rank =
                    if is_large { Rank::Large(Reverse(size)) } else { Rank::Small(u64::MAX) };
                found.closable.push((rank, size, Closable::Outside(holder)));
            }
        }
        found.closable.sort_by(|(one, ..), (other, ..)| one.cmp(other));
        found
    }

    /// Closes the largest when it has stayed crowded for some seconds.
    fn watch_crowd(&self) {
        let is_crowded = self.account().level() >= Level::Crowded;
        if !is_crowded || self.0.budget.is_watched.replace(true) {
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
