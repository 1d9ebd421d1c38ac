//! Compressed messages: RFC 7692, 7.2.3 as tables, bombs, and properties that hold for any bytes.

use bytes::{Bytes, BytesMut};
use lineman_wire::websocket::{
    ClientHandshake, Decoder, Deflate, Encoder, Error, Event, Extensions, HandshakeLimits, Limits,
    Message, Pool, Prepared, RequestParser, Role, ServerHandshake,
    frame::{Header, Opcode},
};
use proptest::{collection::vec, prelude::*};

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const ALONE: Deflate = Deflate::new().min_size(0);
const CONTEXT: Deflate = ALONE.server_context_takeover().client_context_takeover();

/// What a server and a client of these options agree on.
fn agreed(deflate: &Deflate) -> Extensions {
    let client = ClientHandshake {
        host: "a",
        target: "/",
        headers: &[],
        subprotocols: &[],
        deflate: Some(deflate),
        key: [0; 16],
    };
    let head = client.request().expect("is a request");
    let request = RequestParser::new().parse(&head, &HandshakeLimits::default());
    let request = request.expect("is fine").expect("is whole");
    let server = ServerHandshake { deflate: Some(deflate), ..ServerHandshake::default() };
    server.accept(&request).expect("is accepted").extensions
}

type Outcome = (Vec<Event>, Option<Error>);

/// Decodes `bytes` in pieces of `sizes`, over and over.
fn decode(role: Role, deflate: &Deflate, limits: Limits, bytes: &[u8], sizes: &[usize]) -> Outcome {
    let mut decoder = Decoder::with_extensions(role, agreed(deflate));
    let (mut pool, mut input, mut events) = (Pool::new(), BytesMut::new(), Vec::new());
    let (mut rest, mut sizes) = (bytes, sizes.iter().cycle());
    while !rest.is_empty() {
        let size = sizes.next().map_or(rest.len(), |&size| size.clamp(1, rest.len()));
        let (piece, behind) = rest.split_at(size);
        rest = behind;
        input.extend_from_slice(piece);
        loop {
            match decoder.decode_with(&mut pool, &mut input, &limits) {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(error) => return (events, Some(error)),
            }
        }
        assert!(input.len() <= 13, "{} bytes are left unread", input.len());
        assert!(decoder.buffered() <= limits.max_message_size.saturating_add(125));
    }
    (events, None)
}

/// Checks what a client makes of a server's bytes, at once and byte by byte.
#[track_caller]
fn check(deflate: &Deflate, bytes: &[u8], expected: &Outcome) {
    let limits = Limits::default();
    let whole = decode(Role::Client, deflate, limits, bytes, &[]);
    assert_eq!(&whole, expected, "at once: {bytes:x?}");
    let stepwise = decode(Role::Client, deflate, limits, bytes, &[1]);
    assert_eq!(&stepwise, expected, "byte by byte: {bytes:x?}");
}

fn text(text: &str) -> Event {
    Event::Message(Message::from(text))
}

/// A frame of a server; RSV1 if it is compressed.
fn frame(opcode: Opcode, last: bool, reserved: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    Header { last, reserved, opcode, mask: None, length: payload.len() }.encode(&mut out);
    out.extend_from_slice(payload);
    out.to_vec()
}

/// Encodes messages one after the other with one encoder.
fn encode(role: Role, deflate: &Deflate, messages: &[Message]) -> Vec<u8> {
    let mask = (role == Role::Client).then_some(KEY);
    let (mut encoder, mut pool) = (Encoder::new(role, agreed(deflate)), Pool::new());
    let mut out = BytesMut::new();
    for message in messages {
        encoder.encode(message, mask, deflate, &mut pool, &mut out);
    }
    out.to_vec()
}

