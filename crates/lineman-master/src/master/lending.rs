//! Who accepts at the sockets of a slot that has no process: a neighbour, so that nothing that the
//! kernel puts into their backlog waits for the slot to come back. It decides; workers accept.

use std::collections::BTreeSet;
use std::io;
use std::time::{Duration, Instant};

use super::event::WorkerKey;
use super::listeners::Listener;
use super::slot::{Outlook, Slot};
use super::supervisor::{Phase, Supervisor};
use crate::control::message::ToWorker;
use crate::service::{Listen, Ports, Traffic};

/// A pause from which on a socket of datagrams is closed while others have one at the same address:
/// a shorter one is bridged by its buffer.
const PARK_FROM: Duration = Duration::from_secs(1);

impl Supervisor {
    /// Lends the listeners of slots that are down, and takes back those of slots that are up again.
    pub(super) fn tend_listeners(&mut self) {
        match &self.phase {
            Phase::Up { .. } => {}
            // What serves goes on serving.
            Phase::Stopping(stop) if stop.still_serves() => {}
            Phase::Starting(_) | Phase::Stopping(_) => return,
        }
        for position in 0..self.slots.len() {
            let wanted = self.borrower(position);
            let lent = self.slots.get(position).and_then(|slot| slot.lent_to);
            if lent != wanted {
                self.take_back(position, lent);
                self.promise(position, wanted);
            }
            self.lend(position);
            let lent = self.slots.get(position).is_some_and(|slot| slot.lent_to.is_some());
            self.park_what_nobody_reads(position, lent);
        }
    }

    /// Returns who shall have the listeners of a slot; `None` when it is up, or has no neighbours.
    fn borrower(&self, position: usize) -> Option<WorkerKey> {
        let slot = self.slots.get(position).filter(|slot| !slot.is_ready())?;
        let ready = |other: usize| {
            let worker = self.slots.get(other)?.workers.iter().find(|worker| worker.is_ready())?;
            Some(worker.key(other))
        };
        let lent = slot.lent_to.filter(|key| ready(key.slot) == Some(*key));
        // Each slot begins with the one behind it, so that several do not all lean on the first.
        let behind = (position + 1..self.slots.len()).chain(0..position);
        let mut neighbours = behind.filter(|&other| self.is_neighbour(slot, other));
        lent.or_else(|| neighbours.find_map(ready))
    }

    fn is_neighbour(&self, slot: &Slot, other: usize) -> bool {
        self.slots.get(other).is_some_and(|other| other.service == slot.service)
    }

    /// Notes who shall have the listeners of a slot, and which.
    fn promise(&mut self, position: usize, to: Option<WorkerKey>) {
        let Some(slot) = self.slots.get_mut(position) else { return };
        let Some(description) = self.services.get(slot.service) else { return };
        let pairs = slot.listeners.iter().zip(&description.listeners).enumerate();
        let lent = pairs.filter(|(_, (listener, listen))| can_be_lent(listener, listen));
        slot.unlent = lent.filter(|_| to.is_some()).map(|(nth, _)| nth).collect();
        slot.lent_to = to;
    }

    /// Lends what was promised and not lent yet.
    fn lend(&mut self, position: usize) {
        let Some(slot) = self.slots.get_mut(position) else { return };
        let Some(to) = slot.lent_to.filter(|_| !slot.unlent.is_empty()) else { return };
        let (lender, listeners) = (slot.name.clone(), slot.listeners.clone());
        let mut unlent = std::mem::take(&mut slot.unlent);
        let borrower = self.slots.get_mut(to.slot).and_then(|slot| slot.worker(to.generation));
        if let Some(worker) = borrower {
            lend_each(&mut unlent, |nth| {
                let Some(listener) = listeners.get(nth) else { return Ok(()) };
                listener.unpark()?;
                let message = ToWorker::Borrow { lender: lender.clone() };
                let told = worker.outbox.send_with(&message, listener.lend()?);
                told.map_err(io::Error::other)?;
                tracing::info!(lender, pid = worker.pid, "listener lent");
                Ok(())
            });
        }
        if let Some(slot) = self.slots.get_mut(position) {
            slot.unlent = unlent;
        }
    }

    fn take_back(&mut self, position: usize, from: Option<WorkerKey>) {
        let Some(from) = from else { return };
        let lender = self.slots.get(position).map(|slot| slot.name.clone()).unwrap_or_default();
        let borrower = self.slots.get_mut(from.slot).and_then(|slot| slot.worker(from.generation));
        if let Some(worker) = borrower
            && let Err(error) = worker.outbox.send(&ToWorker::Return { lender })
        {
            // Both accept then, which does no harm.
            tracing::debug!(pid = worker.pid, %error, "a worker was not told to give back");
        }
    }

    /// Stops listening where nobody will accept: a refusal is better than silence.
    fn park_what_nobody_reads(&self, position: usize, lent: bool) {
        let Some(slot) = self.slots.get(position).filter(|slot| slot.is_vacant()) else { return };
        let Some(description) = self.services.get(slot.service) else { return };
        let others = || self.slots.iter().filter(|other| other.service == slot.service);
        let gone = slot.outlook == Outlook::Failed;
        for (nth, (listener, listen)) in
            slot.listeners.iter().zip(&description.listeners).enumerate()
        {
            let lent = lent && !slot.unlent.contains(&nth);
            let parks = match slot.outlook {
                Outlook::Failed if can_be_lent(listener, listen) => !lent,
                // What waits there is for whoever comes back.
                Outlook::Failed if listener.is_shared() => {
                    others().all(|other| other.outlook == Outlook::Failed)
                }
                Outlook::BackingOff(until) if !listener.is_shared() => {
                    let long = until.saturating_duration_since(Instant::now()) >= PARK_FROM;
                    let elsewhere = listen.ports == Ports::Shared && others().any(Slot::is_ready);
                    listen.traffic == Traffic::Datagrams && long && elsewhere
                }
                _ => gone,
            };
            if parks {
                listener.park();
            }
        }
    }
}

/// Calls `lend` for each of these, and leaves those that it failed for: what arrives there waits in the
/// backlog, and the next turn of the loop tries again. A worker must not get a listener twice.
fn lend_each(unlent: &mut BTreeSet<usize>, mut lend: impl FnMut(usize) -> io::Result<()>) {
    unlent.retain(|&nth| match lend(nth) {
        Ok(()) => false,
        Err(error) => {
            tracing::debug!(nth, %error, "cannot lend a listener");
            true
        }
    });
}

/// Whether another slot can accept there: it has a socket of its own at the same address.
fn can_be_lent(listener: &Listener, listen: &Listen) -> bool {
    !listener.is_shared() && listen.ports == Ports::Shared && listen.traffic == Traffic::Streams
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_lent_is_not_lent_again_when_another_one_could_not_be() {
        let (mut unlent, mut lent) = (BTreeSet::from([0, 1, 2]), Vec::new());
        let mut turn = |unlent: &mut BTreeSet<usize>, full: usize| {
            lend_each(unlent, |nth| {
                if nth == full {
                    return Err(io::Error::other("the queue is full"));
                }
                lent.push(nth);
                Ok(())
            });
        };
        turn(&mut unlent, 1);
        assert_eq!(unlent, BTreeSet::from([1]));
        turn(&mut unlent, 9);
        assert!(unlent.is_empty());
        assert_eq!(lent, [0, 2, 1]);
    }
}
