//! RFC 9112 and 9110, sentence by sentence: bytes in, statuses out, what the service saw, and whether
//! the connection goes on. What is refused is never read as a second request.

use super::*;
use After::{Closes, GoesOn};

/// What becomes of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    GoesOn,
    Closes,
}

struct Case {
    what: &'static str,
    section: &'static str,
    bytes: &'static str,
    statuses: &'static [u16],
    seen: &'static [&'static str],
    after: After,
}

const fn case(
    what: &'static str,
    section: &'static str,
    bytes: &'static str,
    (statuses, seen): (&'static [u16], &'static [&'static str]),
    after: After,
) -> Case {
    Case { what, section, bytes, statuses, seen, after }
}

const REFUSED: (&[u16], &[&str]) = (&[400], &[]);
const NOT_IMPLEMENTED: (&[u16], &[&str]) = (&[501], &[]);
/// The service saw it and could not read its body.
const BROKEN: (&[u16], &[&str]) = (&[400], &["POST /a h broken"]);

/// Asked behind each case's bytes; who answers it has gone on.
const LAST: &str = "GET /last HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";

// A line for each sentence: broken up, nobody would read the tables.
#[rustfmt::skip]
const TARGETS: &[Case] = &[
    case("origin-form", "9112 3.2.1", "GET /a?b HTTP/1.1\r\nHost: h\r\n\r\n", (&[200], &["GET /a h"]), GoesOn),
    case("absolute-form: its authority counts", "9112 3.2.2", "GET http://b:8/x HTTP/1.1\r\nHost: h\r\n\r\n", (&[200], &["GET /x b:8"]), GoesOn),
    case("absolute-form without a path", "9112 3.2.2", "GET http://b HTTP/1.1\r\nHost: b\r\n\r\n", (&[200], &["GET / b"]), GoesOn),
    case("absolute-form over HTTP/1.0", "9112 3.2.2", "GET http://b/x HTTP/1.0\r\n\r\n", (&[200], &["GET /x b"]), Closes),
    case("absolute-form needs a Host all the same", "9112 3.2", "GET http://b/x HTTP/1.1\r\n\r\n", REFUSED, Closes),
    case("a scheme that is not ours", "9110 4.2", "GET ftp://b/x HTTP/1.1\r\nHost: b\r\n\r\n", REFUSED, Closes),
    case("a user in the authority", "9110 4.2.4", "GET http://u@b/x HTTP/1.1\r\nHost: b\r\n\r\n", REFUSED, Closes),
    case("authority-form is CONNECT's", "9112 3.2.3", "GET b:80 HTTP/1.1\r\nHost: b:80\r\n\r\n", REFUSED, Closes),
    case("CONNECT is a proxy's", "9110 9.3.6", "CONNECT b:80 HTTP/1.1\r\nHost: b:80\r\n\r\n", NOT_IMPLEMENTED, Closes),
    case("OPTIONS *", "9110 9.3.7", "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", (&[200], &[]), GoesOn),
    case("asterisk-form is OPTIONS'", "9112 3.2.4", "GET * HTTP/1.1\r\nHost: h\r\n\r\n", REFUSED, Closes),
    case("a target that is a word", "9112 3.2", "GET a HTTP/1.1\r\nHost: h\r\n\r\n", REFUSED, Closes),
    case("a space in the target", "9112 3.2", "GET /a b HTTP/1.1\r\nHost: h\r\n\r\n", REFUSED, Closes),
    case("no target", "9112 3", "GET HTTP/1.1\r\nHost: h\r\n\r\n", REFUSED, Closes),
];

#[rustfmt::skip]
const HOSTS: &[Case] = &[
    case("no Host", "9112 3.2", "GET /a HTTP/1.1\r\n\r\n", REFUSED, Closes),
    case("an empty Host", "9112 3.2", "GET /a HTTP/1.1\r\nHost:\r\n\r\n", (&[200], &["GET /a"]), GoesOn),
    case("two Hosts", "9112 3.2", "GET /a HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n", REFUSED, Closes),
    case("the same Host twice", "9112 3.2", "GET /a HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n", REFUSED, Closes),
    case("a list of Hosts", "9112 3.2", "GET /a HTTP/1.1\r\nHost: h, i\r\n\r\n", REFUSED, Closes),
    case("a Host with a user", "9112 3.2", "GET /a HTTP/1.1\r\nHost: u@h\r\n\r\n", REFUSED, Closes),
    case("a Host with a path", "9112 3.2", "GET /a HTTP/1.1\r\nHost: h/x\r\n\r\n", REFUSED, Closes),
    case("a Host with a bad port", "9112 3.2", "GET /a HTTP/1.1\r\nHost: h:x\r\n\r\n", REFUSED, Closes),
    case("HTTP/1.0 without Host", "9112 3.2", "GET /a HTTP/1.0\r\n\r\n", (&[200], &["GET /a"]), Closes),
    case("HTTP/1.0 with two", "9112 3.2", "GET /a HTTP/1.0\r\nHost: h\r\nHost: i\r\n\r\n", REFUSED, Closes),
];

#[rustfmt::skip]
const LINES: &[Case] = &[
    case("an empty line in front", "9112 2.2", "\r\nGET /a HTTP/1.1\r\nHost: h\r\n\r\n", (&[200], &["GET /a h"]), GoesOn),
    // "A recipient MAY recognize a single LF as a line terminator": one in front may not.
    case("bare line feeds", "9112 2.2", "GET /a HTTP/1.1\nHost: h\n\n", REFUSED, Closes),
    case("a bare line feed in front", "9112 2.2", "\nGET /a HTTP/1.1\r\nHost: h\r\n\r\n", REFUSED, Closes),
    case("a bare line feed behind a field", "9112 2.2", "GET /a HTTP/1.1\r\nHost: h\nX: y\r\n\r\n", REFUSED, Closes),
    case("a bare line feed as the last line", "9112 2.2", "GET /a HTTP/1.1\r\nHost: h\r\n\n", REFUSED, Closes),
    case("a bare carriage return", "9112 2.2", "GET /a HTTP/1.1\r\nHost: h\rX: y\r\n\r\n", REFUSED, Closes),
    case("space in front of the first field", "9112 2.2", "GET /a HTTP/1.1\r\n Host: h\r\n\r\n", REFUSED, Closes),
    case("space before the colon", "9112 5.1", "GET /a HTTP/1.1\r\nHost : h\r\n\r\n", REFUSED, Closes),
    case("a folded line", "9112 5.2", "GET /a HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n", REFUSED, Closes),
    case("a line without a colon", "9112 5", "GET /a HTTP/1.1\r\nHost: h\r\nX\r\n\r\n", REFUSED, Closes),
    case("a field without a name", "9112 5", "GET /a HTTP/1.1\r\nHost: h\r\n: x\r\n\r\n", REFUSED, Closes),
    case("NUL in a value", "9110 5.5", "GET /a HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n", REFUSED, Closes),
    case("NUL in a name", "9110 5.1", "GET /a HTTP/1.1\r\nHost: h\r\nX\0: a\r\n\r\n", REFUSED, Closes),
    case("NUL in the target", "9112 3.2", "GET /\0 HTTP/1.1\r\nHost: h\r\n\r\n", REFUSED, Closes),
    case("a method that is no token", "9112 3.1", "G@T /a HTTP/1.1\r\nHost: h\r\n\r\n", REFUSED, Closes),
    case("methods are case-sensitive", "9112 3.1", "get /a HTTP/1.1\r\nHost: h\r\n\r\n", (&[200], &["get /a h"]), GoesOn),
    case("the version's name is, too", "9112 2.3", "GET /a http/1.1\r\nHost: h\r\n\r\n", REFUSED, Closes),
    case("a version of another kind", "9112 2.3", "GET /a HTTP/3.0\r\nHost: h\r\n\r\n", REFUSED, Closes),
    case("no HTTP at all", "9112 2.2", "\x16\x03\x01 hello\r\n\r\n", REFUSED, Closes),
    case("an upgrade to what nobody speaks", "9110 7.8", "GET /a HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: foo\r\n\r\n", (&[200], &["GET /a h"]), GoesOn),
    case("an expectation nobody meets", "9110 10.1.1", "GET /a HTTP/1.1\r\nHost: h\r\nExpect: tea\r\n\r\n", (&[417], &[]), Closes),
];

#[rustfmt::skip]
const LENGTHS: &[Case] = &[
    case("Content-Length", "9112 6.3", "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi", (&[200], &["POST /a h hi"]), GoesOn),
    case("a body where none is usual", "9110 9.3.1", "GET /a HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi", (&[200], &["GET /a h hi"]), GoesOn),
    case("no length is no body", "9112 6.3", "POST /a HTTP/1.1\r\nHost: h\r\n\r\n", (&[200], &["POST /a h"]), GoesOn),
    case("lengths that differ", "9112 6.3", "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi", REFUSED, Closes),
    case("a length twice", "9112 6.3", "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi", REFUSED, Closes),
    case("a list of lengths", "9112 6.3", "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 2, 2\r\n\r\nhi", REFUSED, Closes),
    case("a length with a sign", "9110 8.6", "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: +2\r\n\r\nhi", REFUSED, Closes),
    case("a negative length", "9110 8.6", "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\nhi", REFUSED, Closes),
    case("a length in base 16", "9110 8.6", "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 0x2\r\n\r\nhi", REFUSED, Closes),
    case("an empty length", "9110 8.6", "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length:\r\n\r\nhi", REFUSED, Closes),
    case("a length beyond 64 bits", "9110 8.6", "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 18446744073709551618\r\n\r\nhi", REFUSED, Closes),
];

#[rustfmt::skip]
const CODINGS: &[Case] = &[
    case("chunked", "9112 7.1", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", (&[200], &["POST /a h hi"]), GoesOn),
    case("chunked, in capitals", "9112 7", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: CHUNKED\r\n\r\n2\r\nhi\r\n0\r\n\r\n", (&[200], &["POST /a h hi"]), GoesOn),
    case("extensions and trailers", "9112 7.1.1", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nhi\r\n0\r\nX: y\r\n\r\n", (&[200], &["POST /a h hi"]), GoesOn),
    // 6.1 lets a server reject these.
    case("a length, then chunked", "9112 6.1", "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", REFUSED, Closes),
    case("chunked, then a length", "9112 6.1", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\nhi\r\n0\r\n\r\n", REFUSED, Closes),
    case("a request hidden by the length", "9112 11.2", "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 45\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /b HTTP/1.1\r\nHost: h\r\n\r\n", REFUSED, Closes),
    case("a coding before chunked", "9112 6.1", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", NOT_IMPLEMENTED, Closes),
    case("identity is gone", "9112 7", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n", NOT_IMPLEMENTED, Closes),
    case("a coding on a line before", "9112 6.1", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", NOT_IMPLEMENTED, Closes),
    case("chunked not last", "9112 6.3", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", REFUSED, Closes),
    case("not chunked at all", "9112 6.3", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity\r\n\r\nhi", REFUSED, Closes),
    case("almost chunked", "9112 6.3", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", REFUSED, Closes),
    case("chunked twice", "9112 6.1", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", REFUSED, Closes),
    case("an empty coding", "9112 6.1", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\r\n\r\n0\r\n\r\n", REFUSED, Closes),
    case("a coding over HTTP/1.0", "9112 6.1", "POST /a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", REFUSED, Closes),
];

#[rustfmt::skip]
const CHUNKS: &[Case] = &[
    case("a size that is none", "9112 7.1", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhi\r\n0\r\n\r\n", BROKEN, Closes),
    case("no size", "9112 7.1", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\r\nhi\r\n0\r\n\r\n", BROKEN, Closes),
    case("a size beyond 64 bits", "9112 7.1", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000002\r\nhi\r\n0\r\n\r\n", BROKEN, Closes),
    case("a chunk longer than its size", "9112 7.1", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhiho\r\n0\r\n\r\n", BROKEN, Closes),
    case("a bare line feed behind a size", "9112 7.1", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\nhi\r\n0\r\n\r\n", BROKEN, Closes),
    case("a bare line feed in an extension", "9112 7.1.1", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2;a\nhi\r\n0\r\n\r\n", BROKEN, Closes),
    case("a bare line feed behind a chunk", "9112 7.1", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\n0\r\n\r\n", BROKEN, Closes),
    case("a space behind a size", "9112 7.1", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2 \r\nhi\r\n0\r\n\r\n", BROKEN, Closes),
    case("a tab behind the last size", "9112 7.1", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\t\r\n\r\n", BROKEN, Closes),
    case("a space before a size", "9112 7.1", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n 2\r\nhi\r\n0\r\n\r\n", BROKEN, Closes),
    case("a space within a size", "9112 7.1", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0 2\r\nhi\r\n0\r\n\r\n", BROKEN, Closes),
    case("a space before an extension", "9112 7.1.1", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2 ;a=b\r\nhi\r\n0\r\n\r\n", (&[200], &["POST /a h hi"]), GoesOn),
    case("a bare line feed behind the last size", "9112 7.1", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\n\r\n", BROKEN, Closes),
    case("a bare line feed in a trailer", "9112 7.1.2", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX: y\nZ: z\r\n\r\n", BROKEN, Closes),
    case("line feeds and lengths in a chunk", "9112 7.1", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n4\r\na\n\nb\r\n0\r\n\r\n", (&[200], &["POST /a h a\n\nb"]), GoesOn),
    case("a broken trailer", "9112 7.1.2", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX y\r\n\r\n", BROKEN, Closes),
];

#[rustfmt::skip]
const CONNECTIONS: &[Case] = &[
    case("pipelined", "9112 9.3.2", "GET /a HTTP/1.1\r\nHost: h\r\n\r\nPOST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhiGET /c HTTP/1.1\r\nHost: h\r\n\r\n", (&[200, 200, 200], &["GET /a h", "POST /b h hi", "GET /c h"]), GoesOn),
    case("pipelined behind a close", "9112 9.6", "GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\nGET /b HTTP/1.1\r\nHost: h\r\n\r\n", (&[200], &["GET /a h"]), Closes),
    case("close in a list", "9110 7.6.1", "GET /a HTTP/1.1\r\nHost: h\r\nConnection: x, Close\r\n\r\n", (&[200], &["GET /a h"]), Closes),
    case("pipelined behind something broken", "9112 2.2", "GET /a HTTP/1.1\r\nHost: h\r\n\r\nGET /b HTTP/1.1\r\nHost : h\r\n\r\nGET /c HTTP/1.1\r\nHost: h\r\n\r\n", (&[200, 400], &["GET /a h"]), Closes),
    case("HTTP/1.0 that asks to go on", "9112 9.3", "GET /a HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n", (&[200], &["GET /a h"]), GoesOn),
];

#[test]
fn every_request_is_answered_as_the_rfcs_say() {
    let groups = [TARGETS, HOSTS, LINES, LENGTHS, CODINGS, CHUNKS, CONNECTIONS];
    with_table(async |table| {
        for case in groups.into_iter().flatten() {
            let seen = Seen::default();
            let address = listen(&table, Http::new(Echo(seen.clone())));
            let mut peer = connect(address).await;
            say(&mut peer, [case.bytes, LAST].concat()).await;
            let answers = rest(&mut peer).await;
            let mut statuses = statuses(&answers);
            let mut seen = seen.0.take();
            let went_on = seen.last().is_some_and(|last| last == "GET /last h");
            if went_on {
                seen.pop();
                statuses.pop();
            }
            let after = if went_on { GoesOn } else { Closes };
            let got = (&statuses[..], seen.iter().map(String::as_str).collect::<Vec<_>>(), after);
            let expected = (case.statuses, case.seen.to_vec(), case.after);
            assert_eq!(got, expected, "{} (RFC {}): {answers}", case.what, case.section);
        }
    });
}

/// What the rules refuse is said in words, and what hyper cannot parse as well.
#[test]
fn refusals_can_be_read() {
    with_table(async |table| {
        let address = listen(&table, Http::new(Echo(Seen::default())));
        let long = format!("GET /a HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "x".repeat(20_000));
        let many = format!("GET /a HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: y\r\n".repeat(200));
        for (request, status) in [
            ("GET /a HTTP/1.1\r\n\r\n", "400 Bad Request"),
            ("GET /a HTTP/1.1\r\nHost : h\r\n\r\n", "400 Bad Request"),
            ("GET /a HTTP/1.1\nHost: h\n\n", "400 Bad Request"),
            ("GET /a HTTP/9.9\r\nHost: h\r\n\r\n", "400 Bad Request"),
            (&*long, "431 Request Header Fields Too Large"),
            (&*many, "431 Request Header Fields Too Large"),
            ("GET /a HTTP/1.1\r\nHost: h\r\nExpect: tea\r\n\r\n", "417 Expectation Failed"),
            (
                "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999\r\n\r\n",
                "413 Payload Too Large",
            ),
            ("GET /a HT", "408 Request Timeout"),
        ] {
            let mut peer = connect(address).await;
            say(&mut peer, request).await;
            let answer = rest(&mut peer).await.to_ascii_lowercase();
            let status = format!("{status}\n").to_ascii_lowercase();
            let start = format!("http/1.1 {}\r\n", status.trim_end());
            assert!(
                answer.starts_with(&start) && answer.ends_with(&format!("\r\n\r\n{status}")),
                "{answer}"
            );
            for line in ["connection: close", "content-type: text/plain; charset=utf-8"] {
                assert!(answer.contains(&format!("\r\n{line}\r\n")), "{answer}");
            }
            assert!(
                answer.contains(&format!("\r\ncontent-length: {}\r\n", status.len())),
                "{answer}"
            );
        }
    });
}

/// Byte by byte, the same comes out.
#[test]
fn any_split_of_the_bytes_gives_the_same_answers() {
    let requests = [CONNECTIONS[0].bytes, CODINGS[2].bytes, LENGTHS[0].bytes].concat();
    with_table(async |table| {
        let seen = Seen::default();
        let address = listen(&table, Http::new(Echo(seen.clone())));
        let mut peer = connect(address).await;
        peer.set_nodelay(true).expect("no delay");
        for byte in [&requests, LAST].concat().bytes() {
            say(&mut peer, [byte]).await;
            tokio::task::yield_now().await;
        }
        assert_eq!(statuses(&rest(&mut peer).await), [200; 6]);
        let expected =
            ["GET /a h", "POST /b h hi", "GET /c h", "POST /a h hi", "POST /a h hi", "GET /last h"];
        assert_eq!(seen.0.take(), expected);
    });
}
