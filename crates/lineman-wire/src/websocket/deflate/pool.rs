//! Inflaters and deflaters between two uses: 48 and 256 KiB each, too much to allocate for a message.
//!
//! Whoever owns many connections owns one pool and lends it to each call. Only what has no context
//! comes here; a context lives with its connection.

use flate2::{Compress, Compression};

use super::{Inflater, LEAST_WINDOW_BITS, MOST_WINDOW_BITS};

/// How many idle ones of each kind are kept. A message that came whole needs one; more are out only
/// while messages are unfinished, and that many at once are worth an allocation each.
const MOST_IDLE: usize = 4;

/// Inflaters and deflaters that no connection needs just now; at most four of each are kept.
///
/// A new one is empty and owns nothing.
#[derive(Debug, Default)]
pub struct Pool {
    inflaters: Vec<Inflater>,
    deflaters: Vec<Deflater>,
}

/// A deflater with what it was made for.
#[derive(Debug)]
pub(super) struct Deflater {
    pub(super) stream: Compress,
    window_bits: u8,
    level: u8,
}

impl Deflater {
    pub(super) fn new(window_bits: u8, level: u8) -> Self {
        let bits = window_bits.clamp(LEAST_WINDOW_BITS, MOST_WINDOW_BITS);
        let level_of_zlib = Compression::new(u32::from(level));
        let stream = Compress::new_with_window_bits(level_of_zlib, false, bits);
        Self { stream, window_bits, level }
    }
}

impl Pool {
    /// Makes an empty pool.
    pub const fn new() -> Self {
        Self { inflaters: Vec::new(), deflaters: Vec::new() }
    }

    /// Returns an inflater without a context.
    pub(crate) fn inflater(&mut self) -> Inflater {
        self.inflaters.pop().unwrap_or_else(Inflater::alone)
    }

    /// Takes an inflater back and makes it forget.
    pub(crate) fn take_back(&mut self, mut inflater: Inflater) {
        if self.inflaters.len() < MOST_IDLE {
            inflater.reset();
            self.inflaters.push(inflater);
        }
    }

    /// Runs `work` with a deflater without a context.
    pub(super) fn with_deflater<T>(
        &mut self,
        window_bits: u8,
        level: u8,
        work: impl FnOnce(&mut Compress) -> T,
    ) -> T {
        let fits = |it: &Deflater| (it.window_bits, it.level) == (window_bits, level);
        let mut deflater = match self.deflaters.iter().position(fits) {
            Some(at) => self.deflaters.swap_remove(at),
            None => Deflater::new(window_bits, level),
        };
        let result = work(&mut deflater.stream);
        deflater.stream.reset();
        if self.deflaters.len() >= MOST_IDLE {
            self.deflaters.remove(0);
        }
        self.deflaters.push(deflater);
        result
    }
}
