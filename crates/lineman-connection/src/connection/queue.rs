//! Bytes that wait to be sent on one connection: encoded messages in a tail, shared ones by reference.
//!
//! It owns no buffer while it is empty. It never decides what happens at the bound; the handle does.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};

use super::budget::{Account, count};

/// Below this a shared message is copied into the tail: one copied cache line or two is cheaper than
/// an entry in `writev` and an atomic count.
pub(super) const SHARE_FROM: usize = 512;

/// What a piece costs in memory, beside its bytes if it is shared.
const PER_PIECE: usize = 64;

/// As many pieces as one `writev` takes; more would be a second system call anyway.
pub(super) const PIECES: usize = 64;

/// A buffer larger than this is freed after use instead of going back to the pool.
const POOLED: usize = 64 * 1024;

#[derive(Debug, Default)]
pub(super) struct SendQueue {
    /// Whole pieces before the tail, oldest first. Invariant: none is empty.
    pieces: VecDeque<Bytes>,
    /// Bytes in `pieces`.
    pieces_len: usize,
    tail: BytesMut,
}

impl SendQueue {
    pub(super) fn len(&self) -> usize {
        self.pieces_len + self.tail.len()
    }

    /// Returns the memory of what it holds alone; a payload of [`SHARE_FROM`] bytes or more counts by itself.
    pub(super) fn held(&self) -> usize {
        // The buffers of ordinary size are the pool's sooner or later.
        let (length, memory) = (self.tail.len(), self.tail.capacity());
        let tail = if memory > POOLED { memory } else { length };
        tail + self.pieces.len() * PER_PIECE
    }

    /// Returns how many bytes lie in pieces that others may hold as well.
    pub(super) fn shared_len(&self) -> usize {
        self.pieces_len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The buffer that drivers append to.
    pub(super) fn tail(&mut self) -> &mut BytesMut {
        &mut self.tail
    }

    /// Gives the tail a buffer of the pool, if it has none of its own.
    pub(super) fn prepare(&mut self, pool: &mut Pool) {
        self.freeze_large(pool);
        if self.tail.capacity() == 0 {
            self.tail = pool.take();
        }
    }

    /// Makes a large tail a piece: what was written of it is kept until all of it is, and counts until then.
    pub(super) fn freeze_large(&mut self, pool: &Pool) {
        if self.tail.len() >= POOLED {
            let full = std::mem::take(&mut self.tail);
            self.push(full, pool);
        }
    }

    /// Queues bytes that other queues hold as well.
    pub(super) fn share(&mut self, bytes: Bytes, pool: &mut Pool) {
        // The first needs no buffer, however small it is: a fan-out to many owns none for each.
        let is_first = self.tail.capacity() == 0 && self.pieces.is_empty();
        if bytes.len() < SHARE_FROM && !is_first || bytes.is_empty() {
            self.prepare(pool);
            self.tail.extend_from_slice(&bytes);
            return;
        }
        self.freeze_large(pool);
        if !self.tail.is_empty() {
            let before = self.tail.split();
            self.push(before, pool);
        }
        self.pieces_len += bytes.len();
        self.pieces.push_back(bytes);
    }

    /// Queues what was the tail.
    fn push(&mut self, before: BytesMut, pool: &Pool) {
        let (counts, memory) = (before.len() >= SHARE_FROM, before.capacity());
        let before = before.freeze();
        let before = if counts { count(&pool.account, None, before, memory) } else { before };
        self.pieces_len += before.len();
        self.pieces.push_back(before);
    }

    /// Returns in how many places of memory the bytes lie.
    pub(super) fn pieces(&self) -> usize {
        self.pieces.len() + usize::from(!self.tail.is_empty())
    }

    /// Lists what is to be written next, in order, as far as there are slices for it; returns how many
    /// it took. What of it was written is told to [`SendQueue::written`].
    pub(super) fn gather<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let tail = Some(&self.tail[..]).filter(|tail| !tail.is_empty());
        let pieces = self.pieces.iter().map(|piece| &piece[..]).chain(tail);
        let mut count = 0;
        for (slice, piece) in slices.iter_mut().zip(pieces) {
            *slice = IoSlice::new(piece);
            count += 1;
        }
        count
    }

