//! Text that arrives in pieces (RFC 6455, 8.1): each byte is checked once, when it comes.
//!
//! The decoder builds the text of large and fragmented messages with it. It never holds back an
//! error: the first byte that no valid text could have is refused, however much is still to come.

use super::{Error, Utf8Bytes, unfinished::growth};

/// A text whose end has not come yet.
#[derive(Debug, Default)]
pub(crate) struct PartialText {
    text: String,
    /// The front of a character whose other bytes have not come. Invariant: a proper prefix of some
    /// valid character, or empty.
    pending: [u8; 4],
    pending_len: u8,
}

impl PartialText {
    /// Returns how many bytes have come.
    pub(crate) fn len(&self) -> usize {
        self.text.len() + usize::from(self.pending_len)
    }

    pub(super) fn capacity(&self) -> usize {
        self.text.capacity()
    }

    /// Returns the whole characters that have come, and the bytes of the one that is not whole.
    pub(crate) fn parts(&self) -> (&str, &[u8]) {
        (&self.text, self.pending.get(..usize::from(self.pending_len)).unwrap_or_default())
    }

    /// Appends `bytes`; `to_come` is how many more are known to follow.
    pub(crate) fn push(&mut self, mut bytes: &[u8], to_come: Option<usize>) -> Result<(), Error> {
        let (capacity, added) = (self.text.capacity(), usize::from(self.pending_len) + bytes.len());
        self.text.reserve_exact(growth(capacity, self.text.len(), added, to_come));
        while self.pending_len > 0 {
            let Some((&byte, rest)) = bytes.split_first() else { return Ok(()) };
            bytes = rest;
            self.push_pending(byte)?;
        }
        let (whole, tail) = split_unfinished_character(bytes);
        self.text.push_str(std::str::from_utf8(whole).map_err(|_| Error::InvalidUtf8)?);
        for &byte in tail {
            self.push_pending(byte)?;
        }
        Ok(())
    }

    /// Returns the text if its last character is whole.
    pub(crate) fn finish(self) -> Result<Utf8Bytes, Error> {
        if self.pending_len > 0 { Err(Error::InvalidUtf8) } else { Ok(self.text.into()) }
    }

    fn push_pending(&mut self, byte: u8) -> Result<(), Error> {
        let length = usize::from(self.pending_len);
        let slot = self.pending.get_mut(length).ok_or(Error::InvalidUtf8)?;
        *slot = byte;
        self.pending_len += 1;
        match std::str::from_utf8(self.pending.get(..=length).unwrap_or_default()) {
            Ok(character) => {
                self.text.push_str(character);
                self.pending_len = 0;
                Ok(())
            }
            // No error length: the bytes end too early but are valid so far.
            Err(error) if error.error_len().is_none() => Ok(()),
            Err(_) => Err(Error::InvalidUtf8),
        }
    }
}

/// Splits off the last one to three bytes if they begin a character that needs more.
fn split_unfinished_character(bytes: &[u8]) -> (&[u8], &[u8]) {
    let lead = bytes.iter().rev().take(3).position(|&byte| byte >= 0xC0);
    let Some(following) = lead else { return (bytes, &[]) };
    let start = bytes.len() - following - 1;
    let needed = match bytes.get(start) {
        Some(0xC0..=0xDF) => 2,
        Some(0xE0..=0xEF) => 3,
        _ => 4,
    };
    if following + 1 < needed { bytes.split_at(start) } else { (bytes, &[]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], expected: Result<&str, usize>) {
        // The bytes one by one: the error must come with the very byte that is at fault.
        let mut partial = PartialText::default();
        for (at, &byte) in bytes.iter().enumerate() {
            if partial.push(&[byte], None).is_err() {
                assert_eq!(Err(at), expected, "{bytes:x?}");
                return;
            }
        }
        match partial.finish() {
            Ok(text) => assert_eq!(Ok(text.as_str()), expected),
            Err(_) => assert_eq!(Err(bytes.len()), expected, "{bytes:x?}"),
        }
        // In any two pieces.
        for cut in 0..=bytes.len() {
            let mut partial = PartialText::default();
            let outcome = bytes.split_at(cut);
            let result = partial.push(outcome.0, None).and_then(|()| partial.push(outcome.1, None));
            assert_eq!(result.and_then(|()| partial.finish()).ok().as_deref(), expected.ok());
        }
    }

    #[test]
    fn accepts_characters_of_every_length() {
        check("κόσμε €𝄞 a\u{10ffff}\u{0}".as_bytes(), Ok("κόσμε €𝄞 a\u{10ffff}\u{0}"));
        check(b"", Ok(""));
    }

    #[test]
    fn refuses_the_first_byte_at_fault() {
        check(b"ab\x80", Err(2));
        check(b"\xc0\xaf", Err(0));
        check(b"\xf5\x80", Err(0));
        check(b"\xff", Err(0));
        check(b"\xe0\x9f\xbf", Err(1));
        check(b"\xed\xa0\x80", Err(1));
        check(b"\xf4\x90\x80\x80", Err(1));
        check(b"\xf0\x80\x80\x80", Err(1));
        check(b"\xe2\x82a", Err(2));
        check(b"\xe2\x82", Err(2));
    }
}
