//! A machine with a supervisor that carries nothing out and writes down what it would, for the tests
//! of the machines. It also plays processes that do as they are told.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use lineman_wire::handover::{HandedOver, RecordFormats};

use super::event::{MasterAction, ProgramEnd, SignalMeaning, Source};
use super::life_sign::PERIOD;
use super::machine::Machine;
use super::notify::ShownState;
use super::slot::{SlotId, SlotWorker, Slots, WorkerKey, WorkerState};
use crate::config::Config;
use crate::control::ExitCode;
use crate::control::answers::{Answers, Receiver};
use crate::control::message::{FromWorker, ToWorker};
use crate::control::request::{Answer, Manner};
use crate::service::{Description, StartManner};
use crate::terminal::units;

/// A machine with a supervisor that carries nothing out, and writes down what it would.
pub(super) struct Master {
    pub(super) machine: Machine,
    pub(super) now: Instant,
    next_pid: u32,
    /// The slots whose processes cannot be started.
    pub(super) broken: Vec<&'static str>,
    /// Whether listeners can be handed over.
    pub(super) lends: bool,
    callers: Vec<(&'static str, Answers, Receiver)>,
    /// All that was done, and how much of it was looked at.
    pub(super) done: Vec<String>,
    pub(super) seen: usize,
    pub(super) stopped: bool,
    /// What the last process was started from.
    pub(super) source: Option<Source>,
    /// The processes that wait for what they take over when they are ready.
    dormant: BTreeSet<WorkerKey>,
}

pub(super) fn service(name: &str, count: usize) -> Description {
    Description { count, ..Description::new(name, "text") }
}

impl Master {
    /// Returns one whose slots have not been started.
    pub(super) fn new(services: Vec<Description>) -> Self {
        let (now, slots) = (Instant::now(), Slots::new(Config::new("test".to_owned()), services));
        let (report, receiver) = Answers::channel();
        Self {
            machine: Machine::new(slots, report.clone(), || 0.5, now),
            now,
            next_pid: 100,
            broken: Vec::new(),
            lends: true,
            callers: vec![("start", report, receiver)],
            done: Vec::new(),
            seen: 0,
            stopped: false,
            source: None,
            dormant: BTreeSet::new(),
        }
    }

    /// Returns one that is up.
    pub(super) fn up(services: Vec<Description>) -> Self {
        let mut master = Self::new(services);
        master.begin();
        master.all_ready();
        assert_eq!(master.machine.stage(), ShownState::Up);
        master
    }

    pub(super) fn begin(&mut self) -> Vec<String> {
        let first = self.machine.begin();
        self.carry_out(first);
        self.turn()
    }

    pub(super) fn slot(&self, name: &str) -> SlotId {
        self.machine.slots.named(Some(name)).unwrap().unwrap()[0]
    }

    /// Returns a process by its slot and generation: `echo/0#1`.
    pub(super) fn key(&self, name: &str) -> WorkerKey {
        let (slot, generation) = name.split_once('#').unwrap();
        WorkerKey { slot: self.slot(slot), generation: generation.parse().unwrap() }
    }

    pub(super) fn name(&self, key: WorkerKey) -> String {
        format!("{}#{}", self.machine.slots[key.slot].name, key.generation)
    }

    /// Returns where a caller of this name is answered.
    pub(super) fn caller(&mut self, name: &'static str) -> Answers {
        let (answers, receiver) = Answers::channel();
        self.callers.push((name, answers.clone(), receiver));
        answers
    }

