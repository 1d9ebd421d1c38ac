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
pub mod worker;
pub mod service;
mod inside;
mod error;

pub mod cli {
    //! Lineman's verbs and flags as data for clap: for programs with flags of their own.
    //!
    //! A program with flags has [`Arguments`](crate::cli::Arguments) beside them:
    //!
    //! ```no_run
    //! use clap::{CommandFactory, Parser};
    //! use lineman::prelude::*;
    //!
    //! #[derive(Parser)]
    //! #[command(after_help = lineman::cli::after_help("greeter"))]
    //! struct Options {
    //!     /// What to answer
    //!     #[arg(long, default_value = "hello")]
    //!     greeting: String,
    //!     #[command(flatten)]
    //!     lineman: lineman::cli::Arguments,
    //! }
    //!
    //! fn main() -> Result {
    //!     let Options { greeting, lineman } = Options::parse();
    //!     let worker = Worker::text("0.0.0.0:1234").on_message(async move |connection, _line| {
    //!         connection.send(greeting.clone())
    //!     });
    //!     App::new().name("greeter").service(worker).run_command(lineman.within(Options::command()))
    //! }
    //! ```
    //!
    //! One with verbs has [`Verb`](crate::cli::Verb) among them:
    //!
    //! ```no_run
    //! use clap::{Parser, Subcommand};
    //! use lineman::prelude::*;
    //!
    //! #[derive(Parser)]
    //! struct Options {
    //!     #[command(subcommand)]
    //!     verb: Verb,
    //! }
    //!
    //! #[derive(Subcommand)]
    //! enum Verb {
    //!     /// Bring the database up to date
    //!     Migrate,
    //!     #[command(flatten)]
    //!     Lineman(lineman::cli::Verb),
    //! }
    //!
    //! fn main() -> Result {
    //!     let app = App::new().service(Worker::text("0.0.0.0:1234"));
    //!     match Options::parse().verb {
    //!         Verb::Migrate => Ok(()),
    //!         Verb::Lineman(verb) => app.run_command(verb.into()),
    //!     }
    //! }
    //! ```

    pub use lineman_master::command::arguments::{
        Arguments, Completions, Connections, Format, Leave, Reload, Restart, Start, Verb,
        after_help, after_help_with, is_variable, variables,
    };
    pub use lineman_master::command::duration::parse as parse_duration;
    pub use lineman_master::command::log_flags::LogFlags;
    pub use lineman_master::command::logs::Logs;
    pub use lineman_master::command::size::parse as parse_size;
}

pub use app::App;
pub use error::{BoxError, Error, Result};
pub use lineman_connection::http::Limits as HttpLimits;
#[doc(hidden)]
pub use lineman_connection::work;
pub use lineman_connection::{
    Error as ConnectionError, Networks, NetworksError, Outgoing, Table, activity, blocking,
    connection, http, outgoing, timer, tls, websocket,
};
pub use lineman_master::config::{self, Watchdog};
pub use lineman_master::master::hooks::Renewed;
pub use lineman_master::master::{ExitReason, WorkerExit};
pub use lineman_master::process::handed_over;
pub use lineman_master::{Error as MasterError, LogFormat};
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
