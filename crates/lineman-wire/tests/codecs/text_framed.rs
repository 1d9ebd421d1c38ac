//! The simple protocols, lines, frames and raw bytes: tables for their rules, and properties that hold for any bytes.

use std::fmt::Debug;

use bytes::{Bytes, BytesMut};
use lineman_wire::{
    Protocol,
    framed::Framed,
    raw::Raw,
    text::{ByteLines, Text},
};
use proptest::{collection::vec, prelude::*};

/// Decodes `bytes` in pieces of `size`; the error is its text.
fn decode<P: Protocol>(
    mut protocol: P,
    bytes: &[u8],
    size: usize,
) -> (Vec<P::Inbound>, Option<String>) {
    let (mut messages, mut buffer) = (Vec::new(), BytesMut::new());
    for piece in bytes.chunks(size) {
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

/// Checks one input at once and byte by byte.
#[track_caller]
fn check<P: Protocol>(make: fn() -> P, bytes: &[u8], messages: &[P::Inbound], error: Option<&str>)
where
    P::Inbound: Debug + PartialEq,
{
    for size in [usize::MAX, 1] {
        let (got, fault) = decode(make(), bytes, size);
        assert_eq!((got.as_slice(), fault.as_deref()), (messages, error), "in pieces of {size}");
    }
}

#[test]
fn text_takes_lines() {
    let lines = ["hello", "wor\rld", "", ""].map(str::to_owned);
    check(Text::new, b"hello\nwor\rld\r\n\r\r\n\nrest", &lines, None);
    check(
        Text::new,
        b"ok\n\xff\n",
        &["ok".to_owned()],
        Some("line is not valid utf-8 from byte 0 on"),
    );
}

#[test]
fn text_is_bounded() {
    let make = || Text::with_max_size(4);
    let fits = ["abcd", "efgh"].map(str::to_owned);
    check(make, b"abcd\r\nefgh\n", &fits, None);
    for line in [b"abcde".as_slice(), b"abcde\n", b"abcd\r\r\n"] {
        check(make, line, &[], Some("line is longer than 4 bytes"));
    }
    assert_eq!(make().max_message_size(), 4);
    assert_eq!(Text::new().max_message_size(), 10 * 1024 * 1024);
}

#[test]
fn lines_of_bytes_have_the_bounds_of_text_and_no_other_rule() {
    let make = || ByteLines::with_max_size(4);
    let lines = [b"\xff\0\xc3".as_slice(), b"", b"\x80"].map(Bytes::from_static);
    check(make, b"\xff\0\xc3\r\r\n\n\x80\r\nrest", &lines, None);
    check(make, b"\xff\0\xc3\r\x01\n", &[], Some("line is longer than 4 bytes"));
    let mut out = BytesMut::new();
    assert!(
        ByteLines::new().encode(Bytes::from_static(b"\xff\n"), &mut out).is_err() && out.is_empty()
    );
    assert_eq!(make().max_message_size(), 4);
}

#[test]
fn text_refuses_to_send_two_lines_as_one() {
    let mut out = BytesMut::new();
    assert!(Text::new().encode("a\nb".to_owned(), &mut out).is_err());
    assert!(out.is_empty());
    Text::new().encode("a".repeat(1000), &mut out).unwrap();
    assert!(out.len() == 1001 && out.capacity() < 1100, "{} bytes", out.capacity());
}

#[test]
fn text_looks_at_each_byte_once() {
    // 4 MiB in pieces of 16 bytes: about a second if each piece were searched from the front.
    let (mut text, mut buffer) = (Text::new(), BytesMut::new());
    for _ in 0..256 * 1024 {
        buffer.extend_from_slice(&[b'a'; 16]);
        assert!(text.decode(&mut buffer).unwrap().is_none());
    }
    buffer.extend_from_slice(b"\n");
    assert_eq!(text.decode(&mut buffer).unwrap().map(|line| line.len()), Some(4 * 1024 * 1024));
}

#[test]
fn framed_takes_frames() {
    let frames = [b"hi".as_slice(), b""].map(Bytes::from_static);
    check(Framed::new, b"\0\0\0\x06hi\0\0\0\x04\0\0\0\x07ab", &frames, None);
    for length in 0..4 {
        let fault = format!("frame length {length} is below 4, the size of its own prefix");
        check(Framed::new, &[0, 0, 0, length], &[], Some(&fault));
    }
}

#[test]
fn framed_is_bounded_before_it_buffers() {
    let make = || Framed::with_max_size(3);
    check(make, b"\0\0\0\x07abc", &[Bytes::from_static(b"abc")], None);
    check(make, b"\0\0\0\x08", &[], Some("frame of 4 bytes is larger than the limit of 3 bytes"));
    check(
        make,
        b"\xff\xff\xff\xff",
        &[],
        Some("frame of 4294967291 bytes is larger than the limit of 3 bytes"),
    );
}

#[test]
fn raw_takes_what_comes() {
    let mut buffer = BytesMut::new();
    assert_eq!(Raw.decode(&mut buffer).unwrap(), None);
    buffer.extend_from_slice(b"any\0\xff");
    assert_eq!(Raw.decode(&mut buffer).unwrap(), Some(Bytes::from_static(b"any\0\xff")));
    assert!(buffer.is_empty());
    assert_eq!(Raw.decode(&mut buffer).unwrap(), None);
    Raw.encode(Bytes::from_static(b"one"), &mut buffer).unwrap();
    Raw.encode(Bytes::from_static(b"\ntwo"), &mut buffer).unwrap();
    assert_eq!(&buffer[..], b"one\ntwo");
    assert_eq!(Raw.max_message_size(), 10 * 1024 * 1024);
}

#[test]
fn protocols_have_names() {
    struct Own;
    impl Protocol for Own {
        type Inbound = ();
        type Outbound = ();

        fn decode(&mut self, _: &mut BytesMut) -> lineman_wire::Result<Option<()>> {
            Ok(None)
        }

        fn encode(&mut self, (): (), _: &mut BytesMut) -> lineman_wire::Result {
            Ok(())
        }
    }
    assert_eq!(
        [Raw::name(), Text::name(), ByteLines::name(), Framed::name(), Own::name()],
        ["raw", "text", "text", "framed", "Own"]
    );
}

#[test]
fn framed_shares_the_memory_of_large_messages_alone() {
    const SHARE_FROM: usize = 64 * 1024;
    for (length, shares) in [(SHARE_FROM - 1, false), (SHARE_FROM, true), (SHARE_FROM + 1, true)] {
        let mut buffer = BytesMut::new();
        Framed::new().encode(Bytes::from(vec![7; length]), &mut buffer).unwrap();
        assert!(buffer.capacity() < 2 * length, "{} bytes reserved", buffer.capacity());
        let message = buffer[4..].as_ptr();
        let decoded = Framed::new().decode(&mut buffer).unwrap().unwrap();
        assert_eq!((decoded.as_ptr() == message, decoded.len()), (shares, length));
    }
    assert_eq!(Framed::with_max_size(7).max_message_size(), 7);
}

proptest! {
    #[test]
    fn text_comes_back(lines in vec("[^\r\n]{0,40}", 0..8), size in 1_usize..50) {
        let mut out = BytesMut::new();
        for line in &lines {
            Text::new().encode(line.clone(), &mut out).unwrap();
        }
        prop_assert_eq!(decode(Text::new(), &out, size), (lines, None));
    }

    #[test]
    fn any_bytes_but_line_ends_come_back(lines in vec(vec(any::<u8>(), 0..40), 0..8), large in 0_usize..200_000, size in 1_usize..50_000) {
        let mut lines = lines;
        lines.push(vec![0xff; large]);
        for line in &mut lines {
            line.retain(|byte| *byte != b'\n');
            // The end of a line is `\r\n` as well.
            line.push(0x80);
        }
        let lines: Vec<Bytes> = lines.into_iter().map(Bytes::from).collect();
        let mut out = BytesMut::new();
        for line in &lines {
            ByteLines::new().encode(line.clone(), &mut out).unwrap();
        }
        prop_assert_eq!(decode(ByteLines::new(), &out, size), (lines, None));
    }

    #[test]
    fn framed_comes_back(frames in vec(vec(any::<u8>(), 0..200), 0..8), size in 1_usize..250, large in 0_usize..200_000) {
        let mut frames: Vec<Bytes> = frames.into_iter().map(Bytes::from).collect();
        frames.push(Bytes::from(vec![7; large]));
        let mut out = BytesMut::new();
        for frame in &frames {
            Framed::new().encode(frame.clone(), &mut out).unwrap();
        }
        prop_assert_eq!(decode(Framed::new(), &out, size), (frames, None));
    }

    #[test]
    fn garbage_splits_alike(bytes in vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(0), Just(5), any::<u8>()], 0..60), size in 1_usize..10) {
        prop_assert_eq!(decode(Text::with_max_size(9), &bytes, size), decode(Text::with_max_size(9), &bytes, usize::MAX));
        prop_assert_eq!(decode(ByteLines::with_max_size(9), &bytes, size), decode(ByteLines::with_max_size(9), &bytes, usize::MAX));
        prop_assert_eq!(decode(Framed::with_max_size(9), &bytes, size), decode(Framed::with_max_size(9), &bytes, usize::MAX));
    }
}
