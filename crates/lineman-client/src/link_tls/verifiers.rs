//! What an end of a link takes the other one for, and to whom it shows what it is.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{
    WebPkiSupportedAlgorithms, verify_tls13_signature, verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, PeerIncompatible, RootCertStore,
    SignatureScheme,
};

/// What the end that is connected to shows, to those that offer the right protocol.
#[derive(Debug)]
pub(super) struct OnLinks {
    pub(super) shown: Arc<CertifiedKey>,
    pub(super) is_raw: bool,
}

impl ResolvesServerCert for OnLinks {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // Where none is offered, none is missed. Where another one is, rustls refuses that in what goes before a
        // certificate.
        hello.alpn().map(|_| Arc::clone(&self.shown))
    }

    fn only_raw_public_keys(&self) -> bool {
        self.is_raw
    }
}

/// Takes an end that has the same key pair.
#[derive(Debug)]
pub(super) struct SameKey {
    pub(super) public: Vec<u8>,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

impl SameKey {
    fn compare(&self, shown: &CertificateDer<'_>) -> Result<(), rustls::Error> {
        let same = shown.as_ref() == self.public;
        let other = CertificateError::ApplicationVerificationFailure;
        if same { Ok(()) } else { Err(rustls::Error::InvalidCertificate(other)) }
    }

    fn verify(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let public = SubjectPublicKeyInfoDer::from(shown.as_ref());
        verify_tls13_signature_with_raw_key(message, &public, signature, &self.algorithms)
    }
}

/// What both sides verify alike, but for the certificate itself.
macro_rules! tls13_alone {
    () => {
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Err(PeerIncompatible::Tls12NotOffered.into())
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            shown: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            self.verify(message, shown, signature)
        }
    };
}

impl ServerCertVerifier for SameKey {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.compare(shown).map(|()| ServerCertVerified::assertion())
    }

    tls13_alone!();

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for SameKey {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.compare(shown).map(|()| ClientCertVerified::assertion())
    }

    tls13_alone!();

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// Takes an end that has a certificate of one of these authorities, whatever its name.
#[derive(Debug)]
pub(super) struct OfAuthority {
    pub(super) roots: Arc<RootCertStore>,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

impl OfAuthority {
    fn verify(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, shown, signature, &self.algorithms)
    }
}

impl ServerCertVerifier for OfAuthority {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let shown = ParsedCertificate::try_from(shown)?;
        let (roots, all) = (&self.roots, self.algorithms.all);
        verify_server_cert_signed_by_trust_anchor(&shown, roots, intermediates, now, all)?;
        Ok(ServerCertVerified::assertion())
    }

    tls13_alone!();

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
