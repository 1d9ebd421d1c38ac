//! What an established TLS connection is, as plain small data: this and nothing else moves when the
//! connection moves to another process. Knows keys and numbers, never a record.

use ring::aead::{LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{KeyType, Prk};
use zeroize::Zeroize as _;

use super::error::TlsError;
use super::info::Version;
use super::suite::Suite;

/// The first byte of a written state; another layout gets another one.
const FORMAT: u8 = 1;

/// Bytes of the longest key.
const KEY_LIMIT: usize = 32;

/// Bytes of the longest traffic secret.
const SECRET_LIMIT: usize = 48;

/// Which side of the connection we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// It was accepted.
    Server,
    /// It was opened.
    Client,
}

/// An established connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    pub(super) suite: &'static Suite,
    pub(super) side: Side,
    /// What we send.
    pub(super) sent: Direction,
    /// What we receive.
    pub(super) received: Direction,
    /// The handshake message that is not there as a whole yet (TLS 1.3).
    pub(super) unfinished: Unfinished,
    /// Records without data in a row.
    pub(super) fruitless: u8,
    /// What the peer wants of our keys (TLS 1.3).
    pub(super) update: Update,
    /// Whether a renegotiation has been turned down (TLS 1.2); the second attempt is fatal.
    pub(super) renegotiation_refused: bool,
    /// Whether the peer has said that nothing more comes.
    pub(super) peer_closed: bool,
    /// Whether we have said so, or failed.
    pub(super) closed: bool,
}

/// Whether the peer has asked for new keys of ours and is yet to get them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Update {
    NotAsked,
    Owed,
}

/// The part of a handshake message that has come: of its header (RFC 8446 section 4), and how much of
/// its body is still to come. Bodies are passed over, so nothing else is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Unfinished {
    pub(super) header: [u8; 4],
    /// Bytes of the header that are there; 0 between messages.
    pub(super) have: u8,
    /// Bytes of the body still to come.
    pub(super) left: u32,
}

/// One direction of a connection.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Direction {
    /// The number of the next record.
    pub(super) sequence: u64,
    /// What the next keys are made from; TLS 1.3, zero otherwise.
    secret: [u8; SECRET_LIMIT],
    key: [u8; KEY_LIMIT],
    /// What a record's nonce is made from, with its number.
    iv: [u8; NONCE_LEN],
}

impl Direction {
    /// Returns the direction that begins at this traffic secret (TLS 1.3).
    pub(super) fn from_secret(
        suite: &Suite,
        secret: &[u8],
        sequence: u64,
    ) -> Result<Self, TlsError> {
        let wrong = TlsError::Internal("a traffic secret has another length than its suite's");
        let mut direction =
            Self { sequence, secret: [0; SECRET_LIMIT], key: [0; KEY_LIMIT], iv: [0; NONCE_LEN] };
        if secret.len() != suite.secret_length || secret.is_empty() {
            return Err(wrong);
        }
        let key_length = suite.algorithm().key_len();
        let places =
            (direction.secret.get_mut(..secret.len()), direction.key.get_mut(..key_length));
        let (Some(kept), Some(key)) = places else { return Err(wrong) };
        kept.copy_from_slice(secret);
        expand(suite, secret, b"key", key)?;
        expand(suite, secret, b"iv", &mut direction.iv)?;
        Ok(direction)
    }

    /// Returns the direction with this key for good (TLS 1.2).
    pub(super) fn from_key(suite: &Suite, key: &[u8], iv: &[u8], sequence: u64) -> Option<Self> {
        let length = suite.algorithm().key_len();
        let mut direction = Self {
            sequence,
            secret: [0; SECRET_LIMIT],
            key: [0; KEY_LIMIT],
            iv: iv.try_into().ok()?,
        };
        direction.key.get_mut(..length)?.copy_from_slice(key.get(..length)?);
        (key.len() == length).then_some(direction)
    }

    /// Returns whether this is the key and the IV in force.
    pub(super) fn has_key(&self, suite: &Suite, key: &[u8], iv: &[u8]) -> bool {
        self.key(suite) == key && self.iv == *iv
    }

    fn secret(&self, suite: &Suite) -> &[u8] {
        self.secret.get(..suite.secret_length).unwrap_or_default()
    }

    fn key(&self, suite: &Suite) -> &[u8] {
        self.key.get(..suite.algorithm().key_len()).unwrap_or_default()
    }

    /// Goes on to the next traffic secret (RFC 8446 section 7.2).
    pub(super) fn update(&mut self, suite: &Suite) -> Result<(), TlsError> {
        let mut next = [0; SECRET_LIMIT];
        let next = next.get_mut(..suite.secret_length).unwrap_or_default();
        expand(suite, self.secret(suite), b"traffic upd", next)?;
        *self = Self::from_secret(suite, next, 0)?;
        next.zeroize();
        Ok(())
    }

    /// Returns the cipher. Made anew for each batch of records: it holds a key's tables, half a
    /// kilobyte in each direction, which an idle connection should not own.
    pub(super) fn cipher(&self, suite: &Suite) -> Result<LessSafeKey, TlsError> {
        UnboundKey::new(suite.algorithm(), self.key(suite))
            .map(LessSafeKey::new)
            .map_err(|_| TlsError::Internal("a key has another length than its suite's"))
    }