    pub(super) fn carry_out(&mut self, actions: impl IntoIterator<Item = MasterAction>) {
        for action in actions {
            let text = match action {
                MasterAction::Start(key, source, manner) => {
                    self.source = Some(source);
                    if manner == StartManner::Dormant {
                        self.dormant.insert(key);
                    }
                    let name = self.name(key);
                    let slot = &*self.machine.slots[key.slot].name;
                    let is_broken = self.broken.contains(&slot);
                    let outcome =
                        if is_broken { Err("no program".to_owned()) } else { Ok(self.next_pid) };
                    self.next_pid += 1;
                    self.done.push(format!("start {name}"));
                    let next = self.machine.started(key, outcome, self.now);
                    self.carry_out(next);
                    continue;
                }
                MasterAction::Lend { lender, nth, to } => {
                    let lender_name = &self.machine.slots[lender].name;
                    self.done.push(format!("lend {lender_name}:{nth} to {}", self.name(to)));
                    let next = self.machine.lent(lender, nth, self.lends);
                    self.carry_out(next);
                    continue;
                }
                MasterAction::Park { slot, nth } => {
                    format!("park {}:{nth}", self.machine.slots[slot].name)
                }
                MasterAction::Tell(key, message) => {
                    let name = self.name(key);
                    match message {
                        ToWorker::Drain { limit, .. } => {
                            format!("drain {name} {}", units::limit(limit))
                        }
                        ToWorker::Stop { .. } => format!("stop {name}"),
                        ToWorker::Reload { .. } => format!("reload {name}"),
                        ToWorker::Status { .. } => format!("ask {name}"),
                        ToWorker::Return { lender } => format!("return {lender} from {name}"),
                        other => panic!("{other:?}"),
                    }
                }
                MasterAction::HandOver { from, to } => {
                    format!("hand over {} to {}", self.name(from), self.name(to))
                }
                MasterAction::Serves(_) => continue,
                MasterAction::Kill(key) => format!("kill {}", self.name(key)),
                MasterAction::Answer(to, answer) => {
                    to.give(answer);
                    continue;
                }
                MasterAction::Up(report) => {
                    report.done(ExitCode::Ok, "up");
                    continue;
                }
                MasterAction::Reloading => "reloading".to_owned(),
                MasterAction::Exited(exit) => format!("exited {}: {}", exit.slot, exit.reason),
                MasterAction::Stopped(ProgramEnd { code, failure }) => {
                    self.stopped = true;
                    format!("stopped {code:?} {}", failure.unwrap_or_default())
                        .trim_end()
                        .to_owned()
                }
            };
            self.done.push(text);
        }
    }

    /// Does what is due; returns what was done since the last look.
    pub(super) fn turn(&mut self) -> Vec<String> {
        if !self.stopped {
            let actions = self.machine.advance(self.now);
            self.carry_out(actions);
            let actions = self.machine.tend_listeners(self.now);
            self.carry_out(actions);
        }
        let seen = std::mem::replace(&mut self.seen, self.done.len());
        self.done[seen..].to_vec()
    }

    /// Returns all that is done from this event on until nothing is due.
    pub(super) fn record(&mut self, happen: fn(&mut Self)) -> Vec<String> {
        let from = self.done.len();
        happen(self);
        self.settle();
        self.done[from..].to_vec()
    }

    pub(super) fn ready(&mut self, process: &str) -> Vec<String> {
        let dormant = self.dormant.contains(&self.key(process));
        let formats = Some(RecordFormats { oldest: 1, newest: 1 });
        let services = Vec::new();
        self.says(process, FromWorker::Ready { services, briefing: None, formats, dormant })
    }

    pub(super) fn says(&mut self, process: &str, message: FromWorker) -> Vec<String> {
        let actions = self.machine.said(self.key(process), message, self.now);
        self.carry_out(actions);
        self.turn()
    }

    /// Ends a process with this raw wait status: a code times 256, or a signal.
    pub(super) fn ends(&mut self, process: &str, raw: i32) -> Vec<String> {
        let status = Some(ExitStatus::from_raw(raw));
        let actions = self.machine.exited(self.key(process), status, None, self.now);
        self.carry_out(actions);
        self.turn()
    }

    pub(super) fn later(&mut self, time: Duration) -> Vec<String> {
        self.now += time;
        self.turn()
    }

    pub(super) fn reload(
        &mut self,
        caller: &'static str,
        manner: Manner,
        only: Option<&str>,
    ) -> Vec<String> {
        let answers = Some(self.caller(caller));
        let only = self.machine.slots.named(only).unwrap();
        let actions = self.machine.reload(manner, None, only, answers, self.now);
        self.carry_out(actions);
        self.turn()
    }

    pub(super) fn stop(
        &mut self,
        caller: &'static str,
        manner: Manner,
        limit: Option<u64>,
    ) -> Vec<String> {
        let (answers, limit) = (Some(self.caller(caller)), limit.map(Duration::from_secs));
        let actions = self.machine.stop(manner, limit, answers, self.now);
        self.carry_out(actions);
        self.turn()
    }

    pub(super) fn signal(&mut self, wish: SignalMeaning) -> Vec<String> {
        let actions = self.machine.wished(wish, self.now);
        self.carry_out(actions);
        self.turn()
    }

    /// Returns what this caller was answered since the last look: of each process its last step.
    pub(super) fn answered(&mut self, caller: &str) -> Vec<String> {
        let (.., answers, receiver) =
            self.callers.iter_mut().find(|(name, ..)| *name == caller).unwrap();
        answers.give(Answer::Note { text: "that is all".to_owned() });
        let answers = std::iter::from_fn(|| receiver.blocking_recv());
        let answers = answers.map(|answer| match answer {
            Answer::Note { text } => text,
            Answer::Done { code, text } => format!("{code:?}: {text}"),
            Answer::Progress(step) => format!("{} {:?}", step.slot, step.step),
            other => panic!("{other:?}"),
        });
        answers.take_while(|text| text != "that is all").collect()
    }

