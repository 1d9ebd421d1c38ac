//! Push into a Lineman or `GatewayWorker` cluster from any program: a web server, a job, a shell.
//!
//! Blocking, with nothing but the standard library's sockets; an asynchronous program calls it on a
//! thread for blocking work. What it never does: receive events; that is a `Business`'s part.
//!
//! Machines that answer are served while others do not: what is sent to all reaches the others, and an answer
//! says which gateways are missing in it ([`Answers`]).
//!
//! ```no_run
//! use lineman_client::Cluster;
//!
//! fn main() -> Result<(), lineman_client::Error> {
//!     let mut cluster =
//!         Cluster::new("10.0.0.1:1236").register("10.0.0.2:1236").secret_key("…");
//!     cluster.send_to_uid("ada", "your order has been sent")?;
//!     let online = cluster.client_count()?;
//!     println!("{} clients are online", online.value);
//!     for missing in &online.missing {
//!         println!("and those of {}: {}", missing.gateway, missing.reason);
//!     }
//!     Ok(())
//! }
//! ```
//!
//! Toward `GatewayWorker`'s registers and gateways it is what `GatewayClient` is in PHP:
//!
//! | there | here |
//! |---|---|
//! | `sendToAll` with a list of ids, or with `exclude` | [`Cluster::send_to_clients`], [`Cluster::send_to_all_except`] |
//! | `sendToClient`, `sendToUid`, `sendToGroup` with one or a list | [`Cluster::send_to_client`], [`Cluster::send_to_uids`], [`Cluster::send_to_groups_except`] … |
//! | the argument `raw` | [`Body::Raw`] as the message |
//! | `closeClient($id, $message)`, `destoryClient` | [`Cluster::close_client_with`], [`Cluster::destroy_client`] |
//! | `bindUid`, `unbindUid`, `joinGroup`, `leaveGroup`, `ungroup` | [`Cluster::bind_uid`] … |
//! | `setSession`, `updateSession`, `getSession` | [`Cluster::set_session`], [`Cluster::update_session`], [`Cluster::session`] |
//! | `getAllClientSessions`, `getClientSessionsByGroup` | [`Cluster::sessions`], [`Cluster::sessions_in_group`] |
//! | `isOnline`, `isUidOnline`, `isUidsOnline` | [`Cluster::is_online`], [`Cluster::is_uid_online`], [`Cluster::online_uids`] |
//! | `getClientIdByUid`, `batchGetClientIdByUid`, `getUidByClientId` | [`Cluster::client_ids_by_uid`], [`Cluster::client_ids_by_uids`], [`Cluster::uid_by_client_id`] |
//! | `getAllClientIdList`, `getClientIdListByGroup` with one or a list | [`Cluster::client_ids`], [`Cluster::client_ids_in_groups`] |
//! | `getAllClientIdCount`, `getClientIdCountByGroup`, `batchGetClientIdCountByGroup` | [`Cluster::client_count`], [`Cluster::client_count_in_group`], [`Cluster::client_counts_in_groups`] |
//! | `getAllUidList`, `getUidListByGroup`, and their counts | [`Cluster::uids`], [`Cluster::uids_in_groups`], and `len` |
//! | `getAllGroupIdList` | [`Cluster::groups`] |
//! | `getAllGroupClientIdList`, `getAllGroupUidList`, and their counts | [`Cluster::client_ids_by_group`], [`Cluster::uids_by_group`], and `len` |

mod cluster;
mod send;
mod ask;
mod check;
mod reach;
mod stream;
mod gateway;
mod register;
mod limits;
mod link_tls;
mod error;

pub use check::{Checked, CheckedKind};
pub use cluster::Cluster;
pub use error::{Error, LateStep};
pub use lineman_wire::link::{
    Body, ClientId, Incomplete, Missing, OnlineClient, Secret, is_cluster_name,
};
#[doc(hidden)]
pub use link_tls::LinkConfigs;
pub use link_tls::{LinkCertificates, LinkTls};

/// What is known from the gateways of the cluster, and which of them gave no answer.
pub type Answers<T> = lineman_wire::link::Answers<T, Error>;
