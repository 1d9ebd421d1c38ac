//! How a connection ends: a farewell with the reason, a wait for its answer, a lingering close so
//! that the farewell is not lost to a reset, and exactly one `Close` event.

use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;

use super::driver::Farewell;
use super::entry::{Entry, Peer as _, State};
use super::handler::Event;
use super::transport::Transport;
use super::{Admission, CloseReason, Driver};
use crate::http::{Spoken, Taken};

/// How long the peer may take to end its side after we have ended ours. It has read the farewell by
/// then or never will; Workerman lingers as long.
const LINGER: Duration = Duration::from_secs(1);

impl<D: Driver> Entry<D> {
    /// Says farewell, flushes, and closes; does nothing on a connection that is closing already.
    pub(super) fn begin_close(self: &Rc<Self>, reason: CloseReason) {
        let is_mute = self.state.get() == State::Preparing || matches!(reason, CloseReason::Tls(_));
        match self.state.get() {
            State::Connecting => return self.finish(reason),
            // There is no way to say anything but what the layers have said.
            State::Preparing | State::Handshake | State::Open if is_mute => {
                self.queue.borrow_mut().clear();
                self.flags.awaits.set(false);
                return self.start_closing(reason);
            }
            State::Preparing | State::Handshake | State::Open => {}
            State::Closing | State::Lingering | State::Closed => return,
        }
        let farewell = self.driver.borrow_mut().farewell(&reason, self.queue.borrow_mut().tail());
        self.start_closing(reason);
        self.flags.awaits.set(farewell == Farewell::Awaits && !self.flags.eof.get());
    }

    /// The peer ended the conversation; our answer, if there is one, is queued already.
    pub(super) fn close_answered(self: &Rc<Self>, reason: CloseReason) {
        self.flags.awaits.set(false);
        match self.state.get() {
            State::Connecting | State::Preparing | State::Handshake | State::Open => {
                self.start_closing(reason);
            }
            State::Closing => self.touch(),
            State::Lingering | State::Closed => {}
        }
    }

    fn start_closing(self: &Rc<Self>, reason: CloseReason) {
        self.leave_handshake();
        self.state.set(State::Closing);
        self.extra(|extra| extra.reason = Some(reason));
        self.set_deadline(self.limits().close_time);
        self.touch();
        // A pause left the peer's bytes unread, its own farewell perhaps among them.
        self.read_again();
    }

    /// It counts as half-open from here, and has a deadline.
    pub(super) fn enter_handshake(&self) {
        self.flags.half_open.set(true);
        self.table.handshake_begun();
        self.set_deadline(self.limits().handshake_time);
    }

    pub(super) fn leave_handshake(&self) {
        if self.flags.half_open.replace(false) {
            self.table.handshake_over();
        }
    }

    /// Ends our side of an open connection once everything is sent; the peer's goes on for a moment.
    pub(super) fn end(self: &Rc<Self>) {
        if !D::HALF_CLOSES {
            return self.begin_close(CloseReason::Local);
        }
        if self.state.get() == State::Open && !self.flags.ending.replace(true) {
            self.touch();
        }
    }

    /// Everything is sent: the peer sees the end of our side.
    pub(super) fn end_writing(self: &Rc<Self>) {
        if self.flags.half_closed.get() || self.queued() > 0 {
            return;
        }
        if self.say_end() {
            return self.touch();
        }
        let ended = match self.transport.borrow().as_ref() {
            Some(transport) => transport.stream().end_writing().is_ok(),
            None => return,
        };
        if !ended {
            return self.finish_as_begun();
        }
        self.flags.half_closed.set(true);
        self.set_deadline(self.limits().end_time);
    }

    fn reason(&self) -> Option<CloseReason> {
        self.extra.borrow().as_ref().and_then(|extra| extra.reason.clone())
    }

    /// Says in TLS that nothing more comes; returns whether that has to be written first.
    fn say_end(&self) -> bool {
        self.transport.borrow_mut().as_mut().is_some_and(Transport::end)
    }

    /// Gives its place to another connection.
    pub(super) fn leave_population(&self) {
        self.serve.population.leave(self.counted_for());
    }

    /// Runs what others wanted done when this connection is gone.
    fn tell_those_who_wait(&self) {
        let mut extra = self.extra.borrow_mut();
        let Some(extra_now) = extra.as_mut() else { return };
        extra_now.forward = None;
        let waiting = std::mem::take(&mut extra_now.when_drained);
        let gone = std::mem::take(&mut extra_now.when_gone);
        drop(extra);
        for job in waiting.into_iter().chain(gone) {
            job();
        }
    }

