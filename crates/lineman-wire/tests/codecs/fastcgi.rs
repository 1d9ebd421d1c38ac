//! FastCGI as tables of bytes: what a responder reads of a request, and which answers count.

use bytes::{BufMut, BytesMut};
use lineman_wire::fastcgi::{AnswerDecoder, CgiAnswer, Error, encode_request};
use proptest::{collection::vec, prelude::*};

const LIMIT: usize = 1000;

fn record(kind: u8, content: &[u8], padding: u8) -> Vec<u8> {
    let mut out = BytesMut::new();
    out.put_slice(&[1, kind, 0, 1]);
    out.put_u16(u16::try_from(content.len()).expect("short"));
    out.put_slice(&[padding, 0]);
    out.put_slice(content);
    out.put_bytes(7, padding.into());
    out.to_vec()
}

fn end(protocol_status: u8) -> Vec<u8> {
    record(3, &[0, 0, 0, 0, protocol_status, 0, 0, 0], 0)
}

/// Decodes bytes in pieces of a size.
fn decode(bytes: &[u8], size: usize) -> Result<Option<CgiAnswer>, Error> {
    let (mut decoder, mut input) = (AnswerDecoder::new(LIMIT), BytesMut::new());
    for piece in bytes.chunks(size) {
        input.extend_from_slice(piece);
        if let Some(answer) = decoder.decode(&mut input)? {
            return Ok(Some(answer));
        }
    }
    Ok(None)
}

#[track_caller]
fn check(records: &[Vec<u8>], expected: &Result<Option<CgiAnswer>, Error>) {
    for size in [1, 7, 100_000] {
        assert_eq!(&decode(&records.concat(), size), expected, "in pieces of {size}");
    }
}

fn answer(status: u16, headers: &[(&str, &str)], body: &'static [u8]) -> CgiAnswer {
    let headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    CgiAnswer { status, headers, body: body.into() }
}

#[test]
fn an_answer_has_a_status_header_lines_and_a_body() {
    let html = ("Content-type", "text/html");
    for (output, expected) in [
        ("Content-type: text/html\r\n\r\nhello", answer(200, &[html], b"hello")),
        ("Content-type: text/html\n\n", answer(200, &[html], b"")),
        ("Status: 403 Forbidden\r\nContent-type: text/html\r\n\r\nno", answer(403, &[html], b"no")),
        ("STATUS: 204\r\n\r\n", answer(204, &[], b"")),
        ("Location: /login\r\n\r\n", answer(302, &[("Location", "/login")], b"")),
        ("Location: /a\r\nStatus: 401\r\n\r\n", answer(401, &[("Location", "/a")], b"")),
    ] {
        let (front, back) = output.as_bytes().split_at(9);
        let records = [
            record(6, front, 0),
            record(7, b"PHP message: a warning", 2),
            record(6, back, 5),
            record(6, b"", 0),
            end(0),
        ];
        check(&records, &Ok(Some(expected)));
    }
}

#[test]
fn what_is_not_whole_is_no_answer() {
    let whole = record(6, b"Content-type: text/html\r\n\r\n", 0);
    check(std::slice::from_ref(&whole), &Ok(None));
    check(&[whole, record(6, b"", 0), end(0)[..15].to_vec()], &Ok(None));
    for output in [&b""[..], b"\r\n", b"hello", b"Content-type: text/html", b"Status: x\r\n\r\n"] {
        check(&[record(6, output, 0), end(0)], &Err(Error::Head));
    }
}

#[test]
fn what_is_no_answer_is_refused() {
    let long = record(6, &[b'a'; LIMIT + 1], 0);
    check(&[long], &Err(Error::TooLong { limit: LIMIT }));
    for (status, expected) in [
        (1, Error::Refused("it cannot multiplex")),
        (2, Error::Refused("it is overloaded")),
        (3, Error::Refused("it is no responder")),
        (4, Error::Record),
    ] {
        check(&[end(status)], &Err(expected));
    }
    check(&[b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()], &Err(Error::Record));
    check(&[record(11, b"12345678", 0)], &Err(Error::Record));
    let mut of_another = record(6, b"a", 0);
    of_another[3] = 2;
    check(&[of_another], &Err(Error::Record));
}

#[test]
fn what_a_responder_says_to_its_log_is_kept_up_to_a_bound() {
    let mut decoder = AnswerDecoder::new(LIMIT);
    let mut input = BytesMut::from(&record(7, &[b'w'; 3000], 0).repeat(3)[..]);
    assert_eq!(decoder.decode(&mut input), Ok(None));
    assert_eq!((decoder.log().len(), input.len()), (2048, 0));
}

/// Reads a request as a responder does.
fn parameters(mut bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut take = |count: usize| {
        let (front, back) = bytes.split_at(count);
        bytes = back;
        front.to_vec()
    };
    assert_eq!(take(16), record(1, &[0, 1, 0, 0, 0, 0, 0, 0], 0));
    let mut pairs = Vec::new();
    loop {
        let header = take(8);
        assert_eq!((header[..4].to_vec(), header[6]), (vec![1, 4, 0, 1], 0));
        let content = take(usize::from(u16::from_be_bytes([header[4], header[5]])));
        pairs.extend_from_slice(&content);
        if content.is_empty() {
            break;
        }
    }
    assert_eq!(bytes, record(5, b"", 0));
    let mut found = Vec::new();
    let mut rest = &pairs[..];
    let length = |rest: &mut &[u8]| {
        let (size, count) = match rest[0] {
            short @ 0..=127 => (usize::from(short), 1),
            _ => (u32::from_be_bytes([rest[0] & 127, rest[1], rest[2], rest[3]]) as usize, 4),
        };
        *rest = &rest[count..];
        size
    };
    while !rest.is_empty() {
        let (name, value) = (length(&mut rest), length(&mut rest));
        found.push((
            String::from_utf8(rest[..name].to_vec()).expect("text"),
            rest[name..name + value].to_vec(),
        ));
        rest = &rest[name + value..];
    }
    found
}

proptest! {
    #[test]
    fn a_request_is_read_as_it_was_meant(values in vec((0..200_usize, 0..70_000_usize), 0..4)) {
        let owned: Vec<_> =
            values.into_iter().map(|(name, value)| ("N".repeat(name), vec![b'v'; value])).collect();
        let mut out = BytesMut::new();
        encode_request(owned.iter().map(|(name, value)| (name.as_str(), &value[..])), &mut out);
        prop_assert_eq!(parameters(&out), owned);
    }

    #[test]
    fn any_split_gives_the_same_answer(bytes in vec(any::<u8>(), 0..200), output in vec(any::<u8>(), 0..60), size in 1..50_usize) {
        let records = [record(6, &output, 3), bytes, end(0)].concat();
        prop_assert_eq!(decode(&records, size), decode(&records, records.len()));
    }
}
