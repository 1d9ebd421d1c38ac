//! The session of one client as its gateway keeps it, and what the client's business has of it.
//!
//! A business of ours keeps the sessions of its clients: it is sent one when others have changed it, and sends what it
//! has changed itself, field by field. It sends nothing, and knows no link but by its number.

use bytes::Bytes;
use lineman_wire::link::{
    HEADER_LENGTH, MAX_PACKET, Packet, SessionForm, SessionPatch, SessionVersion,
};
use lineman_wire::php::{self, Key};
use serde::{Deserialize, Serialize};

use super::links::{Link, LinkId};

/// How many fields are remembered that others have changed, the latest: beyond them conflicts are not counted.
const MOST_OTHERS: usize = 64;

/// A session, and who has which version of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct ClientSession {
    /// PHP-serialized, as it was written; empty for none.
    #[serde(with = "crate::written")]
    bytes: Bytes,
    version: SessionVersion,
    /// The link whose business was told of the session, and of which version, unless it is to be told anew.
    told: Option<(LinkId, Option<SessionVersion>)>,
    /// The fields that others have changed since that business wrote, each with the change.
    #[serde(with = "crate::written")]
    #[expect(clippy::box_collection, reason = "few clients have one, and all have the pointer")]
    others: Option<Box<Vec<(Key, u32)>>>,
}

impl ClientSession {
    /// Returns the session of a packet about the client, which has a version where its link is of ours.
    pub(super) fn of(packet: &Packet) -> Self {
        let version = packet.session.version().unwrap_or_default();
        Self { bytes: packet.ext.clone(), version, told: None, others: None }
    }

    pub(super) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The next packet has the session, whatever its business was told before.
    pub(super) fn tell_anew(&mut self) {
        if let Some((_, version)) = &mut self.told {
            *version = None;
        }
    }

    /// Returns a packet about the client with the session, as the business of a link needs it that gets this packet next.
    pub(super) fn put_into(&mut self, packet: Packet, link: &Link) -> Packet {
        let (session, ext) = (self.form(link), self.bytes.clone());
        Packet { session, ext, ..packet }
    }

    fn form(&mut self, link: &Link) -> SessionForm {
        if !link.keeps_sessions() {
            self.told = None;
            return SessionForm::Whole;
        }
        let told = self.told.filter(|(told, _)| *told == link.id());
        if told.is_none() {
            // The numbers of writes are those of another business.
            self.version.written = 0;
            self.others = None;
        }
        self.told = Some((link.id(), Some(self.version)));
        match told.and_then(|(_, version)| version) {
            Some(before) if before == self.version => SessionForm::Known(None),
            Some(before) if before.changes == self.version.changes => {
                SessionForm::Known(Some(self.version))
            }
            Some(_) | None => SessionForm::Versioned(self.version),
        }
    }

    /// Sets the session that the client comes with, or that someone who did not see the one before sets.
    pub(super) fn set(&mut self, session: Bytes) {
        if session != self.bytes {
            let before = std::mem::replace(&mut self.bytes, session);
            self.changed_by_others(&before);
        }
    }

    /// Merges fields into it, see [`php::replace_recursive`].
    ///
    /// # Errors
    /// One of the two cannot be read, or the result is too long.
    pub(super) fn update(&mut self, changes: &[u8]) -> Result<(), php::Error> {
        let session = php::replace_recursive(&self.bytes, changes, limits())?;
        self.set(Bytes::from(session));
        Ok(())
    }

    /// Applies what the business of a link has changed; returns how many fields others had changed meanwhile to
    /// something else.
    ///
    /// # Errors
    /// The session or the fields cannot be read, or the result is too long; the business is told then what there is.
    pub(super) fn patch(&mut self, from: LinkId, patch: &SessionPatch) -> Result<u64, php::Error> {
        let is_own = self.told.is_some_and(|(link, _)| link == from);
        if is_own {
            self.version.written = patch.number;
            self.forget_others(patch.base);
        }
        let patched = php::replace_fields(&self.bytes, &patch.fields, &patch.removed, limits());
        let patched = match patched {
            Ok(patched) => Bytes::from(patched),
            Err(error) => {
                self.version.changes = self.version.changes.wrapping_add(1);
                return Err(error);
            }
        };
        let mut conflicts = 0;
        if let Some(others) = &self.others {
            let changed = php::changed_fields(&self.bytes, &patched, limits()).unwrap_or_default();
            let met = |key: &&Key| others.iter().any(|(other, _)| other == *key);
            conflicts = changed.iter().filter(met).count() as u64;
        }
        let before = std::mem::replace(&mut self.bytes, patched);
        if !is_own {
            self.changed_by_others(&before);
        }
        Ok(conflicts)
    }

    /// Another one than the client's business has changed it.
    fn changed_by_others(&mut self, before: &[u8]) {
        let change = self.version.changes.wrapping_add(1);
        self.version.changes = change;
        if self.told.is_none() {
            return;
        }
        // What cannot be read has no fields.
        let changed = php::changed_fields(before, &self.bytes, limits()).unwrap_or_default();
        let others = self.others.get_or_insert_default();
        for key in changed {
            others.retain(|(other, _)| *other != key);
            others.push((key, change));
        }
        let too_many = others.len().saturating_sub(MOST_OTHERS);
        others.drain(..too_many);
    }

    /// The business has seen the changes up to that one.
    fn forget_others(&mut self, seen: u32) {
        if let Some(others) = &mut self.others {
            others.retain(|(_, change)| change.wrapping_sub(seen).cast_signed() > 0);
            if others.is_empty() {
                self.others = None;
            }
        }
    }
}

impl From<Bytes> for ClientSession {
    fn from(bytes: Bytes) -> Self {
        Self { bytes, ..Self::default() }
    }
}

/// No packet about the client could carry a longer one.
fn limits() -> php::Limits {
    php::Limits { size: MAX_PACKET - HEADER_LENGTH, ..php::Limits::default() }
}
