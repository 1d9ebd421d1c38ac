//! The keys of TLS session tickets as they cross from the master, which makes them, to its workers,
//! which seal with them. Plain bytes: no randomness and no cipher.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How often the master makes a new key. A ticket is good for this long at least and twice this long
/// at most; a thief of a key reads what was resumed within (TLS 1.2 alone: in TLS 1.3 a resumed
/// session makes new secrets). rustls's own ticketer rotates as often.
pub const ROTATION: Duration = Duration::from_hours(6);

/// The bytes of a key's name.
pub const NAME: usize = 16;

/// The keys in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketKeys {
    /// Seals new tickets.
    pub newest: TicketKey,
    /// The one before: its tickets are still taken.
    pub previous: Option<TicketKey>,
}

/// One key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketKey {
    /// Stands in front of its tickets, in the clear.
    pub name: [u8; NAME],
    /// For AES-256-GCM.
    pub key: [u8; 32],
}

impl TicketKeys {
    /// Returns the keys of a program that has one key so far.
    pub fn first(key: TicketKey) -> Self {
        Self { newest: key, previous: None }
    }

    /// Puts a new key in force; the newest becomes the previous one.
    pub fn rotate(&mut self, key: TicketKey) {
        self.previous = Some(std::mem::replace(&mut self.newest, key));
    }
}

impl fmt::Debug for TicketKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Keys stay out of logs.
        formatter.write_str("TicketKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> TicketKey {
        TicketKey { name: [byte; NAME], key: [byte; 32] }
    }

    #[test]
    fn a_key_is_the_newest_then_the_previous_then_gone() {
        let mut keys = TicketKeys::first(key(1));
        assert_eq!((&keys.newest, &keys.previous), (&key(1), &None));
        keys.rotate(key(2));
        assert_eq!((&keys.newest, &keys.previous), (&key(2), &Some(key(1))));
        keys.rotate(key(3));
        assert_eq!((&keys.newest, &keys.previous), (&key(3), &Some(key(2))));
    }

    #[test]
    fn keys_survive_the_way() {
        let mut keys = TicketKeys::first(key(1));
        keys.rotate(key(2));
        let text = serde_json::to_string(&keys).unwrap();
        assert_eq!(serde_json::from_str::<TicketKeys>(&text).unwrap(), keys);
    }

    #[test]
    fn keys_are_not_printed() {
        let keys = TicketKeys::first(key(1));
        assert_eq!(format!("{keys:?}"), "TicketKeys { newest: TicketKey(..), previous: None }");
    }
}
