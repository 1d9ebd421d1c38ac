//! Inflates a message as it comes, a bounded chunk at a time (RFC 7692, 7.2.2).
//!
//! The decoder's unfinished message feeds it and takes each chunk, so the bound of a message stops a
//! bomb while it is inflated, whatever it would have become.

use std::cell::RefCell;

use flate2::{Decompress, FlushDecompress, Status};

use crate::websocket::Error;

/// What is inflated at once: more than most messages, and what may exist beyond a message's bound.
const CHUNK: usize = 8 * 1024;

/// The end of each message that its sender has cut off (7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xFF, 0xFF];

/// An empty last block: what can follow a message's end, and cannot follow a cut inside of a block.
const LAST_BLOCK: [u8; 5] = [1, 0, 0, 0xFF, 0xFF];

/// An inflater for the messages of one sender, one after the other.
#[derive(Debug)]
pub(crate) struct Inflater {
    /// In a cell for [`Inflater::window`], which puts it back as it was.
    stream: RefCell<Decompress>,
    window_bits: u8,
    /// Whether nothing has come since the stream began.
    fresh: bool,
}

impl Inflater {
    /// Makes an inflater for messages that stand by themselves. Its window is the largest: one kind
    /// fits every peer.
    pub(crate) fn alone() -> Self {
        let window_bits = super::MOST_WINDOW_BITS;
        Self { stream: RefCell::new(Decompress::new(false)), window_bits, fresh: true }
    }

    /// Makes an inflater for a sender that takes its context over, with a window of its size.
    pub(crate) fn with_context(window_bits: u8) -> Self {
        let window_bits = window_bits.clamp(super::LEAST_WINDOW_BITS, super::MOST_WINDOW_BITS);
        let stream = RefCell::new(Decompress::new_with_window_bits(false, window_bits));
        Self { stream, window_bits, fresh: true }
    }

    /// Returns what it has made last, as much as a message may refer to; `None` if that is not known. Between
    /// two messages.
    ///
    /// zlib-rs does not tell its window. But a block of nothing but references to its beginning makes it
    /// come out, and behind that a stored block of it begins a stream that knows the same.
    pub(crate) fn window(&self) -> Option<Vec<u8>> {
        let mut stream = self.stream.try_borrow_mut().ok()?;
        let made = usize::try_from(stream.total_out()).unwrap_or(usize::MAX);
        let length = made.min(1 << self.window_bits);
        if length == 0 {
            return Some(Vec::new());
        }
        let mut window = vec![0; length + MATCH];
        let block = references(length);
        let outcome = stream.decompress(&block, &mut window, FlushDecompress::Sync);
        let came = usize::try_from(stream.total_out()).unwrap_or_default().saturating_sub(made);
        window.truncate(length);
        if outcome.is_err() || came < length {
            return None;
        }
        stream.reset(false);
        store(&mut stream, &window).ok()?;
        Some(window)
    }

    /// Has a new one know what [`Inflater::window`] returned.
    pub(crate) fn prime(&mut self, window: &[u8]) -> Result<(), Error> {
        if window.len() > 1 << self.window_bits {
            return Err(Error::InvalidDeflate);
        }
        self.fresh &= window.is_empty();
        store(self.stream.get_mut(), window)
    }

    /// Inflates the next piece of a message; `take` gets the chunks and may refuse.
    pub(crate) fn push(
        &mut self,
        piece: &[u8],
        take: impl FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.push_up_to(usize::MAX, piece, take).map(drop)
    }

    /// Inflates until `most` bytes were made; returns the part of the piece that it did not come to.
    pub(crate) fn push_up_to<'a>(
        &mut self,
        most: usize,
        mut piece: &'a [u8],
        mut take: impl FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<&'a [u8], Error> {
        let mut chunk = [0; CHUNK];
        let stream = self.stream.get_mut();
        let mut room = most;
        // A full chunk may leave more behind, even of input that was consumed.
        let mut made = 0;
        while room > 0 && (!piece.is_empty() || made == CHUNK) {
            let (before_in, before_out) = (stream.total_in(), stream.total_out());
            let space = chunk.get_mut(..room.min(CHUNK)).unwrap_or_default();
            let outcome = stream.decompress(piece, space, FlushDecompress::None);
            made = usize::try_from(stream.total_out() - before_out).unwrap_or(CHUNK);
            room = room.saturating_sub(made);
            // Also before an error: what came before the fault may have a fault of its own.
            take(chunk.get(..made).unwrap_or_default())?;
            let status = outcome.map_err(|_| Error::InvalidDeflate)?;
            let consumed = usize::try_from(stream.total_in() - before_in).unwrap_or_default();
            piece = piece.get(consumed..).unwrap_or_default();
            self.fresh &= consumed == 0;
            if status == Status::StreamEnd {
                // A last block: what follows begins anew (7.2.3.4).
                stream.reset(false);
                self.fresh = true;
            } else if consumed == 0 && made == 0 && !piece.is_empty() {
                return Err(Error::InvalidDeflate);
            }
        }
        Ok(piece)
    }

    /// Ends a message of a sender that takes its context over.
    pub(crate) fn finish(
        &mut self,
        take: impl FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        // Nothing follows the last block, or nothing came at all: there is nothing to complete.
        if self.fresh { Ok(()) } else { self.push(&TAIL, take) }
    }

    /// Ends a message that stands by itself; unlike [`Inflater::finish`] it can tell whether the
    /// message is whole. [`Inflater::reset`] must follow.
    pub(crate) fn finish_alone(
        &mut self,
        mut take: impl FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if self.fresh {
            return Ok(());
        }
        self.push(&TAIL, &mut take)?;
        self.push(&LAST_BLOCK, take)?;
        if self.fresh { Ok(()) } else { Err(Error::InvalidDeflate) }
    }

    /// Forgets everything.
    pub(crate) fn reset(&mut self) {
        self.stream.get_mut().reset(false);
        self.fresh = true;
    }
}

