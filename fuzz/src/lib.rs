//! What each fuzz target of lineman-wire does with its bytes: `fuzz_targets/` calls these under libFuzzer,
//! and `crates/lineman-wire/tests/seeds.rs` includes this file and runs `seeds/<target>/*` through them.
//! A target panics if a decoder does, or if its answer depends on how the bytes were cut into pieces.
//! Targets of what is not public are in their crates, in modules called `fuzzing`.

use std::{fmt::Debug, net::IpAddr};

use bytes::{Buf, Bytes, BytesMut};
use lineman_wire::{
    Protocol,
    fastcgi::AnswerDecoder,
    forwarded::{forwarded, x_forwarded_for},
    framed::Framed,
    http_connect::HttpConnect,
    link::{Codec, Event as LinkEvent, Packet, ReplyCodec, Request, register::Line},
    php, proxy_protocol,
    socks5::Socks5,
    text::{ByteLines, Text},
    websocket::{
        ClientHandshake, CloseFrame, Decoder, Deflate, Error, Event, Extensions, HandshakeError,
        HandshakeLimits, Limits, RequestParser, ResponseParser, Role, ServerHandshake, accept,
        encode_close, encode_ping, encode_pong,
        frame::{Header, Opcode},
    },
};

/// Small enough that the fuzzer meets the limits.
const LIMIT: usize = 300;

/// A target's name, which is also that of its file and of its folder of seeds, and its body.
type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 21] = [
    ("text", lines),
    ("framed", |data| protocol(|| Framed::with_max_size(LIMIT), data)),
    ("websocket_server", |data| websocket(Role::Server, data)),
    ("websocket_client", |data| websocket(Role::Client, data)),
    ("websocket_control", websocket_control),
    ("websocket_deflate_server", |data| websocket_deflate(Role::Server, data)),
    ("websocket_deflate_client", |data| websocket_deflate(Role::Client, data)),
    ("extensions", extensions),
    ("handshake_request", handshake_request),
    ("handshake_response", handshake_response),
    ("link_packet", link_packet),
    ("link_reply", link_reply),
    ("register_line", register_line),
    ("php_unserialize", php_unserialize),
    ("php_merge", php_merge),
    ("php_query", php_query),
    ("proxy_protocol", proxy_protocol_header),
    ("forwarded", forwarded_lines),
    ("socks5", socks5_dialogue),
    ("http_connect", http_connect_dialogue),
    ("fastcgi", fastcgi_answer),
];

/// Returns the names of all targets.
pub fn names() -> impl Iterator<Item = &'static str> {
    TARGETS.iter().map(|(name, _)| *name)
}

/// Runs the target of that name.
///
/// # Panics
/// Panics if the decoder broke a promise, or if there is no such target.
pub fn run(target: &str, data: &[u8]) {
    let (_, body) =
        TARGETS.iter().find(|(name, _)| *name == target).expect("each name is in the table");
    body(data);
}

/// Splits off the first byte, which says how large the pieces are.
fn piece_size(data: &[u8]) -> (usize, &[u8]) {
    data.split_first().map_or((1, data), |(&first, rest)| (usize::from(first) + 1, rest))
}

fn protocol<P: Protocol<Inbound: Debug + PartialEq>>(make: impl Fn() -> P, data: &[u8]) {
    let (size, data) = piece_size(data);
    let in_pieces = decode_protocol(make(), data.chunks(size));
    assert_eq!(in_pieces, decode_protocol(make(), std::iter::once(data)));
}

/// Lines that are text are the same as lines of bytes; those of bytes go on where text ends.
fn lines(data: &[u8]) {
    protocol(|| Text::with_max_size(LIMIT), data);
    protocol(|| ByteLines::with_max_size(LIMIT), data);
    let (_, data) = piece_size(data);
    let (text, _) = decode_protocol(Text::with_max_size(LIMIT), std::iter::once(data));
    let (bytes, _) = decode_protocol(ByteLines::with_max_size(LIMIT), std::iter::once(data));
    assert!(text.len() <= bytes.len());
    assert!(text.iter().zip(&bytes).all(|(text, bytes)| *text.as_bytes() == **bytes));
}

