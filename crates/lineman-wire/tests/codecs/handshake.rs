//! RFC 6455, 4 as a table: which requests and answers are taken, and what is said to the others.

use bytes::BytesMut;
use lineman_wire::websocket::{
    ClientHandshake, HandshakeError, HandshakeLimits, Request, RequestParser, ResponseParser,
    Version, accept,
};
use proptest::{collection::vec, prelude::*};

const REQUEST: &str = "GET /chat?room=7&name=A%20da+L HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: WebSocket\r\n\
    Connection: keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://example.com\r\n\
    Sec-WebSocket-Protocol: chat, superchat\r\nCookie: a=1; b=\"two\"; c\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// Parses a request at once and byte by byte.
#[track_caller]
fn parse(bytes: &[u8], limits: HandshakeLimits) -> Result<Option<Request>, HandshakeError> {
    let whole = RequestParser::new().parse(bytes, &limits);
    let mut parser = RequestParser::new();
    let stepwise = (0..=bytes.len())
        .find_map(|end| parser.parse(&bytes[..end], &limits).transpose())
        .transpose();
    let summary = |outcome: &Result<Option<Request>, HandshakeError>| {
        outcome.clone().map(|request| request.map(|request| request.head().clone()))
    };
    assert_eq!(summary(&whole), summary(&stepwise));
    whole
}

#[track_caller]
fn request(text: &str) -> Request {
    parse(text.as_bytes(), HandshakeLimits::default()).expect("is a request").expect("is whole")
}

#[test]
fn request_tells_what_it_asks() {
    let request = request(REQUEST);
    assert_eq!((request.method(), request.version()), ("GET", Version::Http11));
    assert_eq!((request.path(), request.query()), ("/chat", Some("room=7&name=A%20da+L")));
    assert_eq!(request.query_value("name").as_deref(), Some("A da L"));
    assert_eq!(request.query_value("absent"), None);
    assert_eq!(request.header("ORIGIN"), Some("http://example.com"));
    assert_eq!(request.cookies().collect::<Vec<_>>(), [("a", "1"), ("b", "two")]);
    assert_eq!((request.cookie("b"), request.cookie("c")), (Some("two"), None));
    assert_eq!(request.subprotocols().collect::<Vec<_>>(), ["chat", "superchat"]);
    assert_eq!(request.headers().count(), 8);
    assert_eq!(request.head(), REQUEST);
    assert!(request.is_upgrade());
}

