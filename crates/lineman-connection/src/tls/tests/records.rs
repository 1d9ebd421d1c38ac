//! The record layer: key updates, limits of keys, messages after the handshake, and what it costs.

use super::*;
use crate::tls::TlsInfo;
use crate::tls::record::kind;
use crate::tls::state::State;

/// Replaces a session by one of a changed state.
fn change(end: &mut End, change: impl FnOnce(&mut State)) {
    let ours = end.our();
    let session = std::mem::replace(&mut ours.session, Session::failed());
    let mut state = session.into_state().unwrap();
    change(&mut state);
    ours.session = Session::from_state(state);
}

/// Lets one end send a record of this kind.
pub(super) fn inject(end: &mut End, kind: u8, data: &[u8]) {
    let mut record = BytesMut::new();
    change(end, |state| {
        let cipher = state.sent.cipher(state.suite).unwrap();
        state.put(&cipher, kind, data, &mut record).unwrap();
    });
    end.our().output.extend_from_slice(&record);
}

#[test]
fn keys_are_updated_by_either_side() {
    let files = Files::new();
    let mut client = their_client(files.their_client(Some(tls13())));
    let mut server = our_server(&files.tls("server"));
    exchange(&mut client, &mut server);
    for _ in 0..3 {
        // It asks for ours as well.
        client.their().refresh_traffic_keys().unwrap();
        converse(&mut client, &mut server);
    }
    let mut client = our_client(&files.client_tls());
    let mut server = files.their_server("server", Some(tls13()));
    exchange(&mut client, &mut server);
    server.their().refresh_traffic_keys().unwrap();
    converse(&mut client, &mut server);
}

#[test]
fn an_update_may_come_in_pieces_and_is_answered_once() {
    let (mut client, mut server) = pair(tls13());
    for byte in [24, 0, 0, 1] {
        inject(&mut client, kind::HANDSHAKE, &[byte]);
    }
    exchange(&mut client, &mut server);
    // In the middle of the message it moves to another process.
    change(&mut server, |state| *state = State::from_bytes(&state.to_bytes()).unwrap());
    inject(&mut client, kind::HANDSHAKE, &[1]);
    change(&mut client, |state| state.sent.update(state.suite).unwrap());
    inject(&mut client, kind::HANDSHAKE, &[24, 0, 0, 1, 1]);
    change(&mut client, |state| state.sent.update(state.suite).unwrap());
    let bytes = client.take();
    server.give(&bytes);
    assert_eq!(server.our().output.len(), 5 + 5 + 1 + 16, "one key update");
    converse(&mut client, &mut server);
}

/// Each request between two pieces of data was answered, whether the peer took the answers or not.
#[test]
fn answers_to_updates_do_not_pile_up_unread() {
    let (mut client, mut server) = pair(tls13());
    for _ in 0..1000 {
        inject(&mut client, kind::HANDSHAKE, &[24, 0, 0, 1, 1]);
        change(&mut client, |state| state.sent.update(state.suite).unwrap());
        client.send(b"x");
        let bytes = client.take();
        server.give(&bytes);
    }
    assert_eq!(server.our().output.len(), 5 + 5 + 1 + 16, "one key update");
    // What is owed moves along, and is paid with the next data.
    change(&mut server, |state| *state = State::from_bytes(&state.to_bytes()).unwrap());
    server.send(b"y");
    assert_eq!(server.our().output.len(), 2 * (5 + 5 + 1 + 16) + 5 + 1 + 1 + 16);
    exchange(&mut server, &mut client);
    assert_eq!((server.read(), client.read()), (vec![b'x'; 1000], vec![b'y']));
    converse(&mut client, &mut server);
}

#[test]
fn keys_are_renewed_before_their_limit() {
    let (mut client, mut server) = pair(tls13());
    let near = (1 << 24) - 66;
    change(&mut client, |state| state.sent.sequence = near);
    change(&mut server, |state| state.received.sequence = near);
    for _ in 0..5 {
        converse(&mut client, &mut server);
    }
    change(&mut client, |state| assert!(state.sent.sequence < 1000));
}

#[test]
fn keys_of_tls12_end_with_a_farewell() {
    let (mut client, mut server) = pair(tls12());
    let near = (1 << 24) - 65;
    change(&mut client, |state| state.sent.sequence = near);
    change(&mut server, |state| state.received.sequence = near);
    client.send(b"the last one");
    let ours = client.our();
    let outcome = ours.session.seal(b"one too many", &mut ours.output);
    assert!(matches!(outcome, Err(TlsError::Exhausted)), "{outcome:?}");
    exchange(&mut client, &mut server);
    assert_eq!(server.read(), b"the last one");
    assert!(server.our().closed);
}

#[test]
fn tickets_are_passed_over_by_a_client_alone() {
    let (mut client, mut server) = pair(tls13());
    let ticket = [&[4, 0, 1, 0], &[7; 256][..]].concat();
    inject(&mut server, kind::HANDSHAKE, &ticket);
    inject(&mut server, kind::HANDSHAKE, &ticket[..100]);
    inject(&mut server, kind::HANDSHAKE, &[&ticket[100..], &[24, 0, 0, 1, 0]].concat());
    change(&mut server, |state| state.sent.update(state.suite).unwrap());
    converse(&mut client, &mut server);
    inject(&mut client, kind::HANDSHAKE, &ticket);
    exchange(&mut client, &mut server);
    assert!(matches!(server.our().error, Some(TlsError::Unexpected(_))));
}

