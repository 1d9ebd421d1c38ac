//! Connections through proxies, SOCKS 5 and HTTP's CONNECT: dialogues by the RFCs' tables, and
//! properties for any bytes.

use std::fmt::Debug;

use bytes::BytesMut;
use lineman_wire::http_connect::{self, HttpConnect};
use lineman_wire::socks5::{self, Socks5};
use proptest::{collection::vec, prelude::*};

use crate::pieces::{Outcome, in_pieces};

/// Plays a proxy's answers, each in pieces of one byte and whole; returns what the client sent, the
/// outcome and what was left.
#[track_caller]
fn check_dialogue<E: Debug + PartialEq>(
    answers: &[u8],
    sent: &[u8],
    outcome: &Result<(), E>,
    mut play: impl FnMut(&[u8], usize, &mut BytesMut) -> Outcome<(), E>,
) {
    for size in [usize::MAX, 1] {
        let mut output = BytesMut::new();
        let (got, rest) = play(&[answers, b"!"].concat(), size, &mut output);
        assert_eq!((got.as_ref(), &output[..]), (Some(outcome), sent), "in pieces of {size}");
        if outcome.is_ok() {
            assert_eq!(rest, b"!");
        }
    }
}

fn play_socks(
    host: &str,
    credentials: Option<(&str, &str)>,
) -> impl FnMut(&[u8], usize, &mut BytesMut) -> Outcome<(), socks5::Error> {
    move |answers, size, output| {
        let mut dialogue = Socks5::new(host, 0x1234, credentials).expect("it fits");
        dialogue.start(output);
        in_pieces(answers, size, |input| dialogue.advance(input, output))
    }
}

#[test]
fn socks_dialogues() {
    let ok = Ok(());
    let reply4: &[u8] = &[5, 0, 0, 1, 9, 9, 9, 9, 9, 9];
    let name: &[u8] = b"\x05\x01\x00\x05\x01\x00\x03\x01a\x12\x34";
    check_dialogue(&[b"\x05\x00", reply4].concat(), name, &ok, play_socks("a", None));
    let v4 = b"\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01\x12\x34";
    let reply_name = b"\x05\x00\x05\x00\x00\x03\x03abc\x00\x00";
    check_dialogue(reply_name, v4, &ok, play_socks("127.0.0.1", None));
    let v6 = [b"\x05\x01\x00\x05\x01\x00\x04".as_slice(), &[0; 15], b"\x01\x12\x34"].concat();
    let reply6 = [b"\x05\x00\x05\x00\x00\x04".as_slice(), &[7; 18]].concat();
    check_dialogue(&reply6, &v6, &ok, play_socks("[::1]", None));
    // RFC 1929.
    let with = Some(("user", "pass"));
    let login = b"\x05\x02\x00\x02\x01\x04user\x04pass\x05\x01\x00\x03\x01a\x12\x34";
    check_dialogue(&[b"\x05\x02\x01\x00", reply4].concat(), login, &ok, play_socks("a", with));
    let no_login = b"\x05\x02\x00\x02\x05\x01\x00\x03\x01a\x12\x34";
    check_dialogue(&[b"\x05\x00", reply4].concat(), no_login, &ok, play_socks("a", with));
    // Some proxies answer in the version of SOCKS.
    check_dialogue(&[b"\x05\x02\x05\x00", reply4].concat(), login, &ok, play_socks("a", with));
    let other = Err(socks5::Error::NotSocks5);
    check_dialogue(b"\x05\x02\x04\x00", &login[..15], &other, play_socks("a", with));
    // The last byte of the answer is enough, and no byte of the other end's is waited for.
    for answer in [reply4, &reply_name[2..], &reply6[2..]] {
        let whole = [b"\x05\x00", answer].concat();
        let mut output = BytesMut::new();
        let (outcome, rest) = play_socks("a", None)(&whole, usize::MAX, &mut output);
        assert_eq!((outcome, rest), (Some(Ok(())), vec![]));
        let (short, _) = play_socks("a", None)(&whole[..whole.len() - 1], 1, &mut output);
        assert_eq!(short, None);
    }
    let refused = Err(socks5::Error::Credentials);
    check_dialogue(b"\x05\x02\x01\x01", &login[..15], &refused, play_socks("a", with));
}