#[test]
fn examples_of_section_7_2_3() {
    let hello = (vec![text("Hello")], None);
    for deflate in [ALONE, CONTEXT] {
        // 7.2.3.1: one frame, and the same in two.
        check(&deflate, b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00", &hello);
        check(&deflate, b"\x41\x03\xf2\x48\xcd\x80\x04\xc9\xc9\x07\x00", &hello);
        // 7.2.3.3: a block that is not compressed.
        check(&deflate, b"\xc1\x0b\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", &hello);
        // 7.2.3.4: a last block.
        check(&deflate, b"\xc1\x08\xf3\x48\xcd\xc9\xc9\x07\x00\x00", &hello);
        // 7.2.3.5: two blocks.
        check(&deflate, b"\xc1\x0d\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", &hello);
        // 7.2.3.6: nothing, compressed.
        check(&deflate, b"\xc1\x01\x00", &(vec![text("")], None));
    }
    // 7.2.3.2: the second message refers to the first.
    let twice = b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00\xc1\x05\xf2\x00\x11\x00\x00";
    check(&CONTEXT, twice, &(vec![text("Hello"), text("Hello")], None));
    check(&ALONE, twice, &(vec![text("Hello")], Some(Error::InvalidDeflate)));
}

#[test]
fn the_encoder_writes_the_examples_of_section_7_2_3() {
    let messages = [Message::from("Hello Hello Hello"), Message::from("Hello Hello Hello")];
    let wire = encode(Role::Server, &CONTEXT, &messages);
    let second = wire[2 + usize::from(wire[1])..].to_vec();
    assert_eq!((wire[0], second[0]), (0xc1, 0xc1));
    assert!(second.len() < usize::from(wire[1]), "the second refers to the first: {second:x?}");
    check(&CONTEXT, &wire, &(messages.clone().map(Event::Message).to_vec(), None));
    let wire = encode(Role::Server, &ALONE, &messages);
    assert_eq!(wire[..wire.len() / 2], wire[wire.len() / 2..], "each stands by itself");
}

#[test]
fn control_frames_come_between_compressed_fragments() {
    let wire = [
        &b"\x41\x03\xf2\x48\xcd\x89\x04ping\x00\x00\x00\x02\xc9\xc9\x8a\x00\x80\x02\x07\x00"[..],
        b"\x81\x05plain\xc2\x01\x00",
    ]
    .concat();
    let events = vec![
        Event::Ping(Bytes::from_static(b"ping")),
        Event::Pong(Bytes::new()),
        text("Hello"),
        text("plain"),
        Event::Message(Message::from(Vec::new())),
    ];
    check(&ALONE, &wire, &(events.clone(), None));
    check(&CONTEXT, &wire, &(events, None));
}

#[test]
fn the_reserved_bit_is_of_the_first_frame() {
    let refused = (vec![], Some(Error::ReservedBits));
    for wire in [&b"\xc9\x00"[..], b"\xc0\x00", b"\xc8\x00", b"\xa1\x00", b"\x91\x00", b"\xe1\x00"]
    {
        let expected = match wire[0] & 0x0f {
            0 => (vec![], Some(Error::ReservedBits)),
            _ => refused.clone(),
        };
        check(&ALONE, wire, &expected);
    }
    check(&ALONE, b"\x41\x01\xf2\xc0\x01\x48", &refused);
    check(&ALONE, b"\x01\x01a\xc0\x01b", &refused);
}

#[test]
fn what_is_no_deflate_is_refused() {
    let refused = (vec![], Some(Error::InvalidDeflate));
    for deflate in [ALONE, CONTEXT] {
        // A reserved block type; a stored block whose lengths differ; a distance too far back.
        check(&deflate, b"\xc2\x02\x07\x00", &refused);
        check(&deflate, b"\xc2\x05\x00\x05\x00\xff\xff", &refused);
        check(&deflate, b"\xc1\x05\xf2\x00\x11\x00\x00", &refused);
    }
    // A message cut inside of a block.
    check(&ALONE, b"\xc1\x04\xf2\x48\xcd\xc9", &refused);
    assert_eq!(Error::InvalidDeflate.close_code().0, 1007);
}

#[test]
fn compressed_text_fails_at_the_first_bad_byte() {
    let message = [b"abc\xff".as_slice(), &vec![b'd'; 100_000]].concat();
    let wire = encode(Role::Server, &ALONE, &[Message::from(message)]);
    // As text, without the last byte: the frame is not whole.
    let cut = [&[0xc1], &wire[1..wire.len() - 1]].concat();
    check(&ALONE, &cut, &(vec![], Some(Error::InvalidUtf8)));
}

#[test]
fn a_bomb_is_stopped_while_it_is_inflated() {
    let bomb = encode(Role::Server, &ALONE, &[Message::from(vec![0; 50_000_000])]);
    assert!(bomb.len() < 60_000, "{} bytes", bomb.len());
    let limits = Limits { max_message_size: 100_000, ..Limits::default() };
    let refused = (vec![], Some(Error::MessageTooBig { limit: 100_000 }));
    for deflate in [ALONE, CONTEXT] {
        assert_eq!(decode(Role::Client, &deflate, limits, &bomb, &[]), refused);
        assert_eq!(decode(Role::Client, &deflate, limits, &bomb, &[7]), refused);
    }
    // The limit itself is fine, and what does not shrink may be longer on the wire.
    for size in [99_999, 100_000] {
        let message = Message::from(vec![7; size]);
        let wire = encode(Role::Server, &ALONE, std::slice::from_ref(&message));
        let outcome = decode(Role::Client, &ALONE, limits, &wire, &[]);
        assert_eq!(outcome, (vec![Event::Message(message)], None));
    }
    let stored = [&b"\xc2\x0b\x00\x05\x00\xfa\xff"[..], b"Hello\x00"].concat();
    let tight = Limits { max_message_size: 5, ..limits };
    let outcome = decode(Role::Client, &ALONE, tight, &stored, &[]);
    assert_eq!(outcome, (vec![Event::Message(Message::from(b"Hello".to_vec()))], None));
}

#[test]
fn a_few_bytes_of_an_unfinished_message_do_not_hold_it_inflated() {
    let message = Message::from(vec![7; 10_000_000]);
    let wire = encode(Role::Server, &ALONE, std::slice::from_ref(&message));
    assert!(wire.len() < 12_000, "{} bytes", wire.len());
    let (mut pool, limits) = (Pool::new(), Limits::default());
    for deflate in [ALONE, CONTEXT] {
        let mut decoder = Decoder::with_extensions(Role::Client, agreed(&deflate));
        let mut input = BytesMut::new();
        for piece in wire[..wire.len() - 1].chunks(3000) {
            input.extend_from_slice(piece);
            let before = decoder.buffered() + decoder.deflated();
            assert_eq!(decoder.decode_with(&mut pool, &mut input, &limits), Ok(None));
            let now = decoder.buffered() + decoder.deflated();
            assert!(now > before, "a message that flows gets longer");
            assert!(decoder.held() < 200_000, "{} bytes", decoder.held());
        }
        input.extend_from_slice(&wire[wire.len() - 1..]);
        let event = decoder.decode_with(&mut pool, &mut input, &limits);
        assert_eq!(event, Ok(Some(Event::Message(message.clone()))));
    }
}

#[test]
fn a_compressed_message_that_says_nothing_has_an_end_too() {
    // Empty stored blocks, without end.
    let limits = Limits { max_message_size: 10_000, ..Limits::default() };
    let mut wire = frame(Opcode::Text, false, 4, &[0, 0, 0, 0xff, 0xff].repeat(100));
    for _ in 0..100 {
        wire.extend(frame(Opcode::Continuation, false, 0, &[0, 0, 0, 0xff, 0xff].repeat(100)));
    }
    let refused = (vec![], Some(Error::MessageTooBig { limit: 10_000 }));
    for size in [usize::MAX, 7] {
        assert_eq!(decode(Role::Client, &ALONE, limits, &wire, &[size]), refused);
    }
}

#[test]
fn a_window_that_is_kept_is_unfinished_only_within_a_message() {
    let mut decoder = Decoder::with_extensions(Role::Client, agreed(&CONTEXT));
    let hello = frame(Opcode::Text, true, 4, &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]);
    let (limits, mut input) = (Limits::default(), BytesMut::from(&hello[..5]));
    assert!(decoder.decode(&mut input, &limits) == Ok(None) && decoder.held() > 32 * 1024);
    input.extend_from_slice(&hello[5..]);
    assert_eq!(decoder.decode(&mut input, &limits), Ok(Some(text("Hello"))));
    assert_eq!(decoder.held(), 0);
}

