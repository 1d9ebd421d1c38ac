//! The stream under hyper: gives what was read before first, tells the watch what passes, drops a
//! peer that takes nothing, and closes so that the last answer is not lost to a reset.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::counted::Delivery;
use super::pace::Pace;
use super::refusal;
use super::strict::Strict;
use super::watch::{Spoken, Watch};

/// How long the peer may go on sending after it has everything, our end too; the table's connections
/// linger as long. Without it, unread bytes of a refused body would reset the refusal away.
const LINGER: Duration = Duration::from_secs(1);

/// How often it is looked whether the last answer arrives, as for the table's connections.
const LOOK_LEAST: Duration = Duration::from_millis(10);
const LOOK_MOST: Duration = LINGER;

pub(super) struct Socket<S> {
    inner: S,
    /// What was read already, and is hyper's turn by turn.
    first: Bytes,
    /// What looks at requests of HTTP/1.
    strict: Option<Strict>,
    watch: Rc<Watch>,
    /// What is left of hyper's refusal, with its words.
    refusal: Bytes,
    /// How fast the peer takes an answer that waits.
    pace: Pace,
    /// Made when our side has ended.
    linger: Option<Linger>,
}

/// What is waited for behind the end of our side.
struct Linger {
    began: Instant,
    /// What had not arrived at the last look; `None` once everything has.
    left: Option<usize>,
    /// How fast it arrives.
    pace: Pace,
    /// The next look, or the end of the peer's time.
    timer: Pin<Box<Sleep>>,
}

/// How many bytes a write or a flush came to.
struct Taken(usize);

impl From<usize> for Taken {
    fn from(count: usize) -> Self {
        Self(count)
    }
}

impl From<()> for Taken {
    fn from((): ()) -> Self {
        Self(0)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    pub(super) fn new(inner: S, first: Bytes, watch: Rc<Watch>) -> Self {
        let strict = (watch.spoken == Spoken::Http1).then(Strict::default);
        let pace = Pace::new(watch.limits.answer_stall, watch.limits.answer_rate);
        Self { inner, first, strict, watch, refusal: Bytes::new(), pace, linger: None }
    }

    /// Returns the stream, and what of the first bytes is unread.
    pub(super) fn into_parts(self) -> (S, Bytes) {
        (self.inner, self.first)
    }

    /// Takes back what hyper is not to have yet of what was read, from the wire or of the first bytes.
    fn hold_back(&mut self, buffer: &mut ReadBuf<'_>, before: usize) {
        let Some(bytes) = buffer.filled_mut().get_mut(before..) else { return };
        let strict = self.strict.as_mut();
        let passed = strict.map_or(bytes.len(), |it| it.pass(bytes, &self.watch.framing));
        if !self.first.is_empty() {
            self.first.advance(passed);
        } else if passed < bytes.len() {
            self.first = Bytes::copy_from_slice(&bytes[passed..]);
        }
        buffer.set_filled(before + passed);
    }

    /// Returns whether what hyper writes may be its own refusal of a request.
    fn may_refuse(&self) -> bool {
        let strict = self.strict.as_ref();
        self.watch.is_between() && strict.is_some_and(|it| it.is_in_head(&self.watch.framing))
    }

    /// Writes hyper's refusal with its words; `None` where the bytes are none.
    fn poll_refusal(
        &mut self,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Option<Poll<io::Result<usize>>> {
        if self.refusal.is_empty() {
            let (before, refusal) = bytes.split_at(refusal::find(bytes)?);
            if !before.is_empty() {
                return Some(Pin::new(&mut self.inner).poll_write(context, before));
            }
            self.refusal = refusal::with_text(refusal);
        }
        while !self.refusal.is_empty() {
            match Pin::new(&mut self.inner).poll_write(context, &self.refusal) {
                Poll::Ready(Ok(count)) if count > 0 => self.refusal.advance(count),
                other => return Some(other),
            }
        }
        Some(Poll::Ready(Ok(bytes.len())))
    }

    /// Passes on what a write came to; one that waits has its deadline, and what follows it a rate.
    fn within_pace<T: Copy + Into<Taken>>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match written {
            Poll::Pending => {
                ready!(self.pace.poll_overdue(context));
                let problem = "the peer takes nothing, or too little";
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, problem)))
            }
            Poll::Ready(Ok(count)) => {
                // What the kernel takes before anything waits, the peer may never read.
                let Taken(bytes) = count.into();
                if self.pace.waits() || self.pace.passed() > 0 {
                    self.pace.went_on(bytes);
                }
                Poll::Ready(Ok(count))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        }
    }
}

