//! Who agrees on what: the offers and answers of permessage-deflate as tables (RFC 7692, 5.1 and 7.1).

use bytes::BytesMut;
use lineman_wire::websocket::{
    ClientHandshake, Deflate, HandshakeError, HandshakeLimits, Request, RequestParser, Response,
    ResponseParser, ServerHandshake, accept,
};
use proptest::prelude::*;

const EXTENSIONS: &str = "Sec-WebSocket-Extensions: ";

fn request(lines: &str) -> Request {
    let head = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{lines}\r\n"
    );
    RequestParser::new()
        .parse(head.as_bytes(), &HandshakeLimits::default())
        .expect("is fine")
        .expect("is whole")
}

fn response(answer: &[u8]) -> Response {
    let limits = HandshakeLimits::default();
    ResponseParser::new()
        .parse(&mut BytesMut::from(answer), &limits)
        .expect("is fine")
        .expect("is whole")
}

fn client(deflate: Option<&Deflate>) -> ClientHandshake<'_> {
    let key = *b"the sample nonce";
    ClientHandshake { host: "a", target: "/", headers: &[], subprotocols: &[], deflate, key }
}

/// Checks what a server with these options answers to these header lines.
#[track_caller]
fn answers(deflate: &Deflate, offers: &[&str], expected: Option<&str>) {
    let lines = offers.iter().flat_map(|offer| [EXTENSIONS, offer, "\r\n"]).collect::<String>();
    let handshake = ServerHandshake { deflate: Some(deflate), ..ServerHandshake::default() };
    let accepted = handshake.accept(&request(&lines)).expect("is accepted");
    let answer = response(&accepted.answer);
    assert_eq!(answer.header("sec-websocket-extensions"), expected, "{offers:?}");
    assert_eq!(accepted.extensions.has_deflate(), expected.is_some());
}

const BOTH: Deflate = Deflate::new().server_context_takeover().client_context_takeover();

#[test]
fn by_default_the_server_keeps_no_context() {
    let neither = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    answers(&Deflate::new(), &["permessage-deflate"], Some(neither));
    answers(&Deflate::new(), &["permessage-deflate; client_max_window_bits"], Some(neither));
    answers(&Deflate::new(), &["x-webkit-deflate-frame"], None);
    answers(&Deflate::new(), &[""], None);
    answers(&Deflate::new(), &[], None);
}

#[test]
fn every_parameter_is_answered_both_ways() {
    for (offer, answer) in [
        ("", ""),
        ("; server_no_context_takeover", "; server_no_context_takeover"),
        ("; client_no_context_takeover", "; client_no_context_takeover"),
        ("; server_max_window_bits=10", "; server_max_window_bits=10"),
        ("; server_max_window_bits=15", "; server_max_window_bits=15"),
        ("; server_max_window_bits=\"10\"", "; server_max_window_bits=10"),
        ("; client_max_window_bits", ""),
        ("; client_max_window_bits=15", ""),
        ("; client_max_window_bits=10", "; client_max_window_bits=10"),
        ("; client_max_window_bits=8", "; client_max_window_bits=8"),
        (
            "; client_max_window_bits=9; server_no_context_takeover; server_max_window_bits=9; client_no_context_takeover",
            "; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=9; client_max_window_bits=9",
        ),
    ] {
        let answer = format!("permessage-deflate{answer}");
        answers(&BOTH, &[&format!("permessage-deflate{offer}")], Some(&answer));
    }
}

#[test]
fn our_own_bounds_hold() {
    let small = BOTH.server_max_window_bits(11).client_max_window_bits(12);
    for (offer, answer) in [
        // A client that did not say so must not be bounded.
        ("", "; server_max_window_bits=11"),
        ("; client_max_window_bits", "; server_max_window_bits=11; client_max_window_bits=12"),
        ("; client_max_window_bits=10", "; server_max_window_bits=11; client_max_window_bits=10"),
        ("; client_max_window_bits=14", "; server_max_window_bits=11; client_max_window_bits=12"),
        ("; server_max_window_bits=13", "; server_max_window_bits=11"),
        ("; server_max_window_bits=10", "; server_max_window_bits=10"),
    ] {
        let answer = format!("permessage-deflate{answer}");
        answers(&small, &[&format!("permessage-deflate{offer}")], Some(&answer));
    }
}

#[test]
fn offers_that_are_wrong_are_declined() {
    for offer in [
        "permessage-deflate; unknown",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; client_no_context_takeover=true",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
        "permessage-deflate; client_max_window_bits; client_max_window_bits",
        "permessage-deflate; client_max_window_bits; client_max_window_bits=10",
        "permessage-deflate; server_max_window_bits=10; server_max_window_bits=10",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=010",
        "permessage-deflate; server_max_window_bits=+10",
        "permessage-deflate; server_max_window_bits=1000",
        "permessage-deflate; client_max_window_bits=0",
        "permessage-deflate; client_max_window_bits=ten",
        // What zlib cannot do.
        "permessage-deflate; server_max_window_bits=8",
    ] {
        answers(&BOTH, &[offer], None);
        // The next one counts, in the same line or another.
        answers(&BOTH, &[&format!("{offer}, permessage-deflate")], Some("permessage-deflate"));
        answers(&BOTH, &["mux", offer, "permessage-deflate"], Some("permessage-deflate"));
    }
}