#[track_caller]
fn refused(suite: SupportedCipherSuite, from_client: &[(u8, &[u8])], expected: &str, alert: u8) {
    let (mut client, mut server) = pair(suite);
    for (kind, data) in from_client {
        inject(&mut client, *kind, data);
    }
    exchange(&mut client, &mut server);
    let error = server.our().error.take().expect("an error");
    assert!(error.to_string().contains(expected), "{error}");
    // The client was told by the alert, and the server is over.
    let told = client.our().error.take();
    assert!(matches!(told, Some(TlsError::Alert(told)) if told == alert), "{told:?}: {expected}");
    let ours = server.our();
    assert!(ours.session.seal(b"x", &mut ours.output).is_err());
}

#[test]
fn what_has_no_place_after_the_handshake_ends_the_connection() {
    let update: &[u8] = &[24, 0, 0, 1, 0];
    let hello: &[u8] = &[1, 0, 0, 2, 3, 3];
    // The numbers of RFC 8446, 6.
    let (unexpected, illegal, undecodable) = (10, 47, 50);
    let ticket: &[u8] = &[4, 0, 1, 0];
    for (suite, records, expected, alert) in [
        (tls13(), &[(kind::HANDSHAKE, hello)][..], "a handshake message", unexpected),
        (tls13(), &[(kind::HANDSHAKE, ticket)], "a handshake message", unexpected),
        (tls13(), &[(kind::HANDSHAKE, &[13, 0, 0, 3])], "a handshake message", unexpected),
        (tls13(), &[(kind::ALERT, &[])], "an empty alert", unexpected),
        (tls12(), &[(kind::ALERT, &[])], "an empty alert", unexpected),
        (tls12(), &[(kind::ALERT, &[1, 0, 0])], "an alert has two bytes", undecodable),
        (tls12(), &[(kind::HANDSHAKE, &[])], "a handshake message", unexpected),
        (tls13(), &[(kind::HANDSHAKE, &[])], "an empty handshake record", unexpected),
        (tls13(), &[(kind::HANDSHAKE, &[24, 0, 0, 2])], "a handshake message", undecodable),
        (tls13(), &[(kind::HANDSHAKE, &[24, 0, 0, 1, 2])], "a key update is 0 or 1", illegal),
        (
            tls13(),
            &[(kind::HANDSHAKE, &[24, 0, 0, 1, 0, 24])],
            "something behind a key update",
            unexpected,
        ),
        (
            tls13(),
            &[(kind::HANDSHAKE, &[24]), (kind::APPLICATION_DATA, b"x")],
            "something within a handshake message",
            unexpected,
        ),
        (tls13(), &[(kind::CHANGE_CIPHER_SPEC, &[1])], "a change of ciphers", unexpected),
        (tls13(), &[(0, &[])], "nothing but padding", unexpected),
        (tls13(), &[(99, b"x")], "a change of ciphers", unexpected),
        (tls13(), &[(kind::ALERT, &[1])], "an alert has two bytes", undecodable),
        (
            tls12(),
            &[(kind::HANDSHAKE, hello), (kind::HANDSHAKE, hello)],
            "a handshake message",
            unexpected,
        ),
        (tls12(), &[(kind::HANDSHAKE, update)], "a handshake message", unexpected),
        (tls12(), &[(kind::CHANGE_CIPHER_SPEC, &[1])], "a change of ciphers", unexpected),
        (
            tls12(),
            &[(kind::APPLICATION_DATA, &[][..]); 33],
            "32 TLS records without data",
            unexpected,
        ),
        (
            tls13(),
            &[(kind::APPLICATION_DATA, &[][..]); 33],
            "32 TLS records without data",
            unexpected,
        ),
        (tls12(), &[(kind::ALERT, &[1, 41][..]); 33], "32 TLS records without data", unexpected),
    ] {
        refused(suite, records, expected, alert);
    }
}

#[test]
fn fruitless_records_are_forgiven_once_data_comes() {
    let (mut client, mut server) = pair(tls13());
    for _ in 0..3 {
        for _ in 0..32 {
            inject(&mut client, kind::APPLICATION_DATA, &[]);
        }
        client.send(b"x");
    }
    exchange(&mut client, &mut server);
    assert_eq!(server.read(), b"xxx");
    for _ in 0..33 {
        inject(&mut client, kind::HANDSHAKE, &[24, 0, 0, 1, 1]);
        change(&mut client, |state| state.sent.update(state.suite).unwrap());
    }
    exchange(&mut client, &mut server);
    assert!(matches!(server.our().error, Some(TlsError::Fruitless(32))));
}

#[test]
fn a_first_renegotiation_is_turned_down_with_a_warning() {
    let (mut client, mut server) = pair(tls12());
    inject(&mut client, kind::HANDSHAKE, &[1, 0, 0, 2, 3, 3]);
    converse(&mut client, &mut server);
    inject(&mut server, kind::HANDSHAKE, &[0, 0, 0, 0]);
    converse(&mut client, &mut server);
}

#[test]
fn padding_is_taken_off() {
    let (mut client, mut server) = pair(tls13());
    // The inner kind follows the data, zeros follow the kind: `put` adds one last zero.
    inject(&mut client, 0, &[&b"padded"[..], &[kind::APPLICATION_DATA], &[0; 300]].concat());
    exchange(&mut client, &mut server);
    assert_eq!(server.read(), b"padded");
}

#[test]
fn an_idle_session_is_small() {
    let session = size_of::<Session>();
    let state = size_of::<State>();
    let info = size_of::<TlsInfo>();
    println!("a session: {session} bytes in the entry, {state} on the heap, {info} of information");
    assert!(session <= 24 && state <= 256 && info <= 96, "{session} {state} {info}");
    // Nothing is hidden behind further pointers: the state is plain data.
    assert!(!std::mem::needs_drop::<crate::tls::state::Unfinished>());
}
