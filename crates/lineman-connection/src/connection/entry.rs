//! One connection's place in the table: four values (`life`, `inflow`, `outflow`, `due`), the socket
//! with its layers, the driver and the counters; and what the table wants of it.
//!
//! `handshake`, `reading` and `closing` say what happens to it, in that order, and `events` how its handler
//! hears of that. No method holds a borrow while a handler runs.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::due::{Deadline, Due, Rearm};
use super::extra::Extra;
use super::handle::Counters;
use super::handover::Movable;
use super::inflow::{Hold, Inflow, SilenceAction};
use super::life::{Life, State};
use super::listener::Serve;
use super::outflow::{Ending, Outflow};
use super::stats::{Row, tls_name};
use super::table::{Scratch, Table};
use super::transit::{Facts, Transit};
use super::transport::Transport;
use super::{Address, CloseReason, Driver, Limit, Limits};

/// How long the kernel gets to have memory again.
const MOMENT: Duration = Duration::from_millis(50);

/// What a connection is to the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weight {
    /// A peer: counted, waited for by a drain, told when the process goes away.
    Peer,
    /// A connection that the program made: told when the process goes away, and not waited for before.
    Outgoing,
    /// A link between our own processes: lives as long as the process.
    Link,
}

/// Which entry: its place in the table, and its number, for places are used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EntryId {
    pub(super) key: usize,
    pub(super) number: u64,
}

/// A connection. Invariant: in the table's slab at `id.key` until it is `Closed`.
pub(crate) struct Entry<D: Driver> {
    pub(super) id: EntryId,
    pub(super) table: Table,
    /// What it counts as, whatever serves it.
    pub(super) weight: Weight,
    /// When it came, in the table's milliseconds.
    pub(super) came_ms: u64,
    /// Its socket with the layers; `None` before an outgoing one has its socket, and at the end.
    pub(super) transport: RefCell<Option<Transport>>,
    /// Where it came from; a proxy may have told another address.
    pub(super) origin: Address,
    pub(super) life: Life,
    pub(super) inflow: Inflow,
    pub(super) outflow: Outflow,
    pub(super) due: RefCell<Due>,
    pub(super) driver: RefCell<D>,
    /// What all connections of a listener have in common.
    pub(super) serve: Rc<Serve<D>>,
    pub(super) counters: Cell<Counters>,
    pub(super) extra: RefCell<Option<Box<Extra<D>>>>,
}

/// What the kernel says of a socket.
#[derive(Debug, Clone, Copy)]
pub(super) struct Readiness {
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// It may come together with the last bytes, in one edge.
    pub(super) end: Option<End>,
}

/// How a socket has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The peer has ended its side.
    InOrder,
    /// It has failed: a reset, a network that is gone.
    Failed,
}

/// An entry as the table sees it, whatever it speaks.
pub(super) trait AnyEntry: Movable {
    fn id(&self) -> EntryId;
    fn weight(&self) -> Weight;
    fn life(&self) -> &Life;
    fn row(&self) -> Row;
    fn queued(&self) -> usize;
    /// Returns how many bytes would be given back if it were closed.
    fn holding(&self) -> usize;
    /// The process holds too much: it is not read until [`AnyEntry::within_budget`]; returns whether that
    /// is new.
    fn over_budget(&self) -> bool;
    fn within_budget(self: Rc<Self>);
    /// Closes it, so that what it holds is given back.
    fn shed(self: Rc<Self>);
    fn ready(self: Rc<Self>, readiness: Readiness, scratch: &mut Scratch);
    fn again(self: Rc<Self>, scratch: &mut Scratch);
    /// Looks after a connection whose listener has this heartbeat.
    fn beat(self: Rc<Self>, period: Duration);
    fn flush(self: Rc<Self>);
    fn expired(self: Rc<Self>);
    /// The connection that its messages are piped to has room again.
    fn pipe_drained(self: Rc<Self>);
    /// The peer of a connection that is piped here has ended its side; returns whether this one goes on.
    fn source_ended(self: Rc<Self>, source: EntryId) -> bool;
    fn close(self: Rc<Self>, reason: CloseReason);
    fn abort(self: Rc<Self>, reason: CloseReason);
}