    /// The queue is empty: a closing connection goes one step further.
    pub(super) fn said_everything(self: &Rc<Self>) {
        if self.state.get() != State::Closing || self.flags.awaits.get() {
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
        if by_peer || self.flags.eof.get() {
            return self.finish_as_begun();
        }
        let ended = match self.transport.borrow().as_ref() {
            Some(transport) => transport.stream().end_writing().is_ok(),
            None => false,
        };
        if !ended {
            return self.finish_as_begun();
        }
        self.state.set(State::Lingering);
        self.set_deadline(LINGER);
        // What the peer sent meanwhile was left in the kernel by a pause: throw it away now.
        self.flags.readable.set(true);
        self.read_again();
    }

    /// The peer has ended its side, and everything before that was handled.
    pub(super) fn peer_ended(self: &Rc<Self>) {
        match self.state.get() {
            State::Open if self.flags.half_closed.get() => self.finish_as_begun(),
            State::Preparing | State::Handshake | State::Open
                if self.queued() == 0 && !self.say_end() =>
            {
                self.finish(CloseReason::Peer { code: None, reason: String::new() });
            }
            // It may still read what waits for it: a half-closed peer gets its answers.
            State::Preparing | State::Handshake | State::Open => {
                self.start_closing(CloseReason::Peer { code: None, reason: String::new() });
            }
            State::Closing => {
                self.flags.awaits.set(false);
                self.touch();
            }
            State::Connecting | State::Lingering => self.finish_as_begun(),
            State::Closed => {}
        }
    }

    /// A deadline has passed.
    pub(super) fn time_is_up(self: &Rc<Self>) {
        match self.state.get() {
            State::Connecting => {
                self.finish(CloseReason::ConnectFailed("no answer in time".to_owned()));
            }
            State::Preparing | State::Handshake => {
                self.table.add(|counters| &counters.handshakes_failed, 1);
                self.begin_close(CloseReason::HandshakeTimeout);
            }
            State::Open if self.flags.half_closed.get() => self.finish_as_begun(),
            State::Open if self.flags.throttled.replace(false) => self.read_again(),
            State::Open if self.flags.paused.get() || self.flags.busy.get() => {}
            State::Open => self.begin_close(CloseReason::MessageTimeout),
            State::Closing | State::Lingering => self.finish_as_begun(),
            State::Closed => {}
        }
    }

    fn finish_as_begun(self: &Rc<Self>) {
        self.finish(CloseReason::Local);
    }

    /// Drops the connection now. The first reason given is the one that is reported.
    pub(super) fn finish(self: &Rc<Self>, reason: CloseReason) {
        if self.state.get() == State::Closed {
            return;
        }
        self.leave_handshake();
        self.state.set(State::Closed);
        self.clear_deadline();
        self.extra(|extra| {
            extra.reason.get_or_insert(reason);
        });
        let mut transport = self.transport.take();
        let socket = transport.as_mut().map(Transport::stream_mut);
        self.table.forget(self.key, self.serve.weight, socket);
        self.leave_population();
        self.queue.borrow_mut().clear();
        self.unread.take();
        self.tell_those_who_wait();
        if self.flags.busy.get() {
            self.flags.close_due.set(true);
        } else {
            self.report_close();
        }
    }

    pub(super) fn report_close(self: &Rc<Self>) {
        let reason = self.reason().unwrap_or(CloseReason::Local);
        tracing::debug!(connection = self.id, peer = %self.peer(), %reason, "closed");
        // A peer that never finished its handshake came and went without a handler knowing.
        if !self.flags.announced.get() {
            return;
        }
        self.dispatch(Event::Close(reason));
    }

    /// A plain HTTP request leaves the table with its bytes.
    pub(super) fn hand_over_http(self: &Rc<Self>, input: &mut BytesMut) {
        let Some(http) = self.serve.http.clone() else {
            return self.begin_close(CloseReason::Refused(426));
        };
        self.leave_handshake();
        self.state.set(State::Closed);
        self.clear_deadline();
        self.extra(|extra| extra.reason = Some(CloseReason::BecameHttp));
        let bytes = input.split().freeze();
        if let Some(mut transport) = self.transport.take() {
            self.table.forget(self.key, self.serve.weight, Some(transport.stream_mut()));
            let admission = Admission::new(&self.serve.population, self.counted_for());
            let chosen = transport.tls().and_then(|info| info.alpn());
            let is_2 = chosen == Some(b"h2");
            let spoken = if is_2 { Spoken::Http2 } else { Spoken::Http1 };
            let (past, peer) = (self.past(), self.peer());
            let front = Rc::clone(&self.serve.front);
            let taken = Taken { past, transport, peer, spoken, bytes, admission, front };
            http.take(&self.table, taken, self.serve.upgrades());
        }
    }
}
