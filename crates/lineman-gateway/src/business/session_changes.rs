//! What a business has changed in the session of one client, and how that meets what others have changed.
//!
//! Called by [`super::session`], for gateways that say which version of a session they send. It sends nothing.

use bytes::Bytes;
use lineman_wire::link::{self, HEADER_LENGTH, MAX_PACKET, SessionPatch, SessionVersion};
use lineman_wire::php::{self, Array, Key, Value};

/// What is known of the gateway's copy.
#[derive(Debug, Default)]
pub(super) struct SessionChanges {
    /// Up to which change of others it is known.
    pub(super) seen: u32,
    /// The fields of the handlers' type as the gateway has them, or will when it has all that was written here.
    pub(super) base: Bytes,
    /// Fields that were written here and may be missing in what the gateway sends, each with the number of the write.
    /// Bounded by the writes of events that were under way.
    unconfirmed: Vec<(Key, u32)>,
    /// What the gateway sent while a handler had the session.
    pub(super) newer: Option<(SessionVersion, Bytes)>,
}

impl SessionChanges {
    pub(super) fn new(version: SessionVersion) -> Self {
        Self { seen: version.changes, ..Self::default() }
    }

    /// The gateway says up to which write it has what was written here.
    pub(super) fn confirm(&mut self, version: SessionVersion) {
        let is_behind = |number: u32| number.wrapping_sub(version.written).cast_signed() > 0;
        if version.written != 0 && !self.unconfirmed.is_empty() {
            self.unconfirmed.retain(|(_, number)| is_behind(*number));
        }
    }

    /// The gateway's copy counts from now on, whatever was written here.
    pub(super) fn forget(&mut self) {
        self.unconfirmed = Vec::new();
    }

    /// A handler gets the session that is `theirs` at the gateway, which as a value of the handler's type has `ours`.
    pub(super) fn hand_out(&mut self, theirs: &Bytes, ours: Bytes) {
        if *theirs == ours {
            self.base = ours;
            return;
        }
        // What the gateway does not have, it is sent with the first change.
        let theirs = fields_of(theirs);
        let both = fields_of(&ours).into_iter().filter(|(key, _)| theirs.contains_key(key.clone()));
        self.base = bytes_of(both.collect());
    }

    /// A handler has left these fields: returns what is to be written, if anything.
    ///
    /// # Errors
    /// No packet could carry a session of that length.
    pub(super) fn write(
        &mut self,
        fields: Array,
        number: u32,
    ) -> Result<Option<SessionPatch>, link::Error> {
        let before = fields_of(&self.base);
        let is_new = |(key, value): &(&Key, &Value)| before.get((*key).clone()) != Some(*value);
        let clone = |(key, value): (&Key, &Value)| (key.clone(), value.clone());
        let set: Array = fields.iter().filter(is_new).map(clone).collect();
        let is_gone = |key: &&Key| !fields.contains_key((*key).clone());
        let removed: Vec<Key> = before.keys().filter(is_gone).cloned().collect();
        if set.is_empty() && removed.is_empty() {
            return Ok(None);
        }
        let after = bytes_of(fields);
        let (length, limit) = (after.len() + HEADER_LENGTH, MAX_PACKET);
        if length > limit {
            return Err(link::Error::PacketTooLong { length, limit });
        }
        for key in set.keys().chain(&removed) {
            match self.unconfirmed.iter_mut().find(|(known, _)| known == key) {
                Some((_, last)) => *last = number,
                None => self.unconfirmed.push((key.clone(), number)),
            }
        }
        self.base = after;
        Ok(Some(SessionPatch { base: self.seen, number, fields: bytes_of(set), removed }))
    }

    /// Returns the gateway's copy with what was written here, of which `ours` has the values, and it has not.
    pub(super) fn merged(&self, theirs: &Bytes, ours: &[u8]) -> Bytes {
        if self.unconfirmed.is_empty() {
            return theirs.clone();
        }
        let ours = fields_of(ours);
        let (mut fields, mut removed) = (Array::new(), Vec::new());
        for (key, _) in &self.unconfirmed {
            match ours.get(key.clone()) {
                Some(value) => _ = fields.insert(key.clone(), value.clone()),
                None => removed.push(key.clone()),
            }
        }
        let merged =
            php::replace_fields(theirs, &bytes_of(fields), &removed, php::Limits::default());
        // What cannot be read is refused when a handler is to have it.
        merged.map_or_else(|_| theirs.clone(), Bytes::from)
    }
}

/// Returns the fields of a session; none of one that cannot be read.
fn fields_of(session: &[u8]) -> Array {
    match php::unserialize(session, php::Limits::default()) {
        Ok(Value::Array(fields)) => fields,
        _ => Array::new(),
    }
}

fn bytes_of(fields: Array) -> Bytes {
    Bytes::from(php::serialize(&Value::Array(fields)))
}