fn decode_protocol<'a, P: Protocol>(
    mut protocol: P,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> (Vec<P::Inbound>, Option<String>) {
    let (mut messages, mut buffer) = (Vec::new(), BytesMut::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match protocol.decode(&mut buffer) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => return (messages, Some(error.to_string())),
            }
        }
    }
    (messages, None)
}

fn websocket(role: Role, data: &[u8]) {
    let limits = Limits { max_frame_size: LIMIT / 2, max_message_size: LIMIT };
    let (size, data) = piece_size(data);
    let none = (role, Extensions::NONE);
    let whole = decode_websocket(none, limits, std::iter::once(data), Move::Never);
    assert_eq!(decode_websocket(none, limits, data.chunks(size), Move::Never), whole);
    assert_eq!(decode_websocket(none, limits, data.chunks(size), Move::AfterEachPiece), whole);
}

/// The bytes say which control frames come before, between and behind the fragments of a message:
/// each arrives as it was written, none changes the message, and what answers it can be written.
fn websocket_control(data: &[u8]) {
    let mask = Some([0x37, 0xfa, 0x21, 0x3d]);
    let (size, mut data) = piece_size(data);
    let (mut wire, mut expected, mut message) = (BytesMut::new(), Vec::new(), Vec::new());
    while let Some((&[kind, length], rest)) = data.split_first_chunk() {
        let (payload, behind) = rest.split_at(rest.len().min(usize::from(length)));
        data = behind;
        match kind % 4 {
            0 => match encode_ping(payload, mask, &mut wire) {
                Ok(()) => expected.push(Event::Ping(Bytes::copy_from_slice(payload))),
                Err(error) => assert!(error == Error::ControlTooLong && payload.len() > 125),
            },
            1 => match encode_pong(payload, mask, &mut wire) {
                Ok(()) => expected.push(Event::Pong(Bytes::copy_from_slice(payload))),
                Err(error) => assert!(error == Error::ControlTooLong && payload.len() > 125),
            },
            2 => {
                let opcode = if message.is_empty() { Opcode::Binary } else { Opcode::Continuation };
                let last = kind & 4 != 0 && opcode == Opcode::Continuation;
                let fragment = [b"x", payload].concat();
                Header { last, reserved: 0, opcode, mask: Some([0; 4]), length: fragment.len() }
                    .encode(&mut wire);
                wire.extend_from_slice(&fragment);
                message.extend_from_slice(&fragment);
                if last {
                    expected.push(Event::Message(std::mem::take(&mut message).into()));
                }
            }
            _ => {
                let (code, reason) = payload.split_first_chunk().unwrap_or((&[0, 0], payload));
                let reason = String::from_utf8_lossy(reason).into_owned();
                let close = CloseFrame::new(u16::from_be_bytes(*code), reason);
                encode_close(Some(&close), mask, &mut wire);
                expected.push(Event::Close(sent_close(&close)));
                break;
            }
        }
    }
    let limits = Limits { max_frame_size: 4 * LIMIT, max_message_size: usize::MAX - 125 };
    let none = (Role::Server, Extensions::NONE);
    let whole = decode_websocket(none, limits, std::iter::once(&wire[..]), Move::Never);
    assert_eq!(whole, (expected, None));
    assert_eq!(decode_websocket(none, limits, wire.chunks(size), Move::Never), whole);
    assert_eq!(decode_websocket(none, limits, wire.chunks(size), Move::AfterEachPiece), whole);
}

/// What arrives of a close frame: nothing of a code that must not be sent, and as many characters of
/// the reason as fit.
fn sent_close(close: &CloseFrame) -> Option<CloseFrame> {
    let mut reason = String::new();
    for character in close.reason.chars() {
        if reason.len() + character.len_utf8() > CloseFrame::MAX_REASON {
            break;
        }
        reason.push(character);
    }
    close.code.is_sendable().then(|| CloseFrame::new(close.code, reason))
}

