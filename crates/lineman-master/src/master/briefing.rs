//! What a process wants the next one of its slot to know: kept for each slot, so that a successor has it
//! whether the one before it serves, hangs or has crashed. The machine's part for that; it is text to it.

use lineman_wire::briefing::{Predecessor, bounded};

use super::machine::Machine;
use super::slot::{SlotId, WorkerKey};

impl Machine {
    /// A process has told what the next one is to know. What one tells that leaves is of a process with
    /// less and less, and says nothing.
    pub(super) fn briefed(&mut self, key: WorkerKey, briefing: Option<String>) {
        let Some(briefing) = bounded(briefing) else { return };
        if self.slots.worker(key).is_some_and(|worker| worker.is_ready()) {
            self.slots[key.slot].briefing = Some(briefing);
        }
    }

    /// Returns what the next process of a slot has from the one before it.
    pub(super) fn predecessor(&self, slot: SlotId) -> Option<Predecessor> {
        let slot = &self.slots[slot];
        let briefing = slot.briefing.clone()?;
        Some(Predecessor { briefing, serves: slot.is_ready() })
    }
}

#[cfg(test)]
mod tests {
    use lineman_wire::briefing::MAX_BRIEFING;

    use crate::master::test_master::{Master, PLAIN, seconds, service};

    fn known(master: &Master) -> Option<(String, bool)> {
        let known = master.machine.predecessor(master.slot("echo/0"))?;
        Some((known.briefing, known.serves))
    }

    fn tells(master: &mut Master, process: &str, briefing: &str) {
        let key = master.key(process);
        master.machine.briefed(key, Some(briefing.to_owned()));
    }

    #[test]
    fn a_successor_has_what_the_process_told_that_serves_and_not_what_one_told_that_leaves() {
        let mut master = Master::up(vec![service("echo", 1)]);
        assert_eq!(known(&master), None);
        tells(&mut master, "echo/0#1", "one");
        tells(&mut master, "echo/0#1", &"x".repeat(MAX_BRIEFING + 1));
        assert_eq!(known(&master), Some(("one".to_owned(), true)));
        master.reload("cli", PLAIN, None);
        tells(&mut master, "echo/0#2", "not ready");
        assert_eq!(known(&master), Some(("one".to_owned(), true)));
        master.ready("echo/0#2");
        tells(&mut master, "echo/0#2", "two");
        tells(&mut master, "echo/0#1", "less and less");
        assert_eq!(known(&master), Some(("two".to_owned(), true)));
    }

    #[test]
    fn a_process_after_a_crash_and_one_after_a_stalled_one_know_that_none_serves() {
        let mut master = Master::up(vec![service("echo", 1)]);
        tells(&mut master, "echo/0#1", "one");
        master.ends("echo/0#1", 9);
        assert_eq!(known(&master), Some(("one".to_owned(), false)));

        let mut master = Master::up(vec![service("echo", 1)]);
        tells(&mut master, "echo/0#1", "one");
        master.silent(seconds(3600));
        assert_eq!(known(&master), Some(("one".to_owned(), false)));
    }
}
