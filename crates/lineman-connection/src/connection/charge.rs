//! What a connection counts for in the budget of the process. Called where its buffers grow and shrink;
//! the budget itself never asks.

use std::rc::Rc;

use super::Driver;
use super::entry::{AnyEntry as _, Entry};
use super::inflow::Hold;
use super::table::SMALL;
use super::transport::Transport;

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
        if self.inflow.is_held(Hold::OverBudget) && self.holding() < SMALL {
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
}
