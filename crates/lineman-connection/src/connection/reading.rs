//! How bytes become events: reading into the shared buffer, decoding every whole message, stopping
//! where a handler is busy. What is left of an unfinished message moves to the entry's own buffer.

use std::io;
use std::rc::Rc;

use bytes::BytesMut;

use super::driver::Step;
use super::entry::{Entry, State};
use super::handler::Event;
use super::table::Scratch;
use super::transport::{Failure, Received};
use super::{Address, CloseReason, Connection, Driver, Excess};

/// One read takes at most this much: the size of the shared buffer. Larger reads save nothing
/// measurable, and another connection waits meanwhile.
pub(super) const READ_SIZE: usize = 64 * 1024;

/// What a read came to.
enum Got {
    /// Bytes, and the kernel has no more.
    All,
    /// Bytes, and perhaps there are more.
    Some,
    /// Nothing now.
    Nothing,
    /// The peer has ended its side.
    End,
}

impl<D: Driver> Entry<D> {
    /// The transport of an outgoing connection is up, or failed.
    pub(super) fn transport_up(self: &Rc<Self>) {
        let outcome = match self.transport.borrow().as_ref() {
            Some(transport) => match transport.stream().take_error() {
                Ok(None) => transport.stream().peer_addr().map(drop),
                Ok(Some(error)) | Err(error) => Err(error),
            },
            None => return,
        };
        match outcome {
            Ok(()) => self.begin(),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => {}
            Err(error) => self.finish(CloseReason::ConnectFailed(error.to_string())),
        }
    }

    /// The socket is connected: the layers begin, or else the protocol.
    pub(super) fn begin(self: &Rc<Self>) {
        self.clear_deadline();
        self.state.set(State::Preparing);
        let begun = match self.transport.borrow_mut().as_mut() {
            Some(transport) => transport.start().map(|()| transport.is_up()),
            None => return,
        };
        if D::HANDSHAKE || !matches!(begun, Ok(true)) {
            self.enter_handshake();
        }
        match begun {
            Ok(true) => self.begin_protocol(),
            Ok(false) => self.touch(),
            Err(reason) => self.begin_close(reason),
        }
    }

    /// As [`Entry::begin`], over a transport that is up already.
    pub(super) fn begin_at_protocol(self: &Rc<Self>) {
        if D::HANDSHAKE {
            self.enter_handshake();
        }
        self.begin_protocol();
        self.read_again();
    }

    /// The transport is up: the driver starts, and without a handshake the connection is open.
    fn begin_protocol(self: &Rc<Self>) {
        self.state.set(State::Handshake);
        self.driver.borrow_mut().start(self.queue.borrow_mut().tail(), self.limits());
        if !D::HANDSHAKE {
            self.leave_handshake();
            self.clear_deadline();
            self.state.set(State::Open);
            self.dispatch(Event::Connect);
        }
        if !self.queue.borrow().is_empty() {
            self.touch();
        }
    }

    /// The socket is readable: one read, then everything that can be decoded.
    pub(super) fn read(self: &Rc<Self>, scratch: &mut Scratch) {
        if self.may_not_read() {
            return;
        }
        let mut own = self.unread.take();
        let Scratch { plain, raw } = scratch;
        let buffer = if own.is_empty() { &mut *plain } else { &mut own };
        let got = self.receive(buffer, raw);
        if !matches!(got, Ok(Got::Some)) {
            self.flags.readable.set(false);
        }
        match got {
            Ok(Got::All | Got::Some) => self.decode(buffer),
            Ok(Got::Nothing) => {}
            Ok(Got::End) => self.flags.eof.set(true),
            Err(Failure::Io(error)) => return self.finish(CloseReason::Broken(error.to_string())),
            Err(Failure::Close(reason)) => {
                buffer.clear();
                self.table.add(|counters| &counters.protocol_errors, 1);
                self.begin_close(reason);
            }
        }
        self.keep_rest(own, plain);
        self.after_reading();
    }

    /// Goes on where a pause, a busy handler or fairness stopped: first with what is here.
    pub(super) fn go_on_reading(self: &Rc<Self>, scratch: &mut Scratch) {
        if self.state.get() == State::Closed {
            return;
        }
        // A pause ends with the conversation: the peer's own farewell may be among what is here.
        let stopped = self.flags.paused.get() || self.flags.throttled.get();
        let stopped = stopped && self.state.get() <= State::Open;
        if !self.flags.busy.get() && !stopped {
            let mut own = self.unread.take();
            if !own.is_empty() {
                self.decode(&mut own);
            }
            self.keep_rest(own, &mut scratch.plain);
            self.after_reading();
        }
        if self.flags.readable.get() {
            self.read(scratch);
        }
    }