impl<D: Driver> Entry<D> {
    /// Makes the entry of a place in the table; its connection counts among the listener's from here.
    pub(super) fn new(
        table: &Table,
        key: usize,
        serve: &Rc<Serve<D>>,
        state: State,
        transit: Transit,
    ) -> Self {
        let Transit { facts, transport, inflow, outflow, end_by, kept } = transit;
        let Facts { number, weight, came_ms, counters, peer, admission } = facts;
        let life = Life::new(state);
        life.set_counted(admission.settle(&serve.population));
        let entry = Self {
            id: EntryId { key, number },
            table: table.clone(),
            weight,
            came_ms,
            transport: RefCell::new(transport),
            origin: peer,
            life,
            inflow,
            outflow,
            due: RefCell::default(),
            driver: RefCell::new(serve.make_driver()),
            serve: Rc::clone(serve),
            counters: Cell::new(counters),
            extra: RefCell::new(Extra::new(&serve.front.limits, kept)),
        };
        if let Some(at) = end_by {
            entry.due.borrow_mut().set(Deadline::End, at);
            entry.arm();
        }
        entry
    }

    /// Puts the entry on the list of those that are flushed at the end of the turn.
    pub(super) fn touch(self: &Rc<Self>) {
        if self.outflow.list() {
            self.table.touched(Rc::<Self>::clone(self));
        }
    }

    /// Puts the entry on the list of those that go on reading in the next turn.
    pub(super) fn read_again(self: &Rc<Self>) {
        if self.inflow.list() {
            self.table.again(Rc::<Self>::clone(self));
        }
    }

    /// As [`Entry::read_again`], for one that had its share of a turn: behind those that had less.
    pub(super) fn read_later(self: &Rc<Self>) {
        if self.inflow.list() {
            self.table.later(Rc::<Self>::clone(self));
        }
    }

    /// Takes a reason not to read away, and goes on with what waited for that.
    pub(super) fn lift(self: &Rc<Self>, hold: Hold) {
        if self.inflow.lift(hold) {
            self.read_again();
        }
    }

    fn flush_queue(self: &Rc<Self>) {
        self.outflow.unlist();
        if !self.life.is_open() {
            // Here and not where it ends: that may be in the middle of another handler.
            self.report_close();
            if matches!(self.life.state(), State::Connecting | State::Closed) {
                return;
            }
        }
        match self.write_out() {
            Some(Ok(true)) => self.drained(),
            Some(Ok(false)) | None => {}
            Some(Err(error)) if crate::os::passes(&error) => self.try_again_soon(),
            Some(Err(error)) => self.finish(CloseReason::Broken(error.to_string())),
        }
    }

    /// Gives the kernel as much of what waits as it takes; returns whether that was all, `None` without a socket.
    fn write_out(self: &Rc<Self>) -> Option<io::Result<bool>> {
        let mut queue = self.outflow.queue.borrow_mut();
        let mut transport = self.transport.borrow_mut();
        let transport_now = transport.as_mut()?;
        self.table.freeze_large(&mut queue);
        let written = transport_now.write(&mut queue);
        let drained = queue.is_empty() && transport_now.pending() == 0;
        drop(transport);
        if drained {
            self.table.release(&mut queue);
        }
        drop(queue);
        if !drained || self.outflow.charged.get() > 0 {
            self.weigh();
        }
        Some(written.map(|written| {
            self.count(|counters| counters.bytes_out += written as u64);
            self.table.add(|counters| &counters.bytes_out, written as u64);
            drained
        }))
    }

