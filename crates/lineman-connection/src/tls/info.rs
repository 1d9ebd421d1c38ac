//! What a handshake agreed on and the peer's certificates, for handlers and logs.

use std::fmt;

use x509_parser::prelude::{FromDer as _, X509Certificate};

/// A version of TLS; older ones are not spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// TLS 1.2, RFC 5246.
    Tls12,
    /// TLS 1.3, RFC 8446.
    Tls13,
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Tls12 => "TLS 1.2",
            Self::Tls13 => "TLS 1.3",
        })
    }
}

/// The facts of one TLS connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsInfo {
    pub(super) version: Version,
    pub(super) cipher_suite: &'static str,
    pub(super) alpn: Option<Box<[u8]>>,
    pub(super) server_name: Option<Box<str>>,
    pub(super) resumed: bool,
    pub(super) peer_certificates: Box<[Box<[u8]>]>,
}

impl TlsInfo {
    /// Returns the version of TLS.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Returns the cipher suite by its registered name, `TLS_AES_128_GCM_SHA256` for one.
    pub fn cipher_suite(&self) -> &'static str {
        self.cipher_suite
    }

    /// Returns the protocol that both sides chose by ALPN (RFC 7301), `http/1.1` for one.
    pub fn alpn(&self) -> Option<&[u8]> {
        self.alpn.as_deref()
    }

    /// Returns the name the client asked for (SNI, RFC 6066 section 3), in lower case.
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// Returns whether this continues an earlier session by a ticket. The certificates are those of
    /// the session it continues.
    pub fn resumed(&self) -> bool {
        self.resumed
    }

    /// Returns the peer's verified certificates in DER, its own first. A client's are there only if
    /// they were asked for and sent.
    pub fn peer_certificates(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.peer_certificates.iter().map(|certificate| &**certificate)
    }

    /// Returns the subject of the peer's own certificate as text: `CN=alice, O=Example`. Parsed anew
    /// at each call.
    pub fn peer_subject(&self) -> Option<String> {
        let (_, certificate) = X509Certificate::from_der(self.peer_certificates.first()?).ok()?;
        Some(certificate.subject().to_string())
    }
}
