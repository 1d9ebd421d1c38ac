//! What a table counts: a cell for each of the [`Stats`] that cross to the master.

use std::cell::Cell;

pub use lineman_wire::stats::{Row, Stats};

use super::reason::Limit;
use crate::tls::Version;

/// Makes the cells of the counters, and the sums from them: a cell each, for messages are counted one
/// by one.
macro_rules! counters {
    ($($name:ident,)*) => {
        /// The sums as the table keeps them.
        #[derive(Debug, Default)]
        pub(super) struct Counters {
            $(pub(super) $name: Cell<u64>,)*
        }

        impl Counters {
            /// Returns the sums, with what is counted when asked for.
            pub(super) fn stats(&self, connections: u64, queued_bytes: u64) -> Stats {
                Stats { connections, queued_bytes, $($name: self.$name.get(),)* }
            }
        }
    };
}

counters! {
    accepted,
    bytes_in,
    bytes_out,
    messages_in,
    messages_out,
    refused,
    handler_errors,
    protocol_errors,
    datagrams_dropped,
    handshakes_failed,
    limited_connections,
    limited_addresses,
    limited_arrivals,
    limited_messages,
    limited_bytes,
    heartbeats_missed,
    accept_pauses,
}

impl Counters {
    pub(super) fn limited(&self, limit: Limit) -> &Cell<u64> {
        match limit {
            Limit::Connections => &self.limited_connections,
            Limit::ConnectionsPerAddress => &self.limited_addresses,
            Limit::ConnectionRate => &self.limited_arrivals,
            Limit::MessageRate => &self.limited_messages,
            Limit::ByteRate => &self.limited_bytes,
        }
    }
}

/// Returns a version as it stands in a row.
pub(super) fn tls_name(version: Version) -> String {
    match version {
        Version::Tls12 => "1.2".to_owned(),
        Version::Tls13 => "1.3".to_owned(),
    }
}