/// The second byte says whose context is taken over.
fn websocket_deflate(role: Role, data: &[u8]) {
    let limits = Limits { max_frame_size: LIMIT, max_message_size: 10 * LIMIT };
    let (size, data) = piece_size(data);
    let Some((&choice, data)) = data.split_first() else { return };
    let deflate = deflate(choice);
    let head = client(&deflate).request().expect("the request is fine");
    let request = RequestParser::new().parse(&head, &HandshakeLimits::default());
    let request = request.expect("ours is fine").expect("ours is whole");
    let handshake = ServerHandshake { deflate: Some(&deflate), ..ServerHandshake::default() };
    let extensions = handshake.accept(&request).expect("ours is accepted").extensions;
    assert!(extensions.has_deflate());
    let both = (role, extensions);
    let whole = decode_websocket(both, limits, std::iter::once(data), Move::Never);
    assert_eq!(decode_websocket(both, limits, data.chunks(size), Move::Never), whole);
    assert_eq!(decode_websocket(both, limits, data.chunks(size), Move::AfterEachPiece), whole);
}

fn deflate(choice: u8) -> Deflate {
    let bits = 9 + (choice >> 2) % 7;
    let deflate = Deflate::new().server_max_window_bits(bits).client_max_window_bits(bits);
    match choice % 4 {
        0 => deflate,
        1 => deflate.server_context_takeover(),
        2 => deflate.client_context_takeover(),
        _ => deflate.server_context_takeover().client_context_takeover(),
    }
}

fn client(deflate: &Deflate) -> ClientHandshake<'_> {
    ClientHandshake {
        host: "a",
        target: "/",
        headers: &[],
        subprotocols: &[],
        deflate: Some(deflate),
        key: [0; 16],
    }
}

/// The first byte says what is wanted; the rest is what a client offers and what a server answers.
fn extensions(data: &[u8]) {
    let (choice, line) = data.split_first().map_or((0, data), |(&choice, rest)| (choice, rest));
    let deflate = deflate(choice);
    let limits = HandshakeLimits::default();
    let line = [b"Sec-WebSocket-Extensions: ", line, b"\r\n\r\n"].concat();
    let head = [
        b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
          Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n",
        &line[..],
    ]
    .concat();
    if let Ok(Some(request)) = RequestParser::new().parse(&head, &limits) {
        let handshake = ServerHandshake { deflate: Some(&deflate), ..ServerHandshake::default() };
        let accepted = handshake.accept(&request).map(|accepted| accepted.extensions);
        assert_eq!(accepted.is_err(), request.check().is_err());
    }
    let head = [
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
          Sec-WebSocket-Accept: ICX+Yqv66kxgM0FcWaLWlFLwTAI=\r\n",
        &line[..],
    ]
    .concat();
    let response = ResponseParser::new().parse(&mut BytesMut::from(&head[..]), &limits);
    if let Ok(Some(response)) = response {
        // The line may smuggle in other headers, but it cannot take these away.
        let fault = client(&deflate).check(&response).err();
        assert!(!matches!(fault, Some(HandshakeError::Answer("upgrade" | "connection"))));
    }
}

/// Whether the connection moves to another process, as in a handover.
#[derive(Clone, Copy, PartialEq)]
enum Move {
    Never,
    AfterEachPiece,
}

fn decode_websocket<'a>(
    (role, extensions): (Role, Extensions),
    limits: Limits,
    pieces: impl Iterator<Item = &'a [u8]>,
    moves: Move,
) -> (Vec<Event>, Option<Error>) {
    let (mut events, mut input) = (Vec::new(), BytesMut::new());
    let mut decoder = Decoder::with_extensions(role, extensions);
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            match decoder.decode(&mut input, &limits) {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(error) => return (events, Some(error)),
            }
        }
        assert!(input.len() <= 13, "more than an unfinished header is left: {}", input.len());
        assert!(decoder.buffered() <= limits.max_message_size + 125);
        if matches!(events.last(), Some(Event::Close(_))) {
            return (events, None);
        }
        if moves == Move::AfterEachPiece && decoder.is_movable() {
            let mut carried = BytesMut::new();
            decoder.write_unfinished(&limits, &mut carried);
            carried.extend_from_slice(&input);
            let window = decoder.window();
            (decoder, input) = (Decoder::with_extensions(role, extensions), carried);
            decoder.restore_window(window.as_deref()).expect("what was written");
        }
    }
    (events, None)
}

