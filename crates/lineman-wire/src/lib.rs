//! Bytes to messages and back: every protocol Lineman speaks, without a socket in sight.
//!
//! The connection table of `lineman-connection` calls it, the links of `lineman-gateway`, and programs of
//! yours that want a codec alone. It never does I/O, reads a clock, or spawns a task. It has the plain data
//! that crosses between a worker and its master as well (`stats`, `ticket_keys`, `briefing`, `handover`).
//! Every decoder takes a buffer that may end anywhere and gives the same messages for any split.

// A peer's bytes never meet an index: each access says what holds if they are too few.
#![warn(clippy::indexing_slicing)]

pub mod protocol;
pub mod text;
pub mod framed;
pub mod raw;
pub mod websocket;
pub mod link;
pub mod php;
pub mod proxy_protocol;
pub mod forwarded;
pub mod socks5;
pub mod http_connect;
pub mod fastcgi;
pub mod stats;
pub mod ticket_keys;
pub mod briefing;
pub mod handover;
pub mod error;

pub use error::{chain, panic_text};
pub use protocol::{BoxError, Protocol, Result};
