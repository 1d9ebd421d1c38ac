//! The record layer after the handshake: seals and opens records, and answers the few messages that
//! may still come (RFC 8446 sections 4.6, 5 and 6; RFC 5246 sections 6 and 7). Holds no buffer.

use bytes::{Buf as _, BufMut as _, BytesMut};
use ring::aead::{Aad, LessSafeKey, Nonce};

use super::info::Version;
use super::record::{self, EXPANSION_TLS12, EXPANSION_TLS13, HEADER, PLAIN_LIMIT, kind};
use super::session::Received;
use super::state::{Side, State, Unfinished, Update};
use crate::error::TlsError;

/// Records without data in a row that are too many; OpenSSL's figure for empty records, and rustls's
/// for key updates. Honest peers send one or two.
const FRUITLESS_LIMIT: u8 = 32;

/// How many records before the limit of its key a direction gets a new one, or ends: room for what
/// has to be said then.
const RECORDS_IN_RESERVE: u64 = 64;

/// The longest ticket that is passed over, in bytes: as rustls, the longest handshake message.
const MESSAGE_LIMIT: u32 = 0xffff;

/// Bytes of an AEAD's tag; the same for all suites.
const TAG: usize = 16;

/// Numbers of messages (RFC 8446 section 4) and alerts (section 6).
mod number {
    pub(super) const HELLO_REQUEST: u8 = 0;
    pub(super) const CLIENT_HELLO: u8 = 1;
    pub(super) const NEW_SESSION_TICKET: u8 = 4;
    pub(super) const KEY_UPDATE: u8 = 24;
    pub(super) const CLOSE_NOTIFY: u8 = 0;
    pub(super) const USER_CANCELED: u8 = 90;
    pub(super) const NO_RENEGOTIATION: u8 = 100;
    pub(super) const WARNING: u8 = 1;
    pub(super) const FATAL: u8 = 2;
}

impl State {
    /// Opens every whole record at the front of `input`. Data goes to `plain`, answers to `output`.
    pub(super) fn receive(
        &mut self,
        input: &mut BytesMut,
        plain: &mut BytesMut,
        output: &mut BytesMut,
    ) -> Result<Received, TlsError> {
        let outcome = self.open_all(input, plain, output);
        if let Err(error) = &outcome
            && let Some(alert) = error.alert()
        {
            self.alert(number::FATAL, alert, output);
        }
        self.closed |= outcome.is_err();
        // One answer for however many requests, due before the next data (RFC 8446 section 4.6.3): while
        // the peer does not take what was said before, answers to it must not pile up.
        if outcome? {
            self.update = Update::Owed;
        }
        if self.update == Update::Owed && !self.closed && output.is_empty() {
            self.update_sent(output)?;
        }
        Ok(Received { established_now: false, closed: self.peer_closed })
    }

    /// Seals `plain` as records of at most 16 KiB.
    pub(super) fn seal(&mut self, plain: &[u8], output: &mut BytesMut) -> Result<(), TlsError> {
        if self.closed {
            return Err(TlsError::NotOpen);
        }
        output.reserve(plain.len() + plain.len().div_ceil(PLAIN_LIMIT) * (HEADER + 1 + 8 + TAG));
        if self.update == Update::Owed {
            self.update_sent(output)?;
        }
        let mut cipher = self.sent.cipher(self.suite)?;
        for data in plain.chunks(PLAIN_LIMIT) {
            if self.sent.sequence >= self.suite.record_limit() - RECORDS_IN_RESERVE {
                if self.suite.version == Version::Tls12 {
                    self.close_notify(output);
                    return Err(TlsError::Exhausted);
                }
                self.update_sent(output)?;
                cipher = self.sent.cipher(self.suite)?;
            }
            self.put(&cipher, kind::APPLICATION_DATA, data, output)?;
        }
        Ok(())
    }

