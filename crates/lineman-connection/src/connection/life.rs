//! Where a connection is in its life, and what is owed because of it: a place among the handshakes,
//! one among its address's connections, the handler's last event. No I/O and no clock.

use std::cell::Cell;

use serde::{Deserialize, Serialize};

/// Where a connection is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum State {
    /// An outgoing connection whose socket is not connected.
    Connecting,
    /// The socket is connected; what comes before the protocol is not done: a PROXY header, TLS.
    Preparing,
    /// The protocol's handshake is not done.
    Handshake,
    /// The handler has the handshake's request and has not decided.
    Deciding,
    /// Messages flow.
    Open,
    /// A farewell is on its way out, or its answer is awaited.
    Closing,
    /// Everything was said; what the peer still sends is thrown away, so that it is not reset.
    Lingering,
    /// Gone.
    Closed,
}

impl State {
    /// Returns the name for `connections`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Preparing => "preparing",
            Self::Handshake | Self::Deciding => "handshake",
            Self::Open => "open",
            Self::Closing => "closing",
            Self::Lingering => "lingering",
            Self::Closed => "closed",
        }
    }

    /// Returns whether its end has not begun.
    pub(super) fn is_before_the_end(self) -> bool {
        self <= Self::Open
    }
}

/// What the handler has heard of a connection; it is told of the end of what it has heard of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum HeardOf {
    Nothing,
    /// It has asked to open.
    Request,
    /// It is up, or its maker knows of it: users' `on_connect` has run, or was to, and `on_close` is to.
    Connection,
}

/// The handler's last event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LastEvent {
    /// The end has not begun.
    Ahead,
    /// It is due once the handler is not busy.
    Due,
    /// The handler was told.
    Told,
}

/// A connection's state, and what is owed.
#[derive(Debug)]
pub(super) struct Life {
    state: Cell<State>,
    heard: Cell<HeardOf>,
    last_event: Cell<LastEvent>,
    /// It counts among the handshakes under way.
    half_open: Cell<bool>,
    /// It counts for its address.
    counted: Cell<bool>,
}

impl Life {
    pub(super) fn new(state: State) -> Self {
        Self {
            state: Cell::new(state),
            heard: Cell::new(HeardOf::Nothing),
            last_event: Cell::new(LastEvent::Ahead),
            half_open: Cell::new(false),
            counted: Cell::new(false),
        }
    }

    pub(super) fn state(&self) -> State {
        self.state.get()
    }

    /// Goes on to another state. Invariant: `Closed` is the last one.
    pub(super) fn become_now(&self, state: State) {
        debug_assert_ne!(self.state.get(), State::Closed, "a closed connection became {state:?}");
        self.state.set(state);
    }

    pub(super) fn is_open(&self) -> bool {
        self.state() == State::Open
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state() == State::Closed
    }

    /// The handler hears of it.
    pub(super) fn announce(&self, heard: HeardOf) {
        self.heard.set(heard.max(self.heard.get()));
    }

    pub(super) fn heard(&self) -> HeardOf {
        self.heard.get()
    }

    pub(super) fn is_announced(&self) -> bool {
        self.heard() > HeardOf::Nothing
    }

    /// The end has begun: the handler is to be told, once.
    pub(super) fn owe_close(&self) {
        if self.last_event.get() == LastEvent::Ahead {
            self.last_event.set(LastEvent::Due);
        }
    }

    /// Returns whether the handler is to be told of the end now; it is asked for once.
    pub(super) fn take_close_due(&self) -> bool {
        let is_due = self.last_event.get() == LastEvent::Due;
        if is_due {
            self.last_event.set(LastEvent::Told);
        }
        is_due
    }

    /// Returns whether the handler was told of the end.
    pub(super) fn was_told(&self) -> bool {
        self.last_event.get() == LastEvent::Told
    }

    /// Begins to count among the handshakes; returns whether it did not before.
    pub(super) fn enter_handshakes(&self) -> bool {
        !self.half_open.replace(true)
    }

    /// Counts among the handshakes no more; returns whether it did before.
    pub(super) fn leave_handshakes(&self) -> bool {
        self.half_open.replace(false)
    }

    pub(super) fn is_half_open(&self) -> bool {
        self.half_open.get()
    }

    pub(super) fn set_counted(&self, counted: bool) {
        self.counted.set(counted);
    }

    pub(super) fn is_counted(&self) -> bool {
        self.counted.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_event_is_due_once_however_often_the_end_begins() {
        let life = Life::new(State::Open);
        assert!(!life.take_close_due(), "the end has not begun");
        life.owe_close();
        life.owe_close();
        assert!(!life.was_told());
        assert!(life.take_close_due() && !life.take_close_due());
        assert!(life.was_told());
        life.owe_close();
        assert!(!life.take_close_due(), "the handler was told");
    }

    #[test]
    fn a_handshake_counts_once_however_often_it_begins() {
        let life = Life::new(State::Open);
        assert!(!life.leave_handshakes());
        assert!(life.enter_handshakes() && !life.enter_handshakes());
        assert!(life.leave_handshakes() && !life.leave_handshakes());
    }

    #[test]
    fn a_state_has_its_name_and_its_place_before_or_after_the_beginning_of_the_end() {
        let expected = [
            (State::Connecting, "connecting", true),
            (State::Preparing, "preparing", true),
            (State::Handshake, "handshake", true),
            (State::Deciding, "handshake", true),
            (State::Open, "open", true),
            (State::Closing, "closing", false),
            (State::Lingering, "lingering", false),
            (State::Closed, "closed", false),
        ];
        for (state, name, before) in expected {
            assert_eq!((state.name(), state.is_before_the_end()), (name, before));
            let life = Life::new(state);
            assert_eq!((life.is_open(), life.is_closed()), (name == "open", name == "closed"));
        }
    }

    #[test]
    fn what_is_owed_is_noted_one_by_one() {
        let life = Life::new(State::Open);
        let owed = |life: &Life| [life.is_announced(), life.is_half_open(), life.is_counted()];
        assert_eq!(owed(&life), [false, false, false]);
        life.announce(HeardOf::Request);
        assert_eq!((owed(&life), life.heard()), ([true, false, false], HeardOf::Request));
        life.announce(HeardOf::Connection);
        life.announce(HeardOf::Request);
        assert_eq!((owed(&life), life.heard()), ([true, false, false], HeardOf::Connection));
        assert!(life.enter_handshakes());
        assert_eq!(owed(&life), [true, true, false]);
        life.set_counted(true);
        assert_eq!(owed(&life), [true, true, true]);
        life.set_counted(false);
        assert!(life.leave_handshakes());
        assert_eq!(owed(&life), [true, false, false]);
    }
}
