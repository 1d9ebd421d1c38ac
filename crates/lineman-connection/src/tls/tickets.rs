//! Session tickets (RFC 5077, RFC 8446 section 4.6.1) under keys that the master makes and all its
//! workers share, so that whichever of them a client comes back to goes on with its session.

use std::sync::{Arc, PoisonError, RwLock};

use lineman_wire::ticket_keys::{NAME, ROTATION, TicketKey, TicketKeys};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use rustls::server::ProducesTickets;

const TAG: usize = 16;

/// A worker's view of the keys; empty, and no tickets are made, until the master has sent some. The
/// lock is for rustls, which wants what it is given to be shareable; no thread ever waits for it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tickets(Arc<RwLock<Option<TicketKeys>>>);

impl Tickets {
    /// Puts these keys in force.
    pub(crate) fn accept(&self, keys: TicketKeys) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(keys);
    }

    /// Returns what makes and takes tickets for listeners of this `context`. A ticket of another
    /// context is not taken: a session that began where no client certificate is required must not go
    /// on where one is.
    pub(crate) fn producer(&self, context: [u8; 32]) -> Arc<dyn ProducesTickets> {
        Arc::new(Producer { tickets: self.clone(), context })
    }

    fn with<T>(&self, use_keys: impl FnOnce(&TicketKeys) -> Option<T>) -> Option<T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).as_ref().and_then(use_keys)
    }
}

#[derive(Debug)]
struct Producer {
    tickets: Tickets,
    context: [u8; 32],
}

impl Producer {
    /// Key name, nonce, sealed session, tag.
    fn seal(&self, key: &TicketKey, session: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).ok()?;
        let mut ticket = Vec::with_capacity(NAME + NONCE_LEN + session.len() + TAG);
        ticket.extend(key.name);
        ticket.extend(nonce);
        ticket.extend(session);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let sealed = ticket.get_mut(NAME + NONCE_LEN..)?;
        let tag = cipher(key)?.seal_in_place_separate_tag(nonce, Aad::from(self.context), sealed);
        ticket.extend(tag.ok()?.as_ref());
        Some(ticket)
    }

    fn open(&self, keys: &TicketKeys, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_first_chunk::<NAME>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let mut known = std::iter::once(&keys.newest).chain(&keys.previous);
        let key = known.find(|key| key.name == *name)?;
        let mut session = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = cipher(key)?.open_in_place(nonce, Aad::from(self.context), &mut session);
        let length = opened.ok()?.len();
        session.truncate(length);
        Some(session)
    }
}

fn cipher(key: &TicketKey) -> Option<LessSafeKey> {
    UnboundKey::new(&AES_256_GCM, &key.key).ok().map(LessSafeKey::new)
}

impl ProducesTickets for Producer {
    fn enabled(&self) -> bool {
        self.tickets.with(|_| Some(())).is_some()
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(ROTATION.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, session: &[u8]) -> Option<Vec<u8>> {
        self.tickets.with(|keys| self.seal(&keys.newest, session))
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.tickets.with(|keys| self.open(keys, ticket))
    }
}

/// Returns a key as the master makes them.
#[cfg(test)]
pub(super) fn random_key() -> TicketKey {
    let mut key = TicketKey { name: [0; NAME], key: [0; 32] };
    getrandom::fill(&mut key.name).expect("the kernel has random bytes");
    getrandom::fill(&mut key.key).expect("the kernel has random bytes");
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_lives_for_one_rotation_and_in_its_context() {
        let mut keys = TicketKeys::first(random_key());
        let tickets = Tickets::default();
        let producer = tickets.producer([1; 32]);
        assert!(!producer.enabled());
        assert_eq!(producer.encrypt(b"session"), None);
        tickets.accept(keys.clone());
        let ticket = producer.encrypt(b"session").unwrap();
        assert_eq!(producer.decrypt(&ticket).unwrap(), b"session");
        assert_eq!(tickets.producer([2; 32]).decrypt(&ticket), None);

        keys.rotate(random_key());
        tickets.accept(keys.clone());
        assert_eq!(producer.decrypt(&ticket).unwrap(), b"session");
        keys.rotate(random_key());
        tickets.accept(keys);
        assert_eq!(producer.decrypt(&ticket), None);
    }

    #[test]
    fn a_damaged_ticket_is_none() {
        let tickets = Tickets::default();
        tickets.accept(TicketKeys::first(random_key()));
        let producer = tickets.producer([1; 32]);
        let ticket = producer.encrypt(b"session").unwrap();
        for length in 0..ticket.len() {
            assert_eq!(producer.decrypt(&ticket[..length]), None);
            let mut damaged = ticket.clone();
            damaged[length] ^= 1;
            assert_eq!(producer.decrypt(&damaged), None);
        }
    }
}