    /// Tells the peer that nothing more comes. Once; after it nothing can be sealed.
    pub(super) fn close_notify(&mut self, output: &mut BytesMut) {
        if !self.closed {
            self.alert(number::WARNING, number::CLOSE_NOTIFY, output);
            self.closed = true;
        }
    }

    fn alert(&mut self, level: u8, description: u8, output: &mut BytesMut) {
        if self.closed {
            return;
        }
        let sealed = self
            .sent
            .cipher(self.suite)
            .and_then(|cipher| self.put(&cipher, kind::ALERT, &[level, description], output));
        if let Err(error) = sealed {
            // The connection ends either way.
            tracing::debug!(%error, "an alert could not be sent");
        }
    }

    /// Says that our keys change, and changes them.
    fn update_sent(&mut self, output: &mut BytesMut) -> Result<(), TlsError> {
        const NOT_REQUESTED: [u8; 5] = [number::KEY_UPDATE, 0, 0, 1, 0];
        let cipher = self.sent.cipher(self.suite)?;
        self.put(&cipher, kind::HANDSHAKE, &NOT_REQUESTED, output)?;
        self.update = Update::NotAsked;
        self.sent.update(self.suite)
    }

    /// Appends one record; `data` is at most [`PLAIN_LIMIT`].
    pub(super) fn put(
        &mut self,
        cipher: &LessSafeKey,
        kind: u8,
        data: &[u8],
        output: &mut BytesMut,
    ) -> Result<(), TlsError> {
        let nonce = self.sent.nonce();
        let failed = |_| TlsError::Internal("a record is too long to be sealed");
        let missing = TlsError::Internal("a record to be sealed is missing");
        let start = output.len();
        let tag = match self.suite.version {
            Version::Tls13 => {
                let header = header(kind::APPLICATION_DATA, data.len() + 1 + TAG);
                output.put_slice(&header);
                output.put_slice(data);
                output.put_u8(kind);
                let sealed = output.get_mut(start + HEADER..).ok_or(missing)?;
                let nonce = Nonce::assume_unique_for_key(nonce);
                cipher.seal_in_place_separate_tag(nonce, Aad::from(header), sealed)
            }
            Version::Tls12 => {
                let explicit = self.suite.explicit_nonce();
                output.put_slice(&header(kind, explicit + data.len() + TAG));
                output.put_slice(nonce.get(nonce.len() - explicit..).unwrap_or_default());
                output.put_slice(data);
                let sealed = output.get_mut(start + HEADER + explicit..).ok_or(missing)?;
                let about = about(self.sent.sequence, kind, data.len());
                let nonce = Nonce::assume_unique_for_key(nonce);
                cipher.seal_in_place_separate_tag(nonce, Aad::from(about), sealed)
            }
        };
        output.put_slice(tag.map_err(failed)?.as_ref());
        self.sent.count()
    }

    /// Returns whether the peer wants our keys changed.
    fn open_all(
        &mut self,
        input: &mut BytesMut,
        plain: &mut BytesMut,
        output: &mut BytesMut,
    ) -> Result<bool, TlsError> {
        let expansion = match self.suite.version {
            Version::Tls12 => EXPANSION_TLS12,
            Version::Tls13 => EXPANSION_TLS13,
        };
        let mut update_requested = false;
        let mut cipher = self.received.cipher(self.suite)?;
        while !self.peer_closed {
            let Some(total) = record::whole(input, PLAIN_LIMIT + expansion)? else { break };
            let (kind, data) = self.open(&cipher, input.get_mut(..total).unwrap_or_default())?;
            match kind {
                _ if self.unfinished.have > 0 && kind != kind::HANDSHAKE => {
                    return Err(TlsError::Unexpected("something within a handshake message"));
                }
                kind::APPLICATION_DATA if !data.is_empty() => {
                    self.fruitless = 0;
                    plain.put_slice(data);
                }
                kind::APPLICATION_DATA => self.count_fruitless()?,
                kind::ALERT => self.heed(data)?,
                kind::HANDSHAKE if self.suite.version == Version::Tls12 => {
                    self.refuse_renegotiation(data.first().copied(), output)?;
                }
                kind::HANDSHAKE => {
                    update_requested |= self.follow(data)?;
                    cipher = self.received.cipher(self.suite)?;
                }
                _ => return Err(TlsError::Unexpected("a change of ciphers")),
            }
            input.advance(total);
        }
        if self.peer_closed {
            // What comes behind the end is not the peer's any more (RFC 8446 section 6.1).
            input.clear();
        }
        Ok(update_requested)
    }

