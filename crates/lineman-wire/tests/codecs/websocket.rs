//! RFC 6455, 5 to 8 as tables of bytes and events, and properties that hold for any bytes.

use bytes::{Bytes, BytesMut};
use lineman_wire::websocket::{
    CloseCode, CloseFrame, Decoder, Error, Event, Limits, Message, Role, Utf8Bytes, encode_close,
    encode_message, encode_ping, encode_pong,
    frame::{Header, Opcode},
};
use proptest::{collection::vec, prelude::*};

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

type Outcome = (Vec<Event>, Option<Error>);

/// Decodes `bytes` in pieces of `sizes`, over and over, and checks on the way what may stay behind.
fn decode(role: Role, limits: Limits, bytes: &[u8], sizes: &[usize]) -> Outcome {
    let (mut decoder, mut input, mut events) = (Decoder::new(role), BytesMut::new(), Vec::new());
    let (mut rest, mut sizes) = (bytes, sizes.iter().cycle());
    while !rest.is_empty() {
        let size = sizes.next().map_or(rest.len(), |&size| size.clamp(1, rest.len()));
        let (piece, behind) = rest.split_at(size);
        rest = behind;
        input.extend_from_slice(piece);
        loop {
            match decoder.decode(&mut input, &limits) {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(decoder.decode(&mut input, &limits), Ok(None), "an error is final");
                    assert!(input.is_empty() && decoder.is_idle());
                    return (events, Some(error));
                }
            }
        }
        assert!(input.len() <= 13, "{} bytes are left unread", input.len());
        assert!(decoder.buffered() <= limits.max_message_size.saturating_add(125));
    }
    (events, None)
}

/// Checks one input at once and byte by byte.
#[track_caller]
fn check(role: Role, bytes: &[u8], expected: &Outcome) {
    assert_eq!(&decode(role, Limits::default(), bytes, &[]), expected, "at once: {bytes:x?}");
    assert_eq!(&decode(role, Limits::default(), bytes, &[1]), expected, "byte by byte: {bytes:x?}");
}

#[track_caller]
fn refuses(bytes: &[u8], error: Error) {
    check(Role::Client, bytes, &(vec![], Some(error)));
}

fn text(text: &str) -> Event {
    Event::Message(Message::from(text))
}

fn binary(bytes: &[u8]) -> Event {
    Event::Message(Message::from(bytes))
}

/// Makes one frame; a client's if it has a mask.
fn frame(opcode: Opcode, last: bool, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut out = BytesMut::new();
    Header { last, reserved: 0, opcode, mask, length: payload.len() }.encode(&mut out);
    let key = mask.unwrap_or_default();
    out.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    out.to_vec()
}

#[test]
fn idle_decoder_is_small() {
    assert!(size_of::<Decoder>() <= 16, "{} bytes", size_of::<Decoder>());
    let (mut decoder, mut input) = (Decoder::new(Role::Server), BytesMut::new());
    input.extend_from_slice(&frame(Opcode::Text, false, b"a", Some(KEY)));
    input.extend_from_slice(&frame(Opcode::Continuation, true, b"b", Some(KEY)));
    assert_eq!(decoder.decode(&mut input, &Limits::default()), Ok(Some(text("ab"))));
    assert!(decoder.is_idle(), "a finished message leaves no memory behind");
}

