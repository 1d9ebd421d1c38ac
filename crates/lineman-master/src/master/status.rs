//! What the master says about itself: the start table, `status`, `connections`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::event::MasterEvent;
use super::slot::{SlotId, SlotWorker, WorkerKey};
use super::supervisor::Supervisor;
use crate::control::ExitCode;
use crate::control::answers::Answers;
use crate::control::message::FromWorker;
use crate::control::report::{
    ListenReport, ServiceReport, SlotReport, StartReport, StatusReport, Totals,
};
use crate::control::request::Answer;
use crate::os::procfs;
use crate::service::{Ports, Reload};

/// How many rows of `connections` a worker gives at a time: about 50 µs of its loop, and 150 KB on
/// the socket.
pub(super) const SLICE: usize = 512;

/// How many lists are given at a time: what waits for their readers stays below a few megabytes, and
/// most of the places for callers stay free.
pub(super) const LISTS: usize = 16;

/// How long a worker may take to answer before it is shown as busy.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

impl Supervisor {
    /// Returns what `start` shows.
    pub(super) fn start_report(&self) -> StartReport {
        StartReport {
            lineman: env!("CARGO_PKG_VERSION").to_owned(),
            program: self.machine.slots.config.name.clone(),
            pid: self.holder.pid,
            services: self.service_reports(),
            self_signed: self.tls.fingerprint(),
        }
    }

    /// Answers `status`: the workers are asked side by side, in a task of its own.
    pub(super) fn report_status(&mut self, answers: Answers) {
        let report = StatusReport {
            lineman: env!("CARGO_PKG_VERSION").to_owned(),
            program: self.machine.slots.config.name.clone(),
            executable: self.program.display().to_string(),
            pid: self.holder.pid,
            state: self.machine.stage().name().to_owned(),
            started_at: self.holder.started_at,
            uptime_ms: millis(self.started.elapsed()),
            load: procfs::load(),
            log: self.log_files.path(),
            services: self.service_reports(),
            slots: Vec::new(),
            totals: Totals::default(),
        };
        let mut slots = Vec::new();
        for id in self.machine.slots.ids() {
            for (entry, key) in self.slot_entries(id) {
                let status = key.map(|key| self.ask_status(key));
                slots.push((entry, status));
            }
        }
        // Ends after the answer limit at the latest.
        tokio::spawn(finish_status(report, slots, answers));
    }

    /// Answers `connections` in slices, in a task of its own: a slice is asked for when the caller
    /// has taken the one before, so a caller that does not read costs two slices and no more.
    pub(super) fn list_connections(&mut self, wanted: Option<&str>, answers: Answers) {
        let named = match self.machine.slots.named(wanted) {
            Ok(named) => named,
            Err(unknown) => return answers.done(ExitCode::Failed, unknown),
        };
        let Ok(place) = Arc::clone(&self.lists).try_acquire_owned() else {
            let text = format!("{LISTS} lists of connections are being read: end one of them");
            return answers.done(ExitCode::Failed, text);
        };
        let mut processes = Vec::new();
        for (id, slot) in self.machine.slots.iter() {
            if named.as_ref().is_none_or(|named| named.contains(&id)) {
                let workers = slot.workers.iter();
                processes.extend(workers.map(|worker| (worker.key, slot.name.clone(), worker.pid)));
            }
        }
        // Ends with the last slice, or when the caller is gone.
        let list = list(processes, self.events.clone(), answers);
        tokio::spawn(async move {
            list.await;
            drop(place);
        });
    }

    fn service_reports(&self) -> Vec<ServiceReport> {
        let slots = &self.machine.slots;
        slots
            .services()
            .map(|(id, service)| {
                let mut listen = Vec::new();
                for (nth, described) in service.listeners.iter().enumerate() {
                    let count = if described.ports == Ports::PerSlot { service.count } else { 1 };
                    let ids = slots.ids().filter(|slot| slots[*slot].service == id).take(count);
                    let sockets = ids.filter_map(|slot| self.listeners.get(&slot)?.get(nth));
                    listen.extend(sockets.map(|socket| ListenReport {
                        label: described.label.to_owned(),
                        address: socket.address().to_string(),
                        scheme: described.scheme.to_owned(),
                        page: described.page,
                    }));
                }
                let reload = match service.reload {
                    Reload::Replace => "replace",
                    Reload::HandOver => "hand-over",
                    Reload::Keep => "keep",
                };
                ServiceReport {
                    name: service.name.clone(),
                    kind: service.kind.to_owned(),
                    listen,
                    processes: service.count,
                    ready: slots.of(id).filter(|slot| slot.is_ready()).count(),
                    reload: reload.to_owned(),
                }
            })
            .collect()
    }

