//! How TLS with a peer can fail, in words for a log: what happened, and what to do.

use rustls::{AlertDescription, CertificateError};

/// Why a TLS connection failed. It cannot go on after any of these.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The peer speaks something else.
    #[error("the peer does not speak TLS: its first byte is {first:#04x}{guess}", guess = guess(*.first))]
    NotTls {
        /// What it began with.
        first: u8,
    },
    /// What came cannot be read.
    #[error("the peer sent what is no TLS: {0}")]
    BadRecord(&'static str),
    /// A record is of a version that was not agreed on.
    #[error("the peer sent a record of another version: {0}")]
    BadVersion(&'static str),
    /// A field has a value that it may not have.
    #[error("the peer sent a value that TLS does not allow: {0}")]
    BadValue(&'static str),
    /// A record is longer than the protocol allows; nothing of it was kept.
    #[error("the peer announced a TLS record of {length} bytes, {limit} are allowed")]
    RecordTooLong {
        /// What its header says.
        length: usize,
        /// What is allowed.
        limit: usize,
    },
    /// The handshake failed.
    #[error("TLS handshake: {error}{advice}", error = .0, advice = advice(.0))]
    Handshake(#[from] rustls::Error),
    /// The peer ended the connection by an alert.
    #[error("the peer ended TLS with the alert {name}", name = alert_name(*.0))]
    Alert(u8),
    /// A record was not protected by the keys agreed on.
    #[error("a TLS record fails its check: it was damaged, forged, dropped or repeated on the way")]
    NotAuthentic,
    /// Something came that has no place after a handshake.
    #[error("the peer sent {0} where TLS does not allow it")]
    Unexpected(&'static str),
    /// The peer sends records, but no data.
    #[error("the peer sent {0} TLS records without data in a row")]
    Fruitless(u8),
    /// The keys have protected as many records as they safely can, and TLS 1.2 has no new ones.
    #[error("the keys of this TLS 1.2 connection are used up: reconnect, or use TLS 1.3")]
    Exhausted,
    /// The connection is not established, has been closed, or has failed.
    #[error("TLS is not established, or is closed")]
    NotOpen,
    /// The server's name is neither a host name nor an address.
    #[error("{0:?} is no name that a server's certificate can have: use its host name")]
    ServerName(String),
    /// Rustls and the record layer disagree.
    #[error("TLS fails inside, please report this: {0}")]
    Internal(&'static str),
}

impl TlsError {
    /// Returns the alert to end the connection with, as RFC 8446, 5 and 6 name it; `None` when rustls has
    /// sent one, or none is due.
    pub(crate) fn alert(&self) -> Option<u8> {
        let description = match self {
            Self::RecordTooLong { .. } => AlertDescription::RecordOverflow,
            Self::NotAuthentic => AlertDescription::BadRecordMac,
            Self::Unexpected(_) | Self::Fruitless(_) => AlertDescription::UnexpectedMessage,
            Self::BadRecord(_) => AlertDescription::DecodeError,
            Self::BadVersion(_) => AlertDescription::ProtocolVersion,
            Self::BadValue(_) => AlertDescription::IllegalParameter,
            Self::Internal(_) => AlertDescription::InternalError,
            Self::NotTls { .. }
            | Self::Handshake(_)
            | Self::Alert(_)
            | Self::Exhausted
            | Self::NotOpen
            | Self::ServerName(_) => return None,
        };
        Some(description.into())
    }
}

fn guess(first: u8) -> &'static str {
    match first {
        b'A'..=b'Z' => ", which looks like plain HTTP (hint: use https:// or wss://)",
        0x80..=0xff => ", which looks like SSL 2",
        _ => "",
    }
}

fn alert_name(number: u8) -> String {
    match AlertDescription::from(number) {
        AlertDescription::Unknown(number) => format!("number {number}"),
        known => format!("{known:?}"),
    }
}

/// Returns whether a certificate was refused because it is one of an authority.
pub(crate) fn is_of_an_authority(error: &rustls::Error) -> bool {
    let rustls::Error::InvalidCertificate(CertificateError::Other(other)) = error else {
        return false;
    };
    // The words are all that rustls-webpki's own error is known by here.
    other.to_string().contains("CaUsedAsEndEntity")
}

/// What the one who reads the log can do.
fn advice(error: &rustls::Error) -> &'static str {
    use rustls::Error::{AlertReceived, InvalidCertificate, NoCertificatesPresented};
    match error {
        AlertReceived(AlertDescription::UnknownCA) => {
            " (hint: the peer does not know who signed our certificate: does the file hold the whole \
             chain?)"
        }
        AlertReceived(AlertDescription::BadCertificate | AlertDescription::CertificateUnknown) => {
            " (hint: the peer does not accept our certificate)"
        }
        InvalidCertificate(CertificateError::UnknownIssuer) => {
            " (hint: no authority we trust has signed the peer's certificate: name its file with \
             `root_certificates`)"
        }
        InvalidCertificate(CertificateError::BadSignature) => {
            " (hint: the authority that the peer's certificate names has another key than the one we \
             trust: is our file of it out of date?)"
        }
        InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            " (hint: the peer has to renew its certificate, or a clock is wrong)"
        }
        error if is_of_an_authority(error) => {
            " (hint: the peer's own certificate is one of an authority, `CA:TRUE`: it needs one for \
             servers, signed by that authority)"
        }
        NoCertificatesPresented => {
            " (hint: this listener requires a client certificate, and the peer has sent none)"
        }
        _ => "",
    }
}
