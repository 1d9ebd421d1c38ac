//! Whether `on_connect` and `on_close` are pairs, from what the handlers on all machines wrote down.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anyhow::{Result, bail};
use lineman_tests::machines::Site;

/// What is wrong with the pairs.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Pairs {
    /// Clients that the handlers have heard of.
    pub(crate) clients: usize,
    /// Clients whose last event is `on_close`, and that are connected.
    pub(crate) closed_while_connected: usize,
    /// The same event twice in a row, or `on_close` first.
    pub(crate) repeated: usize,
    /// Clients that are gone, and `on_close` never ran.
    pub(crate) never_closed: usize,
    /// Clients that were declared gone and announced again: right, and worth a figure.
    pub(crate) announced_again: usize,
}

impl Pairs {
    /// Judges what was written down up to now, `connected` being the ids of the clients that are.
    pub(crate) fn of(site: &Site, connected: &BTreeSet<String>) -> Result<Self> {
        let mut events: BTreeMap<String, Vec<(u64, bool)>> = BTreeMap::new();
        for machine in site.machines() {
            for line in machine.events()?.lines() {
                let [time, event @ ("connect" | "close"), id] =
                    line.split(' ').collect::<Vec<_>>()[..]
                else {
                    bail!("no event: {line}");
                };
                events.entry(id.to_owned()).or_default().push((time.parse()?, event == "connect"));
            }
        }
        let mut pairs = Self { clients: events.len(), ..Self::default() };
        for (id, mut events) in events {
            // One process's lines are in order; the sort keeps those of one microsecond so.
            events.sort_by_key(|(time, _)| *time);
            pairs.add(
                &events.into_iter().map(|(_, came)| came).collect::<Vec<_>>(),
                connected.contains(&id),
            );
        }
        Ok(pairs)
    }

    fn add(&mut self, events: &[bool], connected: bool) {
        let mut there = false;
        for &came in events {
            if came == there {
                self.repeated += 1;
            }
            there = came;
        }
        self.closed_while_connected += usize::from(connected && !there);
        self.never_closed += usize::from(!connected && there);
        let arrivals = events.iter().filter(|&&came| came).count();
        self.announced_again += usize::from(arrivals > 1);
    }

    /// Returns how many pairs are wrong.
    pub(crate) fn wrong(&self) -> usize {
        self.closed_while_connected + self.repeated + self.never_closed
    }
}

impl fmt::Display for Pairs {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} of {} (closed while connected {}, repeated {}, never closed {}; announced again {})",
            self.wrong(),
            self.clients,
            self.closed_while_connected,
            self.repeated,
            self.never_closed,
            self.announced_again
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_one_of_each_in_order() {
        let check = |events: &[bool], connected, wrong| {
            let mut pairs = Pairs::default();
            pairs.add(events, connected);
            assert_eq!(pairs.wrong(), wrong, "{events:?}, connected: {connected}");
        };
        check(&[true, false], false, 0);
        check(&[true], true, 0);
        check(&[true, false, true], true, 0);
        check(&[true, false], true, 1);
        check(&[true], false, 1);
        check(&[true, false, false], false, 1);
        check(&[true, true, false], false, 1);
        check(&[false], false, 1);
    }
}
