//! Bytes to messages and back: every protocol Lineman speaks, without a socket in sight.
//!
//! Who calls it: the connection table of `lineman`, the links of `lineman-gateway`, and programs
//! of yours that want a codec alone. What it never does: I/O, reading a clock, spawning a task.
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
pub mod stats;
pub mod ticket_keys;
pub mod error;

pub use error::chain;
pub use protocol::{BoxError, Protocol, Result};