#[test]
fn an_idle_decoder_owns_no_window_without_takeover() {
    let (mut pool, limits) = (Pool::new(), Limits::default());
    for deflate in [ALONE, CONTEXT] {
        let mut decoder = Decoder::with_extensions(Role::Client, agreed(&deflate));
        assert!(size_of_val(&decoder) <= 16, "{} bytes", size_of_val(&decoder));
        let mut input = BytesMut::from(&b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07"[..]);
        assert_eq!(decoder.decode_with(&mut pool, &mut input, &limits), Ok(None));
        assert!(!decoder.is_idle() && !decoder.is_movable(), "a message is unfinished");
        input.extend_from_slice(b"\x00");
        let event = decoder.decode_with(&mut pool, &mut input, &limits);
        assert_eq!(event, Ok(Some(text("Hello"))));
        assert_eq!((decoder.is_idle(), decoder.is_movable()), (true, true));
    }
    assert!(size_of::<Encoder>() <= 16, "{} bytes", size_of::<Encoder>());
}

#[test]
fn what_does_not_shrink_or_is_small_goes_as_it_is() {
    let mut state = 1_u32;
    let noise = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_be_bytes()
    });
    let noise: Vec<u8> = noise.take(500).flatten().collect();
    assert_eq!(encode(Role::Server, &ALONE, &[Message::from(noise)])[0], 0x82);
    let deflate = Deflate::new();
    assert_eq!(encode(Role::Server, &deflate, &[Message::from("a".repeat(127))])[0], 0x81);
    assert_eq!(encode(Role::Server, &deflate, &[Message::from("a".repeat(128))])[0], 0xc1);
    assert_eq!(encode(Role::Server, &ALONE, &[Message::from("")]), b"\x81\x00");
}

