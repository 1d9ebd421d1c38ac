//! What rustls is told of both ends of a link: TLS 1.3 alone, both ends authenticated.
//!
//! By default with the cluster's key: from it both ends derive one key pair, show its public half (RFC 7250) and take
//! nothing else. A peer that sees that can try words for the key at leisure, and a listener shows it before it knows who
//! asks. So an end offers a name by ALPN that is derived from the key as well, and a listener shows nothing to one that
//! does not know it. With certificates, any that the cluster's own authority has signed is taken: addresses come from
//! registers, so there is no name to compare.

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;

use lineman_wire::link::Secret;
use ring::hkdf::{HKDF_SHA256, Salt};
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption, WantsClientCert};
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{default_provider, sign::any_eddsa_type};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, ServerConfig};

use super::LinkCertificates;
use super::verifiers::{OfAuthority, OnLinks, SameKey};
use crate::Error;

/// An Ed25519 key in PKCS #8 (RFC 8410), up to its 32 bytes.
const PKCS8: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// What rustls is told of both sides of a link.
#[doc(hidden)]
#[derive(Debug)]
pub struct LinkConfigs {
    /// Of the end that connects.
    pub client: ClientConfig,
    /// Of the end that is connected to.
    pub server: ServerConfig,
}

impl LinkConfigs {
    /// Reads the certificates, if there are some, or derives a key pair from the cluster's key.
    ///
    /// # Errors
    /// [`Error::LinkTls`]: there is neither, or a file that cannot be used.
    pub fn new(secret: &Secret, certificates: Option<&LinkCertificates>) -> Result<Self, Error> {
        let provider = Arc::new(default_provider());
        match certificates {
            Some(files) => Self::of_certificates(files, &provider),
            None if secret.has_key() => Self::of_secret(secret, &provider),
            None => Err(Error::LinkTls(
                "it needs a secret_key, or certificates, that the other end can be known by"
                    .to_owned(),
            )),
        }
    }

    fn of_secret(secret: &Secret, provider: &Arc<CryptoProvider>) -> Result<Self, Error> {
        let private = [&PKCS8[..], &derive(secret, b"key pair")].concat();
        let key = any_eddsa_type(&PrivatePkcs8KeyDer::from(private)).map_err(refused)?;
        let public = key.public_key().map(|public| public.as_ref().to_vec()).unwrap_or_default();
        let shown = Arc::new(CertifiedKey::new(vec![CertificateDer::from(public.clone())], key));
        let algorithms = provider.signature_verification_algorithms;
        let same = Arc::new(SameKey { public, algorithms });
        let protocol = [b"lineman-link/", &derive(secret, b"protocol name")[..]].concat();
        let raw = AlwaysResolvesClientRawPublicKeys::new(Arc::clone(&shown));
        let client = client(provider, Arc::clone(&same) as _)?;
        let mut client = client.with_client_cert_resolver(Arc::new(raw));
        finish_client(&mut client, &protocol);
        let resolver = OnLinks { shown, is_raw: true };
        Ok(Self { client, server: server(provider, same, resolver, protocol)? })
    }

    fn of_certificates(
        files: &LinkCertificates,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, Error> {
        let chain = read_chain(&files.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&files.key);
        let key = key.map_err(|error| broken(&files.key, &error))?;
        let shown = CertifiedKey::from_der(chain.clone(), key.clone_key(), provider);
        let shown = Arc::new(shown.map_err(|error| broken(&files.certificate, &error))?);
        let mut roots = RootCertStore::empty();
        for authority in read_chain(&files.authorities)? {
            roots.add(authority).map_err(|error| broken(&files.authorities, &error))?;
        }
        let roots = Arc::new(roots);
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(provider));
        let verifier = verifier.build().map_err(|error| broken(&files.authorities, &error))?;
        let algorithms = provider.signature_verification_algorithms;
        let client = client(provider, Arc::new(OfAuthority { roots, algorithms }))?;
        let mut client = client
            .with_client_auth_cert(chain, key)
            .map_err(|error| broken(&files.certificate, &error))?;
        let protocol = b"lineman-link".to_vec();
        finish_client(&mut client, &protocol);
        let resolver = OnLinks { shown, is_raw: false };
        Ok(Self { client, server: server(provider, verifier, resolver, protocol)? })
    }
}

type ClientBuilder = ConfigBuilder<ClientConfig, WantsClientCert>;

fn client(
    provider: &Arc<CryptoProvider>,
    verifier: Arc<dyn ServerCertVerifier>,
) -> Result<ClientBuilder, Error> {
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&TLS13])
        .map_err(refused)?;
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier))
}

fn finish_client(client: &mut ClientConfig, protocol: &[u8]) {
    client.alpn_protocols = vec![protocol.to_vec()];
    client.resumption = Resumption::disabled();
}

fn server(
    provider: &Arc<CryptoProvider>,
    verifier: Arc<dyn ClientCertVerifier>,
    resolver: OnLinks,
    protocol: Vec<u8>,
) -> Result<ServerConfig, Error> {
    let mut server = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&TLS13])
        .map_err(refused)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(resolver));
    server.alpn_protocols = vec![protocol];
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
    Ok(server)
}

/// Derives 32 bytes from the cluster's key: by HKDF, as a key has its entropy already, or else nothing helps.
fn derive(secret: &Secret, what: &[u8]) -> [u8; 32] {
    let extracted =
        Salt::new(HKDF_SHA256, b"lineman link tls 1").extract(secret.expose().as_bytes());
    let mut derived = [0; 32];
    let expanded = extracted.expand(&[what], HKDF_SHA256).and_then(|key| key.fill(&mut derived));
    expanded.expect("32 bytes are what HKDF-SHA256 gives");
    derived
}

fn read_chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let chain =
        CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.map_err(|error| broken(file, &error))?;
    if chain.is_empty() {
        return Err(broken(file, &"there is no certificate in PEM in it"));
    }
    Ok(chain)
}

fn broken(file: &Path, problem: &dyn Display) -> Error {
    Error::LinkTls(format!("{} cannot be used: {problem}", file.display()))
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn refused(error: rustls::Error) -> Error {
    Error::LinkTls(error.to_string())
}
