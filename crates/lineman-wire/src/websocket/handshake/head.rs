//! Where the head of a request or response ends, and its header lines.
//!
//! The parsers of both directions use it. It never looks at a byte twice, so a peer that sends one
//! byte at a time costs no more than any other.

use std::ops::Range;

use bytes::Bytes;

use super::{HandshakeError, HandshakeLimits};

/// Looks for the blank line that ends a head (RFC 9112, 2.1 and 2.2).
#[derive(Debug, Clone)]
pub(super) struct HeadScanner {
    /// How many bytes have been looked at.
    scanned: usize,
    state: State,
    line_ends: LineEnds,
}

/// What ends a line of a head. RFC 9112, 2.2 leaves it to the recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineEnds {
    /// CR and LF. A request may have come by a proxy that takes a bare LF for a part of a value, and would
    /// hide a line in it.
    Strict,
    /// A bare LF, too: an answer is read by its client alone, and simple proxies send such ones.
    Lenient,
}

#[derive(Debug, Clone, Copy, Default)]
enum State {
    /// Empty lines before the first line, which a server should ignore.
    #[default]
    Before,
    /// Behind a carriage return before the first line.
    BeforeReturn,
    /// Within a line.
    Line,
    /// Within a line, behind a carriage return.
    LineReturn,
    /// Right behind a line's end.
    LineEnd,
    /// Behind a line's end and a carriage return.
    CarriageReturn,
}

impl HeadScanner {
    pub(super) fn new(line_ends: LineEnds) -> Self {
        Self { scanned: 0, state: State::Before, line_ends }
    }

    /// Returns the head's size, its blank line included, once it is there.
    ///
    /// `input` must begin with what the last call saw.
    pub(super) fn scan(
        &mut self,
        input: &[u8],
        limits: &HandshakeLimits,
    ) -> Result<Option<usize>, HandshakeError> {
        let window = input.get(..limits.max_head_size).unwrap_or(input);
        for &byte in window.get(self.scanned..).unwrap_or_default() {
            self.scanned += 1;
            self.state = match (self.state, byte) {
                (State::Before | State::Line | State::LineEnd, b'\n')
                    if self.line_ends == LineEnds::Strict =>
                {
                    return Err(HandshakeError::Malformed("a line feed without carriage return"));
                }
                (State::Before | State::BeforeReturn, b'\n') => State::Before,
                (State::Before | State::BeforeReturn, b'\r') => State::BeforeReturn,
                // Its records of the handshake, and of an alert.
                (State::Before, 0x15 | 0x16) => return Err(HandshakeError::Tls),
                (State::Before | State::BeforeReturn, byte) if !byte.is_ascii_alphanumeric() => {
                    return Err(HandshakeError::Malformed("not an http message"));
                }
                (State::LineEnd | State::CarriageReturn, b'\n') => return Ok(Some(self.scanned)),
                (State::LineEnd, b'\r') => State::CarriageReturn,
                (_, b'\n') => State::LineEnd,
                (_, b'\r') => State::LineReturn,
                _ => State::Line,
            };
        }
        if input.len() >= limits.max_head_size {
            return Err(HandshakeError::HeadTooLarge { limit: limits.max_head_size });
        }
        Ok(None)
    }
}

/// Header lines as places in the head they came in.
#[derive(Debug, Clone)]
pub(super) struct Headers {
    head: Bytes,
    /// The bytes that the places are in: the head, with the cookies behind it if they came in several lines.
    text: Bytes,
    lines: Vec<(Range<usize>, Range<usize>)>,
}

impl Headers {
    pub(super) fn new(head: Bytes, parsed: &[httparse::Header<'_>]) -> Self {
        let lines = parsed
            .iter()
            .map(|line| (place_in(&head, line.name.as_bytes()), place_in(&head, line.value)))
            .collect();
        let headers = Self { text: head.clone(), head, lines };
        if headers.count("cookie") > 1 { headers.with_one_cookie_line() } else { headers }
    }

    /// Joins the lines of cookies: another separator than a comma's joins them, and only one line is
    /// expected wherever a request is read (RFC 6265, 5.4; RFC 9113, 8.2.3).
    fn with_one_cookie_line(mut self) -> Self {
        let is_cookie = |(name, _): &(&str, &[u8])| name.eq_ignore_ascii_case("cookie");
        let values: Vec<&[u8]> = self.iter().filter(is_cookie).map(|(_, value)| value).collect();
        let text = [&self.head[..], &values.join(&b"; "[..])].concat();
        let mut joined = Some(self.head.len()..text.len());
        let head = &self.head;
        self.lines.retain_mut(|(name, value)| {
            let name = head.get(name.clone()).unwrap_or_default();
            if !name.eq_ignore_ascii_case(b"cookie") {
                return true;
            }
            joined.take().map(|place| *value = place).is_some()
        });
        Self { text: Bytes::from(text), ..self }
    }

    pub(super) fn head(&self) -> &Bytes {
        &self.head
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.lines.iter().map(|(name, value)| {
            let name = self.text.get(name.clone()).unwrap_or_default();
            (
                std::str::from_utf8(name).unwrap_or_default(),
                self.text.get(value.clone()).unwrap_or_default(),
            )
        })
    }

    fn values<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let named = self.iter().filter(move |(other, _)| other.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value)
    }

    /// Returns the values of all lines of that name which are UTF-8.
    pub(super) fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.values(name).filter_map(|value| std::str::from_utf8(value).ok())
    }

    /// Returns the value of a line that is the only one of that name.
    pub(super) fn only(&self, name: &str) -> Option<&[u8]> {
        let mut values = self.values(name);
        values.next().filter(|_| values.next().is_none())
    }

    /// Returns whether all lines of that name have this value, in any case.
    pub(super) fn all_are(&self, name: &str, value: &str) -> bool {
        self.values(name).all(|other| other.eq_ignore_ascii_case(value.as_bytes()))
    }

    pub(super) fn count(&self, name: &str) -> usize {
        self.values(name).count()
    }

    /// Returns whether one of the comma-separated lists of that name has the token.
    pub(super) fn has_token(&self, name: &str, token: &str) -> bool {
        self.tokens(name).any(|other| other.eq_ignore_ascii_case(token))
    }

    /// Returns the members of all comma-separated lists of that name (RFC 9110, 5.6.1).
    pub(super) fn tokens<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.members(name, b',').filter(|token| !token.is_empty())
    }

    /// Returns the members of all lists of that name. A member that is no UTF-8 is left out, and the others
    /// stay: another application of the same site may have set it.
    pub(super) fn members<'a>(
        &'a self,
        name: &str,
        separator: u8,
    ) -> impl Iterator<Item = &'a str> {
        let members =
            self.values(name).flat_map(move |value| value.split(move |byte| *byte == separator));
        members.filter_map(|member| std::str::from_utf8(member).ok()).map(str::trim)
    }
}

/// Returns where `part`, a slice of `head`, lies in it.
fn place_in(head: &Bytes, part: &[u8]) -> Range<usize> {
    let start = (part.as_ptr() as usize).saturating_sub(head.as_ptr() as usize);
    start..start + part.len()
}

/// Returns whether `name` may name a header line, a cookie or a subprotocol (RFC 9110, 5.6.2).
pub fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// Returns whether `value` may stand in a header line: no line break, no other control character
/// but the tab (RFC 9110, 5.5).
pub(super) fn is_field_value(value: &str) -> bool {
    value.bytes().all(|byte| byte == b'\t' || !byte.is_ascii_control())
}
