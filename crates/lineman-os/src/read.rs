//! Reading into the spare room of a buffer, which safe code could only do by zeroing it first, asking
//! what a socket has not delivered, and watching a descriptor of our own from tokio.
#![expect(unsafe_code, reason = "uninitialised memory, an ioctl, a descriptor that must stay open")]

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use bytes::{BufMut, BytesMut};
use nix::libc::{TIOCOUTQ, c_int};
use rustix::ioctl::{Getter, Opcode, ioctl};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Asks how much of a socket's queue has not left.
#[expect(clippy::cast_possible_truncation, reason = "an ioctl's opcode has 32 bits")]
const OUT_QUEUE: Opcode = TIOCOUTQ as Opcode;

/// Reads once into the buffer's spare room; returns how many bytes that were. 0 is end of stream.
///
/// # Errors
/// The operating system's; `WouldBlock` when nothing is there.
pub fn read_into(socket: impl AsFd, buffer: &mut BytesMut) -> io::Result<usize> {
    // SAFETY: the slice is only written to: rustix takes it as uninitialised memory.
    let room = unsafe { buffer.chunk_mut().as_uninit_slice_mut() };
    let (read, _) = rustix::io::read(socket, room)?;
    let count = read.len();
    // SAFETY: the kernel has initialised these bytes.
    unsafe { buffer.advance_mut(count) };
    Ok(count)
}

/// Returns how many bytes of a stream socket are on their way: over TCP those that the peer's machine has
/// not acknowledged, our end of the stream among them as one; over a Unix socket, those that the peer has
/// not read, with what the kernel spends on them.
///
/// # Errors
/// The operating system's.
pub fn undelivered(socket: impl AsFd) -> io::Result<usize> {
    // SAFETY: this request stores an int, as the getter says.
    let count = unsafe {
        let getter = Getter::<OUT_QUEUE, c_int>::new();
        ioctl(socket, getter)
    }?;
    Ok(usize::try_from(count).unwrap_or_default())
}

/// Watches a descriptor for being readable.
///
/// # Errors
/// When the descriptor cannot be put into the runtime's poll set.
pub fn watch_readable(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the AsyncFd owns the descriptor, so it stays open as long as it is watched.
    let watched = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) };
    watched.map_err(io::Error::from)
}