#[test]
fn a_broadcast_is_deflated_once_for_all_that_agreed_on_the_same() {
    let message = Message::from("a broadcast, a broadcast, a broadcast ".repeat(10));
    let (prepared, mut pool) = (Prepared::new(message.clone()), Pool::new());
    let mut frame_of = |deflate: &Deflate, extensions: Extensions| {
        Encoder::new(Role::Server, extensions).encode_prepared(&prepared, deflate, &mut pool)
    };
    let small = ALONE.server_max_window_bits(9);
    let one = frame_of(&ALONE, agreed(&ALONE));
    let other = frame_of(&ALONE, agreed(&ALONE));
    let narrow = frame_of(&small, agreed(&small));
    let context = frame_of(&CONTEXT, agreed(&CONTEXT));
    let plain = frame_of(&ALONE, Extensions::NONE);
    assert_eq!(one.as_ptr(), other.as_ptr(), "shared, not made again");
    assert_ne!(one.as_ptr(), narrow.as_ptr());
    assert_eq!(plain, message.to_frame());
    assert!(one.len() < plain.len());
    for (frame, deflate) in [(one, ALONE), (narrow, small), (context, CONTEXT), (plain, ALONE)] {
        check(&deflate, &frame, &(vec![Event::Message(message.clone())], None));
    }
}

#[test]
fn a_broadcast_refers_to_what_each_client_got_before() {
    let message = Message::from("a broadcast, a broadcast, a broadcast ".repeat(10));
    let (prepared, mut pool) = (Prepared::new(message.clone()), Pool::new());
    // What the first client got is in the broadcast, so its frame refers to it.
    let clients = ["a broadcast, a broadcast, once before", "something else, long ago"];
    for before in clients.map(Message::from) {
        let mut encoder = Encoder::new(Role::Server, agreed(&CONTEXT));
        let mut wire = BytesMut::new();
        encoder.encode(&before, None, &CONTEXT, &mut pool, &mut wire);
        for _ in 0..2 {
            wire.extend(encoder.encode_prepared(&prepared, &CONTEXT, &mut pool));
        }
        let events = [before, message.clone(), message.clone()].map(Event::Message);
        check(&CONTEXT, &wire, &(events.to_vec(), None));
    }
}

