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

mod cluster;
mod send;
mod ask;
mod check;
mod reach;
mod gateway;
mod register;
mod limits;
mod error;

pub use check::{Checked, CheckedKind};
pub use cluster::Cluster;
pub use error::{Error, LateStep};
pub use lineman_wire::link::{Body, ClientId, Incomplete, Missing};

/// What is known from the gateways of the cluster, and which of them gave no answer.
pub type Answers<T> = lineman_wire::link::Answers<T, Error>;
