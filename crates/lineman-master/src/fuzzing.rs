//! The fuzz targets of what the processes say to each other, and of the health port. Called by `fuzz/`
//! and by the test below, which replays `fuzz/seeds/<target>/*`; absent from ordinary builds.
//!
//! Their first byte says how large the pieces are in which the rest arrives.

use std::io::{self, BufReader, Read};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::BytesMut;
use futures_util::FutureExt as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;

use crate::control::message::{FromWorker, ToWorker};
use crate::control::request::{Answer, Request};
use crate::control::server::Asked;
use crate::control::{ExitCode, client, frame, server};
use crate::master::health;

/// The longest answer to a probe.
const ANSWER_LIMIT: usize = 1024;

fn piece_size(data: &[u8]) -> (usize, &[u8]) {
    data.split_first().map_or((1, data), |(&first, rest)| (usize::from(first) + 1, rest))
}

fn json<M: Serialize>(message: &M) -> Vec<u8> {
    serde_json::to_vec(message).expect("what was read can be written")
}

/// What the master hears from a worker, descriptors aside.
///
/// # Panics
/// Panics if the decoder breaks a promise, as all targets do.
pub fn control_from_worker(data: &[u8]) {
    frames::<FromWorker>(data);
}

/// What a worker hears from the master, descriptors aside.
///
/// # Panics
/// As [`control_from_worker`].
pub fn control_to_worker(data: &[u8]) {
    frames::<ToWorker>(data);
}

fn frames<M: Serialize + DeserializeOwned>(data: &[u8]) {
    let (size, data) = piece_size(data);
    let (messages, error) = decode::<M>(data.chunks(data.len().max(1)));
    let texts = |messages: &[M]| messages.iter().map(json).collect::<Vec<_>>();
    let (in_pieces, error_of_pieces) = decode::<M>(data.chunks(size));
    assert_eq!((texts(&in_pieces), error_of_pieces), (texts(&messages), error));
    let mut wire = BytesMut::new();
    for message in &messages {
        frame::encode(message, &mut wire).expect("it is far from the limit");
    }
    let (again, error) = decode::<M>(std::iter::once(&wire[..]));
    assert_eq!((texts(&again), error), (texts(&messages), None));
}

fn decode<'a, M: DeserializeOwned>(
    pieces: impl Iterator<Item = &'a [u8]>,
) -> (Vec<M>, Option<String>) {
    let (mut messages, mut buffer) = (Vec::new(), BytesMut::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match frame::decode(&mut buffer) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => return (messages, Some(error.to_string())),
            }
        }
        assert!(buffer.len() < frame::MAX_FRAME);
    }
    (messages, None)
}

/// The line that the command line asks with.
///
/// # Panics
/// As [`control_from_worker`].
pub fn control_request(data: &[u8]) {
    let (size, data) = piece_size(data);
    let whole = request(data, data.len().max(1));
    assert_eq!(request(data, size), whole);
    // Nothing behind the line counts.
    let end = data.iter().position(|byte| *byte == b'\n').map_or(data.len(), |place| place + 1);
    let (line, _) = data.split_at(end);
    assert_eq!(request(line, size), whole);
    if let Ok(asked) = whole {
        // Written with all its fields it may be longer than it was.
        let line = json(&asked);
        if line.len() as u64 <= server::REQUEST_LIMIT {
            assert_eq!(request(&line, size), Ok(asked));
        }
    }
}

fn request(data: &[u8], size: usize) -> Result<Request, String> {
    let limited = tokio::io::AsyncReadExt::take(data, server::REQUEST_LIMIT);
    let mut reader = tokio::io::BufReader::with_capacity(size, limited);
    let request = server::read(&mut reader).now_or_never().expect("all of it is there");
    request.map_err(|error| error.to_string())
}

/// The lines that the command line is answered with.
///
/// # Panics
/// As [`control_from_worker`].
pub fn control_answer(data: &[u8]) {
    let (size, data) = piece_size(data);
    let whole = answers(data, data.len().max(1));
    assert_eq!(answers(data, size), whole);
    for mut answer in whole.0 {
        // The text of a fraction need not come back digit for digit.
        if let Answer::Status(report) = &mut answer {
            report.load = None;
        }
        let line = [json(&answer), b"\n".to_vec()].concat();
        assert_eq!(answers(&line, size), (vec![answer], None));
    }
}

fn answers(data: &[u8], size: usize) -> (Vec<Answer>, Option<String>) {
    let mut lines = BufReader::new(Late { pieces: data.chunks(size), late: false });
    let (mut answers, mut line) = (Vec::new(), Vec::new());
    loop {
        match client::read(&mut lines, &mut line) {
            Ok(Some(answer)) => answers.push(answer),
            Ok(None) => return (answers, None),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
            Err(error) => return (answers, Some(error.to_string())),
        }
    }
}

