//! What stands between the network and a service's protocol, and is the same for every protocol.

use super::{Limits, Proxies};
use crate::tls::Tls;

/// The settings of a listener that do not depend on what its connections speak.
#[derive(Debug, Clone, Default)]
pub struct Front {
    /// The bounds of each connection, and of all of them together.
    pub limits: Limits,
    /// Which proxies are believed about who a peer is. Default: none.
    pub proxies: Option<Proxies>,
    /// TLS on every connection. Default: none.
    pub tls: Option<Tls>,
    /// TLS on connections whose handlers call [`start_tls`](super::Connection::start_tls).
    /// Default: none.
    pub tls_on_demand: Option<Tls>,
}
