//! Tests of TLS against rustls's ordinary connections, against OpenSSL, and against nonsense; this
//! file holds their vocabulary: certificates in a folder, and two ends with a pipe between them.

mod interop;
mod records;
mod hostile;
mod files;
mod resumption;
mod streams;
mod openssl;

use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::BytesMut;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, Connection, RootCertStore, ServerConfig, SupportedCipherSuite};
use tempfile::TempDir;

use lineman_wire::ticket_keys::TicketKeys;

use super::session::Session;
use super::settings::Pair;
use super::tickets::random_key;
use super::{Acceptor, ClientTls, Connector, FromMaster, MutualTls, Tls, TlsError, certificates};

/// A folder with an authority and certificates signed by it.
pub(crate) struct Files {
    folder: TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Files {
    pub(crate) fn new() -> Self {
        let folder = TempDir::new().unwrap();
        // Another authority has another name.
        let name = folder.path().display().to_string();
        Self::of_authority(folder, name)
    }

    fn of_authority(folder: TempDir, name: String) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let authority = CertifiedIssuer::self_signed(params, key).unwrap();
        let files = Self { folder, authority };
        std::fs::write(files.path("ca.pem"), files.authority.pem()).unwrap();
        files.issue("server", &["localhost"]);
        files
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// Writes `stem.pem` and `stem.key`, valid for these names; the subject is `CN=stem`.
    fn issue(&self, stem: &str, names: &[&str]) {
        self.issue_with(stem, names, &KeyPair::generate().unwrap());
    }

    fn issue_rsa(&self, stem: &str, names: &[&str]) {
        self.issue_with(stem, names, &KeyPair::from_pem(include_str!("rsa.key")).unwrap());
    }

    fn issue_with(&self, stem: &str, names: &[&str], key: &KeyPair) {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, stem);
        let certificate = params.signed_by(key, &self.authority).unwrap();
        std::fs::write(self.path(&format!("{stem}.pem")), certificate.pem()).unwrap();
        std::fs::write(self.path(&format!("{stem}.key")), key.serialize_pem()).unwrap();
    }

    pub(crate) fn tls(&self, stem: &str) -> Tls {
        Tls::files(self.path(&format!("{stem}.pem")), self.path(&format!("{stem}.key")))
    }

    pub(crate) fn client_tls(&self) -> ClientTls {
        ClientTls::new().root_certificates(self.path("ca.pem"))
    }

    fn roots(&self) -> RootCertStore {
        certificates::read_roots(&self.path("ca.pem")).unwrap()
    }

    /// A client of rustls's own that knows these suites, or all.
    fn their_client(&self, suite: Option<SupportedCipherSuite>) -> ClientConfig {
        let mut provider = default_provider();
        provider.cipher_suites.retain(|known| suite.is_none_or(|suite| suite == *known));
        ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots())
            .with_no_client_auth()
    }

    /// TLS of links that trusts this authority, and shows a certificate of 127.0.0.1.
    pub(crate) fn mutual(&self) -> MutualTls {
        self.issue("link", &["127.0.0.1"]);
        let (client, server) = (self.their_client(None), self.server_config("link", None));
        MutualTls::new(Vec::new(), move || Ok((client.clone(), server.clone()))).unwrap()
    }

    /// A server of rustls's own that knows these suites, or all.
    fn their_server(&self, stem: &str, suite: Option<SupportedCipherSuite>) -> End {
        let config = self.server_config(stem, suite);
        End::theirs(rustls::ServerConnection::new(Arc::new(config)).unwrap())
    }

    fn server_config(&self, stem: &str, suite: Option<SupportedCipherSuite>) -> ServerConfig {
        let mut provider = default_provider();
        provider.cipher_suites.retain(|known| suite.is_none_or(|suite| suite == *known));
        let pair = Pair {
            certificate: self.path(&format!("{stem}.pem")),
            key: self.path(&format!("{stem}.key")),
        };
        let (chain, key) = certificates::read(&pair).unwrap();
        ServerConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap()
    }
}

/// What a worker has from a master that has made keys.
fn from_master() -> FromMaster {
    let from = FromMaster::default();
    from.tickets.accept(TicketKeys::first(random_key()));
    from
}

fn our_server(tls: &Tls) -> End {
    End::ours(Acceptor::new(tls, &from_master()).unwrap().session())
}

fn our_client(tls: &ClientTls) -> End {
    End::ours(Connector::new(tls).unwrap().session("localhost").unwrap())
}

fn their_client(config: ClientConfig) -> End {
    their_client_of(&Arc::new(config), "localhost")
}

fn their_client_of(config: &Arc<ClientConfig>, name: &str) -> End {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connection = rustls::ClientConnection::new(Arc::clone(config), name).unwrap();
    End::theirs(connection)
}

/// One end of a connection.
enum End {
    Ours(Ours),
    /// And the plaintext that has come.
    Theirs(Box<Connection>, Vec<u8>),
}

struct Ours {
    session: Session,
    input: BytesMut,
    plain: BytesMut,
    output: BytesMut,
    closed: bool,
    error: Option<TlsError>,
}

