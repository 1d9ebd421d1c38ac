//! What stands between the network and a service's protocol, and is the same for every protocol.

use super::{Limits, Proxies};

/// The settings of a listener that do not depend on what its connections speak.
#[derive(Debug, Clone, Default)]
pub struct Front {
    /// The bounds of each connection, and of all of them together.
    pub limits: Limits,
    /// Which proxies are believed about who a peer is. Default: none.
    pub proxies: Option<Proxies>,
}
