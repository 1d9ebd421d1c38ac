//! Which connections are let in: the bounds of a listener as a whole, by count, by address and by time.
//!
//! A connection that leaves the table for HTTP takes its place along as an [`Admission`].

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;

use rustc_hash::FxHashMap;

use super::entry::EntryId;
use super::limits::Limits;
use super::rate::Bucket;
use super::reason::Limit;

/// Handshakes that are done and may stand on the list beside those under way.
const SPARE: usize = 64;

/// The connections of one listener in this process.
pub(crate) struct Population {
    most: Cell<usize>,
    most_per_address: Cell<usize>,
    /// Whether those of each address are counted.
    by_address: bool,
    ipv6_prefix: u8,
    arrivals: RefCell<Option<Bucket>>,
    connections: Cell<usize>,
    /// Connections of each address, or IPv6 network; empty unless they are bounded.
    addresses: RefCell<FxHashMap<IpAddr, usize>>,
    most_handshakes: Cell<usize>,
    handshakes: Cell<usize>,
    /// Connections that were in their handshake when they were added, oldest first.
    half_open: RefCell<VecDeque<EntryId>>,
}

/// The place of a connection on its way; it is free again when this is dropped.
pub(crate) struct Admission {
    population: Rc<Population>,
    address: Option<IpAddr>,
    kept: bool,
}

impl Population {
    pub(super) fn new(limits: &Limits) -> Rc<Self> {
        Rc::new(Self {
            most: Cell::new(limits.connections),
            most_per_address: Cell::new(limits.connections_per_address),
            by_address: limits.connections_per_address < usize::MAX,
            ipv6_prefix: limits.ipv6_prefix,
            arrivals: RefCell::new(limits.connection_rate.map(Bucket::new)),
            connections: Cell::new(0),
            addresses: RefCell::default(),
            most_handshakes: Cell::new(limits.handshakes),
            handshakes: Cell::new(0),
            half_open: RefCell::default(),
        })
    }

    /// Puts other bounds in force for what comes, but for `ipv6_prefix`: what is there was counted by the network that
    /// it was of then. What was not counted by address is not bounded by it.
    pub(super) fn bound(&self, limits: &Limits) {
        self.most.set(limits.connections);
        self.most_per_address.set(limits.connections_per_address);
        self.most_handshakes.set(limits.handshakes);
        self.arrivals.replace(limits.connection_rate.map(Bucket::new));
    }

    /// Counts a handshake under way. Beyond the bound it returns the oldest one, which gives way: a
    /// flood at a listener displaces its own half-open connections, and no other listener's.
    pub(super) fn begin_handshake(
        &self,
        id: EntryId,
        is_under_way: impl Fn(EntryId) -> bool,
    ) -> Option<EntryId> {
        self.handshakes.set(self.handshakes.get() + 1);
        let mut half_open = self.half_open.borrow_mut();
        half_open.push_back(id);
        if self.handshakes.get() <= self.most_handshakes.get() {
            // Those that are done leave the list when it has grown to twice what is under way.
            if half_open.len() > self.handshakes.get().saturating_mul(2) + SPARE {
                half_open.retain(|&id| is_under_way(id));
            }
            return None;
        }
        while let Some(oldest) = half_open.pop_front() {
            if is_under_way(oldest) {
                return Some(oldest);
            }
        }
        None
    }

    /// Takes the handshake that a connection has been through off the list: it begins another one, which
    /// is not as old.
    pub(super) fn forget_handshake(&self, id: EntryId) {
        self.half_open.borrow_mut().retain(|&listed| listed != id);
    }

    /// Ends what [`Population::begin_handshake`] began.
    pub(super) fn end_handshake(&self) {
        self.handshakes.set(self.handshakes.get().saturating_sub(1));
    }

    /// Gives a connection its place. `address` is `None` where it says nothing about the peer.
    pub(super) fn admit(&self, address: Option<IpAddr>) -> Result<(), Limit> {
        if self.connections.get() >= self.most.get() {
            return Err(Limit::Connections);
        }
        if let Some(arrivals) = &mut *self.arrivals.borrow_mut()
            && !arrivals.take(1)
        {
            return Err(Limit::ConnectionRate);
        }
        self.enter_address(address)?;
        self.connections.set(self.connections.get() + 1);
        Ok(())
    }

    /// Counts a connection for the address a proxy told instead of the one it came from.
    pub(super) fn readdress(&self, from: Option<IpAddr>, to: Option<IpAddr>) -> Result<(), Limit> {
        self.enter_address(to)?;
        self.leave_address(from);
        Ok(())
    }

    /// Counts a connection that was let in before, elsewhere in this process.
    pub(super) fn enter(&self, address: Option<IpAddr>) {
        if let Some(address) = self.bounded(address) {
            *self.addresses.borrow_mut().entry(address).or_default() += 1;
        }
        self.connections.set(self.connections.get() + 1);
    }

