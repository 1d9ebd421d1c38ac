//! Tickets: a session goes on with whichever worker has the master's keys, and nowhere else.

use super::*;
use crate::tls::ClientCertificates;

/// Returns whether the client's session was resumed, and whether the connection works.
fn connect(config: &Arc<ClientConfig>, acceptor: &Acceptor) -> bool {
    let mut client = their_client_of(config, "localhost");
    let mut server = End::ours(acceptor.session());
    exchange(&mut client, &mut server);
    assert!(server.our().error.is_none(), "{:?}", server.our().error);
    converse(&mut client, &mut server);
    let resumed = server.our().session.info().unwrap().resumed();
    let theirs = client.their().handshake_kind() == Some(rustls::HandshakeKind::Resumed);
    assert_eq!(resumed, theirs);
    resumed
}

#[test]
fn another_worker_goes_on_with_a_session() {
    let files = Files::new();
    let mut keys = TicketKeys::first(random_key());
    let (one, other) = (FromMaster::default(), FromMaster::default());
    let first = Acceptor::new(&files.tls("server"), &one).unwrap();
    let second = Acceptor::new(&files.tls("server"), &other).unwrap();
    for suite in [tls12(), tls13()] {
        let config = Arc::new(files.their_client(Some(suite)));
        one.tickets.accept(keys.clone());
        other.tickets.accept(keys.clone());
        assert!(!connect(&config, &first));
        assert!(connect(&config, &second));
        assert!(connect(&config, &first));
        keys.rotate(random_key());
        other.tickets.accept(keys.clone());
        assert!(connect(&config, &second), "the key before is still taken");
        keys.rotate(random_key());
        keys.rotate(random_key());
        other.tickets.accept(keys.clone());
        assert!(!connect(&config, &second), "the key is forgotten");
    }
}

#[test]
fn without_keys_there_is_no_ticket() {
    let files = Files::new();
    let acceptor = Acceptor::new(&files.tls("server"), &FromMaster::default()).unwrap();
    let config = Arc::new(files.their_client(None));
    assert!(!connect(&config, &acceptor));
    assert!(!connect(&config, &acceptor));
}

#[test]
fn a_session_without_a_certificate_does_not_go_on_where_one_is_required() {
    let files = Files::new();
    let from = from_master();
    let open = Acceptor::new(&files.tls("server"), &from).unwrap();
    let required = ClientCertificates::Required(files.path("ca.pem"));
    let closed = Acceptor::new(&files.tls("server").client_certificates(required), &from).unwrap();
    for suite in [tls12(), tls13()] {
        let config = Arc::new(files.their_client(Some(suite)));
        assert!(!connect(&config, &open));
        let mut client = their_client_of(&config, "localhost");
        let mut server = End::ours(closed.session());
        exchange(&mut client, &mut server);
        assert!(server.our().error.is_some());
    }
}

#[test]
fn a_resumed_session_still_knows_the_clients_certificate() {
    let files = Files::new();
    files.issue("alice", &["alice.example"]);
    let required = ClientCertificates::Required(files.path("ca.pem"));
    let acceptor =
        Acceptor::new(&files.tls("server").client_certificates(required), &from_master()).unwrap();
    let pair = Pair { certificate: files.path("alice.pem"), key: files.path("alice.key") };
    let (chain, key) = certificates::read(&pair).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(files.roots())
        .with_client_auth_cert(chain, key)
        .unwrap();
    let config = Arc::new(config);
    for resumed in [false, true] {
        let mut client = their_client_of(&config, "localhost");
        let mut server = End::ours(acceptor.session());
        exchange(&mut client, &mut server);
        let info = server.our().session.info().unwrap();
        assert_eq!(info.resumed(), resumed);
        assert!(info.peer_subject().unwrap().contains("CN=alice"));
    }
}