#[test]
fn targets_lose_scheme_and_host() {
    for (target, path, query) in [
        ("/", "/", None),
        ("/a?", "/a", Some("")),
        ("http://host/a?b?c", "/a", Some("b?c")),
        ("http://host?x", "/", Some("x")),
        ("http://host", "/", None),
        ("/redirect?to=http://host/", "/redirect", Some("to=http://host/")),
        ("*", "*", None),
    ] {
        let request = request(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!((request.path(), request.query(), request.target()), (path, query, target));
    }
}

#[test]
fn broken_escapes_stay_as_they_are() {
    let request = request("GET /?a=%&b=%4&c=%zz&d=%e9 HTTP/1.1\r\nHost: a\r\n\r\n");
    for (name, value) in [("a", "%"), ("b", "%4"), ("c", "%zz"), ("d", "\u{fffd}")] {
        assert_eq!(request.query_value(name).as_deref(), Some(value));
    }
}

#[test]
fn an_upgrade_names_websocket_and_connection() {
    let upgrade = |upgrade: &str, connection: &str| {
        request(&format!(
            "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: {upgrade}\r\nConnection: {connection}\r\n\r\n"
        ))
        .is_upgrade()
    };
    assert!(upgrade("websocket", "Upgrade"));
    assert!(upgrade("h2c, WEBSOCKET", "close,upgrade"));
    assert!(!upgrade("h2c", "Upgrade"));
    assert!(!upgrade("websocket", "keep-alive"));
    assert!(!upgrade("websockets", "upgraded"));
}

#[test]
fn accept_answers_as_section_4_2_2_says() {
    let answer =
        accept(&request(REQUEST), Some("superchat"), &[("Set-Cookie", "id=7"), ("X-A", "b\tc")])
            .unwrap();
    let expected = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: superchat\r\n\
        Set-Cookie: id=7\r\nX-A: b\tc\r\n\r\n";
    assert_eq!(std::str::from_utf8(&answer), Ok(expected));
}

#[test]
fn accept_refuses_what_section_4_2_1_does() {
    let key = "dGhlIHNhbXBsZSBub25jZQ==";
    let twice = format!("{key}\r\nSec-WebSocket-Key: {key}");
    for (from, to, expected, status) in [
        ("GET /", "POST /", HandshakeError::Method, 405),
        ("HTTP/1.1", "HTTP/1.0", HandshakeError::HttpVersion, 400),
        ("Host: server.example.com\r\n", "", HandshakeError::Host, 400),
        ("Origin:", "Host:", HandshakeError::Host, 400),
        ("Upgrade: WebSocket", "Upgrade: h2c", HandshakeError::NotAnUpgrade, 426),
        ("keep-alive, Upgrade", "keep-alive", HandshakeError::NotAnUpgrade, 426),
        ("Version: 13", "Version: 8", HandshakeError::WebSocketVersion, 426),
        ("Sec-WebSocket-Version: 13\r\n", "", HandshakeError::WebSocketVersion, 426),
        ("Origin:", "Sec-WebSocket-Version:", HandshakeError::WebSocketVersion, 426),
        (key, "dGhlIHNhbXBsZSBub25j", HandshakeError::Key, 400),
        (key, "not base64 at all!!!====", HandshakeError::Key, 400),
        (key, "", HandshakeError::Key, 400),
        ("Sec-WebSocket-Key", "X-Key", HandshakeError::Key, 400),
        (key, &twice, HandshakeError::Key, 400),
        (
            "Origin: http://example.com",
            "Sec-WebSocket-Extensions: a;;b",
            HandshakeError::Extensions,
            400,
        ),
        ("Origin: http://example.com", "Content-Length: 5", HandshakeError::Body, 400),
        (
            "Origin: http://example.com",
            "Content-Length: 0\r\nContent-Length: 0",
            HandshakeError::Body,
            400,
        ),
        ("Origin: http://example.com", "Transfer-Encoding: chunked", HandshakeError::Body, 400),
    ] {
        let changed = REQUEST.replacen(from, to, 1);
        assert_ne!(changed, REQUEST);
        let request = request(&changed);
        let error = request.check().expect_err(to);
        if error != HandshakeError::Extensions {
            assert_eq!(accept(&request, None, &[]), Err(error.clone()));
        }
        assert_eq!((&error, error.status()), (&expected, status), "{from} -> {to}");
    }
}

/// RFC 6455, 4.1 has a key whose last digit ends in bits that mean nothing (RFC 4648, 3.5).
#[test]
fn a_key_is_sixteen_bytes_whatever_bits_are_left_over() {
    for (key, fits) in [
        ("AQIDBAUGBwgJCgsMDQ4PEC==", true),
        ("AQIDBAUGBwgJCgsMDQ4PEA==", true),
        ("AQIDBAUGBwgJCgsMDQ4P/+==", true),
        ("AQIDBAUGBwgJCgsMDQ4PEC", false),
        ("AQIDBAUGBwgJCgsMDQ4PEC=", false),
        ("AQIDBAUGBwgJCgsMDQ4PEBE=", false),
        ("AQIDBAUGBwgJCgsMDQ4P", false),
        ("AQIDBAUGBwgJCgsMDQ4_-A==", false),
    ] {
        let request = request(&REQUEST.replace("dGhlIHNhbXBsZSBub25jZQ==", key));
        assert_eq!(request.check().is_ok(), fits, "{key}");
    }
}

/// RFC 9110, 7.8: the server sends 100 before 101.
#[test]
fn a_client_that_expects_100_gets_it_before_101() {
    let with = |expect: &str| request(&REQUEST.replace("Origin: http://example.com", expect));
    let answer = accept(&with("Expect: 100-Continue"), None, &[]).unwrap();
    let answer = std::str::from_utf8(&answer).unwrap();
    let start = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 101 Switching Protocols\r\nUpgrade: ";
    assert!(answer.starts_with(start), "{answer}");
    for other in ["Expect: tea", "Expect: 100-continue\r\nExpect: tea", "Expect:"] {
        let error = with(other).check().expect_err(other);
        assert_eq!((&error, error.status()), (&HandshakeError::Expectation, 417));
    }
}

/// Another application of the same site may have set a cookie in Latin-1.
#[test]
fn a_byte_that_is_no_text_hides_its_member_and_no_other() {
    let spoil = |from: &str, to: &[u8]| {
        let at = REQUEST.find(from).expect("it is there");
        let bytes = [&REQUEST.as_bytes()[..at], to, &REQUEST.as_bytes()[at + from.len()..]];
        let parsed = parse(&bytes.concat(), HandshakeLimits::default());
        parsed.expect("is a request").expect("is whole")
    };
    let request = spoil("a=1;", b"a=1; city=K\xf6ln;");
    assert_eq!(request.cookies().collect::<Vec<_>>(), [("a", "1"), ("b", "two")]);
    let request = spoil("superchat", b"caf\xe9, superchat");
    assert_eq!(request.subprotocols().collect::<Vec<_>>(), ["chat", "superchat"]);
    assert!(spoil("keep-alive,", b"keep-aliv\xe9,").is_upgrade());
    assert!(spoil(": WebSocket", b": \xe9, websocket").is_upgrade());
    // Of this list section 9.1 wants all or nothing.
    let extensions = spoil("Origin:", b"Sec-WebSocket-Extensions: \xe9\r\nOrigin:");
    assert_eq!(extensions.check(), Err(HandshakeError::Extensions));
    let length = spoil("Origin:", b"Content-Length: \xe9\r\nOrigin:");
    assert_eq!(length.check(), Err(HandshakeError::Body));
}

#[test]
fn lines_of_cookies_are_one() {
    let request = request(&REQUEST.replace("Origin:", "COOKIE: d=4\r\ncookie: e=5\r\nOrigin:"));
    let expected = [("d", "4"), ("e", "5"), ("a", "1"), ("b", "two")];
    assert_eq!(request.cookies().collect::<Vec<_>>(), expected);
    assert_eq!(request.header("cookie"), Some("d=4; e=5; a=1; b=\"two\"; c"));
    let names: Vec<&str> = request.headers().map(|(name, _)| name).collect();
    assert_eq!(names.iter().filter(|name| name.eq_ignore_ascii_case("cookie")).count(), 1);
    assert_eq!(names[4..6], ["COOKIE", "Origin"]);
    assert!(request.head().ends_with(b"\r\n\r\n"), "the head is as it came");
}

/// What two servers in a row could read differently. `tests/tests/traffic/hostile_http.rs` has the same for
/// hyper's parser.
#[test]
fn heads_that_can_be_read_in_two_ways_are_refused() {
    for (what, from, to) in [
        ("a bare line feed behind a field", "Origin:", "X: y\nOrigin:"),
        ("a bare line feed behind the first line", "HTTP/1.1\r\n", "HTTP/1.1\n"),
        ("a bare line feed before the first line", "GET", "\nGET"),
        ("a bare line feed as the last line", "13\r\n\r\n", "13\r\n\n"),
        ("a bare carriage return", "Origin:", "X: a\rOrigin:"),
        ("two carriage returns", "13\r\n", "13\r\r\n"),
        ("a folded line", "Origin:", "X: y\r\n Origin:"),
        ("a line folded by a tab", "Origin:", "X: y\r\n\tOrigin:"),
        ("space before a colon", "Origin:", "Origin :"),
        ("space before the first field", "Host:", " Host:"),
        ("NUL in a value", "Origin: ", "Origin: \0"),
        ("another control character in a value", "Origin: ", "Origin: \x08"),
        ("DEL in a value", "Origin: ", "Origin: \x7f"),
        ("NUL in a name", "Origin:", "Ori\0gin:"),
        ("a line without a colon", "Origin:", "X\r\nOrigin:"),
        ("a field without a name", "Origin:", ": x\r\nOrigin:"),
        ("two spaces in the first line", "GET ", "GET  "),
        ("a tab in the first line", "GET ", "GET\t"),
        ("a control character in the target", "/chat", "/ch\x01at"),
    ] {
        let changed = REQUEST.replacen(from, to, 1);
        assert_ne!(changed, REQUEST);
        let outcome = parse(changed.as_bytes(), HandshakeLimits::default());
        let error = outcome.map(|request| request.map(|request| request.target().to_owned()));
        assert_eq!(error.expect_err(what).status(), 400, "{what}");
    }
}

#[test]
fn a_hello_of_tls_is_named() {
    for first in [b"\x16\x03\x01", b"\x15\x03\x01"] {
        let error = parse(first, HandshakeLimits::default()).expect_err("is no HTTP");
        assert_eq!((&error, error.status()), (&HandshakeError::Tls, 400));
        assert!(error.to_string().contains("TLS"), "{error}");
    }
}

#[test]
fn a_length_of_zero_is_no_body() {
    let request = request(&REQUEST.replace("Origin: http://example.com", "Content-Length: 0"));
    assert_eq!(request.check(), Ok(()));
    assert!(accept(&request, None, &[]).is_ok());
}

#[test]
fn a_chosen_subprotocol_is_one_of_the_offered() {
    let request = request(REQUEST);
    for chosen in ["chat", "superchat"] {
        let answer = accept(&request, Some(chosen), &[]).unwrap();
        let line = format!("Sec-WebSocket-Protocol: {chosen}\r\n");
        assert!(answer.windows(line.len()).any(|part| part == line.as_bytes()), "{chosen}");
    }
    for other in ["Chat", "chat, superchat", "chatter", "", "chat\r\nX: y"] {
        let error = HandshakeError::Subprotocol(other.to_owned());
        assert_eq!(accept(&request, Some(other), &[]), Err(error));
    }
}

#[test]
fn each_refusal_has_its_status_and_headers() {
    let limit = 1;
    for (error, line, headers) in [
        (HandshakeError::Key, "400 Bad Request", ""),
        (HandshakeError::Method, "405 Method Not Allowed", "Allow: GET\r\n"),
        (
            HandshakeError::NotAnUpgrade,
            "426 Upgrade Required",
            "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
        ),
        (HandshakeError::HeadTooLarge { limit }, "431 Request Header Fields Too Large", ""),
        (HandshakeError::TooManyHeaders { limit }, "431 Request Header Fields Too Large", ""),
        (HandshakeError::Refused(500), "502 Bad Gateway", ""),
        (HandshakeError::Answer("upgrade"), "502 Bad Gateway", ""),
        (HandshakeError::Target("x".to_owned()), "500 Internal Server Error", ""),
    ] {
        let answer = error.response();
        let answer = std::str::from_utf8(&answer).unwrap();
        let connection = if error.status() == 426 { "close, Upgrade" } else { "close" };
        let start = format!(
            "HTTP/1.1 {line}\r\nConnection: {connection}\r\n{headers}\
             Content-Type: text/plain; charset=utf-8\r\nContent-Length: "
        );
        let rest = answer.strip_prefix(&start).unwrap_or_else(|| panic!("{answer}"));
        let (length, body) = rest.split_once("\r\n\r\n").unwrap();
        assert_eq!(length, body.len().to_string());
        // A server's own fault is not told in detail.
        let told = if error.status() < 500 { error.to_string() } else { line[4..].to_lowercase() };
        assert_eq!(body, format!("{told}\n"));
    }
}

#[test]
fn refusals_are_whole_http_answers() {
    let answer = HandshakeError::WebSocketVersion.response();
    let expected = "HTTP/1.1 426 Upgrade Required\r\nConnection: close, Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 33\r\n\r\n\
        sec-websocket-version must be 13\n";
    assert_eq!(std::str::from_utf8(&answer), Ok(expected));
    let answer = HandshakeError::Header("X-Secret".to_owned()).response();
    let answer = std::str::from_utf8(&answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 500 ") && !answer.contains("Secret"), "{answer}");
}

#[test]
fn application_headers_cannot_break_the_answer() {
    let request = request(REQUEST);
    for (name, value) in [
        ("X", "a\r\nSet-Cookie: b"),
        ("X", "a\nb"),
        ("X", "a\rb"),
        ("X", "a\0b"),
        ("X\r\nY", "a"),
        ("X:", "a"),
        ("", "a"),
        ("Upgrade", "h2c"),
        ("sec-websocket-accept", "a"),
        ("Sec-WebSocket-Extensions", "permessage-deflate"),
    ] {
        let error = accept(&request, None, &[(name, value)]);
        assert_eq!(error, Err(HandshakeError::Header(name.to_owned())), "{name}: {value}");
    }
    let error = accept(&request, Some("other"), &[]);
    assert_eq!(error, Err(HandshakeError::Subprotocol("other".to_owned())));
}

#[test]
fn heads_are_bounded() {
    // Finding 3 of the ancestor: headers without an end were buffered without limit.
    let limits = HandshakeLimits { max_head_size: 64, max_headers: 3 };
    let endless = format!("GET / HTTP/1.1\r\nA: {}", "a".repeat(100));
    let error = parse(endless.as_bytes(), limits).expect_err("is too large");
    assert_eq!((&error, error.status()), (&HandshakeError::HeadTooLarge { limit: 64 }, 431));
    for size in [63, 64, 65] {
        let head = format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "a".repeat(size - 23));
        assert_eq!(head.len(), size);
        assert_eq!(parse(head.as_bytes(), limits).is_ok(), size <= 64, "{size}");
    }
    // An unfinished one is refused when it reaches the limit.
    assert!(parse(&endless.as_bytes()[..63], limits).expect("more may come").is_none());
    assert!(parse(&endless.as_bytes()[..64], limits).is_err());
    let default = HandshakeLimits { max_head_size: 16_384, max_headers: 100 };
    assert_eq!(HandshakeLimits::default(), default);
    let many = "GET / HTTP/1.1\r\na: b\r\nc: d\r\ne: f\r\ng: h\r\n\r\n";
    let error = parse(many.as_bytes(), limits).expect_err("has too many headers");
    assert_eq!((&error, error.status()), (&HandshakeError::TooManyHeaders { limit: 3 }, 431));
}

#[test]
fn what_is_no_http_is_refused_early() {
    for bytes in ["\x16\x03\x01", "{\"a\":1}", "\0\0\0\x08", " GET"] {
        assert!(parse(bytes.as_bytes(), HandshakeLimits::default()).is_err(), "{bytes:?}");
    }
    for bytes in [
        "GET /\r\n\r\n",
        "GET / HTTP/2.0\r\n\r\n",
        "GET / HTTP/1.1\r\nA b: c\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\n",
    ] {
        let error = parse(bytes.as_bytes(), HandshakeLimits::default()).expect_err(bytes);
        assert_eq!(error.status(), 400, "{bytes:?}");
    }
    assert!(
        parse(b"\r\n\r\nGET / HTTP/1.1\r\n", HandshakeLimits::default())
            .expect("is fine so far")
            .is_none()
    );
}

#[test]
fn a_head_byte_by_byte_is_linear() {
    let head = vec![b'a'; 8 * 1024 * 1024];
    let limits = HandshakeLimits { max_head_size: head.len() + 1, max_headers: 10 };
    let mut parser = RequestParser::new();
    // Steps of 8 bytes: a million calls.
    assert!(
        (0..head.len())
            .step_by(8)
            .all(|end| parser.parse(&head[..end], &limits).unwrap().is_none())
    );
}

fn client() -> ClientHandshake<'static> {
    ClientHandshake {
        host: "example.org:80",
        target: "/chat",
        headers: &[("Origin", "http://example.org")],
        subprotocols: &["chat", "v2.chat"],
        deflate: None,
        key: *b"the sample nonce",
    }
}

