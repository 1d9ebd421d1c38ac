//! The fuzz target `tls_records`: what a peer may send once a handshake is done. Called by `fuzz/` and
//! by the test below, which replays `fuzz/seeds/tls_records/*`; absent from ordinary builds.
//!
//! The bytes are a script of what a peer with the right keys seals, honest or not, and of what somebody
//! without them adds to it. Whatever it is, the answer does not depend on how the bytes are cut.

use bytes::BytesMut;
use ring::aead::NONCE_LEN;

use super::info::Version;
use super::record::{EXPANSION_TLS12, HEADER, PLAIN_LIMIT, kind};
use super::session::Session;
use super::state::{Direction, Side, State};
use super::suite::{SUITES, Suite};
use crate::error::TlsError;

/// How many records without data in a row are allowed.
const FRUITLESS_LIMIT: usize = 32;

/// More than any record adds to its data; records that are not data fit in it as a whole.
const RECORD: usize = 40;

/// Plays a script: how large the pieces are, suite and side, how it begins, and then steps of a number,
/// an argument, a length and as many bytes.
///
/// # Panics
/// Panics if anything but what was sealed comes out, or if the record layer breaks another promise.
pub fn records(script: &[u8]) {
    let Some((&[size, choice, flags], steps)) = script.split_first_chunk() else { return };
    let size = usize::from(size) + 1;
    let play = |size, moves| Play::new(choice, flags, size, moves).run(steps);
    let whole = play(usize::MAX, false);
    assert_eq!(play(size, false), whole);
    assert_eq!(play(size, true), whole, "the connection moves after each piece");
}

/// What is the same however the bytes are cut.
#[derive(Debug, PartialEq)]
struct Played {
    plain: BytesMut,
    closed: bool,
    error: Option<String>,
    /// What the peer has received of what we sealed.
    heard: BytesMut,
}

/// Our session and its peer: `writer` seals the script, `reader` opens what we send.
struct Play {
    session: Session,
    writer: State,
    reader: State,
    size: usize,
    moves: bool,
    /// Whether the peer reads what we send as soon as it is there.
    reads: bool,
    wire: BytesMut,
    input: BytesMut,
    output: BytesMut,
    outcome: Played,
    promised: Promised,
    /// What we sealed, how much of it without an error, and the most that may wait in `output`.
    sealed: Vec<u8>,
    sealed_well: usize,
    allowed: usize,
}

impl Play {
    fn new(choice: u8, flags: u8, size: usize, moves: bool) -> Self {
        let suite = SUITES.iter().cycle().nth(usize::from(choice >> 1)).expect("there are suites");
        // Just before the keys have to be renewed, or at the beginning.
        let sequence = if flags & 1 != 0 { (1 << 24) - 66 } else { 0 };
        let (ours, theirs) = match choice & 1 {
            0 => (Side::Server, Side::Client),
            _ => (Side::Client, Side::Server),
        };
        let direction = |byte| direction(suite, byte, sequence);
        let peer = State::new(suite, theirs, direction(1), direction(2));
        Self {
            session: Session::from_state(State::new(suite, ours, direction(2), direction(1))),
            writer: peer.clone(),
            reader: peer,
            size,
            moves,
            reads: flags & 2 != 0,
            wire: BytesMut::new(),
            input: BytesMut::new(),
            output: BytesMut::new(),
            outcome: Played {
                plain: BytesMut::new(),
                closed: false,
                error: None,
                heard: BytesMut::new(),
            },
            promised: Promised::default(),
            sealed: Vec::new(),
            sealed_well: 0,
            allowed: 4 * RECORD,
        }
    }

    fn run(mut self, mut steps: &[u8]) -> Played {
        while let Some((&[step, argument, length], rest)) = steps.split_first_chunk() {
            let (payload, behind) = rest.split_at(rest.len().min(usize::from(length)));
            steps = behind;
            // Long enough for several records, or for one that is too long.
            let times = if step & 8 != 0 { 70 } else { 1 };
            self.step(step, argument, &payload.repeat(times));
            while self.wire.len() >= self.size {
                let piece = self.wire.split_to(self.size);
                self.receive(&piece);
            }
        }
        self.receive_the_rest();
        self.read();
        self.check()
    }

