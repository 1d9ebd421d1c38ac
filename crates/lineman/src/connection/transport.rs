//! What carries a connection's bytes: its socket and, on connections that have them, the layers
//! between socket and protocol: a [`Prelude`] that comes before everything else, then TLS.
//!
//! A plain connection has no layers and pays eight bytes for them. What a layer has to say goes into
//! `sealed`, in the form the wire has; what waits in the entry's queue is sealed when it is flushed,
//! so the queue's bound counts what handlers sent.

use std::io::{self, Write};

use bytes::{Buf, BytesMut};

use super::queue::SendQueue;
use super::reading::READ_SIZE;
use super::stream::Stream;
use super::{Address, CloseReason};

/// A dialogue before TLS and before the protocol: the PROXY header of a load balancer, or our own
/// words to a proxy on the way out. It consumes its own bytes and not one more.
pub(crate) trait Prelude {
    /// Says what comes first.
    ///
    /// # Errors
    /// The reason the connection is closed for.
    fn start(&mut self, output: &mut BytesMut) -> Result<(), CloseReason> {
        let _ = output;
        Ok(())
    }

    /// Takes a step over `input`; `None` is "wait for more".
    ///
    /// # Errors
    /// The reason the connection is closed for.
    fn advance(
        &mut self,
        input: &mut BytesMut,
        output: &mut BytesMut,
    ) -> Result<Option<Passed>, CloseReason>;
}

/// What a prelude found out.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    /// The peer's real address, where a proxy told it.
    pub(crate) peer: Option<Address>,
}

/// A socket and its layers.
pub(crate) struct Transport {
    stream: Stream,
    layers: Option<Box<Layers>>,
}

struct Layers {
    prelude: Option<Box<dyn Prelude>>,
    /// Received and not understood yet: less than a record or a prelude's message.
    raw: BytesMut,
    /// In its wire form, to be written before anything else.
    sealed: BytesMut,
}

/// What one read came to.
#[derive(Debug, Default)]
pub(super) struct Received {
    /// Bytes off the wire; 0 is the end of the stream.
    pub(super) count: usize,
    /// Whether the kernel has given all it had.
    pub(super) short: bool,
    /// The layers are through: the protocol may begin.
    pub(super) up: bool,
    /// The peer's real address, as a proxy told it.
    pub(super) peer: Option<Address>,
}

/// Why a read failed.
pub(super) enum Failure {
    Io(io::Error),
    Close(CloseReason),
}

impl Transport {
    pub(crate) fn new(stream: Stream, prelude: Option<Box<dyn Prelude>>) -> Self {
        let layers = prelude.map(|prelude| {
            let (raw, sealed) = (BytesMut::new(), BytesMut::new());
            Box::new(Layers { prelude: Some(prelude), raw, sealed })
        });
        Self { stream, layers }
    }

    /// Takes the socket out, when there is nothing between it and the protocol any more.
    pub(crate) fn into_stream(self) -> Stream {
        self.stream
    }

    pub(crate) fn stream(&self) -> &Stream {
        &self.stream
    }

    pub(crate) fn stream_mut(&mut self) -> &mut Stream {
        &mut self.stream
    }

    /// Returns whether the protocol may speak at once.
    pub(super) fn is_up(&self) -> bool {
        self.layers.as_ref().is_none_or(|layers| layers.prelude.is_none())
    }

    /// The socket is connected: the first layer says its first words.
    pub(super) fn start(&mut self) -> Result<(), CloseReason> {
        let Some(layers) = &mut self.layers else { return Ok(()) };
        match &mut layers.prelude {
            Some(prelude) => prelude.start(&mut layers.sealed),
            None => Ok(()),
        }
    }

    /// Reads once, and appends what is the protocol's to `plain`. `raw` is an empty buffer to work in.
    pub(super) fn receive(
        &mut self,
        plain: &mut BytesMut,
        raw: &mut BytesMut,
    ) -> Result<Received, Failure> {
        let Some(layers) = &mut self.layers else { return read(&self.stream, plain) };
        raw.clear();
        raw.extend_from_slice(&layers.raw);
        let mut received = read(&self.stream, raw)?;
        let passed = layers.advance(raw, plain, &mut received);
        layers.raw = BytesMut::from(&raw[..]);
        raw.clear();
        passed.map_err(Failure::Close)?;
        if layers.is_spent() {
            self.layers = None;
        }
        Ok(received)
    }

    /// Writes what the layers have to say, then as much of the queue as the socket takes.
    pub(super) fn write(&mut self, queue: &mut SendQueue) -> io::Result<usize> {
        let Some(layers) = &mut self.layers else { return queue.write_to(&mut self.stream) };
        let mut total = 0;
        while !layers.sealed.is_empty() {
            match self.stream.write(&layers.sealed) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    layers.sealed.advance(written);
                    total += written;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(total),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        layers.sealed = BytesMut::new();
        if layers.is_spent() {
            self.layers = None;
            return Ok(total + queue.write_to(&mut self.stream)?);
        }
        Ok(total)
    }

    /// Returns how many bytes wait that are not in the queue any more.
    pub(super) fn pending(&self) -> usize {
        self.layers.as_ref().map_or(0, |layers| layers.sealed.len())
    }

    /// Returns how many bytes were received that the protocol has not got.
    pub(super) fn undecoded(&self) -> usize {
        self.layers.as_ref().map_or(0, |layers| layers.raw.len())
    }
}

impl Layers {
    fn advance(
        &mut self,
        raw: &mut BytesMut,
        plain: &mut BytesMut,
        received: &mut Received,
    ) -> Result<(), CloseReason> {
        if let Some(prelude) = &mut self.prelude {
            let Some(passed) = prelude.advance(raw, &mut self.sealed)? else { return Ok(()) };
            self.prelude = None;
            received.peer = passed.peer;
            received.up = true;
        }
        plain.unsplit(raw.split());
        Ok(())
    }

    /// Nothing is left to do between socket and protocol.
    fn is_spent(&self) -> bool {
        self.prelude.is_none() && self.raw.is_empty() && self.sealed.is_empty()
    }
}

fn read(stream: &Stream, buffer: &mut BytesMut) -> Result<Received, Failure> {
    buffer.reserve(READ_SIZE);
    let room = buffer.capacity() - buffer.len();
    loop {
        match crate::os::read_into(stream, buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Failure::Io(error)),
            Ok(count) => {
                return Ok(Received { count, short: count < room, ..Received::default() });
            }
        }
    }
}
