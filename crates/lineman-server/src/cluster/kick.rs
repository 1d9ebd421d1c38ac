//! `kick`: closes clients, with a last message if there is one.

use clap::{ArgGroup, Args};
use lineman_client::{ClientId, Cluster};

use super::report::{CommandReport, clients};
use super::targets::{Targets, need_gateways};
use super::{ClusterFlags, CommandFailure};

/// Flags of `kick`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("whom").required(true).multiple(true).args(["ids", "uids", "groups", "clients"]))]
pub(crate) struct Kick {
    /// The ids of the clients, 20 hex digits each
    #[arg(value_name = "ID")]
    ids: Vec<ClientId>,
    #[command(flatten)]
    whom: Targets,
    /// Send them this before
    #[arg(long, value_name = "TEXT")]
    message: Option<String>,
    /// Drop their connections at once, with what is queued for them
    #[arg(long, conflicts_with = "message")]
    destroy: bool,
    #[command(flatten)]
    pub(super) flags: ClusterFlags,
}

impl Kick {
    pub(super) fn run(
        &self,
        cluster: &mut Cluster,
        report: &mut CommandReport,
    ) -> Result<(), CommandFailure> {
        if !self.whom.uids.is_empty() || !self.whom.groups.is_empty() {
            need_gateways(cluster)?;
        }
        let mut ids = self.whom.ids(cluster, report)?;
        ids.extend(&self.ids);
        let mut kicked = 0;
        for client in ids {
            let outcome = match &self.message {
                _ if self.destroy => cluster.destroy_client(client),
                Some(message) => cluster.close_client_with(client, message),
                None => cluster.close_client(client),
            };
            kicked += usize::from(report.asked(outcome)?.is_some());
        }
        report.line(&format!("{} kicked", clients(kicked)));
        report.field("kicked", kicked);
        Ok(())
    }
}