    /// Frees what the queue owns; a buffer of ordinary size goes back to the pool.
    pub(super) fn release(&mut self, pool: &mut Pool) {
        if self.is_empty() {
            self.pieces = VecDeque::new();
            pool.give(std::mem::take(&mut self.tail));
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Returns a copy of everything that waits.
    pub(super) fn to_vec(&self) -> Vec<u8> {
        let pieces = self.pieces.iter().map(|piece| &piece[..]).chain([&self.tail[..]]);
        pieces.flatten().copied().collect()
    }

    /// The bytes that come next, as many as lie together.
    pub(super) fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&self.tail, |piece| piece)
    }

    /// Takes that many bytes off the front.
    pub(super) fn written(&mut self, mut written: usize) {
        while let Some(first) = self.pieces.front_mut() {
            if written < first.len() {
                first.advance(written);
                self.pieces_len -= written;
                return;
            }
            written -= first.len();
            self.pieces_len -= first.len();
            self.pieces.pop_front();
        }
        self.tail.advance(written);
    }
}

/// Write buffers that wait for the next connection that has something to say.
#[derive(Debug, Default)]
pub(super) struct Pool {
    buffers: Vec<BytesMut>,
    account: Arc<Account>,
}

impl Pool {
    /// As many buffers as a turn of a busy worker uses at once; more are freed.
    const KEPT: usize = 256;
    /// A first size that holds a few dozen chat messages.
    const SIZE: usize = 4096;

    pub(super) fn new(account: &Arc<Account>) -> Self {
        Self { buffers: Vec::new(), account: Arc::clone(account) }
    }

    fn take(&mut self) -> BytesMut {
        self.buffers.pop().unwrap_or_else(|| BytesMut::with_capacity(Self::SIZE))
    }

