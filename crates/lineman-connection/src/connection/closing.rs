//! How a connection ends. Its handler hears of it at once, in exactly one `Close` event; that waits a
//! moment where the application closed and the peer's answer is part of what it hears. By itself go on:
//! what was sent and a farewell with the reason, which arrive as long as the peer takes them; a wait for
//! the answer; a lingering close, so that nothing is lost to a reset.

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
use super::{CloseReason, Connection, Driver, Limit};

impl<D: Driver> Entry<D> {
    /// Says farewell, flushes, and closes; does nothing on a connection that is closing already.
    pub(super) fn begin_close(self: &Rc<Self>, reason: CloseReason) {
        let state = self.life.state();
        if !state.is_before_the_end() {
            return;
        }
        let waits = self.waits_to_be_up();
        // A process that goes away waits for no peer that may not be there.
        if state == State::Connecting && (!waits || reason == CloseReason::GoingAway) {
            return self.finish(reason);
        }
        // There is no way to say more than the layers have said, or anything behind the end.
        let is_mute = !self.can_speak() && !waits || matches!(reason, CloseReason::Tls(_));
        if is_mute || self.outflow.end() == Ending::Said {
            self.outflow.clear();
            self.outflow.set_awaits(false);
            return self.start_closing(reason);
        }
        // Browsers connect ahead of a click, and take an answer to nothing for the click's.
        let is_untouched = matches!(reason, CloseReason::HandshakeTimeout | CloseReason::GoingAway)
            && state == State::Handshake
            && self.inflow.unread_len() == 0;
        let farewell = if is_untouched {
            Farewell::Said
        } else {
            let mut queue = self.outflow.queue.borrow_mut();
            self.driver.borrow_mut().farewell(&reason, queue.tail())
        };
        self.start_closing(reason);
        self.outflow.set_awaits(farewell == Farewell::Awaits && !self.inflow.has_ended());
    }

    /// Returns whether something was taken that is sent once the socket is connected and the layers are
    /// through. It has the time that these have.
    fn waits_to_be_up(&self) -> bool {
        let is_up = self.life.state() != State::Connecting && self.can_speak();
        !is_up && self.outflow.queued() > 0 && self.transport.borrow().is_some()
    }

    /// A layer has failed: what waits for it to be through cannot be sent.
    pub(super) fn layer_failed(self: &Rc<Self>, reason: CloseReason) {
        if !self.can_speak() {
            self.drop_what_waits();
        }
        self.begin_close(reason);
    }

    /// It does not come up: what was taken before is lost.
    fn drop_what_waits(self: &Rc<Self>) {
        if self.life.state() == State::Closing && self.outflow.queued() > 0 {
            self.table.add(|counters| &counters.ends_cut, 1);
            self.touch();
        }
        self.outflow.clear();
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
        let up_by = self.due.borrow().at(Deadline::Handshake).filter(|_| self.waits_to_be_up());
        if up_by.is_none() {
            self.leave_handshake();
        }
        self.life.become_now(State::Closing);
        self.extra(|extra| extra.reason = Some(reason));
        self.clear_all_due();
        if let Some(at) = up_by {
            self.due.borrow_mut().set(Deadline::Handshake, at);
        }
        self.begin_farewell();
        self.life.owe_close();
        self.wake_for_end();
        self.end_pipes();
        self.touch();
        // A pause left the peer's bytes unread, its own farewell perhaps among them.
        self.read_again();
    }

    /// Ends our side of an open connection once everything is sent; the peer's goes on for a moment.
    ///
    /// One that is not open yet ends its side when it is.
    pub(super) fn end(self: &Rc<Self>) {
        if !D::HALF_CLOSES {
            return self.begin_close(CloseReason::Local);
        }
        if self.life.state().is_before_the_end() && self.outflow.ask_end() && self.life.is_open() {
            self.begin_end();
        }
    }

    /// An end of our side follows what is queued, which the peer has to take.
    pub(super) fn begin_end(self: &Rc<Self>) {
        // The other direction of a pipe goes on for as long as it likes.
        if self.target().is_none() {
            self.begin_farewell();
        }
        self.touch();
    }