    /// Takes back what [`Population::admit`] gave.
    pub(super) fn leave(&self, address: Option<IpAddr>) {
        self.leave_address(address);
        self.connections.set(self.connections.get().saturating_sub(1));
    }

    /// Returns what is bounded for this address, if addresses are.
    fn bounded(&self, address: Option<IpAddr>) -> Option<IpAddr> {
        let address = address.filter(|_| self.by_address)?;
        Some(network_of(address, self.ipv6_prefix))
    }

    fn enter_address(&self, address: Option<IpAddr>) -> Result<(), Limit> {
        let Some(address) = self.bounded(address) else { return Ok(()) };
        let mut addresses = self.addresses.borrow_mut();
        let count = addresses.get(&address).copied().unwrap_or_default();
        if count >= self.most_per_address.get() {
            return Err(Limit::ConnectionsPerAddress);
        }
        addresses.insert(address, count + 1);
        Ok(())
    }

    fn leave_address(&self, address: Option<IpAddr>) {
        let Some(address) = self.bounded(address) else { return };
        let mut addresses = self.addresses.borrow_mut();
        if let Some(count) = addresses.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                addresses.remove(&address);
                if addresses.is_empty() {
                    *addresses = FxHashMap::default();
                }
            }
        }
    }
}

/// Returns what counts as one address: an IPv4 address, or an IPv6 network of this prefix.
pub(crate) fn network_of(address: IpAddr, ipv6_prefix: u8) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(ipv6_prefix.into()));
            Ipv6Addr::from_bits(ip.to_bits() & mask.unwrap_or_default()).into()
        }
        ip @ IpAddr::V4(_) => ip,
    }
}

impl Admission {
    /// Makes it the place of an entry of this population, which gives it back; returns whether the
    /// entry counts for its address.
    pub(super) fn settle(mut self, population: &Rc<Population>) -> bool {
        if Rc::ptr_eq(&self.population, population) {
            self.kept = true;
        } else {
            population.enter(self.address);
        }
        self.address.is_some()
    }

    /// Returns a place in a population of its own.
    #[cfg(test)]
    pub(crate) fn alone() -> Self {
        Self::new(&Population::new(&Limits::default()), None)
    }

