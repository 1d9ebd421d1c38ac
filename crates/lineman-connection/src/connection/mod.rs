//! Connections and the table that holds them: how a worker process does I/O.
//!
//! The path of a message, to be read in this order: `table` learns that a socket is readable,
//! `entry` reads and lets the `driver` decode, the `handler` runs, what it sends waits in the
//! entry's `queue`, and the table flushes each touched entry once at the end of the turn.
//! It knows nothing of processes, and no handler runs inside a borrow of its state.

mod address;
mod admission;
mod closing;
pub mod datagram;
mod deadlines;
mod driver;
mod entry;
mod extra;
mod front;
mod guest;
mod handle;
mod handler;
mod http_only;
mod lent;
mod limits;
mod pipe;
mod proxies;
mod succession;
mod listener;
mod queue;
mod rate;
mod reading;
mod reserve;
mod reason;
mod runner;
mod stream;
pub(crate) mod stats;
#[cfg(test)]
mod tests;
mod table;
mod transport;
pub mod websocket;

pub use address::Address;
pub(crate) use admission::Admission;
pub use driver::{Driver, Farewell, Step};
pub use front::Front;
pub(crate) use guest::Guest;
pub use handle::{Connection, Counters, SendError};
pub use handler::{Event, Handler, Turn};
pub use limits::{Excess, Limits};
pub use listener::Serve;
pub use proxies::{Others, Proxies};
pub use rate::Rate;
pub use reason::{CloseReason, Limit};
#[doc(hidden)]
pub use runner::{Handlers, boxed, boxed_with, messages};
pub use stats::{Row, Stats};
pub(crate) use stream::Stream;
pub use stream::StreamListener;
pub(crate) use succession::{Arrival, Past};
pub(crate) use table::Phase;
pub use table::Table;
pub(crate) use transport::{Parts, Passed, Prelude, Transport};
pub use websocket::WebSocket;
