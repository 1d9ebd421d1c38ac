//! What comes in on a connection: bytes that are not decoded, the end of the peer's side, and the
//! set of reasons not to go on. Every question of the kind "may it be read?" is answered here. No I/O and no clock.

use std::cell::{Cell, RefCell};
use std::hash::{Hash as _, Hasher};

use bytes::BytesMut;
use serde::{Deserialize, Serialize};

use super::life::State;

/// A reason not to decode, and to read ahead at most. Several may hold at once; each is lifted by
/// what set it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub(super) enum Hold {
    /// A handler is at work in a task.
    Busy = 1,
    /// It changes to another protocol, or to TLS, as soon as nothing else holds it.
    Changing = 2,
    /// The application paused it.
    Paused = 4,
    /// It has sent more than its rate.
    Throttled = 8,
    /// The connection that its messages are piped to is full.
    Piped = 16,
    /// The process holds too much, and this connection much of it. What was read is decoded: that ends
    /// something, and a message that has begun keeps its deadline.
    OverBudget = 32,
    /// It has had its share of the turn; the next turn lifts this.
    Turn = 64,
}

/// These concern the messages of an open connection: a handshake goes on, and so does a farewell,
/// for the peer's own may be among what is not read.
const WHILE_OPEN: u8 = Hold::Paused as u8 | Hold::Throttled as u8 | Hold::Piped as u8;

/// What stops reading and not decoding.
const READING_ALONE: u8 = Hold::OverBudget as u8;

/// Those that another process can lift.
const MOVED: [Hold; 2] = [Hold::Paused, Hold::Throttled];

/// How long the peer has been silent, in beats.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Silence {
    /// Something came since the last beat.
    #[default]
    Heard,
    /// Nothing came since the last beat.
    Silent,
    /// Nothing came, and it was pinged.
    Pinged,
}

/// An incoming side, written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SavedInflow {
    #[serde(with = "serde_bytes")]
    unread: Vec<u8>,
    holds: Vec<Hold>,
    ending: bool,
    ended: bool,
    silence: Silence,
}

/// What a beat of the heartbeat asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SilenceAction {
    /// Nothing.
    Wait,
    /// The peer is to be asked whether it is there.
    Ping,
    /// The peer was asked and has said nothing.
    GiveUp,
}

/// The incoming side of a connection.
#[derive(Debug, Default)]
pub(super) struct Inflow {
    /// Bytes received that make no whole message yet, or that a hold keeps from being decoded.
    unread: RefCell<BytesMut>,
    holds: Cell<u8>,
    /// The kernel may have more bytes: an edge was seen and not used up.
    readable: Cell<bool>,
    /// The kernel says that an end of stream follows what it has.
    ending: Cell<bool>,
    /// The peer has ended its side, and everything before that was read.
    ended: Cell<bool>,
    /// In one of the table's lists of entries to read again.
    listed: Cell<bool>,
    silence: Cell<Silence>,
}

impl Inflow {
    /// Adds a reason; returns whether it is new.
    pub(super) fn hold(&self, hold: Hold) -> bool {
        let before = self.holds.get();
        self.holds.set(before | hold as u8);
        before & hold as u8 == 0
    }

    /// Takes a reason away; returns whether it held.
    pub(super) fn lift(&self, hold: Hold) -> bool {
        let before = self.holds.get();
        self.holds.set(before & !(hold as u8));
        before & hold as u8 != 0
    }

    pub(super) fn is_held(&self, hold: Hold) -> bool {
        self.holds.get() & hold as u8 != 0
    }

    /// Returns whether what was read may be decoded.
    pub(super) fn may_decode(&self, state: State) -> bool {
        self.holds_in(state) == 0
    }

    /// Returns whether a change was asked for, and nothing else holds it up.
    pub(super) fn may_change(&self, state: State) -> bool {
        self.holds_in(state) == Hold::Changing as u8
    }

