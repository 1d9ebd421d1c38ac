//! Our sessions against rustls's ordinary connections: every suite, both sides, any split.

use proptest::prelude::*;

use super::*;
use crate::tls::Version;

#[test]
fn every_suite_both_ways() {
    let files = Files::new();
    files.issue_rsa("rsa", &["localhost"]);
    for suite in suites() {
        let name = format!("{:?}", suite.suite());
        let stem = if name.contains("_RSA_") { "rsa" } else { "server" };
        let mut client = their_client(files.their_client(Some(suite)));
        let mut server = our_server(&files.tls(stem));
        exchange(&mut client, &mut server);
        converse(&mut client, &mut server);
        let info = server.our().session.info().unwrap();
        let expected = name.replace("TLS13_", "TLS_");
        assert_eq!(info.cipher_suite(), expected);
        assert_eq!(info.version() == Version::Tls13, name.starts_with("TLS13_"));
        assert_eq!(info.server_name(), Some("localhost"));

        let mut client = our_client(&files.client_tls());
        let mut server = files.their_server(stem, Some(suite));
        exchange(&mut client, &mut server);
        converse(&mut client, &mut server);
        assert_eq!(client.our().session.info().unwrap().cipher_suite(), expected);
    }
}

#[test]
fn every_suite_moves_to_another_process_in_the_middle() {
    for suite in suites() {
        let (mut client, mut server) = pair(suite);
        converse(&mut client, &mut server);
        // Half a record is on its way; it moves as bytes.
        client.send(b"on the way");
        let bytes = client.take();
        server.give(&bytes[..7]);
        let ours = std::mem::replace(server.our(), moved(&bytes[..0]));
        let state = ours.session.into_state().unwrap().to_bytes();
        assert!(state.len() <= 150, "{}", state.len());
        let state = crate::tls::state::State::from_bytes(&state).unwrap();
        server.our().session = Session::from_state(state);
        server.our().input = ours.input;
        server.give(&bytes[7..]);
        assert_eq!(server.read(), b"on the way");
        converse(&mut client, &mut server);
    }
}

fn moved(input: &[u8]) -> Ours {
    let End::Ours(mut ours) = End::ours(our_client_of_nobody()) else { panic!("ours") };
    ours.output.clear();
    ours.input.extend_from_slice(input);
    ours
}

/// A session to be replaced.
fn our_client_of_nobody() -> Session {
    let files = Files::new();
    Connector::new(&files.client_tls()).unwrap().session("localhost").unwrap()
}

#[test]
fn a_written_state_is_read_back_or_not_at_all() {
    use crate::tls::state::State;
    for suite in [tls12(), tls13()] {
        let (mut client, _) = pair(suite);
        let ours = std::mem::replace(client.our(), moved(&[]));
        let state = ours.session.into_state().unwrap();
        let bytes = state.to_bytes();
        assert_eq!(State::from_bytes(&bytes), Some(state));
        for length in 0..bytes.len() {
            assert_eq!(State::from_bytes(&bytes[..length]), None);
        }
        assert_eq!(State::from_bytes(&[&bytes[..], &[0]].concat()), None);
        assert_eq!(State::from_bytes(&[&[2], &bytes[1..]].concat()), None, "another format");
    }
}

#[test]
fn the_end_is_told_and_what_comes_behind_it_is_not_read() {
    let files = Files::new();
    for suite in [tls12(), tls13()] {
        let mut client = their_client(files.their_client(Some(suite)));
        let mut server = our_server(&files.tls("server"));
        exchange(&mut client, &mut server);
        client.send(b"last");
        client.their().send_close_notify();
        let bytes = [client.take(), b"garbage behind the end".to_vec()].concat();
        server.give(&bytes);
        assert!(server.our().closed);
        assert!(server.our().error.is_none() && server.our().input.is_empty());
        assert_eq!(server.read(), b"last");
        // The other direction is still open (RFC 8446 section 6.1).
        server.send(b"answer");
        let ours = server.our();
        ours.session.close_notify(&mut ours.output);
        ours.session.close_notify(&mut ours.output);
        assert!(matches!(ours.session.seal(b"more", &mut ours.output), Err(TlsError::NotOpen)));
        let bytes = server.take();
        client.give(&bytes);
        assert!(client.their().process_new_packets().unwrap().peer_has_closed());
        assert_eq!(client.read(), b"answer");
    }
}

#[test]
fn data_may_come_with_the_last_flight() {
    let files = Files::new();
    for suite in [tls12(), tls13()] {
        let mut client = their_client(files.their_client(Some(suite)));
        let mut server = our_server(&files.tls("server"));
        while client.their().is_handshaking() {
            let bytes = client.take();
            server.give(&bytes);
            let bytes = server.take();
            client.give(&bytes);
        }
        client.send(b"early bird");
        let bytes = client.take();
        server.give(&bytes);
        assert_eq!(server.read(), b"early bird");
        converse(&mut client, &mut server);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_split_of_the_bytes_gives_the_same_plaintext(
        sizes in prop::collection::vec(1_usize..4000, 1..9),
        data in prop::collection::vec(any::<u8>(), 0..40_000),
        suite in prop::sample::select(vec![tls12(), tls13()]),
    ) {
        let files = Files::new();
        let mut client = their_client(files.their_client(Some(suite)));
        let mut server = our_server(&files.tls("server"));
        exchange_in(&sizes, &mut client, &mut server);
        prop_assert!(client.is_established() && server.is_established());
        let (mut sent, mut returned) = (Vec::new(), Vec::new());
        for piece in data.chunks(7000) {
            sent.extend_from_slice(piece);
            client.send(piece);
            server.send(piece);
            exchange_in(&sizes, &mut client, &mut server);
            returned.extend(client.read());
        }
        prop_assert_eq!(server.read(), sent.clone());
        prop_assert_eq!(returned, sent);
    }

    #[test]
    fn our_client_takes_any_split(sizes in prop::collection::vec(1_usize..3000, 1..9)) {
        let files = Files::new();
        let mut client = our_client(&files.client_tls());
        let mut server = files.their_server("server", None);
        exchange_in(&sizes, &mut client, &mut server);
        converse(&mut client, &mut server);
    }
}

#[test]
fn byte_by_byte() {
    let files = Files::new();
    for suite in [tls12(), tls13()] {
        let mut client = their_client(files.their_client(Some(suite)));
        let mut server = our_server(&files.tls("server"));
        exchange_in(&[1], &mut client, &mut server);
        client.send(b"one by one");
        exchange_in(&[1], &mut client, &mut server);
        assert_eq!(server.read(), b"one by one");
    }
}
