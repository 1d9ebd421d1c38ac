//! How bytes become events: reading into the shared buffer, decoding every whole message, stopping
//! where `inflow` says so. What is left of an unfinished message moves to the entry's own buffer.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::Instant;

use super::driver::Step;
use super::due::{Deadline, Flow};
use super::entry::{Entry, Weight};
use super::handler::Event;
use super::inflow::Hold;
use super::life::State;
use super::table::Scratch;
use super::transport::{Failure, Received, Transport};
use super::{CloseReason, Connection, Driver, Excess, Limit};

/// One read takes at most this much: the size of the shared buffer. Larger reads save nothing
/// measurable, and another connection waits meanwhile.
pub(super) const READ_SIZE: usize = 64 * 1024;

/// One connection has at most so many messages or pings a turn. A read may bring ten thousand of them,
/// which is milliseconds for everything else.
const STEPS_A_TURN: u32 = 256;

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
    /// The socket is readable: one read, then everything that can be decoded.
    pub(super) fn read(self: &Rc<Self>, scratch: &mut Scratch) {
        if !self.may_read() {
            return;
        }
        let mut own = self.inflow.take_unread();
        let Scratch { plain, raw } = scratch;
        let buffer = if own.is_empty() { &mut *plain } else { &mut own };
        let got = self.receive(buffer, raw);
        if !matches!(got, Ok(Got::Some)) {
            self.inflow.set_readable(false);
        }
        match got {
            Ok(Got::All | Got::Some) => self.decode(buffer),
            Ok(Got::Nothing) => {}
            Ok(Got::End) => self.inflow.end(),
            Err(Failure::Io(error)) if crate::os::passes(&error) => self.try_again_soon(),
            Err(Failure::Io(error)) => {
                let reason = CloseReason::Broken(error.to_string());
                if buffer.is_empty() || self.may_decode() {
                    return self.finish(reason);
                }
                // What came before it is heard first.
                self.extra(|extra| extra.reason = Some(reason));
                self.inflow.end();
            }
            Err(Failure::Close(reason)) => {
                buffer.clear();
                self.table.add(|counters| &counters.protocol_errors, 1);
                self.layer_failed(reason);
            }
        }
        self.keep_rest(own, plain);
        self.after_reading();
    }

    /// Goes on where a hold or fairness stopped: first with what is here.
    pub(super) fn go_on_reading(self: &Rc<Self>, scratch: &mut Scratch) {
        if self.life.is_closed() {
            return;
        }
        // A change of protocol is a hold that this lifts.
        if self.may_decode() || self.inflow.may_change(self.life.state()) {
            let mut own = self.inflow.take_unread();
            if !own.is_empty() {
                self.decode(&mut own);
            }
            self.keep_rest(own, &mut scratch.plain);
            self.after_reading();
        }
        if self.inflow.is_readable() {
            self.read(scratch);
        }
    }

    fn may_decode(&self) -> bool {
        self.inflow.may_decode(self.life.state())
    }

    fn may_read(&self) -> bool {
        self.inflow.may_read(self.life.state(), self.limits().read_ahead)
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
        self.count(|counters| counters.bytes_in += received.count as u64);
        self.table.add(|counters| &counters.bytes_in, received.count as u64);
        self.inflow.heard();
        self.spend(0, received.count);
        // A short read has used up the edge, unless that edge announced the end as well.
        Ok(if received.short && !self.inflow.is_ending() { Got::All } else { Got::Some })
    }

    /// Deals with what the layers found out.
    pub(super) fn took(self: &Rc<Self>, received: &Received) -> Result<(), Failure> {
        if let Some(peer) = &received.peer {
            self.readdress(peer.clone()).map_err(Failure::Close)?;
        }
        if received.ended {
            self.inflow.end();
        }
        if received.up && self.life.state() == State::Preparing {
            self.begin_protocol();
        } else if received.up {
            // TLS in mid-stream: what was sent meanwhile has waited for it, and so has a successor.
            self.leave_handshake();
            self.touch();
            self.read_again();
        }
        Ok(())
    }

    /// Counts what came against the connection's rates.
    fn spend(self: &Rc<Self>, messages: u32, bytes: usize) {
        let exceeded = self.extra.borrow_mut().as_mut().and_then(|it| it.spend(messages, bytes));
        let Some((limit, time)) = exceeded else { return };
        if !self.life.is_open() || self.inflow.is_held(Hold::Throttled) {
            return;
        }
        self.table.add(|counters| counters.limited(limit), 1);
        match self.limits().excess {
            Excess::Delay => {
                self.inflow.hold(Hold::Throttled);
                self.set_due(Deadline::Rate, time);
            }
            Excess::Close => self.begin_close(CloseReason::Limited(limit)),
        }
    }

    /// Decodes until the input is used up, the connection's share of the turn is, or something stops it.
    fn decode(self: &Rc<Self>, input: &mut BytesMut) {
        if self.serve.offered_tls.is_seen() && self.begins_with_tls(input) {
            return self.take_tls(input);
        }
        let (mut steps, mut is_there) = (0, false);
        loop {
            match self.life.state() {
                State::Closed => return input.clear(),
                State::Lingering => {
                    self.still_there();
                    return input.clear();
                }
                State::Closing if !self.outflow.awaits() => return input.clear(),
                State::Connecting | State::Preparing => return,
                State::Handshake | State::Deciding | State::Open | State::Closing => {}
            }
            if !self.may_decode() {
                return;
            }
            if steps == STEPS_A_TURN && self.life.is_open() && !input.is_empty() {
                self.inflow.hold(Hold::Turn);
                return self.read_later();
            }
            steps += 1;
            let consumed;
            let (step, replied) = {
                let mut queue = self.outflow.queue.borrow_mut();
                let before = queue.tail().len();
                let input_before = input.len();
                let step = self.driver.borrow_mut().decode(input, queue.tail(), self.limits());
                consumed = input_before - input.len();
                (step, queue.tail().len() != before)
            };
            if replied {
                self.touch();
            } else if matches!(step, Ok(Step::Ping(_))) {
                // For the driver to hear when there is room for the answer.
                self.extra(|_| ());
            }
            // Half a frame of a peer whose farewell is awaited says nothing.
            is_there |= matches!(step, Ok(Step::Ping(_) | Step::Pong(_) | Step::Message(_)));
            if !self.take_step(step, input, consumed) {
                break;
            }
        }
        if is_there && self.life.state() == State::Closing {
            self.still_there();
        }
    }

    /// Returns whether the first byte that ever came is TLS's.
    fn begins_with_tls(&self, input: &[u8]) -> bool {
        /// A record of its handshake (RFC 8446, 5.1).
        const HANDSHAKE: u8 = 22;
        input.first() == Some(&HANDSHAKE)
            && self.life.is_open()
            && self.counters.get().messages_in == 0
            && !self.transport.borrow().as_ref().is_some_and(Transport::has_tls)
    }

    /// Begins TLS with what has come, as if a handler had asked for it, or refuses the peer.
    fn take_tls(self: &Rc<Self>, input: &mut BytesMut) {
        let Some(session) = self.serve.offered_tls.take() else {
            input.clear();
            self.table.add(|counters| &counters.protocol_errors, 1);
            let problem = "the peer begins with TLS, which is off here".to_owned();
            return self.begin_close(CloseReason::Tls(problem));
        };
        self.change_by(|extra| extra.session = Some(Box::new(session)));
    }

    /// Acts on a step; returns whether decoding goes on.
    fn take_step(
        self: &Rc<Self>,
        step: Result<Step<D>, CloseReason>,
        input: &mut BytesMut,
        consumed: usize,
    ) -> bool {
        match step {
            Ok(Step::Wait) => return false,
            Ok(Step::Again) => {}
            Ok(Step::Opening(_) | Step::Opened | Step::Foreign)
                if self.life.state() != State::Handshake =>
            {
                input.clear();
                let problem = "its handshake is done".to_owned();
                self.begin_close(CloseReason::Protocol { code: 1002, problem });
                return false;
            }
            Ok(Step::Ping(_) | Step::Pong(_)) if !self.life.is_open() => {}
            Ok(Step::Ping(payload)) => {
                self.serve.handler.on_ping(&Connection::of(self), &payload);
            }
            Ok(Step::Pong(payload)) => {
                self.serve.handler.on_pong(&Connection::of(self), &payload);
            }
            Ok(Step::Message(_)) if self.life.state() == State::Closing => {}
            Ok(Step::Message(message)) => {
                self.table.add(|counters| &counters.messages_in, 1);
                self.count(|counters| counters.messages_in += 1);
                // What is unfinished behind it is another message, with a time of its own.
                self.clear_due(Deadline::Message);
                let size = D::size(&message).max(consumed);
                self.deliver(message);
                if self.inflow.is_held(Hold::Busy) {
                    self.set_at_work(size);
                }
                self.spend(1, 0);
            }
            Ok(Step::Opening(_)) if self.weight == Weight::Peer && self.table.refuses_new() => {
                self.begin_close(CloseReason::Limited(Limit::Budget));
                return false;
            }
            Ok(Step::Opening(opening)) => {
                if let Err(reason) = self.find_client(&opening) {
                    self.begin_close(reason);
                    return false;
                }
                self.life.become_now(State::Deciding);
                self.dispatch(Event::Open(opening));
            }
            Ok(Step::Opened) => self.open(Event::Opened),
            Ok(Step::Closed(reason)) => {
                self.close_answered(reason);
                return false;
            }
            Ok(Step::Foreign) => {
                self.hand_over(input);
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

    /// Tells the handler of a message, or sends it down the pipe.
    fn deliver(self: &Rc<Self>, message: D::Inbound) {
        let forward = self.extra.borrow().as_ref().and_then(|extra| extra.forward.clone());
        match forward {
            Some((_, forward)) => forward(&Connection::of(self), message),
            None => self.dispatch(Event::Message(message)),
        }
    }

    /// Keeps what could not be decoded yet, in a buffer of the connection's own.
    fn keep_rest(self: &Rc<Self>, mut own: BytesMut, plain: &mut BytesMut) {
        if self.life.is_closed() {
            plain.clear();
            return;
        }
        if own.is_empty() && !plain.is_empty() {
            self.inflow.keep(BytesMut::from(&plain[..]));
            plain.clear();
        } else if is_mostly_empty(&mut own) {
            self.inflow.keep(BytesMut::from(&own[..]));
        } else {
            self.inflow.keep(own);
        }
        // Behind a hold there may be many whole messages.
        let state = self.life.state();
        let is_one_message = state.is_before_the_end() && self.inflow.may_decode(state);
        if is_one_message && self.inflow.unread_len() > self.driver.borrow().max_undecoded() {
            self.table.add(|counters| &counters.protocol_errors, 1);
            self.begin_close(CloseReason::TooBig);
        }
    }

    /// A change of protocol, the end of the peer's side, fairness, and the deadline of an unfinished
    /// message.
    fn after_reading(self: &Rc<Self>) {
        if self.life.is_closed() {
            return;
        }
        self.weigh_incoming();
        if self.inflow.has_ended() {
            self.wake_for_end();
        }
        if self.inflow.may_change(self.life.state()) && self.change() {
            return;
        }
        if self.inflow.has_ended() && self.may_decode() {
            return self.peer_ended();
        }
        if self.inflow.is_readable() && self.may_read() {
            self.read_later();
        }
        if !self.life.is_open() {
            return;
        }
        let rest = self.inflow.unread_len();
        let undecrypted = self.transport.borrow().as_ref().map_or(0, Transport::undecoded);
        let unfinished = undecrypted > 0 || self.driver.borrow().unfinished(rest);
        if self.may_decode() && unfinished {
            self.message_goes_on((undecrypted + rest) as u64);
        } else {
            self.clear_due(Deadline::Message);
        }
    }

    /// A message, or a record of TLS that may hold one, has begun and is not finished. What counts is
    /// what makes it longer: neither pings in the middle of it nor what it inflates to.
    fn message_goes_on(self: &Rc<Self>, waiting: u64) {
        let held = waiting + self.driver.borrow().buffered() as u64;
        let counts = [self.counters.get().bytes_in, held];
        let now = Instant::now();
        let mut due = self.due.borrow_mut();
        let is_new = !due.has(Deadline::Message);
        match due.message() {
            Some(pace) if !is_new => pace.goes_on(counts, now),
            pace => *pace = Some(Flow::new(counts, now)),
        }
        drop(due);
        // Else it is looked at when it is due: a large message costs the wheel nothing for each read.
        if is_new {
            self.set_due(Deadline::Message, self.limits().message_time);
        }
    }

    /// Returns how long the message that has begun may still take.
    pub(super) fn message_left(&self) -> Duration {
        let mut due = self.due.borrow_mut();
        let Some(pace) = due.message() else { return Duration::ZERO };
        let until = pace.until(self.limits().message_time, self.limits().least_rate);
        until.saturating_duration_since(Instant::now())
    }
}

/// Returns whether more than three quarters of a buffer's memory are unused: a read made room for the shared
/// buffer's size behind a few bytes, or a large message was decoded out of it. That part lies before the rest,
/// and `capacity` tells of it once the rest has moved there.
fn is_mostly_empty(buffer: &mut BytesMut) -> bool {
    buffer.try_reclaim(buffer.len().saturating_mul(3).saturating_add(1))
}

#[cfg(test)]
mod tests {
    use bytes::Buf as _;

    use super::*;

    #[test]
    fn a_buffer_that_much_was_decoded_out_of_is_mostly_empty() {
        for (size, rest, expected) in [
            (8_000_000, 50_000, true),
            (8_000_000, 1_900_000, true),
            (8_000_000, 2_100_000, false),
            (8_000_000, 8_000_000, false),
            (0, 0, false),
        ] {
            let mut buffer = BytesMut::with_capacity(size);
            buffer.resize(size, 7);
            buffer.advance(size - rest);
            assert_eq!(is_mostly_empty(&mut buffer), expected, "{rest} of {size}");
            assert_eq!(buffer.len(), rest);
        }
    }
}
