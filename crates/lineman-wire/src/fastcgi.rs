//! The client's side of FastCGI 1.0, as far as one question wants it: a `GET` to a responder such as php-fpm,
//! and its answer.
//!
//! A gateway's connect hook asks with it. An answer counts when its end has come (`FCGI_END_REQUEST`): a
//! connection that just ends is no answer, for what is missing may be what refuses.

use std::borrow::Cow;

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Types of a record (section 8 of the specification).
const BEGIN_REQUEST: u8 = 1;
const END_REQUEST: u8 = 3;
const PARAMS: u8 = 4;
const STDIN: u8 = 5;
const STDOUT: u8 = 6;
const STDERR: u8 = 7;

/// The one request of a connection.
const REQUEST_ID: u16 = 1;

/// Bytes of a record's header.
const HEADER: usize = 8;

/// The most bytes in a record, a multiple of eight so that none needs padding.
const CONTENT: usize = 65_528;

/// What is kept of the responder's messages to its log: some lines, so that a log is not filled by it.
const LOG: usize = 2 * 1024;

/// The most header lines of an answer.
const HEADERS: usize = 64;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes are no records of FastCGI 1.0, or not of our request.
    #[error("it does not speak FastCGI 1.0")]
    Record,
    /// The answer is longer than the limit.
    #[error("its answer has more than {limit} bytes")]
    TooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// The responder takes no request now.
    #[error("it refuses the request: {0}")]
    Refused(&'static str),
    /// The answer has no header block, or one that cannot be read.
    #[error("its answer has no header lines that can be read")]
    Head,
}

/// An answer of a responder (RFC 3875, 6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CgiAnswer {
    /// The HTTP status: that of `Status`, else 302 with a `Location`, else 200.
    pub status: u16,
    /// The other header lines in their order; values that are no UTF-8 have U+FFFD.
    pub headers: Vec<(String, String)>,
    /// What follows them.
    pub body: Bytes,
}

/// Appends a whole request: its parameters, as `SCRIPT_FILENAME`, and no body. The responder closes the
/// connection behind its answer.
///
/// ```
/// use bytes::BytesMut;
/// use lineman_wire::fastcgi::{AnswerDecoder, encode_request};
///
/// let mut output = BytesMut::new();
/// encode_request([("REQUEST_METHOD", &b"GET"[..]), ("SCRIPT_FILENAME", b"/srv/hook.php")], &mut output);
///
/// // What php-fpm answers to a script that prints nothing.
/// let mut input = BytesMut::from(&b"\x01\x06\0\x01\0\x1a\0\0Content-type: text/html\r\n\r\n"[..]);
/// input[5] = 27;
/// input.extend_from_slice(b"\x01\x03\0\x01\0\x08\0\0\0\0\0\0\0\0\0\0");
/// let answer = AnswerDecoder::new(1024).decode(&mut input)?.expect("its end has come");
/// assert_eq!((answer.status, &answer.body[..]), (200, &b""[..]));
/// # Ok::<(), lineman_wire::fastcgi::Error>(())
/// ```
pub fn encode_request<'a>(
    parameters: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    output: &mut BytesMut,
) {
    // The role of a responder, and no flag: the connection is not kept.
    record(BEGIN_REQUEST, &[0, 1, 0, 0, 0, 0, 0, 0], output);
    let mut pairs = BytesMut::new();
    for (name, value) in parameters {
        put_length(name.len(), &mut pairs);
        put_length(value.len(), &mut pairs);
        pairs.put_slice(name.as_bytes());
        pairs.put_slice(value);
    }
    for part in pairs.chunks(CONTENT) {
        record(PARAMS, part, output);
    }
    record(PARAMS, &[], output);
    record(STDIN, &[], output);
}

fn record(kind: u8, content: &[u8], output: &mut BytesMut) {
    output.put_u8(1);
    output.put_u8(kind);
    output.put_u16(REQUEST_ID);
    output.put_u16(u16::try_from(content.len()).unwrap_or(u16::MAX));
    output.put_u16(0);
    output.put_slice(content);
}

