//! Certificates: which one a client gets, clients' own, and what happens when files change.

use std::fs;
use std::rc::Rc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::*;
use crate::tls::ClientCertificates;

/// Returns the subject of the certificate that a client gets which asks for `name`.
fn subject_for(files: &Files, acceptor: &Rc<Acceptor>, name: &str) -> String {
    let mut config = files.their_client(None);
    // Names are not what is tested; signatures are verified by every other test.
    config.dangerous().set_certificate_verifier(Arc::new(Credulous));
    let mut client = their_client_of(&Arc::new(config), name);
    let mut server = End::ours(acceptor.session());
    exchange(&mut client, &mut server);
    let certificate = client.their().peer_certificates().unwrap()[0].clone();
    subject(&certificate)
}

fn subject(der: &CertificateDer<'_>) -> String {
    use x509_parser::prelude::FromDer as _;
    let (_, certificate) = x509_parser::prelude::X509Certificate::from_der(der).unwrap();
    certificate.subject().to_string()
}

#[derive(Debug)]
struct Credulous;

impl rustls::client::danger::ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}

#[test]
fn a_client_gets_the_certificate_of_the_name_it_asks_for() {
    let files = Files::new();
    files.issue("first", &["one.example"]);
    files.issue("second", &["two.example", "*.wild.example"]);
    let tls = files.tls("first").also(files.path("second.pem"), files.path("second.key"));
    let acceptor = Acceptor::new(&tls, &from_master()).unwrap();
    for (name, expected) in [
        ("one.example", "first"),
        ("two.example", "second"),
        ("TWO.example", "second"),
        ("a.wild.example", "second"),
        ("unknown.example", "first"),
        ("127.0.0.1", "first"),
    ] {
        let found = subject_for(&files, &acceptor, name);
        assert!(found.contains(&format!("CN={expected}")), "{name}: {found}");
    }
}

#[test]
fn protocols_are_chosen_by_alpn() {
    let files = Files::new();
    let tls = files.tls("server").alpn(["h2", "http/1.1"]);
    assert_eq!(tls.clone().or_alpn(&["h2"]), tls);
    let mut client = our_client(&files.client_tls().alpn(["http/1.1"]));
    let mut server = our_server(&tls);
    exchange(&mut client, &mut server);
    for end in [&mut client, &mut server] {
        assert_eq!(end.our().session.info().unwrap().alpn(), Some(&b"http/1.1"[..]));
    }
    let mut client = our_client(&files.client_tls().alpn(["imap"]));
    let mut server = our_server(&tls);
    exchange(&mut client, &mut server);
    assert!(server.our().error.is_some());
}

