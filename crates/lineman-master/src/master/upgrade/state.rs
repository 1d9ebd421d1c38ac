//! What a master leaves to the program that takes its place: plain data with named fields, so that a field can be
//! added without a new format. Descriptors are numbers here.

use std::os::fd::RawFd;

use lineman_wire::handover::RecordFormats;
use lineman_wire::ticket_keys::TicketKeys;
use serde::{Deserialize, Serialize};

use crate::master::Plan;
use crate::service::Endpoint;

/// The format that is written and read.
const FORMAT: u32 = 1;

/// What a program prints that understands what it would be given: one that is no Lineman program at all
/// does not.
pub(in crate::master) const UNDERSTOOD: &str = "lineman: the master's state is understood";

/// All of it. Secret: there are keys in it.
#[derive(Serialize, Deserialize)]
pub(crate) struct MasterState {
    pub(super) format: u32,
    /// Which build has written it.
    pub(super) build: String,
    pub(super) started_at: u64,
    pub(super) running_ms: u64,
    pub(super) lock: RawFd,
    /// The command line's socket.
    pub(super) control: RawFd,
    /// What has written it, to go back to.
    pub(super) executable: RawFd,
    pub(super) keys: TicketKeys,
    pub(super) keys_since_ms: u64,
    #[serde(default)]
    pub(super) fingerprint: Option<String>,
    pub(super) listeners: Vec<ListenerState>,
    pub(super) images: Vec<ImageState>,
    pub(super) slots: Vec<SlotState>,
}

impl std::fmt::Debug for MasterState {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("MasterState").field("format", &self.format).finish_non_exhaustive()
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(in crate::master) struct ListenerState {
    pub(in crate::master) socket: RawFd,
    pub(in crate::master) address: String,
    /// Whether all slots of the service have it.
    pub(in crate::master) is_shared: bool,
    pub(in crate::master) reuses_port: bool,
    /// Whether a service manager opened it.
    pub(in crate::master) is_given: bool,
    /// Device and number of its file.
    #[serde(default)]
    pub(in crate::master) file: Option<(u64, u64)>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(in crate::master) struct ImageState {
    pub(in crate::master) file: RawFd,
    #[serde(default)]
    pub(in crate::master) folder: Option<RawFd>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SlotState {
    pub(super) name: String,
    /// Places in the list of listeners.
    pub(super) listeners: Vec<usize>,
    pub(super) restarts: u64,
    #[serde(default)]
    pub(super) briefing: Option<String>,
    /// Places in the list of executables.
    #[serde(default)]
    pub(super) served: Option<usize>,
    #[serde(default)]
    pub(super) before: Option<usize>,
    pub(super) process: ProcessState,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ProcessState {
    pub(super) pid: u32,
    pub(super) generation: u64,
    /// A place in the list of executables.
    pub(super) image: usize,
    pub(super) control: RawFd,
    /// What it has said and is no whole message yet.
    #[serde(default)]
    pub(super) unread: Vec<u8>,
    #[serde(default)]
    pub(super) formats: Option<RecordFormats>,
    pub(super) running_ms: u64,
    pub(super) ready_ms: u64,
}

impl MasterState {
    pub(super) const FORMAT: u32 = FORMAT;

    /// Reads what another build may have written.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let not_read = |error| format!("cannot read the state of the master before: {error}");
        let Head { format } = serde_json::from_str(text).map_err(not_read)?;
        if format != FORMAT {
            return Err(format!(
                "the master's state has format {format}, and this program reads {FORMAT}"
            ));
        }
        serde_json::from_str(text).map_err(not_read)
    }

    /// Returns the numbers of all descriptors.
    pub(super) fn descriptors(&self) -> Vec<RawFd> {
        let listeners = self.listeners.iter().map(|listener| listener.socket);
        let images =
            self.images.iter().flat_map(|image| [Some(image.file), image.folder]).flatten();
        let controls = self.slots.iter().map(|slot| slot.process.control);
        let own = [self.lock, self.control, self.executable];
        own.into_iter().chain(listeners).chain(images).chain(controls).collect()
    }

    /// Says whether the program that is planned can go on with it.
    pub(super) fn check(&self, plan: &Plan) -> Result<(), String> {
        let planned: Vec<_> = plan
            .services
            .iter()
            .flat_map(|service| {
                (0..service.count).map(move |index| (format!("{}/{index}", service.name), service))
            })
            .collect();
        let changed = |what: &str| format!("{what}: an upgrade cannot change that, use `restart`");
        if planned.len() != self.slots.len() {
            let (has, had) = (planned.len(), self.slots.len());
            return Err(changed(&format!("the program describes {has} processes and {had} run")));
        }
        for ((name, service), slot) in planned.iter().zip(&self.slots) {
            if *name != slot.name || service.listeners.len() != slot.listeners.len() {
                return Err(changed(&format!(
                    "the program describes {name} otherwise than it runs"
                )));
            }
            let listeners = slot.listeners.iter().map(|&place| self.listeners.get(place));
            for (listen, held) in service.listeners.iter().zip(listeners) {
                let held = held.ok_or("the state is not whole")?;
                let held_at =
                    held.address.parse::<Endpoint>().map_err(|error| error.to_string())?;
                let wanted = listen.endpoint().map_err(|error| error.to_string())?;
                let fits = held.is_given
                    || match (wanted.port(), held_at.port()) {
                        (Some(0), Some(_)) => true,
                        (Some(wanted), Some(held)) => held >= wanted,
                        (None, None) => wanted == held_at,
                        _ => false,
                    };
                if !fits {
                    let address = &held.address;
                    return Err(changed(&format!(
                        "{name} listens on {address} and wants {wanted}"
                    )));
                }
            }
            let images = [Some(slot.process.image), slot.served, slot.before];
            if images.into_iter().flatten().any(|place| place >= self.images.len()) {
                return Err("the state is not whole".to_owned());
            }
        }
        Ok(())
    }
}
