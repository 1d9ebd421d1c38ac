//! Which uids and groups a gateway has clients of, as it tells its businesses: by keys, not by names.

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::{Command, Error, Packet};

/// The key of a uid or a group: 63 bits of a hash that both ends know.
///
/// Two names of one key cost a packet that a gateway has no client for, and nothing else, so it does not
/// matter that a user can choose such names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NameKey(u64);

impl NameKey {
    /// Returns the key of a uid.
    pub fn of_uid(uid: &[u8]) -> Self {
        Self::of(b'u', uid)
    }

    /// Returns the key of a group.
    pub fn of_group(group: &[u8]) -> Self {
        Self::of(b'g', group)
    }

    /// FNV-1a of 64 bits over a byte for the kind and the name: a few lines that stay what they are, for both
    /// ends have to agree and may be of different releases.
    fn of(kind: u8, name: &[u8]) -> Self {
        let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        Self(name.iter().fold(step(0xcbf2_9ce4_8422_2325, &kind), step) & !HELD)
    }
}

/// The bit of a change that says that the gateway has clients of that name now.
const HELD: u64 = 1;

/// A name has its first client, or lost its last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Which name.
    pub key: NameKey,
    /// Whether the gateway has clients of it now.
    pub held: bool,
}

impl Change {
    fn to_bits(self) -> u64 {
        self.key.0 | u64::from(self.held)
    }

    fn from_bits(bits: u64) -> Self {
        Self { key: NameKey(bits & !HELD), held: bits & HELD != 0 }
    }
}

/// How much the business knows of the gateway behind this packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// It has to forget what it knew: everything is told anew.
    Begin,
    /// As much as before, and the changes.
    Go,
    /// Everything: what it has not been told of has no clients there.
    Whole,
}

/// The body of [`Command::HeldNames`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldNames {
    /// Whether something was told before this, and something is left.
    pub stage: Extent,
    /// How many binds and joins of this link the gateway has dealt with so far; the number wraps.
    pub claims: u32,
    /// How many changes there have been at the gateway so far; it only grows while a link lives.
    pub version: u64,
    changes: Bytes,
}

/// What stands before the changes: the stage and the version.
const HEAD: usize = 1 + size_of::<u64>();

impl HeldNames {
    /// Returns a packet with these changes, in their order.
    pub fn new(
        stage: Extent,
        claims: u32,
        version: u64,
        changes: impl ExactSizeIterator<Item = Change>,
    ) -> Self {
        let mut bytes = BytesMut::with_capacity(changes.len() * size_of::<u64>());
        changes.for_each(|change| bytes.put_u64(change.to_bits()));
        Self { stage, claims, version, changes: bytes.freeze() }
    }

    /// Returns the changes, in their order: the last one of a name is how it is now.
    pub fn changes(&self) -> impl ExactSizeIterator<Item = Change> {
        let (changes, _) = self.changes.as_chunks::<8>();
        changes.iter().map(|bits| Change::from_bits(u64::from_be_bytes(*bits)))
    }
}

impl TryFrom<Packet> for HeldNames {
    type Error = Error;

    /// # Errors
    /// The ext data is no stage and version, or the body is no list of changes.
    fn try_from(packet: Packet) -> Result<Self, Error> {
        let read = || {
            let (stage, version) = packet.ext.split_first()?;
            let stage = match stage {
                0 => Extent::Begin,
                1 => Extent::Go,
                2 => Extent::Whole,
                _ => return None,
            };
            let version = u64::from_be_bytes(version.try_into().ok()?);
            let whole = packet.body.len().is_multiple_of(size_of::<u64>());
            whole.then_some((stage, version))
        };
        let expected = "a stage, a version and changes of eight bytes";
        let (stage, version) = read().ok_or(Error::Shape { command: packet.command, expected })?;
        Ok(Self { stage, claims: packet.connection_id, version, changes: packet.body })
    }
}

impl From<HeldNames> for Packet {
    fn from(entries: HeldNames) -> Self {
        let mut ext = BytesMut::with_capacity(HEAD);
        ext.put_u8(match entries.stage {
            Extent::Begin => 0,
            Extent::Go => 1,
            Extent::Whole => 2,
        });
        ext.put_u64(entries.version);
        let (ext, body) = (ext.freeze(), entries.changes);
        Self { ext, body, ..Self::new(Command::HeldNames, entries.claims) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_what_both_ends_take_them_for() {
        // FNV-1a of "uada" and "gada", without the last bit.
        assert_eq!(NameKey::of_uid(b"ada"), NameKey(0xf422_ade4_45b2_f74c));
        assert_eq!(NameKey::of_group(b"ada"), NameKey(0x8ac2_9572_041c_7816));
        assert_ne!(NameKey::of_uid(b""), NameKey::of_group(b""));
    }

    #[test]
    fn entries_come_back_in_their_order() {
        let (ada, lobby) = (NameKey::of_uid(b"ada"), NameKey::of_group(b"lobby"));
        let changes = [(ada, true), (lobby, true), (ada, false)];
        let changes = changes.map(|(key, held)| Change { key, held });
        for stage in [Extent::Begin, Extent::Go, Extent::Whole] {
            let entries = HeldNames::new(stage, 7, 1 << 40, changes.into_iter());
            let packet = Packet::from(entries.clone());
            assert_eq!((packet.ext.len(), packet.body.len()), (9, 24));
            let back = HeldNames::try_from(packet).unwrap();
            assert_eq!(back, entries);
            assert_eq!(back.changes().collect::<Vec<_>>(), changes);
        }
    }

    #[test]
    fn what_is_no_list_of_entries_is_refused() {
        let good = Packet::from(HeldNames::new(Extent::Go, 0, 0, [].into_iter()));
        let ext = |ext: &'static [u8]| Packet { ext: ext.into(), ..good.clone() };
        let body = |body: &'static [u8]| Packet { body: body.into(), ..good.clone() };
        for bad in [ext(b""), ext(&[3; 9]), ext(&[1; 8]), ext(&[1; 10]), body(&[0; 7])] {
            assert!(matches!(HeldNames::try_from(bad), Err(Error::Shape { .. })));
        }
        assert!(HeldNames::try_from(good).is_ok());
    }
}