/// The longest match of DEFLATE (RFC 1951, 3.2.5).
const MATCH: usize = 258;

/// The largest stored block.
const STORED: usize = 0xFFFF;

/// Returns a block of matches, each of the bytes so far back that the window begins there: at least
/// `length` bytes come of it, and the first of them are the window. `length` is at most 32 KiB.
fn references(length: usize) -> Vec<u8> {
    let mut bits = Bits::default();
    // No last block, with the fixed codes (3.2.6).
    bits.put(0, 1);
    bits.put(1, 2);
    let (code, extra, extra_bits) = distance(length);
    for _ in 0..length.div_ceil(MATCH) {
        // The longest match is the code 285, which has no extra bits.
        bits.put_code(0b1100_0101, 8);
        bits.put_code(code, 5);
        bits.put(extra, extra_bits);
    }
    // The end of the block is seven zeros, and what fills a byte is zeros.
    bits.put(0, 7);
    bits.bytes
}

/// Returns a distance's code, and its extra bits with their number (3.2.5).
fn distance(distance: usize) -> (u32, u32, u32) {
    let from_zero = u32::try_from(distance.saturating_sub(1)).unwrap_or_default();
    if from_zero < 4 {
        return (from_zero, 0, 0);
    }
    let high = from_zero.ilog2();
    let extra_bits = high - 1;
    let code = 2 * high + (from_zero >> extra_bits & 1);
    (code, from_zero & ((1 << extra_bits) - 1), extra_bits)
}

/// Bits as DEFLATE packs them (3.1.1).
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    count: usize,
}

impl Bits {
    /// Appends a number, its least bit first.
    fn put(&mut self, value: u32, bits: u32) {
        for bit in 0..bits {
            if self.count.is_multiple_of(8) {
                self.bytes.push(0);
            }
            if let Some(last) = self.bytes.last_mut() {
                *last |= u8::from(value >> bit & 1 == 1) << (self.count % 8);
            }
            self.count += 1;
        }
    }

    /// Appends a Huffman code, its highest bit first.
    fn put_code(&mut self, code: u32, bits: u32) {
        self.put(code.reverse_bits() >> (u32::BITS - bits), bits);
    }
}

/// Has a stream know these bytes, as a stored block would that its sender had begun with.
fn store(stream: &mut Decompress, window: &[u8]) -> Result<(), Error> {
    let mut place = vec![0; window.len()];
    for piece in window.chunks(STORED) {
        let length = u16::try_from(piece.len()).unwrap_or_default();
        let [low, high] = length.to_le_bytes();
        let block = [&[0, low, high, !low, !high], piece].concat();
        let before = stream.total_out();
        let outcome = stream.decompress(&block, &mut place, FlushDecompress::Sync);
        if outcome.is_err() || stream.total_out() - before != u64::from(length) {
            return Err(Error::InvalidDeflate);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::websocket::deflate::pool::Deflater;
    use flate2::FlushCompress;

    /// Deflates as a sender that takes its context over does.
    fn deflated(deflater: &mut Deflater, text: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(text.len() + 1024);
        deflater.stream.compress_vec(text, &mut out, FlushCompress::Sync).expect("deflated");
        out.truncate(out.len() - TAIL.len());
        out
    }

    fn inflated(inflater: &mut Inflater, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut take = |chunk: &[u8]| {
            out.extend_from_slice(chunk);
            Ok(())
        };
        inflater.push(bytes, &mut take).expect("inflated");
        inflater.finish(&mut take).expect("ended");
        out
    }

    #[test]
    fn a_window_comes_out_and_goes_on_elsewhere_and_here() {
        for window_bits in [9, 12, 15] {
            for size in [0, 1, 2, 3, 4, 5, 257, 258, 259, 511, 512, 513, 4000, 32_768, 70_000] {
                // Nothing of it repeats soon, so that only the window shortens the second.
                let noise = |at: u32| (at.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0];
                let text: Vec<u8> = (0..size).map(noise).collect();
                let mut deflater = Deflater::new(window_bits, 6);
                let mut first = Inflater::with_context(window_bits);
                assert_eq!(inflated(&mut first, &deflated(&mut deflater, &text)), text);
                let window = first.window().expect("between two messages");
                let length = text.len().min(1 << window_bits);
                assert_eq!(window, text[text.len() - length..], "{size} of {window_bits} bits");
                let mut second = Inflater::with_context(window_bits);
                second.prime(&window).expect("a window");
                for round in 0..3 {
                    let next = [&window[window.len() / 2..], &[round]].concat();
                    let bytes = deflated(&mut deflater, &next);
                    assert_eq!(inflated(&mut second, &bytes), next);
                    assert_eq!(inflated(&mut first, &bytes), next, "it knows what it knew");
                    assert_eq!(first.window(), second.window());
                }
            }
        }
    }

    #[test]
    fn more_than_a_window_is_refused() {
        let mut inflater = Inflater::with_context(9);
        assert_eq!(inflater.prime(&[0; 513]), Err(Error::InvalidDeflate));
        inflater.prime(&[7; 512]).expect("a window");
        assert_eq!(inflater.window(), Some(vec![7; 512]));
    }
}