fn handshake_request(data: &[u8]) {
    let limits = HandshakeLimits { max_head_size: LIMIT, max_headers: 8 };
    let (size, data) = piece_size(data);
    let parse = |size: usize| {
        let mut parser = RequestParser::new();
        let mut seen = 0;
        while seen < data.len() {
            seen = data.len().min(seen + size);
            if let Some(outcome) = parser.parse(&data[..seen], &limits).transpose() {
                return Some(outcome.map(|request| {
                    let pairs: Vec<_> =
                        request.cookies().map(|(a, b)| (a.to_owned(), b.to_owned())).collect();
                    let details =
                        (request.path().to_owned(), request.query().map(str::to_owned), pairs);
                    let answer = accept(&request, request.subprotocols().next(), &[]);
                    (request.head().clone(), details, request.query_value("a"), answer)
                }));
            }
        }
        None
    };
    let in_pieces = parse(size);
    if let Some(Ok((head, ..))) = &in_pieces {
        assert!(head.len() <= LIMIT && data.starts_with(head));
    }
    if let Some(Err(error)) = &in_pieces {
        assert!(error.response().starts_with(b"HTTP/1.1 4"));
    }
    assert_eq!(in_pieces, parse(data.len().max(1)));
}

fn handshake_response(data: &[u8]) {
    let limits = HandshakeLimits { max_head_size: LIMIT, max_headers: 8 };
    let (size, data) = piece_size(data);
    let parse = |size: usize| {
        let (mut parser, mut input) = (ResponseParser::new(), BytesMut::new());
        for piece in data.chunks(size) {
            input.extend_from_slice(piece);
            if let Some(outcome) = parser.parse(&mut input, &limits).transpose() {
                assert!(input.remaining() <= data.len());
                return Some(outcome.map(|response| {
                    let lines: Vec<_> =
                        response.headers().map(|(a, b)| (a.to_owned(), b.to_owned())).collect();
                    (response.status(), lines)
                }));
            }
        }
        None
    };
    assert_eq!(parse(size), parse(data.len().max(1)));
}

fn link_packet(data: &[u8]) {
    // Large enough for the packets that carry a request's head.
    let make = || Codec::with_limit(10 * LIMIT);
    protocol(make, data);
    let (_, data) = piece_size(data);
    let (packets, _) = decode_protocol(make(), std::iter::once(data));
    for packet in packets {
        if let Ok(event) = LinkEvent::try_from(packet.clone()) {
            let again = LinkEvent::try_from(Packet::from(event.clone())).ok();
            assert_eq!(again, Some(event));
        }
        if let Ok(request) = Request::try_from(packet) {
            let bytes = Packet::from(request).to_bytes();
            let packet = Codec::new().decode_packet(&mut BytesMut::from(&bytes[..])).ok().flatten();
            let again = packet.and_then(|packet| Request::try_from(packet).ok());
            assert_eq!(again.map(|request| Packet::from(request).to_bytes()), Some(bytes));
        }
    }
}

fn link_reply(data: &[u8]) {
    protocol(|| ReplyCodec::with_limit(LIMIT), data);
    let (_, data) = piece_size(data);
    let (replies, _) = decode_protocol(ReplyCodec::with_limit(LIMIT), std::iter::once(data));
    for reply in replies {
        let _either = reply.value();
    }
}

fn register_line(data: &[u8]) {
    let (_, data) = piece_size(data);
    if let Ok(line) = Line::parse(data) {
        let encoded = line.encode();
        assert_eq!(Line::parse(encoded.as_bytes()).map(|line| line.encode()), Ok(encoded));
    }
}

fn php_unserialize(data: &[u8]) {
    let (_, data) = piece_size(data);
    let limits = php::Limits { depth: 8, size: 64 * 1024 };
    if let Ok(value) = php::unserialize(data, limits) {
        // The bytes and not the values, as NaN is unlike itself.
        let bytes = php::serialize(&value);
        assert_eq!(php::unserialize(&bytes, limits).map(|value| php::serialize(&value)), Ok(bytes));
    }
}

