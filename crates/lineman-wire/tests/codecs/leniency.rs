//! Each rule that a server can do without: what is refused while it holds, and taken when it does not.

use bytes::BytesMut;
use lineman_wire::websocket::{
    Concession, Decoder, Deflate, Encoder, Error, Event, HandshakeError, HandshakeLimits, Leniency,
    Limits, Message, Pool, Request, RequestParser, Role, ServerHandshake,
    frame::{Header, Opcode},
};
use proptest::{collection::vec, prelude::*};

const REQUEST: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

fn parse(bytes: &[u8]) -> Request {
    let limits = HandshakeLimits::default();
    RequestParser::new().parse(bytes, &limits).expect("is a request").expect("is whole")
}

fn changed(from: &str, to: &str) -> Request {
    assert!(REQUEST.contains(from), "{from}");
    parse(REQUEST.replacen(from, to, 1).as_bytes())
}

fn all_but(missing: Concession) -> Leniency {
    Concession::ALL.into_iter().filter(|one| *one != missing).collect()
}

fn accept(request: &Request, leniency: Leniency) -> Result<String, HandshakeError> {
    let accepted = ServerHandshake { leniency, ..ServerHandshake::default() }.accept(request)?;
    assert_eq!(request.check_with(leniency), Ok(()));
    Ok(String::from_utf8(accepted.answer.to_vec()).expect("text"))
}

#[test]
fn each_fault_is_taken_with_its_own_concession_and_with_no_other() {
    use Concession::{AnyKey, Http10, MissingConnection, MissingHost};
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    for (concession, from, to, error) in [
        (Http10, "HTTP/1.1", "HTTP/1.0", HandshakeError::HttpVersion),
        (MissingHost, "Host: a\r\n", "", HandshakeError::Host),
        (MissingConnection, "Connection: Upgrade\r\n", "", HandshakeError::NotAnUpgrade),
        (
            MissingConnection,
            "Connection: Upgrade",
            "Connection: keep-alive",
            HandshakeError::NotAnUpgrade,
        ),
        (MissingConnection, "Upgrade: websocket\r\n", "", HandshakeError::NotAnUpgrade),
        (AnyKey, key, "Sec-WebSocket-Key: short", HandshakeError::Key),
        (AnyKey, key, "Sec-WebSocket-Key:", HandshakeError::Key),
        (AnyKey, key, "Sec-WebSocket-Key: not base64 at all!", HandshakeError::Key),
    ] {
        let request = changed(from, to);
        let taken = accept(&request, Leniency::none().with(concession)).expect(to);
        assert!(taken.starts_with("HTTP/1.1 101 "), "{taken}");
        for strict in [Leniency::none(), all_but(concession)] {
            assert_eq!(accept(&request, strict), Err(error.clone()), "{from} -> {to}");
        }
    }
}

/// What PHP's Workerman answers to the same key.
#[test]
fn the_answer_is_made_of_the_bytes_of_an_odd_key() {
    for (key, expected) in [
        (&b"short"[..], "Sec-WebSocket-Accept: JQHdhQRrQ3pd0VAHx7vMGlEiL+4=\r\n"),
        (b"", "Sec-WebSocket-Accept: Kfh9QIsMVZcl6xEPYxPHzW8SZ8w=\r\n"),
        (b"caf\xe9", "Sec-WebSocket-Accept: eBxJAtG6hNGj6zI3uRC2Jg+3gJY=\r\n"),
    ] {
        let at = REQUEST.find("dGhl").expect("the key");
        let (before, behind) = (&REQUEST.as_bytes()[..at], &REQUEST.as_bytes()[at + 24..]);
        let answer =
            accept(&parse(&[before, key, behind].concat()), Leniency::all()).expect("fine");
        assert!(answer.contains(expected), "{answer}");
    }
}

#[test]
fn what_can_be_read_in_two_ways_is_refused_with_every_concession() {
    let leniency = Leniency::all();
    for (from, to, error) in [
        ("Host: a", "Host: a\r\nHost: b", HandshakeError::Host),
        ("Host: a", "Content-Length: 5", HandshakeError::Body),
        ("Host: a", "Transfer-Encoding: chunked", HandshakeError::Body),
        ("Sec-WebSocket-Key: ", "Sec-WebSocket-Key: a\r\nSec-WebSocket-Key: ", HandshakeError::Key),
        ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "", HandshakeError::Key),
        ("Version: 13", "Version: 8", HandshakeError::WebSocketVersion),
        ("Sec-WebSocket-Version: 13\r\n", "", HandshakeError::WebSocketVersion),
        ("GET", "POST", HandshakeError::Method),
        ("Upgrade: websocket", "Upgrade: h2c", HandshakeError::NotAnUpgrade),
    ] {
        assert_eq!(accept(&changed(from, to), leniency), Err(error), "{from} -> {to}");
    }
    let page = parse(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(!page.is_upgrade_with(leniency), "a page has no key");
}

#[test]
fn a_head_may_be_long_and_not_without_a_bound() {
    let with =
        |bytes: usize| REQUEST.replace("Host:", &format!("X: {}\r\nHost:", "a".repeat(bytes)));
    let parse = |bytes: usize, leniency: Leniency| {
        let limits = leniency.head_limits(HandshakeLimits::default());
        RequestParser::new().parse(with(bytes).as_bytes(), &limits).map(|request| request.is_some())
    };
    let refused = |limit| Err(HandshakeError::HeadTooLarge { limit });
    assert_eq!(parse(20_000, Leniency::none()), refused(16 * 1024));
    assert_eq!(parse(20_000, all_but(Concession::LongHead)), refused(16 * 1024));
    assert_eq!(parse(60_000, Leniency::all()), Ok(true));
    assert_eq!(parse(70_000, Leniency::all()), refused(64 * 1024));
}

