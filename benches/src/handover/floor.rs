//! The floor of a handover: descriptors of sockets with 200 bytes each, over a socket pair to a process that
//! puts them into a poll set. No formats, no tables, and no clients meanwhile.

use std::io::{IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, ensure};
use mio::unix::SourceFd;
use mio::{Interest, Poll, Token};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// Bytes that go with each.
const RECORD: usize = 200;

/// The most descriptors that the kernel takes at once.
const BATCH: usize = 253;

/// Returns the microseconds for each of so many descriptors, until the other process has them all.
pub(crate) fn measure(count: usize) -> anyhow::Result<f64> {
    let mut sockets: Vec<OwnedFd> = Vec::new();
    while sockets.len() < count {
        let (one, other) = UnixStream::pair()?;
        sockets.extend([one.into(), other.into()]);
    }
    sockets.truncate(count);
    let (mut own, other) = UnixStream::pair()?;
    let mut child = Command::new(std::env::current_exe()?)
        .args(["move-floor", &count.to_string()])
        .stdin(Stdio::from(OwnedFd::from(other)))
        .spawn()?;
    own.read_exact(&mut [0]).context("the floor did not start")?;
    let began = Instant::now();
    for batch in sockets.chunks(BATCH) {
        let bytes = vec![7; batch.len() * RECORD];
        let rights: Vec<_> = batch.iter().map(|socket| socket.as_fd()).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        ensure!(ancillary.push(SendAncillaryMessage::ScmRights(&rights)), "too many descriptors");
        let sent = sendmsg(&own, &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::NOSIGNAL)?;
        own.write_all(bytes.get(sent..).unwrap_or_default())?;
    }
    own.read_exact(&mut [0]).context("the floor did not end")?;
    let time = began.elapsed();
    child.wait()?;
    #[expect(clippy::cast_precision_loss, reason = "a count of connections")]
    Ok(time.as_secs_f64() * 1e6 / count as f64)
}

/// The process at the other end: the pair is its standard input.
pub(crate) fn receive(count: usize) -> anyhow::Result<()> {
    let mut pair = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let poll = Poll::new()?;
    let (mut sockets, mut records): (Vec<OwnedFd>, Vec<u8>) = (Vec::new(), Vec::new());
    let mut scratch = vec![0; BATCH * RECORD];
    pair.write_all(&[1])?;
    while records.len() < count * RECORD {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut room = [IoSliceMut::new(&mut scratch)];
        let received = recvmsg(&pair, &mut room, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
        ensure!(received.bytes > 0, "the pair has ended");
        for message in ancillary.drain() {
            let RecvAncillaryMessage::ScmRights(rights) = message else { continue };
            for socket in rights {
                let interest = Interest::READABLE | Interest::WRITABLE;
                let token = Token(sockets.len());
                poll.registry().register(&mut SourceFd(&socket.as_raw_fd()), token, interest)?;
                sockets.push(socket);
            }
        }
        records.extend_from_slice(&scratch[..received.bytes]);
    }
    ensure!(sockets.len() == count, "{} descriptors came of {count}", sockets.len());
    pair.write_all(&[1])?;
    Ok(())
}