#[test]
fn what_no_grammar_allows_is_refused() {
    let deflate = Deflate::new();
    let handshake = ServerHandshake { deflate: Some(&deflate), ..ServerHandshake::default() };
    for offer in
        ["permessage-deflate;", "permessage-deflate; a=", "a b", "permessage-deflate; a = 1"]
    {
        let request = request(&format!("{EXTENSIONS}{offer}\r\n"));
        assert_eq!(handshake.accept(&request), Err(HandshakeError::Extensions), "{offer:?}");
    }
}

#[test]
fn a_service_without_it_accepts_nothing() {
    let answer = accept(&request(&format!("{EXTENSIONS}permessage-deflate\r\n")), None, &[]);
    assert_eq!(response(&answer.unwrap()).header("sec-websocket-extensions"), None);
}

#[test]
fn a_client_offers_what_it_is_set_to() {
    for (deflate, expected) in [
        (BOTH, "; client_max_window_bits"),
        (
            Deflate::new(),
            "; server_no_context_takeover; client_no_context_takeover; client_max_window_bits",
        ),
        (
            BOTH.server_max_window_bits(9).client_max_window_bits(1),
            "; server_max_window_bits=9; client_max_window_bits=9",
        ),
    ] {
        let head = client(Some(&deflate)).request().unwrap();
        let request =
            RequestParser::new().parse(&head, &HandshakeLimits::default()).unwrap().unwrap();
        let expected = format!("permessage-deflate{expected}");
        assert_eq!(request.header("sec-websocket-extensions"), Some(expected.as_str()));
    }
}

/// Checks whether a client that offered `deflate` takes these extensions in the answer.
#[track_caller]
fn takes(deflate: Option<&Deflate>, accepted: &str, expected: bool) {
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n{EXTENSIONS}{accepted}\r\n\r\n"
    );
    let response = response(answer.as_bytes());
    match client(deflate).check(&response) {
        Ok(opened) => {
            assert_eq!((expected, opened.extensions.has_deflate()), (true, !accepted.is_empty()));
        }
        Err(error) => assert_eq!(
            (expected, error),
            (false, HandshakeError::Answer("sec-websocket-extensions")),
            "{accepted:?}"
        ),
    }
}

#[test]
fn a_client_takes_only_an_answer_to_its_offer() {
    takes(None, "", true);
    takes(None, "permessage-deflate", false);
    takes(Some(&BOTH), "", true);
    for (parameters, expected) in [
        ("", true),
        ("; server_no_context_takeover; client_no_context_takeover", true),
        ("; server_max_window_bits=8", true),
        ("; client_max_window_bits=8", true),
        ("; client_max_window_bits", false),
        ("; server_max_window_bits", false),
        ("; server_max_window_bits=16", false),
        ("; client_no_context_takeover=1", false),
        ("; unknown", false),
        ("; server_no_context_takeover; server_no_context_takeover", false),
        (";", false),
        (", permessage-deflate", false),
        (", mux", false),
    ] {
        takes(Some(&BOTH), &format!("permessage-deflate{parameters}"), expected);
    }
    takes(Some(&BOTH), "mux", false);
    // What was asked for has to be granted.
    takes(Some(&Deflate::new()), "permessage-deflate", false);
    takes(Some(&Deflate::new()), "permessage-deflate; server_no_context_takeover", true);
    let small = BOTH.server_max_window_bits(10).client_max_window_bits(10);
    takes(Some(&small), "permessage-deflate", false);
    takes(Some(&small), "permessage-deflate; server_max_window_bits=11", false);
    takes(Some(&small), "permessage-deflate; server_max_window_bits=10", true);
    let wide = "permessage-deflate; server_max_window_bits=9; client_max_window_bits=11";
    takes(Some(&small), wide, false);
}

fn options() -> impl Strategy<Value = Deflate> {
    (any::<[bool; 2]>(), any::<[u8; 2]>()).prop_map(|([server, client], [ours, theirs])| {
        let mut deflate =
            Deflate::new().server_max_window_bits(ours % 20).client_max_window_bits(theirs % 20);
        if server {
            deflate = deflate.server_context_takeover();
        }
        if client {
            deflate = deflate.client_context_takeover();
        }
        deflate
    })
}

proptest! {
    #[test]
    fn any_two_of_ours_agree(ours in options(), theirs in options()) {
        let head = client(Some(&theirs)).request().unwrap();
        let request = RequestParser::new().parse(&head, &HandshakeLimits::default()).unwrap().unwrap();
        let handshake = ServerHandshake { deflate: Some(&ours), ..ServerHandshake::default() };
        let accepted = handshake.accept(&request).unwrap();
        let answer = response(&accepted.answer);
        let opened = client(Some(&theirs)).check(&answer);
        prop_assert_eq!(opened.map(|opened| opened.extensions), Ok(accepted.extensions));
        prop_assert!(accepted.extensions.has_deflate());
    }

    #[test]
    fn garbage_never_panics(line in "[ -~\t]{0,60}", deflate in options()) {
        let head = format!("permessage-deflate; {line}");
        for line in [&line, &head] {
            let handshake = ServerHandshake { deflate: Some(&deflate), ..ServerHandshake::default() };
            let request = request(&format!("{EXTENSIONS}{line}\r\n"));
            let outcome = handshake.accept(&request);
            prop_assert!(matches!(&outcome, Ok(_) | Err(HandshakeError::Extensions)), "{outcome:?}");
        }
    }
}
