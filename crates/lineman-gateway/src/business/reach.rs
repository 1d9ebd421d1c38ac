//! How much of its cluster a business reaches: what `status` and `health` say of it, the log's lines, and
//! whether clients are better off at another machine.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use lineman::service::Complaints;
use tokio::time::Instant;

use super::core::Core;
use crate::Events;
use crate::outage::{self, Outage};

/// How long a gateway may not be linked before the log tells of it: a process that is replaced is back by then.
const SILENT: Duration = Duration::from_secs(5);

/// Since when too little is reached, and what.
#[derive(Debug, Default)]
pub(super) struct Shortage(Option<(Instant, String)>);

impl Shortage {
    /// Notes what is reached now.
    ///
    /// Machines are counted, not gateways: one whose many gateways are gone is one. Fewer than half is too little,
    /// so the loss of one machine makes no other one unready; nor does that of most, once the registers have
    /// noticed it, for `listed` has only what a register lists that answers now.
    pub(super) fn note(&mut self, listed: &[(IpAddr, bool)], links: usize, now: Instant) {
        let mut machines = BTreeMap::new();
        for (machine, is_linked) in listed {
            *machines.entry(machine).or_insert(false) |= is_linked;
        }
        let reached = machines.values().filter(|reached| **reached).count();
        let of = machines.len();
        let problem = if links == 0 {
            "no gateway is linked".to_owned()
        } else if reached * 2 < of {
            format!("gateways of {reached} of {of} machines are linked")
        } else {
            self.0 = None;
            return;
        };
        let since = self.0.as_ref().map_or(now, |(since, _)| *since);
        self.0 = Some((since, problem));
    }

    /// Returns what is too little, if it has been so for as long as this; zero for never.
    pub(super) fn describe(&self, limit: Duration, now: Instant) -> Option<String> {
        let (since, problem) = self.0.as_ref()?;
        let lasts = now.saturating_duration_since(*since);
        let text = || format!("{problem} for {} s", lasts.as_secs());
        (!limit.is_zero() && lasts >= limit).then(text)
    }
}

impl<E: Events> Core<E> {
    /// Looks at all links, each second: gives up those that are silent, tells the log of those that are missing for
    /// long, and of their return.
    pub(super) fn look_at_reach(self: &Rc<Self>) {
        let now = Instant::now();
        self.look_for_silence(now);
        let (mut due, mut back) = (false, Vec::new());
        for (address, known) in self.gateways.borrow_mut().iter_mut() {
            if known.is_linked(now) {
                if known.outage.take().is_some_and(|outage| outage.was_told()) {
                    back.push(*address);
                }
            } else if known.listed {
                let hangs = known.link.as_ref().is_some_and(|link| link.hangs(now));
                let problem = if hangs { "says nothing" } else { "does not answer" };
                let outage = known.outage.get_or_insert_with(|| Outage::new(problem, now));
                due |= outage.age(now) >= SILENT && outage.is_due(now);
            }
        }
        for gateway in back {
            tracing::info!(%gateway, "linked again");
        }
        if due && let Some(line) = self.missing_links(now) {
            tracing::warn!("{line}");
        }
        self.note_shortage(now);
    }

    fn note_shortage(&self, now: Instant) {
        let discovery = self.discovery.borrow();
        let is_fresh =
            |register| discovery.as_ref().is_some_and(|found| found.is_connected(register));
        let listed = self.addresses.borrow().listed_by(is_fresh);
        let gateways = self.gateways.borrow();
        let is_linked = |address| gateways.get(address).is_some_and(|known| known.is_linked(now));
        let listed: Vec<_> =
            listed.iter().map(|address| (address.ip(), is_linked(address))).collect();
        let links = gateways.values().filter(|known| known.is_linked(now)).count();
        self.shortage.borrow_mut().note(&listed, links, now);
    }

    /// Returns `links 4 of 6: …`, if one is missing.
    fn missing_links(&self, now: Instant) -> Option<String> {
        let gateways = self.gateways.borrow();
        let listed = || gateways.iter().filter(|(_, known)| known.listed);
        let missing = listed().filter(|(_, known)| !known.is_linked(now));
        let describe =
            |(address, known): (&SocketAddr, &super::gateway::KnownGateway)| match &known.outage {
                Some(outage) => format!("{address} {}", outage.describe(now)),
                None => format!("{address} is not linked yet"),
            };
        let missing: Vec<String> = missing.map(describe).collect();
        outage::line("links", listed().count(), &missing)
    }

    pub(super) fn condition(&self) -> Complaints {
        let now = Instant::now();
        let registers = self.discovery.borrow().as_ref().map(|discovery| discovery.remarks(now));
        let registers = registers.into_iter().flatten();
        let remarks = self.missing_links(now).into_iter().chain(registers).collect();
        // One that leaves has given its clients to others.
        let unfit = if self.is_draining() {
            None
        } else {
            self.shortage.borrow().describe(self.reach_limit, now)
        };
        Complaints { remarks, unfit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    /// Notes machines by their number and whether a gateway of each is linked, every second for so long; returns
    /// when it was too little for the whole limit.
    fn unfit(
        shortage: &mut Shortage,
        machines: &[(u8, bool)],
        from: Instant,
        seconds: u64,
    ) -> Option<u64> {
        let listed: Vec<_> = machines
            .iter()
            .map(|(host, linked)| (IpAddr::from([10, 0, 0, *host]), *linked))
            .collect();
        let links = machines.iter().filter(|(_, linked)| *linked).count();
        (0..seconds).find(|second| {
            let now = from + Duration::from_secs(*second);
            shortage.note(&listed, links, now);
            shortage.describe(LIMIT, now).is_some()
        })
    }

    #[tokio::test(start_paused = true)]
    async fn fewer_than_half_of_the_machines_for_the_whole_limit_is_too_little() {
        let now = Instant::now();
        let check = |machines: &[(u8, bool)], expected| {
            assert_eq!(
                unfit(&mut Shortage::default(), machines, now, 60),
                expected,
                "{machines:?}"
            );
        };
        check(&[], Some(30));
        check(&[(1, true)], None);
        check(&[(1, false)], Some(30));
        // Half of a cluster cannot say that it is the worse half.
        check(&[(1, true), (2, false)], None);
        check(&[(1, true), (2, true), (3, false)], None);
        check(&[(1, true), (2, false), (3, false)], Some(30));
        // One machine with many gateways is one machine.
        check(&[(1, true), (2, true), (3, false), (3, false), (3, false), (3, false)], None);
        check(&[(1, true), (1, false), (1, false)], None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_machine_that_comes_and_goes_makes_no_other_unready() {
        let (begun, mut shortage) = (Instant::now(), Shortage::default());
        let at = |seconds| begun + Duration::from_secs(seconds);
        for round in 0..20 {
            let down = [(1, true), (2, false), (3, false)];
            assert_eq!(unfit(&mut shortage, &down, at(round * 30), 29), None);
            let up = [(1, true), (2, true), (3, false)];
            assert_eq!(unfit(&mut shortage, &up, at(round * 30 + 29), 1), None);
        }
        let down = [(1, true), (2, false), (3, false)];
        assert_eq!(unfit(&mut shortage, &down, at(600), 60), Some(30));
        let text = shortage.describe(LIMIT, at(640)).unwrap();
        assert_eq!(text, "gateways of 1 of 3 machines are linked for 40 s");
        assert_eq!(shortage.describe(Duration::ZERO, at(640)), None);
    }
}
