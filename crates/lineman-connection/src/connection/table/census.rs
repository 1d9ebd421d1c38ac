//! What the process and services ask of the table: how many there are, to close them, to wait until
//! they are gone, to list them.

use std::rc::Rc;
use std::time::Duration;

use super::{Item, Shutdown, Table};
use crate::connection::CloseReason;
use crate::connection::entry::{AnyEntry, Weight};
use crate::connection::stats::{Gauges, Row, Stats};
use crate::timer;

/// Entries looked at in one go.
const SLICE: usize = 4096;

/// How long a handshake that is under way when the process stops accepting may still take: several
/// round trips, and not much of a reload that waits for it at each of its processes.
const HANDSHAKE_IN_DRAIN: Duration = Duration::from_secs(2);

impl Table {
    /// Returns how many peers are connected: links between our own processes and connections that the
    /// program made do not count.
    pub fn len(&self) -> usize {
        self.0.peers.get()
    }

    /// Returns whether no peer is connected.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Runs `job` once at the end of the turn, when all its messages are handled and nothing of what
    /// they sent has left: what sums up a turn is sent here, and costs no write of its own.
    ///
    /// A job that asks for another one has it run behind the flush, in the same turn.
    pub fn before_flush(&self, job: impl FnOnce() + 'static) {
        self.0.jobs.borrow_mut().push(Box::new(job));
        self.wake();
    }

    /// Closes this process's listeners; a process that holds the same sockets goes on accepting.
    pub fn stop_accepting(&self) {
        if self.advance(Shutdown::Draining) {
            self.hurry_handshakes();
        }
        self.0.items.borrow_mut().retain(|_, item| match item {
            Item::Entry(_) | Item::Guest(_) => true,
            Item::Arrivals(socket) => {
                socket.leave(&self.0.registry);
                false
            }
        });
    }

    /// Closes what is in its handshake now and still is after [`HANDSHAKE_IN_DRAIN`]: browsers connect
    /// ahead of what they may want, and no process is to wait for that.
    fn hurry_handshakes(&self) {
        let half_open = |entry: &Rc<dyn AnyEntry>| {
            entry.weight() == Weight::Peer && entry.life().is_half_open()
        };
        let late: Vec<_> = self.entries().into_iter().filter(half_open).collect();
        if late.is_empty() {
            return;
        }
        tokio::task::spawn_local(async move {
            tokio::time::sleep(HANDSHAKE_IN_DRAIN).await;
            for entry in late.into_iter().filter(half_open) {
                entry.close(CloseReason::HandshakeTimeout);
            }
        });
    }

    /// Goes as far on its way out; returns whether it was not that far.
    fn advance(&self, shutdown: Shutdown) -> bool {
        self.0.shutdown.send_if_modified(|now| {
            let changed = *now < shutdown;
            *now = shutdown.max(*now);
            changed
        })
    }

    /// Resolves when the process has got that far.
    pub(crate) async fn reached(&self, shutdown: Shutdown) {
        let mut watched = self.0.shutdown.subscribe();
        if watched.wait_for(|now| *now >= shutdown).await.is_err() {
            tracing::trace!("the table is gone");
        }
    }

    /// Returns whether [`Table::stop_accepting`] was not called yet.
    pub fn is_accepting(&self) -> bool {
        *self.0.shutdown.borrow() == Shutdown::Serving
    }

    /// Returns whether everything is being closed.
    pub(crate) fn is_closing(&self) -> bool {
        *self.0.shutdown.borrow() == Shutdown::Closing
    }

    /// Resolves when no peer is connected; once everything is being closed, when no outgoing
    /// connection is left either.
    pub async fn emptied(&self) {
        let is_empty =
            |table: &Self| table.is_empty() && (!table.is_closing() || table.0.outgoing.get() == 0);
        self.until(is_empty).await;
    }

    /// As [`Table::emptied`], and what handlers, callbacks of timers and `blocking` are at is done as
    /// well; timers begin nothing once the connections are gone.
    pub async fn finished(&self) {
        self.emptied().await;
        self.0.work.end();
        self.0.work.done().await;
    }

    /// Returns how much of what [`Table::finished`] waits for is code of the program's: handlers,
    /// callbacks, blocking calls, and requests that a service has not answered.
    pub fn unfinished(&self) -> usize {
        self.0.work.count() + self.len()
    }

