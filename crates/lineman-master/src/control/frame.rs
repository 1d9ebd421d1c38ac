//! Frames on the socket pair between master and worker: a length that counts itself, then JSON. A
//! frame may carry a descriptor.
//!
//! Used by `master` and `process`. A send never waits: what the kernel does not take is queued up to
//! a bound, and beyond it the send is refused.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use bytes::{Buf as _, BytesMut};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::Notify;

use super::carry;

const PREFIX: usize = 4;

/// The largest frame: 512 rows of `connections` are about 150 KB, and a length beyond this is no
/// length but a sign that the two ends lost step.
pub(crate) const MAX_FRAME: usize = 4 * 1024 * 1024;

/// How long the kernel gets to have memory again.
const MOMENT: Duration = Duration::from_millis(50);

/// The most unsent bytes: two of the largest frames. A peer that lets it come to this has stopped
/// reading, and what it is told further would only tell it again.
const MAX_QUEUED: usize = 2 * MAX_FRAME;

/// Bytes read at once: most messages are far smaller, a slice of rows takes a few reads.
const READ: usize = 16 * 1024;

/// The most descriptors that wait for the message they came with. A peer that sends more is none of
/// ours.
const MAX_DESCRIPTORS: usize = 64;

/// Returns the two halves of one end of the pair: it receives `In` and sends `Out`.
pub(crate) fn halves<In, Out>(stream: UnixStream) -> (Inbox<In>, Outbox<Out>) {
    let stream = Arc::new(stream);
    let inbox = Inbox {
        stream: Arc::clone(&stream),
        buffer: BytesMut::new(),
        descriptors: VecDeque::new(),
        room: None,
        message: PhantomData,
    };
    let shared = SharedOutbox { stream, queued: Mutex::default(), wake: Notify::new() };
    (inbox, Outbox { shared: Arc::new(shared), message: PhantomData })
}

/// As [`halves`], with bytes that were read before and were no whole message.
pub(crate) fn halves_with<In, Out>(stream: UnixStream, unread: &[u8]) -> (Inbox<In>, Outbox<Out>) {
    let (mut inbox, outbox) = halves(stream);
    inbox.buffer.extend_from_slice(unread);
    (inbox, outbox)
}

pub(crate) struct Inbox<In> {
    stream: Arc<UnixStream>,
    buffer: BytesMut,
    /// Those that came and were not taken yet; `None` is one that was lost.
    descriptors: VecDeque<Option<OwnedFd>>,
    /// Keeps room for the next one: a process at its limit of open files must still be able to take
    /// a listener or a log file.
    room: Option<OwnedFd>,
    message: PhantomData<fn() -> In>,
}

impl<In: DeserializeOwned> Inbox<In> {
    /// Returns the next message, or `None` when the other process is gone.
    ///
    /// # Cancel safety
    /// Nothing is lost: what was read stays in the buffer.
    pub(crate) async fn next(&mut self) -> io::Result<Option<In>> {
        loop {
            if let Some(message) = decode(&mut self.buffer)? {
                return Ok(Some(message));
            }
            if self.room.is_none() {
                self.room = self.stream.as_fd().try_clone_to_owned().ok();
            }
            self.stream.readable().await?;
            match self.receive() {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // The other end died with bytes of ours unread.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                // The other end is well, and must not be taken for gone.
                Err(error) if lineman_os::passes(&error) => tokio::time::sleep(MOMENT).await,
                Err(error) => return Err(error),
            }
        }
    }

    /// Returns what was read and is no whole message yet.
    pub(crate) fn unread(&self) -> &[u8] {
        &self.buffer
    }

    /// Takes the descriptor that the last message carried, if it carried one that could be
    /// received: the reader of such a message takes it at once, so that the next one's is not taken for it.
    pub(crate) fn descriptor(&mut self) -> Option<OwnedFd> {
        self.descriptors.pop_front().flatten()
    }

