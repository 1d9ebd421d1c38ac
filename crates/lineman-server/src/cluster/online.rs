//! `online`: how many clients there are, which, and whether some are.

use std::collections::BTreeMap;

use clap::Args;
use lineman_client::{ClientId, Cluster, OnlineClient};
use serde_json::{Map, Value, json};

use super::report::{CommandReport, clients, shown};
use super::targets::Targets;
use super::{ClusterFlags, CommandFailure};

/// Flags of `online`.
#[derive(Debug, Args)]
pub(crate) struct Online {
    #[command(flatten)]
    whose: Targets,
    /// List the clients, instead of counting them
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    pub(super) flags: ClusterFlags,
}

impl Online {
    pub(super) fn run(
        &self,
        cluster: &mut Cluster,
        report: &mut CommandReport,
    ) -> Result<(), CommandFailure> {
        match (self.whose.is_empty(), self.list) {
            (true, true) => return list_all(cluster, report),
            (true, false) => return count_all(cluster, report),
            (false, _) => {}
        }
        let Targets { uids, groups, clients } = &self.whose;
        if !uids.is_empty() {
            let found = report.known(cluster.client_ids_by_uids(uids)?);
            self.tell("uid", found, report);
        }
        if !groups.is_empty() && self.list {
            let mut found = BTreeMap::new();
            for group in groups {
                found.insert(group.clone(), report.known(cluster.client_ids_in_group(group)?));
            }
            self.tell("group", found, report);
        } else if !groups.is_empty() {
            let counts = report.known(cluster.client_counts_in_groups(groups)?);
            let counts = counts
                .into_iter()
                .map(|(group, count)| (group, usize::try_from(count).unwrap_or(usize::MAX)));
            tell_counts("group", counts.collect(), report);
        }
        if !clients.is_empty() {
            ask_of(clients, cluster, report)?;
        }
        report.field("online", report.verdict());
        Ok(())
    }

    /// Tells of the clients of uids or groups.
    fn tell(&self, kind: &str, found: BTreeMap<String, Vec<ClientId>>, report: &mut CommandReport) {
        if !self.list {
            let counts = found.into_iter().map(|(name, ids)| (name, ids.len()));
            return tell_counts(kind, counts.collect(), report);
        }
        let mut lists = Map::new();
        for (name, ids) in found {
            report.answer(!ids.is_empty());
            for id in &ids {
                report.line(&format!("{id}\t{kind} {}", shown(&name)));
            }
            let ids: Vec<_> = ids.iter().map(ToString::to_string).collect();
            lists.insert(name, ids.into());
        }
        report.field(&format!("{kind}s"), lists);
    }
}

fn tell_counts(kind: &str, counts: BTreeMap<String, usize>, report: &mut CommandReport) {
    for (name, &count) in &counts {
        report.answer(count > 0);
        let state = match count {
            0 if report.is_partial() => "not known".to_owned(),
            0 => "not connected".to_owned(),
            count => clients(count),
        };
        report.line(&format!("{kind} {}: {state}", shown(name)));
    }
    let counts: Map<String, Value> =
        counts.into_iter().map(|(name, count)| (name, count.into())).collect();
    report.field(&format!("{kind}s"), counts);
}

fn ask_of(
    ids: &[ClientId],
    cluster: &mut Cluster,
    report: &mut CommandReport,
) -> Result<(), CommandFailure> {
    let mut answers = Map::new();
    for &id in ids {
        let online = report.asked(cluster.is_online(id))?;
        report.answer(online == Some(true));
        let state = match online {
            Some(true) => "connected",
            Some(false) => "not connected",
            None => "not known",
        };
        report.line(&format!("client {id}: {state}"));
        answers.insert(id.to_string(), online.into());
    }
    report.field("ids", answers);
    Ok(())
}

fn count_all(cluster: &mut Cluster, report: &mut CommandReport) -> Result<(), CommandFailure> {
    let gateways = cluster.gateways()?.len();
    let clients = report.known(cluster.client_count()?);
    let groups = report.known(cluster.groups()?).len();
    report.line(&format!("clients   {clients}\ngroups    {groups}\ngateways  {gateways}"));
    report.field("clients", clients);
    report.field("groups", groups);
    report.field("gateways", gateways);
    Ok(())
}

fn list_all(cluster: &mut Cluster, report: &mut CommandReport) -> Result<(), CommandFailure> {
    let clients = report.known(cluster.clients()?);
    let mut list = Vec::new();
    for OnlineClient { id, uid, groups } in clients {
        let names: Vec<_> = groups.iter().map(|group| shown(group)).collect();
        let name = uid.as_deref().map_or_else(|| "-".to_owned(), shown);
        let names = if names.is_empty() { "-".to_owned() } else { names.join(", ") };
        report.line(&format!("{id}\t{name}\t{names}"));
        list.push(json!({ "id": id.to_string(), "uid": uid, "groups": groups }));
    }
    report.field("clients", list);
    Ok(())
}