    /// Takes over a place that the population gave for this address.
    pub(super) fn new(population: &Rc<Population>, address: Option<IpAddr>) -> Self {
        Self { population: Rc::clone(population), address, kept: false }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if !self.kept {
            self.population.leave(self.address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::Rate;

    /// `None` for 0, as where an address says nothing.
    fn address(last: u8) -> Option<IpAddr> {
        (last > 0).then(|| IpAddr::from([127, 0, 0, last]))
    }

    #[test]
    fn places_are_bounded_and_come_back() {
        let limits = Limits { connections: 3, connections_per_address: 2, ..Limits::default() };
        let population = Population::new(&limits);
        assert_eq!(population.admit(address(1)), Ok(()));
        assert_eq!(population.admit(address(1)), Ok(()));
        assert_eq!(population.admit(address(1)), Err(Limit::ConnectionsPerAddress));
        assert_eq!(population.admit(address(2)), Ok(()), "the refused one left no trace");
        assert_eq!(population.admit(address(3)), Err(Limit::Connections));
        drop(Admission::new(&population, address(1)));
        assert_eq!(population.admit(address(1)), Ok(()));
        population.leave(address(1));
        population.leave(address(1));
        assert_eq!(population.addresses.borrow().len(), 1);
    }

    #[test]
    fn an_ipv6_network_is_one_address() {
        let at = |text: &str| Some(text.parse::<IpAddr>().expect("an address"));
        let limits = Limits { connections_per_address: 1, ..Limits::default() };
        let population = Population::new(&limits);
        assert_eq!(population.admit(at("2001:db8:1:2::1")), Ok(()));
        let neighbour = at("2001:db8:1:2:ffff::9");
        assert_eq!(population.admit(neighbour), Err(Limit::ConnectionsPerAddress));
        assert_eq!(population.admit(at("2001:db8:1:3::1")), Ok(()));
        population.leave(neighbour);
        assert_eq!(population.admit(at("2001:db8:1:2::1")), Ok(()));
        assert_eq!(population.admit(at("::ffff:192.0.2.1")), Ok(()));
        assert_eq!(population.admit(at("192.0.2.1")), Err(Limit::ConnectionsPerAddress));
        assert_eq!(population.admit(at("192.0.2.2")), Ok(()));
        let ip: IpAddr = "ffff::ffff".parse().expect("an address");
        for (prefix, network) in
            [(0, "::"), (1, "8000::"), (128, "ffff::ffff"), (200, "ffff::ffff")]
        {
            assert_eq!(Some(network_of(ip, prefix)), at(network), "/{prefix}");
        }
    }

    #[test]
    fn an_address_told_later_counts_instead() {
        let limits = Limits { connections_per_address: 1, ..Limits::default() };
        let population = Population::new(&limits);
        assert_eq!(population.admit(None), Ok(()));
        assert_eq!(population.admit(None), Ok(()), "proxies are not bounded");
        assert_eq!(population.readdress(None, address(1)), Ok(()));
        assert_eq!(population.readdress(None, address(1)), Err(Limit::ConnectionsPerAddress));
        assert_eq!(population.readdress(None, address(2)), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn arrivals_have_a_rate() {
        let rate = Some(Rate::per_second(10).burst(2));
        let limits = Limits { connection_rate: rate, ..Limits::default() };
        let population = Population::new(&limits);
        assert!(population.admit(None).is_ok() && population.admit(None).is_ok());
        assert_eq!(population.admit(None), Err(Limit::ConnectionRate));
        tokio::time::advance(std::time::Duration::from_millis(100)).await;
        assert_eq!(population.admit(None), Ok(()));
    }

    fn entry(number: u64) -> EntryId {
        EntryId { key: 0, number }
    }

    #[test]
    fn the_oldest_handshake_that_is_under_way_gives_way_beyond_the_bound() {
        let population = Population::new(&Limits { handshakes: 2, ..Limits::default() });
        let all = |_| true;
        assert_eq!(population.begin_handshake(entry(1), all), None);
        assert_eq!(population.begin_handshake(entry(2), all), None);
        assert_eq!(population.begin_handshake(entry(3), all), Some(entry(1)));
        population.end_handshake();
        // The second is done, and did not say so to the list.
        population.end_handshake();
        assert_eq!(population.begin_handshake(entry(4), |id| id.number > 2), None);
        let oldest = population.begin_handshake(entry(5), |id| id.number > 2);
        assert_eq!(oldest, Some(entry(3)));
        assert_eq!(population.begin_handshake(entry(6), |_| false), None, "all are done");
        assert!(population.half_open.borrow().is_empty());
    }

    #[test]
    fn a_second_handshake_stands_on_the_list_once_and_last() {
        let population = Population::new(&Limits { handshakes: 2, ..Limits::default() });
        assert_eq!(population.begin_handshake(entry(1), |_| true), None);
        population.end_handshake();
        assert_eq!(population.begin_handshake(entry(2), |_| true), None);
        population.forget_handshake(entry(1));
        assert_eq!(population.begin_handshake(entry(1), |_| true), None);
        assert_eq!(population.half_open.borrow().iter().len(), 2);
        assert_eq!(population.begin_handshake(entry(3), |_| true), Some(entry(2)));
    }

    #[test]
    fn the_list_of_handshakes_is_bounded_by_those_under_way_whatever_the_limit() {
        let population = Population::new(&Limits { handshakes: usize::MAX, ..Limits::default() });
        let mut lengths = Vec::new();
        for number in 1..=70 {
            let is_last = |id: EntryId| id.number == number;
            assert_eq!(population.begin_handshake(entry(number), is_last), None);
            population.end_handshake();
            lengths.push(population.half_open.borrow().len());
        }
        // Twice the one under way and the spare places, then those that are done are gone.
        assert_eq!(lengths.iter().max(), Some(&(2 + SPARE)));
        assert_eq!(lengths[2 + SPARE..], [1, 2, 3, 4]);
        assert_eq!(population.handshakes.get(), 0);
    }

    #[test]
    fn a_place_is_counted_by_its_own_population_until_it_is_given_back() {
        let limits = Limits { connections_per_address: 2, ..Limits::default() };
        let (old, new) = (Population::new(&limits), Population::new(&limits));
        let count = |population: &Population| {
            let addresses = population.addresses.borrow();
            (population.connections.get(), addresses.get(&[127, 0, 0, 1].into()).copied())
        };
        for _ in 0..2 {
            assert_eq!(old.admit(address(1)), Ok(()));
        }
        assert_eq!((count(&old), count(&new)), ((2, Some(2)), (0, None)));
        // One stays, and one goes to another listener.
        assert!(Admission::new(&old, address(1)).settle(&old));
        assert!(Admission::new(&old, address(1)).settle(&new));
        assert_eq!((count(&old), count(&new)), ((1, Some(1)), (1, Some(1))));
        new.leave(address(1));
        old.leave(address(1));
        assert_eq!((count(&old), count(&new)), ((0, None), (0, None)));
        old.enter(None);
        assert!(!Admission::new(&old, None).settle(&new));
        assert_eq!((count(&old), count(&new)), ((0, None), (1, None)));
        let unbounded = Population::new(&Limits::default());
        unbounded.enter(address(1));
        assert_eq!(count(&unbounded), (1, None), "addresses that are not bounded are not kept");
    }
}
