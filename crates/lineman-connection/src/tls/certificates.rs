//! Certificates and keys from files: reading them, telling that they changed, and choosing one for a
//! client. Never writes a file.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::settings::Pair;
use crate::Error;

/// A chain of certificates, the owner's first.
pub(super) type Chain = Vec<CertificateDer<'static>>;

/// Reads a chain and its key, as they are.
pub(super) fn read(pair: &Pair) -> Result<(Chain, PrivateKeyDer<'static>), Error> {
    let chain = read_chain(&pair.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&pair.key).map_err(|error| {
        broken(&pair.key, &format!("no private key in PEM can be read from it: {error}"))
    })?;
    Ok((chain, key))
}

/// Reads a chain and its key and checks that they belong together.
pub(super) fn read_pair(
    pair: &Pair,
    provider: &Arc<CryptoProvider>,
) -> Result<CertifiedKey, Error> {
    let (chain, key) = read(pair)?;
    if chain.first().is_some_and(|certificate| is_of_an_authority(certificate, provider)) {
        let file = pair.certificate.display();
        tracing::warn!(
            %file,
            "the certificate is one of an authority, `CA:TRUE`: many clients refuse it as a server's (hint: use \
             one for servers, signed by that authority)"
        );
    }
    CertifiedKey::from_der(chain, key, provider).map_err(|error| {
        let file = pair.key.display();
        broken(&pair.certificate, &format!("it cannot be used with the key {file}: {error}"))
    })
}

/// Returns whether a certificate is one of an authority. Clients of rustls's kind take it for no server's.
pub(super) fn is_of_an_authority(
    certificate: &CertificateDer<'static>,
    provider: &Arc<CryptoProvider>,
) -> bool {
    let mut roots = RootCertStore::empty();
    // What it is, is looked at before by whom it is signed: any authority will do.
    if roots.add(certificate.clone()).is_err() {
        return false;
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), Arc::clone(provider));
    let Ok(verifier) = verifier.build() else { return false };
    let name = ServerName::from(IpAddr::from(Ipv4Addr::LOCALHOST));
    let verdict = verifier.verify_server_cert(certificate, &[], &name, &[], UnixTime::now());
    verdict.is_err_and(|error| crate::error::is_of_an_authority(&error))
}

/// Reads authorities to trust.
pub(super) fn read_roots(file: &Path) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in read_chain(file)? {
        roots.add(certificate).map_err(|error| broken(file, &error.to_string()))?;
    }
    Ok(roots)
}

fn read_chain(file: &Path) -> Result<Chain, Error> {
    let failed =
        |error| broken(file, &format!("no certificate in PEM can be read from it: {error}"));
    let chain: Chain =
        CertificateDer::pem_file_iter(file).and_then(Iterator::collect).map_err(failed)?;
    if chain.is_empty() {
        return Err(broken(file, "there is no certificate in PEM in it"));
    }
    Ok(chain)
}

pub(super) fn broken(file: &Path, problem: &str) -> Error {
    Error::Certificate { path: file.to_owned(), problem: problem.to_owned() }
}

/// What tells that a file was changed or replaced, without reading it. Follows links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp(Option<(u64, u64, i64, i64, u64)>);

impl Stamp {
    /// Returns the stamp of a file as it is now.
    pub(super) fn of(file: &Path) -> Self {
        Self(fs::metadata(file).ok().map(|facts| {
            (facts.dev(), facts.ino(), facts.mtime(), facts.mtime_nsec(), facts.size())
        }))
    }
}

/// The certificates of a listener.
#[derive(Debug)]
pub(super) struct Certificates {
    /// Invariant: not empty.
    pub(super) keys: Vec<Arc<CertifiedKey>>,
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, client: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = client.server_name().and_then(|name| ServerName::try_from(name).ok());
        let named =
            |key: &&Arc<CertifiedKey>| name.as_ref().is_some_and(|name| is_valid_for(key, name));
        let usable =
            |key: &&Arc<CertifiedKey>| key.key.choose_scheme(client.signature_schemes()).is_some();
        let keys = || self.keys.iter();
        let chosen = keys()
            .find(|key| named(key) && usable(key))
            .or_else(|| keys().find(named))
            .or_else(|| keys().next());
        chosen.map(Arc::clone)
    }
}

fn is_valid_for(key: &CertifiedKey, name: &ServerName<'_>) -> bool {
    key.cert
        .first()
        .and_then(|certificate| ParsedCertificate::try_from(certificate).ok())
        .is_some_and(|certificate| verify_server_name(&certificate, name).is_ok())
}
