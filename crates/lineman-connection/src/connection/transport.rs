//! What carries a connection's bytes: its socket and, on connections that have them, the layers
//! between socket and protocol: a [`Prelude`] that comes before everything else, then TLS.
//!
//! A plain connection has no layers and pays eight bytes for them. What a layer has to say goes into
//! `sealed`, in the form the wire has; what waits in the entry's queue is sealed when it is flushed,
//! so the queue's bound counts what handlers sent.

use std::io::{self, IoSlice};
use std::rc::Rc;

use bytes::{Buf, BytesMut};
use serde::{Deserialize, Serialize};

use super::queue::{PIECES, SendQueue};
use super::reading::READ_SIZE;
use super::stream::Stream;
use super::{Address, CannotMove, CloseReason};
use crate::tls::{self, Session, TlsError, TlsInfo};

/// Encrypted bytes that are made at once: as much as one write is likely to take.
const SEALED: usize = 64 * 1024;

/// What rustls owns while it shakes hands: 9 KB were measured behind a client's first message, and a client's
/// certificates may follow.
const HANDSHAKE: usize = 16 * 1024;

/// What encryption adds to four full records.
const RECORD_OVERHEAD: usize = 256;

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

/// What is between socket and protocol.
#[derive(Default)]
pub(crate) struct Layers {
    prelude: Option<Box<dyn Prelude>>,
    pub(crate) tls: Option<Session>,
    /// Received and not understood yet: less than a record or a prelude's message.
    pub(crate) raw: BytesMut,
    /// In its wire form, to be written before anything else.
    pub(crate) sealed: BytesMut,
}

/// Layers, written down: as secret as the connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SavedLayers {
    has_prelude: bool,
    /// Nothing of TLS has come.
    has_fresh_tls: bool,
    tls: Option<tls::SavedSession>,
    #[serde(with = "serde_bytes")]
    raw: Vec<u8>,
    #[serde(with = "serde_bytes")]
    sealed: Vec<u8>,
}

/// What one read came to.
#[derive(Debug, Default)]
pub(super) struct Received {
    /// Bytes off the wire; 0 is the end of the stream.
    pub(super) count: usize,
    /// Whether the kernel has given all it had.
    pub(super) short: bool,
    /// The layers are through: the protocol may begin, or go on.
    pub(super) up: bool,
    /// The peer has said, in TLS, that nothing more comes.
    pub(super) ended: bool,
    /// The peer's real address, as a proxy told it.
    pub(super) peer: Option<Address>,
}

/// Why a read failed.
pub(super) enum Failure {
    Io(io::Error),
    Close(CloseReason),
}

impl Transport {
    pub(crate) fn new(
        stream: Stream,
        prelude: Option<Box<dyn Prelude>>,
        tls: Option<Session>,
    ) -> Self {
        let has_layers = prelude.is_some() || tls.is_some();
        let layers = || Box::new(Layers { prelude, ..Layers::of_tls(tls) });
        Self { stream, layers: has_layers.then(layers) }
    }

    /// Takes it apart, for a connection that leaves the table: its socket, and the layers it still has.
    pub(crate) fn into_parts(self) -> (Stream, Option<Box<Layers>>) {
        (self.stream, self.layers)
    }

    /// Puts a connection that was served elsewhere together again.
    pub(crate) fn from_parts(stream: Stream, layers: Option<Layers>) -> Self {
        let layers = layers.filter(|layers| !layers.is_spent()).map(Box::new);
        Self { stream, layers }
    }

    /// Writes the layers down; `None` where there are none any more.
    pub(super) fn save(&self) -> Result<Option<SavedLayers>, CannotMove> {
        let Some(layers) = &self.layers else { return Ok(None) };
        let tls = match &layers.tls {
            Some(session) if session.is_fresh() => None,
            Some(session) => {
                Some(session.save().ok_or(CannotMove("its TLS handshake is under way"))?)
            }
            None => None,
        };
        // A layer that has consumed nothing is made anew, of the listener's settings.
        let has_prelude = layers.prelude.is_some();
        let has_fresh_tls = layers.tls.is_some() && tls.is_none();
        let (raw, sealed) = (layers.raw.to_vec(), layers.sealed.to_vec());
        Ok(Some(SavedLayers { has_prelude, has_fresh_tls, tls, raw, sealed }))
    }

