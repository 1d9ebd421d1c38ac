//! Frames with descriptors over the socket pair of a handover: a length, a kind, a body, and the descriptors
//! with the first byte. Waiting is tokio's while both processes serve, and `poll(2)` while one stands still.
//! What a frame means is not known here.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::io::Interest;
use tokio::net::UnixStream;
use zeroize::Zeroizing;

use super::GivenUp;

/// The most descriptors that the kernel takes with one message: `SCM_MAX_FD`.
pub(super) const DESCRIPTORS: usize = 253;

/// The largest body: the record of one connection that has the largest queues, and a bound on what a process
/// takes from another one.
pub(super) const BODY: usize = 16 * 1024 * 1024;

/// Length and kind.
const HEAD: usize = 5;

/// What one end tells the other.
#[derive(Debug, Default)]
pub(super) struct Frame {
    pub(super) kind: u8,
    /// As secret as the connections that are in it.
    pub(super) body: Zeroizing<Vec<u8>>,
    pub(super) descriptors: Vec<OwnedFd>,
}

/// One end of the pair.
#[derive(Debug)]
pub(super) struct PairEnd {
    socket: UnixStream,
    /// Bytes that crossed, in both directions.
    pub(super) moved: u64,
    /// What has come of the next frame.
    incoming: Incoming,
}

/// How long a process that stands still has.
#[derive(Debug)]
pub(super) struct StillLimit {
    until: Instant,
    quiet: Duration,
    moved: Instant,
}

impl StillLimit {
    pub(super) fn new(still: Duration, quiet: Duration) -> Self {
        let now = Instant::now();
        Self { until: now + still, quiet, moved: now }
    }

    /// The other end has work to do before anything can come of it.
    pub(super) fn grant(&mut self, work: Duration) {
        self.quiet = self.quiet.saturating_add(work);
        self.renew();
    }

    /// Something moved.
    fn renew(&mut self) {
        self.moved = Instant::now();
    }

    /// Returns how long may be waited from now on.
    fn left(&self) -> Result<Duration, GivenUp> {
        let now = Instant::now();
        let (whole, quiet) = (
            self.until.saturating_duration_since(now),
            (self.moved + self.quiet).saturating_duration_since(now),
        );
        if whole.is_zero() {
            return Err(GivenUp::new("it stood still for as long as it may"));
        }
        if quiet.is_zero() {
            return Err(GivenUp::new("nothing moved for as long as it may stand still for that"));
        }
        Ok(whole.min(quiet))
    }
}

impl PairEnd {
    /// Takes an end; call it inside a runtime.
    pub(super) fn new(socket: OwnedFd) -> io::Result<Self> {
        let socket = std::os::unix::net::UnixStream::from(socket);
        socket.set_nonblocking(true)?;
        let socket = UnixStream::from_std(socket)?;
        Ok(Self { socket, moved: 0, incoming: Incoming::default() })
    }

    /// Sends a frame between turns of the loop.
    pub(super) async fn send(&mut self, frame: Frame) -> Result<(), GivenUp> {
        let mut leaving = Leaving::new(frame)?;
        while !leaving.advance(self)? {
            self.until(Interest::WRITABLE).await?;
        }
        Ok(())
    }

    /// Resolves when the kernel may have something, or room; the next call tells.
    async fn until(&self, wish: Interest) -> io::Result<()> {
        loop {
            self.socket.ready(wish).await?;
            let wish_now = if wish.is_writable() { PollFlags::OUT } else { PollFlags::IN };
            // What tokio knows may be old: this forgets it, unless it is so.
            let looked = self.socket.try_io(wish, || {
                let mut watched = [PollFd::new(&self.socket, wish_now)];
                let now = Timespec { tv_sec: 0, tv_nsec: 0 };
                match poll(&mut watched, Some(&now))? {
                    0 => Err(io::ErrorKind::WouldBlock.into()),
                    _ => Ok(()),
                }
            });
            match looked {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                looked => return looked,
            }
        }
    }

    /// Receives a frame between turns of the loop; `None` is the end of the stream.
    ///
    /// # Cancel safety
    /// What came of a frame is kept.
    pub(super) async fn receive(&mut self) -> Result<Option<Frame>, GivenUp> {
        loop {
            match self.advance()? {
                Arrived::Frame(frame) => return Ok(Some(frame)),
                Arrived::End => return Ok(None),
                Arrived::Nothing => {}
            }
            self.until(Interest::READABLE).await?;
        }
    }

    /// Receives a frame if it is there.
    pub(super) fn try_receive(&mut self) -> Result<Option<Frame>, GivenUp> {
        match self.advance()? {
            Arrived::Frame(frame) => Ok(Some(frame)),
            Arrived::Nothing => Ok(None),
            Arrived::End => Err(gone()),
        }
    }

    fn advance(&mut self) -> Result<Arrived, GivenUp> {
        let mut incoming = std::mem::take(&mut self.incoming);
        let arrived = incoming.advance(self);
        self.incoming = incoming;
        arrived
    }

    /// Sends a frame while nothing else goes on in this process.
    pub(super) fn send_still(
        &mut self,
        frame: Frame,
        limit: &mut StillLimit,
    ) -> Result<(), GivenUp> {
        let mut leaving = Leaving::new(frame)?;
        loop {
            let before = self.moved;
            let is_sent = leaving.advance(self)?;
            if self.moved > before {
                limit.renew();
            }
            if is_sent {
                return Ok(());
            }
            self.wait(PollFlags::OUT, limit)?;
        }
    }

