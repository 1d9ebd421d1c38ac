//! Connections and the table that holds them: how a worker process does I/O.
//!
//! The path of a message, to be read in this order: `table` learns that a socket is readable,
//! `reading` has the `driver` decode, the `handler` runs, what it sends waits in the entry's `queue`,
//! and the table flushes each touched entry once at the end of the turn. What a connection is, is four
//! values: `life`, `inflow`, `outflow`, `due`; on its way to something else it is one, a `transit`.
//! It knows nothing of processes, and no handler runs inside a borrow of its state.

mod table;
mod entry;
mod life;
mod inflow;
mod outflow;
mod due;
mod deadlines;
mod queue;
mod listener;
mod accept;
mod budget;
mod charge;
mod admission;
mod lent;
mod handshake;
mod reading;
mod closing;
mod farewell;
mod transit;
mod record;
pub mod handover;
mod driver;
mod handler;
mod events;
mod runner;
mod handle;
mod extra;
mod rate;
mod pipe;
mod guest;
mod transport;
mod stream;
mod proxies;
mod front;
mod limits;
mod address;
mod reason;
pub(crate) mod stats;
pub mod datagram;
pub mod websocket;
#[cfg(test)]
mod tests;

pub use address::Address;
pub(crate) use admission::{Admission, network_of};
pub(crate) use budget::{Level, Share};
pub use driver::{CannotMove, Driver, Farewell, Opening, Step};
pub use front::Front;
pub(crate) use guest::Guest;
pub use handle::{Connection, Counters, SendError};
pub use handler::{Event, Handler, Turn};
pub use limits::{Excess, Limits};
pub use lineman_os::{Acknowledgement, PeerTimeout};
pub use listener::{Serve, Served};
pub use proxies::{Others, Proxies};
pub use rate::Rate;
pub use reason::{CloseReason, Limit};
#[doc(hidden)]
pub use runner::{DataForm, Handlers, boxed, boxed_with, messages};
pub use stats::{Row, Stats};
pub(crate) use stream::Stream;
pub use stream::StreamListener;
pub(crate) use table::Shutdown;
pub use table::Table;
pub(crate) use transit::{Adopt, Fallback, Transit};
pub(crate) use transport::{Layers, Passed, Prelude, Transport};
pub use websocket::WebSocket;
