//! What handlers hold: a connection, to send on, to close, to ask about.

use std::fmt;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::due::Deadline;
use super::entry::{Entry, Weight};
use super::inflow::Hold;
use super::life::State;
use super::outflow::Ending;
use super::{Address, CloseReason, Driver};
use crate::os::Acknowledgement;
use crate::tls::TlsInfo;
use crate::{BoxError, Result};

/// One connection of this process; a handle that is cheap to clone and may outlive it.
///
/// Sending never waits. The order of what is sent is kept; it leaves at the end of the loop's turn, or where the send
/// queue meets its bound before.
pub struct Connection<D: Driver> {
    entry: Rc<Entry<D>>,
}

/// What went over one connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Messages received.
    pub messages_in: u64,
    /// Messages accepted by `send`.
    pub messages_out: u64,
    /// Bytes off the wire.
    pub bytes_in: u64,
    /// Bytes given to the kernel.
    pub bytes_out: u64,
}

/// A queue that has grown so far within a turn is charged to the budget at once, not at its end.
const GROWN: usize = 16 * 1024;

/// Why a message was not taken. `send` returns it boxed: `error.is::<SendError>()`.
///
/// A handler that passes [`SendError::Full`] on (`connection.send(message)?`) closes its own connection with
/// [`CloseReason::SlowPeer`], 1013, if something waits there, which counts as no failure of the handler. One that
/// wants to drop the message, or to wait for `on_drain`, looks at it instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The send queue is at its bound, or holds something and the process's budget is used up, and the kernel takes
    /// no more of it now; nothing was queued. `on_drain` tells when there is room.
    #[error("send queue is full: the peer reads more slowly than we send")]
    Full,
    /// The connection is closing or closed.
    #[error("connection is closed")]
    Closed,
    /// The handshake is not done.
    #[error("handshake is not finished")]
    NotOpen,
}

impl<D: Driver> Connection<D> {
    pub(super) fn of(entry: &Rc<Entry<D>>) -> Self {
        Self { entry: Rc::clone(entry) }
    }

    /// Returns the connection's number, unique in this process.
    pub fn id(&self) -> u64 {
        self.entry.id.number
    }

    /// Returns the peer's address.
    pub fn peer_addr(&self) -> Address {
        self.entry.peer()
    }

    /// Returns our own address on this connection, or `None` when it is closed.
    pub fn local_addr(&self) -> Option<Address> {
        self.entry.transport.borrow().as_ref()?.stream().local_addr().ok()
    }

    pub(super) fn entry(&self) -> &Rc<Entry<D>> {
        &self.entry
    }

    /// Returns what TLS has agreed on with the peer; `None` without TLS, or before it is established.
    pub fn tls(&self) -> Option<Rc<TlsInfo>> {
        self.entry.transport.borrow().as_ref()?.tls().cloned()
    }

    /// Returns how many messages and bytes came, and how many left.
    pub fn counters(&self) -> Counters {
        self.entry.counters.get()
    }

