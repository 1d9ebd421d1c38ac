//! Reading into the spare room of a buffer, which safe code could only do by zeroing it first, asking
//! what a socket has not delivered, and watching a descriptor of our own from tokio.
#![expect(unsafe_code, reason = "uninitialised memory, an ioctl, a descriptor that must stay open")]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use nix::libc::{IPPROTO_TCP, TCP_INFO, TIOCOUTQ, c_int, getsockopt, socklen_t, tcp_info};
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

/// What the machine at the other end of a TCP connection has acknowledged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Acknowledgement {
    /// Something was sent that it has not acknowledged: data, or a probe of a silent connection or of a
    /// receive window that is closed. What waits behind a closed window is not sent.
    pub awaited: bool,
    /// The time since its last one, whatever it was about.
    pub last: Duration,
}

/// Returns what the machine at the other end of a TCP connection has acknowledged. It does so by itself: this
/// says nothing of the process there.
///
/// # Errors
/// The operating system's; the socket is not one of TCP.
pub fn acknowledgement(socket: impl AsFd) -> io::Result<Acknowledgement> {
    let mut info = MaybeUninit::<tcp_info>::zeroed();
    let mut length = socklen_t::try_from(size_of::<tcp_info>()).unwrap_or_default();
    let (descriptor, at) = (socket.as_fd().as_raw_fd(), info.as_mut_ptr());
    // SAFETY: the kernel writes at most `length` bytes, and the struct has as many.
    let result =
        unsafe { getsockopt(descriptor, IPPROTO_TCP, TCP_INFO, at.cast(), &raw mut length) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is all numbers, and those that an older kernel does not write are zero.
    let info = unsafe { info.assume_init() };
    Ok(Acknowledgement {
        awaited: info.tcpi_unacked > 0 || info.tcpi_probes > 0,
        last: Duration::from_millis(u64::from(info.tcpi_last_ack_recv)),
    })
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

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn what_has_arrived_is_not_awaited_though_it_is_not_read() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut other, _) = listener.accept().unwrap();
        one.write_all(b"unread").unwrap();
        // The answer carries the receipt, so that no delayed one is waited for.
        other.write_all(b"!").unwrap();
        one.read_exact(&mut [0]).unwrap();
        assert!(!acknowledgement(&one).unwrap().awaited);
        let (pair, _other) = UnixStream::pair().unwrap();
        acknowledgement(&pair).expect_err("not TCP");
    }
}
