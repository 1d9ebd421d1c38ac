//! The socket itself, beneath TLS: counts for the connection's row and the process's sums what passes
//! over the wire, as the table counts its own, and tells what is still on its way.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_util::either::Either;

use crate::connection::Guest;
use crate::tls;

/// What knows how much of what it wrote is on its way.
pub(super) trait Delivery {
    /// Returns how many bytes that were said have not arrived, our end as one of them.
    fn undelivered(&self) -> usize;
}

impl Delivery for TcpStream {
    fn undelivered(&self) -> usize {
        crate::os::undelivered(self).unwrap_or_default()
    }
}

impl Delivery for UnixStream {
    fn undelivered(&self) -> usize {
        crate::os::undelivered(self).unwrap_or_default()
    }
}

impl<S: Delivery> Delivery for Counted<S> {
    fn undelivered(&self) -> usize {
        self.inner.undelivered()
    }
}

impl<S: Delivery> Delivery for tls::Stream<S> {
    fn undelivered(&self) -> usize {
        self.beneath().undelivered()
    }
}

impl<L: Delivery, R: Delivery> Delivery for Either<L, R> {
    fn undelivered(&self) -> usize {
        match self {
            Self::Left(stream) => stream.undelivered(),
            Self::Right(stream) => stream.undelivered(),
        }
    }
}

pub(super) struct Counted<S> {
    inner: S,
    guest: Rc<Guest>,
}

impl<S> Counted<S> {
    pub(super) fn new(inner: S, guest: Rc<Guest>) -> Self {
        Self { inner, guest }
    }

    pub(super) fn into_inner(self) -> S {
        self.inner
    }

    fn note(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let count = ready!(written)?;
        self.guest.sent(count);
        Poll::Ready(Ok(count))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.inner).poll_read(context, buffer));
        self.guest.received(buffer.filled().len() - before);
        Poll::Ready(read)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(context, pieces);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
