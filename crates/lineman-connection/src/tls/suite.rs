//! The nine cipher suites of rustls's ring provider, as data for the record layer: which AEAD, which
//! hash. Chooses nothing; the handshake has chosen.

use ring::aead::{AES_128_GCM, AES_256_GCM, Algorithm, CHACHA20_POLY1305};
use ring::hkdf::{HKDF_SHA256, HKDF_SHA384};

use super::info::Version;

/// After how many records under one AES-GCM key an attacker could begin to tell it from random;
/// rustls's figure, below the 2^24.5 of RFC 8446 section 5.5.
const GCM_RECORDS: u64 = 1 << 24;

/// One cipher suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Suite {
    /// Its number in the registry.
    pub(crate) number: u16,
    /// Its name in the registry.
    pub(crate) name: &'static str,
    /// The one version it belongs to.
    pub(crate) version: Version,
    aead: Aead,
    /// Bytes of a TLS 1.3 traffic secret.
    pub(super) secret_length: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aead {
    Aes128Gcm,
    Aes256Gcm,
    Chacha20Poly1305,
}

const fn suite(number: u16, name: &'static str, aead: Aead, secret_length: usize) -> Suite {
    let version = if number >> 8 == 0x13 { Version::Tls13 } else { Version::Tls12 };
    Suite { number, name, version, aead, secret_length }
}

pub(super) static SUITES: [Suite; 9] = [
    suite(0x1301, "TLS_AES_128_GCM_SHA256", Aead::Aes128Gcm, 32),
    suite(0x1302, "TLS_AES_256_GCM_SHA384", Aead::Aes256Gcm, 48),
    suite(0x1303, "TLS_CHACHA20_POLY1305_SHA256", Aead::Chacha20Poly1305, 32),
    suite(0xc02b, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", Aead::Aes128Gcm, 0),
    suite(0xc02c, "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", Aead::Aes256Gcm, 0),
    suite(0xc02f, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", Aead::Aes128Gcm, 0),
    suite(0xc030, "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", Aead::Aes256Gcm, 0),
    suite(0xcca8, "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", Aead::Chacha20Poly1305, 0),
    suite(0xcca9, "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", Aead::Chacha20Poly1305, 0),
];

impl Suite {
    /// Returns the suite with this number.
    pub(super) fn find(number: u16) -> Option<&'static Self> {
        SUITES.iter().find(|suite| suite.number == number)
    }

    /// Returns its AEAD.
    pub(super) fn algorithm(&self) -> &'static Algorithm {
        match self.aead {
            Aead::Aes128Gcm => &AES_128_GCM,
            Aead::Aes256Gcm => &AES_256_GCM,
            Aead::Chacha20Poly1305 => &CHACHA20_POLY1305,
        }
    }

    /// Returns its key derivation; for TLS 1.3 alone.
    pub(super) fn hkdf(&self) -> ring::hkdf::Algorithm {
        if self.secret_length == 48 { HKDF_SHA384 } else { HKDF_SHA256 }
    }

    /// Returns how many bytes of the nonce stand in each record: TLS 1.2 with GCM sends its half.
    pub(super) fn explicit_nonce(&self) -> usize {
        match (self.version, self.aead) {
            (Version::Tls12, Aead::Aes128Gcm | Aead::Aes256Gcm) => 8,
            _ => 0,
        }
    }

    /// Returns how many records one key may protect.
    pub(super) fn record_limit(&self) -> u64 {
        if self.aead == Aead::Chacha20Poly1305 { u64::MAX } else { GCM_RECORDS }
    }
}