    fn slot_entries(&self, id: SlotId) -> Vec<(SlotReport, Option<WorkerKey>)> {
        let (slot, now) = (&self.machine.slots[id], Instant::now());
        let next_start = slot.outlook.next_start().filter(|_| slot.is_vacant());
        let empty = SlotReport {
            name: slot.name.clone(),
            service: self.machine.slots.service(id).name.clone(),
            index: slot.index,
            pid: None,
            state: slot.outlook.name().to_owned(),
            generation: slot.generation,
            build: None,
            formats: None,
            uptime_ms: None,
            restarts: slot.restarts,
            failures: slot.failures(now),
            next_start_in_ms: next_start.map(|at| millis(at.saturating_duration_since(now))),
            last_exit: slot.last_exit.as_ref().map(|last| last.reason.to_string()),
            last_exit_ago_ms: slot.last_exit.as_ref().map(|last| millis(last.at.elapsed())),
            answered: false,
            stats: None,
            gauges: std::collections::BTreeMap::new(),
            remarks: Vec::new(),
            unfit: None,
            memory_bytes: None,
            cpu_ms: None,
            lag_p99_us: None,
            lag_max_us: None,
        };
        if slot.workers.is_empty() {
            return vec![(empty, None)];
        }
        let entry = |worker: &SlotWorker| {
            let entry = SlotReport {
                pid: Some(worker.pid),
                state: worker.shown_state().to_owned(),
                generation: worker.key.generation,
                build: self.processes.get(&worker.key).map(|process| process.image.build()),
                formats: worker.formats,
                uptime_ms: Some(millis(worker.started.elapsed())),
                ..empty.clone()
            };
            (entry, Some(worker.key))
        };
        slot.workers.iter().map(entry).collect()
    }
}

async fn finish_status(
    mut status: StatusReport,
    slots: Vec<(SlotReport, Option<oneshot::Receiver<FromWorker>>)>,
    answers: Answers,
) {
    let end = tokio::time::Instant::now() + ANSWER_LIMIT;
    for (mut entry, answer) in slots {
        if let Some(answer) = answer
            && let Ok(Ok(FromWorker::Status { stats, gauges, lag, condition, .. })) =
                tokio::time::timeout_at(end, answer).await
        {
            entry.answered = true;
            entry.stats = Some(*stats);
            entry.gauges = gauges;
            (entry.remarks, entry.unfit) = (condition.remarks, condition.unfit);
            entry.lag_p99_us = Some(lag.p99_us);
            entry.lag_max_us = Some(lag.max_us);
        }
        if let Some(usage) = entry.pid.and_then(procfs::usage) {
            entry.memory_bytes = Some(usage.memory);
            entry.cpu_ms = Some(millis(usage.cpu));
        }
        status.slots.push(entry);
    }
    status.totals = Totals::of(&status.slots);
    answers.give(Answer::Status(Box::new(status)));
    answers.done(ExitCode::Ok, "");
}

async fn list(
    processes: Vec<(WorkerKey, String, u32)>,
    events: mpsc::Sender<MasterEvent>,
    answers: Answers,
) {
    let longest = processes.iter().map(|(_, slot, _)| slot.chars().count()).max().unwrap_or(0);
    for (worker, slot, pid) in processes {
        let mut from = Some(0);
        while let Some(begin) = from {
            let (answer, receiver) = oneshot::channel();
            if events.send(MasterEvent::Slice { worker, from: begin, answer }).await.is_err() {
                return;
            }
            let answer = tokio::time::timeout(ANSWER_LIMIT, receiver).await;
            let Ok(Ok(FromWorker::Rows { rows, next, .. })) = answer else {
                let text = format!("{slot} (pid {pid}) does not answer: it is busy or starting");
                answers.give(Answer::Note { text });
                break;
            };
            from = next;
            let slice = Answer::Rows { slot: slot.clone(), pid, rows, longest };
            if !answers.give_patiently(slice).await {
                return;
            }
        }
    }
    answers.done(ExitCode::Ok, "");
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
