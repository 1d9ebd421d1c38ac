//! The program under attack: where its services are, which processes it has, and what they hold.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};
use lineman_testkit::{Process, Status};
use lineman_tests::certificates::Pair;
use lineman_tests::programs::{self, Server};
use tokio::time::{Duration, Instant, sleep};

/// How much more than before the attack, in percent, a process may hold after it.
const MORE_PERCENT: u64 = 20;

/// What it may hold beside that: pages that were touched for the first time, some of them kept by the
/// allocator. In a process of a few MiB a share alone says nothing.
pub(crate) const ALLOWANCE: u64 = 8 * 1024 * 1024;

/// How long memory may take to come back.
const RETURN_LIMIT: Duration = Duration::from_secs(10);

/// How many businesses there are, each linked to the one gateway.
const BUSINESSES: u64 = 2;

/// What each slot holds, in bytes.
pub(crate) type Memory = BTreeMap<String, u64>;

/// A program that runs.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) server: Server,
    pub(crate) status: Status,
    pub(crate) plain: String,
    pub(crate) secure: String,
    pub(crate) datagrams: String,
    pub(crate) links: String,
}

impl Target {
    pub(crate) async fn started(pair: &Pair) -> Result<Self> {
        let server = programs::siege(pair)?.knob("LINEMAN_LOG", "warn").knob("RUST_BACKTRACE", "0");
        let server = server.started().await?;
        let linked = |status: &Status| {
            status.gauge("gateway", "links") == BUSINESSES
                && status.gauge("business", "links") == BUSINESSES
        };
        let status = server.program.until("businesses to be linked", linked).await?;
        let at = |service: &str, label: &str| -> Result<String> {
            let found = status.listen(service, label).next();
            Ok(found.with_context(|| format!("{service} says no address for {label}"))?.to_owned())
        };
        Ok(Self {
            plain: at("plain", "clients")?,
            secure: at("secure", "clients")?,
            datagrams: at("datagrams", "clients")?,
            links: at("gateway", "links")?,
            status,
            server,
        })
    }

    /// Returns where clients reach the gateway.
    pub(crate) fn gateway(&self) -> String {
        self.server.port.address()
    }

    /// Returns the processes of all slots, as they were at the start.
    pub(crate) fn processes(&self) -> Result<Vec<(String, Process)>> {
        let slots = self.status.slots.iter();
        slots
            .filter_map(|slot| Some((slot, slot.pid?)))
            .map(|(slot, pid)| Ok((slot.slot.clone(), Process::open(pid)?)))
            .collect()
    }

    /// Returns what each slot's process holds.
    pub(crate) async fn memory(&self) -> Result<Memory> {
        let status = self.server.program.status().await?;
        let held = status.slots.iter().filter_map(|slot| {
            let bytes = Process::open(slot.pid?).ok()?.resident_bytes().ok()?;
            Some((slot.slot.clone(), bytes))
        });
        Ok(held.collect())
    }

    /// Waits for each slot to hold no more than it may after an attack, and returns what each holds
    /// then, or at the limit.
    pub(crate) async fn memory_returned(&self, before: &Memory) -> Memory {
        let limit = Instant::now() + RETURN_LIMIT;
        loop {
            let now = self.memory().await.unwrap_or_default();
            let is_back = before
                .iter()
                .all(|(slot, before)| now.get(slot).is_some_and(|now| *now <= most_after(*before)));
            if is_back || Instant::now() > limit {
                return now;
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Returns the slots whose process is another one than at the start, and why it ended; `master`
    /// if that does not answer.
    pub(crate) async fn deaths(&self) -> Vec<String> {
        let Ok(status) = self.server.program.status().await else {
            return vec!["master".to_owned()];
        };
        let at_start = self.status.slots.iter();
        let changed = at_start.filter_map(|old| {
            let new = status.slot(&old.slot).ok()?;
            let reason = new.last_exit.as_deref().unwrap_or("replaced");
            (new.pid != old.pid).then(|| format!("{}: {reason}", old.slot))
        });
        changed.collect()
    }

    /// Returns how many events the gateway knows to be lost.
    pub(crate) async fn lost_events(&self) -> u64 {
        let status = self.server.program.status().await;
        status.map_or(0, |status| status.gauge("gateway", "lost_events"))
    }

    /// Removes the log, which is printed otherwise when the program is dropped.
    pub(crate) fn forget_log(&self) {
        let entries = fs::read_dir(self.server.program.folder()).into_iter().flatten().flatten();
        let is_log = |path: &std::path::PathBuf| {
            path.extension().is_some_and(|kind| kind == "log" || kind == "out")
        };
        for path in entries.map(|entry| entry.path()).filter(is_log) {
            // What stays is printed.
            drop(fs::remove_file(path));
        }
    }
}

/// Returns how many bytes a process may hold after an attack that held so many before.
pub(crate) fn most_after(before: u64) -> u64 {
    before + before * MORE_PERCENT / 100 + ALLOWANCE
}
