//! The stream under hyper: gives what was read before first, tells the watch what passes, drops a
//! peer that takes nothing, and closes so that the last answer is not lost to a reset.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::watch::Watch;
use crate::limit::finite;

/// How long the peer may go on sending after we have ended our side; the table's connections linger
/// as long. Without it, unread bytes of a refused body would reset the refusal away.
const LINGER: Duration = Duration::from_secs(1);

pub(super) struct Socket<S> {
    inner: S,
    /// What was read already.
    first: Bytes,
    watch: Rc<Watch>,
    /// Made when it is first needed: most connections never wait to write.
    timer: Option<Pin<Box<Sleep>>>,
    waits: Waits,
}

/// What the timer runs for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waits {
    Nothing,
    ForRoom,
    ForTheEnd,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    pub(super) fn new(inner: S, first: Bytes, watch: Rc<Watch>) -> Self {
        Self { inner, first, watch, timer: None, waits: Waits::Nothing }
    }

    /// Returns the stream, and what of the first bytes is unread.
    pub(super) fn into_parts(self) -> (S, Bytes) {
        (self.inner, self.first)
    }

    fn start_timer(&mut self, waits: Waits, limit: Duration) {
        if self.waits == waits {
            return;
        }
        self.waits = waits;
        match &mut self.timer {
            Some(timer) => timer.as_mut().reset(Instant::now() + finite(limit)),
            None => self.timer = Some(Box::pin(sleep(limit))),
        }
    }

    fn poll_timer(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.timer {
            Some(timer) => timer.as_mut().poll(context),
            None => Poll::Pending,
        }
    }

    /// Passes on what a write came to; one that waits has its deadline.
    fn within_stall<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            // hyper flushes again before each step of the shutdown: that must not begin it anew.
            if self.waits == Waits::ForRoom {
                self.waits = Waits::Nothing;
            }
            return written;
        }
        self.start_timer(Waits::ForRoom, self.watch.limits.answer_stall);
        ready!(self.poll_timer(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer takes nothing")))
    }

    /// Throws away what the peer still sends, until it ends too.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.start_timer(Waits::ForTheEnd, LINGER);
        if self.poll_timer(context).is_ready() {
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
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Socket<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.first.is_empty() {
            let count = this.first.len().min(buffer.remaining());
            buffer.put_slice(&this.first[..count]);
            this.first.advance(count);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut this.inner).poll_read(context, buffer));
        if buffer.filled().len() > before {
            this.watch.received();
        }
        Poll::Ready(read)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.watch.writing();
        let written = Pin::new(&mut this.inner).poll_write(context, bytes);
        this.within_stall(context, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.watch.writing();
        let written = Pin::new(&mut this.inner).poll_write_vectored(context, pieces);
        this.within_stall(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    /// hyper calls this when it has written all it had.
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.inner).poll_flush(context);
        let flushed = this.within_stall(context, flushed);
        if matches!(flushed, Poll::Ready(Ok(()))) {
            this.watch.written();
        }
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.watch.guest.closes();
        if this.waits != Waits::ForTheEnd {
            let ended = Pin::new(&mut this.inner).poll_shutdown(context);
            ready!(this.within_stall(context, ended))?;
        }
        this.poll_linger(context).map(Ok)
    }
}