    fn step(&mut self, step: u8, argument: u8, payload: &[u8]) {
        match step % 8 {
            0 => self.seal(payload),
            1 => self.put(argument, payload),
            2 if self.writer.suite.version == Version::Tls13 => {
                self.record(kind::HANDSHAKE, &[24, 0, 0, 1, argument & 1]);
                self.promised.no_data();
                self.writer.sent.update(self.writer.suite).expect("there are always new keys");
            }
            2 | 3 => {
                self.wire.extend_from_slice(payload);
                self.promised.ended |= !payload.is_empty();
            }
            4 => {
                let start = self.wire.len();
                self.record(kind::APPLICATION_DATA, payload);
                let place = start + usize::from(argument) % (self.wire.len() - start);
                *self.wire.get_mut(place).expect("it is in the record") ^= 1 << (step >> 5);
                self.promised.ended = true;
            }
            // Nothing to send may still be answers that are owed, without end.
            5 if payload.is_empty() => {}
            5 => self.send(payload),
            6 => {
                let start = self.wire.len();
                self.writer.close_notify(&mut self.wire);
                if self.wire.len() > start {
                    self.promised.stop();
                }
            }
            _ => {
                self.receive_the_rest();
                self.session.close_notify(&mut self.output);
            }
        }
    }

    /// The peer seals data as it should.
    fn seal(&mut self, data: &[u8]) {
        let sequence = self.writer.sent.sequence;
        match self.writer.seal(data, &mut self.wire) {
            Ok(()) => {
                // New keys have been announced, which may be one record without data too many.
                let renewed = self.writer.sent.sequence < sequence;
                self.promised.doubtful |= renewed && self.promised.fruitless == FRUITLESS_LIMIT;
                self.promised.data(data);
            }
            Err(TlsError::Exhausted) => {
                self.promised.doubtful = true;
                self.promised.data(data);
                self.promised.stop();
            }
            Err(error) => assert!(matches!(error, TlsError::NotOpen), "{error}"),
        }
    }

    /// The peer seals anything as one record.
    fn put(&mut self, kind: u8, data: &[u8]) {
        self.record(kind, data);
        let padded = [data, &[kind]].concat();
        let (kind, content) = match self.writer.suite.version {
            Version::Tls12 => (kind, data),
            Version::Tls13 => {
                let end = padded.iter().rposition(|byte| *byte != 0);
                let inner = end.and_then(|end| padded.get(..=end)?.split_last());
                inner.map_or((0, data), |(kind, content)| (*kind, content))
            }
        };
        match (kind, content) {
            _ if data.len() > PLAIN_LIMIT => self.promised.stop(),
            (kind::APPLICATION_DATA, []) => self.promised.no_data(),
            (kind::APPLICATION_DATA, _) => self.promised.data(content),
            (kind::ALERT, &[level, description]) => {
                let harmless = match self.writer.suite.version {
                    Version::Tls13 => description == 90,
                    Version::Tls12 => level == 1 && description != 0,
                };
                if harmless { self.promised.no_data() } else { self.promised.stop() }
            }
            (kind::HANDSHAKE, _) => self.promised.doubtful = true,
            _ => self.promised.stop(),
        }
    }

    fn record(&mut self, kind: u8, data: &[u8]) {
        let cipher = self.writer.sent.cipher(self.writer.suite).expect("the key fits");
        self.writer.put(&cipher, kind, data, &mut self.wire).expect("it can be sealed");
    }

    /// We seal data.
    fn send(&mut self, data: &[u8]) {
        self.receive_the_rest();
        self.allowed += data.len() + (data.len() / PLAIN_LIMIT + 3) * RECORD;
        match self.session.seal(data, &mut self.output) {
            Ok(()) => {
                self.sealed.extend_from_slice(data);
                self.sealed_well = self.sealed.len();
            }
            Err(TlsError::Exhausted) => self.sealed.extend_from_slice(data),
            Err(error) => assert!(matches!(error, TlsError::NotOpen), "{error}"),
        }
    }

    fn receive_the_rest(&mut self) {
        let rest = self.wire.split();
        self.receive(&rest);
    }

    fn receive(&mut self, piece: &[u8]) {
        if self.outcome.error.is_some() {
            return self.receive_in_vain(piece);
        }
        self.input.extend_from_slice(piece);
        let Self { session, input, output, outcome, .. } = self;
        match session.receive(input, &mut outcome.plain, output) {
            Ok(received) => {
                assert!(!received.established_now);
                outcome.closed |= received.closed;
                let left = input.len();
                assert!(left < HEADER + PLAIN_LIMIT + EXPANSION_TLS12, "{left} bytes are left");
            }
            Err(error) => outcome.error = Some(error.to_string()),
        }
        assert!(self.output.len() <= self.allowed, "{} bytes of answers", self.output.len());
        if self.reads {
            self.read();
        }
        if self.moves
            && let Some(saved) = self.session.save()
        {
            self.session = Session::restore(saved).expect("what was written can be read");
        }
    }