#[test]
fn what_does_not_shrink_is_not_deflated() {
    for word in ["a", "ab", "abc", "0123456789"] {
        for length in 1..40 {
            let message: String = word.chars().cycle().take(length).collect();
            let wire = encode(Role::Server, &ALONE, &[Message::from(message)]);
            let (first, sent) = (wire[0], wire.len() - 2);
            let fits = if first == 0xc1 { sent < length } else { first == 0x81 && sent == length };
            assert!(fits, "{length} bytes of {word:?} as {sent} with {first:x}");
        }
    }
}

#[test]
fn a_window_that_zlib_has_is_used() {
    let narrow = ALONE.server_max_window_bits(9);
    assert!(Encoder::new(Role::Server, agreed(&narrow)).deflates());
    assert!(!Encoder::new(Role::Server, Extensions::NONE).deflates());
    // A client that may have 8 bits sends as it is: zlib has no such window.
    let head = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=8\r\n\r\n";
    let request = RequestParser::new().parse(head, &HandshakeLimits::default());
    let server = ServerHandshake { deflate: Some(&ALONE), ..ServerHandshake::default() };
    let accepted = server.accept(&request.unwrap().unwrap()).unwrap();
    assert!(accepted.extensions.has_deflate());
    assert!(Encoder::new(Role::Server, accepted.extensions).deflates());
    assert!(!Encoder::new(Role::Client, accepted.extensions).deflates());
}

#[test]
fn windows_stay_apart_in_one_pool() {
    // Random words that repeat only beyond a small window.
    let mut state = 1_u32;
    let words = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 16
    });
    let words: Vec<_> = words.take(2000).map(|word| format!("{word:x}")).collect();
    let message = Message::from([&words[..], &words, &words].concat().join(" "));
    let mut pool = Pool::new();
    let mut size = |deflate: &Deflate| {
        let mut encoder = Encoder::new(Role::Server, agreed(deflate));
        let mut wire = BytesMut::new();
        encoder.encode(&message, None, deflate, &mut pool, &mut wire);
        check(deflate, &wire, &(vec![Event::Message(message.clone())], None));
        wire.len()
    };
    let (wide, narrow) = (ALONE, ALONE.server_max_window_bits(9));
    let sizes = [size(&wide), size(&narrow), size(&wide), size(&narrow)];
    assert_eq!((sizes[0], sizes[1]), (sizes[2], sizes[3]));
    assert!(sizes[0] * 2 < sizes[1], "a small window does not reach the repetition: {sizes:?}");
}

/// Options of both ends, every window and takeover.
fn options() -> impl Strategy<Value = Deflate> {
    (any::<[bool; 2]>(), 9_u8..16, 9_u8..16, 1_u8..10).prop_map(
        |(takeover, server, client, level)| {
            let [server_takes_over, client_takes_over] = takeover;
            let mut deflate =
                ALONE.server_max_window_bits(server).client_max_window_bits(client).level(level);
            if server_takes_over {
                deflate = deflate.server_context_takeover();
            }
            if client_takes_over {
                deflate = deflate.client_context_takeover();
            }
            deflate
        },
    )
}

fn messages() -> impl Strategy<Value = Vec<Message>> {
    let message = prop_oneof![
        ".{0,80}".prop_map(Message::from),
        ("[a-c€]{1,9}", 1_usize..9000).prop_map(|(word, times)| Message::from(word.repeat(times))),
        vec(any::<u8>(), 0..300).prop_map(Message::from),
        (vec(any::<u8>(), 1..9), 1_usize..9000)
            .prop_map(|(word, times)| Message::from(word.repeat(times))),
    ];
    vec(message, 0..6)
}

