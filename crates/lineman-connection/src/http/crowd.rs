//! How many requests each address has under way at a service, on all its connections. Asked by `guarded`;
//! a request's place is free again when its exchange ends.

use std::cell::RefCell;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::rc::Rc;

use rustc_hash::FxHashMap;

use crate::connection::network_of;

/// An IPv6 network of this size is one address: see `connection::Limits::ipv6_prefix`.
const IPV6_PREFIX: u8 = 64;

/// The requests under way of a service, by address.
#[derive(Debug, Default)]
pub(super) struct Crowd(RefCell<FxHashMap<IpAddr, usize>>);

/// A request's place.
pub(super) struct Seat {
    crowd: Rc<Crowd>,
    address: IpAddr,
}

impl Crowd {
    /// Gives a request its place among those of its address; `None` if that has `most` already.
    pub(super) fn enter(self: &Rc<Self>, address: IpAddr, most: usize) -> Option<Seat> {
        let address = network_of(address, IPV6_PREFIX);
        let mut counts = self.0.borrow_mut();
        let count = counts.get(&address).copied().unwrap_or_default();
        if count >= most {
            return None;
        }
        counts.insert(address, count + 1);
        Some(Seat { crowd: Rc::clone(self), address })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Entry::Occupied(mut count) = self.crowd.0.borrow_mut().entry(self.address) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}
