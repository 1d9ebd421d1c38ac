//! Where the head of a request or response ends, and its header lines.
//!
//! The parsers of both directions use it. It never looks at a byte twice, so a peer that sends one
//! byte at a time costs no more than any other.

use std::ops::Range;

use bytes::Bytes;

use super::{HandshakeError, HandshakeLimits};

/// Looks for the blank line that ends a head (RFC 9112, 2.1 and 2.2).
#[derive(Debug, Clone, Default)]
pub(super) struct HeadScanner {
    /// How many bytes have been looked at.
    scanned: usize,
    state: State,
}

#[derive(Debug, Clone, Copy, Default)]
enum State {
    /// Empty lines before the first line, which a server should ignore.
    #[default]
    Before,
    /// Within a line.
    Line,
    /// Right behind a line's end.
    LineEnd,
    /// Behind a line's end and a carriage return.
    CarriageReturn,
}

impl HeadScanner {
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
                (State::Before, b'\r' | b'\n') => State::Before,
                // Anything else cannot begin a method or a version: a TLS hello, or worse.
                (State::Before, byte) if !byte.is_ascii_alphanumeric() => {
                    return Err(HandshakeError::Malformed("not an http message"));
                }
                (State::LineEnd | State::CarriageReturn, b'\n') => return Ok(Some(self.scanned)),
                (State::LineEnd, b'\r') => State::CarriageReturn,
                (_, b'\n') => State::LineEnd,
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
    lines: Vec<(Range<usize>, Range<usize>)>,
}

impl Headers {
    pub(super) fn new(head: Bytes, parsed: &[httparse::Header<'_>]) -> Self {
        let lines = parsed
            .iter()
            .map(|line| (place_in(&head, line.name.as_bytes()), place_in(&head, line.value)))
            .collect();
        Self { head, lines }
    }

    pub(super) fn head(&self) -> &Bytes {
        &self.head
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.lines.iter().map(|(name, value)| {
            let name = self.head.get(name.clone()).unwrap_or_default();
            (
                std::str::from_utf8(name).unwrap_or_default(),
                self.head.get(value.clone()).unwrap_or_default(),
            )
        })
    }

    /// Returns the values of all lines of that name which are UTF-8.
    pub(super) fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.iter()
            .filter(move |(other, _)| other.eq_ignore_ascii_case(name))
            .filter_map(|(_, value)| std::str::from_utf8(value).ok())
    }

    pub(super) fn count(&self, name: &str) -> usize {
        self.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name)).count()
    }

    /// Returns whether one of the comma-separated lists of that name has the token.
    pub(super) fn has_token(&self, name: &str, token: &str) -> bool {
        self.tokens(name).any(|other| other.eq_ignore_ascii_case(token))
    }

    /// Returns the members of all comma-separated lists of that name (RFC 9110, 5.6.1).
    pub(super) fn tokens<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.all(name)
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .filter(|token| !token.is_empty())
    }
}

/// Returns where `part`, a slice of `head`, lies in it.
fn place_in(head: &Bytes, part: &[u8]) -> Range<usize> {
    let start = (part.as_ptr() as usize).saturating_sub(head.as_ptr() as usize);
    start..start + part.len()
}

/// Returns whether `name` may name a header line (RFC 9110, 5.6.2).
pub(super) fn is_token(name: &str) -> bool {
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