    fn may_not_read(&self) -> bool {
        if self.flags.throttled.get() && self.state.get() <= State::Open {
            return true;
        }
        let ahead = self.flags.busy.get() && self.unread.borrow().len() >= self.limits().read_ahead;
        let paused = self.flags.paused.get() && self.state.get() <= State::Open;
        ahead || paused || matches!(self.state.get(), State::Connecting | State::Closed)
    }

    fn receive(self: &Rc<Self>, plain: &mut BytesMut, raw: &mut BytesMut) -> Result<Got, Failure> {
        let mut transport = self.transport.borrow_mut();
        let Some(transport_now) = transport.as_mut() else { return Ok(Got::Nothing) };
        let before = transport_now.pending();
        let received = match transport_now.receive(plain, raw) {
            Err(Failure::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                return Ok(Got::Nothing);
            }
            received => received,
        };
        if transport_now.pending() > before {
            self.touch();
        }
        drop(transport);
        let received = received?;
        if received.count == 0 {
            return Ok(Got::End);
        }
        self.took(&received)?;
        self.bytes_in.set(self.bytes_in.get() + received.count as u64);
        self.table.add(|counters| &counters.bytes_in, received.count as u64);
        self.flags.heard.set(true);
        self.count(0, received.count);
        // A short read has used up the edge, unless that edge announced the end as well.
        Ok(if received.short && !self.flags.ended.get() { Got::All } else { Got::Some })
    }

    /// Tells the handler of a message, or sends it down the pipe.
    fn deliver(self: &Rc<Self>, message: D::Inbound) {
        let forward = self.extra.borrow().as_ref().and_then(|extra| extra.forward.clone());
        match forward {
            Some(forward) => forward(message),
            None => self.dispatch(Event::Message(message)),
        }
    }

    /// Counts what came against the connection's rates.
    fn count(self: &Rc<Self>, messages: u32, bytes: usize) {
        let exceeded = self.extra.borrow_mut().as_mut().and_then(|it| it.spend(messages, bytes));
        let Some((limit, time)) = exceeded else { return };
        if self.state.get() != State::Open || self.flags.throttled.get() {
            return;
        }
        self.table.add(|counters| counters.limited(limit), 1);
        match self.limits().excess {
            Excess::Delay => {
                self.flags.throttled.set(true);
                self.set_deadline(time);
            }
            Excess::Close => self.begin_close(CloseReason::Limited(limit)),
        }
    }

    /// A proxy told who the peer is: its bound is that address's from now on.
    fn readdress(&self, peer: Address) -> Result<(), CloseReason> {
        let told = peer.ip();
        let came_from = self.peer().ip();
        let before = if self.flags.counted.get() { came_from } else { None };
        match self.serve.population.readdress(before, told) {
            Ok(()) => {
                self.extra(|extra| extra.peer = Some(peer));
                self.flags.counted.set(true);
                Ok(())
            }
            Err(limit) => {
                self.table.add(|counters| counters.limited(limit), 1);
                Err(CloseReason::Limited(limit))
            }
        }
    }

    /// The request may tell who is behind a proxy.
    fn find_client(&self, opening: &D::Opening) -> Result<(), CloseReason> {
        let Some(proxies) = &self.serve.front.proxies else { return Ok(()) };
        let told = proxies.client_of(&self.peer(), |name| D::header_lines(opening, name))?;
        told.map_or(Ok(()), |client| self.readdress(client))
    }

    /// The deadline is not that of a message: it belongs to a rate, or to the end of our side.
    fn has_other_deadline(&self) -> bool {
        self.flags.throttled.get() || self.flags.half_closed.get()
    }

    /// Deals with what the layers found out.
    pub(super) fn took(self: &Rc<Self>, received: &Received) -> Result<(), Failure> {
        if let Some(peer) = &received.peer {
            self.readdress(peer.clone()).map_err(Failure::Close)?;
        }
        if received.ended {
            self.flags.eof.set(true);
        }
        if received.up && self.state.get() == State::Preparing {
            self.begin_protocol();
        } else if received.up {
            // TLS in mid-stream: what was sent meanwhile has waited for it.
            self.touch();
        }
        Ok(())
    }