    /// Opens one record in place and counts it.
    fn open<'a>(
        &mut self,
        cipher: &LessSafeKey,
        record: &'a mut [u8],
    ) -> Result<(u8, &'a [u8]), TlsError> {
        let Some((&mut header, body)) = record.split_first_chunk_mut::<HEADER>() else {
            return Err(TlsError::Internal("a record without a header"));
        };
        match self.suite.version {
            Version::Tls13 => {
                if header[0] != kind::APPLICATION_DATA {
                    return Err(TlsError::Unexpected("a record without protection"));
                }
                let nonce = Nonce::assume_unique_for_key(self.received.nonce());
                let opened = cipher.open_in_place(nonce, Aad::from(header), body);
                let inner: &[u8] = opened.map_err(|_| TlsError::NotAuthentic)?;
                self.received.count()?;
                // The kind is the last byte that is not padding (RFC 8446 section 5.4).
                let end = inner.iter().rposition(|byte| *byte != 0);
                let padding = TlsError::Unexpected("a record of nothing but padding");
                let data = end.and_then(|end| inner.get(..=end)?.split_last());
                let (kind, data) = data.ok_or(padding)?;
                within_limit(inner.len() - 1)?;
                Ok((*kind, data))
            }
            Version::Tls12 => {
                if header[1..3] != [3, 3] {
                    return Err(TlsError::BadVersion("it was TLS 1.2 before"));
                }
                let explicit = self.suite.explicit_nonce();
                let length = body.len().checked_sub(explicit + TAG);
                let length = length.ok_or(TlsError::NotAuthentic)?;
                let nonce = match body.first_chunk::<8>() {
                    Some(half) if explicit > 0 => self.received.explicit_nonce(*half),
                    _ => Nonce::assume_unique_for_key(self.received.nonce()),
                };
                let about = Aad::from(about(self.received.sequence, header[0], length));
                let opened = cipher.open_within(nonce, about, body, explicit..);
                let data: &[u8] = opened.map_err(|_| TlsError::NotAuthentic)?;
                self.received.count()?;
                within_limit(data.len())?;
                Ok((header[0], data))
            }
        }
    }

    fn count_fruitless(&mut self) -> Result<(), TlsError> {
        self.fruitless = self.fruitless.saturating_add(1);
        if self.fruitless > FRUITLESS_LIMIT {
            return Err(TlsError::Fruitless(FRUITLESS_LIMIT));
        }
        Ok(())
    }

    /// Heeds an alert (RFC 8446 section 6): all but the end and, in TLS 1.2, warnings are fatal.
    fn heed(&mut self, alert: &[u8]) -> Result<(), TlsError> {
        let (level, description) = match *alert {
            [level, description] => (level, description),
            // RFC 8446, 5.4.
            [] => return Err(TlsError::Unexpected("an empty alert")),
            _ => return Err(TlsError::BadRecord("an alert has two bytes")),
        };
        let harmless = match self.suite.version {
            Version::Tls13 => description == number::USER_CANCELED,
            Version::Tls12 => level == number::WARNING,
        };
        match description {
            number::CLOSE_NOTIFY => self.peer_closed = true,
            _ if harmless => self.count_fruitless()?,
            _ => return Err(TlsError::Alert(description)),
        }
        Ok(())
    }

    /// Turns the first attempt down and ends the connection at the second, as rustls does.
    fn refuse_renegotiation(
        &mut self,
        message: Option<u8>,
        output: &mut BytesMut,
    ) -> Result<(), TlsError> {
        let attempt = match self.side {
            Side::Server => number::CLIENT_HELLO,
            Side::Client => number::HELLO_REQUEST,
        };
        if message != Some(attempt) || self.renegotiation_refused {
            return Err(TlsError::Unexpected("a handshake message"));
        }
        self.renegotiation_refused = true;
        self.alert(number::WARNING, number::NO_RENEGOTIATION, output);
        Ok(())
    }

    /// Follows handshake messages of TLS 1.3, which may be cut and joined at will. Returns whether the
    /// peer wants our keys changed.
    fn follow(&mut self, mut data: &[u8]) -> Result<bool, TlsError> {
        if data.is_empty() {
            return Err(TlsError::Unexpected("an empty handshake record"));
        }
        self.count_fruitless()?;
        let mut update_requested = false;
        while let Some((&byte, rest)) = data.split_first() {
            let Unfinished { header, have, left } = &mut self.unfinished;
            if let Some(place) = header.get_mut(usize::from(*have)) {
                (*place, *have, data) = (byte, *have + 1, rest);
                if *have == 4 {
                    *left = expect_message(*header, self.side)?;
                }
                continue;
            }
            if header[0] == number::KEY_UPDATE {
                update_requested |= match byte {
                    0 => false,
                    1 => true,
                    // RFC 8446, 4.6.3.
                    _ => return Err(TlsError::BadValue("a key update is 0 or 1")),
                };
                // Records behind it have other keys, so nothing may share this one.
                if !rest.is_empty() {
                    return Err(TlsError::Unexpected("something behind a key update"));
                }
                self.received.update(self.suite)?;
                self.unfinished = Unfinished::default();
                return Ok(update_requested);
            }
            let taken = data.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
            data = data.get(taken..).unwrap_or_default();
            *left = left.saturating_sub(u32::try_from(taken).unwrap_or(u32::MAX));
            if *left == 0 {
                self.unfinished = Unfinished::default();
            }
        }
        Ok(update_requested)
    }
}

