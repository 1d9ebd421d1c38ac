//! How a connection ends: a farewell with the reason, a wait for its answer, a lingering close so
//! that the farewell is not lost to a reset, and exactly one `Close` event.

use std::rc::Rc;
use std::time::Duration;

use super::driver::Farewell;
use super::due::Deadline;
use super::entry::{AnyEntry as _, Entry};
use super::handler::Event;
use super::inflow::Hold;
use super::life::State;
use super::outflow::Ending;
use super::transport::Transport;
use super::{CloseReason, Driver, Limit};

/// How long the peer may take to end its side after we have ended ours. It has read the farewell by
/// then or never will; Workerman lingers as long.
const LINGER: Duration = Duration::from_secs(1);

impl<D: Driver> Entry<D> {
    /// Says farewell, flushes, and closes; does nothing on a connection that is closing already.
    pub(super) fn begin_close(self: &Rc<Self>, reason: CloseReason) {
        match self.life.state() {
            State::Connecting => return self.finish(reason),
            State::Preparing | State::Handshake | State::Deciding | State::Open => {}
            State::Closing | State::Lingering | State::Closed => return,
        }
        // There is no way to say more than the layers have said, or anything behind the end.
        let is_mute = !self.can_speak() || matches!(reason, CloseReason::Tls(_));
        if is_mute || self.outflow.end() == Ending::Said {
            self.outflow.clear();
            self.outflow.set_awaits(false);
            return self.start_closing(reason);
        }
        let farewell = {
            let mut queue = self.outflow.queue.borrow_mut();
            self.driver.borrow_mut().farewell(&reason, queue.tail())
        };
        self.start_closing(reason);
        self.outflow.set_awaits(farewell == Farewell::Awaits && !self.inflow.has_ended());
    }

    /// The peer ended the conversation; our answer, if there is one, is queued already.
    pub(super) fn close_answered(self: &Rc<Self>, reason: CloseReason) {
        self.outflow.set_awaits(false);
        match self.life.state() {
            State::Connecting
            | State::Preparing
            | State::Handshake
            | State::Deciding
            | State::Open => self.start_closing(reason),
            State::Closing => self.touch(),
            State::Lingering | State::Closed => {}
        }
    }

    fn start_closing(self: &Rc<Self>, reason: CloseReason) {
        self.leave_handshake();
        self.life.become_now(State::Closing);
        self.extra(|extra| extra.reason = Some(reason));
        self.clear_all_due();
        self.set_due(Deadline::Close, self.limits().close_time);
        self.touch();
        // A pause left the peer's bytes unread, its own farewell perhaps among them.
        self.read_again();
    }

    /// Ends our side of an open connection once everything is sent; the peer's goes on for a moment.
    pub(super) fn end(self: &Rc<Self>) {
        if !D::HALF_CLOSES {
            return self.begin_close(CloseReason::Local);
        }
        if self.life.is_open() && self.outflow.ask_end() {
            self.touch();
        }
    }

    /// Everything is sent: the peer sees the end of our side.
    pub(super) fn end_writing(self: &Rc<Self>) {
        if self.queued() > 0 || !self.can_speak() {
            return;
        }
        if self.say_end() {
            return self.touch();
        }
        if !self.shut_down_writing() {
            return self.finish_as_begun();
        }
        self.outflow.say_end();
        self.set_due(Deadline::End, self.limits().end_time);
    }

    fn reason(&self) -> Option<CloseReason> {
        self.extra.borrow().as_ref().and_then(|extra| extra.reason.clone())
    }

    /// Says in TLS that nothing more comes; returns whether that has to be written first.
    fn say_end(&self) -> bool {
        self.transport.borrow_mut().as_mut().is_some_and(Transport::end)
    }

    fn shut_down_writing(&self) -> bool {
        let transport = self.transport.borrow();
        transport.as_ref().is_some_and(|transport| transport.stream().end_writing().is_ok())
    }