impl<S: AsyncRead + Delivery + Unpin> Socket<S> {
    /// Throws away what the peer still sends, until it ends too or its time is over.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.poll_arrival(context).is_ready() {
            return Poll::Ready(());
        }
        loop {
            let mut space = [0; 4096];
            let mut space = ReadBuf::new(&mut space);
            let read = ready!(Pin::new(&mut self.inner).poll_read(context, &mut space));
            if read.is_err() || space.filled().is_empty() {
                return Poll::Ready(());
            }
        }
    }

    /// Looks how much of what was said has arrived: the peer may take its time as long as it takes
    /// something, and has a moment for its own end from when it has all.
    fn poll_arrival(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let linger = self.linger.get_or_insert_with(|| {
            let left = to_arrive(&self.inner);
            let first = if left == 0 { LINGER } else { LOOK_LEAST };
            let timer = Box::pin(sleep(first));
            // One of its own: hyper goes on flushing, which is progress to the other one.
            let pace = Pace::new(self.watch.limits.answer_stall, self.watch.limits.answer_rate);
            Linger { began: Instant::now(), left: (left > 0).then_some(left), pace, timer }
        });
        loop {
            ready!(linger.timer.as_mut().poll(context));
            let Some(before) = linger.left else { return Poll::Ready(()) };
            let left = to_arrive(&self.inner);
            linger.left = (left > 0).then_some(left);
            let next = if left == 0 {
                LINGER
            } else {
                if left < before {
                    linger.pace.went_on(before - left);
                }
                if linger.pace.poll_overdue(context).is_ready() {
                    self.watch.guest.end_cut();
                    return Poll::Ready(());
                }
                linger.began.elapsed().clamp(LOOK_LEAST, LOOK_MOST)
            };
            linger.timer.as_mut().reset(Instant::now() + next);
        }
    }
}

/// Returns how much of what was said has not arrived. Our end may be on its way for as long as the peer
/// has nothing to say: TCP delays its receipt.
fn to_arrive(stream: &impl Delivery) -> usize {
    stream.undelivered().saturating_sub(1)
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Socket<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        if this.first.is_empty() {
            ready!(Pin::new(&mut this.inner).poll_read(context, buffer))?;
        } else {
            let count = this.first.len().min(buffer.remaining());
            buffer.put_slice(&this.first[..count]);
        }
        if buffer.filled().len() > before {
            this.watch.received();
            this.hold_back(buffer, before);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Delivery + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.watch.writing();
        let refused = if this.may_refuse() { this.poll_refusal(context, bytes) } else { None };
        let written = match refused {
            Some(written) => written,
            None => Pin::new(&mut this.inner).poll_write(context, bytes),
        };
        this.within_pace(context, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.may_refuse()
            && let Some(piece) = pieces.iter().find(|piece| !piece.is_empty())
            && refusal::find(piece).is_some()
        {
            return self.poll_write(context, piece);
        }
        let this = self.get_mut();
        this.watch.writing();
        let written = Pin::new(&mut this.inner).poll_write_vectored(context, pieces);
        this.within_pace(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    /// hyper calls this when it has written all it had.
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.inner).poll_flush(context);
        let flushed = this.within_pace(context, flushed);
        if matches!(flushed, Poll::Ready(Ok(()))) {
            this.pace.restart();
            this.watch.written();
        }
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.watch.guest.closes();
        if this.linger.is_none() {
            let ended = Pin::new(&mut this.inner).poll_shutdown(context);
            ready!(this.within_pace(context, ended))?;
        }
        this.poll_linger(context).map(Ok)
    }
}
