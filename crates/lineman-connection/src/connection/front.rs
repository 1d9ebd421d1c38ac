//! What stands between the network and a service's protocol, and is the same for every protocol.

use super::{Limits, Proxies};
use crate::Error;
use crate::tls::{Acceptor, Tls};

/// The settings of a listener that do not depend on what its connections speak.
#[derive(Debug, Clone, Default)]
pub struct Front {
    /// The bounds of each connection, and of all of them together.
    pub limits: Limits,
    /// Which proxies are believed about a client's address. Default: none.
    pub proxies: Option<Proxies>,
    /// TLS on every connection. Default: none.
    pub tls: Option<Tls>,
    /// TLS on connections whose handlers call [`start_tls`](super::Connection::start_tls).
    /// Default: none.
    pub tls_on_demand: Option<Tls>,
}

impl Front {
    /// Reads the files that its connections will need, and says what is wrong with them.
    ///
    /// # Errors
    /// [`Error::Certificate`] names the file that cannot be used.
    pub fn check(&self) -> Result<(), Error> {
        self.tls.iter().chain(&self.tls_on_demand).try_for_each(Acceptor::check)
    }
}
