//! Clients behind proxies: the PROXY protocol and HTTP's headers. Tables from the specifications,
//! and properties for any bytes.

use std::net::{IpAddr, SocketAddr};

use bytes::{BufMut, Bytes, BytesMut};
use lineman_wire::forwarded::{forwarded, texts, x_forwarded_for};
use lineman_wire::proxy_protocol::{Addresses, Error, Header, MAX_SIZE, Ssl, decode};
use proptest::{collection::vec, prelude::*};

use crate::pieces::in_pieces;

/// Checks a header at once and byte by byte, with bytes behind it that have to stay.
#[track_caller]
fn check_header(bytes: &[u8], expected: &Result<Header, Error>) {
    let behind = b"GET / HTTP/1.1\r\n\r\n".as_slice();
    let input = [bytes, behind].concat();
    for size in [usize::MAX, 1, 7] {
        let (outcome, rest) = in_pieces(&input, size, decode);
        assert_eq!(outcome.as_ref(), Some(expected), "in pieces of {size}");
        if expected.is_ok() {
            assert_eq!(rest, behind);
        }
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[test]
fn version_1_lines() {
    let tcp = |source, destination| Ok(Header::tcp(address(source), address(destination)));
    let unknown = Ok(Header::new(Addresses::Unknown));
    let longest6 = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    for (line, expected) in [
        (
            "PROXY TCP4 255.255.255.255 255.255.255.254 65535 65534",
            tcp("255.255.255.255:65535", "255.255.255.254:65534"),
        ),
        ("PROXY TCP6 2001:db8::1 ::1 1 0", tcp("[2001:db8::1]:1", "[::1]:0")),
        ("PROXY UNKNOWN", unknown.clone()),
        (&format!("PROXY UNKNOWN {longest6} {longest6} 65535 65535"), unknown),
        ("PROXY TCP4 ::1 ::1 1 2", Err(Error::Line("an address is not of its family"))),
        ("PROXY TCP6 1.2.3.4 ::1 1 2", Err(Error::Line("an address is not of its family"))),
        ("PROXY TCP4 01.2.3.4 1.2.3.4 1 2", Err(Error::Line("an address is not of its family"))),
        (
            "PROXY TCP4 1.2.3.4 1.2.3.4 65536 2",
            Err(Error::Line("a port is no number from 0 to 65535")),
        ),
        (
            "PROXY TCP4 1.2.3.4 1.2.3.4 01 2",
            Err(Error::Line("a port is no number from 0 to 65535")),
        ),
        (
            "PROXY TCP4 1.2.3.4 1.2.3.4 +1 2",
            Err(Error::Line("a port is no number from 0 to 65535")),
        ),
        (
            "PROXY TCP4 1.2.3.4  1.2.3.4 1 2",
            Err(Error::Line("not five words separated by single spaces")),
        ),
        (
            "PROXY TCP4 1.2.3.4 1.2.3.4 1",
            Err(Error::Line("not five words separated by single spaces")),
        ),
        ("PROXY UDP4 1.2.3.4 1.2.3.4 1 2", Err(Error::Line("neither TCP4, TCP6 nor UNKNOWN"))),
        ("PROXY UNKNOWNS", Err(Error::Line("not five words separated by single spaces"))),
    ] {
        check_header(format!("{line}\r\n").as_bytes(), &expected);
    }
}

#[test]
fn what_is_no_header_is_refused_at_its_first_byte_that_differs() {
    for bytes in ["GET / HTTP/1.1\r\n", "PROXX", "proxy ", "\r\n\r\n\r\n", "\x16\x03\x01"] {
        check_header(bytes.as_bytes(), &Err(Error::Missing));
        let (outcome, rest) = in_pieces(bytes.as_bytes(), 1, decode);
        assert_eq!((outcome, rest.as_slice()), (Some(Err(Error::Missing)), bytes.as_bytes()));
    }
}

#[test]
fn a_line_has_an_end() {
    let no_return = Err(Error::Line("it does not end with \\r\\n"));
    check_header(b"PROXY UNKNOWN\n", &no_return);
    // 107 bytes with the end are the longest line; the end is not waited for any longer.
    let fits = format!("PROXY UNKNOWN {}\r\n", "a".repeat(91));
    assert_eq!(fits.len(), 107);
    check_header(fits.as_bytes(), &Ok(Header::new(Addresses::Unknown)));
    let long = format!("PROXY UNKNOWN {}\r\n", "a".repeat(92));
    check_header(long.as_bytes(), &Err(Error::Line("no end")));
}

/// A version 2 header of these bytes behind the signature's length.
fn binary(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.put_slice(&[command, family]);
    header.put_u16(body.len().try_into().expect("short"));
    header.put_slice(body);
    header
}

fn field(kind: u8, value: &[u8]) -> Vec<u8> {
    let mut field = vec![kind];
    field.put_u16(value.len().try_into().expect("short"));
    field.put_slice(value);
    field
}

const V4: &[u8] = &[192, 0, 2, 1, 198, 51, 100, 7, 0xdc, 0x04, 0x01, 0xbb];

#[test]
fn version_2_headers() {
    let client = Header::tcp(address("192.0.2.1:56324"), address("198.51.100.7:443"));
    let local = Ok(Header::new(Addresses::Local));
    let unknown = Ok(Header::new(Addresses::Unknown));
    check_header(&binary(0x21, 0x11, V4), &Ok(client.clone()));
    check_header(&binary(0x21, 0x12, V4), &Ok(client.clone()));
    check_header(&binary(0x20, 0x00, b""), &local);
    check_header(&binary(0x20, 0x11, V4), &local);
    check_header(&binary(0x20, 0x77, b"anything"), &local);
    check_header(&binary(0x21, 0x00, b"anything"), &unknown);
    let short = Err(Error::Binary("its length is too short for its addresses"));
    check_header(&binary(0x21, 0x11, &V4[1..]), &short);
    check_header(&binary(0x21, 0x21, V4), &short);
    check_header(&binary(0x21, 0x31, &[0; 215]), &short);
    check_header(&binary(0x21, 0x41, V4), &Err(Error::Binary("its family is unknown")));
    let version = Err(Error::Binary("version is not 2, or the command is unknown"));
    for command in [0x11, 0x31, 0x22, 0x2f, 0x00] {
        check_header(&binary(command, 0x11, V4), &version);
    }
    let largest = [V4, &field(4, &vec![0; 4096 - V4.len() - 3])].concat();
    check_header(&binary(0x21, 0x11, &largest), &Ok(client));
    let larger = [V4, &field(4, &vec![0; 4097 - V4.len() - 3])].concat();
    check_header(&binary(0x21, 0x11, &larger), &Err(Error::TooLarge(MAX_SIZE + 1)));
}

#[test]
fn version_2_fields() {
    let client = Header::tcp(address("192.0.2.1:56324"), address("198.51.100.7:443"));
    let with = |fields: &[Vec<u8>]| binary(0x21, 0x11, &[V4, &fields.concat()].concat());
    let authority = Header { authority: Some("example.org".to_owned()), ..client.clone() };
    check_header(
        &with(&[field(0xe0, b"?"), field(2, b"example.org"), field(4, b"")]),
        &Ok(authority),
    );
    let inner = [field(0x21, b"TLSv1.3"), field(0x22, b"alice")].concat();
    let ssl =
        |client: u8, verify: u8| field(0x20, &[&[client, 0, 0, 0, verify][..], &inner].concat());
    let expected = |certificate, verified| {
        let common_name = Some("alice".to_owned());
        let ssl = Some(Ssl { tls: true, certificate, verified, common_name });
        Ok(Header { ssl, ..client.clone() })
    };
    check_header(&with(&[ssl(0x07, 0)]), &expected(true, true));
    check_header(&with(&[ssl(0x05, 1)]), &expected(true, false));
    check_header(&with(&[ssl(0x01, 0)]), &expected(false, false));
    let torn = Err(Error::Binary("a field is longer than the header"));
    check_header(&with(&[vec![2, 0, 5, b'a']]), &torn);
    check_header(&with(&[vec![2, 0]]), &torn);
    check_header(&with(&[field(0x20, b"abc")]), &Err(Error::Binary("its tls field is too short")));
    check_header(&with(&[field(2, b"\xff")]), &Err(Error::Binary("a name is not utf-8")));
}

#[test]
fn the_source_is_a_client_over_tcp() {
    let client = address("192.0.2.1:56324");
    assert_eq!(Header::tcp(client, address("198.51.100.7:443")).source(), Some(client));
    let path = Bytes::from_static(b"/run/a");
    let unix = Addresses::Unix { source: path.clone(), destination: path };
    for addresses in [Addresses::Local, Addresses::Unknown, unix] {
        assert_eq!(Header::new(addresses).source(), None);
    }
}

#[test]
fn a_checksum_is_verified_if_it_is_there() {
    let with = |checksum: &[u8]| {
        let fields = [field(2, b"a"), field(3, checksum), field(4, b"b")].concat();
        binary(0x21, 0x11, &[V4, &fields].concat())
    };
    // CRC32c by its definition, bit by bit: the polynomial of RFC 3720, reflected.
    let mut sum = u32::MAX;
    for byte in with(&[0; 4]) {
        sum ^= u32::from(byte);
        for _ in 0..8 {
            sum = (sum >> 1) ^ if sum & 1 == 1 { 0x82f6_3b78 } else { 0 };
        }
    }
    let sum = !sum;
    let client = Header::tcp(address("192.0.2.1:56324"), address("198.51.100.7:443"));
    let expected = Header { authority: Some("a".to_owned()), ..client };
    check_header(&with(&sum.to_be_bytes()), &Ok(expected));
    check_header(&with(&(sum ^ 1).to_be_bytes()), &Err(Error::Checksum));
    check_header(&with(b"abc"), &Err(Error::Binary("its checksum has not four bytes")));
}

#[test]
fn what_does_not_fit_is_not_written() {
    let mut header = Header::tcp(address("192.0.2.1:1"), address("[::1]:2"));
    let mut output = BytesMut::new();
    header.encode_v1(&mut output);
    assert_eq!(&output[..], b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n");
    output.clear();
    header.authority = Some("a".repeat(4096));
    assert_eq!(header.encode_v2(&mut output), Err(Error::TooLong("a name")));
    for (length, fits) in [(4081, true), (4082, false)] {
        let mut header = Header::tcp(address("192.0.2.1:1"), address("192.0.2.2:2"));
        header.authority = Some("a".repeat(length));
        let mut output = BytesMut::new();
        assert_eq!(header.encode_v2(&mut output).is_ok(), fits, "{length}");
        assert_eq!(output.len(), if fits { MAX_SIZE } else { 0 });
    }
    let path = Bytes::from(vec![b'a'; 109]);
    let unix = Header::new(Addresses::Unix { source: path.clone(), destination: path });
    assert_eq!(unix.encode_v2(&mut output), Err(Error::TooLong("a path")));
    assert!(output.is_empty());
    unix.encode_v1(&mut output);
    assert_eq!(&output[..], b"PROXY UNKNOWN\r\n");
}

fn is_trusted(ip: IpAddr) -> bool {
    ip.to_string().starts_with("10.") || ip == IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])
}

#[test]
fn the_first_untrusted_address_from_the_right_is_the_client() {
    for (lines, client) in [
        (&[][..], "10.0.0.1"),
        (&[""], "10.0.0.1"),
        (&["192.0.2.1"], "192.0.2.1"),
        (&["6.6.6.6, 192.0.2.1"], "192.0.2.1"),
        (&["6.6.6.6", "192.0.2.1, 10.0.0.2", "10.0.0.3,::1"], "192.0.2.1"),
        (&["10.0.0.9, 10.0.0.2"], "10.0.0.9"),
        (&["192.0.2.1:1234"], "192.0.2.1"),
        (&["2001:db8::1"], "2001:db8::1"),
        (&["[2001:db8::1]"], "2001:db8::1"),
        (&["[2001:db8::1]:80"], "2001:db8::1"),
        (&["192.0.2.1, ::ffff:10.0.0.2"], "192.0.2.1"),
        (&["192.0.2.1, unknown, 10.0.0.2"], "10.0.0.2"),
        (&["192.0.2.1, localhost"], "10.0.0.1"),
        (&["192.0.2.1,, 10.0.0.2 ,"], "192.0.2.1"),
        (&["[192.0.2.1]"], "10.0.0.1"),
    ] {
        let found = x_forwarded_for(ip("10.0.0.1"), lines.iter().copied(), is_trusted);
        assert_eq!(found, ip(client), "{lines:?}");
    }
    assert_eq!(x_forwarded_for(ip("9.9.9.9"), ["192.0.2.1"], is_trusted), ip("9.9.9.9"));
    assert_eq!(x_forwarded_for(ip("::ffff:10.0.0.1"), ["1.2.3.4"], is_trusted), ip("1.2.3.4"));
}

#[test]
fn forwarded_is_read_as_rfc_7239_says() {
    for (lines, client) in [
        (&[][..], "10.0.0.1"),
        // The examples of sections 4, 6 and 7.
        (&[r#"for="_gazonk""#], "10.0.0.1"),
        (&[r#"For="[2001:db8:cafe::17]:4711""#], "2001:db8:cafe::17"),
        (&["for=192.0.2.60;proto=http;by=203.0.113.43"], "192.0.2.60"),
        (&["for=192.0.2.43, for=198.51.100.17"], "198.51.100.17"),
        (&["for=_hidden, for=_SEVKISEK"], "10.0.0.1"),
        (&[r#"for=192.0.2.43,for="[2001:db8:cafe::17]",for=unknown"#], "10.0.0.1"),
        (&[r#"for=192.0.2.43, for="[2001:db8:cafe::17]""#], "2001:db8:cafe::17"),
        (&["for=192.0.2.43", r#"for="10.0.0.2:_port""#], "192.0.2.43"),
        // Names and separators in quotes.
        (&[r#"for=192.0.2.43, host="a,b;for=6.6.6.6\"\\" ; FOR = 10.0.0.2"#], "192.0.2.43"),
        (&[r#"for="\1\9\2.0.2.43""#], "192.0.2.43"),
        (&[r#"for=192.0.2.43, host="a,b";for=10.0.0.2"#], "192.0.2.43"),
        // What a client made up stands left of what our proxy wrote, and does not change it.
        (&[r#"for="6.6.6.6, for=192.0.2.1"#], "192.0.2.1"),
        (&[r#"for="6.6.6.6, for=10.0.0.2"#], "10.0.0.2"),
        (&[r"for=\, for=192.0.2.1"], "192.0.2.1"),
        // Not of the form.
        (&["proto=http"], "10.0.0.1"),
        (&["192.0.2.1"], "10.0.0.1"),
        (&["for=192.0.2.1;for=192.0.2.2"], "10.0.0.1"),
        (&["for=2001:db8::1"], "10.0.0.1"),
        (&[r#"for="192.0.2.1"x"#], "10.0.0.1"),
        (&["for=192.0.2.1,, for=10.0.0.2,"], "192.0.2.1"),
    ] {
        let found = forwarded(ip("10.0.0.1"), lines.iter().copied(), is_trusted);
        assert_eq!(found, ip(client), "{lines:?}");
    }
    assert_eq!(forwarded(ip("9.9.9.9"), ["for=192.0.2.1"], is_trusted), ip("9.9.9.9"));
}

fn any_addresses() -> impl Strategy<Value = Addresses> {
    let path = vec(1_u8.., 0..=108).prop_map(Bytes::from);
    prop_oneof![
        Just(Addresses::Local),
        Just(Addresses::Unknown),
        any::<([u8; 4], u16, [u8; 4], u16)>().prop_map(|(a, b, c, d)| Addresses::Inet {
            source: (a, b).into(),
            destination: (c, d).into()
        }),
        any::<([u8; 16], u16, [u8; 16], u16)>().prop_map(|(a, b, c, d)| Addresses::Inet {
            source: (a, b).into(),
            destination: (c, d).into()
        }),
        (path.clone(), path)
            .prop_map(|(source, destination)| Addresses::Unix { source, destination }),
    ]
}

fn any_ssl() -> impl Strategy<Value = Ssl> {
    (any::<(bool, bool, bool)>(), proptest::option::of(".{0,20}")).prop_map(
        |((tls, certificate, verified), common_name)| Ssl {
            tls,
            certificate,
            verified: certificate && verified,
            common_name,
        },
    )
}

/// A client that sends a byte of Latin-1 does not hide its address so.
#[test]
fn what_is_no_text_ends_the_walk_where_it_stands() {
    let peer: IpAddr = "10.0.0.1".parse().unwrap();
    let is_trusted = |ip: IpAddr| ip.to_string().starts_with("10.");
    for (line, expected) in [
        (&b"203.0.113.9"[..], "203.0.113.9"),
        (b"\xe9, 203.0.113.9", "203.0.113.9"),
        (b"6.6.6.6, \xe9, 10.0.0.2", "10.0.0.2"),
        (b"203.0.113.9, 10.0.0.\xe9", "10.0.0.1"),
    ] {
        assert_eq!(x_forwarded_for(peer, texts(line), is_trusted).to_string(), expected);
    }
    let line = b"for=\"\xe9, for=203.0.113.9";
    assert_eq!(forwarded(peer, texts(line), is_trusted).to_string(), "203.0.113.9");
}

proptest! {
    #[test]
    fn a_header_comes_back(addresses in any_addresses(), authority in proptest::option::of(".{0,40}"),
                           ssl in proptest::option::of(any_ssl()), rest in vec(any::<u8>(), 0..9), size in 1_usize..300) {
        let mut header = Header { addresses, authority, ssl };
        if matches!(header.addresses, Addresses::Local | Addresses::Unknown) {
            header = Header::new(header.addresses);
        }
        let mut bytes = BytesMut::new();
        header.encode_v2(&mut bytes).unwrap();
        bytes.extend_from_slice(&rest);
        prop_assert_eq!(in_pieces(&bytes, size, decode), (Some(Ok(header.clone())), rest.clone()));

        let mut bytes = BytesMut::new();
        header.encode_v1(&mut bytes);
        bytes.extend_from_slice(&rest);
        let expected = match header.addresses {
            Addresses::Inet { .. } => Header::new(header.addresses),
            _ => Header::new(Addresses::Unknown),
        };
        prop_assert_eq!(in_pieces(&bytes, size, decode), (Some(Ok(expected)), rest));
    }

    #[test]
    fn garbage_splits_alike(start in prop_oneof![Just(""), Just("PROXY "), Just("PROXY TCP4 "), Just("\r\n\r\n\0\r\nQUIT\n!\x11\0")],
                            bytes in vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(b' '), Just(0), any::<u8>()], 0..200), size in 1_usize..40) {
        let bytes = [start.as_bytes(), &bytes].concat();
        prop_assert_eq!(in_pieces(&bytes, size, decode), in_pieces(&bytes, usize::MAX, decode));
    }

    #[test]
    fn an_untrusted_peer_is_never_replaced(lines in vec(".{0,40}", 0..4)) {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        prop_assert_eq!(forwarded(ip("9.9.9.9"), lines.clone(), is_trusted), ip("9.9.9.9"));
        prop_assert_eq!(x_forwarded_for(ip("9.9.9.9"), lines, is_trusted), ip("9.9.9.9"));
    }

    /// Whatever a client sends, the address that our proxy saw is found.
    #[test]
    fn what_a_client_sends_does_not_hide_it(line in r#"[a-z0-9=",;:\\\[\] .]{0,40}"#) {
        let lines = format!("{line}, for=192.0.2.1");
        prop_assert_eq!(forwarded(ip("10.0.0.1"), [&lines[..]], is_trusted), ip("192.0.2.1"));
        let lines = format!("{line}, 192.0.2.1");
        prop_assert_eq!(x_forwarded_for(ip("10.0.0.1"), [&lines[..]], is_trusted), ip("192.0.2.1"));
    }
}