#[test]
fn client_and_server_meet() {
    let wire = client().request().unwrap();
    let request = request(std::str::from_utf8(&wire).unwrap());
    assert_eq!(request.header("sec-websocket-key"), Some("dGhlIHNhbXBsZSBub25jZQ=="));
    let mut answer = BytesMut::from(&accept(&request, Some("v2.chat"), &[]).unwrap()[..]);
    answer.extend_from_slice(b"\x81\x05Hello");
    let response =
        ResponseParser::new().parse(&mut answer, &HandshakeLimits::default()).unwrap().unwrap();
    let opened = client().check(&response).map(|opened| opened.subprotocol);
    assert_eq!((response.status(), opened), (101, Ok(Some("v2.chat"))));
    assert_eq!(&answer[..], b"\x81\x05Hello", "the first frame stays");
}

#[test]
fn client_refuses_what_section_4_1_does() {
    let good = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\r\n";
    let check = |text: &str| {
        let response = ResponseParser::new()
            .parse(&mut BytesMut::from(text), &HandshakeLimits::default())
            .unwrap()
            .unwrap();
        client().check(&response).map(|opened| opened.subprotocol.map(str::to_owned))
    };
    assert_eq!(check(good), Ok(Some("chat".to_owned())));
    assert_eq!(check(&good.replace("Sec-WebSocket-Protocol: chat\r\n", "")), Ok(None));
    for (from, to, expected) in [
        ("101", "200", HandshakeError::Refused(200)),
        ("Upgrade: websocket", "Upgrade: h2c", HandshakeError::Answer("upgrade")),
        ("Connection: Upgrade", "Connection: close", HandshakeError::Answer("connection")),
        ("s3pPL", "S3PPL", HandshakeError::Answer("sec-websocket-accept")),
        ("Protocol: chat", "Protocol: other", HandshakeError::Answer("sec-websocket-protocol")),
        (
            "Protocol: chat",
            "Extensions: permessage-deflate",
            HandshakeError::Answer("sec-websocket-extensions"),
        ),
    ] {
        assert_eq!(check(&good.replacen(from, to, 1)), Err(expected), "{from} -> {to}");
    }
}

