//! The session of one client as its business holds it, and the rule which of two copies is right.
//!
//! The gateway sends its copy with every event. Events that were under way when a handler wrote
//! still bring the old one, so the local copy wins, unless the gateway's is one that is neither the
//! last one seen nor one that was written here: then another process has changed it.

use std::collections::VecDeque;

use bytes::Bytes;
use lineman_wire::link::session;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::fingerprint::Fingerprints;
use crate::error::HubError;

/// A client's session between two events.
///
/// It keeps fingerprints in place of former copies: 8 bytes each.
pub(super) struct Session<S> {
    copy: Copy<S>,
    /// The last of the gateway's copies.
    seen: u64,
    /// What was written here and did not come back yet, oldest first. Invariant: no longer than the
    /// number of events that were under way.
    written: VecDeque<u64>,
}

enum Copy<S> {
    /// As the gateway sent it: no handler has asked for it yet, or one failed.
    Bytes(Bytes),
    /// Read, with its fingerprint.
    Read(S, Option<u64>),
    /// A handler has it, and had it with this fingerprint.
    Out(Option<u64>),
}

impl<S: Serialize + DeserializeOwned + Default + 'static> Session<S> {
    /// Returns the session of a client that is new here.
    pub(super) fn new(bytes: Bytes, fingerprints: &Fingerprints) -> Self {
        let seen = fingerprints.of_bytes(&bytes);
        Self { copy: Copy::Bytes(bytes), seen, written: VecDeque::new() }
    }

    /// The gateway's copy came with an event, or with the client itself.
    pub(super) fn incoming(&mut self, bytes: &Bytes, fingerprints: &Fingerprints) {
        let hash = fingerprints.of_bytes(bytes);
        if hash == self.seen {
            return;
        }
        self.seen = hash;
        if let Some(place) = self.written.iter().position(|written| *written == hash) {
            self.written.drain(..=place);
            if self.written.is_empty() {
                self.written = VecDeque::new();
            }
            return;
        }
        self.written = VecDeque::new();
        self.copy = Copy::Bytes(bytes.clone());
    }

    /// Hands the session to a handler.
    ///
    /// # Errors
    /// The bytes do not fit the type; they are kept.
    pub(super) fn take(&mut self, fingerprints: &mut Fingerprints) -> Result<S, HubError> {
        match std::mem::replace(&mut self.copy, Copy::Bytes(Bytes::new())) {
            Copy::Read(value, before) => {
                self.copy = Copy::Out(before);
                Ok(value)
            }
            Copy::Out(before) => {
                self.copy = Copy::Out(before);
                Ok(S::default())
            }
            Copy::Bytes(bytes) => {
                // A type that cannot be written is told of at once, not when it has changed.
                let read = session::decode(&bytes)
                    .and_then(|value: S| session::encode(&value).map(|_| value));
                match read {
                    Ok(value) => {
                        self.copy = Copy::Out(fingerprints.of_value(&value));
                        Ok(value)
                    }
                    Err(error) => {
                        self.copy = Copy::Bytes(bytes);
                        Err(HubError::Session(error))
                    }
                }
            }
        }
    }

    /// Takes the session back from a handler; returns the bytes to write if it was changed.
    ///
    /// # Errors
    /// The session cannot be written; call [`Session::discard`].
    pub(super) fn give(
        &mut self,
        value: S,
        fingerprints: &mut Fingerprints,
    ) -> Result<Option<Bytes>, HubError> {
        let after = fingerprints.of_value(&value);
        let same = after.is_some() && matches!(self.copy, Copy::Out(before) if before == after);
        if same {
            self.copy = Copy::Read(value, after);
            return Ok(None);
        }
        let bytes = session::encode(&value).map_err(HubError::Session)?;
        self.copy = Copy::Read(value, after);
        self.written.push_back(fingerprints.of_bytes(&bytes));
        Ok(Some(bytes))
    }

    /// A handler failed: what it did to the session is void, and the gateway's copy counts.
    pub(super) fn discard(&mut self, bytes: &Bytes) {
        self.copy = Copy::Bytes(bytes.clone());
        self.written = VecDeque::new();
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