/// Each piece comes after the reader has given up waiting for it once.
struct Late<'a> {
    pieces: std::slice::Chunks<'a, u8>,
    late: bool,
}

impl Read for Late<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.late = !self.late;
        if self.late {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        // Pieces are at most 256 bytes, or the whole: then what does not fit comes next.
        let Some(mut piece) = self.pieces.next() else { return Ok(0) };
        let taken = piece.read(buffer)?;
        if !piece.is_empty() {
            self.pieces = piece.chunks(piece.len());
        }
        Ok(taken)
    }
}

/// A probe of the health port.
///
/// # Panics
/// As [`control_from_worker`].
pub fn health_probe(data: &[u8]) {
    let (size, data) = piece_size(data);
    let whole = probe(data, data.len().max(1));
    // At the limit of a head the sizes of the reads decide whether the last byte still fits.
    if data.len() < health::HEAD {
        let split = probe(data, size);
        // hyper closes at HTTP/2's preface without a word if that comes as a whole, else with a 400; a head
        // without an end that has too many lines gets its 431 only if they come at once.
        let are_refused = [&split, &whole].into_iter().all(is_refused);
        assert!(split == whole || are_refused, "{split:?} and not {whole:?}");
    }
    let (answer, asked) = whole;
    assert!(answer.len() <= ANSWER_LIMIT, "{} bytes of an answer", answer.len());
    let text = String::from_utf8(answer).expect("answers are text");
    assert!(text.is_empty() || text.starts_with("HTTP/1."), "{text}");
    assert_eq!(text.contains(" 200 OK\r\n"), asked > 0, "{text}");
    assert!(asked <= 1, "one request a connection");
    if asked > 0 {
        let data = String::from_utf8_lossy(data);
        assert!(data.contains("GET ") || data.contains("HEAD "));
        assert!(data.contains("/live") || data.contains("/ready"));
    }
}

fn is_refused((answer, asked): &(Vec<u8>, usize)) -> bool {
    let is_refusal = |status: &[u8]| answer.starts_with(&[b"HTTP/1.1 ", status].concat());
    *asked == 0 && (answer.is_empty() || is_refusal(b"400 ") || is_refusal(b"431 "))
}

/// Returns what a probe is answered, but for the date, and how often the master's loop was asked.
fn probe(data: &[u8], size: usize) -> (Vec<u8>, usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let (events, mut loop_of_master) = mpsc::channel::<Asked>(1);
    let mut stream = Prober { rest: data, size, written: Vec::new() };
    let whole = Arc::new(AtomicBool::new(false));
    let served = health::answer(&mut stream, events, Arc::clone(&whole));
    let looped = async {
        let mut asked = 0;
        while let Some(Asked { answers, .. }) = loop_of_master.recv().await {
            answers.done(ExitCode::Ok, "it is");
            asked += 1;
        }
        asked
    };
    let runtime = runtime.expect("a runtime without descriptors can be made");
    let ((), asked) = runtime.block_on(futures_util::future::join(served, looped));
    assert!(whole.load(Ordering::Relaxed) || asked == 0);
    let lines = stream.written.split_inclusive(|byte| *byte == b'\n');
    (lines.filter(|line| !line.starts_with(b"date: ")).flatten().copied().collect(), asked)
}

/// A prober that has sent all it will and reads everything.
struct Prober<'a> {
    rest: &'a [u8],
    size: usize,
    written: Vec<u8>,
}

impl AsyncRead for Prober<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let length = self.rest.len().min(self.size).min(buffer.remaining());
        let (piece, rest) = self.rest.split_at(length);
        self.rest = rest;
        buffer.put_slice(piece);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Prober<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.written.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    type Target = fn(&[u8]);

    #[test]
    fn every_seed_passes() {
        let targets: [(&str, Target); 5] = [
            ("control_from_worker", control_from_worker),
            ("control_to_worker", control_to_worker),
            ("control_request", control_request),
            ("control_answer", control_answer),
            ("health_probe", health_probe),
        ];
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
        for (name, target) in targets {
            let mut replayed = 0;
            for seed in std::fs::read_dir(seeds.join(name)).unwrap() {
                let mut bytes = std::fs::read(seed.unwrap().path()).unwrap();
                target(&bytes);
                // The first byte is the size of the pieces: one byte at a time is the hardest.
                bytes[0] = 0;
                target(&bytes);
                replayed += 1;
            }
            assert!(replayed >= 8, "only {replayed} seeds of {name} were found");
        }
    }

    #[test]
    fn a_good_probe_is_answered_and_garbage_is_not() {
        let (answer, asked) = probe(b"GET /live HTTP/1.1\r\nHost: a\r\n\r\n", 7);
        assert!(answer.ends_with(b"\r\n\r\nit is\n"), "{}", answer.escape_ascii());
        assert_eq!((asked, probe(b"\x16\x03\x01\x00", 1).1), (1, 0));
    }
}