    fn receive(&mut self) -> io::Result<usize> {
        let mut bytes = [0; READ];
        let (stream, descriptors) = (&self.stream, &mut self.descriptors);
        let room = &mut self.room;
        let received = stream.try_io(Interest::READABLE, || {
            *room = None;
            Ok(carry::receive(stream.as_fd(), &mut bytes, descriptors)?)
        })?;
        self.buffer.extend_from_slice(&bytes[..received]);
        if descriptors.len() > MAX_DESCRIPTORS {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "descriptors without messages"));
        }
        Ok(received)
    }
}

impl<In> fmt::Debug for Inbox<In> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Inbox")
            .field("buffered", &self.buffer.len())
            .finish_non_exhaustive()
    }
}

/// Why a message was not sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// The other process does not read: the queue is at its bound. The message is dropped; a worker
    /// in this state is seen as busy, and one that was told to leave is killed after its limit.
    #[error("the queue to the other process is full")]
    Full,
    /// The other process is gone, or the message cannot be written down.
    #[error("{0}")]
    Broken(#[from] io::Error),
}

/// The sending half; its copies share one queue.
pub(crate) struct Outbox<Out> {
    shared: Arc<SharedOutbox>,
    message: PhantomData<fn(Out)>,
}

struct SharedOutbox {
    stream: Arc<UnixStream>,
    queued: Mutex<Unsent>,
    wake: Notify,
}

/// What the kernel has not taken yet.
#[derive(Default)]
struct Unsent {
    bytes: BytesMut,
    /// Descriptors, each with the place in `bytes` of the frame that carries it.
    carried: VecDeque<(usize, OwnedFd)>,
}

impl Unsent {
    /// Sends as much as one call may: up to the next frame that carries something.
    fn send(&mut self, stream: &UnixStream) -> Result<(), Errno> {
        let mut places = self.carried.iter();
        let (descriptor, end) = match places.next() {
            Some((0, descriptor)) => {
                (Some(descriptor.as_fd()), places.next().map(|(place, _)| *place))
            }
            Some((place, _)) => (None, Some(*place)),
            None => (None, None),
        };
        let end = end.unwrap_or(self.bytes.len());
        let sent = carry::send(stream, &self.bytes[..end], descriptor)?;
        if descriptor.is_some() && sent > 0 {
            self.carried.pop_front();
        }
        self.bytes.advance(sent);
        for (place, _) in &mut self.carried {
            *place -= sent;
        }
        Ok(())
    }
}

impl<Out> Clone for Outbox<Out> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), message: PhantomData }
    }
}

impl<Out> fmt::Debug for Outbox<Out> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Outbox").finish_non_exhaustive()
    }
}

impl<Out: Serialize> Outbox<Out> {
    /// Sends a message without waiting.
    ///
    /// # Errors
    /// See [`Refused`].
    pub(crate) fn send(&self, message: &Out) -> Result<(), Refused> {
        let queued = self.shared.queued.lock().unwrap_or_else(PoisonError::into_inner);
        self.send_into(queued, message, None)
    }

    /// Sends a message that carries a descriptor, without waiting.
    ///
    /// # Errors
    /// See [`Refused`]; the descriptor is closed then.
    pub(crate) fn send_with(&self, message: &Out, carried: OwnedFd) -> Result<(), Refused> {
        let queued = self.shared.queued.lock().unwrap_or_else(PoisonError::into_inner);
        self.send_into(queued, message, Some(carried))
    }

    /// Sends a message from a panic hook: whatever thread panicked, in whatever state, this neither
    /// deadlocks nor waits longer than `limit` for the kernel to take it.
    pub(crate) fn send_last(&self, message: &Out, limit: Duration) -> Result<(), Refused> {
        let queued = match self.shared.queued.try_lock() {
            Ok(queued) => queued,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(Refused::Full),
        };
        self.send_into(queued, message, None)?;
        self.flush_within(limit)?;
        Ok(())
    }