    /// Once the end has begun nothing holds it up: no message is delivered any more, and the peer's own
    /// farewell is waited for, whatever the handler does meanwhile.
    fn holds_in(&self, state: State) -> u8 {
        let counts = match state {
            State::Open => u8::MAX,
            State::Closing | State::Lingering | State::Closed => 0,
            State::Connecting | State::Preparing | State::Handshake | State::Deciding => {
                !WHILE_OPEN
            }
        };
        self.holds.get() & counts & !READING_ALONE
    }

    /// Returns whether the socket may be read: up to `read_ahead` bytes behind a handler at work.
    pub(super) fn may_read(&self, state: State, read_ahead: usize) -> bool {
        match state {
            State::Connecting | State::Closed => return false,
            State::Open if self.is_stopped(state) => return false,
            State::Preparing
            | State::Handshake
            | State::Deciding
            | State::Open
            | State::Closing
            | State::Lingering => {}
        }
        self.may_decode(state) || self.unread_len() < read_ahead
    }

    /// Returns whether the socket is not read, for a reason that no progress of its own ends.
    pub(super) fn is_stopped(&self, state: State) -> bool {
        state == State::Open && self.holds.get() & (WHILE_OPEN | READING_ALONE) != 0
    }

    /// Takes the undecoded bytes out; give back what is left of them with [`Inflow::keep`].
    pub(super) fn take_unread(&self) -> BytesMut {
        self.unread.take()
    }

    pub(super) fn keep(&self, unread: BytesMut) {
        self.unread.replace(unread);
    }

    pub(super) fn unread_len(&self) -> usize {
        self.unread.borrow().len()
    }

    /// Returns how much memory the undecoded bytes have.
    pub(super) fn unread_held(&self) -> usize {
        self.unread.borrow().capacity()
    }

    pub(super) fn set_readable(&self, readable: bool) {
        self.readable.set(readable);
    }

    pub(super) fn is_readable(&self) -> bool {
        self.readable.get()
    }

    /// The kernel has seen the peer's end.
    pub(super) fn end_comes(&self) {
        self.ending.set(true);
    }

    /// Returns whether an end of stream follows what the kernel has: a short read is not the last.
    pub(super) fn is_ending(&self) -> bool {
        self.ending.get()
    }

    /// The peer's end was read.
    pub(super) fn end(&self) {
        self.ended.set(true);
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.get()
    }

    /// Puts it on the list of those to read again; returns whether it was not there.
    pub(super) fn list(&self) -> bool {
        !self.listed.replace(true)
    }

    pub(super) fn unlist(&self) {
        self.listed.set(false);
    }

    pub(super) fn is_listed(&self) -> bool {
        self.listed.get()
    }

    /// Something came.
    pub(super) fn heard(&self) {
        self.silence.set(Silence::Heard);
    }

    /// A beat of the heartbeat has passed. One that is held may have answered, unread, or waits for its
    /// own answer: its silence begins anew, and is a whole beat long behind the hold. One that holds too
    /// much waits for nothing of ours, and has answered only if the kernel has something of it.
    pub(super) fn beat(&self) -> SilenceAction {
        let is_unread = self.is_held(Hold::OverBudget) && self.is_readable();
        let is_held = self.holds.get() & !READING_ALONE != 0 || is_unread;
        let (next, beat) = match self.silence.get() {
            _ if is_held => (Silence::Heard, SilenceAction::Wait),
            Silence::Heard => (Silence::Silent, SilenceAction::Wait),
            Silence::Silent => (Silence::Pinged, SilenceAction::Ping),
            Silence::Pinged => (Silence::Pinged, SilenceAction::GiveUp),
        };
        self.silence.set(next);
        beat
    }

    /// Returns whether nothing of it waits, and no end has come.
    pub(super) fn is_at_rest(&self) -> bool {
        self.unread_len() == 0 && !self.ending.get() && !self.ended.get()
    }

    /// Adds what tells one moment of it from another.
    pub(super) fn stamp(&self, stamp: &mut impl Hasher) {
        (self.unread_len(), self.holds.get(), self.silence.get()).hash(stamp);
        (self.ending.get(), self.ended.get()).hash(stamp);
    }

