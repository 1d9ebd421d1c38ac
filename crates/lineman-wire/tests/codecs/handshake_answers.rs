//! RFC 9110 and 9112 on the answers that a client of a WebSocket reads: interim ones, folded lines.

use bytes::BytesMut;
use lineman_wire::websocket::{HandshakeError, HandshakeLimits, ResponseParser};

/// Reads an answer at once and byte by byte, with a frame behind it; returns status and first value of `X`.
#[track_caller]
fn answer(text: &str) -> Result<(u16, Option<String>), HandshakeError> {
    let read = |size: usize| {
        let (mut parser, mut input) = (ResponseParser::new(), BytesMut::new());
        let bytes = [text.as_bytes(), b"\x81\x01!"].concat();
        let mut pieces = bytes.chunks(size);
        let outcome = pieces.find_map(|piece| {
            input.extend_from_slice(piece);
            parser.parse(&mut input, &HandshakeLimits::default()).transpose()
        });
        input.extend(pieces.flatten());
        let response = outcome.expect("it is whole")?;
        assert_eq!(&input[..], b"\x81\x01!");
        Ok((response.status(), response.header("x").map(str::to_owned)))
    };
    let outcome = read(usize::MAX);
    assert_eq!(read(1), outcome);
    outcome
}

/// RFC 9110, 15.2: a client has to parse interim answers, whether it asked for them or not.
#[test]
fn interim_answers_are_passed_over() {
    let last = "HTTP/1.1 101 Switching\r\nX: last\r\n\r\n";
    let hints = "HTTP/1.1 103 Early Hints\r\nX: hint\r\nLink: </a>\r\n\r\n";
    let others = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n";
    let found = Ok((101, Some("last".to_owned())));
    assert_eq!(answer(last), found);
    assert_eq!(answer(&format!("{hints}{last}")), found);
    assert_eq!(answer(&format!("{others}{hints}HTTP/1.1 199 Odd\r\n\r\n{last}")), found);
    // There is an end to it.
    assert_eq!(answer(&hints.repeat(5)), Ok((103, Some("hint".to_owned()))));
}

/// RFC 9112, 5.2: a user agent replaces each fold with spaces.
#[test]
fn folded_lines_of_an_answer_are_unfolded() {
    for (lines, expected) in [
        ("X: a\r\n b\r\n", Ok("a   b")),
        ("X: a\r\n\tb\r\n c\r\n", Ok("a  \tb   c")),
        ("X: a\n b\n", Ok("a  b")),
        ("X:\r\n a\r\nY: b\r\n", Ok("a")),
        ("X: a\r\n \r\nY: b\r\n", Ok("a")),
        // There is nothing to go on.
        (" X: a\r\n", Err("bad header name")),
        ("X : a\r\n", Err("bad header name")),
        ("X: a\0\r\n", Err("bad header value")),
    ] {
        let outcome = answer(&format!("HTTP/1.1 101 Switching\r\n{lines}\r\n"));
        let expected = expected.map(|value| (101, Some(value.to_owned())));
        assert_eq!(outcome, expected.map_err(HandshakeError::Malformed), "{lines:?}");
    }
}
