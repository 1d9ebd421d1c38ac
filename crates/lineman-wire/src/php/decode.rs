//! `unserialize`: bytes of a peer to a value, within limits and without objects.

use bytes::Bytes;

use super::{Array, Error, Key, Value};

/// How much of a peer's value is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How many arrays may lie inside each other. Default 64, where PHP allows 4096: sessions and
    /// messages are flat, and decoding takes stack for each level.
    pub depth: usize,
    /// The longest input, in bytes. Default 10 MiB, the longest packet. A decoded array of small
    /// integers takes about ten times its wire form in memory.
    pub size: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { depth: 64, size: 10 * 1024 * 1024 }
    }
}

/// Reads one value, which must be the whole input.
///
/// # Errors
/// The input is longer or deeper than `limits`, is not what PHP's `serialize` writes, or holds an
/// object, an enum or a reference.
pub fn unserialize(input: &[u8], limits: Limits) -> Result<Value, Error> {
    if input.len() > limits.size {
        return Err(Error::TooLong { size: input.len(), limit: limits.size });
    }
    let mut reader = Reader::new(input, limits.depth);
    let value = reader.value(0)?;
    reader.end()?;
    Ok(value)
}

/// Reads one token after the other.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    length: usize,
    depth: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(input: &'a [u8], depth: usize) -> Self {
        Self { rest: input, length: input.len(), depth }
    }

    fn value(&mut self, depth: usize) -> Result<Value, Error> {
        let start = self.offset();
        match self.tag()? {
            [b'N', b';'] => Ok(Value::Null),
            [b'b', b':'] => self.bool(start).map(Value::Bool),
            [b'i', b':'] => self.int().map(Value::Int),
            [b'd', b':'] => self.float().map(Value::Float),
            [b's', b':'] => self.string().map(|text| Value::String(Bytes::copy_from_slice(text))),
            [b'a', b':'] if depth >= self.depth => Err(Error::TooDeep { limit: self.depth }),
            [b'a', b':'] => self.array(depth + 1).map(Value::Array),
            tag => Err(refused(tag, start)),
        }
    }

    fn array(&mut self, depth: usize) -> Result<Array, Error> {
        let count = self.length_before(b':')?;
        self.expect(b"{", "{ before the entries of an array")?;
        // The count is the peer's word: nothing is reserved for it, entries grow as they arrive.
        let mut array = Array::new();
        for _ in 0..count {
            let key = self.key()?;
            let value = self.value(depth)?;
            array.insert(key, value);
        }
        self.expect(b"}", "} after the entries of an array")?;
        Ok(array)
    }

    pub(super) fn key(&mut self) -> Result<Key, Error> {
        let offset = self.offset();
        match self.tag()? {
            [b'i', b':'] => self.int().map(Key::Int),
            [b's', b':'] => self.string().map(Key::from),
            _ => Err(Error::Malformed { expected: "an array key, i: or s:", offset }),
        }
    }

    /// Reads the rest of a boolean that begins at `start`.
    pub(super) fn bool(&mut self, start: usize) -> Result<bool, Error> {
        match self.until(b';')? {
            b"0" => Ok(false),
            b"1" => Ok(true),
            _ => Err(Error::Malformed { expected: "0 or 1 after b:", offset: start }),
        }
    }

    pub(super) fn int(&mut self) -> Result<i64, Error> {
        let offset = self.offset();
        let text = self.until(b';')?;
        std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or(Error::Malformed { expected: "an integer of 64 bits", offset })
    }

    pub(super) fn float(&mut self) -> Result<f64, Error> {
        let offset = self.offset();
        match self.until(b';')? {
            b"INF" => Ok(f64::INFINITY),
            b"-INF" => Ok(f64::NEG_INFINITY),
            b"NAN" => Ok(f64::NAN),
            text => text
                .iter()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'))
                .then(|| std::str::from_utf8(text).ok()?.parse().ok())
                .flatten()
                .ok_or(Error::Malformed { expected: "a float", offset }),
        }
    }

    pub(super) fn string(&mut self) -> Result<&'a [u8], Error> {
        let text = self.quoted()?;
        self.expect(b"\";", "\"; after a string")?;
        Ok(text)
    }

    /// Reads a length and as much text behind a quotation mark.
    pub(super) fn quoted(&mut self) -> Result<&'a [u8], Error> {
        let length = self.length_before(b':')?;
        self.expect(b"\"", "\" before a string")?;
        self.take(length, "a string as long as it says")
    }

    pub(super) fn take(
        &mut self,
        length: usize,
        expected: &'static str,
    ) -> Result<&'a [u8], Error> {
        let offset = self.offset();
        let split = self.rest.split_at_checked(length);
        let (taken, rest) = split.ok_or(Error::Malformed { expected, offset })?;
        self.rest = rest;
        Ok(taken)
    }

    /// Reads a length or a count: digits only, no sign.
    pub(super) fn length_before(&mut self, end: u8) -> Result<usize, Error> {
        let offset = self.offset();
        let text = self.until(end)?;
        let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
        digits
            .then(|| std::str::from_utf8(text).ok()?.parse().ok())
            .flatten()
            .ok_or(Error::Malformed { expected: "a length", offset })
    }

    pub(super) fn tag(&mut self) -> Result<[u8; 2], Error> {
        let (tag, rest) = self
            .rest
            .split_first_chunk()
            .ok_or(Error::Malformed { expected: "a value", offset: self.offset() })?;
        self.rest = rest;
        Ok(*tag)
    }

    fn until(&mut self, end: u8) -> Result<&'a [u8], Error> {
        // The longest number is a float of 24 characters; beyond 32 no terminator is looked for,
        // so that hostile input cannot make each number a scan of the whole.
        let place = self.rest.iter().take(32).position(|&byte| byte == end);
        let (text, rest) = place
            .and_then(|place| self.rest.split_at_checked(place))
            .ok_or(Error::Malformed { expected: "the end of a number", offset: self.offset() })?;
        self.rest = rest.get(1..).unwrap_or_default();
        Ok(text)
    }

    pub(super) fn expect(&mut self, text: &[u8], expected: &'static str) -> Result<(), Error> {
        let offset = self.offset();
        self.rest = self.rest.strip_prefix(text).ok_or(Error::Malformed { expected, offset })?;
        Ok(())
    }

    pub(super) fn offset(&self) -> usize {
        self.length - self.rest.len()
    }

    /// Nothing may follow.
    pub(super) fn end(&self) -> Result<(), Error> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(Error::TrailingBytes { offset: self.offset() })
    }
}

fn refused(tag: [u8; 2], offset: usize) -> Error {
    let what = match tag {
        [b'O', b':'] => "an object (O:)",
        [b'C', b':'] => "an object with its own format (C:)",
        [b'E', b':'] => "an enum (E:)",
        [b'R', b':'] => "a reference (R:)",
        [b'r', b':'] => "an object reference (r:)",
        _ => return Error::Malformed { expected: "a value", offset },
    };
    Error::Refused { what, offset }
}