/// Cuts a server's frames into fragments, with a ping between any two.
fn fragmented(wire: &[u8], sizes: &[usize]) -> Vec<u8> {
    let (mut rest, mut out, mut sizes) = (wire, Vec::new(), sizes.iter().cycle());
    while let [first, second, behind @ ..] = rest {
        let (length, start) = match second {
            126 => (usize::from(u16::from_be_bytes([behind[0], behind[1]])), 2),
            127 => (usize::from_be_bytes(behind[..8].try_into().expect("eight")), 8),
            short => (usize::from(*short), 0),
        };
        let payload = &behind[start..start + length];
        rest = &behind[start + length..];
        let mut opcode = if first & 0xf == 1 { Opcode::Text } else { Opcode::Binary };
        let mut reserved = first >> 4 & 0b111;
        let cut = (*sizes.next().expect("endless")).min(payload.len());
        for (piece, last) in [(&payload[..cut], false), (&payload[cut..], true)] {
            out.extend(frame(opcode, last, reserved, piece));
            if !last {
                out.extend(frame(Opcode::Ping, true, 0, b"!"));
            }
            (opcode, reserved) = (Opcode::Continuation, 0);
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn any_split_gives_the_same_messages(
        deflate in options(), messages in messages(), sizes in vec(1_usize..4000, 1..5)
    ) {
        let expected = (messages.iter().cloned().map(Event::Message).collect::<Vec<_>>(), None);
        for (from, to) in [(Role::Server, Role::Client), (Role::Client, Role::Server)] {
            let wire = encode(from, &deflate, &messages);
            prop_assert_eq!(&decode(to, &deflate, Limits::default(), &wire, &[]), &expected);
            prop_assert_eq!(&decode(to, &deflate, Limits::default(), &wire, &sizes), &expected);
        }
        let wire = fragmented(&encode(Role::Server, &deflate, &messages), &sizes);
        let (mut events, error) = decode(Role::Client, &deflate, Limits::default(), &wire, &sizes);
        events.retain(|event| !matches!(event, Event::Ping(_)));
        prop_assert_eq!((events, error), expected);
    }

    #[test]
    fn whatever_is_inflated_stays_within_the_limit(
        word in vec(any::<u8>(), 1..9), times in 1_usize..60_000, limit in 0_usize..300_000, size in 1_usize..200
    ) {
        let message = Message::from(word.repeat(times));
        let wire = encode(Role::Server, &ALONE, std::slice::from_ref(&message));
        let limits = Limits { max_message_size: limit, ..Limits::default() };
        let (events, error) = decode(Role::Client, &ALONE, limits, &wire, &[size]);
        if message.len() <= limit {
            prop_assert_eq!((events, error), (vec![Event::Message(message)], None));
        } else {
            prop_assert_eq!((events, error), (vec![], Some(Error::MessageTooBig { limit })));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, ..ProptestConfig::default() })]

    #[test]
    fn garbage_never_panics_and_splits_alike(
        pieces in vec((prop_oneof![Just(0xc1_u8), Just(0xc2), Just(0x41), Just(0x80), Just(0x00), any::<u8>()],
                       vec(any::<u8>(), 0..60)), 1..5),
        size in 1_usize..20, deflate in options(),
    ) {
        let limits = Limits { max_frame_size: 80, max_message_size: 120 };
        let mut wire = Vec::new();
        for (first, payload) in pieces {
            wire.push(first);
            wire.push(u8::try_from(payload.len()).unwrap());
            wire.extend(payload);
        }
        let whole = decode(Role::Client, &deflate, limits, &wire, &[]);
        prop_assert_eq!(decode(Role::Client, &deflate, limits, &wire, &[size]), whole);
    }

    #[test]
    fn a_spoiled_message_never_panics_and_splits_alike(
        word in "[a-c€]{1,9}", times in 1_usize..200, at in any::<prop::sample::Index>(), with: u8, size in 1_usize..20,
        deflate in options(),
    ) {
        let mut wire = encode(Role::Server, &deflate, &[Message::from(word.repeat(times))]);
        let at = at.index(wire.len());
        wire[at] ^= with;
        let limits = Limits { max_frame_size: 10_000, max_message_size: 2000 };
        let whole = decode(Role::Client, &deflate, limits, &wire, &[]);
        prop_assert_eq!(decode(Role::Client, &deflate, limits, &wire, &[size]), whole);
    }
}
