//! Connections: how a worker of Lineman's does I/O. The table and what stands on it: TLS, HTTP,
//! outgoing connections, and the timers and blocking work that handlers use beside them.
//!
//! `lineman` ties it to the processes of `lineman-master`, which it does not know: a table runs in
//! any process with a runtime. What crosses to the master is plain data in `lineman-wire` (`stats`,
//! `ticket_keys`). Programs use all of it through `lineman`; what is public for that crate alone is
//! left out of the documentation.

#[doc(hidden)]
pub mod work;
pub mod connection;
pub mod tls;
pub mod http;
pub mod outgoing;
pub mod timer;
mod blocking;
pub mod activity;
mod networks;
mod error;

use std::pin::Pin;

#[doc(hidden)]
pub use blocking::THREADS as BLOCKING_THREADS;
pub use blocking::blocking;
pub use connection::{Table, websocket};
pub use error::Error;
use lineman_os::{self as os, limit};
pub use lineman_wire::{BoxError, Result};
pub use networks::{Networks, NetworksError};
pub use outgoing::Outgoing;

/// A future of the worker's single thread.
pub type LocalFuture<T> = Pin<Box<dyn Future<Output = T>>>;