    /// Resolves when nothing waits to be sent, on links either.
    pub async fn flushed(&self) {
        self.until(|table| table.entries().iter().all(|entry| entry.queued() == 0)).await;
    }

    async fn until(&self, reached: impl Fn(&Self) -> bool) {
        loop {
            let changed = self.0.changed.notified();
            if reached(self) {
                return;
            }
            changed.await;
        }
    }

    /// Tells every peer and every server that the program is connected to why, and closes; returns how
    /// many peers were told.
    pub fn close_all(&self, reason: &CloseReason) -> usize {
        self.advance(Shutdown::Closing);
        let mut told = 0;
        for entry in self.entries() {
            let has_time = entry.life().state().is_before_the_end();
            if entry.weight() != Weight::Link && has_time {
                told += usize::from(entry.weight() == Weight::Peer);
                entry.close(reason.clone());
            }
        }
        told
    }

    /// As [`Table::close_all`], for at most so many peers whose end has not begun and whose handler is not at
    /// work; returns how many were told.
    pub fn close_some(&self, reason: &CloseReason, most: usize) -> usize {
        let is_peer = |entry: &Rc<dyn AnyEntry>| {
            entry.weight() == Weight::Peer
                && entry.life().state().is_before_the_end()
                && !entry.is_at_work()
        };
        let peers = self.entries().into_iter().filter(is_peer).take(most);
        peers.map(|entry| entry.close(reason.clone())).count()
    }

    /// Drops every connection but the links; returns how many of them were peers'.
    pub fn abort_all(&self) -> usize {
        self.advance(Shutdown::Closing);
        self.0.work.end();
        let mut dropped = 0;
        for entry in self.entries() {
            if entry.weight() != Weight::Link {
                dropped += usize::from(entry.weight() == Weight::Peer);
                entry.abort(CloseReason::GoingAway);
            }
        }
        dropped
    }

    /// Returns the sums since the process started.
    pub fn stats(&self) -> Stats {
        let queued_bytes = self.entries().iter().map(|entry| entry.queued() as u64).sum();
        let (connections, held_bytes) = (self.len() as u64, self.account().used() as u64);
        let stats = self.0.counters.stats(Gauges { connections, queued_bytes, held_bytes });
        Stats { handler_errors: stats.handler_errors + self.0.work.panics(), ..stats }
    }

    pub(in crate::connection) fn now_ms(&self) -> u64 {
        u64::try_from(self.0.made.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Returns how many milliseconds ago that was.
    pub(in crate::connection) fn age_ms(&self, came_ms: u64) -> u64 {
        self.now_ms().saturating_sub(came_ms)
    }

    /// Returns up to `limit` rows beginning at place `from`, and where to go on.
    ///
    /// A caller that asks in slices, with other work between them, never stalls the connections.
    pub fn rows(&self, from: usize, limit: usize) -> (Vec<Row>, Option<usize>) {
        let items = self.0.items.borrow();
        let end = items.capacity();
        let mut rows = Vec::new();
        for key in from..end {
            if rows.len() == limit {
                return (rows, Some(key));
            }
            match items.get(key) {
                Some(Item::Entry(entry)) => rows.push(entry.row()),
                Some(Item::Guest(guest)) => rows.push(guest.row()),
                Some(Item::Arrivals(_)) | None => {}
            }
        }
        (rows, None)
    }

    /// Looks after the silent connections of listeners with this heartbeat from now on: a sweep over
    /// the table in slices, with other work between them.
    pub(in crate::connection) fn beat_every(&self, period: Duration) {
        let mut beats = self.0.beats.borrow_mut();
        if beats.contains(&period) {
            return;
        }
        beats.push(period);
        let table = self.clone();
        timer::every(period, async move || table.beat(period).await);
    }

    async fn beat(&self, period: Duration) {
        if self.is_still() {
            return;
        }
        let mut from = 0;
        loop {
            let entries: Vec<_> = {
                let items = self.0.items.borrow();
                let end = items.capacity().min(from + SLICE);
                (from..end).filter_map(|key| items.get(key).and_then(Item::entry)).collect()
            };
            for entry in entries {
                entry.beat(period);
            }
            from += SLICE;
            if from >= self.0.items.borrow().capacity() {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    fn entries(&self) -> Vec<Rc<dyn AnyEntry>> {
        self.0.items.borrow().iter().filter_map(|(_, item)| item.entry()).collect()
    }
}
