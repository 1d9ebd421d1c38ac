//! TLS of connections whose ends are of one kind, as links of a cluster: what says who they are is made elsewhere, with
//! rustls's own means, and used here for both sides. Knows no socket.

use std::cell::RefCell;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use lineman_wire::BoxError;
use rustls::client::{ClientConfig, ClientConnection};
use rustls::pki_types::ServerName;
use rustls::server::{ServerConfig, ServerConnection};

use super::acceptor::FromMaster;
use super::handshake::Capture;
use super::session::Session;
use super::watched::WatchedFiles;

/// Makes what both sides go by.
type Make = dyn Fn() -> Result<(ClientConfig, ServerConfig), BoxError>;

/// TLS of links: what both sides go by, made anew when one of its files has changed.
#[doc(hidden)]
pub struct MutualTls {
    files: WatchedFiles,
    make: Box<Make>,
    configs: RefCell<(Arc<ClientConfig>, Arc<ServerConfig>)>,
}

impl MutualTls {
    /// Returns what `make` makes, which reads these files.
    ///
    /// # Errors
    /// That of `make`.
    pub fn new(
        files: Vec<PathBuf>,
        make: impl Fn() -> Result<(ClientConfig, ServerConfig), BoxError> + 'static,
    ) -> Result<Self, BoxError> {
        let files = WatchedFiles::new(files, FromMaster::of_this_process());
        let configs = RefCell::new(with_secrets(make()?));
        Ok(Self { files, make: Box::new(make), configs })
    }

    /// Returns the session of a connection that was accepted.
    pub(crate) fn accepted(&self) -> Session {
        self.refresh();
        let config = Arc::clone(&self.configs.borrow().1);
        ServerConnection::new(config).map_or_else(|error| failed(&error), Session::new)
    }

    /// Returns the session of a connection that is made to this address.
    pub(crate) fn begun(&self, address: IpAddr) -> Session {
        self.refresh();
        let config = Arc::clone(&self.configs.borrow().0);
        let name = ServerName::from(address);
        ClientConnection::new(config, name).map_or_else(|error| failed(&error), Session::new)
    }

    fn refresh(&self) {
        if !self.files.have_changed() {
            return;
        }
        match (self.make)() {
            Ok(configs) => {
                self.configs.replace(with_secrets(configs));
                tracing::info!("new certificates of links in use");
            }
            Err(error) => {
                let reason = lineman_wire::chain(&*error);
                tracing::error!(
                    reason,
                    "new certificates of links are broken, the old ones stay in use"
                );
            }
        }
    }
}

/// What becomes of a peer that begins with TLS where it need not.
#[derive(Debug)]
pub(crate) enum OfferedTls {
    /// It is bytes of the protocol, which has its own first byte.
    Unseen,
    /// It is refused, with a reason that names TLS.
    Refused,
    /// It has TLS.
    Taken(Rc<MutualTls>),
}

impl OfferedTls {
    /// Returns whether it is looked whether peers begin with TLS.
    pub(crate) fn is_seen(&self) -> bool {
        !matches!(self, Self::Unseen)
    }

    /// Returns the TLS of a peer that has offered it; `None` if it is to be refused.
    pub(crate) fn take(&self) -> Option<Session> {
        match self {
            Self::Unseen | Self::Refused => None,
            Self::Taken(tls) => Some(tls.accepted()),
        }
    }
}

/// Has the secrets handed out that the established state is made of.
fn with_secrets(
    (mut client, mut server): (ClientConfig, ServerConfig),
) -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    client.key_log = Arc::new(Capture);
    client.enable_secret_extraction = true;
    server.key_log = Arc::new(Capture);
    server.enable_secret_extraction = true;
    (Arc::new(client), Arc::new(server))
}

fn failed(error: &rustls::Error) -> Session {
    tracing::error!(%error, "rustls does not accept its configuration");
    Session::failed()
}

impl fmt::Debug for MutualTls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("MutualTls").field("files", &self.files).finish_non_exhaustive()
    }
}
