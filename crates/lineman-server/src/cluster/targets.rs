//! Whom a command is about: clients by their ids, those of uids, those of groups.

use std::collections::BTreeSet;

use clap::Args;
use lineman_client::{ClientId, Cluster};

use super::CommandFailure;
use super::report::CommandReport;

/// Clients by their names. None of these is everybody.
#[derive(Debug, Default, Args)]
pub(super) struct Targets {
    /// The clients of this uid; for several, several times
    #[arg(long = "uid", value_name = "UID")]
    pub(super) uids: Vec<String>,
    /// The clients in this group; for several, several times
    #[arg(long = "group", value_name = "GROUP")]
    pub(super) groups: Vec<String>,
    /// The client of this id, 20 hex digits; for several, several times
    #[arg(long = "client", value_name = "ID")]
    pub(super) clients: Vec<ClientId>,
}

impl Targets {
    /// Returns whether no client is named.
    pub(super) fn is_empty(&self) -> bool {
        self.uids.is_empty() && self.groups.is_empty() && self.clients.is_empty()
    }

    /// Asks for the clients of the uids and groups; with those that are named by their ids, each once.
    pub(super) fn ids(
        &self,
        cluster: &mut Cluster,
        report: &mut CommandReport,
    ) -> Result<BTreeSet<ClientId>, CommandFailure> {
        let mut ids: BTreeSet<ClientId> = self.clients.iter().copied().collect();
        for uid in &self.uids {
            ids.extend(report.known(cluster.client_ids_by_uid(uid)?));
        }
        if !self.groups.is_empty() {
            ids.extend(report.known(cluster.client_ids_in_groups(&self.groups)?));
        }
        Ok(ids)
    }
}

/// Sees whether the cluster has gateways: without one nothing would be done, and no gateway be missing.
///
/// # Errors
/// It has none.
pub(super) fn need_gateways(cluster: &mut Cluster) -> Result<(), CommandFailure> {
    if cluster.gateways()?.is_empty() {
        return Err(CommandFailure::Command("the registers list no gateway".to_owned()));
    }
    Ok(())
}
