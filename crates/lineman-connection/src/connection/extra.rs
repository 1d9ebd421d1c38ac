//! What few connections have: data of the application's, rates, a pipe, a protocol to change to,
//! a reason to end.
//!
//! It is one pointer of an entry, and empty on a connection that uses none of it.

use std::any::Any;
use std::rc::Rc;
use std::time::Duration;

use super::entry::Entry;
use super::limits::Limits;
use super::rate::Bucket;
use super::reason::Limit;
use super::{Address, CloseReason, Driver};
use crate::tls::Session;

/// Takes a message in the handler's place.
pub(super) type Forward<D> = Rc<dyn Fn(<D as Driver>::Inbound)>;
/// Makes the successor of an entry.
pub(super) type Successor<D> = Box<dyn FnOnce(&Rc<Entry<D>>)>;

pub(super) struct Extra<D: Driver> {
    pub(super) data: Option<Box<dyn Any>>,
    /// The peer's address, as a proxy told it.
    pub(super) peer: Option<Address>,
    /// Why it ends: the first reason given.
    pub(super) reason: Option<CloseReason>,
    /// Where messages go instead of to the handler.
    pub(super) forward: Option<Forward<D>>,
    /// What others wait for: that this connection's queue is empty, and that it is gone.
    pub(super) when_drained: Vec<Box<dyn FnOnce()>>,
    pub(super) when_gone: Vec<Box<dyn FnOnce()>>,
    pub(super) successor: Option<Successor<D>>,
    /// TLS that begins in mid-stream.
    pub(super) session: Option<Box<Session>>,
    messages: Option<Bucket>,
    bytes: Option<Bucket>,
}

impl<D: Driver> Default for Extra<D> {
    fn default() -> Self {
        Self {
            data: None,
            peer: None,
            reason: None,
            forward: None,
            when_drained: Vec::new(),
            when_gone: Vec::new(),
            successor: None,
            session: None,
            messages: None,
            bytes: None,
        }
    }
}

impl<D: Driver> Extra<D> {
    /// Returns what a connection of these limits begins with.
    pub(super) fn new(limits: &Limits) -> Option<Box<Self>> {
        if limits.message_rate.is_none() && limits.byte_rate.is_none() {
            return None;
        }
        let messages = limits.message_rate.map(Bucket::new);
        let bytes = limits.byte_rate.map(Bucket::new);
        Some(Box::new(Self { messages, bytes, ..Self::default() }))
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
