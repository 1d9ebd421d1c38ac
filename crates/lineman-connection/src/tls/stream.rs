//! TLS over an asynchronous stream, for connections that left the table: HTTP, and tests that connect by
//! themselves. Buffers are bounded and let go when they are empty.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::session::Session;
use crate::error::TlsError;

/// The most that is read at once: a whole record, with its header and protection.
const READ_SIZE: usize = 17 * 1024;

/// Sealed bytes that wait for the peer; then a write waits. Several records, so that they leave in one
/// system call.
const WRITE_LIMIT: usize = 64 * 1024;

/// The most plaintext one write takes: one record.
const WRITE_SIZE: usize = 16 * 1024;

/// A TLS connection over `S`. It makes the handshake if the session has not made it yet. Reads and
/// writes belong to one task: either may have to do the other's work beneath.
#[derive(Debug)]
pub(crate) struct Stream<S> {
    io: S,
    session: Session,
    /// Invariant: less than a record once `fresh` is false.
    input: BytesMut,
    plain: BytesMut,
    output: BytesMut,
    /// Whether `input` may hold whole records, for it was given to us.
    fresh: bool,
    /// Whether the peer has said that nothing more comes.
    closed: bool,
}

/// What a [`Stream`] was made of.
#[derive(Debug)]
pub(crate) struct Parts<S> {
    /// The stream beneath.
    pub(crate) io: S,
    /// The session.
    pub(crate) session: Session,
    /// What came and is not decrypted.
    pub(crate) undecrypted: BytesMut,
    /// Plaintext that is unread.
    pub(crate) unread: BytesMut,
    /// Sealed bytes that were not sent: they go first. Empty after a flush.
    pub(crate) unsent: BytesMut,
}

impl<S> Stream<S> {
    /// Returns the stream of a connection that begins, or goes on, with this session.
    pub(crate) fn new(parts: Parts<S>) -> Self {
        let Parts { io, session, undecrypted, unread, unsent } = parts;
        Self {
            io,
            session,
            input: undecrypted,
            plain: unread,
            output: unsent,
            fresh: true,
            closed: false,
        }
    }

    /// Takes it apart again, between any two reads and writes.
    pub(crate) fn into_parts(self) -> Parts<S> {
        Parts {
            io: self.io,
            session: self.session,
            undecrypted: self.input,
            unread: self.plain,
            unsent: self.output,
        }
    }

    /// Returns the stream beneath.
    pub(crate) fn beneath(&self) -> &S {
        &self.io
    }

    /// Returns the session.
    pub(crate) fn session(&self) -> &Session {
        &self.session
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream<S> {
    /// Makes the handshake; at once if it has been made.
    ///
    /// # Errors
    /// A [`TlsError`] inside, or what the stream beneath says.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(crate) async fn handshake(&mut self) -> io::Result<()> {
        std::future::poll_fn(|context| self.poll_handshake(context)).await
    }

    fn poll_handshake(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.session.is_established() {
            self.session.start(&mut self.output).map_err(failed)?;
        }
        while !self.session.is_established() {
            if self.closed || ready!(self.poll_fill(context))? == 0 {
                return Poll::Ready(Err(ended()));
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Sends what waits, then takes more from the peer; 0 is its end.
    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // What we have to say may be what the peer waits for. It need not be gone before we read.
        match self.poll_drain(context) {
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            // A peer that asks and never reads is not read either.
            Poll::Pending if self.output.len() >= WRITE_LIMIT => return Poll::Pending,
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
        let taken = if std::mem::take(&mut self.fresh) && !self.input.is_empty() {
            self.input.len()
        } else {
            self.input.reserve(READ_SIZE);
            let taken = ready!(self.poll_read_beneath(context))?;
            if taken == 0 {
                return Poll::Ready(Ok(0));
            }
            taken
        };
        let outcome = self.session.receive(&mut self.input, &mut self.plain, &mut self.output);
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
        // An alert should leave even if nothing is written any more.
        let drained = self.poll_drain(context);
        match outcome {
            Ok(received) => self.closed |= received.closed,
            Err(error) => return Poll::Ready(Err(failed(error))),
        }
        if let Poll::Ready(Err(error)) = drained {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(taken))
    }

    fn poll_read_beneath(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let polled =
            tokio_util::io::poll_read_buf(Pin::new(&mut self.io), context, &mut self.input);
        if polled.is_pending() && self.input.is_empty() {
            self.input = BytesMut::new();
        }
        polled
    }

    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.output.is_empty() {
            let sent = ready!(Pin::new(&mut self.io).poll_write(context, &self.output))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.output.advance(sent);
        }
        self.output = BytesMut::new();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.session.is_established() {
            ready!(this.poll_handshake(context))?;
        }
        while this.plain.is_empty() {
            if this.closed {
                return Poll::Ready(Ok(()));
            }
            // Without a farewell an attacker on the way may have cut it (RFC 8446 section 6.1).
            if ready!(this.poll_fill(context))? == 0 {
                return Poll::Ready(Err(ended()));
            }
        }
        let length = this.plain.len().min(buffer.remaining());
        buffer.put_slice(this.plain.get(..length).unwrap_or_default());
        this.plain.advance(length);
        if this.plain.is_empty() {
            this.plain = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if !this.session.is_established() {
            ready!(this.poll_handshake(context))?;
        }
        if this.output.len() >= WRITE_LIMIT {
            ready!(this.poll_drain(context))?;
        }
        let piece = buffer.get(..WRITE_SIZE).unwrap_or(buffer);
        this.session.seal(piece, &mut this.output).map_err(failed)?;
        Poll::Ready(Ok(piece.len()))
    }

    /// A head and the beginning of the body behind it become one record.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let total: usize = pieces.iter().map(|piece| piece.len()).sum();
        match pieces.iter().find(|piece| !piece.is_empty()) {
            Some(first) if first.len() < total.min(WRITE_SIZE) => {
                let mut record = Vec::with_capacity(total.min(WRITE_SIZE));
                for piece in pieces {
                    let room = WRITE_SIZE - record.len();
                    record.extend_from_slice(piece.get(..room).unwrap_or(piece));
                }
                self.poll_write(context, &record)
            }
            first => self.poll_write(context, first.map_or(&[], |first| first)),
        }
    }

    /// Else hyper copies an answer into a buffer of its own, where nothing counts it.
    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(context))?;
        Pin::new(&mut this.io).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.session.close_notify(&mut this.output);
        ready!(this.poll_drain(context))?;
        Pin::new(&mut this.io).poll_shutdown(context)
    }
}

fn failed(error: TlsError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the peer ended the connection without ending TLS")
}
