//! What a program holds of an outgoing connection, whichever attempt it is at.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;

use bytes::Bytes;
use tokio::sync::Notify;

use super::place::Place;
use crate::Result;
use crate::connection::{
    CloseReason, Connection, Driver, Event, Handler, Handlers, SendError, Turn,
};

/// An outgoing connection, over all its attempts. Cheap to clone; dropping it changes nothing.
pub struct Handle<D: Driver> {
    pub(super) shared: Rc<Shared<D>>,
}

/// What the handle, the handlers and the task that connects know together.
pub(super) struct Shared<D: Driver> {
    pub(super) place: Place,
    /// The attempt under way, or what came of it.
    pub(super) connection: RefCell<Option<Connection<D>>>,
    /// Whether it has opened.
    pub(super) is_up: Cell<bool>,
    /// Whether nothing is to be tried any more.
    pub(super) ended: Cell<bool>,
    /// Whether the last attempt came to nothing, and the log has it.
    is_failing: Cell<bool>,
    /// One of the above has changed. The task alone waits for it.
    pub(super) changed: Notify,
}

impl<D: Driver> Handle<D> {
    /// Queues a message on the connection if it is open. Nothing is kept for one that is not.
    ///
    /// # Errors
    /// [`SendError::NotOpen`] while there is no open connection, [`SendError::Closed`] after the last;
    /// otherwise as [`Connection::send`].
    pub fn send(&self, message: impl Into<D::Outbound>) -> Result {
        match self.connection() {
            Some(connection) => connection.send(message),
            None if self.is_ended() => Err(SendError::Closed.into()),
            None => Err(SendError::NotOpen.into()),
        }
    }

    /// Returns the connection if it is open.
    pub fn connection(&self) -> Option<Connection<D>> {
        self.shared.connection.borrow().clone().filter(Connection::is_open)
    }

    /// Returns whether there is an open connection.
    pub fn is_open(&self) -> bool {
        self.connection().is_some()
    }

    /// Returns whether it is over: closed, cancelled, or ended with no attempt to follow.
    pub fn is_ended(&self) -> bool {
        self.shared.ended.get()
    }

    /// Closes the connection with a farewell, and makes no further one.
    ///
    /// (To close a connection and have a new one made, close the [`Connection`].)
    pub fn close(&self) {
        self.end(|connection| connection.close(CloseReason::Local));
    }

    /// Drops the connection or attempt now, and makes no further one.
    pub fn cancel(&self) {
        self.end(Connection::abort);
    }

    fn end(&self, how: impl FnOnce(&Connection<D>)) {
        self.shared.ended.set(true);
        self.shared.changed.notify_one();
        // A copy: `on_close` may run right here, and look at this handle.
        let connection = self.shared.connection.borrow().clone();
        if let Some(connection) = connection {
            how(&connection);
        }
    }
}

impl<D: Driver> Clone for Handle<D> {
    fn clone(&self) -> Self {
        Self { shared: Rc::clone(&self.shared) }
    }
}

impl<D: Driver> fmt::Debug for Handle<D> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Handle")
            .field("place", &self.shared.place.to_string())
            .field("connection", &self.shared.connection.borrow())
            .field("ended", &self.shared.ended.get())
            .finish_non_exhaustive()
    }
}

impl<D: Driver> Shared<D> {
    pub(super) fn new(place: Place) -> Self {
        Self {
            place,
            connection: RefCell::new(None),
            is_up: Cell::new(false),
            ended: Cell::new(false),
            is_failing: Cell::new(false),
            changed: Notify::new(),
        }
    }

    pub(super) fn is_gone(&self) -> bool {
        self.connection.borrow().is_none()
    }

    /// Resolves when the condition holds.
    pub(super) async fn until(&self, condition: impl Fn(&Self) -> bool) {
        while !condition(self) {
            self.changed.notified().await;
        }
    }

    /// Names an end before the beginning for what it is: a failure to connect, to where, and why.
    fn reason(&self, reason: CloseReason) -> CloseReason {
        if self.is_up.get() {
            return reason;
        }
        let problem = match reason {
            CloseReason::Local | CloseReason::GoingAway => return reason,
            CloseReason::ConnectFailed(problem) => problem,
            other => other.to_string(),
        };
        // What was dialled may be the place itself.
        let place = format!("{}: ", self.place);
        let problem = format!("{place}{}", problem.strip_prefix(&place).unwrap_or(&problem));
        // The first failure is news; those that follow say the same.
        if self.is_failing.replace(true) {
            tracing::debug!(%problem, "connect failed again");
        } else {
            tracing::warn!(%problem, "connect failed");
        }
        CloseReason::ConnectFailed(problem)
    }
}

/// Hands the events to the handlers, and learns from them how the connection is.
pub(super) struct Observer<D: Driver> {
    pub(super) shared: Rc<Shared<D>>,
    pub(super) handlers: Handlers<D>,
}

impl<D: Driver> Handler<D> for Observer<D> {
    fn on_event(&self, connection: &Connection<D>, event: Event<D>) -> Turn {
        let event = match event {
            Event::Connect | Event::Opened => {
                if self.shared.is_failing.replace(false) {
                    tracing::info!(place = %self.shared.place, "connected after all");
                }
                self.shared.is_up.set(true);
                event
            }
            Event::Close(reason) => {
                let reason = self.shared.reason(reason);
                self.shared.connection.take();
                Event::Close(reason)
            }
            Event::Open(_) | Event::Adopted | Event::Message(_) => event,
        };
        self.shared.changed.notify_one();
        self.handlers.on_event(connection, event)
    }

    fn on_full(&self, connection: &Connection<D>) {
        self.handlers.on_full(connection);
    }

    fn on_ping(&self, connection: &Connection<D>, payload: &Bytes) {
        self.handlers.on_ping(connection, payload);
    }

    fn on_pong(&self, connection: &Connection<D>, payload: &Bytes) {
        self.handlers.on_pong(connection, payload);
    }

    fn on_drain(&self, connection: &Connection<D>) {
        self.handlers.on_drain(connection);
    }
}