/// Returns the length of the message with this header, if it may come at all. Tickets of TLS 1.3 are
/// passed over: to use one takes secrets that would outgrow the state.
fn expect_message(header: [u8; 4], side: Side) -> Result<u32, TlsError> {
    let [message, high, middle, low] = header;
    let length = u32::from_be_bytes([0, high, middle, low]);
    let fits = match (message, side) {
        (number::KEY_UPDATE, _) => length == 1,
        (number::NEW_SESSION_TICKET, Side::Client) => (1..=MESSAGE_LIMIT).contains(&length),
        _ => return Err(TlsError::Unexpected("a handshake message")),
    };
    if fits {
        Ok(length)
    } else {
        Err(TlsError::BadRecord("a handshake message of a wrong length"))
    }
}

/// A record's header; the version of protected ones has been frozen at that of TLS 1.2.
fn header(kind: u8, length: usize) -> [u8; HEADER] {
    let [high, low] = short(length);
    [kind, 3, 3, high, low]
}

/// What TLS 1.2 authenticates beside the data (RFC 5246 section 6.2.3.3).
fn about(sequence: u64, kind: u8, length: usize) -> [u8; 13] {
    let mut about = [0; 13];
    about[..8].copy_from_slice(&sequence.to_be_bytes());
    about[8..11].copy_from_slice(&[kind, 3, 3]);
    about[11..].copy_from_slice(&short(length));
    about
}

fn short(length: usize) -> [u8; 2] {
    u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes()
}

fn within_limit(length: usize) -> Result<(), TlsError> {
    if length <= PLAIN_LIMIT {
        return Ok(());
    }
    Err(TlsError::RecordTooLong { length, limit: PLAIN_LIMIT })
}
