//! One connection's messages sent on to another, with back-pressure: the way of a proxy.

use std::rc::Rc;

use super::entry::Entry;
use super::extra::Kept;
use super::inflow::Hold;
use super::table::Table;
use super::{CloseReason, Connection, Driver};

impl<D: Driver> Connection<D> {
    /// Sends each further message of this connection on to `other`, instead of to the handler.
    ///
    /// While the other's send queue is at its bound, this connection is not read. When either is
    /// gone the other is closed, with what it has still to send sent. A change of protocol does not end
    /// that, but messages of the new protocol go to its handlers, and the next message for a target that
    /// changed its own closes both. For both directions pipe both.
    /// [`Raw`](lineman_wire::raw::Raw) is the protocol for bytes that are sent on as they are.
    ///
    /// ```no_run
    /// # use lineman_connection::connection::Connection;
    /// # use lineman_wire::raw::Raw;
    /// fn join(left: &Connection<Raw>, right: &Connection<Raw>) {
    ///     left.pipe(right);
    ///     right.pipe(left);
    /// }
    /// ```
    pub fn pipe<E: Driver>(&self, other: &Connection<E>)
    where
        D::Inbound: Into<E::Outbound>,
    {
        // One that is gone tells nothing any more, and would keep the other.
        if self.entry().life.is_closed() || other.entry().life.is_closed() {
            self.close(CloseReason::Local);
            return other.close(CloseReason::Local);
        }
        let target = other.clone();
        self.entry().extra(|extra| {
            extra.forward = Some(Rc::new(move |source, message| send_on(source, &target, message)));
            extra.kept.add_partner(other.entry().id);
        });
        other.entry().extra(|extra| extra.kept.add_partner(self.entry().id));
    }
}

fn send_on<D: Driver, E: Driver>(
    source: &Connection<D>,
    target: &Connection<E>,
    message: D::Inbound,
) where
    D::Inbound: Into<E::Outbound>,
{
    if let Err(error) = target.push(message) {
        tracing::debug!(from = source.id(), to = target.id(), %error, "pipe broke");
        return source.close(CloseReason::Local);
    }
    if target.is_full() && source.entry().inflow.hold(Hold::Piped) {
        target.entry().extra(|extra| extra.kept.sources.push(source.entry().id));
    }
}

impl<D: Driver> Entry<D> {
    /// It is gone: what waited for room here goes on, and the other ends of its pipes are closed.
    pub(super) fn end_pipes(&self) {
        let mut extra = self.extra.borrow_mut();
        let Some(extra_now) = extra.as_mut() else { return };
        extra_now.forward = None;
        let kept = std::mem::take(&mut extra_now.kept);
        drop(extra);
        self.table.end_pipes(kept);
    }
}

impl Table {
    /// Ends the pipes of a connection that is gone: what waited for room there goes on, and the other
    /// ends are closed.
    pub(super) fn end_pipes(&self, kept: Kept) {
        for source in kept.sources {
            self.pipe_drained(source);
        }
        for partner in kept.partners {
            self.close(partner, CloseReason::Local);
        }
    }
}