/// The first byte says where the first value ends.
fn php_merge(data: &[u8]) {
    let (first, data) = piece_size(data);
    let (old, changes) = data.split_at(data.len().min(first));
    let limits = php::Limits { size: 1024, ..php::Limits::default() };
    for (old, changes) in [(old, changes), (changes, old), (data, b""), (b"", data)] {
        if let Ok(merged) = php::replace_recursive(old, changes, limits) {
            assert!(merged.len() <= limits.size);
            // What comes of it is whole, and nothing merged into it changes nothing.
            assert_eq!(php::replace_recursive(&merged, b"", limits), Ok(merged));
        }
        if let Ok(replaced) = php::replace_fields(old, changes, &[php::Key::from(0)], limits) {
            assert_eq!(php::changed_fields(&replaced, &replaced, limits), Ok(Vec::new()));
        }
    }
}

fn php_query(data: &[u8]) {
    let (_, data) = piece_size(data);
    let (_query, _cookies) = (php::parse_query(data), php::parse_cookies(data));
}

/// Feeds `data` in pieces until there is an outcome; returns it, and how many bytes are left.
fn until<T, E>(
    data: &[u8],
    size: usize,
    mut step: impl FnMut(&mut BytesMut) -> Result<Option<T>, E>,
) -> (Option<Result<T, E>>, usize) {
    let (mut input, mut fed) = (BytesMut::new(), 0);
    for piece in data.chunks(size) {
        input.extend_from_slice(piece);
        fed += piece.len();
        if let Some(outcome) = step(&mut input).transpose() {
            return (Some(outcome), input.len() + data.len() - fed);
        }
    }
    (None, input.len())
}

fn proxy_protocol_header(data: &[u8]) {
    let (size, data) = piece_size(data);
    let whole = until(data, data.len().max(1), proxy_protocol::decode);
    assert_eq!(until(data, size, proxy_protocol::decode), whole);
    match whole {
        (None, waiting) => assert!(waiting < proxy_protocol::MAX_SIZE),
        (Some(Ok(header)), _) => {
            let mut bytes = BytesMut::new();
            if header.encode_v2(&mut bytes).is_ok() {
                let again = proxy_protocol::decode(&mut bytes);
                assert_eq!((again, bytes.len()), (Ok(Some(header)), 0));
            }
        }
        (Some(Err(_)), _) => {}
    }
}

fn forwarded_lines(data: &[u8]) {
    let (_, data) = piece_size(data);
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (proxy, client) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([192, 0, 2, 1]));
    let _client = forwarded(proxy, text.lines(), |_| true);
    let _client = x_forwarded_for(proxy, text.lines(), |_| true);
    // Whatever a client sends, the address that our proxy saw is found.
    let is_trusted = |ip| ip == proxy;
    let line = format!("{text},for={client}");
    assert_eq!(forwarded(proxy, [&line[..]], is_trusted), client);
    let line = format!("{text},{client}");
    assert_eq!(x_forwarded_for(proxy, [&line[..]], is_trusted), client);
}

fn socks5_dialogue(data: &[u8]) {
    let (size, data) = piece_size(data);
    let play = |size| {
        let credentials = Some(("user", "password"));
        let mut dialogue = Socks5::new("a", 1, credentials).expect("they fit");
        let mut output = BytesMut::new();
        dialogue.start(&mut output);
        (until(data, size, |input| dialogue.advance(input, &mut output)), output)
    };
    let whole = play(data.len().max(1));
    assert!(whole.0.0.is_some() || whole.0.1 <= 262);
    assert_eq!(play(size), whole);
}

fn fastcgi_answer(data: &[u8]) {
    let (size, data) = piece_size(data);
    let play = |size| {
        let mut decoder = AnswerDecoder::new(LIMIT);
        let outcome = until(data, size, |input| decoder.decode(input)).0;
        (outcome, decoder.log().into_owned())
    };
    assert_eq!(play(size), play(data.len().max(1)));
}

fn http_connect_dialogue(data: &[u8]) {
    let (size, data) = piece_size(data);
    let play = |size| {
        let mut dialogue = HttpConnect::new("a", 1, None).expect("it fits");
        let mut output = BytesMut::new();
        until(data, size, |input| dialogue.advance(input, &mut output))
    };
    let (outcome, left) = play(data.len().max(1));
    let (in_pieces, left_of_pieces) = play(size);
    assert_eq!(in_pieces, outcome);
    if outcome == Some(Ok(())) {
        assert_eq!(left_of_pieces, left);
    }
}