    /// Nothing comes out of a session that has failed.
    fn receive_in_vain(&mut self, piece: &[u8]) {
        let (mut input, mut plain, mut output) =
            (BytesMut::from(piece), BytesMut::new(), BytesMut::new());
        let outcome = self.session.receive(&mut input, &mut plain, &mut output);
        assert!(matches!(outcome, Err(TlsError::NotOpen)));
        assert!(plain.is_empty() && output.is_empty());
    }

    /// The peer receives what we have sent, which it always understands.
    fn read(&mut self) {
        let mut sent = self.output.split();
        self.allowed = 4 * RECORD;
        assert!(sent.is_empty() || !self.reader.peer_closed, "something comes behind the end");
        // That many answers without data are what it has asked for.
        self.reader.fruitless = 0;
        let mut answer = BytesMut::new();
        match self.reader.receive(&mut sent, &mut self.outcome.heard, &mut answer) {
            Ok(_) => assert!(sent.is_empty(), "half a record was sent"),
            Err(error) => {
                assert!(matches!(error, TlsError::Alert(_)), "{error}");
                assert!(self.outcome.error.is_some(), "an alert without an error");
                // It was the last record.
                self.reader.peer_closed = true;
            }
        }
    }

    fn check(self) -> Played {
        let (outcome, promised) = (self.outcome, self.promised);
        let Played { plain, closed, error, heard } = &outcome;
        assert!(promised.data.starts_with(plain), "what came out was not sealed like that");
        assert!(plain.len() >= promised.certain, "{} of {}", plain.len(), promised.certain);
        if !closed && error.is_none() {
            assert_eq!(plain, &promised.data);
            assert!(!promised.stopped, "it goes on");
        }
        assert!(self.sealed.starts_with(heard) && heard.len() >= self.sealed_well);
        outcome
    }
}

/// What is to come out of what the peer has sealed.
#[derive(Default)]
struct Promised {
    /// All that may come out.
    data: Vec<u8>,
    /// How much of it has to.
    certain: usize,
    fruitless: usize,
    /// Something came that the session may end at.
    doubtful: bool,
    /// Nothing more comes out, be it that the session waits for the end of a forged record.
    ended: bool,
    /// The session ends, and says so.
    stopped: bool,
}

impl Promised {
    fn data(&mut self, data: &[u8]) {
        if self.ended || data.is_empty() {
            return;
        }
        self.fruitless = 0;
        self.data.extend_from_slice(data);
        if !self.doubtful {
            self.certain = self.data.len();
        }
    }

    fn no_data(&mut self) {
        self.fruitless += 1;
        if self.fruitless > FRUITLESS_LIMIT {
            self.stop();
        }
    }

    fn stop(&mut self) {
        self.stopped |= !self.ended;
        self.ended = true;
    }
}

/// Returns a direction whose keys anybody knows.
fn direction(suite: &Suite, byte: u8, sequence: u64) -> Direction {
    let secret = vec![byte; suite.secret_length];
    let key = vec![byte; suite.algorithm().key_len()];
    let direction = match suite.version {
        Version::Tls13 => Direction::from_secret(suite, &secret, sequence).ok(),
        Version::Tls12 => Direction::from_key(suite, &key, &[byte; NONCE_LEN], sequence),
    };
    direction.expect("the lengths are the suite's")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_seed_passes() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/tls_records");
        let mut replayed = 0;
        for seed in std::fs::read_dir(folder).unwrap() {
            let bytes = std::fs::read(seed.unwrap().path()).unwrap();
            // Each with every suite on either side, one byte at a time and in the seed's pieces.
            for choice in 0..18 {
                for size in [0, bytes[0]] {
                    records(&[&[size, choice][..], &bytes[2..]].concat());
                }
            }
            replayed += 1;
        }
        assert!(replayed >= 20, "only {replayed} seeds were found");
    }

    fn step() -> impl Strategy<Value = Vec<u8>> {
        let kind = prop_oneof![20_u8..24, any::<u8>()];
        let payload = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..40),
            prop::collection::vec(0_u8..2, 0..6),
            Just(vec![24, 0, 0, 1, 1]),
            Just(vec![1; 250]),
        ];
        (any::<u8>(), kind, payload).prop_map(|(step, kind, payload)| {
            let length = u8::try_from(payload.len()).unwrap();
            [&[step, kind, length][..], &payload].concat()
        })
    }

    proptest! {
        #[test]
        fn any_script_passes(
            (size, choice, flags) in any::<(u8, u8, u8)>(),
            steps in prop::collection::vec(step(), 0..12),
        ) {
            records(&[&[size, choice, flags][..], &steps.concat()].concat());
        }
    }
}