    /// The kernel says that the connection has failed. Where it is read, a read comes to that, behind
    /// everything the peer has sent; one that is paused would not hear of it.
    pub(super) fn notice_failure(self: &Rc<Self>) {
        if !self.inflow.is_stopped(self.life.state()) {
            return;
        }
        let failed = match self.transport.borrow().as_ref() {
            Some(transport) => transport.stream().take_error(),
            None => return,
        };
        if let Ok(Some(error)) | Err(error) = failed {
            self.finish(CloseReason::Broken(error.to_string()));
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
        if self.target().is_none() {
            self.follow_farewell();
        }
    }

    pub(super) fn reason(&self) -> Option<CloseReason> {
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

    /// Everything is with the kernel: what waited for that goes on.
    pub(super) fn drained(self: &Rc<Self>) {
        if self.outflow.drain() && self.life.is_open() {
            self.serve.handler.on_drain(&Connection::of(self));
        }
        if self.outflow.end() == Ending::Asked && self.life.is_open() {
            self.end_writing();
        }
        let sources = match self.extra.borrow_mut().as_mut() {
            Some(extra) => {
                self.driver.borrow_mut().drained(self.outflow.queue.borrow_mut().tail());
                std::mem::take(&mut extra.kept.sources)
            }
            None => Vec::new(),
        };
        if self.outflow.queued() > 0 {
            self.touch();
        }
        for source in sources {
            self.table.pipe_drained(source);
        }
        self.said_everything();
    }

    /// The queue is empty: a closing connection goes one step further.
    pub(super) fn said_everything(self: &Rc<Self>) {
        if self.life.state() != State::Closing {
            return;
        }
        // `on_drain` may have closed with a last message: the flush of that comes here again.
        if self.queued() > 0 {
            return;
        }
        if self.outflow.awaits() {
            return self.follow_farewell();
        }
        if self.say_end() {
            return self.touch();
        }
        // The kernel delivers the rest, and no byte of the peer's can come that makes it a reset.
        let by_peer = matches!(self.reason(), Some(CloseReason::Peer { .. }));
        if self.inflow.has_ended() || by_peer && self.delivered().1 || !self.shut_down_writing() {
            return self.finish_as_begun();
        }
        self.life.become_now(State::Lingering);
        self.follow_farewell();
        // What the peer sent meanwhile was left in the kernel by a pause: throw it away now.
        self.inflow.set_readable(true);
        self.read_again();
    }

    /// The peer has ended its side, and everything before that was handled.
    pub(super) fn peer_ended(self: &Rc<Self>) {
        let broken = self.reason().filter(|reason| matches!(reason, CloseReason::Broken(_)));
        if let Some(reason) = broken {
            return self.finish(reason);
        }
        let reason = match self.transport.borrow().as_ref() {
            Some(transport) if transport.awaits_server() => {
                CloseReason::Tls("the peer ended the connection in the handshake".to_owned())
            }
            _ => CloseReason::Peer { code: None, reason: String::new() },
        };
        match self.life.state() {
            State::Open if self.ends_one_direction() => {}
            State::Open if self.outflow.end() == Ending::Said => self.finish_as_begun(),
            State::Preparing | State::Handshake | State::Deciding | State::Open => {
                if !self.can_speak() {
                    self.drop_what_waits();
                }
                if self.queued() == 0 && !self.say_end() {
                    return self.finish(reason);
                }
                // It may still read what waits for it: a half-closed peer gets its answers.
                self.start_closing(reason);
            }
            State::Closing => {
                self.outflow.set_awaits(false);
                if !self.can_speak() {
                    self.drop_what_waits();
                }
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
            Deadline::Handshake if self.life.state() == State::Closing => {
                // One that is up has the pace of its farewell.
                if !self.can_speak() || self.counters.get().bytes_out == 0 {
                    self.drop_what_waits();
                    self.finish_as_begun();
                }
            }
            Deadline::Handshake => {
                self.table.add(|counters| &counters.handshakes_failed, 1);
                self.layer_failed(CloseReason::HandshakeTimeout);
            }
            Deadline::Message => match self.message_left() {
                Duration::ZERO if self.inflow.is_held(Hold::OverBudget) => {
                    self.begin_close(CloseReason::Limited(Limit::Budget));
                }
                Duration::ZERO => self.begin_close(CloseReason::MessageTimeout),
                left => self.set_due(Deadline::Message, left),
            },
            Deadline::Rate => self.lift(Hold::Throttled),
            Deadline::Farewell => self.follow_farewell(),
            // No answer came. The peer sees our end at least.
            Deadline::Close if self.outflow.awaits() => {
                self.outflow.set_awaits(false);
                self.report_close();
                self.said_everything();
            }
            Deadline::End | Deadline::Close => self.finish_as_begun(),
        }
    }

    pub(super) fn finish_as_begun(self: &Rc<Self>) {
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
        self.life.owe_close();
        self.wake_for_end();
        self.report_close();
        // The table counts the connection no more: what its handler is at counts instead.
        if self.inflow.is_held(Hold::Busy) {
            let work = self.table.begin_work();
            self.extra(|extra| extra.last_work = Some(work));
        } else {
            self.end_work();
        }
    }

    /// Tells the handler of the end, if that is due and it is not busy.
    pub(super) fn report_close(self: &Rc<Self>) {
        if self.life.state().is_before_the_end() || self.inflow.is_held(Hold::Busy) {
            return;
        }
        if !self.awaits_to_tell() && self.life.take_close_due() {
            self.tell_close();
        }
    }

    /// What waits for the end looks again.
    pub(super) fn wake_for_end(&self) {
        let waker = self.extra.borrow_mut().as_mut().and_then(|extra| extra.awaits_end.take());
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The handler is done with an event of a connection that is gone: unless another one is due, the
    /// last, nothing waits for it any more, and it has no more use for the application's data.
    pub(super) fn end_work(&self) {
        if self.life.is_closed() && !self.inflow.is_held(Hold::Busy) {
            let rest = self.extra(|extra| (extra.last_work.take(), extra.kept.data.take()));
            drop(rest);
        }
    }

    fn tell_close(self: &Rc<Self>) {
        let reason = self.reason().unwrap_or(CloseReason::Local);
        tracing::debug!(connection = self.id.number, peer = %self.peer(), %reason, "closes");
        // A peer that never finished its handshake came and went without a handler knowing.
        if !self.life.is_announced() {
            return;
        }
        self.dispatch(Event::Close(reason));
    }
}
