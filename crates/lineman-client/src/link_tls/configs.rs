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

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::atomic::{AtomicBool, Ordering};

    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
    };
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified};
    use rustls::pki_types::{ServerName, UnixTime};
    use rustls::{
        AlertDescription, ClientConnection, DigitallySignedStruct, ServerConnection,
        SignatureScheme,
    };

    use super::*;

    fn of(key: &str) -> LinkConfigs {
        LinkConfigs::new(&Secret::new(key), None).unwrap()
    }

    /// Has both ends talk until neither says anything; returns how that ended for each.
    fn meet(
        client: ClientConfig,
        server: ServerConfig,
    ) -> (Result<(), rustls::Error>, Result<(), rustls::Error>) {
        let name = ServerName::from(IpAddr::from(Ipv4Addr::LOCALHOST));
        let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
        let mut server = ServerConnection::new(Arc::new(server)).unwrap();
        let (mut of_client, mut of_server) = (Ok(()), Ok(()));
        loop {
            let (mut there, mut back) = (Vec::new(), Vec::new());
            while client.wants_write() {
                client.write_tls(&mut there).unwrap();
            }
            while server.wants_write() {
                server.write_tls(&mut back).unwrap();
            }
            if there.is_empty() && back.is_empty() {
                assert!(of_client.is_err() || of_server.is_err() || !server.is_handshaking());
                return (of_client, of_server);
            }
            let (mut there, mut back) = (&there[..], &back[..]);
            while !there.is_empty() && of_server.is_ok() {
                server.read_tls(&mut there).unwrap();
                of_server = server.process_new_packets().map(drop);
            }
            while !back.is_empty() && of_client.is_ok() {
                client.read_tls(&mut back).unwrap();
                of_client = client.process_new_packets().map(drop);
            }
        }
    }

    #[test]
    fn ends_with_one_key_meet_and_others_do_not() {
        assert_eq!(meet(of("k").client, of("k").server), (Ok(()), Ok(())));
        let told = rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol);
        let refused = rustls::Error::NoApplicationProtocol;
        assert_eq!(meet(of("k").client, of("zz").server), (Err(told), Err(refused)));
        // A cluster's name is a part of its key.
        let named = LinkConfigs::new(&Secret::new("k").in_cluster("chat"), None).unwrap();
        assert!(meet(of("k").client, named.server).1.is_err());
        assert!(LinkConfigs::new(&Secret::default(), None).is_err());
        assert!(LinkConfigs::new(&Secret::default().in_cluster("chat"), None).is_err());
    }

    #[test]
    fn nothing_is_shown_to_one_that_does_not_know_the_protocol_s_name() {
        for offered in [Vec::new(), vec![b"lineman-link".to_vec()], vec![b"h2".to_vec()]] {
            let mut client = of("k").client;
            client.alpn_protocols = offered;
            let seen = Arc::new(Seen::default());
            client.dangerous().set_certificate_verifier(Arc::clone(&seen) as _);
            let (client, server) = meet(client, of("k").server);
            assert!(matches!(client, Err(rustls::Error::AlertReceived(_))), "{client:?}");
            assert!(server.is_err() && !seen.0.load(Ordering::Relaxed));
        }
    }

    #[test]
    fn either_end_has_to_hold_the_key_that_it_shows() {
        // One that has learnt the name, and has another key pair.
        let (mut client, mut server) = (of("zz").client, of("zz").server);
        client.alpn_protocols = of("k").client.alpn_protocols;
        assert!(meet(client, of("k").server).0.is_err());
        server.alpn_protocols = of("k").server.alpn_protocols;
        assert!(meet(of("k").client, server).0.is_err());
        // And one that shows nothing at all.
        let provider = Arc::new(default_provider());
        let public = own_key("k").cert.first().unwrap().to_vec();
        let algorithms = provider.signature_verification_algorithms;
        let same = Arc::new(SameKey { public, algorithms });
        let mut client = super::client(&provider, same).unwrap().with_no_client_auth();
        client.alpn_protocols = of("k").client.alpn_protocols;
        assert!(meet(client, of("k").server).1.is_err());
    }

    /// Writes a certificate that an authority signs, good until that year, and returns the files.
    fn certificate(
        folder: &Path,
        authority: &Authority,
        name: &str,
        year: i32,
    ) -> LinkCertificates {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let signed = params.signed_by(&key, authority).unwrap();
        let path = |end: &str| folder.join(format!("{name}.{end}"));
        std::fs::write(path("pem"), signed.pem()).unwrap();
        std::fs::write(path("key"), key.serialize_pem()).unwrap();
        std::fs::write(path("ca"), authority.pem()).unwrap();
        LinkCertificates::files(path("pem"), path("key"), path("ca"))
    }

    fn authority(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    type Authority = CertifiedIssuer<'static, KeyPair>;

    #[test]
    fn certificates_are_taken_that_our_authority_has_signed_and_that_are_of_today() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, theirs) = (authority("ours"), authority("theirs"));
        let signed_by = |authority, name: &str, year| {
            let files = certificate(folder.path(), authority, name, year);
            LinkConfigs::new(&Secret::default(), Some(&files)).unwrap()
        };
        let both = |here: LinkConfigs, there: LinkConfigs| meet(here.client, there.server);
        assert_eq!(
            both(signed_by(&ours, "a", 4000), signed_by(&ours, "b", 4000)),
            (Ok(()), Ok(()))
        );
        let alert = |error: Result<(), rustls::Error>| match error {
            Err(rustls::Error::AlertReceived(alert)) => Some(alert),
            _ => None,
        };
        let (expired, stranger) =
            (|| signed_by(&ours, "old", 2001), || signed_by(&theirs, "c", 4000));
        // What is wrong with either end is said at both.
        let (client, server) = both(signed_by(&ours, "a", 4000), expired());
        let told = alert(server);
        assert!(client.is_err() && told == Some(AlertDescription::CertificateExpired), "{told:?}");
        let (client, server) = both(expired(), signed_by(&ours, "b", 4000));
        let told = alert(client);
        assert!(server.is_err() && told == Some(AlertDescription::CertificateExpired), "{told:?}");
        assert!(both(signed_by(&ours, "a", 4000), stranger()).0.is_err());
        assert!(both(stranger(), signed_by(&ours, "b", 4000)).1.is_err());
        // Ends of two kinds do not meet.
        assert!(meet(signed_by(&ours, "a", 4000).client, of("k").server).1.is_err());
        let missing = LinkCertificates::files("no.pem", "no.key", "no.ca");
        let error = LinkConfigs::new(&Secret::default(), Some(&missing)).unwrap_err().to_string();
        assert!(error.starts_with("link_tls: no.pem cannot be used: "), "{error}");
    }

    /// Takes everything for right, and down that it was asked.
    #[derive(Debug, Default)]
    struct Seen(AtomicBool);

    impl ServerCertVerifier for Seen {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, rustls::Error> {
            self.0.store(true, Ordering::Relaxed);
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            vec![SignatureScheme::ED25519]
        }

        fn requires_raw_public_keys(&self) -> bool {
            true
        }
    }

    fn own_key(key: &str) -> Arc<CertifiedKey> {
        let private = [&PKCS8[..], &derive(&Secret::new(key), b"key pair")].concat();
        let key = any_eddsa_type(&PrivatePkcs8KeyDer::from(private)).unwrap();
        let public = key.public_key().unwrap().as_ref().to_vec();
        Arc::new(CertifiedKey::new(vec![CertificateDer::from(public)], key))
    }
}