    /// The queue is at its bound within a turn: gives the kernel what it takes before anything is refused. What
    /// follows from it, be it an error, comes with the flush at the end of the turn.
    pub(super) fn make_room(self: &Rc<Self>) {
        if !self.life.is_open() {
            return;
        }
        if let Some(Err(error)) = self.write_out() {
            tracing::debug!(connection = self.id.number, %error, "not written");
        }
        self.touch();
    }

    /// The kernel was short of memory: the socket is as sound as before, and no edge will say so again.
    pub(super) fn try_again_soon(self: &Rc<Self>) {
        let entry = Rc::clone(self);
        tokio::task::spawn_local(async move {
            tokio::time::sleep(MOMENT).await;
            entry.inflow.set_readable(true);
            entry.touch();
            entry.read_again();
        });
    }

    /// Counts something of this connection.
    pub(super) fn count(&self, add: impl FnOnce(&mut Counters)) {
        let mut counters = self.counters.get();
        add(&mut counters);
        self.counters.set(counters);
    }

    /// Returns the address the connection counts for, if addresses count.
    pub(super) fn counted_for(&self) -> Option<IpAddr> {
        self.peer().ip().filter(|_| self.life.is_counted())
    }

    pub(super) fn extra<R>(&self, use_it: impl FnOnce(&mut Extra<D>) -> R) -> R {
        use_it(self.extra.borrow_mut().get_or_insert_default())
    }

    pub(super) fn peer(&self) -> Address {
        let told = self.extra.borrow().as_ref().and_then(|extra| extra.peer.clone());
        told.unwrap_or_else(|| self.origin.clone())
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.serve.front.limits
    }

    /// Returns whether the layers are through, so that the protocol can say something.
    pub(super) fn can_speak(&self) -> bool {
        self.transport.borrow().as_ref().is_some_and(Transport::is_up)
    }

    pub(super) fn set_due(&self, deadline: Deadline, after: Duration) {
        let at = Instant::now() + crate::limit::finite(after);
        self.due.borrow_mut().set(deadline, at);
        self.arm();
    }

    pub(super) fn clear_due(&self, deadline: Deadline) {
        if self.due.borrow_mut().clear(deadline) {
            self.arm();
        }
    }

    pub(super) fn clear_all_due(&self) {
        self.due.borrow_mut().clear_all();
        self.arm();
    }

    /// Has the earliest deadline in the table's wheel.
    fn arm(&self) {
        let mut due = self.due.borrow_mut();
        let Rearm { remove, insert } = due.rearm();
        if let Some(key) = remove {
            self.table.clear_deadline(key);
        }
        if let Some(at) = insert {
            due.armed(self.table.set_deadline(self.id, at), at);
        }
    }
}

impl<D: Driver> AnyEntry for Entry<D> {
    fn id(&self) -> EntryId {
        self.id
    }

    fn weight(&self) -> Weight {
        self.weight
    }

    fn life(&self) -> &Life {
        &self.life
    }

    fn queued(&self) -> usize {
        let pending = self.transport.borrow().as_ref().map_or(0, Transport::pending);
        self.outflow.queued() + pending
    }

    fn holding(&self) -> usize {
        let at_work = self.extra.borrow().as_ref().map_or(0, |extra| extra.at_work);
        let alone = self.outflow.charged.get() as usize;
        alone.saturating_sub(at_work) + self.outflow.queue.borrow().shared_len()
    }

    fn over_budget(&self) -> bool {
        self.inflow.hold(Hold::OverBudget)
    }

    fn within_budget(self: Rc<Self>) {
        self.lift(Hold::OverBudget);
    }

    fn shed(self: Rc<Self>) {
        let reason = CloseReason::Limited(Limit::Budget);
        // Behind what waits nothing is heard soon, and it is what has to go. A handshake holds something
        // for its layers, and gives it back only at its end.
        if self.queued() > 0 || self.life.state() < State::Open {
            return self.finish(reason);
        }
        self.inflow.take_unread();
        self.begin_close(reason);
        self.weigh();
    }