impl End {
    fn ours(mut session: Session) -> Self {
        let mut output = BytesMut::new();
        session.start(&mut output).unwrap();
        let (input, plain) = (BytesMut::new(), BytesMut::new());
        Self::Ours(Ours { session, input, plain, output, closed: false, error: None })
    }

    fn theirs(connection: impl Into<Connection>) -> Self {
        let mut connection = connection.into();
        connection.set_buffer_limit(None);
        Self::Theirs(Box::new(connection), Vec::new())
    }

    fn our(&mut self) -> &mut Ours {
        let Self::Ours(ours) = self else { panic!("that is rustls's end") };
        ours
    }

    fn their(&mut self) -> &mut Connection {
        let Self::Theirs(theirs, _) = self else { panic!("that is our end") };
        theirs
    }

    /// Returns what this end has to send.
    fn take(&mut self) -> Vec<u8> {
        match self {
            Self::Ours(ours) => ours.output.split().to_vec(),
            Self::Theirs(theirs, _) => {
                let mut bytes = Vec::new();
                while theirs.wants_write() {
                    theirs.write_tls(&mut bytes).unwrap();
                }
                bytes
            }
        }
    }

    /// Brings bytes of the other end.
    fn give(&mut self, mut bytes: &[u8]) {
        match self {
            Self::Ours(ours) => {
                ours.input.extend_from_slice(bytes);
                let Ours { session, input, plain, output, .. } = ours;
                match session.receive(input, plain, output) {
                    Ok(received) => ours.closed |= received.closed,
                    Err(error) => ours.error = Some(error),
                }
            }
            Self::Theirs(theirs, plain) => {
                while !bytes.is_empty() && theirs.read_tls(&mut bytes).unwrap() > 0 {
                    if theirs.process_new_packets().is_err() {
                        return;
                    }
                    match theirs.reader().read_to_end(plain) {
                        Ok(_) => {}
                        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
                    }
                }
            }
        }
    }

    fn send(&mut self, data: &[u8]) {
        match self {
            Self::Ours(ours) => ours.session.seal(data, &mut ours.output).unwrap(),
            Self::Theirs(theirs, _) => theirs.writer().write_all(data).unwrap(),
        }
    }

    /// Returns the plaintext that has come.
    fn read(&mut self) -> Vec<u8> {
        match self {
            Self::Ours(ours) => ours.plain.split().to_vec(),
            Self::Theirs(_, plain) => std::mem::take(plain),
        }
    }

    fn is_established(&self) -> bool {
        match self {
            Self::Ours(ours) => ours.session.is_established(),
            Self::Theirs(theirs, _) => !theirs.is_handshaking(),
        }
    }
}

/// Carries bytes both ways until nobody has any to send.
fn exchange(one: &mut End, other: &mut End) {
    exchange_in(&[usize::MAX], one, other);
}

/// The same, in pieces of these sizes, again and again.
fn exchange_in(sizes: &[usize], one: &mut End, other: &mut End) {
    let mut sizes = sizes.iter().cycle();
    let mut carry = |from: &mut End, to: &mut End| {
        let bytes = from.take();
        let mut rest = &*bytes;
        while let Some(size) = sizes.next().filter(|_| !rest.is_empty()) {
            let (piece, behind) = rest.split_at(rest.len().min(*size));
            to.give(piece);
            rest = behind;
        }
        !bytes.is_empty()
    };
    while carry(one, other) | carry(other, one) {}
}

/// Checks that data goes both ways.
fn converse(one: &mut End, other: &mut End) {
    let long: Vec<u8> = (0..=u8::MAX).cycle().take(100_000).collect();
    for data in [&b"short"[..], &long] {
        one.send(data);
        exchange(one, other);
        assert_eq!(other.read(), data);
        other.send(data);
        exchange(one, other);
        assert_eq!(one.read(), data);
    }
}

/// An established pair: we serve, a client of ours.
fn pair(suite: SupportedCipherSuite) -> (End, End) {
    let files = Files::new();
    files.issue("ecdsa", &["localhost"]);
    files.issue_rsa("rsa", &["localhost"]);
    let tls = files.tls("ecdsa").also(files.path("rsa.pem"), files.path("rsa.key"));
    let mut server = our_server(&tls);
    // Our own client speaks every suite; rustls's is told which, and its state taken over.
    let mut config = files.their_client(Some(suite));
    config.key_log = Arc::new(super::handshake::Capture);
    config.enable_secret_extraction = true;
    config.resumption = rustls::client::Resumption::disabled();
    let name = ServerName::try_from("localhost").unwrap();
    let connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut client = End::ours(Session::new(connection));
    exchange(&mut client, &mut server);
    assert!(client.is_established() && server.is_established());
    (client, server)
}

fn suites() -> Vec<SupportedCipherSuite> {
    default_provider().cipher_suites
}

fn tls12() -> SupportedCipherSuite {
    rustls::crypto::ring::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
}

fn tls13() -> SupportedCipherSuite {
    rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256
}