    /// Goes on with the layers that were written down, over their socket. `fresh` makes those that
    /// begin; `None` if a layer is not understood.
    pub(super) fn restore(
        stream: Stream,
        saved: Option<SavedLayers>,
        fresh: impl FnOnce() -> (Option<Box<dyn Prelude>>, Option<Session>),
    ) -> Option<Self> {
        let Some(SavedLayers { has_prelude, has_fresh_tls, tls, raw, sealed }) = saved else {
            return Some(Self { stream, layers: None });
        };
        let (prelude, session) = fresh();
        let prelude = prelude.filter(|_| has_prelude);
        let session = match tls {
            Some(saved) => Some(Session::restore(saved)?),
            None => session.filter(|_| has_fresh_tls),
        };
        let (raw, sealed) = (BytesMut::from(&raw[..]), BytesMut::from(&sealed[..]));
        let layers = Layers { prelude, tls: session, raw, sealed };
        Some(Self::from_parts(stream, Some(layers)))
    }

    pub(crate) fn stream(&self) -> &Stream {
        &self.stream
    }

    pub(crate) fn stream_mut(&mut self) -> &mut Stream {
        &mut self.stream
    }

    /// Returns what TLS has agreed on.
    pub(crate) fn tls(&self) -> Option<&Rc<TlsInfo>> {
        self.layers.as_ref()?.tls.as_ref()?.info()
    }

    /// Returns whether TLS has begun, or is to.
    pub(super) fn has_tls(&self) -> bool {
        self.layers.as_ref().is_some_and(|layers| layers.tls.is_some())
    }

    /// Returns whether a server has to go on with the handshake of TLS.
    pub(super) fn awaits_server(&self) -> bool {
        let session = self.layers.as_ref().and_then(|layers| layers.tls.as_ref());
        session.is_some_and(Session::awaits_server)
    }

    /// Returns whether the protocol may speak at once.
    pub(super) fn is_up(&self) -> bool {
        self.layers.as_ref().is_none_or(|layers| layers.is_up())
    }

    /// The socket is connected: the first layer says its first words.
    pub(super) fn start(&mut self) -> Result<(), CloseReason> {
        match &mut self.layers {
            Some(layers) => layers.start(),
            None => Ok(()),
        }
    }

    /// Begins TLS in mid-stream. `plain` is what was read already and belongs to it, `queue` leaves as
    /// it is.
    pub(super) fn secure(
        &mut self,
        session: Session,
        plain: BytesMut,
        queue: &mut SendQueue,
    ) -> Result<(), CloseReason> {
        let layers = self.layers.get_or_insert_default();
        layers.tls = Some(session);
        layers.raw.unsplit(plain);
        while !queue.is_empty() {
            let chunk = queue.chunk();
            layers.sealed.extend_from_slice(chunk);
            let length = chunk.len();
            queue.written(length);
        }
        layers.start()
    }

    /// Takes everything that waits into the layers, in the wire's form: it leaves before what another
    /// server of the connection writes.
    pub(super) fn take_in(&mut self, queue: &mut SendQueue) -> io::Result<()> {
        if queue.is_empty() {
            return Ok(());
        }
        let layers = self.layers.get_or_insert_default();
        while !queue.is_empty() {
            let chunk = queue.chunk();
            if let Some(session) = &mut layers.tls {
                session.seal(chunk, &mut layers.sealed).map_err(io::Error::other)?;
            } else {
                layers.sealed.extend_from_slice(chunk);
            }
            let length = chunk.len();
            queue.written(length);
        }
        Ok(())
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
        layers.keep(raw);
        passed.map_err(Failure::Close)?;
        if layers.is_spent() {
            self.layers = None;
        }
        Ok(received)
    }

    /// As [`Transport::receive`], with what was read before and not understood yet.
    pub(super) fn receive_rest(&mut self, plain: &mut BytesMut) -> Result<Received, Failure> {
        let mut received = Received::default();
        if let Some(layers) = &mut self.layers {
            let mut raw = std::mem::take(&mut layers.raw);
            let passed = layers.advance(&mut raw, plain, &mut received);
            layers.keep(&mut raw);
            passed.map_err(Failure::Close)?;
        }
        Ok(received)
    }

    /// Writes what the layers have to say, then as much of the queue as the socket takes.
    pub(super) fn write(&mut self, queue: &mut SendQueue) -> io::Result<usize> {
        let mut total = 0;
        while self.prepare(queue)? {
            match self.write_once(queue) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    total += count;
                    self.written(queue, count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(total)
    }

    /// Brings what is to be written next into the form that the wire has; returns whether there is
    /// anything.
    fn prepare(&mut self, queue: &mut SendQueue) -> io::Result<bool> {
        let Some(layers) = &mut self.layers else { return Ok(!queue.is_empty()) };
        if !layers.sealed.is_empty() {
            return Ok(true);
        }
        layers.sealed = BytesMut::new();
        if layers.is_spent() {
            self.layers = None;
            return Ok(!queue.is_empty());
        }
        if !layers.is_up() || queue.is_empty() {
            return Ok(false);
        }
        layers.seal(queue)?;
        Ok(true)
    }

    /// Lists what is to be written next, after [`Transport::prepare`].
    fn gather<'a>(&'a self, queue: &'a SendQueue, slices: &mut [IoSlice<'a>]) -> usize {
        let Some(layers) = &self.layers else { return queue.gather(slices) };
        let Some(slice) = slices.first_mut() else { return 0 };
        *slice = IoSlice::new(&layers.sealed);
        1
    }

