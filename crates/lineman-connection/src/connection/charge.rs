//! What a connection counts for in the budget of the process, and how it is closed for that. Called where its
//! buffers grow and shrink; the budget itself never asks.

use std::rc::Rc;

use super::entry::{AnyEntry as _, Entry};
use super::inflow::Hold;
use super::life::State;
use super::table::SMALL;
use super::transport::Transport;
use super::{CloseReason, Driver, Limit};

/// A message from this size on counts for the budget while its handler waits.
const LARGE: usize = 16 * 1024;

impl<D: Driver> Entry<D> {
    /// Charges the budget what it holds now, where it holds or has held something.
    pub(super) fn weigh_incoming(self: &Rc<Self>) {
        if self.outflow.charged.get() > 0 || self.incoming() > 0 {
            self.weigh();
        }
    }

    /// Charges the budget what it holds now.
    pub(super) fn weigh(self: &Rc<Self>) {
        let at_work = self.extra.borrow().as_ref().map_or(0, |extra| extra.at_work);
        let sealed = self.transport.borrow().as_ref().map_or(0, Transport::pending);
        let holds = self.incoming() + sealed + self.outflow.queue.borrow().held() + at_work;
        let holds = u32::try_from(holds).unwrap_or(u32::MAX);
        self.table.charge(self.outflow.charged.replace(holds), holds);
        // The others go on holding, perhaps for long: that is no reason not to read this one.
        if self.inflow.is_held(Hold::OverBudget) && self.would_give_back() < SMALL {
            self.lift(Hold::OverBudget);
        }
    }

    /// Returns the memory of what came and is no message yet.
    fn incoming(&self) -> usize {
        let layers = self.transport.borrow().as_ref().map_or(0, Transport::held);
        self.inflow.unread_held() + layers + self.driver.borrow().held()
    }

    /// The handler is at work on a message of this size, or done with it.
    pub(super) fn set_at_work(self: &Rc<Self>, size: usize) {
        let is_new = size >= LARGE;
        let was = self.extra.borrow().as_ref().is_some_and(|extra| extra.at_work > 0);
        if is_new || was {
            self.extra(|extra| extra.at_work = if is_new { size } else { 0 });
            self.weigh();
        }
    }

    /// Returns how many bytes would be given back if it were closed.
    pub(super) fn would_give_back(&self) -> usize {
        let at_work = self.extra.borrow().as_ref().map_or(0, |extra| extra.at_work);
        let alone = self.outflow.charged.get() as usize;
        alone.saturating_sub(at_work) + self.outflow.queue.borrow().shared_len()
    }

    /// Closes it, so that what it holds is given back.
    pub(super) fn close_for_budget(self: &Rc<Self>) {
        let reason = CloseReason::Limited(Limit::Budget);
        // Behind what waits nothing is heard soon, and it is what has to go. A handshake holds something
        // for its layers, and gives it back only at its end.
        if self.queued() > 0 || self.life.state() < State::Open {
            return self.finish(reason);
        }
        self.inflow.take_unread();
        self.begin_close(reason);
        self.weigh();
    }
}