    /// The queue is empty: a closing connection goes one step further.
    pub(super) fn said_everything(self: &Rc<Self>) {
        if self.life.state() != State::Closing || self.outflow.awaits() {
            return;
        }
        // `on_drain` may have closed with a last message: the flush of that comes here again.
        if self.queued() > 0 {
            return;
        }
        if self.say_end() {
            return self.touch();
        }
        let by_peer = matches!(self.reason(), Some(CloseReason::Peer { .. }));
        if by_peer || self.inflow.has_ended() || !self.shut_down_writing() {
            return self.finish_as_begun();
        }
        self.life.become_now(State::Lingering);
        self.set_due(Deadline::Close, LINGER);
        // What the peer sent meanwhile was left in the kernel by a pause: throw it away now.
        self.inflow.set_readable(true);
        self.read_again();
    }

    /// The peer has ended its side, and everything before that was handled.
    pub(super) fn peer_ended(self: &Rc<Self>) {
        let reason = CloseReason::Peer { code: None, reason: String::new() };
        match self.life.state() {
            State::Open if self.outflow.end() == Ending::Said => self.finish_as_begun(),
            State::Preparing | State::Handshake | State::Deciding | State::Open => {
                if self.queued() == 0 && !self.say_end() {
                    return self.finish(reason);
                }
                // It may still read what waits for it: a half-closed peer gets its answers.
                self.start_closing(reason);
            }
            State::Closing => {
                self.outflow.set_awaits(false);
                self.touch();
            }
            State::Connecting | State::Lingering => self.finish_as_begun(),
            State::Closed => {}
        }
    }

    /// A deadline has passed.
    pub(super) fn time_is_up(self: &Rc<Self>, deadline: Deadline) {
        match deadline {
            Deadline::Handshake if self.life.state() == State::Connecting => {
                self.finish(CloseReason::ConnectFailed("no answer in time".to_owned()));
            }
            Deadline::Handshake => {
                self.table.add(|counters| &counters.handshakes_failed, 1);
                self.begin_close(CloseReason::HandshakeTimeout);
            }
            Deadline::Message if self.inflow.is_held(Hold::OverBudget) => {
                self.begin_close(CloseReason::Limited(Limit::Budget));
            }
            Deadline::Message => self.begin_close(CloseReason::MessageTimeout),
            Deadline::Rate => self.lift(Hold::Throttled),
            Deadline::End | Deadline::Close => self.finish_as_begun(),
        }
    }

    fn finish_as_begun(self: &Rc<Self>) {
        self.finish(CloseReason::Local);
    }

    /// Drops the connection now. The first reason given is the one that is reported.
    pub(super) fn finish(self: &Rc<Self>, reason: CloseReason) {
        if self.life.is_closed() {
            return;
        }
        self.leave_handshake();
        self.life.become_now(State::Closed);
        self.clear_all_due();
        self.extra(|extra| {
            extra.reason.get_or_insert(reason);
        });
        let mut transport = self.transport.take();
        let socket = transport.as_mut().map(Transport::stream_mut);
        self.table.forget(self.id.key, self.weight, socket);
        self.serve.population.leave(self.counted_for());
        self.outflow.clear();
        self.inflow.take_unread();
        self.weigh();
        self.end_pipes();
        if self.inflow.is_held(Hold::Busy) {
            self.life.owe_close();
        } else {
            self.report_close();
        }
        // The table counts the connection no more: what its handler is at counts instead.
        if self.inflow.is_held(Hold::Busy) {
            let work = self.table.begin_work();
            self.extra(|extra| extra.last_work = Some(work));
        }
    }

    /// The handler is done with an event of a connection that is gone: unless another one is due, the
    /// last, nothing waits for it any more.
    pub(super) fn end_work(&self) {
        if self.life.is_closed() && !self.inflow.is_held(Hold::Busy) {
            self.extra(|extra| extra.last_work = None);
        }
    }

    pub(super) fn report_close(self: &Rc<Self>) {
        let reason = self.reason().unwrap_or(CloseReason::Local);
        tracing::debug!(connection = self.id.number, peer = %self.peer(), %reason, "closed");
        // A peer that never finished its handshake came and went without a handler knowing.
        if !self.life.is_announced() {
            return;
        }
        self.dispatch(Event::Close(reason));
    }
}
