//! What a table counts: a cell for each of the [`Stats`] that cross to the master.

use std::cell::Cell;

pub use lineman_wire::stats::{Row, Stats};

use super::reason::Limit;
use crate::tls::Version;

/// What is counted when it is asked for.
pub(super) struct Gauges {
    pub(super) connections: u64,
    pub(super) queued_bytes: u64,
    pub(super) held_bytes: u64,
}

/// Makes a cell of each counter, for messages are counted one by one, and the sums from them.
macro_rules! cells {
    ($($(#[$about:meta])* $name:ident,)*) => {
        /// The sums as the table keeps them.
        #[derive(Debug, Default)]
        pub(super) struct Counters {
            $($(#[$about])* pub(super) $name: Cell<u64>,)*
        }

        impl Counters {
            /// Returns the sums, with what is counted when asked for.
            pub(super) fn stats(&self, now: Gauges) -> Stats {
                let Gauges { connections, queued_bytes, held_bytes } = now;
                Stats { connections, queued_bytes, held_bytes, $($name: self.$name.get(),)* }
            }
        }
    };
}

lineman_wire::counters!(cells);

impl Counters {
    pub(super) fn limited(&self, limit: Limit) -> &Cell<u64> {
        match limit {
            Limit::Connections => &self.limited_connections,
            Limit::ConnectionsPerAddress => &self.limited_addresses,
            Limit::ConnectionRate => &self.limited_arrivals,
            Limit::MessageRate => &self.limited_messages,
            Limit::ByteRate => &self.limited_bytes,
            Limit::Budget => &self.budget_refused,
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
