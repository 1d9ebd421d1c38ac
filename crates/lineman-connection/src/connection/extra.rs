//! What few connections have: data of the application's, rates, pipes, a change of protocol, a reason
//! to end.
//!
//! It is one pointer of an entry, and empty on a connection that uses none of it.

use std::any::Any;
use std::hash::{Hash as _, Hasher};
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use tokio::time::Instant;

use super::entry::{Entry, EntryId};
use super::limits::Limits;
use super::rate::Bucket;
use super::reason::Limit;
use super::{Address, CloseReason, Connection, Driver};
use crate::tls::Session;
use crate::work::AtHand;

/// Takes a message in the handler's place.
pub(super) type Forward<D> = Rc<dyn Fn(&Connection<D>, <D as Driver>::Inbound)>;

/// Makes the successor of an entry.
pub(super) type Succeed<D> = Box<dyn FnOnce(&Rc<Entry<D>>)>;

/// What goes on when a connection changes its protocol.
#[derive(Default)]
pub(super) struct Kept {
    pub(super) data: Option<Box<dyn Any>>,
    /// How often the application had its hands on that.
    pub(super) data_uses: u32,
    /// Connections whose messages are piped here, and which wait for room.
    pub(super) sources: Vec<EntryId>,
    /// Connections at the other end of a pipe: closed when this one is gone.
    pub(super) partners: Vec<EntryId>,
}

impl Kept {
    pub(super) fn keep(&mut self, data: Box<dyn Any>) {
        self.data = Some(data);
        self.data_uses = self.data_uses.wrapping_add(1);
    }

    pub(super) fn add_partner(&mut self, partner: EntryId) {
        if !self.partners.contains(&partner) {
            self.partners.push(partner);
        }
    }

    fn is_empty(&self) -> bool {
        self.data.is_none() && self.sources.is_empty() && self.partners.is_empty()
    }
}

pub(super) struct Extra<D: Driver> {
    pub(super) kept: Kept,
    /// The peer's address, as a proxy told it.
    pub(super) peer: Option<Address>,
    /// Why it ends: the first reason given.
    pub(super) reason: Option<CloseReason>,
    /// What waits for the end of the connection.
    pub(super) awaits_end: Option<Waker>,
    /// What a handler is at behind the end of the connection.
    pub(super) last_work: Option<AtHand>,
    /// The connection that messages go to instead of to the handler.
    pub(super) forward: Option<(EntryId, Forward<D>)>,
    /// TLS that is to begin in mid-stream.
    pub(super) session: Option<Box<Session>>,
    /// What is to go on with another protocol; TLS that was asked for begins before.
    pub(super) successor: Option<Succeed<D>>,
    /// The size of the message that the handler is at work on, if it is large.
    pub(super) at_work: usize,
    messages: Option<Bucket>,
    bytes: Option<Bucket>,
}

impl<D: Driver> Default for Extra<D> {
    fn default() -> Self {
        Self {
            kept: Kept::default(),
            peer: None,
            reason: None,
            awaits_end: None,
            last_work: None,
            forward: None,
            session: None,
            successor: None,
            at_work: 0,
            messages: None,
            bytes: None,
        }
    }
}

impl<D: Driver> Extra<D> {
    /// Returns what a connection of these limits begins with.
    pub(super) fn new(limits: &Limits, kept: Kept) -> Option<Box<Self>> {
        if limits.message_rate.is_none() && limits.byte_rate.is_none() && kept.is_empty() {
            return None;
        }
        let messages = limits.message_rate.map(Bucket::new);
        let bytes = limits.byte_rate.map(Bucket::new);
        Some(Box::new(Self { kept, messages, bytes, ..Self::default() }))
    }

    /// Adds what tells one moment of it from another, beside what comes and goes.
    pub(super) fn stamp(&self, stamp: &mut impl Hasher) {
        (self.kept.data_uses, self.kept.partners.len(), self.forward.is_some()).hash(stamp);
    }

    /// Returns what each of its rates has saved up, or owes.
    pub(super) fn saved_rates(&self, now: Instant) -> [Option<i64>; 2] {
        [&self.messages, &self.bytes].map(|rate| rate.as_ref().map(|bucket| bucket.saved(now)))
    }

    /// Goes on with what [`Extra::saved_rates`] returned; a rate that is not set any more is left out.
    pub(super) fn restore_rates(&mut self, [messages, bytes]: [Option<i64>; 2], now: Instant) {
        for (bucket, saved) in [(&mut self.messages, messages), (&mut self.bytes, bytes)] {
            if let (Some(bucket), Some(saved)) = (bucket, saved) {
                bucket.restore(saved, now);
            }
        }
    }

    /// Counts what came; returns the rate that was exceeded, and for how long it is.
    pub(super) fn spend(&mut self, messages: u32, bytes: usize) -> Option<(Limit, Duration)> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let spend = |bucket: &mut Option<Bucket>, count| match bucket {
            Some(bucket) if count > 0 => bucket.spend(count),
            Some(_) | None => None,
        };
        let by_messages = spend(&mut self.messages, messages);
        let by_bytes = spend(&mut self.bytes, bytes);
        let by_messages = by_messages.map(|time| (Limit::MessageRate, time));
        by_messages.or(by_bytes.map(|time| (Limit::ByteRate, time)))
    }
}
