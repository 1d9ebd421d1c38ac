//! Signs of life: each process that serves is asked once a second, and one that does not answer is stalled,
//! which the watchdog within it cannot tell when the process as a whole stands still. The machine's part
//! for that; the supervisor asks, and says what was answered.

use std::time::Duration;

use super::event::MasterAction;
use super::exit::ExitReason;
use super::machine::{Machine, MasterPhase};
use super::slot::WorkerKey;
use crate::control::message::ToWorker;

/// How often a process is asked, and the machine has to look.
pub(super) const PERIOD: Duration = Duration::from_secs(1);

/// Comes with these questions; no caller waits for the answer to one.
const TOKEN: u64 = 0;

/// What is known of a process that serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum LifeSign {
    #[default]
    Answered,
    /// It was asked, so many looks ago. Looks are counted, not time: while the master stood still as
    /// well, as in a suspended machine, no process is to blame.
    Asked(u32),
    /// As [`LifeSign::Asked`], for longer than it may.
    Stalled(u32),
}

impl Machine {
    /// Asks every process that serves; says which one is stalled, and ends it if the program wishes.
    /// Called every [`PERIOD`].
    pub(super) fn look_for_life(&mut self) -> Vec<MasterAction> {
        if !matches!(self.phase, MasterPhase::Up(_)) {
            // A start and a stop have limits of their own.
            return Vec::new();
        }
        let watchdog = self.slots.config.watchdog;
        let limit = watchdog.silence();
        let mut actions = Vec::new();
        for id in self.slots.ids() {
            let slot = &mut self.slots[id];
            for worker in slot.workers.iter_mut().filter(|worker| worker.is_ready()) {
                let (LifeSign::Asked(looks) | LifeSign::Stalled(looks)) = worker.life_sign else {
                    worker.life_sign = LifeSign::Asked(0);
                    actions.push(MasterAction::Tell(worker.key, ToWorker::Status { token: TOKEN }));
                    continue;
                };
                let looks = looks.saturating_add(1);
                let silent = PERIOD.saturating_mul(looks);
                if silent < limit {
                    worker.life_sign = LifeSign::Asked(looks);
                    continue;
                }
                if !worker.is_stalled() {
                    let (slot, pid) = (&slot.name, worker.pid);
                    tracing::error!(slot, pid, ?silent, "a process is stalled: it answers nothing");
                }
                worker.life_sign = LifeSign::Stalled(looks);
                if watchdog.restart && silent >= limit.saturating_mul(2) {
                    actions.push(worker.kill(ExitReason::Silent(silent)));
                }
            }
        }
        actions
    }

    /// A process has answered something.
    pub(super) fn answered(&mut self, key: WorkerKey) {
        let name = self.slots[key.slot].name.clone();
        let Some(worker) = self.slots.worker(key) else { return };
        if worker.is_stalled() {
            tracing::warn!(slot = name, pid = worker.pid, "a process answers again");
        }
        worker.life_sign = LifeSign::Answered;
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Watchdog;
    use crate::control::ExitCode;
    use crate::control::request::Probe;
    use crate::master::lending::Reach;
    use crate::master::test_master::{Master, PLAIN, seconds, service};

    /// Looks so many times; returns what was done.
    fn looks(master: &mut Master, count: usize) -> Vec<String> {
        let mut done = Vec::new();
        for _ in 0..count {
            let actions = master.machine.look_for_life();
            master.carry_out(actions);
            done.extend(master.later(seconds(1)));
        }
        done
    }

    #[test]
    fn a_silent_process_is_stalled_and_its_neighbour_has_its_listener_until_it_answers() {
        let mut master = Master::up(vec![service("echo", 2)]);
        for slot in ["echo/0", "echo/1"] {
            let slot = master.slot(slot);
            master.machine.slots[slot].listeners = vec![Reach::SameAddress];
        }
        let (silent, other) = (master.key("echo/0#1"), master.key("echo/1#1"));
        assert_eq!(looks(&mut master, 1), ["ask echo/0#1", "ask echo/1#1"]);
        master.machine.answered(other);
        assert_eq!(looks(&mut master, 1), ["ask echo/1#1"], "one question at a time");
        master.machine.answered(other);
        let mut done = Vec::new();
        for _ in 0..4 {
            done.extend(looks(&mut master, 1));
            master.machine.answered(other);
        }
        assert_eq!(done.last().unwrap(), "lend echo/0:0 to echo/1#1");
        let ready = "ready: 1/1 services ready, 1/2 processes, stalled: 1 process".to_owned();
        assert_eq!(master.machine.health(Probe::Ready), (ExitCode::Ok, ready));
        master.machine.answered(silent);
        assert_eq!(master.turn(), ["return echo/0 from echo/1#1"]);
        let ready = "ready: 1/1 services ready, 2/2 processes".to_owned();
        assert_eq!(master.machine.health(Probe::Ready), (ExitCode::Ok, ready));
        master.check_rest("after it");
    }

    #[test]
    fn a_service_that_is_silent_as_a_whole_is_not_ready_and_can_be_reloaded() {
        let mut master = Master::up(vec![service("echo", 1)]);
        assert_eq!(looks(&mut master, 3600), ["ask echo/0#1"], "nothing ends it");
        let missing = "not ready: echo has no ready process".to_owned();
        assert_eq!(master.machine.health(Probe::Ready), (ExitCode::Failed, missing));
        master.reload("cli", PLAIN, None);
        assert_eq!(master.ready("echo/0#2"), ["drain echo/0#1 30s"]);
        assert_eq!(looks(&mut master, 1)[0], "ask echo/0#2", "one that leaves has limits");
        master.check_rest("after it");
    }

    #[test]
    fn it_is_replaced_where_the_program_wishes_after_twice_the_limit() {
        for (watchdog, limit) in [(300, 5), (5000, 5), (7000, 7)] {
            let mut master = Master::up(vec![service("echo", 1)]);
            master.machine.slots.config.watchdog =
                Watchdog::restart(std::time::Duration::from_millis(watchdog));
            assert_eq!(looks(&mut master, 2 * limit), ["ask echo/0#1"]);
            assert_eq!(looks(&mut master, 1), ["kill echo/0#1"], "{watchdog}");
            let reason = format!("exited echo/0: killed: it answered nothing for {}s", 2 * limit);
            assert_eq!(master.ends("echo/0#1", 9), [&reason, "start echo/0#2"]);
            master.check_rest("after it");
        }
    }
}
