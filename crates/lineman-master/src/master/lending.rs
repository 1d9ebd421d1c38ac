//! Which process accepts at the listeners of a slot that has none: one of a neighbour, so that nothing
//! waits in their backlog, which the kernel goes on filling, for the slot to come back. A machine over
//! the slots: it decides, the supervisor hands listeners over, workers accept.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::event::MasterAction;
use super::slot::{Outlook, Slot, SlotId, Slots, WorkerKey};
use crate::control::message::ToWorker;

/// A pause from which on a socket of datagrams is closed while others have one at the same address:
/// a shorter one is bridged by its buffer.
const PARK_FROM: Duration = Duration::from_secs(1);

/// What a slot's listener has to do with those of its neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// It is one socket for all slots of the service.
    AllSlots,
    /// It takes connections at the address that the neighbours' have too: it can be lent.
    SameAddress,
    /// As [`Reach::SameAddress`], but for datagrams: it cannot be lent.
    SameAddressDatagrams,
    /// It has an address of its own.
    OwnAddress,
}

/// The listeners of a slot that is down, lent to a process.
#[derive(Debug)]
pub(super) struct Loan {
    to: WorkerKey,
    /// The listeners, by position, that have still to be handed over. A process must not get one
    /// twice.
    pending: BTreeSet<usize>,
}

/// Lends the listeners of slots that are down, takes back those of slots that are up again, and stops
/// listening where no process will accept: a refusal is better than silence.
pub(super) fn advance(slots: &mut Slots, now: Instant) -> Vec<MasterAction> {
    let mut actions = Vec::new();
    for id in slots.ids() {
        let (lent, wanted) = (slots[id].loan.as_ref().map(|loan| loan.to), borrower(slots, id));
        if lent != wanted {
            if let Some(from) = lent.filter(|&from| slots.worker(from).is_some()) {
                let lender = slots[id].name.clone();
                actions.push(MasterAction::Tell(from, ToWorker::Return { lender }));
            }
            let can_be_lent = |nth: &usize| slots[id].listeners[*nth] == Reach::SameAddress;
            let pending = (0..slots[id].listeners.len()).filter(can_be_lent).collect();
            slots[id].loan = wanted.map(|to| Loan { to, pending });
        }
        let slot = &slots[id];
        if let Some(Loan { to, pending }) = &slot.loan {
            let hand_over = |&nth| MasterAction::Lend { lender: id, nth, to: *to };
            actions.extend(pending.iter().map(hand_over));
        }
        if slot.is_vacant() {
            let parked = |(_, reach): &(usize, &Reach)| parks(slots, slot, **reach, now);
            let park = |(nth, _)| MasterAction::Park { slot: id, nth };
            actions.extend(slot.listeners.iter().enumerate().filter(parked).map(park));
        }
    }
    actions
}

/// A listener was handed over, or was not: then it is tried again in the next turn of the loop, and
/// meanwhile what arrives waits in its backlog.
pub(super) fn lent(
    slots: &mut Slots,
    lender: SlotId,
    nth: usize,
    is_done: bool,
) -> Option<MasterAction> {
    let slot = &mut slots[lender];
    if is_done && let Some(loan) = &mut slot.loan {
        loan.pending.remove(&nth);
    }
    (!is_done && matches!(slot.outlook, Outlook::Failed(_)))
        .then_some(MasterAction::Park { slot: lender, nth })
}

/// Returns the process that shall have the listeners of a slot; `None` when the slot is up, or has no
/// neighbour that is.
fn borrower(slots: &Slots, id: SlotId) -> Option<WorkerKey> {
    let slot = &slots[id];
    if slot.is_ready() {
        return None;
    }
    let ready = |other: SlotId| slots[other].serving().map(|worker| worker.key);
    let lent = slot.loan.as_ref().map(|loan| loan.to).filter(|to| ready(to.slot) == Some(*to));
    // Each slot begins with the one behind it, so that several do not all lean on the first.
    let behind = slots.ids().filter(|other| *other > id);
    let mut others = behind.chain(slots.ids().filter(|other| *other < id));
    lent.or_else(|| {
        others.find_map(|other| ready(other).filter(|_| slots[other].service == slot.service))
    })
}

/// Returns whether a vacant slot stops listening there.
fn parks(slots: &Slots, slot: &Slot, reach: Reach, now: Instant) -> bool {
    let mut neighbours = slots.of(slot.service);
    match (slot.outlook, reach) {
        (Outlook::Failed(_), Reach::SameAddress) => slot.loan.is_none(),
        // What waits there is for the slots that come back.
        (Outlook::Failed(_), Reach::AllSlots) => {
            neighbours.all(|neighbour| matches!(neighbour.outlook, Outlook::Failed(_)))
        }
        (Outlook::Failed(_), Reach::SameAddressDatagrams | Reach::OwnAddress) => true,
        (Outlook::BackingOff(until), Reach::SameAddressDatagrams) => {
            let is_long = until.saturating_duration_since(now) >= PARK_FROM;
            is_long && neighbours.any(Slot::is_ready)
        }
        (Outlook::BackingOff(_) | Outlook::Running | Outlook::Stopped, _) => false,
    }
}

#[cfg(test)]
#[path = "lending_tests.rs"]
mod tests;