    /// Decodes until the input is used up or somebody stops it.
    fn decode(self: &Rc<Self>, input: &mut BytesMut) {
        loop {
            match self.state.get() {
                State::Closed | State::Lingering => return input.clear(),
                State::Closing if !self.flags.awaits.get() => return input.clear(),
                State::Connecting | State::Preparing => return,
                State::Handshake | State::Open | State::Closing => {}
            }
            let stopped = self.flags.paused.get() || self.flags.throttled.get();
            if self.flags.busy.get()
                || self.flags.changing.get()
                || stopped && self.state.get() == State::Open
            {
                return;
            }
            let (step, replied) = {
                let mut queue = self.queue.borrow_mut();
                let before = queue.tail().len();
                let step = self.driver.borrow_mut().decode(input, queue.tail(), self.limits());
                (step, queue.tail().len() != before)
            };
            if replied {
                self.touch();
            }
            if !self.take_step(step, input) {
                return;
            }
        }
    }

    /// Acts on a step; returns whether decoding goes on.
    fn take_step(
        self: &Rc<Self>,
        step: Result<Step<D>, CloseReason>,
        input: &mut BytesMut,
    ) -> bool {
        match step {
            Ok(Step::Wait) => return false,
            Ok(Step::Again) => {}
            Ok(Step::Ping(_) | Step::Pong(_)) if self.state.get() != State::Open => {}
            Ok(Step::Ping(payload)) => {
                self.serve.handler.on_ping(&Connection::of(self), &payload);
            }
            Ok(Step::Pong(payload)) => {
                self.serve.handler.on_pong(&Connection::of(self), &payload);
            }
            Ok(Step::Message(_)) if self.state.get() == State::Closing => {}
            Ok(Step::Message(message)) => {
                self.table.add(|counters| &counters.messages_in, 1);
                self.messages_in.set(self.messages_in.get() + 1);
                // What is unfinished behind it is another message, with a time of its own.
                if !self.has_other_deadline() {
                    self.clear_deadline();
                }
                self.deliver(message);
                self.count(1, 0);
            }
            Ok(Step::Opening(opening)) => {
                if let Err(reason) = self.find_client(&opening) {
                    self.begin_close(reason);
                    return false;
                }
                self.flags.opening.set(true);
                self.dispatch(Event::Open(opening));
            }
            Ok(Step::Opened) => self.opened(),
            Ok(Step::Closed(reason)) => {
                self.close_answered(reason);
                return false;
            }
            Ok(Step::Http) => {
                self.hand_over_http(input);
                return false;
            }
            Err(reason) => {
                input.clear();
                self.table.add(|counters| &counters.protocol_errors, 1);
                self.begin_close(reason);
                return false;
            }
        }
        true
    }

    /// Keeps what could not be decoded yet, in a buffer of the connection's own.
    fn keep_rest(self: &Rc<Self>, own: BytesMut, plain: &mut BytesMut) {
        if self.state.get() == State::Closed {
            plain.clear();
            return;
        }
        if own.is_empty() && !plain.is_empty() {
            self.unread.replace(BytesMut::from(&plain[..]));
            plain.clear();
        } else if !own.is_empty() {
            self.unread.replace(own);
        }
        let too_big = self.unread.borrow().len() > self.driver.borrow().max_undecoded();
        // Behind a busy handler or a pause there may be many whole messages.
        let stopped = self.flags.busy.get()
            || self.flags.paused.get()
            || self.flags.throttled.get()
            || self.flags.changing.get();
        if too_big && !stopped && self.state.get() <= State::Open {
            self.table.add(|counters| &counters.protocol_errors, 1);
            self.begin_close(CloseReason::TooBig);
        }
    }

    /// The end of the peer's side, fairness, and the deadline of an unfinished message.
    fn after_reading(self: &Rc<Self>) {
        if self.state.get() == State::Closed {
            return;
        }
        if self.flags.changing.get() && !self.flags.busy.get() {
            return self.change();
        }
        let rest = self.unread.borrow().len();
        if self.flags.eof.get() && !self.flags.busy.get() {
            return self.peer_ended();
        }
        if self.flags.readable.get() && !self.may_not_read() {
            self.read_again();
        }
        if self.state.get() == State::Open && !self.flags.busy.get() && !self.has_other_deadline() {
            let unfinished = !self.flags.paused.get() && self.driver.borrow().unfinished(rest);
            match (unfinished, self.has_deadline()) {
                (true, false) => self.set_deadline(self.limits().message_time),
                (false, true) => self.clear_deadline(),
                (true, true) | (false, false) => {}
            }
        }
    }
}
