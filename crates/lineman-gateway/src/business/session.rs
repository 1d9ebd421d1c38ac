//! The session of one client as its business holds it, and the rule which of two copies is right.
//!
//! A gateway of ours sends its copy when others have changed it, and says so by a version; what is written here are the
//! changed fields, see [`SessionChanges`]. Others send their copy with every event. Events that were under way when a
//! handler wrote still bring the old one, so the local copy wins, unless the gateway's is one that is neither the last
//! one seen nor one that was written here: then another process has changed it.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;

use bytes::Bytes;
use lineman_wire::link::{
    self, ClientId, Order, SessionForm, SessionPatch, SessionVersion, session,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::fingerprint::Fingerprints;
use super::session_changes::SessionChanges;
use crate::error::HubError;

/// A client's session between two events.
pub(super) struct Session<S> {
    copy: Copy<S>,
    track: Track,
    /// How many bytes it holds beside the value, and the sum of all sessions.
    held: usize,
    sum: Rc<Cell<usize>>,
}

enum Copy<S> {
    /// As the gateway sent it: no handler has asked for it yet, or one failed.
    Bytes(Bytes),
    /// Read, with its fingerprint.
    Read(S, Option<u64>),
    /// A handler has it, and had it with this fingerprint.
    Out(Option<u64>),
    /// It did not come, though it should have come before.
    Missing,
}

/// How it is known what the gateway has.
enum Track {
    /// It says which version it sends.
    Version(Box<SessionChanges>),
    /// By what it sends.
    Content(Seen),
}

/// Fingerprints in place of former copies: 8 bytes each.
struct Seen {
    /// The last of the gateway's copies.
    last: u64,
    /// What was written here and did not come back yet, oldest first. Invariant: no longer than the
    /// number of events that were under way.
    written: VecDeque<u64>,
}

/// What is to be written to the gateway.
#[derive(Debug, PartialEq)]
pub(super) enum SessionWrite {
    /// The session.
    Whole(Bytes),
    /// What has changed in it, and what it was before.
    Patch(SessionPatch, Bytes),
}

impl SessionWrite {
    /// Returns the command, and the session to go back to if it cannot be sent.
    pub(super) fn into_order(self, client: ClientId) -> (Order, Option<Bytes>) {
        let connection_id = client.connection_id;
        match self {
            Self::Whole(session) => (Order::SetSession { connection_id, session }, None),
            Self::Patch(patch, former) => {
                (Order::PatchSession { connection_id, patch }, Some(former))
            }
        }
    }
}

impl Seen {
    /// The gateway's copy came; returns whether it counts.
    fn is_changed_by(&mut self, hash: u64) -> bool {
        if hash == self.last {
            return false;
        }
        self.last = hash;
        if let Some(place) = self.written.iter().position(|written| *written == hash) {
            self.written.drain(..=place);
            if self.written.is_empty() {
                self.written = VecDeque::new();
            }
            return false;
        }
        self.written = VecDeque::new();
        true
    }
}

impl<S: Serialize + DeserializeOwned + Default + 'static> Session<S> {
    /// Returns the session of a client that is new here; `sum` counts what all sessions hold.
    pub(super) fn new(
        client: &link::Client,
        fingerprints: &Fingerprints,
        sum: &Rc<Cell<usize>>,
    ) -> Self {
        let bytes = client.session.clone();
        let by_content = |last| Track::Content(Seen { last, written: VecDeque::new() });
        let (copy, track) = match client.form {
            SessionForm::Whole => {
                let last = fingerprints.of_bytes(&bytes);
                (Copy::Bytes(bytes), by_content(last))
            }
            SessionForm::Versioned(version) => {
                (Copy::Bytes(bytes), Track::Version(Box::new(SessionChanges::new(version))))
            }
            SessionForm::Known(_) => (Copy::Missing, by_content(0)),
        };
        let mut new = Self { copy, track, held: 0, sum: Rc::clone(sum) };
        new.count();
        new
    }

    /// The gateway's copy came with an event, or word that it is as it was.
    pub(super) fn incoming(&mut self, client: &link::Client, fingerprints: &Fingerprints) {
        match (client.form, &mut self.track) {
            (SessionForm::Known(version), Track::Version(changes)) => {
                if let Some(version) = version {
                    changes.confirm(version);
                }
            }
            (SessionForm::Known(_), Track::Content(_)) => {}
            (SessionForm::Whole, Track::Content(seen)) => {
                if seen.is_changed_by(fingerprints.of_bytes(&client.session)) {
                    self.copy = Copy::Bytes(client.session.clone());
                }
            }
            (SessionForm::Versioned(version), Track::Version(changes)) => {
                changes.confirm(version);
                if changes.seen != version.changes {
                    self.take_in(version, &client.session);
                }
            }
            (SessionForm::Versioned(_), Track::Content(_))
            | (SessionForm::Whole, Track::Version(_)) => {
                let sum = Rc::clone(&self.sum);
                *self = Self::new(client, fingerprints, &sum);
            }
        }
        self.count();
    }

    /// The client itself came, from another business: what its gateway has counts.
    pub(super) fn adopted(&mut self, client: &link::Client, fingerprints: &Fingerprints) {
        match (client.form, &mut self.track) {
            (SessionForm::Versioned(version), Track::Version(changes)) => {
                changes.forget();
                self.take_in(version, &client.session);
                self.count();
            }
            _ => self.incoming(client, fingerprints),
        }
    }

    /// The gateway's copy counts, but for what was written here and is not in it.
    fn take_in(&mut self, version: SessionVersion, theirs: &Bytes) {
        let Track::Version(changes) = &mut self.track else { return };
        let merged = match &self.copy {
            Copy::Out(_) => {
                changes.newer = Some((version, theirs.clone()));
                return;
            }
            Copy::Bytes(ours) => changes.merged(theirs, ours),
            Copy::Read(..) => changes.merged(theirs, &changes.base),
            Copy::Missing => theirs.clone(),
        };
        changes.seen = version.changes;
        self.copy = Copy::Bytes(merged);
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
            Copy::Missing => {
                self.copy = Copy::Missing;
                Err(HubError::Session(link::Error::SessionMissing))
            }
            Copy::Bytes(bytes) => {
                // A type that cannot be written is told of at once, not when it has changed.
                let read = session::decode(&bytes)
                    .and_then(|value: S| session::encode(&value).map(|encoded| (value, encoded)));
                match read {
                    Ok((value, encoded)) => {
                        self.copy = Copy::Out(fingerprints.of_value(&value));
                        if let Track::Version(changes) = &mut self.track {
                            changes.hand_out(&bytes, encoded);
                        }
                        self.count();
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

    /// Takes the session back from a handler; returns what is to be written if it was changed. `number` is that of the
    /// write, and of no other one.
    ///
    /// # Errors
    /// The session cannot be written; call [`Session::discard`].
    pub(super) fn give(
        &mut self,
        value: S,
        fingerprints: &mut Fingerprints,
        number: u32,
    ) -> Result<Option<SessionWrite>, HubError> {
        let after = fingerprints.of_value(&value);
        let same = after.is_some() && matches!(self.copy, Copy::Out(before) if before == after);
        let written = match &mut self.track {
            _ if same => None,
            Track::Content(seen) => {
                let bytes = session::encode(&value).map_err(HubError::Session)?;
                seen.written.push_back(fingerprints.of_bytes(&bytes));
                Some(SessionWrite::Whole(bytes))
            }
            Track::Version(changes) => {
                let fields = session::fields(&value).map_err(HubError::Session)?;
                let former = changes.base.clone();
                let patch = changes.write(fields.unwrap_or_default(), number);
                let patch = patch.map_err(HubError::Session)?;
                patch.map(|patch| SessionWrite::Patch(patch, former))
            }
        };
        self.copy = Copy::Read(value, after);
        self.catch_up();
        Ok(written)
    }

    /// A handler failed: what it did to the session is void, and what it was before counts: the gateway's copy, or
    /// `former` if the write could not be sent.
    pub(super) fn discard(&mut self, former: &Bytes) {
        match (&mut self.track, &self.copy) {
            (Track::Version(changes), Copy::Out(_)) => {
                self.copy = Copy::Bytes(changes.base.clone());
            }
            // It was not read.
            (Track::Version(_), Copy::Bytes(_) | Copy::Missing) => {}
            (Track::Version(_), Copy::Read(..)) => self.copy = Copy::Bytes(former.clone()),
            (Track::Content(seen), _) => {
                seen.written = VecDeque::new();
                self.copy = Copy::Bytes(former.clone());
            }
        }
        self.catch_up();
    }

    /// What came while a handler had the session is dealt with.
    fn catch_up(&mut self) {
        if let Track::Version(changes) = &mut self.track
            && let Some((version, newer)) = changes.newer.take()
        {
            self.take_in(version, &newer);
        }
        self.count();
    }

    fn count(&mut self) {
        let held = match (&self.copy, &self.track) {
            (Copy::Bytes(bytes), _) => bytes.len(),
            (_, Track::Version(changes)) => changes.base.len(),
            (_, Track::Content(_)) => 0,
        };
        self.sum.set(self.sum.get() + held - self.held);
        self.held = held;
    }
}

impl<S> Drop for Session<S> {
    fn drop(&mut self) {
        self.sum.set(self.sum.get() - self.held);
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