fn put_length(length: usize, output: &mut BytesMut) {
    match u8::try_from(length) {
        Ok(short @ 0..=127) => output.put_u8(short),
        _ => output.put_u32(u32::try_from(length).unwrap_or(u32::MAX) | 1 << 31),
    }
}

/// Puts the records of one answer together.
#[derive(Debug)]
pub struct AnswerDecoder {
    output: BytesMut,
    log: BytesMut,
    limit: usize,
}

impl AnswerDecoder {
    /// Makes a decoder of an answer of at most `limit` bytes, its header lines included.
    pub fn new(limit: usize) -> Self {
        Self { output: BytesMut::new(), log: BytesMut::new(), limit }
    }

    /// Takes whole records off the front of `input`; returns the answer when its end has come. `None` means
    /// "wait for more bytes"; what is left in `input` is to be there in the next call.
    ///
    /// # Errors
    /// Fails on what is no answer of a responder; nothing of it counts then.
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Option<CgiAnswer>, Error> {
        loop {
            let Some(header) = input.first_chunk::<HEADER>() else { return Ok(None) };
            let [version, kind, id_high, id_low, length_high, length_low, padding, _] = *header;
            if version != 1 || u16::from_be_bytes([id_high, id_low]) != REQUEST_ID {
                return Err(Error::Record);
            }
            let length = usize::from(u16::from_be_bytes([length_high, length_low]));
            let end = HEADER + length + usize::from(padding);
            let Some(content) = input.get(HEADER..HEADER + length).filter(|_| input.len() >= end)
            else {
                return Ok(None);
            };
            match kind {
                STDOUT if self.output.len() + length > self.limit => {
                    return Err(Error::TooLong { limit: self.limit });
                }
                STDOUT => self.output.extend_from_slice(content),
                STDERR => {
                    let room = LOG.saturating_sub(self.log.len()).min(length);
                    self.log.extend_from_slice(content.get(..room).unwrap_or_default());
                }
                END_REQUEST => return self.end(content).map(Some),
                _ => return Err(Error::Record),
            }
            input.advance(end);
        }
    }

    /// Returns what the responder has said to its log so far, the first 2 KiB.
    pub fn log(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.log)
    }

    fn end(&mut self, content: &[u8]) -> Result<CgiAnswer, Error> {
        // Behind the four bytes of the application's status.
        match content.get(4) {
            Some(0) => parse(self.output.split().freeze()),
            Some(1) => Err(Error::Refused("it cannot multiplex")),
            Some(2) => Err(Error::Refused("it is overloaded")),
            Some(3) => Err(Error::Refused("it is no responder")),
            Some(_) | None => Err(Error::Record),
        }
    }
}

fn parse(mut output: Bytes) -> Result<CgiAnswer, Error> {
    let mut lines = [httparse::EMPTY_HEADER; HEADERS];
    let parsed = httparse::parse_headers(&output, &mut lines).map_err(|_| Error::Head)?;
    let httparse::Status::Complete((length, lines)) = parsed else { return Err(Error::Head) };
    let (mut status, mut headers) = (None, Vec::new());
    for line in lines {
        let value = String::from_utf8_lossy(line.value).into_owned();
        if line.name.eq_ignore_ascii_case("status") {
            let code = value.split(' ').next().and_then(|code| code.parse().ok());
            status = Some(code.filter(|code| (100..=999).contains(code)).ok_or(Error::Head)?);
        } else {
            headers.push((line.name.to_owned(), value));
        }
    }
    if headers.is_empty() && status.is_none() {
        return Err(Error::Head);
    }
    let moved = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("location"));
    let status = status.unwrap_or(if moved { 302 } else { 200 });
    output.advance(length);
    Ok(CgiAnswer { status, headers, body: output })
}
