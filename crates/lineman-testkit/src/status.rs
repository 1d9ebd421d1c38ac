//! What `status --json` says, as far as tests ask for it.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;

/// A program's report about itself.
///
/// Fields that nobody asserts on are left out: `status --json` only ever gains fields.
#[derive(Debug, Clone, Deserialize)]
pub struct Status {
    /// The master's process.
    pub pid: i32,
    /// What the master is doing: `starting`, `up`, `reloading`, `stopping`.
    pub state: String,
    /// The services in the order they were added.
    pub services: Vec<Service>,
    /// The processes: those of a slot one after the other, the serving one first.
    pub slots: Vec<Slot>,
}

/// One service.
#[derive(Debug, Clone, Deserialize)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// The addresses it listens on; with a port for each slot, in the order of the slots.
    pub listen: Vec<Listen>,
}

/// One address of a service.
#[derive(Debug, Clone, Deserialize)]
pub struct Listen {
    /// What it is for: `clients`, `links`.
    pub label: String,
    /// `host:port`, with the port in force.
    pub address: String,
}

/// One process, or one slot that has none.
#[derive(Debug, Clone, Deserialize)]
pub struct Slot {
    /// `service/index`.
    pub slot: String,
    /// The process, if there is one.
    pub pid: Option<i32>,
    /// `starting`, `ready`, `stalled`, `draining`, `stopping`, `backing-off`, `failed`, `stopped`.
    pub state: String,
    /// How many processes were started for the slot up to this one.
    pub generation: u64,
    /// How the slot's last process ended.
    pub last_exit: Option<String>,
    /// Whether the process answered in time; a busy one does not.
    pub answered: bool,
    /// The most its loop was late in about the last minute, in microseconds.
    pub lag_max_us: Option<u64>,
    /// What its service counts.
    pub gauges: BTreeMap<String, u64>,
    /// What its service says is not as it should be, a line each.
    pub remarks: Vec<String>,
    /// Why clients are better off at another machine than at this process, if they are.
    pub unfit: Option<String>,
    /// What its connection table counts, as JSON; null when it did not answer.
    pub stats: serde_json::Value,
}

impl Status {
    /// Returns the serving process of a slot, `service/index`.
    ///
    /// # Errors
    /// When there is no such slot.
    pub fn slot(&self, name: &str) -> Result<&Slot> {
        let found = self.slots.iter().find(|slot| slot.slot == name);
        found.with_context(|| format!("no slot {name} in {self:#?}"))
    }

    /// Returns the addresses of one label, `clients` or `links`, of a service.
    pub fn listen(&self, service: &str, label: &str) -> impl Iterator<Item = &str> {
        let of_service = self.services.iter().filter(move |found| found.name == service);
        let listen = of_service.flat_map(|service| &service.listen);
        listen.filter(move |listen| listen.label == label).map(|listen| listen.address.as_str())
    }

    /// Returns the sum of a gauge over the processes of a service.
    pub fn gauge(&self, service: &str, gauge: &str) -> u64 {
        let of_service = |slot: &&Slot| slot.service() == service;
        let slots = self.slots.iter().filter(of_service);
        slots.filter_map(|slot| slot.gauges.get(gauge)).sum()
    }
}

impl Slot {
    /// Returns the name of its service.
    pub fn service(&self) -> &str {
        self.slot.rsplit_once('/').map_or(&self.slot, |(service, _)| service)
    }

    /// Returns whether its process serves.
    pub fn is_ready(&self) -> bool {
        self.pid.is_some() && self.state == "ready"
    }
}