    /// Waits in a blocking way, `limit` at most, until the kernel has taken everything.
    pub(crate) fn flush_within(&self, limit: Duration) -> io::Result<()> {
        let end = Instant::now() + limit;
        let mut queued = self.shared.queued.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match self.shared.flush(&mut queued) {
                Err(error) if lineman_os::passes(&error) => std::thread::sleep(MOMENT.min(limit)),
                flushed => flushed?,
            }
            let left = end.saturating_duration_since(Instant::now());
            if queued.bytes.is_empty() || left.is_zero() {
                return Ok(());
            }
            let mut waiting = [PollFd::new(&*self.shared.stream, PollFlags::OUT)];
            let left = Timespec::try_from(left).map_err(io::Error::other)?;
            match poll(&mut waiting, Some(&left)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::NOMEM) => std::thread::sleep(MOMENT.min(limit)),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Returns whether the kernel has taken everything.
    pub(crate) fn is_flushed(&self) -> bool {
        self.shared.queued.lock().unwrap_or_else(PoisonError::into_inner).bytes.is_empty()
    }

    /// Returns a descriptor of the socket that stays open across an execution.
    pub(crate) fn keep(&self) -> io::Result<OwnedFd> {
        Ok(rustix::io::dup(self.shared.stream.as_fd())?)
    }

    fn send_into(
        &self,
        mut queued: MutexGuard<'_, Unsent>,
        message: &Out,
        carried: Option<OwnedFd>,
    ) -> Result<(), Refused> {
        if queued.bytes.len() > MAX_QUEUED {
            return Err(Refused::Full);
        }
        let place = queued.bytes.len();
        encode(message, &mut queued.bytes)?;
        queued.carried.extend(carried.map(|descriptor| (place, descriptor)));
        match self.shared.flush(&mut queued) {
            // It stays queued, and the pump tries again.
            Err(error) if lineman_os::passes(&error) => {}
            flushed => flushed?,
        }
        if !queued.bytes.is_empty() {
            self.shared.wake.notify_one();
        }
        Ok(())
    }

    /// Writes what `send` had to queue, as the kernel takes it; a task of its own runs this.
    pub(crate) async fn pump(self) -> io::Result<()> {
        loop {
            self.shared.wake.notified().await;
            loop {
                self.shared.stream.writable().await?;
                let flushed = self.shared.stream.try_io(Interest::WRITABLE, || {
                    let mut queued =
                        self.shared.queued.lock().unwrap_or_else(PoisonError::into_inner);
                    self.shared.flush(&mut queued)?;
                    if queued.bytes.is_empty() {
                        Ok(())
                    } else {
                        Err(io::ErrorKind::WouldBlock.into())
                    }
                });
                match flushed {
                    Ok(()) => break,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) if lineman_os::passes(&error) => tokio::time::sleep(MOMENT).await,
                    Err(error) => return Err(error),
                }
            }
        }
    }
}

