//! `sessions`: what is kept with clients, as JSON.

use std::collections::BTreeMap;

use clap::Args;
use lineman_client::{ClientId, Cluster};
use lineman_wire::php;
use serde_json::{Map, Value};

use super::report::CommandReport;
use super::targets::Targets;
use super::{ClusterFlags, CommandFailure};

/// Flags of `sessions`.
#[derive(Debug, Args)]
pub(crate) struct Sessions {
    #[command(flatten)]
    whose: Targets,
    #[command(flatten)]
    pub(super) flags: ClusterFlags,
}

impl Sessions {
    pub(super) fn run(
        &self,
        cluster: &mut Cluster,
        report: &mut CommandReport,
    ) -> Result<(), CommandFailure> {
        let mut stored = BTreeMap::new();
        if self.whose.is_empty() {
            stored = report.known(cluster.stored_sessions()?);
        }
        // Those of a group come together, and those of others one by one.
        let Targets { uids, groups, clients } = &self.whose;
        for group in groups {
            stored.extend(report.known(cluster.stored_sessions_in_group(group)?));
        }
        let few = Targets { uids: uids.clone(), clients: clients.clone(), groups: Vec::new() };
        for id in few.ids(cluster, report)? {
            if let Some(Some(session)) = report.asked(cluster.stored_session(id))? {
                stored.insert(id, session);
            }
        }
        let (mut sessions, mut unreadable) = (Map::new(), Map::new());
        for (id, bytes) in &stored {
            let session = read(bytes).unwrap_or_else(|reason| {
                unreadable.insert(id.to_string(), reason.into());
                Value::Null
            });
            tell(*id, &session, &unreadable, report);
            sessions.insert(id.to_string(), session);
        }
        report.field("sessions", sessions);
        if !unreadable.is_empty() {
            report.field("unreadable", unreadable);
        }
        Ok(())
    }
}

/// Adds the line of a client. JSON has no control characters; others that a terminal would obey are escaped as well.
fn tell(
    id: ClientId,
    session: &Value,
    unreadable: &Map<String, Value>,
    report: &mut CommandReport,
) {
    let text = match unreadable.get(&id.to_string()).and_then(Value::as_str) {
        Some(reason) => format!("cannot be shown: {reason}"),
        None => session.to_string(),
    };
    let escape = |letter: char| {
        // Quotes and backslashes are JSON's own.
        if letter.is_ascii() { letter.to_string() } else { letter.escape_debug().to_string() }
    };
    let text: String = text.chars().map(escape).collect();
    report.line(&format!("{id}\t{text}"));
}

/// Reads a session; an empty one is an empty array, as in PHP.
fn read(bytes: &[u8]) -> Result<Value, String> {
    if bytes.is_empty() {
        return Ok(Value::Array(Vec::new()));
    }
    let value =
        php::unserialize(bytes, php::Limits::default()).map_err(|error| error.to_string())?;
    serde_json::to_value(&value).map_err(|error| error.to_string())
}