    /// As [`Master::answered`], without steps.
    pub(super) fn told(&mut self, caller: &str) -> Vec<String> {
        let answered = self.answered(caller).into_iter();
        let is_step = |text: &String| text.contains('/') && text.split(' ').count() == 2;
        answered.filter(|text| !is_step(text)).collect()
    }

    /// Has every process that starts get ready.
    pub(super) fn all_ready(&mut self) {
        let starting = |worker: &&SlotWorker| matches!(worker.state, WorkerState::Starting(_));
        let keys: Vec<_> =
            self.machine.slots.workers().filter(starting).map(|one| one.key).collect();
        for key in keys {
            self.ready(&self.name(key));
        }
    }

    /// Lets time pass in which no process answers a question.
    pub(super) fn silent(&mut self, time: Duration) {
        for _ in 0..time.as_secs() {
            let actions = self.machine.look_for_life();
            self.carry_out(actions);
            self.later(PERIOD);
        }
    }

    /// Has every process that waits for it take over what the one before it serves, which has ended if it is
    /// not there.
    fn all_take_over(&mut self) {
        let waits = |worker: &&SlotWorker| matches!(worker.state, WorkerState::Dormant(_));
        let keys: Vec<_> = self.machine.slots.workers().filter(waits).map(|one| one.key).collect();
        for key in keys {
            let old = self.machine.slots[key.slot].workers.iter().find(|old| old.is_ready());
            match old.map(|old| old.key) {
                Some(old) => {
                    let report = HandedOver { moved: 7, ..HandedOver::default() };
                    self.says(&self.name(old), FromWorker::HandedOver { report });
                    self.says(&self.name(key), FromWorker::TookOver);
                }
                None => drop(self.ends(&self.name(key), 1 << 8)),
            }
        }
    }

    /// Has every process that was asked for a sign of life answer.
    fn all_answer(&mut self) {
        let keys: Vec<_> = self.machine.slots.workers().map(|worker| worker.key).collect();
        for key in keys {
            self.machine.answered(key);
        }
        self.turn();
    }

    /// Goes on with processes that do as they are told, and with time, until nothing is due.
    pub(super) fn settle(&mut self) {
        for _ in 0..100 {
            self.all_ready();
            self.all_take_over();
            self.all_answer();
            let leaving = self.machine.slots.workers().find(|worker| worker.is_leaving());
            if let Some(worker) = leaving {
                let (key, raw) = (worker.key, if worker.evidence.killed.is_some() { 9 } else { 0 });
                self.ends(&self.name(key), raw);
            } else if let Some(deadline) = self.machine.deadline(self.now) {
                self.now = self.now.max(deadline);
                self.turn();
            } else {
                return;
            }
        }
        panic!("something is due for ever: {:?}", self.machine);
    }

    /// Makes sure that nothing is left to be done, and that each caller was told the end once.
    #[track_caller]
    pub(super) fn check_rest(&mut self, case: &str) {
        self.check_rest_of_slots(case);
        let is_end = |text: &&String| {
            ["Ok: ", "Failed: ", "Killed: "].iter().any(|code| text.starts_with(code))
        };
        for caller in self.callers.iter().map(|(name, ..)| *name).collect::<Vec<_>>() {
            let told = self.answered(caller);
            assert_eq!(told.iter().filter(is_end).count(), 1, "{case}: {caller}: {told:?}");
            assert!(told.last().is_some_and(|last| is_end(&last)), "{case}: {caller}: {told:?}");
        }
    }

    #[track_caller]
    pub(super) fn check_rest_of_slots(&mut self, case: &str) {
        self.settle();
        let slots = self.machine.slots.iter();
        let slots: Vec<_> = slots.map(|(_, slot)| (slot.is_ready(), slot.workers.len())).collect();
        if self.stopped {
            assert!(slots.iter().all(|slot| *slot == (false, 0)), "{case}: {:?}", self.machine);
        } else {
            assert_eq!(self.machine.stage(), ShownState::Up, "{case}");
            assert!(slots.iter().all(|slot| *slot == (true, 1)), "{case}: {:?}", self.machine);
            assert!(self.machine.slots.iter().all(|(_, slot)| slot.loan.is_none()), "{case}");
        }
    }
}

pub(super) const PLAIN: Manner = Manner::Plain;
pub(super) const GRACEFUL: Manner = Manner::Graceful;

pub(super) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(super) type Happens = (&'static str, fn(&mut Master));