    /// Writes it down. A hold that only this process can lift is left out: see `record`.
    pub(super) fn save(&self) -> SavedInflow {
        SavedInflow {
            unread: self.unread.borrow().to_vec(),
            holds: MOVED.into_iter().filter(|&hold| self.is_held(hold)).collect(),
            ending: self.ending.get(),
            ended: self.ended.get(),
            silence: self.silence.get(),
        }
    }

    /// Goes on from what [`Inflow::save`] returned. The kernel may have more bytes: it does not say so
    /// again to the next process.
    pub(super) fn restore(saved: &SavedInflow) -> Self {
        let inflow = Self::default();
        inflow.keep(BytesMut::from(&saved.unread[..]));
        for &hold in &saved.holds {
            inflow.hold(hold);
        }
        inflow.readable.set(true);
        inflow.ending.set(saved.ending);
        inflow.ended.set(saved.ended);
        inflow.silence.set(saved.silence);
        inflow
    }

    /// Takes over what another entry of the same socket knows: bytes, edge, end.
    pub(super) fn take_over(&self, other: &Self) {
        self.keep(other.take_unread());
        self.readable.set(other.readable.get());
        self.ending.set(other.ending.get());
        self.ended.set(other.ended.get());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLDS: [Hold; 6] =
        [Hold::Busy, Hold::Changing, Hold::Paused, Hold::Throttled, Hold::Piped, Hold::Turn];
    const STATES: [State; 8] = [
        State::Connecting,
        State::Preparing,
        State::Handshake,
        State::Deciding,
        State::Open,
        State::Closing,
        State::Lingering,
        State::Closed,
    ];

    fn held_by(holds: &[Hold]) -> Inflow {
        let inflow = Inflow::default();
        for &hold in holds {
            assert!(inflow.hold(hold));
        }
        inflow
    }

    #[test]
    fn every_hold_in_every_state() {
        for state in STATES {
            let alive = !matches!(state, State::Connecting | State::Closed);
            assert_eq!(held_by(&[]).may_read(state, 0), alive, "{state:?}");
            for hold in HOLDS {
                let inflow = held_by(&[hold]);
                let while_open = matches!(hold, Hold::Paused | Hold::Throttled | Hold::Piped);
                let is_over = !state.is_before_the_end();
                let stops = !is_over && (!while_open || state == State::Open);
                assert_eq!(inflow.may_decode(state), !stops, "{hold:?} {state:?}");
                let changes = hold == Hold::Changing && !is_over;
                assert_eq!(inflow.may_change(state), changes, "{hold:?} {state:?}");
                // Behind a handler at work some bytes are read ahead, behind a pause none.
                let reads = alive && !(while_open && state == State::Open);
                assert_eq!(inflow.may_read(state, 1), reads, "{hold:?} {state:?}");
                assert_eq!(inflow.may_read(state, 0), reads && !stops, "{hold:?} {state:?}");
                inflow.keep(BytesMut::from("x"));
                assert_eq!(inflow.may_read(state, 1), reads && !stops, "{hold:?} {state:?}");
            }
        }
    }

    #[test]
    fn one_over_budget_is_not_read_while_it_is_open_and_goes_on_otherwise() {
        for state in STATES {
            let inflow = held_by(&[Hold::OverBudget]);
            let alive = !matches!(state, State::Connecting | State::Closed | State::Open);
            assert_eq!((inflow.may_read(state, 1), inflow.may_decode(state)), (alive, true));
            for other in HOLDS {
                let both = held_by(&[Hold::OverBudget, other]);
                let alone = held_by(&[other]);
                assert_eq!(both.may_decode(state), alone.may_decode(state), "{other:?} {state:?}");
                assert_eq!(both.may_change(state), alone.may_change(state), "{other:?} {state:?}");
                assert_eq!(both.may_read(state, 1), alive && alone.may_read(state, 1));
                assert!(both.lift(Hold::OverBudget));
                assert_eq!(both.may_read(state, 1), alone.may_read(state, 1));
            }
        }
    }

    #[test]
    fn each_of_two_holds_has_to_be_lifted() {
        for first in HOLDS {
            for second in HOLDS.into_iter().filter(|&hold| hold != first) {
                for order in [[first, second], [second, first]] {
                    let inflow = held_by(&[first, second]);
                    assert!(!inflow.hold(first), "it held before");
                    assert!(inflow.lift(order[0]) && !inflow.lift(order[0]));
                    assert!(!inflow.may_decode(State::Open), "{order:?}");
                    assert_eq!(inflow.may_change(State::Open), order[1] == Hold::Changing);
                    assert!(inflow.lift(order[1]));
                    assert!(inflow.may_decode(State::Open) && inflow.may_read(State::Open, 0));
                }
            }
        }
    }

    #[test]
    fn silence_is_pinged_then_given_up_and_a_hold_begins_it_anew() {
        let inflow = Inflow::default();
        assert_eq!(
            [inflow.beat(), inflow.beat(), inflow.beat()],
            [SilenceAction::Wait, SilenceAction::Ping, SilenceAction::GiveUp]
        );
        for hold in HOLDS {
            inflow.hold(hold);
            assert_eq!(inflow.beat(), SilenceAction::Wait, "{hold:?}");
            inflow.lift(hold);
            assert_eq!(
                [inflow.beat(), inflow.beat()],
                [SilenceAction::Wait, SilenceAction::Ping],
                "{hold:?}"
            );
        }
        inflow.heard();
        assert_eq!(inflow.beat(), SilenceAction::Wait);
    }

    #[test]
    fn one_over_budget_is_silent_unless_the_kernel_has_something_of_it() {
        let inflow = held_by(&[Hold::OverBudget]);
        assert_eq!(
            [inflow.beat(), inflow.beat(), inflow.beat()],
            [SilenceAction::Wait, SilenceAction::Ping, SilenceAction::GiveUp]
        );
        inflow.set_readable(true);
        assert_eq!([inflow.beat(), inflow.beat()], [SilenceAction::Wait; 2]);
        inflow.set_readable(false);
        assert_eq!([inflow.beat(), inflow.beat()], [SilenceAction::Wait, SilenceAction::Ping]);
    }

    /// What an incoming side knows of the socket.
    fn known(inflow: &Inflow) -> (usize, bool, bool, bool) {
        (inflow.unread_len(), inflow.is_readable(), inflow.is_ending(), inflow.has_ended())
    }

    #[test]
    fn bytes_edge_and_end_are_taken_over_and_holds_are_not() {
        let cases = [(true, false, false), (false, true, false), (false, false, true)];
        for (readable, ending, ended) in cases {
            let old = held_by(&[Hold::Busy, Hold::Changing]);
            old.keep(BytesMut::from("rest"));
            old.set_readable(readable);
            old.ending.set(ending);
            old.ended.set(ended);
            let new = Inflow::default();
            new.take_over(&old);
            assert_eq!(known(&new), (4, readable, ending, ended));
            assert!(new.may_decode(State::Open));
            assert_eq!((old.unread_len(), &new.take_unread()[..]), (0, &b"rest"[..]));
        }
    }

    #[test]
    fn what_is_written_down_comes_back_but_for_what_this_process_alone_can_lift() {
        for hold in HOLDS {
            let old = held_by(&[hold]);
            old.keep(BytesMut::from("rest"));
            let new = Inflow::restore(&old.save());
            let moves = matches!(hold, Hold::Paused | Hold::Throttled);
            assert_eq!(new.holds.get(), if moves { hold as u8 } else { 0 }, "{hold:?}");
            assert_eq!(known(&new), (4, true, false, false), "the kernel may have more");
        }
        let old = Inflow::default();
        old.end_comes();
        assert_eq!(known(&Inflow::restore(&old.save())), (0, true, true, false));
        old.end();
        assert_eq!((old.beat(), old.beat()), (SilenceAction::Wait, SilenceAction::Ping));
        let new = Inflow::restore(&old.save());
        assert_eq!(known(&new), (0, true, true, true));
        assert_eq!(new.beat(), SilenceAction::GiveUp, "it was pinged before");
    }

    #[test]
    fn it_is_listed_once() {
        let inflow = Inflow::default();
        assert!(inflow.list() && !inflow.list());
        inflow.unlist();
        assert!(inflow.list());
    }
}
