//! Inflates a message as it comes, a bounded chunk at a time (RFC 7692, 7.2.2).
//!
//! The decoder's unfinished message feeds it and takes each chunk, so the bound of a message stops a
//! bomb while it is inflated, whatever it would have become.

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
    stream: Decompress,
    /// Whether nothing has come since the stream began.
    fresh: bool,
}

impl Inflater {
    /// Makes an inflater for messages that stand by themselves. Its window is the largest: one kind
    /// fits every peer.
    pub(crate) fn alone() -> Self {
        Self { stream: Decompress::new(false), fresh: true }
    }

    /// Makes an inflater for a sender that takes its context over, with a window of its size.
    pub(crate) fn with_context(window_bits: u8) -> Self {
        let bits = window_bits.clamp(super::LEAST_WINDOW_BITS, super::MOST_WINDOW_BITS);
        Self { stream: Decompress::new_with_window_bits(false, bits), fresh: true }
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
        let mut room = most;
        // A full chunk may leave more behind, even of input that was consumed.
        let mut made = 0;
        while room > 0 && (!piece.is_empty() || made == CHUNK) {
            let (before_in, before_out) = (self.stream.total_in(), self.stream.total_out());
            let space = chunk.get_mut(..room.min(CHUNK)).unwrap_or_default();
            let outcome = self.stream.decompress(piece, space, FlushDecompress::None);
            made = usize::try_from(self.stream.total_out() - before_out).unwrap_or(CHUNK);
            room = room.saturating_sub(made);
            // Also before an error: what came before the fault may have a fault of its own.
            take(chunk.get(..made).unwrap_or_default())?;
            let status = outcome.map_err(|_| Error::InvalidDeflate)?;
            let consumed = usize::try_from(self.stream.total_in() - before_in).unwrap_or_default();
            piece = piece.get(consumed..).unwrap_or_default();
            self.fresh &= consumed == 0;
            if status == Status::StreamEnd {
                // A last block: what follows begins anew (7.2.3.4).
                self.reset();
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
        self.stream.reset(false);
        self.fresh = true;
    }
}