#[test]
fn socks_refusals() {
    use socks5::Error;
    for (answers, error) in [
        (b"\x05\xff".as_slice(), Error::Method),
        (b"\x05\x02", Error::Method),
        (b"\x05\x01", Error::NotSocks5),
        (b"\x04\x00", Error::NotSocks5),
        (b"HTTP/1.1 400", Error::NotSocks5),
        (b"\x05\x00\x05\x05", Error::Refused(5)),
        (b"\x05\x00\x05\x01\x00\x01\0\0\0\0\0\0", Error::Refused(1)),
        (b"\x05\x00\x04\x00", Error::NotSocks5),
        (b"\x05\x00\x05\x00\x00\x02\x00", Error::NotSocks5),
    ] {
        for size in [usize::MAX, 1] {
            let mut output = BytesMut::new();
            let (outcome, _) = play_socks("a", None)(answers, size, &mut output);
            assert_eq!(outcome, Some(Err(error)), "{answers:?} in pieces of {size}");
        }
    }
    for (code, text) in [
        (1, "general failure"),
        (2, "not allowed by its rules"),
        (3, "network unreachable"),
        (4, "host unreachable"),
        (5, "connection refused"),
        (6, "time to live expired"),
        (7, "command not supported"),
        (8, "address type not supported"),
        (9, "unknown reason"),
        (255, "unknown reason"),
    ] {
        assert_eq!(Error::Refused(code).to_string(), format!("the proxy refused: {text}"));
    }
    for (host, credentials, error) in [
        ("", None, Error::Host),
        (&"a".repeat(256)[..], None, Error::Host),
        ("a", Some(("", "p")), Error::CredentialsForm),
        ("a", Some(("u", "")), Error::CredentialsForm),
        ("a", Some((&"u".repeat(256)[..], "p")), Error::CredentialsForm),
    ] {
        assert_eq!(Socks5::new(host, 1, credentials).err(), Some(error));
    }
}

fn play_connect(
    host: &str,
    credentials: Option<(&str, &str)>,
) -> impl FnMut(&[u8], usize, &mut BytesMut) -> Outcome<(), http_connect::Error> {
    move |answers, size, output| {
        let mut dialogue = HttpConnect::new(host, 443, credentials).expect("it fits");
        dialogue.start(output);
        in_pieces(answers, size, |input| dialogue.advance(input, output))
    }
}

#[test]
fn connect_dialogues() {
    use http_connect::Error;
    let plain = b"CONNECT a.b:443 HTTP/1.1\r\nHost: a.b:443\r\n\r\n";
    for (answer, outcome) in [
        ("HTTP/1.1 200 Connection established\r\n\r\n", Ok(())),
        ("HTTP/1.0 200\r\nContent-Length: 7\r\n\r\n", Ok(())),
        ("HTTP/1.1 204 None\r\n\r\n", Ok(())),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", Ok(())),
        ("HTTP/1.1 101 Switching\r\n\r\n", Err(Error::Refused(101))),
        ("HTTP/1.1 407 Who\r\n\r\n", Err(Error::Credentials)),
        ("HTTP/1.1 502 No\r\n\r\n", Err(Error::Refused(502))),
        (&"HTTP/1.1 102 Wait\r\n\r\n".repeat(5), Err(Error::Refused(102))),
    ] {
        check_dialogue(answer.as_bytes(), plain, &outcome, play_connect("a.b", None));
    }
    let with = b"CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\n\
                 Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n";
    let credentials = Some(("Aladdin", "open sesame"));
    for host in ["::1", "[::1]"] {
        let ok = Ok(());
        check_dialogue(b"HTTP/1.1 200 OK\r\n\r\n", with, &ok, play_connect(host, credentials));
    }
    let endless = format!("HTTP/1.1 200 OK\r\nA: {}", "a".repeat(20_000));
    let (outcome, _) = play_connect("a", None)(endless.as_bytes(), 100, &mut BytesMut::new());
    assert!(matches!(outcome, Some(Err(Error::Answer(_)))), "{outcome:?}");
}

#[test]
fn what_cannot_stand_in_a_connect_is_refused() {
    use http_connect::Error;
    for host in ["", "a b", "a\r\nX: 1", "a/b", "a:1", "u@a", "ü", &"a".repeat(256)] {
        let error = HttpConnect::new(host, 1, None).err();
        assert_eq!(error, Some(Error::Host(host.to_owned())));
    }
    assert!(HttpConnect::new(&"a".repeat(255), 1, None).is_ok());
    assert!(Socks5::new(&"a".repeat(255), 1, None).is_ok());
    for credentials in [("a:b", "c"), ("a", "b\r\n"), ("a\0", "")] {
        let error = HttpConnect::new("a", 1, Some(credentials)).err();
        assert_eq!(error, Some(Error::CredentialsForm));
    }
}

#[test]
fn passwords_are_not_shown() {
    let credentials = Some(("user", "swordfish"));
    let socks = format!("{:?}", Socks5::new("a", 1, credentials).unwrap());
    let connect = format!("{:?}", HttpConnect::new("a", 1, credentials).unwrap());
    assert!(!socks.contains("swordfish") && !connect.contains("c3dvcmRmaXNo"));
    // In base64 and as the bytes of the list too.
    assert!(!socks.contains("115") && !connect.contains("Basic"));
}

proptest! {
    #[test]
    fn garbage_splits_alike(start in prop_oneof![Just(""), Just("\x05\0\x05\0\0"), Just("\x05\x02\x01\0"), Just("HTTP/1.1 200 ")],
                            bytes in vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(0), Just(5), any::<u8>()], 0..200), size in 1_usize..40) {
        let bytes = [start.as_bytes(), &bytes].concat();
        let socks = |size| {
            let mut output = BytesMut::new();
            (play_socks("a", Some(("u", "p")))(&bytes, size, &mut output), output)
        };
        prop_assert_eq!(socks(size), socks(usize::MAX));
        let connect = |size| play_connect("a", None)(&bytes, size, &mut BytesMut::new());
        prop_assert_eq!(connect(size).0, connect(usize::MAX).0);
    }
}