    /// So much of what was gathered is with the kernel.
    fn written(&mut self, queue: &mut SendQueue, count: usize) {
        match &mut self.layers {
            Some(layers) => layers.sealed.advance(count),
            None => queue.written(count),
        }
    }

    fn write_once(&self, queue: &SendQueue) -> io::Result<usize> {
        if self.layers.is_some() || queue.pieces() == 1 {
            let mut slice = [IoSlice::new(&[])];
            self.gather(queue, &mut slice);
            return self.stream.write(&slice[0]);
        }
        let mut slices = [IoSlice::new(&[]); PIECES];
        let count = self.gather(queue, &mut slices);
        self.stream.write_vectored(&slices[..count])
    }

    /// Says, in TLS, that nothing more comes; returns whether that waits to be written now.
    pub(super) fn end(&mut self) -> bool {
        let Some(layers) = &mut self.layers else { return false };
        if let Some(session) = &mut layers.tls {
            session.close_notify(&mut layers.sealed);
        }
        !layers.sealed.is_empty()
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

impl Transport {
    /// Returns how much memory the layers have for what came, a handshake under way included.
    pub(super) fn held(&self) -> usize {
        self.layers.as_ref().map_or(0, |layers| {
            let shakes_hands = layers.tls.as_ref().is_some_and(Session::is_shaking_hands);
            layers.raw.len() + if shakes_hands { HANDSHAKE } else { 0 }
        })
    }
}

impl Layers {
    /// Returns TLS alone, or nothing.
    pub(crate) fn of_tls(tls: Option<Session>) -> Self {
        Self { tls, ..Self::default() }
    }

    fn is_up(&self) -> bool {
        self.prelude.is_none() && self.tls.as_ref().is_none_or(Session::is_established)
    }

    /// Nothing is left to do between socket and protocol.
    fn is_spent(&self) -> bool {
        self.prelude.is_none()
            && self.tls.is_none()
            && self.raw.is_empty()
            && self.sealed.is_empty()
    }

    fn start(&mut self) -> Result<(), CloseReason> {
        match (&mut self.prelude, &mut self.tls) {
            (Some(prelude), _) => prelude.start(&mut self.sealed),
            (None, Some(session)) => {
                session.start(&mut self.sealed).map_err(|error| broken(&error))
            }
            (None, None) => Ok(()),
        }
    }

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
            received.up = self.tls.is_none();
            self.start()?;
        }
        let Some(session) = &mut self.tls else {
            plain.unsplit(raw.split());
            return Ok(());
        };
        let outcome = session.receive(raw, plain, &mut self.sealed);
        let found = outcome.map_err(|error| broken(&error))?;
        received.up |= found.established_now;
        received.ended = found.closed;
        Ok(())
    }

    /// Keeps what is less than a record, and no buffer for nothing.
    fn keep(&mut self, raw: &mut BytesMut) {
        self.raw = if raw.is_empty() { BytesMut::new() } else { BytesMut::from(&raw[..]) };
        raw.clear();
    }

    /// Encrypts a stretch of the queue: as much as one write is likely to take.
    fn seal(&mut self, queue: &mut SendQueue) -> io::Result<()> {
        let Some(session) = &mut self.tls else { return Ok(()) };
        self.sealed.reserve(queue.len().min(SEALED) + RECORD_OVERHEAD);
        while self.sealed.len() < SEALED && !queue.is_empty() {
            let chunk = queue.chunk();
            let length = chunk.len().min(SEALED);
            session.seal(&chunk[..length], &mut self.sealed).map_err(io::Error::other)?;
            queue.written(length);
        }
        Ok(())
    }
}

fn broken(error: &TlsError) -> CloseReason {
    CloseReason::Tls(error.to_string())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::state::State;

    /// What TLS costs an idle connection, beside what it has agreed on.
    #[test]
    fn idle_tls_owns_this_much_and_no_more() {
        let (layers, state) = (size_of::<Layers>(), size_of::<State>());
        assert!(layers + state <= 344, "{layers} + {state}");
    }
}