    /// Returns the nonce of the next record (RFC 8446 section 5.3; for TLS 1.2 RFC 7905 section 2,
    /// and rustls's way to choose a GCM nonce).
    pub(super) fn nonce(&self) -> [u8; NONCE_LEN] {
        let mut nonce = self.iv;
        for (byte, number) in nonce.iter_mut().skip(NONCE_LEN - 8).zip(self.sequence.to_be_bytes())
        {
            *byte ^= number;
        }
        nonce
    }

    /// Returns the nonce of a record that brings its half with it (RFC 5288 section 3).
    pub(super) fn explicit_nonce(&self, explicit: [u8; 8]) -> Nonce {
        let mut nonce = self.iv;
        nonce[NONCE_LEN - 8..].copy_from_slice(&explicit);
        Nonce::assume_unique_for_key(nonce)
    }

    /// Counts a record.
    pub(super) fn count(&mut self) -> Result<(), TlsError> {
        self.sequence = self.sequence.checked_add(1).ok_or(TlsError::Exhausted)?;
        Ok(())
    }

    fn write(&self, suite: &Suite, bytes: &mut Vec<u8>) {
        bytes.extend(self.sequence.to_be_bytes());
        match suite.version {
            Version::Tls13 => bytes.extend(self.secret(suite)),
            Version::Tls12 => {
                bytes.extend(self.key(suite));
                bytes.extend(self.iv);
            }
        }
    }

    fn read(suite: &Suite, bytes: &mut &[u8]) -> Option<Self> {
        let sequence = u64::from_be_bytes(take(bytes)?);
        match suite.version {
            Version::Tls13 => {
                let secret = bytes.split_off(..suite.secret_length)?;
                Self::from_secret(suite, secret, sequence).ok()
            }
            Version::Tls12 => {
                let key = bytes.split_off(..suite.algorithm().key_len())?;
                let iv = bytes.split_off(..NONCE_LEN)?;
                Self::from_key(suite, key, iv, sequence)
            }
        }
    }
}

impl std::fmt::Debug for Direction {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Keys do not belong into a log.
        formatter
            .debug_struct("Direction")
            .field("sequence", &self.sequence)
            .finish_non_exhaustive()
    }
}

impl Drop for Direction {
    fn drop(&mut self) {
        self.secret.zeroize();
        self.key.zeroize();
        self.iv.zeroize();
    }
}

impl State {
    /// Returns the state right after a handshake.
    pub(super) fn new(
        suite: &'static Suite,
        side: Side,
        sent: Direction,
        received: Direction,
    ) -> Self {
        Self {
            suite,
            side,
            sent,
            received,
            unfinished: Unfinished::default(),
            fruitless: 0,
            update: Update::NotAsked,
            renegotiation_refused: false,
            peer_closed: false,
            closed: false,
        }
    }

    /// Writes the state down. The bytes are as secret as the connection.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let owed = self.update == Update::Owed;
        let flags = [self.renegotiation_refused, self.peer_closed, self.closed, owed];
        let flags = flags.iter().rev().fold(0, |flags, flag| flags << 1 | u8::from(*flag));
        let mut bytes = vec![FORMAT, u8::from(self.side == Side::Client)];
        bytes.extend(self.suite.number.to_be_bytes());
        bytes.extend([flags, self.fruitless, self.unfinished.have]);
        bytes.extend(self.unfinished.header);
        bytes.extend(self.unfinished.left.to_be_bytes());
        self.sent.write(self.suite, &mut bytes);
        self.received.write(self.suite, &mut bytes);
        bytes
    }

    /// Reads what [`State::to_bytes`] wrote; `None` for anything else.
    pub(crate) fn from_bytes(mut bytes: &[u8]) -> Option<Self> {
        let bytes = &mut bytes;
        let [FORMAT, side @ 0..=1] = take(bytes)? else { return None };
        let suite = Suite::find(u16::from_be_bytes(take(bytes)?))?;
        let [flags @ 0..=15, fruitless, have @ 0..=4] = take(bytes)? else { return None };
        let header = take(bytes)?;
        let left = u32::from_be_bytes(take(bytes)?);
        let sent = Direction::read(suite, bytes)?;
        let received = Direction::read(suite, bytes)?;
        bytes.is_empty().then(|| Self {
            suite,
            side: if side == 1 { Side::Client } else { Side::Server },
            sent,
            received,
            unfinished: Unfinished { header, have, left },
            fruitless,
            renegotiation_refused: flags & 1 != 0,
            peer_closed: flags & 2 != 0,
            closed: flags & 4 != 0,
            update: if flags & 8 != 0 { Update::Owed } else { Update::NotAsked },
        })
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*taken)
}

/// `HKDF-Expand-Label` without a context (RFC 8446 section 7.1).
fn expand(suite: &Suite, secret: &[u8], label: &[u8], output: &mut [u8]) -> Result<(), TlsError> {
    let wrong = |_| TlsError::Internal("a key has an impossible length");
    let length = u16::try_from(output.len()).map_err(|_| wrong(ring::error::Unspecified))?;
    let label_length =
        u8::try_from(label.len() + 6).map_err(|_| wrong(ring::error::Unspecified))?;
    let info: [&[u8]; 5] = [&length.to_be_bytes(), &[label_length], b"tls13 ", label, &[0]];
    Prk::new_less_safe(suite.hkdf(), secret)
        .expand(&info, Length(output.len()))
        .and_then(|key| key.fill(output))
        .map_err(wrong)
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}