#[test]
fn examples_of_section_5_7() {
    check(Role::Client, b"\x81\x05Hello", &(vec![text("Hello")], None));
    check(
        Role::Server,
        b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58",
        &(vec![text("Hello")], None),
    );
    check(Role::Client, b"\x01\x03Hel\x80\x02lo", &(vec![text("Hello")], None));
    check(Role::Client, b"\x89\x05Hello", &(vec![Event::Ping(Bytes::from_static(b"Hello"))], None));
    let pong = vec![Event::Pong(Bytes::from_static(b"Hello"))];
    check(Role::Server, b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", &(pong, None));
    let medium = [b"\x82\x7e\x01\x00".as_slice(), &[7; 256]].concat();
    check(Role::Client, &medium, &(vec![binary(&[7; 256])], None));
    let large = [b"\x82\x7f\0\0\0\0\0\x01\0\0".as_slice(), &vec![7; 65536]].concat();
    check(Role::Client, &large, &(vec![binary(&[7; 65536])], None));
}

#[test]
fn encoders_write_the_examples_of_section_5_7() {
    let mut out = BytesMut::new();
    encode_message(&Message::from("Hello"), Some(KEY), &mut out);
    assert_eq!(&out[..], b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
    assert_eq!(&Message::from("Hello").to_frame()[..], b"\x81\x05Hello");
    assert_eq!(&Message::from(vec![7; 256]).to_frame()[..4], b"\x82\x7e\x01\x00");
    assert_eq!(&Message::from(vec![7; 65536]).to_frame()[..10], b"\x82\x7f\0\0\0\0\0\x01\0\0");
    out.clear();
    encode_ping(b"Hello", None, &mut out).unwrap();
    encode_pong(b"Hello", Some(KEY), &mut out).unwrap();
    assert_eq!(&out[..], b"\x89\x05Hello\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
    assert_eq!(encode_ping(&[0; 126], None, &mut out), Err(Error::ControlTooLong));
    assert_eq!(out.len(), 18, "nothing is appended on an error");
    encode_pong(&[0; 125], None, &mut out).unwrap();
    assert_eq!(out.len(), 18 + 127);
}

#[test]
fn control_frames_come_between_fragments() {
    // Finding 2 of the ancestor: its pong carried the text of the fragments.
    let events = vec![
        Event::Ping(Bytes::from_static(b"ping")),
        Event::Pong(Bytes::new()),
        text("Hello"),
        binary(b""),
    ];
    check(
        Role::Client,
        b"\x01\x03Hel\x89\x04ping\x00\x00\x8a\x00\x80\x02lo\x82\x00",
        &(events, None),
    );
}

#[test]
fn reserved_bits_and_opcodes_are_refused() {
    for bit in [0x40, 0x20, 0x10] {
        refuses(&[0x81 | bit, 0], Error::ReservedBits);
        refuses(&[0x89 | bit, 0], Error::ReservedBits);
    }
    for opcode in [3, 4, 5, 6, 7, 0xB, 0xC, 0xD, 0xE, 0xF] {
        refuses(&[0x80 | opcode], Error::ReservedOpcode(opcode));
    }
}

#[test]
fn masks_go_with_the_role() {
    check(Role::Server, b"\x81\x05Hello", &(vec![], Some(Error::WrongMask(Role::Server))));
    check(Role::Client, b"\x81\x80\0\0\0\0", &(vec![], Some(Error::WrongMask(Role::Client))));
}

#[test]
fn control_frames_are_short_and_whole() {
    refuses(b"\x09\x00", Error::FragmentedControl);
    refuses(b"\x08\x00", Error::FragmentedControl);
    refuses(b"\x89\x7e\x00\x7e", Error::ControlTooLong);
    refuses(b"\x8a\x7f", Error::ControlTooLong);
    let longest = frame(Opcode::Ping, true, &[b'x'; 125], None);
    check(Role::Client, &longest, &(vec![Event::Ping(Bytes::from(vec![b'x'; 125]))], None));
}

#[test]
fn fragments_keep_their_order() {
    // Finding 10 of the ancestor: a lone continuation was delivered as a message.
    refuses(b"\x80\x01x", Error::LoneContinuation);
    refuses(b"\x00\x01x", Error::LoneContinuation);
    refuses(b"\x01\x01x\x81\x01y", Error::UnfinishedMessage);
    refuses(b"\x01\x01x\x02\x01y", Error::UnfinishedMessage);
    let after_a_message = b"\x01\x01x\x80\x01y\x80\x01z";
    check(Role::Client, after_a_message, &(vec![text("xy")], Some(Error::LoneContinuation)));
}

#[test]
fn lengths_are_in_their_shortest_form() {
    refuses(b"\x82\x7e\x00\x7d", Error::LengthNotMinimal);
    refuses(b"\x82\x7f\0\0\0\0\0\0\xff\xff", Error::LengthNotMinimal);
    for length in [125, 126, 65535, 65536] {
        let bytes = frame(Opcode::Binary, true, &vec![1; length], Some(KEY));
        check(Role::Server, &bytes, &(vec![binary(&vec![1; length])], None));
    }
}

#[test]
fn too_much_is_refused_before_it_comes() {
    let limit = 10 * 1024 * 1024;
    refuses(b"\x82\x7f\x80\0\0\0\0\0\0\0", Error::FrameTooBig { length: 1 << 63, limit });
    refuses(
        b"\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff",
        Error::FrameTooBig { length: u64::MAX, limit },
    );
    refuses(
        b"\x82\x7f\0\0\0\0\0\xa0\0\x01",
        Error::FrameTooBig { length: limit as u64 + 1, limit },
    );
    let limits = Limits { max_frame_size: 4, max_message_size: 6 };
    let (events, error) =
        decode(Role::Client, limits, b"\x02\x04abcd\x80\x02ef\x02\x04abcd\x80\x03", &[]);
    assert_eq!((events, error), (vec![binary(b"abcdef")], Some(Error::MessageTooBig { limit: 6 })));
    let no_limit = Limits { max_frame_size: usize::MAX, max_message_size: usize::MAX };
    assert_eq!(
        decode(Role::Client, no_limit, b"\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff!", &[]),
        (vec![], None)
    );
    assert_eq!(
        decode(Role::Client, no_limit, b"\x02\x02ab\x80\x7f\xff\xff\xff\xff\xff\xff\xff\xff", &[]),
        (vec![], Some(Error::MessageTooBig { limit: usize::MAX }))
    );
}

#[test]
fn text_is_utf8_and_fails_at_the_first_bad_byte() {
    refuses(b"\x81\x03ab\xff", Error::InvalidUtf8);
    refuses(b"\x81\x03\xed\xa0\x80", Error::InvalidUtf8);
    refuses(b"\x81\x02\xe2\x82", Error::InvalidUtf8);
    refuses(b"\x01\x02\xe2\x82\x80\x01a", Error::InvalidUtf8);
    check(Role::Client, b"\x01\x02\xe2\x82\x80\x01\xac", &(vec![text("€")], None));
    // The frame announces 1,000 bytes; the fault is the third.
    refuses(b"\x81\x7e\x03\xe8ab\xff", Error::InvalidUtf8);
    refuses(b"\x81\x7e\x03\xe8ab\xf4\x90", Error::InvalidUtf8);
    // Binary may be anything.
    check(Role::Client, b"\x82\x01\xff", &(vec![binary(b"\xff")], None));
}

#[test]
fn close_frames_are_parsed() {
    let close =
        |code: u16, reason: &str| (vec![Event::Close(Some(CloseFrame::new(code, reason)))], None);
    check(Role::Client, b"\x88\x00", &(vec![Event::Close(None)], None));
    check(Role::Client, b"\x88\x05\x03\xe9bye", &close(1001, "bye"));
    refuses(b"\x88\x01\x03", Error::TruncatedCloseCode);
    refuses(b"\x88\x03\x03\xe8\xff", Error::InvalidUtf8);
    for code in [
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000,
        4999,
    ] {
        let [high, low] = u16::to_be_bytes(code);
        check(Role::Client, &[0x88, 2, high, low], &close(code, ""));
    }
    for code in [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
        let [high, low] = u16::to_be_bytes(code);
        refuses(&[0x88, 2, high, low], Error::InvalidCloseCode(code));
    }
}

#[test]
fn nothing_is_decoded_after_a_close() {
    let (events, error) =
        decode(Role::Client, Limits::default(), b"\x88\x00\x81\x05Hello\xff\xff", &[]);
    assert_eq!((events, error), (vec![Event::Close(None)], None));
    // A close between fragments ends the message as well.
    let (events, error) =
        decode(Role::Client, Limits::default(), b"\x01\x01a\x88\x00\x80\x01b", &[1]);
    assert_eq!((events, error), (vec![Event::Close(None)], None));
}

#[test]
fn errors_say_how_to_close() {
    let limit = 1;
    for (error, code) in [
        (Error::ReservedBits, CloseCode::PROTOCOL_ERROR),
        (Error::WrongMask(Role::Server), CloseCode::PROTOCOL_ERROR),
        (Error::InvalidCloseCode(1005), CloseCode::PROTOCOL_ERROR),
        (Error::InvalidUtf8, CloseCode::INVALID_PAYLOAD),
        (Error::FrameTooBig { length: u64::MAX, limit: usize::MAX }, CloseCode::MESSAGE_TOO_BIG),
        (Error::MessageTooBig { limit }, CloseCode::MESSAGE_TOO_BIG),
    ] {
        let close = error.close_frame();
        assert_eq!((close.code, error.close_code()), (code, code));
        assert_eq!(close.reason, error.to_string().as_str());
        assert!(close.reason.len() <= CloseFrame::MAX_REASON, "{close}");
    }
}

#[test]
fn close_is_encoded_whatever_it_says() {
    let encoded = |close: Option<&CloseFrame>| {
        let mut out = BytesMut::new();
        encode_close(close, None, &mut out);
        out.to_vec()
    };
    assert_eq!(encoded(None), b"\x88\x00");
    assert_eq!(encoded(Some(&CloseFrame::new(1001, "bye"))), b"\x88\x05\x03\xe9bye");
    assert_eq!(encoded(Some(&CloseFrame::new(CloseCode::ABNORMAL, "lost"))), b"\x88\x00");
    let long = encoded(Some(&CloseFrame::new(1000, "€".repeat(42))));
    assert_eq!((long[1], long.len()), (125, 127), "41 characters of three bytes fit exactly");
    let cut = encoded(Some(&CloseFrame::new(1000, format!("a{}", "€".repeat(42)))));
    assert_eq!(cut[1], 2 + 1 + 40 * 3, "the cut is between two characters");
}

#[test]
fn a_decoder_tells_what_it_holds() {
    let (mut decoder, limits) = (Decoder::new(Role::Client), Limits::default());
    assert_eq!((decoder.buffered(), decoder.is_movable()), (0, true));
    for (piece, held) in [
        (&b"\x01\x03abc"[..], 3),
        (b"\x89\x04p", 4),
        (b"in", 6),
        (b"g", 3),
        (b"\x80\x05de\xe2", 6),
        (b"\x82\xac", 0),
    ] {
        let mut input = BytesMut::from(piece);
        while decoder.decode(&mut input, &limits).unwrap().is_some() {}
        assert_eq!((decoder.buffered(), decoder.is_movable()), (held, true), "{piece:x?}");
        assert_eq!(decoder.is_idle(), held == 0);
    }
}

#[test]
fn a_header_knows_its_size() {
    let lengths = [0, 1, 125, 126, 127, 0xFFFE, 0xFFFF, 0x1_0000, 0x1_0001, usize::MAX];
    for (length, size) in lengths.into_iter().zip([2, 2, 2, 4, 4, 4, 4, 10, 10, 10]) {
        for (mask, of_mask) in [(None, 0), (Some(KEY), 4)] {
            let header = Header { last: true, reserved: 0, opcode: Opcode::Binary, mask, length };
            let mut out = BytesMut::new();
            header.encode(&mut out);
            assert_eq!((header.encoded_len(), out.len()), (size + of_mask, size + of_mask));
        }
    }
}

#[test]
fn encoders_reserve_what_they_append() {
    let (message, mut out) = (Message::from("a".repeat(1000)), BytesMut::new());
    encode_message(&message, Some(KEY), &mut out);
    assert_eq!(out.len(), 1008);
    assert!(out.capacity() < 1100, "{} bytes", out.capacity());
}

#[test]
fn many_empty_fragments_keep_memory_as_it_is() {
    let (mut decoder, limits) = (Decoder::new(Role::Client), Limits::default());
    let mut input = BytesMut::from(&b"\x01\x01a"[..]);
    for _ in 0..70_000 {
        input.extend_from_slice(b"\x00\x00");
        assert_eq!(decoder.decode(&mut input, &limits), Ok(None));
        assert_eq!((decoder.buffered(), input.len()), (1, 0));
    }
    input.extend_from_slice(b"\x80\x01b");
    assert_eq!(decoder.decode(&mut input, &limits), Ok(Some(text("ab"))));
}

#[test]
fn messages_convert() {
    let value = serde_json::json!({"a": [1, 2]});
    assert_eq!(Message::from(&value).as_text(), Some(r#"{"a":[1,2]}"#));
    assert_eq!(Message::from_json(&value).unwrap(), Message::from(&value));
    assert_eq!(Message::from(b"[1]".to_vec()).json::<Vec<u8>>().unwrap(), [1]);
    assert!(Message::from("{").json::<serde_json::Value>().is_err());
    assert_ne!(Message::from("a"), Message::from(b"a".to_vec()), "text and binary stay apart");
    let text = Utf8Bytes::try_from(Bytes::from_static("é".as_bytes())).unwrap();
    assert_eq!(text, "é");
    assert!(Utf8Bytes::try_from(Bytes::from_static(b"\xff")).is_err());
    assert_eq!(Message::from("x").into_bytes(), Bytes::from_static(b"x"));
    assert!(Message::from("").is_empty() && !Message::from("x").is_empty());
    assert_eq!((AsRef::<str>::as_ref(&text), AsRef::<[u8]>::as_ref(&text)), ("é", "é".as_bytes()));
    assert_eq!((text.to_string(), Bytes::from(text.clone())), ("é".to_owned(), "é".into()));
    assert!(text == *"é" && text != *"e" && text != "e");
}

#[test]
fn close_codes_have_names() {
    assert_eq!(CloseCode::GOING_AWAY.to_string(), "1001 going away");
    assert_eq!(CloseCode(4000).to_string(), "4000");
    assert_eq!(u16::from(CloseCode(4000)), 4000);
    assert_eq!(CloseFrame::new(1009, "").to_string(), "1009 message too big");
}

/// Frames of a well-behaved peer: messages in fragments, control frames anywhere.
fn conversation() -> impl Strategy<Value = (Vec<Event>, Vec<u8>)> {
    let message = prop_oneof![
        ".{0,80}".prop_map(Message::from),
        vec(any::<u8>(), 0..300).prop_map(Message::from),
        vec(any::<u8>(), 65_530..65_540).prop_map(Message::from),
    ];
    let item = (message, vec(0_usize..100, 0..4), vec(any::<u8>(), 0..126), any::<[u8; 4]>());
    vec(item, 0..6).prop_map(|items| {
        let (mut events, mut bytes) = (Vec::new(), Vec::new());
        for (message, cuts, ping, key) in items {
            let mut opcode =
                if message.as_text().is_some() { Opcode::Text } else { Opcode::Binary };
            let mut rest = message.as_bytes();
            for cut in cuts {
                let (piece, behind) = rest.split_at(cut.min(rest.len()));
                rest = behind;
                bytes.extend(frame(opcode, false, piece, Some(key)));
                bytes.extend(frame(Opcode::Ping, true, &ping, Some(key)));
                events.push(Event::Ping(Bytes::from(ping.clone())));
                opcode = Opcode::Continuation;
            }
            bytes.extend(frame(opcode, true, rest, Some(key)));
            events.push(Event::Message(message));
        }
        (events, bytes)
    })
}

/// Bytes that look like frames more often than chance would have it.
fn almost_frames() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        Just(0x81_u8),
        Just(0x82),
        Just(1),
        Just(0),
        Just(0x80),
        Just(0x88),
        Just(0x89),
        any::<u8>()
    ];
    let one = (first, prop_oneof![0_u8..20, 0x80_u8..0x94, any::<u8>()], vec(any::<u8>(), 0..24));
    vec(one, 0..8).prop_map(|frames| {
        frames
            .into_iter()
            .flat_map(|(first, second, rest)| [vec![first, second], rest].concat())
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn any_split_gives_the_same_events((events, bytes) in conversation(), sizes in vec(1_usize..400, 1..5)) {
        let outcome = decode(Role::Server, Limits::default(), &bytes, &sizes);
        prop_assert_eq!(outcome, (events, None));
    }

    #[test]
    fn messages_come_back(text in ".{0,200}", binary in vec(any::<u8>(), 0..70_000), mask: Option<[u8; 4]>) {
        let role = if mask.is_some() { Role::Server } else { Role::Client };
        for message in [Message::from(text), Message::from(binary)] {
            let mut out = BytesMut::new();
            encode_message(&message, mask, &mut out);
            if mask.is_none() {
                prop_assert_eq!(&out[..], &message.to_frame()[..]);
            }
            let outcome = decode(role, Limits::default(), &out, &[]);
            prop_assert_eq!(outcome, (vec![Event::Message(message)], None));
        }
    }

    #[test]
    fn a_moved_decoder_goes_on((events, bytes) in conversation(), at in any::<prop::sample::Index>()) {
        let limits = Limits { max_frame_size: 100_000, max_message_size: 100_000 };
        let at = if bytes.is_empty() { 0 } else { at.index(bytes.len()) };
        let (before, after) = bytes.split_at(at);
        let (mut old, mut input, mut got) = (Decoder::new(Role::Server), BytesMut::from(before), Vec::new());
        while let Some(event) = old.decode(&mut input, &limits).unwrap() {
            got.push(event);
        }
        let mut carried = BytesMut::new();
        old.write_unfinished(&limits, &mut carried);
        carried.extend_from_slice(&input);
        carried.extend_from_slice(after);
        let (rest, error) = decode(Role::Server, limits, &carried, &[]);
        got.extend(rest);
        prop_assert_eq!((got, error), (events, None));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, ..ProptestConfig::default() })]

    #[test]
    fn garbage_never_panics_and_splits_alike(bytes in almost_frames(), size in 1_usize..20) {
        let limits = Limits { max_frame_size: 60, max_message_size: 100 };
        for role in [Role::Server, Role::Client] {
            let whole = decode(role, limits, &bytes, &[]);
            prop_assert_eq!(decode(role, limits, &bytes, &[size]), whole);
        }
    }
}