    fn row(&self) -> Row {
        let transport = self.transport.borrow();
        let local = transport.as_ref().and_then(|transport| transport.stream().local_addr().ok());
        let undecoded = transport.as_ref().map_or(0, Transport::undecoded);
        let counters = self.counters.get();
        Row {
            id: self.id.number,
            protocol: D::name().to_owned(),
            state: self.life.state().name().to_owned(),
            local: local.map_or_else(|| "-".to_owned(), |address| address.to_string()),
            peer: self.peer().to_string(),
            messages_in: counters.messages_in,
            messages_out: counters.messages_out,
            bytes_in: counters.bytes_in,
            bytes_out: counters.bytes_out,
            receive_queue: (self.inflow.unread_len() + undecoded) as u64,
            send_queue: self.queued() as u64,
            tls: transport.as_ref().and_then(Transport::tls).map(|tls| tls_name(tls.version())),
            age_ms: Some(self.table.age_ms(self.came_ms)),
        }
    }

    fn ready(self: Rc<Self>, readiness: Readiness, scratch: &mut Scratch) {
        if readiness.writable && self.life.state() == State::Connecting {
            self.transport_up();
        }
        if readiness.end.is_some() {
            self.inflow.end_comes();
        }
        if readiness.readable {
            self.inflow.set_readable(true);
            // Else its turn comes: more bytes must not bring one that sends much before the others.
            if !self.inflow.is_listed() {
                self.read(scratch);
            }
        }
        if readiness.end == Some(End::Failed) {
            self.notice_failure();
        }
        if readiness.writable && self.queued() > 0 {
            self.touch();
        }
    }

    fn again(self: Rc<Self>, scratch: &mut Scratch) {
        self.inflow.unlist();
        self.inflow.lift(Hold::Turn);
        self.go_on_reading(scratch);
    }

    fn beat(self: Rc<Self>, period: Duration) {
        // One whose peer has ended its side is silent by right: only a pipe keeps it open.
        let is_silent = self.life.is_open() && !self.inflow.has_ended();
        if !is_silent || self.limits().heartbeat != Some(period) {
            return;
        }
        let asked = match self.inflow.beat() {
            SilenceAction::Wait => return,
            // Nothing can be asked behind the end of our side.
            SilenceAction::Ping if self.outflow.end() == Ending::Open => {
                self.driver.borrow_mut().ping(self.outflow.queue.borrow_mut().tail())
            }
            SilenceAction::Ping | SilenceAction::GiveUp => false,
        };
        if asked {
            return self.touch();
        }
        self.table.add(|counters| &counters.heartbeats_missed, 1);
        self.begin_close(CloseReason::HeartbeatTimeout);
    }

    fn flush(self: Rc<Self>) {
        self.flush_queue();
    }

    fn expired(self: Rc<Self>) {
        self.due.borrow_mut().disarmed();
        let now = Instant::now();
        loop {
            let passed = self.due.borrow_mut().take_passed(now);
            let Some(deadline) = passed else { break };
            self.time_is_up(deadline);
        }
        self.arm();
    }

    fn pipe_drained(self: Rc<Self>) {
        self.lift(Hold::Piped);
    }

    fn source_ended(self: Rc<Self>, source: EntryId) -> bool {
        self.takes_end_of(source)
    }

    fn close(self: Rc<Self>, reason: CloseReason) {
        self.begin_close(reason);
    }

    fn abort(self: Rc<Self>, reason: CloseReason) {
        self.finish(reason);
    }
}

impl<D: Driver> Drop for Entry<D> {
    fn drop(&mut self) {
        self.table.charge(self.outflow.charged.get(), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::WebSocket;

    /// Memory of a silent connection is the product: a new field has to say what it costs.
    #[test]
    fn an_idle_websocket_owns_this_much_and_no_more() {
        assert!(size_of::<Entry<WebSocket>>() <= 368, "{}", size_of::<Entry<WebSocket>>());
    }
}
