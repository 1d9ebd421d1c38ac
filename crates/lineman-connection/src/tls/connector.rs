//! The client's side of TLS: which authorities to trust, what to show, and a session for each outgoing connection.
//! Knows no socket.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::{ClientConfig, ClientConnection, Resumption};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::ServerName;

use super::certificates;
use super::error::TlsError;
use super::handshake::Capture;
use super::session::Session;
use super::settings::ClientTls;
use crate::Error;

/// TLS of outgoing connections.
#[derive(Debug)]
pub(crate) struct Connector {
    config: Arc<ClientConfig>,
    server_name: Option<String>,
}

impl Connector {
    /// Reads the files.
    ///
    /// # Errors
    /// [`Error::Certificate`] names the file that cannot be used; without a file, the machine may have
    /// no authorities it trusts.
    pub(crate) fn new(tls: &ClientTls) -> Result<Self, Error> {
        let roots = match &tls.root_certificates {
            Some(file) => certificates::read_roots(file)?,
            None => native_roots()?,
        };
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::from)?
            .with_root_certificates(roots);
        let mut config = match &tls.certificate {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let (chain, key) = certificates::read(pair)?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| certificates::broken(&pair.certificate, &error.to_string()))?
            }
        };
        config.alpn_protocols.clone_from(&tls.alpn);
        // A ticket of TLS 1.3 is worth nothing without a secret that our state does not hold.
        config.resumption = Resumption::disabled();
        config.key_log = Arc::new(Capture);
        config.enable_secret_extraction = true;
        Ok(Self { config: Arc::new(config), server_name: tls.server_name.clone() })
    }

    /// Returns the session of a connection to the server of this name, a host name or an address.
    ///
    /// # Errors
    /// When it is neither.
    pub(crate) fn session(&self, server_name: &str) -> Result<Session, Error> {
        let name = self.server_name.as_deref().unwrap_or(server_name);
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| TlsError::ServerName(name.to_owned()))?;
        let connection =
            ClientConnection::new(Arc::clone(&self.config), name).map_err(TlsError::from)?;
        Ok(Session::new(connection))
    }
}

fn native_roots() -> Result<RootCertStore, Error> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, ignored) = roots.add_parsable_certificates(found.certs);
    if added > 0 {
        tracing::debug!(added, ignored, "the machine's authorities");
        return Ok(roots);
    }
    let problem = found.errors.first().map_or_else(
        || "there are none (install ca-certificates, or use `root_certificates`)".to_owned(),
        ToString::to_string,
    );
    Err(Error::Os {
        action: "find the authorities this machine trusts",
        source: std::io::Error::other(problem),
    })
}
