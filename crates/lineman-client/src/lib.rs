//! Push into a Lineman or `GatewayWorker` cluster from any program: a web server, a job, a shell.
//!
//! Blocking, with nothing but the standard library's sockets; an asynchronous program calls it on a
//! thread for blocking work. What it never does: receive events; that is a `Business`'s part.
//!
//! ```no_run
//! use lineman_client::Cluster;
//!
//! fn main() -> Result<(), lineman_client::Error> {
//!     let mut cluster = Cluster::new("127.0.0.1:1236").secret_key("…");
//!     cluster.send_to_uid("ada", "your order has been sent")?;
//!     println!("{} clients are online", cluster.client_count()?);
//!     Ok(())
//! }
//! ```

mod cluster;
mod error;
mod gateway;
mod register;

pub use cluster::Cluster;
pub use error::Error;
pub use lineman_wire::link::{Body, ClientId};
