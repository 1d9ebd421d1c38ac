//! What hyper takes and two servers in a row could read differently: a bare line feed in a head or a
//! trailer, spaces behind a chunk's size, a second length. Looks at the bytes between socket and hyper, and
//! spoils the first one that is wrong, so that hyper refuses the request. It frames no body by itself: it
//! holds back what follows a head until hyper has read that. Never keeps a byte.

use std::cell::Cell;

use http::Request;
use http::header::TRANSFER_ENCODING;
use http_body::Body;

/// What frames a request's body, as hyper has read its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    Length(u64),
    Chunked,
}

impl Framing {
    pub(super) fn of<B: Body>(request: &Request<B>) -> Self {
        // hyper takes no coding but one that ends in `chunked`.
        if request.headers().contains_key(TRANSFER_ENCODING) {
            return Self::Chunked;
        }
        Self::Length(request.body().size_hint().exact().unwrap_or_default())
    }
}

/// Where in the requests of one connection of HTTP/1 the next byte is.
#[derive(Default)]
pub(super) struct Strict {
    part: Part,
    line: LineSoFar,
    /// Whether the head has `Content-Length`.
    has_length: bool,
    /// Whether it has `Transfer-Encoding`.
    has_coding: bool,
}

#[derive(Clone, Copy, Default)]
enum Part {
    /// Empty lines before a request.
    #[default]
    Between,
    Head,
    /// Behind a head; hyper says what comes.
    Behind,
    Body(u64),
    ChunkSize(u64),
    /// A chunk, with the line end behind it.
    Chunk(u64),
    Trailer,
}

/// The line so far.
#[derive(Default)]
struct LineSoFar {
    /// Its beginning, in lower case: as much as the longest name that counts.
    start: [u8; TRANSFER_ENCODING_LENGTH],
    length: usize,
    last: u8,
    /// A space or a semicolon behind a chunk's size, whichever came last.
    behind_size: Option<u8>,
}

const TRANSFER_ENCODING_LENGTH: usize = "transfer-encoding".len();

impl Strict {
    /// Looks at bytes on their way to hyper and returns how many of them it may have now, one at least.
    /// `framing` is what hyper has made of the last head.
    pub(super) fn pass(&mut self, bytes: &mut [u8], framing: &Cell<Option<Framing>>) -> usize {
        let mut at = 0;
        while let Some(rest @ [_, ..]) = bytes.get_mut(at..) {
            match self.part {
                Part::Behind => {
                    self.part = match framing.take() {
                        Some(Framing::Length(length)) => Part::Body(length),
                        Some(Framing::Chunked) => Part::ChunkSize(0),
                        // hyper has refused it, and reads no more.
                        None => Part::Between,
                    };
                }
                Part::Body(0) => self.part = Part::Between,
                Part::Body(left) => {
                    at += skip(left, rest);
                    self.part = Part::Body(left - skip(left, rest) as u64);
                }
                Part::Chunk(0) => self.part = Part::ChunkSize(0),
                Part::Chunk(left) => {
                    at += skip(left, rest);
                    self.part = Part::Chunk(left - skip(left, rest) as u64);
                }
                Part::Between | Part::Head | Part::ChunkSize(_) | Part::Trailer => {
                    at += 1;
                    rest.first_mut().into_iter().for_each(|byte| self.take(byte));
                    if matches!(self.part, Part::Behind) {
                        break;
                    }
                }
            }
        }
        at
    }

    /// Returns whether hyper has bytes of a head that no request came of: what it writes between two
    /// requests is its refusal then, or the rest of an answer.
    pub(super) fn is_in_head(&self, framing: &Cell<Option<Framing>>) -> bool {
        match self.part {
            Part::Between => self.line.length > 0,
            Part::Head => true,
            Part::Behind => framing.get().is_none(),
            Part::Body(_) | Part::ChunkSize(_) | Part::Chunk(_) | Part::Trailer => false,
        }
    }

    /// Takes a byte of a line.
    fn take(&mut self, byte: &mut u8) {
        let read = *byte;
        if self.is_wrong(read) {
            *byte = 0;
        }
        match (&mut self.part, read) {
            (_, b'\n') => return self.end_line(),
            (Part::ChunkSize(size), digit) if self.line.behind_size.is_none() => {
                // What is no digit, or too many of them, hyper refuses.
                if let Some(digit) = char::from(digit).to_digit(16) {
                    *size = size.saturating_mul(16).saturating_add(digit.into());
                } else if matches!(digit, b' ' | b'\t' | b';') {
                    self.line.behind_size = Some(digit);
                }
            }
            (Part::ChunkSize(_), b';') => self.line.behind_size = Some(b';'),
            _ => {}
        }
        if let Some(place) = self.line.start.get_mut(self.line.length) {
            *place = read.to_ascii_lowercase();
        }
        self.line.length += 1;
        self.line.last = read;
    }

    fn is_wrong(&mut self, byte: u8) -> bool {
        let name = self.line.start.get(..self.line.length);
        match (self.part, byte) {
            (_, b'\n') => self.line.last != b'\r',
            // Spaces may stand before an extension (RFC 9112, 7.1.1) and nowhere else.
            (Part::ChunkSize(_), b'\r') => matches!(self.line.behind_size, Some(b' ' | b'\t')),
            (Part::Head, b':') if name == Some(b"content-length") => {
                self.has_coding || std::mem::replace(&mut self.has_length, true)
            }
            (Part::Head, b':') if name == Some(b"transfer-encoding") => {
                self.has_coding = true;
                self.has_length
            }
            _ => false,
        }
    }

    fn end_line(&mut self) {
        let is_empty = self.line.length <= 1;
        self.line = LineSoFar::default();
        self.part = match self.part {
            Part::Between if !is_empty => {
                (self.has_length, self.has_coding) = (false, false);
                Part::Head
            }
            Part::Head if is_empty => Part::Behind,
            Part::ChunkSize(0) => Part::Trailer,
            Part::ChunkSize(size) => Part::Chunk(size.saturating_add(2)),
            Part::Trailer if is_empty => Part::Between,
            same => same,
        };
    }
}

fn skip(left: u64, bytes: &[u8]) -> usize {
    usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len())
}