#[test]
fn clients_show_certificates() {
    let files = Files::new();
    files.issue("alice", &["alice.example"]);
    let stranger = Files::new();
    stranger.issue("mallory", &["mallory.example"]);
    let plain = files.client_tls();
    let alice = plain.clone().client_certificate(files.path("alice.pem"), files.path("alice.key"));
    let mallory = plain
        .clone()
        .client_certificate(stranger.path("mallory.pem"), stranger.path("mallory.key"));
    let optional = ClientCertificates::Optional(files.path("ca.pem"));
    let required = ClientCertificates::Required(files.path("ca.pem"));
    for (wanted, client, expected) in [
        (ClientCertificates::None, &alice, Ok(None)),
        (optional.clone(), &plain, Ok(None)),
        (optional.clone(), &alice, Ok(Some("CN=alice"))),
        (optional, &mallory, Err("UnknownIssuer")),
        (required.clone(), &plain, Err("requires a client certificate")),
        (required.clone(), &alice, Ok(Some("CN=alice"))),
        (required, &mallory, Err("UnknownIssuer")),
    ] {
        let mut client = our_client(client);
        let mut server = our_server(&files.tls("server").client_certificates(wanted.clone()));
        exchange(&mut client, &mut server);
        let server = server.our();
        match expected {
            Ok(expected) => {
                let info = server.session.info().unwrap();
                let subject = info.peer_subject();
                assert_eq!(subject.is_some(), expected.is_some(), "{wanted:?}");
                assert!(subject.unwrap_or_default().contains(expected.unwrap_or_default()));
                assert_eq!(info.peer_certificates().len(), usize::from(expected.is_some()));
            }
            Err(expected) => {
                let error = server.error.take().unwrap().to_string();
                assert!(error.contains(expected), "{error}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn changed_files_are_used_without_dropping_anybody() {
    let files = Files::new();
    files.issue("old", &["localhost"]);
    let (certificate, key) = (files.path("live.pem"), files.path("live.key"));
    fs::copy(files.path("old.pem"), &certificate).unwrap();
    fs::copy(files.path("old.key"), &key).unwrap();
    let acceptor = Acceptor::new(&Tls::files(&certificate, &key), &from_master()).unwrap();
    let mut client = their_client(files.their_client(None));
    let mut server = End::ours(acceptor.session());
    exchange(&mut client, &mut server);

    files.issue("new", &["localhost"]);
    let replace = |from: &str, to: &std::path::Path| {
        fs::copy(files.path(from), files.path("next")).unwrap();
        fs::rename(files.path("next"), to).unwrap();
    };
    let found = || subject_for(&files, &acceptor, "localhost");
    // Half of the pair: it does not fit, the old one stays.
    replace("new.pem", &certificate);
    assert!(found().contains("CN=old"), "nobody has looked yet");
    tokio::time::advance(std::time::Duration::from_secs(11)).await;
    assert!(found().contains("CN=old"));
    replace("new.key", &key);
    tokio::time::advance(std::time::Duration::from_secs(11)).await;
    assert!(found().contains("CN=new"));
    // Nonsense, then nothing at all.
    fs::write(&certificate, "nonsense").unwrap();
    tokio::time::advance(std::time::Duration::from_secs(11)).await;
    assert!(found().contains("CN=new"));
    fs::remove_file(&certificate).unwrap();
    tokio::time::advance(std::time::Duration::from_secs(11)).await;
    assert!(found().contains("CN=new"));
    converse(&mut client, &mut server);
}

#[tokio::test(start_paused = true)]
async fn a_reload_has_the_files_looked_at_once() {
    let files = Files::new();
    files.issue("old", &["localhost"]);
    files.issue("new", &["localhost"]);
    let from = from_master();
    let acceptor = Acceptor::new(&files.tls("old"), &from).unwrap();
    for kind in ["pem", "key"] {
        let path = |stem| files.path(&format!("{stem}.{kind}"));
        fs::rename(path("new"), path("old")).unwrap();
    }
    let found = || subject_for(&files, &acceptor, "localhost");
    assert!(found().contains("CN=old"), "nobody has looked yet");
    from.reload();
    assert!(found().contains("CN=new"));
}

#[test]
fn a_start_names_the_file_that_is_wrong() {
    let files = Files::new();
    files.issue("other", &["localhost"]);
    fs::write(files.path("empty.pem"), "").unwrap();
    let pem = files.path("server.pem");
    let key = files.path("server.key");
    let authorities = |file: &str| {
        files.tls("server").client_certificates(ClientCertificates::Required(files.path(file)))
    };
    for (tls, file, problem) in [
        (Tls::files(files.path("missing.pem"), &key), "missing.pem", "o such file"),
        (Tls::files(&pem, files.path("missing.key")), "missing.key", "o such file"),
        (Tls::files(files.path("empty.pem"), &key), "empty.pem", "no certificate"),
        (Tls::files(&pem, files.path("other.key")), "server.pem", "other.key"),
        (Tls::files(&pem, &pem), "server.pem", "no private key"),
        (authorities("missing.pem"), "missing.pem", "o such file"),
        (authorities("empty.pem"), "empty.pem", "no certificate"),
    ] {
        let error = Acceptor::new(&tls, &from_master()).unwrap_err().to_string();
        assert!(error.contains(file) && error.contains(problem), "{error}");
    }
}

#[test]
fn a_self_signed_certificate_replaces_all_files() {
    let folder = TempDir::new().unwrap();
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let key = KeyPair::generate().unwrap();
    let made = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    let (certificate_file, key_file) =
        (folder.path().join("self-signed.pem"), folder.path().join("self-signed.key"));
    fs::write(&certificate_file, made.pem()).unwrap();
    fs::write(&key_file, key.serialize_pem()).unwrap();
    let from = from_master();
    from.use_self_signed(certificate_file.clone(), key_file);
    let tls = Tls::files("there/is/no/such.pem", "there/is/no/such.key");
    let acceptor = Acceptor::new(&tls, &from).unwrap();
    let trust = ClientTls::new().root_certificates(certificate_file);
    let connector = Connector::new(&trust).unwrap();
    for name in ["localhost", "127.0.0.1", "::1"] {
        let mut client = End::ours(connector.session(name).unwrap());
        let mut server = End::ours(acceptor.session());
        exchange(&mut client, &mut server);
        assert!(client.our().error.is_none(), "{name}: {:?}", client.our().error);
        converse(&mut client, &mut server);
    }
}

#[test]
fn an_authoritys_certificate_is_known_from_a_servers() {
    let files = Files::new();
    let provider = Arc::new(default_provider());
    for (file, expected) in [("ca.pem", true), ("server.pem", false)] {
        let certificate = CertificateDer::from_pem_file(files.path(file)).unwrap();
        assert_eq!(certificates::is_of_an_authority(&certificate, &provider), expected, "{file}");
    }
}