#[test]
fn client_request_cannot_be_broken() {
    for target in ["", "chat", "/a b", "/a\r\nX: y", "/é", "/a#b"] {
        assert!(ClientHandshake { target, ..client() }.request().is_err(), "{target:?}");
    }
    for host in ["", "a b", "a\r\nX: y", "user@host", "host/path"] {
        assert!(ClientHandshake { host, ..client() }.request().is_err(), "{host:?}");
    }
    assert!(ClientHandshake { subprotocols: &["a, b"], ..client() }.request().is_err());
    assert!(ClientHandshake { headers: &[("Host", "other")], ..client() }.request().is_err());
    assert!(ClientHandshake { headers: &[("X", "a\r\nb")], ..client() }.request().is_err());
}

proptest! {
    #[test]
    fn garbage_never_panics(
        bytes in vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b' '), Just(b':'), any::<u8>()], 0..80),
        at in 0_usize..REQUEST.len(),
    ) {
        let _outcome = parse(&bytes, HandshakeLimits::default());
        let spoiled = [&REQUEST.as_bytes()[..at], &bytes, &REQUEST.as_bytes()[at..]].concat();
        if let Ok(Some(request)) = parse(&spoiled, HandshakeLimits::default()) {
            prop_assert!(spoiled.starts_with(request.head()));
            let _answer = accept(&request, request.subprotocols().next(), &[]);
            let _value = (request.path(), request.query_value("room"), request.cookies().count());
        }
    }
}
