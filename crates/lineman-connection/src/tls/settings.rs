//! What users say about TLS: files, certificates of clients, protocols. Reads no file; that happens
//! when a service starts.

use std::path::{Path, PathBuf};

/// TLS of a listener: versions 1.2 and 1.3, with certificates from files.
///
/// The files are looked at again at most every ten seconds while connections come, and at each reload.
/// Changed ones serve new connections; no connection is dropped. If the new files are broken the old
/// certificates stay, and the log says so once.
///
/// ```
/// # use lineman_connection::tls::Tls;
/// let tls = Tls::files("example.org.pem", "example.org.key")
///     .also("example.net.pem", "example.net.key")
///     .alpn(["http/1.1"]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Invariant: not empty.
    pub(super) pairs: Vec<Pair>,
    pub(super) client_certificates: ClientCertificates,
    pub(super) alpn: Vec<Vec<u8>>,
}

/// A certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

impl Pair {
    fn new(certificate: impl AsRef<Path>, key: impl AsRef<Path>) -> Self {
        Self { certificate: certificate.as_ref().to_owned(), key: key.as_ref().to_owned() }
    }
}

/// Whether clients show a certificate. The files hold the authorities that sign them, in PEM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ClientCertificates {
    /// They are not asked for one. The default.
    #[default]
    None,
    /// They are asked; a bad one ends the handshake, none at all does not.
    Optional(PathBuf),
    /// Without a good one there is no connection.
    Required(PathBuf),
}

impl Tls {
    /// Returns TLS with this certificate chain, the server's own first, and its key; both in PEM.
    pub fn files(certificate: impl AsRef<Path>, key: impl AsRef<Path>) -> Self {
        Self {
            pairs: vec![Pair::new(certificate, key)],
            client_certificates: ClientCertificates::None,
            alpn: Vec::new(),
        }
    }

    /// Adds another certificate. A client gets the first one that is valid for the name it asks for
    /// (SNI) and whose kind of key it knows; the very first one if none is.
    #[must_use]
    pub fn also(mut self, certificate: impl AsRef<Path>, key: impl AsRef<Path>) -> Self {
        self.pairs.push(Pair::new(certificate, key));
        self
    }

    /// Sets whether clients show a certificate. Default: they are not asked.
    #[must_use]
    pub fn client_certificates(mut self, wanted: ClientCertificates) -> Self {
        self.client_certificates = wanted;
        self
    }

    /// Sets the protocols to choose from by ALPN, the preferred first: `h2`, `http/1.1`. A client that
    /// offers others alone is refused. Default: `h2` and `http/1.1` for
    /// [`Worker::http`](crate::Worker::http); else none, and whatever a client offers is ignored.
    #[must_use]
    pub fn alpn<P: Into<Vec<u8>>>(mut self, protocols: impl IntoIterator<Item = P>) -> Self {
        self.alpn = protocols.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the protocols if none were set.
    pub(crate) fn or_alpn(self, protocols: &[&str]) -> Self {
        if self.alpn.is_empty() { self.alpn(protocols.iter().copied()) } else { self }
    }
}

/// TLS of an outgoing connection: versions 1.2 and 1.3; the server's certificate is always verified.
///
/// By default against the authorities this machine trusts (the operating system's, as OpenSSL finds
/// them): its administrator adds and removes some there, and updates come without a new build.
///
/// Sessions are not resumed: each connection makes a full handshake.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientTls {
    pub(super) root_certificates: Option<PathBuf>,
    pub(super) certificate: Option<Pair>,
    pub(super) alpn: Vec<Vec<u8>>,
    pub(super) server_name: Option<String>,
}

impl ClientTls {
    /// Returns TLS that trusts what this machine trusts.
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts the authorities in this PEM file, and no others.
    #[must_use]
    pub fn root_certificates(mut self, file: impl AsRef<Path>) -> Self {
        self.root_certificates = Some(file.as_ref().to_owned());
        self
    }

    /// Shows this certificate, with its key, if the server asks for one; both in PEM.
    #[must_use]
    pub fn client_certificate(
        mut self,
        certificate: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Self {
        self.certificate = Some(Pair::new(certificate, key));
        self
    }

    /// Sets the protocols to offer by ALPN, the preferred first. Default: none.
    #[must_use]
    pub fn alpn<P: Into<Vec<u8>>>(mut self, protocols: impl IntoIterator<Item = P>) -> Self {
        self.alpn = protocols.into_iter().map(Into::into).collect();
        self
    }

    /// Asks for, and verifies, this name. Default: the host of the address.
    #[must_use]
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }
}