/// Decodes bytes in pieces of a size.
fn decode(leniency: Leniency, bytes: &[u8], size: usize) -> (Vec<Event>, Option<Error>) {
    let (mut decoder, mut input) = (Decoder::new(Role::Client).lenient(leniency), BytesMut::new());
    let mut events = Vec::new();
    for piece in bytes.chunks(size) {
        input.extend_from_slice(piece);
        loop {
            match decoder.decode(&mut input, &Limits::default()) {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(error) => return (events, Some(error)),
            }
        }
    }
    (events, None)
}

fn frame(opcode: Opcode, last: bool, payload: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    Header { last, reserved: 0, opcode, mask: None, length: payload.len() }.encode(&mut out);
    out.extend_from_slice(payload);
    out.to_vec()
}

#[test]
fn text_that_is_none_comes_as_a_binary_message() {
    let lenient = Leniency::none().with(Concession::InvalidText);
    let whole = frame(Opcode::Text, true, b"caf\xe9");
    let fragments = [
        frame(Opcode::Text, false, b"caf"),
        frame(Opcode::Ping, true, b"p"),
        frame(Opcode::Continuation, true, b"\xe9"),
    ];
    let message = || Event::Message(Message::from(&b"caf\xe9"[..]));
    for size in [1, 2, 100] {
        assert_eq!(decode(lenient, &whole, size), (vec![message()], None));
        let (events, error) = decode(lenient, &fragments.concat(), size);
        assert_eq!((events.last(), events.len(), error), (Some(&message()), 2, None));
        for strict in [Leniency::none(), all_but(Concession::InvalidText)] {
            assert_eq!(decode(strict, &whole, size), (vec![], Some(Error::InvalidUtf8)));
        }
    }
    let text = frame(Opcode::Text, true, "café".as_bytes());
    for size in [1, 100] {
        let expected = Event::Message(Message::from("café"));
        assert_eq!(decode(lenient, &text, size), (vec![expected], None), "text stays text");
    }
    // The reason of a close frame is none of the messages.
    let close = frame(Opcode::Close, true, b"\x03\xe8\xff");
    assert_eq!(decode(lenient, &close, 100), (vec![], Some(Error::InvalidUtf8)));
}

#[test]
fn text_that_is_none_may_come_deflated() {
    let deflate = Deflate::new();
    let offer = REQUEST.replace("Host:", "Sec-WebSocket-Extensions: permessage-deflate\r\nHost:");
    let handshake = ServerHandshake { deflate: Some(&deflate), ..ServerHandshake::default() };
    let extensions = handshake.accept(&parse(offer.as_bytes())).expect("fine").extensions;
    let (mut pool, mut wire) = (Pool::default(), BytesMut::new());
    let payload = [0xff].repeat(3000);
    let message = Message::from(&payload[..]);
    let mut encoder = Encoder::new(Role::Server, extensions);
    encoder.encode(&message, None, &deflate, &mut pool, &mut wire);
    assert_eq!(wire[0], 0xc2, "compressed, and binary");
    wire[0] = 0xc1;
    let mut decode = |leniency| {
        let decoder = Decoder::with_extensions(Role::Client, extensions);
        decoder.lenient(leniency).decode_with(&mut pool, &mut wire.clone(), &Limits::default())
    };
    assert_eq!(decode(Leniency::all()), Ok(Some(Event::Message(message))));
    assert_eq!(decode(Leniency::none()), Err(Error::InvalidUtf8));
}

#[test]
fn an_unfinished_text_that_is_none_moves_along() {
    let (lenient, limits) = (Leniency::all(), Limits::default());
    let mut old = Decoder::new(Role::Client).lenient(lenient);
    let mut input = BytesMut::from(&frame(Opcode::Text, false, b"\xff")[..]);
    assert_eq!(old.decode(&mut input, &limits), Ok(None));
    let mut moved = BytesMut::new();
    old.write_unfinished(&limits, &mut moved);
    moved.extend_from_slice(&frame(Opcode::Continuation, true, b"\xfe"));
    let expected = vec![Event::Message(Message::from(&b"\xff\xfe"[..]))];
    assert_eq!(decode(lenient, &moved, 100), (expected, None));
}

proptest! {
    #[test]
    fn any_split_gives_the_same_messages(payload in vec(any::<u8>(), 0..40), size in 1..20_usize, cut in 0..40_usize) {
        let (front, back) = payload.split_at(cut.min(payload.len()));
        let bytes = [
            frame(Opcode::Text, false, front),
            frame(Opcode::Continuation, true, back),
            frame(Opcode::Text, true, &payload),
        ]
        .concat();
        let (events, error) = decode(Leniency::all(), &bytes, size);
        let message = match std::str::from_utf8(&payload) {
            Ok(text) => Message::from(text),
            Err(_) => Message::from(&payload[..]),
        };
        prop_assert_eq!((events, error), (vec![Event::Message(message); 2], None));
        // Where the strict decoder takes everything, the lenient one takes the same.
        let strict = decode(Leniency::none(), &bytes, size);
        prop_assert!(strict.1.is_some() || strict == decode(Leniency::all(), &bytes, size));
    }
}
