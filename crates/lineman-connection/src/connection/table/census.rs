//! What the process and services ask of the table: how many there are, to close them, to wait until
//! they are gone, to list them.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::{Item, Phase, Table};
use crate::connection::CloseReason;
use crate::connection::entry::{Peer, State, Weight};
use crate::connection::stats::{Row, Stats};
use crate::timer;

/// Entries looked at in one go.
const SLICE: usize = 4096;

impl Table {
    /// Returns how many peers are connected: links between our own processes do not count.
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

    /// Closes this process's listeners; whoever holds the same sockets goes on accepting.
    pub fn stop_accepting(&self) {
        self.enter_phase(Phase::Draining);
        self.0.items.borrow_mut().retain(|_, item| match item {
            Item::Peer(_) | Item::Guest(_) => true,
            Item::Arrivals(socket) => {
                socket.leave(&self.0.registry);
                false
            }
        });
    }

    fn enter_phase(&self, phase: Phase) {
        self.0.phase.send_if_modified(|now| {
            let changed = *now < phase;
            *now = phase.max(*now);
            changed
        });
    }

    /// Resolves when the process has got that far.
    pub(crate) async fn reached(&self, phase: Phase) {
        let mut watched = self.0.phase.subscribe();
        if watched.wait_for(|now| *now >= phase).await.is_err() {
            tracing::trace!("the table is gone");
        }
    }

    /// Returns whether [`Table::stop_accepting`] was not called yet.
    pub fn is_accepting(&self) -> bool {
        *self.0.phase.borrow() == Phase::Serving
    }

    /// Resolves when no peer is connected.
    pub async fn emptied(&self) {
        self.until(Self::is_empty).await;
    }

    /// Resolves when nothing waits to be sent, on links either.
    pub async fn flushed(&self) {
        self.until(|table| table.peers().iter().all(|peer| peer.queued() == 0)).await;
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

    /// Tells every peer why, and closes; returns how many were told.
    pub fn close_all(&self, reason: &CloseReason) -> usize {
        self.enter_phase(Phase::Closing);
        let peers = self.peers();
        let told = peers
            .iter()
            .filter(|peer| peer.weight() == Weight::Peer && peer.state() < State::Closing);
        told.map(|peer| Rc::clone(peer).close(reason.clone())).count()
    }

    /// Drops every peer's connection; returns how many there were.
    pub fn abort_all(&self) -> usize {
        self.enter_phase(Phase::Closing);
        let peers = self.peers();
        let dropped = peers.iter().filter(|peer| peer.weight() == Weight::Peer);
        dropped.map(|peer| Rc::clone(peer).abort(CloseReason::GoingAway)).count()
    }

    /// Returns the sums since the process started.
    pub fn stats(&self) -> Stats {
        let queued = self.peers().iter().map(|peer| peer.queued() as u64).sum();
        self.0.counters.stats(self.len() as u64, queued)
    }

    /// Returns about how many milliseconds ago the connection of this number came.
    pub(in crate::connection) fn age_ms(&self, id: u64) -> Option<u64> {
        let age = self.0.births.borrow().age(id, Instant::now())?;
        u64::try_from(age.as_millis()).ok()
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
                Some(Item::Peer(peer)) => rows.push(peer.row()),
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
        let mut from = 0;
        loop {
            let peers: Vec<_> = {
                let items = self.0.items.borrow();
                let end = items.capacity().min(from + SLICE);
                (from..end).filter_map(|key| items.get(key).and_then(Item::peer)).collect()
            };
            for peer in peers {
                peer.beat(period);
            }
            from += SLICE;
            if from >= self.0.items.borrow().capacity() {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    fn peers(&self) -> Vec<Rc<dyn Peer>> {
        self.0.items.borrow().iter().filter_map(|(_, item)| item.peer()).collect()
    }
}
