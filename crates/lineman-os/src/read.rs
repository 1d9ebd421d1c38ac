//! Reading into the spare room of a buffer, which safe code could only do by zeroing it first, and
//! watching a descriptor of our own from tokio.
#![expect(unsafe_code, reason = "uninitialised memory, and a descriptor that must stay open")]

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use bytes::{BufMut, BytesMut};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Reads once into the buffer's spare room; returns how many bytes that were. 0 is end of stream.
pub fn read_into(socket: impl AsFd, buffer: &mut BytesMut) -> io::Result<usize> {
    // SAFETY: the slice is only written to: rustix takes it as uninitialised memory.
    let room = unsafe { buffer.chunk_mut().as_uninit_slice_mut() };
    let (read, _) = rustix::io::read(socket, room)?;
    let count = read.len();
    // SAFETY: the kernel has initialised these bytes.
    unsafe { buffer.advance_mut(count) };
    Ok(count)
}

/// Watches a descriptor for being readable.
pub fn watch_readable(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the AsyncFd owns the descriptor, so it stays open as long as it is watched.
    let watched = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) };
    watched.map_err(io::Error::from)
}