    fn give(&mut self, mut buffer: BytesMut) {
        if buffer.capacity() == 0 || self.buffers.len() >= Self::KEPT {
            return;
        }
        buffer.clear();
        // A tail that was advanced lost its front; `reserve` gets it back without a copy.
        buffer.reserve(Self::SIZE);
        if buffer.capacity() <= POOLED {
            self.buffers.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A socket that takes `limit` bytes a call and `room` in all.
    struct Narrow {
        limit: usize,
        room: usize,
        got: Vec<u8>,
    }

    impl Narrow {
        /// Writes what it has room for; returns how much that was.
        fn take(&mut self, queue: &mut SendQueue) -> usize {
            let mut total = 0;
            loop {
                let mut slices = [IoSlice::new(&[]); PIECES];
                let count = queue.gather(&mut slices);
                let bytes: Vec<u8> =
                    slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
                let taken = bytes.len().min(self.limit).min(self.room);
                if taken == 0 {
                    return total;
                }
                self.room -= taken;
                self.got.extend_from_slice(&bytes[..taken]);
                queue.written(taken);
                total += taken;
            }
        }
    }

    fn filled() -> (SendQueue, Vec<u8>) {
        let mut queue = SendQueue::default();
        let mut expected = Vec::new();
        for (number, size) in [10, 600, 511, 512, 3000, 0, 1].into_iter().enumerate() {
            let bytes = vec![u8::try_from(number).expect("small"); size];
            expected.extend_from_slice(&bytes);
            if number % 2 == 0 {
                queue.tail().extend_from_slice(&bytes);
            } else {
                queue.share(bytes.into(), &mut Pool::default());
            }
        }
        (queue, expected)
    }

    #[test]
    fn every_way_to_be_cut_keeps_the_order() {
        for limit in [1, 7, 512, 100_000] {
            for room in [0, 1, 9, 10, 11, 700, 2000, 100_000] {
                let (mut queue, expected) = filled();
                let mut socket = Narrow { limit, room, got: Vec::new() };
                let written = socket.take(&mut queue);
                assert_eq!(written + queue.len(), expected.len());
                socket.room = usize::MAX;
                socket.take(&mut queue);
                assert_eq!(socket.got, expected);
                assert!(queue.is_empty());
            }
        }
    }

    #[test]
    fn a_released_queue_owns_nothing() {
        let mut pool = Pool::default();
        let (mut queue, _) = filled();
        let mut socket = Narrow { limit: usize::MAX, room: usize::MAX, got: Vec::new() };
        socket.take(&mut queue);
        queue.release(&mut pool);
        assert_eq!(queue.tail.capacity(), 0);
        assert_eq!(pool.buffers.len(), 1);
    }

    #[test]
    fn a_shared_message_that_comes_first_needs_no_buffer() {
        let mut pool = Pool::default();
        for size in [1, 100_000] {
            let mut queue = SendQueue::default();
            queue.share(vec![7; size].into(), &mut pool);
            assert_eq!((queue.tail.capacity(), queue.len(), queue.pieces()), (0, size, 1));
            // A small one behind it is copied, and they leave in order.
            queue.share(Bytes::from_static(b"x"), &mut pool);
            assert_eq!((queue.len(), queue.pieces()), (size + 1, 2));
            queue.written(size);
            assert_eq!(queue.chunk(), b"x");
        }
    }

    #[test]
    fn a_message_is_shared_from_its_size_on_and_an_empty_one_takes_no_place() {
        for (size, pieces) in [(SHARE_FROM - 1, 1), (SHARE_FROM, 2)] {
            let mut queue = SendQueue::default();
            queue.tail().extend_from_slice(b"before");
            queue.share(vec![7; size].into(), &mut Pool::default());
            assert_eq!((queue.len(), queue.pieces()), (6 + size, pieces));
        }
        let mut queue = SendQueue::default();
        queue.share(Bytes::new(), &mut Pool::default());
        assert!(queue.is_empty());
        assert_eq!((queue.pieces(), queue.chunk()), (0, &b""[..]));
    }

    #[test]
    fn a_large_tail_becomes_pieces_that_are_given_back_one_by_one() {
        let mut pool = Pool::default();
        let mut queue = SendQueue::default();
        for _ in 0..8 {
            queue.prepare(&mut pool);
            queue.tail().extend_from_slice(&vec![7; 40_000]);
        }
        assert_eq!((queue.len(), queue.pieces()), (320_000, 4));
        let all = pool.account.used();
        assert!(all > 240_000, "{all}");
        queue.written(80_000);
        assert_eq!(all - pool.account.used(), 80_128);
    }

    #[test]
    fn a_large_message_counts_until_its_last_byte_is_written() {
        let mut pool = Pool::default();
        let mut queue = SendQueue::default();
        queue.prepare(&mut pool);
        queue.tail().extend_from_slice(&vec![7; 10_000_000]);
        queue.freeze_large(&pool);
        queue.written(9_999_999);
        assert_eq!(queue.len(), 1);
        assert!(queue.held() + pool.account.used() >= 10_000_000, "it has all its memory");
        queue.written(1);
        assert_eq!((queue.held(), pool.account.used()), (0, 0));
    }

    #[test]
    fn as_many_pieces_are_gathered_as_there_are_slices_for() {
        let (queue, expected) = filled();
        assert_eq!(queue.to_vec(), expected);
        for room in 0..=queue.pieces() + 1 {
            let mut slices = vec![IoSlice::new(&[]); room];
            assert_eq!(queue.gather(&mut slices), room.min(queue.pieces()));
        }
    }

    #[test]
    fn the_pool_keeps_buffers_of_ordinary_size_and_so_many() {
        let mut pool = Pool::default();
        pool.give(BytesMut::new());
        pool.give(BytesMut::with_capacity(POOLED + 1));
        assert_eq!(pool.buffers.len(), 0, "nothing, and too much");
        pool.give(BytesMut::with_capacity(POOLED));
        assert_eq!((pool.buffers.len(), pool.take().capacity()), (1, POOLED));
        assert_eq!((pool.buffers.len(), pool.take().capacity()), (0, Pool::SIZE));
        for _ in 0..=Pool::KEPT {
            pool.give(BytesMut::with_capacity(Pool::SIZE));
        }
        assert_eq!(pool.buffers.len(), Pool::KEPT);
    }

    #[test]
    fn a_queue_takes_one_buffer_of_the_pool_and_gives_it_back_empty() {
        let mut pool = Pool::default();
        let mut queue = SendQueue::default();
        queue.prepare(&mut pool);
        queue.tail().extend_from_slice(b"waits");
        queue.release(&mut pool);
        assert_eq!((queue.len(), pool.buffers.len()), (5, 0), "it is in use");
        queue.prepare(&mut pool);
        assert_eq!(queue.chunk(), b"waits");
        queue.written(5);
        queue.release(&mut pool);
        assert_eq!((queue.tail.capacity(), pool.buffers.len()), (0, 1));
        assert!(pool.take().is_empty());
        let (mut queue, _) = filled();
        queue.clear();
        assert_eq!((queue.len(), queue.pieces()), (0, 0));
    }
}
