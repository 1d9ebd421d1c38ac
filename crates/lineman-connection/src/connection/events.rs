//! How events reach a connection's handler, and what it answers. Called by what happens to the connection; no
//! borrow of it is held while a handler runs.

use std::rc::Rc;

use super::entry::{AnyEntry as _, Entry};
use super::handler::{Event, Turn};
use super::inflow::Hold;
use super::life::{HeardOf, State};
use super::{CloseReason, Connection, Driver, SendError};

/// Returns whether a handler failed because a send queue was full.
fn is_full(error: &(dyn std::error::Error + 'static)) -> bool {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.into_iter().any(|error| error.downcast_ref() == Some(&SendError::Full))
}

impl<D: Driver> Entry<D> {
    /// Hands an event to the handler, and deals with what it answers.
    pub(super) fn dispatch(self: &Rc<Self>, event: Event<D>) {
        self.inflow.hold(Hold::Busy);
        self.life.announce(HeardOf::Request);
        let connection = Connection::of(self);
        match self.serve.handler.on_event(&connection, event) {
            Turn::Done(result) => {
                self.inflow.lift(Hold::Busy);
                self.settle(result);
                self.end_work();
            }
            Turn::Busy => {}
        }
    }

    /// The handler is done with an event: a handshake is answered, an error closes.
    fn settle(self: &Rc<Self>, result: crate::Result) {
        let deciding = self.life.state() == State::Deciding;
        if let Err(error) = result {
            let refused = if deciding { self.driver.borrow_mut().refuse(&error) } else { None };
            if let Some(reason) = refused {
                return self.begin_close(reason);
            }
            if is_full(&*error) && self.queued() > 0 {
                tracing::debug!(connection = self.id.number, peer = %self.peer(), "the peer reads too slowly");
                return self.begin_close(CloseReason::SlowPeer);
            }
            self.table.add(|counters| &counters.handler_errors, 1);
            tracing::warn!(connection = self.id.number, peer = %self.peer(), %error, "handler failed");
            self.begin_close(CloseReason::HandlerFailed(error.to_string()));
        } else if deciding {
            // The event that follows settles the rest, and may leave a task that is not done yet.
            return self.answer_handshake();
        }
        self.report_close();
    }

    /// The task of a busy handler is done; what waited behind it goes on.
    pub(super) fn finished(self: &Rc<Self>, result: crate::Result) {
        self.inflow.lift(Hold::Busy);
        self.set_at_work(0);
        self.settle(result);
        self.end_work();
        if !self.life.is_closed() {
            self.read_again();
        }
    }
}