    /// Receives a frame while nothing else goes on in this process.
    pub(super) fn receive_still(&mut self, limit: &mut StillLimit) -> Result<Frame, GivenUp> {
        loop {
            let before = self.moved;
            let arrived = self.advance()?;
            if self.moved > before {
                limit.renew();
            }
            match arrived {
                Arrived::Frame(frame) => return Ok(frame),
                Arrived::End => return Err(gone()),
                Arrived::Nothing => self.wait(PollFlags::IN, limit)?,
            }
        }
    }

    /// Sends a part of a head and nothing behind it, as a process would that ends there.
    pub(super) fn cut_off(&self) {
        let sent = rustix::net::send(&self.socket, &[0, 0], SendFlags::NOSIGNAL);
        let ended = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
        tracing::debug!(?sent, ?ended, "cut off");
    }

    fn wait(&self, wish: PollFlags, limit: &StillLimit) -> Result<(), GivenUp> {
        let left = Timespec::try_from(limit.left()?).map_err(io::Error::other)?;
        let mut watched = [PollFd::new(&self.socket, wish)];
        match poll(&mut watched, Some(&left)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(io::Error::from(error).into()),
        }
    }
}

fn gone() -> GivenUp {
    GivenUp::new("the other process is gone")
}

/// A frame on its way out.
struct Leaving {
    head: [u8; HEAD],
    frame: Frame,
    sent: usize,
}

impl Leaving {
    fn new(frame: Frame) -> Result<Self, GivenUp> {
        let length = u32::try_from(frame.body.len()).ok().filter(|&it| it as usize <= BODY);
        let length = length.ok_or_else(|| GivenUp::new("a frame is larger than may be"))?;
        let [a, b, c, d] = length.to_be_bytes();
        Ok(Self { head: [a, b, c, d, frame.kind], frame, sent: 0 })
    }

    /// Sends what the kernel takes; returns whether that was all.
    fn advance(&mut self, pair: &mut PairEnd) -> Result<bool, GivenUp> {
        while self.sent < HEAD + self.frame.body.len() {
            let head = self.head.get(self.sent..).unwrap_or_default();
            let body = self.frame.body.get(self.sent.saturating_sub(HEAD)..).unwrap_or_default();
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            let rights: Vec<_> = self.frame.descriptors.iter().map(|it| it.as_fd()).collect();
            if !rights.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(&rights)) {
                return Err(GivenUp::new("more descriptors are in a frame than may be"));
            }
            let pieces = [IoSlice::new(head), IoSlice::new(body)];
            match sendmsg(&pair.socket, &pieces, &mut ancillary, SendFlags::NOSIGNAL) {
                Ok(count) => {
                    self.sent += count;
                    pair.moved += count as u64;
                    drop(rights);
                    // They went with the first byte.
                    self.frame.descriptors.clear();
                }
                Err(Errno::AGAIN) => return Ok(false),
                Err(Errno::INTR) => {}
                Err(error) => return Err(io::Error::from(error).into()),
            }
        }
        Ok(true)
    }
}

/// A frame on its way in. It never reads beyond its own end, so that descriptors are of its frame.
#[derive(Debug, Default)]
struct Incoming {
    head: [u8; HEAD],
    came: usize,
    frame: Frame,
}

enum Arrived {
    Frame(Frame),
    Nothing,
    End,
}

impl Incoming {
    fn advance(&mut self, pair: &mut PairEnd) -> Result<Arrived, GivenUp> {
        loop {
            let in_head = self.came < HEAD;
            if !in_head && self.came - HEAD == self.frame.body.len() {
                self.came = 0;
                return Ok(Arrived::Frame(std::mem::take(&mut self.frame)));
            }
            let room = if in_head {
                self.head.get_mut(self.came..)
            } else {
                self.frame.body.get_mut(self.came - HEAD..)
            };
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let mut into = [IoSliceMut::new(room.unwrap_or_default())];
            let flags = RecvFlags::CMSG_CLOEXEC;
            let received = match recvmsg(&pair.socket, &mut into, &mut ancillary, flags) {
                Ok(received) => received,
                Err(Errno::AGAIN) => return Ok(Arrived::Nothing),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(io::Error::from(error).into()),
            };
            for message in ancillary.drain() {
                if let RecvAncillaryMessage::ScmRights(rights) = message {
                    self.frame.descriptors.extend(rights);
                }
            }
            if received.flags.contains(ReturnFlags::CTRUNC) {
                return Err(GivenUp::new(
                    "this process has no room for more descriptors (hint: `ulimit -n`)",
                ));
            }
            if received.bytes == 0 {
                let within = self.came > 0;
                let cut = || GivenUp::new("the other process is gone, within a frame");
                return if within { Err(cut()) } else { Ok(Arrived::End) };
            }
            self.came += received.bytes;
            pair.moved += received.bytes as u64;
            if in_head && self.came == HEAD {
                self.begin_body()?;
            }
        }
    }

    fn begin_body(&mut self) -> Result<(), GivenUp> {
        let [length @ .., kind] = self.head;
        let length = u32::from_be_bytes(length) as usize;
        if length > BODY {
            return Err(GivenUp::new("a frame says that it is larger than may be"));
        }
        self.frame.kind = kind;
        self.frame.body = Zeroizing::new(vec![0; length]);
        Ok(())
    }
}
