//! One connection's messages sent on to another, with back-pressure: the way of a proxy.

use std::rc::Rc;

use super::entry::{Entry, EntryId};
use super::extra::Kept;
use super::inflow::Hold;
use super::table::Table;
use super::{CloseReason, Connection, Driver};

impl<D: Driver> Connection<D> {
    /// Sends each further message of this connection on to `other`, instead of to the handler.
    ///
    /// While the other's send queue is at its bound, this connection is not read. When either closes,
    /// the other is closed, with what it has still to send sent. A change of protocol does not end
    /// that, but messages of the new protocol go to its handlers, and the next message for a target that
    /// changed its own closes both. For both directions pipe both.
    /// [`Raw`](lineman_wire::raw::Raw) is the protocol for bytes that are sent on as they are.
    ///
    /// Where both directions are piped and both protocols know half-closes, the end of one peer's side ends
    /// our side toward the other, behind what is queued, and the other direction goes on until it ends
    /// as well: without a limit, but for [`Limits::heartbeat`](super::Limits::heartbeat).
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
            let to = target.entry().id;
            let forward = Rc::new(move |source: &_, message| send_on(source, &target, message));
            extra.forward = Some((to, forward));
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
    /// Returns where its messages are piped to.
    pub(super) fn target(&self) -> Option<EntryId> {
        self.extra.borrow().as_ref()?.forward.as_ref().map(|(target, _)| *target)
    }

    /// The peer has ended its side, and everything before that was sent on; returns whether the other
    /// direction of a pipe goes on.
    pub(super) fn ends_one_direction(&self) -> bool {
        let Some(target) = self.target().filter(|_| D::HALF_CLOSES) else { return false };
        self.table.source_ended(target, self.id)
    }

    /// The peer of a connection that is piped here has ended its side; returns whether this one goes on.
    pub(super) fn takes_end_of(self: &Rc<Self>, source: EntryId) -> bool {
        let is_over = !self.life.state().is_before_the_end() || self.inflow.has_ended();
        if is_over || self.target() != Some(source) {
            return false;
        }
        self.end();
        true
    }

    /// Its end has begun: what waited for room here goes on, and the other ends of its pipes are closed.
    pub(super) fn end_pipes(&self) {
        let mut extra = self.extra.borrow_mut();
        let Some(extra_now) = extra.as_mut() else { return };
        extra_now.forward = None;
        // The handler of the last event still finds its data.
        let data = extra_now.kept.data.take();
        let kept = std::mem::replace(&mut extra_now.kept, Kept { data, ..Kept::default() });
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