    /// Keeps a value of the application's with the connection, in place of the one before.
    pub fn set_data<T: 'static>(&self, value: T) {
        self.entry.extra(|extra| extra.kept.keep(Box::new(value)));
    }

    /// Lets `use_it` work with the value that [`Connection::set_data`] kept.
    ///
    /// Returns `None` if there is none of this type. Do not call it within itself.
    ///
    /// ```no_run
    /// # use lineman_connection::Result;
    /// # use lineman_connection::connection::Connection;
    /// # use lineman_wire::text::Text;
    /// #[derive(Default)]
    /// struct Visits(u32);
    ///
    /// async fn on_connect(connection: Connection<Text>) -> Result {
    ///     connection.set_data(Visits::default());
    ///     Ok(())
    /// }
    ///
    /// async fn on_message(connection: Connection<Text>, _line: String) -> Result {
    ///     let visits = connection.with_data(|visits: &mut Visits| {
    ///         visits.0 += 1;
    ///         visits.0
    ///     });
    ///     connection.send(format!("{visits:?}"))
    /// }
    /// ```
    pub fn with_data<T: 'static, R>(&self, use_it: impl FnOnce(&mut T) -> R) -> Option<R> {
        // It is taken out meanwhile, so that `use_it` may use the connection.
        let mut data = self.entry.extra(|extra| extra.kept.data.take())?;
        let result = data.downcast_mut::<T>().map(use_it);
        self.entry.extra(|extra| {
            // `use_it` may have set another one.
            if extra.kept.data.is_none() {
                extra.kept.keep(data);
            }
        });
        result
    }

    /// Queues a message.
    ///
    /// # Errors
    /// [`SendError`] when it was not queued; the protocol's own error when it cannot say that.
    pub fn send(&self, message: impl Into<D::Outbound>) -> Result {
        self.may_send()?;
        self.append(message.into())
    }

    fn append(&self, message: D::Outbound) -> Result {
        let mut queue = self.entry.outflow.queue.borrow_mut();
        self.entry.table.prepare(&mut queue);
        let before = queue.tail().len();
        if let Err(error) = self.entry.driver.borrow_mut().encode(message, queue.tail()) {
            queue.tail().truncate(before);
            return Err(error);
        }
        let queued = queue.len();
        drop(queue);
        self.sent(queued);
        Ok(())
    }

    /// Queues bytes that are in the protocol's wire form already, shared and not copied.
    ///
    /// A broadcast is encoded once and sent to each connection with this.
    ///
    /// # Errors
    /// [`SendError`] when they were not queued.
    pub fn send_encoded(&self, bytes: Bytes) -> Result<(), SendError> {
        self.may_send()?;
        let mut queue = self.entry.outflow.queue.borrow_mut();
        self.entry.table.share(&mut queue, bytes);
        let queued = queue.len();
        drop(queue);
        self.sent(queued);
        Ok(())
    }

    /// Queues a message whatever waits already: the sender stops after this one.
    pub(super) fn push(&self, message: impl Into<D::Outbound>) -> Result {
        self.takes_messages()?;
        self.append(message.into())
    }

    fn takes_messages(&self) -> Result<(), SendError> {
        match self.entry.life.state() {
            state if state.is_before_the_end() && self.entry.outflow.end() != Ending::Open => {
                Err(SendError::Closed)
            }
            State::Open => Ok(()),
            State::Connecting | State::Preparing if !D::HANDSHAKE => Ok(()),
            State::Connecting | State::Preparing | State::Handshake | State::Deciding => {
                Err(SendError::NotOpen)
            }
            State::Closing | State::Lingering | State::Closed => Err(SendError::Closed),
        }
    }

    /// Returns whether the send queue is at its bound.
    pub fn is_full(&self) -> bool {
        self.queued_bytes() >= self.entry.limits().send_queue
    }

    pub(super) fn may_send(&self) -> Result<(), SendError> {
        self.takes_messages()?;
        if !self.has_room() {
            // The loop is in this turn still, and a peer that reads may have made room since the last one.
            self.entry.make_room();
        }
        if !self.has_room() {
            self.entry.table.add(|counters| &counters.refused, 1);
            self.fill();
            return Err(SendError::Full);
        }
        Ok(())
    }

    /// Returns whether a message is taken now.
    fn has_room(&self) -> bool {
        // Links have bounds of their own: what leaves on them makes room elsewhere.
        let is_spent = self.entry.weight != Weight::Link
            && self.queued_bytes() > 0
            && self.entry.table.is_spent();
        !is_spent && !self.is_full()
    }

    /// Nothing more is taken until everything is sent: the handler is told, once.
    fn fill(&self) {
        if self.entry.outflow.fill() {
            self.entry.serve.handler.on_full(self);
        }
    }

    fn sent(&self, queued: usize) {
        self.entry.table.add(|counters| &counters.messages_out, 1);
        self.entry.count(|counters| counters.messages_out += 1);
        self.entry.touch();
        if queued >= GROWN {
            self.entry.weigh();
        }
        if queued >= self.entry.limits().send_queue {
            self.entry.make_room();
            if self.is_full() {
                self.fill();
            }
        }
    }

    /// Tells the peer why, sends what is queued, and closes.
    ///
    /// The handler hears of the end at once; on a protocol that answers a farewell, a WebSocket, with the
    /// peer's answer or after [`Limits::close_time`](super::Limits::close_time). What was sent arrives as
    /// long as the peer takes it: see [`Limits::send_stall`](super::Limits::send_stall). What was sent on one
    /// that is not connected yet, or whose TLS is not up, leaves when it is, within the time it has for that.
    pub fn close(&self, reason: CloseReason) {
        self.entry.begin_close(reason);
    }

    /// Sends a last message, then closes as [`Connection::close`] does with [`CloseReason::Local`].
    ///
    /// # Errors
    /// As [`Connection::send`]; the connection closes all the same.
    pub fn close_with(&self, farewell: impl Into<D::Outbound>) -> Result {
        let sent = self.send(farewell);
        self.close(CloseReason::Local);
        sent
    }

    /// Ends our side once everything queued is sent, and still hears the peer's last messages, for up
    /// to [`Limits::end_time`](super::Limits::end_time): a half-close. Nothing can be sent after it. The peer
    /// has to take what is queued: see [`Limits::send_stall`](super::Limits::send_stall).
    ///
    /// On protocols with a farewell of their own, a WebSocket, it is [`Connection::close`].
    pub fn end(&self) {
        self.entry.end();
    }

    /// Drops the connection now; what is queued is lost.
    pub fn abort(&self) {
        self.entry.finish(CloseReason::Local);
    }

    /// Stops reading from the peer: once its bytes fill the kernel's buffer, it has to wait. A message
    /// that has begun may take its time meanwhile. A handshake goes on, and so does an end.
    pub fn pause(&self) {
        self.entry.inflow.hold(Hold::Paused);
        if self.entry.life.is_open() {
            self.entry.clear_due(Deadline::Message);
        }
    }

    /// Reads again.
    pub fn resume(&self) {
        self.entry.lift(Hold::Paused);
    }

    /// Returns whether reading is paused.
    pub fn is_paused(&self) -> bool {
        self.entry.inflow.is_held(Hold::Paused)
    }

    /// Returns whether the peer is known to have ended its side: what is still read was sent before that.
    pub fn is_ending(&self) -> bool {
        self.entry.inflow.is_ending() || self.entry.inflow.has_ended()
    }

    /// Returns whether it is open: its handshake is done, and its end has not begun.
    pub fn is_open(&self) -> bool {
        self.entry.life.is_open()
    }

    /// Returns how many bytes wait to be sent.
    pub fn queued_bytes(&self) -> usize {
        self.entry.outflow.queued()
    }

    /// Returns what the peer's machine has acknowledged; `None` when that cannot be known: the connection is
    /// over, or is none of TCP.
    ///
    /// It answers by itself, so this tells a machine that is gone from a program that does nothing.
    pub fn acknowledgement(&self) -> Option<Acknowledgement> {
        let transport = self.entry.transport.borrow();
        crate::os::acknowledgement(transport.as_ref()?.stream()).ok()
    }

    /// Resolves when its end has begun, or its peer has: for a handler that decides about a handshake and waits,
    /// as no event comes meanwhile. One waits at a time. A peer that may half-close, or has sent more, is not gone.
    #[doc(hidden)]
    pub fn ended(&self) -> impl Future<Output = ()> + use<D> {
        let entry = Rc::clone(&self.entry);
        std::future::poll_fn(move |context| {
            let is_gone = entry.inflow.has_ended() && entry.inflow.unread_len() == 0;
            if !entry.life.state().is_before_the_end() || is_gone && !D::HALF_CLOSES {
                return Poll::Ready(());
            }
            entry.extra(|extra| extra.awaits_end = Some(context.waker().clone()));
            Poll::Pending
        })
    }

    pub(super) fn count_handler_error(&self) {
        self.entry.table.add(|counters| &counters.handler_errors, 1);
    }

    /// Ends an event that was left with [`super::Turn::Busy`]; the next one follows.
    pub fn finished(&self, result: Result<(), BoxError>) {
        self.entry.finished(result);
    }
}

impl<D: Driver> Clone for Connection<D> {
    fn clone(&self) -> Self {
        Self { entry: Rc::clone(&self.entry) }
    }
}

impl<D: Driver> fmt::Debug for Connection<D> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Connection")
            .field("id", &self.id())
            .field("protocol", &D::name())
            .field("peer", &self.entry.peer())
            .field("state", &self.entry.life.state())
            .finish()
    }
}
