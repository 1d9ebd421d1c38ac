//! The server's side of TLS, one for each listener of a worker: its certificates, and a session for
//! each connection it accepts. Knows no socket.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use lineman_wire::ticket_keys::TicketKeys;
use ring::digest::{Context as Digest, SHA256};
use rustls::crypto::{CryptoProvider, ring::default_provider};
use rustls::server::{
    NoServerSessionStorage, ServerConfig, ServerConnection, WebPkiClientVerifier,
    danger::ClientCertVerifier,
};

use super::certificates::{self, Certificates};
use super::handshake::Capture;
use super::session::Session;
use super::settings::{ClientCertificates, Pair, Tls};
use super::tickets::Tickets;
use super::watched::WatchedFiles;
use crate::Error;
use crate::error::TlsError;
use crate::error::chain;

/// What the master gives to all TLS of a worker.
#[derive(Debug, Clone, Default)]
pub struct FromMaster {
    /// The keys of session tickets.
    pub(crate) tickets: Tickets,
    /// The self-signed certificate to use instead of all others.
    self_signed: OnceLock<Pair>,
    /// How often it has ordered a reload. The number is all there is to see, so its order with other
    /// memory does not matter.
    reloads: Arc<AtomicU64>,
}

impl FromMaster {
    /// Returns what this process has from its master: a process has one.
    pub fn of_this_process() -> &'static Self {
        static ONE: OnceLock<FromMaster> = OnceLock::new();
        ONE.get_or_init(Self::default)
    }

    /// Has all listeners that come from now on use this certificate instead of their own. The first
    /// call counts.
    pub fn use_self_signed(&self, certificate: PathBuf, key: PathBuf) {
        self.self_signed.get_or_init(|| Pair { certificate, key });
    }

    /// Puts these keys of session tickets in force.
    pub fn use_ticket_keys(&self, keys: TicketKeys) {
        self.tickets.accept(keys);
    }

    /// Has the files looked at before the next connection, however lately that was done.
    pub fn reload(&self) {
        self.reloads.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn reloads(&self) -> u64 {
        self.reloads.load(Ordering::Relaxed)
    }
}

/// TLS of one listener.
#[derive(Debug)]
pub(crate) struct Acceptor {
    tls: Tls,
    tickets: Tickets,
    config: RefCell<Arc<ServerConfig>>,
    files: WatchedFiles,
}

impl Acceptor {
    /// Reads the files.
    ///
    /// # Errors
    /// [`Error::Certificate`] names the file that cannot be used.
    pub(crate) fn new(tls: &Tls, from: &FromMaster) -> Result<Rc<Self>, Error> {
        let mut tls = tls.clone();
        if let Some(pair) = from.self_signed.get() {
            tls.pairs = vec![pair.clone()];
        }
        let files = WatchedFiles::new(files(&tls), from);
        let config = RefCell::new(configure(&tls, &from.tickets)?);
        Ok(Rc::new(Self { tls, tickets: from.tickets.clone(), config, files }))
    }

    /// Reads the files of `tls` and says what is wrong with them.
    pub(crate) fn check(tls: &Tls) -> Result<(), Error> {
        configure(tls, &Tickets::default()).map(drop)
    }

    /// Returns the session of a connection that was accepted.
    pub(crate) fn session(&self) -> Session {
        if self.files.have_changed() {
            self.read_again();
        }
        match ServerConnection::new(Arc::clone(&self.config.borrow())) {
            Ok(connection) => Session::new(connection),
            Err(error) => {
                tracing::error!(%error, "rustls does not accept its configuration");
                Session::failed()
            }
        }
    }

    fn read_again(&self) {
        let file = self.tls.pairs.first().map(|pair| pair.certificate.display());
        match configure(&self.tls, &self.tickets) {
            Ok(config) => {
                *self.config.borrow_mut() = config;
                tracing::info!(file = file.map(tracing::field::display), "new certificates in use");
            }
            Err(error) => {
                let reason = chain(&error);
                tracing::error!(reason, "new certificates are broken, the old ones stay in use");
            }
        }
    }
}

fn files(tls: &Tls) -> Vec<PathBuf> {
    let authorities = match &tls.client_certificates {
        ClientCertificates::None => None,
        ClientCertificates::Optional(file) | ClientCertificates::Required(file) => Some(file),
    };
    let pairs = tls.pairs.iter().flat_map(|pair| [&pair.certificate, &pair.key]);
    pairs.chain(authorities).cloned().collect()
}

fn configure(tls: &Tls, tickets: &Tickets) -> Result<Arc<ServerConfig>, Error> {
    let provider = Arc::new(default_provider());
    let keys = tls.pairs.iter().map(|pair| certificates::read_pair(pair, &provider).map(Arc::new));
    let keys = keys.collect::<Result<Vec<_>, _>>()?;
    let (verifier, context) = client_verifier(tls, &provider)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::from)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(Certificates { keys }));
    config.alpn_protocols.clone_from(&tls.alpn);
    config.ticketer = tickets.producer(context);
    // Sessions live in tickets: a memory of them would be one worker's alone.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.key_log = Arc::new(Capture);
    config.enable_secret_extraction = true;
    Ok(Arc::new(config))
}

/// Returns what verifies clients, and what a ticket must have in common with that to be taken.
fn client_verifier(
    tls: &Tls,
    provider: &Arc<CryptoProvider>,
) -> Result<(Arc<dyn ClientCertVerifier>, [u8; 32]), Error> {
    let mut digest = Digest::new(&SHA256);
    let (file, required) = match &tls.client_certificates {
        ClientCertificates::None => {
            return Ok((WebPkiClientVerifier::no_client_auth(), finish(digest)));
        }
        ClientCertificates::Optional(file) => (file, false),
        ClientCertificates::Required(file) => (file, true),
    };
    digest.update(&[1 + u8::from(required)]);
    let roots = Arc::new(certificates::read_roots(file)?);
    for root in &roots.roots {
        digest.update(root.subject_public_key_info.as_ref());
    }
    let builder = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider));
    let builder = if required { builder } else { builder.allow_unauthenticated() };
    let verifier =
        builder.build().map_err(|error| certificates::broken(file, &error.to_string()))?;
    Ok((verifier, finish(digest)))
}

fn finish(digest: Digest) -> [u8; 32] {
    let mut context = [0; 32];
    context.copy_from_slice(digest.finish().as_ref());
    context
}
