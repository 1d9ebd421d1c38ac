//! A link written down for the process that takes over from this one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use lineman_wire::link::{Allowance, Packet};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{Distance, Intake, Link, LinkId, LinkOutlet, Links, Settling};
use crate::gateway::identity::Departed;
use crate::gateway::pulse::Pulse;
use crate::gateway::roll::SharedRoll;
use crate::gateway::router;
use crate::gateway::told::Told;
use crate::gateway::unconfirmed::UnconfirmedWords;
use crate::reach::{LinkReach, Reached};

/// A link, written down.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::gateway) struct SavedLink {
    pub(in crate::gateway) address: SocketAddr,
    key: String,
    extension: bool,
    version: u32,
    distance: Distance,
    settling: Settling,
    most: Allowance,
    share: Allowance,
    state: Intake,
    full: bool,
    told: Option<Told>,
    clients: BTreeSet<u32>,
    departed: BTreeMap<u32, Departed>,
    unconfirmed: UnconfirmedWords,
    heir: Option<LinkId>,
    unwitnessed: BTreeSet<u32>,
    reach: LinkReach,
    reached: Reached,
    #[serde(with = "crate::written")]
    backlog: VecDeque<Packet>,
    pushed: u64,
    leaving: VecDeque<u64>,
    pulse: Pulse,
}

impl Link {
    /// Writes it down.
    pub(in crate::gateway) fn save(&self) -> SavedLink {
        let Self {
            outlet,
            key,
            extension,
            version,
            distance,
            place: _,
            credits: _,
            settling,
            most,
            share,
            state,
            full,
            told,
            clients,
            departed,
            unconfirmed,
            heir,
            unwitnessed,
            reach,
            reached,
            backlog,
            backlog_bytes: _,
            pushed,
            leaving,
            pulse,
        } = self;
        SavedLink {
            address: outlet.peer(),
            key: key.clone(),
            extension: *extension,
            version: *version,
            distance: *distance,
            settling: *settling,
            most: *most,
            share: *share,
            state: *state,
            full: *full,
            told: told.clone(),
            clients: clients.clone(),
            departed: departed.clone(),
            unconfirmed: unconfirmed.clone(),
            heir: *heir,
            unwitnessed: unwitnessed.clone(),
            reach: reach.clone(),
            reached: *reached,
            backlog: backlog.clone(),
            pushed: *pushed,
            leaving: leaving.clone(),
            pulse: pulse.clone(),
        }
    }

    /// Goes on with a link over its connection, and with the roll that its business was told of.
    pub(in crate::gateway) fn restore(
        saved: SavedLink,
        outlet: LinkOutlet,
        roll: &SharedRoll,
        now: Instant,
    ) -> Self {
        let SavedLink {
            address: _,
            key,
            extension,
            version,
            distance,
            settling,
            most,
            share,
            state,
            full,
            mut told,
            clients,
            departed,
            unconfirmed,
            heir,
            unwitnessed,
            reach,
            reached,
            backlog,
            pushed,
            leaving,
            pulse,
        } = saved;
        if let Some(told) = &mut told {
            told.go_on_with(roll);
        }
        let mut link = Self {
            distance,
            settling,
            most,
            state,
            full,
            told,
            clients,
            departed,
            unconfirmed,
            heir,
            unwitnessed,
            reach,
            reached,
            backlog,
            pushed,
            leaving,
            pulse,
            ..Self::new(outlet, key, extension.then_some(version), share, now)
        };
        let length = |packet: &Packet| packet.length_for(link.wire_version(packet)) as u64;
        link.backlog_bytes = link.backlog.iter().map(length).sum();
        link.place = router::place(link.outlet.peer().ip(), link.worker_key());
        link
    }
}

impl Links {
    /// Writes all of them down.
    pub(in crate::gateway) fn save(&self) -> BTreeMap<LinkId, SavedLink> {
        self.0.iter().map(|(id, link)| (*id, link.save())).collect()
    }
}
