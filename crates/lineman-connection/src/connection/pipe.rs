//! One connection's messages sent on to another, with back-pressure: the way of a proxy.

use super::{CloseReason, Connection, Driver};

impl<D: Driver> Connection<D> {
    /// Sends each further message of this connection on to `other`, instead of to the handler.
    ///
    /// While the other's send queue is at its bound, this connection is not read. When either is
    /// gone the other is closed, with what it has still to send sent. For both directions pipe both.
    /// [`Raw`](lineman_wire::raw::Raw) is the protocol for bytes that nobody has to understand.
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
        let (source, target) = (self.downgrade(), other.clone());
        self.forward_to(move |message| {
            let Some(source) = source.upgrade() else { return };
            if let Err(error) = target.push(message) {
                tracing::debug!(from = source.id(), to = target.id(), %error, "pipe broke");
                return source.close(CloseReason::Local);
            }
            if target.is_full() {
                source.pause();
                target.when_drained(move || source.resume());
            }
        });
        let (source, target) = (self.downgrade(), other.downgrade());
        self.when_gone(move || {
            if let Some(target) = target.upgrade() {
                target.close(CloseReason::Local);
            }
        });
        other.when_gone(move || {
            if let Some(source) = source.upgrade() {
                source.close(CloseReason::Local);
            }
        });
    }
}
