//! What `check --cluster` asks: every register, and every gateway's inner port, as a program beside the cluster
//! would. Called by [`crate::Gateway`] and [`crate::Business`] on the command line, where no service runs.

use std::net::SocketAddr;

use lineman::service::ClusterPeer;
use lineman_client::{Checked, CheckedKind, Cluster};
use lineman_wire::link::Secret;

use crate::ClusterSettings;
use crate::discovery::DEFAULT_REGISTER;

/// Asks the registers, the gateways that they list, and those of `also`.
pub(crate) fn peers(
    settings: &ClusterSettings,
    secret_key: &Secret,
    also: &[SocketAddr],
) -> Vec<ClusterPeer> {
    let mut registers = settings.registers.iter().map(String::as_str);
    let first = Cluster::new(registers.next().unwrap_or(DEFAULT_REGISTER));
    let cluster = registers.fold(first, Cluster::register);
    let cluster = cluster.secret_key(secret_key.clone()).link_tls(settings.link_tls);
    let certificates = settings.link_certificates.iter().cloned();
    let cluster = certificates.fold(cluster, Cluster::link_certificates);
    cluster.check(also).into_iter().map(peer).collect()
}

fn peer(checked: Checked) -> ClusterPeer {
    let Checked { role, address, took, outcome } = checked;
    let role = match role {
        CheckedKind::Register => "register",
        CheckedKind::Gateway => "gateway",
    };
    let answer = outcome.map(|list| match (role, list.len()) {
        ("gateway", _) => "takes our key".to_owned(),
        (_, 1) => "lists 1 gateway".to_owned(),
        (_, count) => format!("lists {count} gateways"),
    });
    ClusterPeer { role, address, took, outcome: answer.map_err(|error| error.to_string()) }
}