impl SharedOutbox {
    fn flush(&self, queued: &mut Unsent) -> io::Result<()> {
        while !queued.bytes.is_empty() {
            // Straight to the kernel rather than through tokio's readiness: a panic hook calls this
            // on any thread, with or without a runtime.
            match queued.send(&self.stream) {
                Ok(()) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(error) => {
                    let error = io::Error::from(error);
                    if !lineman_os::passes(&error) {
                        *queued = Unsent::default();
                    }
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

pub(crate) fn encode<M: Serialize>(message: &M, buffer: &mut BytesMut) -> io::Result<()> {
    let body = serde_json::to_vec(message)?;
    let length = body.len() + PREFIX;
    let prefix = u32::try_from(length).ok().filter(|_| length <= MAX_FRAME);
    let prefix = prefix.ok_or_else(|| invalid(length))?;
    buffer.extend_from_slice(&prefix.to_be_bytes());
    buffer.extend_from_slice(&body);
    Ok(())
}

pub(crate) fn decode<M: DeserializeOwned>(buffer: &mut BytesMut) -> io::Result<Option<M>> {
    let Some(prefix) = buffer.first_chunk::<PREFIX>() else { return Ok(None) };
    let length = u32::from_be_bytes(*prefix) as usize;
    if !(PREFIX..=MAX_FRAME).contains(&length) {
        return Err(invalid(length));
    }
    if buffer.len() < length {
        return Ok(None);
    }
    let frame = buffer.split_to(length);
    // A burst of rows must not pin its buffer for the process's life.
    if buffer.is_empty() {
        *buffer = BytesMut::new();
    }
    Ok(Some(serde_json::from_slice(&frame[PREFIX..])?))
}

fn invalid(length: usize) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("a control frame of {length} bytes"))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Seek as _, Write as _};

    use super::*;

    #[test]
    fn a_frame_may_arrive_in_any_pieces() {
        let mut wire = BytesMut::new();
        encode(&"first".to_owned(), &mut wire).unwrap();
        encode(&"second".to_owned(), &mut wire).unwrap();
        let (mut buffer, mut heard) = (BytesMut::new(), Vec::new());
        for byte in &wire {
            buffer.extend_from_slice(&[*byte]);
            while let Some(message) = decode::<String>(&mut buffer).unwrap() {
                heard.push(message);
            }
        }
        assert_eq!(heard, ["first", "second"]);
    }

    #[test]
    fn the_length_counts_itself() {
        let mut wire = BytesMut::new();
        encode(&7_u8, &mut wire).unwrap();
        assert_eq!(&wire[..], b"\0\0\0\x057");
    }

    #[test]
    fn a_length_beyond_the_bound_is_an_error() {
        decode::<String>(&mut BytesMut::from(&[0xff; 8][..])).expect_err("too long");
        decode::<String>(&mut BytesMut::from(&[0, 0, 0, 3][..])).expect_err("shorter than itself");
    }

    #[tokio::test]
    async fn a_peer_that_does_not_read_fills_the_queue_and_loses_nothing_queued() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (_, outbox) = halves::<String, String>(ours);
        let (mut inbox, _theirs) = halves::<String, String>(theirs);
        let message = "x".repeat(1024 * 1024);
        let mut sent = 0;
        while outbox.send(&message).is_ok() {
            sent += 1;
        }
        assert!((8..12).contains(&sent), "{sent} messages of 1 MiB were taken");
        let pump = tokio::spawn(outbox.pump());
        for _ in 0..sent {
            assert_eq!(inbox.next().await.unwrap().as_ref(), Some(&message));
        }
        pump.abort();
    }

    /// Returns a file that tells which one it is.
    fn file(text: &str) -> OwnedFd {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file.rewind().unwrap();
        file.into()
    }

    fn content(descriptor: OwnedFd) -> String {
        let mut text = String::new();
        std::fs::File::from(descriptor).read_to_string(&mut text).unwrap();
        text
    }

    #[tokio::test]
    async fn each_descriptor_comes_with_the_message_that_carries_it() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (_, outbox) = halves::<String, String>(ours);
        let (mut inbox, _theirs) = halves::<String, String>(theirs);
        // The first ones go at once, then the kernel takes no more and the queue keeps the rest.
        let long = "x".repeat(100_000);
        for number in 0..20 {
            outbox.send(&long).unwrap();
            outbox.send_with(&format!("carries {number}"), file(&number.to_string())).unwrap();
            outbox.send(&"carries nothing".to_owned()).unwrap();
        }
        let pump = tokio::spawn(outbox.pump());
        for number in 0..20 {
            assert_eq!(inbox.next().await.unwrap().as_ref(), Some(&long));
            assert_eq!(inbox.next().await.unwrap(), Some(format!("carries {number}")));
            assert_eq!(content(inbox.descriptor().unwrap()), number.to_string());
            assert_eq!(inbox.next().await.unwrap().as_deref(), Some("carries nothing"));
        }
        assert!(inbox.descriptor().is_none());
        pump.abort();
    }

    #[tokio::test]
    async fn descriptors_without_messages_are_an_error() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (mut inbox, _outbox) = halves::<String, String>(theirs);
        let file = file("");
        // A frame that never ends, a byte and a descriptor at a time.
        carry::send(&ours, &[0], Some(file.as_fd())).unwrap();
        carry::send(&ours, &[0], Some(file.as_fd())).unwrap();
        for _ in 2..=MAX_DESCRIPTORS {
            carry::send(&ours, &[1], Some(file.as_fd())).unwrap();
        }
        inbox.next().await.expect_err("too many");
    }

    #[tokio::test]
    async fn the_end_of_the_other_process_is_the_end_of_messages() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (mut inbox, _outbox) = halves::<String, String>(ours);
        drop(theirs);
        assert_eq!(inbox.next().await.unwrap(), None);
    }
}
