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

#[cfg(test)]
mod tests {
    use super::*;

    /// Uses a deflater of that kind; the number of bytes that it took before tells a used one.
    fn deflater(pool: &mut Pool, window_bits: u8, level: u8) -> u64 {
        pool.with_deflater(window_bits, level, |stream| stream.total_in())
    }

    #[test]
    fn a_deflater_is_used_again_for_the_same_window_and_level() {
        let mut pool = Pool::new();
        let kinds = |pool: &Pool| -> Vec<_> {
            pool.deflaters.iter().map(|it| (it.window_bits, it.level)).collect()
        };
        for kind in [(15, 6), (15, 6), (9, 6), (15, 6), (9, 6)] {
            assert_eq!(deflater(&mut pool, kind.0, kind.1), 0, "it was reset");
        }
        assert_eq!(kinds(&pool), [(15, 6), (9, 6)]);
        deflater(&mut pool, 15, 1);
        assert_eq!(kinds(&pool), [(15, 6), (9, 6), (15, 1)]);
    }

    #[test]
    fn four_of_each_are_kept() {
        let mut pool = Pool::new();
        for level in 1..=9 {
            deflater(&mut pool, 15, level);
            assert_eq!(pool.deflaters.len(), usize::from(level).min(MOST_IDLE));
        }
        // The one that was idle longest made room.
        assert_eq!(pool.deflaters.iter().map(|it| it.level).collect::<Vec<_>>(), [6, 7, 8, 9]);
        let out: Vec<_> = (0..6).map(|_| pool.inflater()).collect();
        for (returned, inflater) in out.into_iter().enumerate() {
            assert_eq!(pool.inflaters.len(), returned.min(MOST_IDLE));
            pool.take_back(inflater);
        }
        assert_eq!(pool.inflaters.len(), MOST_IDLE);
        drop(pool.inflater());
        assert_eq!(pool.inflaters.len(), MOST_IDLE - 1);
    }
}
