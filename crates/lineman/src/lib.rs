//! Lineman: servers that hold long-lived connections, as one program that is a master and its
//! worker processes.
//!
//! ```no_run
//! use lineman::prelude::*;
//!
//! fn main() -> Result {
//!     Worker::websocket("0.0.0.0:2346")
//!         .on_message(async |connection, message| connection.send(message))
//!         .run()
//! }
//! ```
//!
//! What stands between the network and the handlers is said beside them:
//!
//! ```no_run
//! use lineman::connection::{Limits, Proxies, Rate};
//! use lineman::prelude::*;
//! use lineman::tls::Tls;
//! use lineman::websocket::{Deflate, Origins};
//! use std::time::Duration;
//!
//! fn main() -> Result {
//!     let limits = Limits {
//!         connections: 50_000,
//!         connections_per_address: 100,
//!         message_rate: Some(Rate::per_second(50).burst(200)),
//!         ..Limits::default()
//!     };
//!     Worker::websocket("[::]:443")
//!         .tls(Tls::files("example.org.pem", "example.org.key"))
//!         .proxies(Proxies::trust("10.0.0.0/8".parse()?).proxy_protocol())
//!         .origins(Origins::list(["https://example.org"]))
//!         .subprotocols(["chat"])
//!         .compression(Deflate::new())
//!         .heartbeat(Duration::from_secs(30))
//!         .limits(limits)
//!         .on_message(async |connection, message| connection.send(message))
//!         .run()
//! }
//! ```

pub mod app;
pub mod activity;
pub mod worker;
pub mod connection;
pub mod outgoing;
pub mod timer;
mod blocking;
mod limit;
pub mod http;
pub mod tls;
pub mod service;
pub mod config;
mod networks;
mod self_signed;
mod error;
mod master;
mod process;
mod program;
mod inside;
mod control;
mod command;
mod terminal;
mod os;

/// Lineman's verbs and flags as data for clap: for programs with flags of their own.
pub mod cli {
    pub use crate::command::arguments::{
        Arguments, Completions, Connections, Format, Leave, Reload, Restart, Start, Verb,
        after_help,
    };
    pub use crate::command::log_flags::LogFlags;
    pub use crate::command::logs::Logs;
}

pub use app::App;
pub use blocking::blocking;
pub use config::Watchdog;
pub use connection::{Table, websocket};
pub use error::{BoxError, Error, Result};
pub use http::Limits as HttpLimits;
pub use master::{ExitReason, WorkerExit};
pub use networks::{Networks, NetworksError};
pub use outgoing::Outgoing;
pub use terminal::log::Format as LogFormat;
pub use worker::Worker;

/// What a program of Lineman's begins with: `use lineman::prelude::*;`.
pub mod prelude {
    pub use crate::connection::{CloseReason, Connection, SendError, WebSocket};
    pub use crate::{App, Outgoing, Result, Worker, blocking, timer};
    pub use bytes::{Bytes, BytesMut};
    pub use lineman_wire::Protocol;
    pub use lineman_wire::framed::Framed;
    pub use lineman_wire::raw::Raw;
    pub use lineman_wire::text::Text;
    pub use lineman_wire::websocket::Message;
}
