//! What each gateway has not yet been told: which of its clients were kept while its link was lost, and of which
//! the end was told, our own and those of other businesses. Called when a link opens, and whenever an end is told.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use lineman_wire::link::ClientId;
use tokio::time::Instant;

use crate::cluster::gateway_of;

/// How long a gateway that is gone is remembered: as long as one remembers a business that was lost.
const MEMORY: Duration = Duration::from_hours(1);

/// By gateway.
#[derive(Debug, Default)]
pub(super) struct Unsettled(BTreeMap<SocketAddr, Untold>);

#[derive(Debug)]
struct Untold {
    /// When something was added last.
    since: Instant,
    /// Which run of the gateway it is about.
    epoch: String,
    kept: BTreeSet<u32>,
    /// Those whose end was told here, for the gateway seemed to be dead.
    ended: BTreeSet<u32>,
}

impl Unsettled {
    /// A gateway is linked again, and these of its clients were kept until now; returns all that it is to be
    /// told of: what was kept, and whose end was told.
    pub(super) fn tell(
        &mut self,
        gateway: SocketAddr,
        epoch: &str,
        kept: Vec<u32>,
        now: Instant,
    ) -> (Vec<u32>, Vec<u32>) {
        let untold = self.of(gateway, epoch, now);
        untold.kept.extend(kept);
        (untold.kept.iter().copied().collect(), untold.ended.iter().copied().collect())
    }

    /// The end of clients was told, for their gateway seems to be dead.
    pub(super) fn told_end(
        &mut self,
        gateway: SocketAddr,
        epoch: &str,
        clients: Vec<u32>,
        now: Instant,
    ) {
        self.0.retain(|_, untold| now.saturating_duration_since(untold.since) < MEMORY);
        if !clients.is_empty() {
            self.of(gateway, epoch, now).ended.extend(clients);
        }
    }

    /// Returns what is to be told to this run of a gateway; what was for another one is void.
    fn of(&mut self, gateway: SocketAddr, epoch: &str, now: Instant) -> &mut Untold {
        let new = || {
            let (epoch, kept, ended) = (epoch.to_owned(), BTreeSet::new(), BTreeSet::new());
            Untold { since: now, epoch, kept, ended }
        };
        let untold = self.0.entry(gateway).or_insert_with(new);
        if untold.epoch != epoch {
            *untold = new();
        }
        untold.since = now;
        untold
    }

    /// A gateway has been told.
    pub(super) fn settled(&mut self, gateway: SocketAddr) {
        self.0.remove(&gateway);
    }

    /// Returns whether every gateway has been told.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The end of a client was told: it is kept no more.
    pub(super) fn ended(&mut self, client: ClientId) {
        if let Some(untold) = self.0.get_mut(&gateway_of(client)) {
            untold.kept.remove(&client.connection_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_was_not_confirmed_is_told_again() {
        let (gateway, now) = (SocketAddr::from(([10, 0, 0, 1], 4000)), Instant::now());
        let mut unsettled = Unsettled::default();
        assert_eq!(unsettled.tell(gateway, "a", vec![1, 2], now), (vec![1, 2], vec![]));
        unsettled.ended(ClientId::new(Ipv4Addr::new(10, 0, 0, 1), 4000, 1));
        unsettled.told_end(gateway, "a", vec![7], now);
        assert_eq!(unsettled.tell(gateway, "a", vec![3], now), (vec![2, 3], vec![7]));
        let other = unsettled.tell(gateway, "b", vec![4], now);
        assert_eq!(other, (vec![4], vec![]), "another run has other clients");
        unsettled.settled(gateway);
        assert_eq!(unsettled.tell(gateway, "b", vec![], now), (vec![], vec![]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_gateway_that_never_comes_back_is_forgotten() {
        let gateway = |host| SocketAddr::from(([10, 0, 0, host], 4000));
        let (mut unsettled, begun) = (Unsettled::default(), Instant::now());
        unsettled.told_end(gateway(1), "a", vec![7], begun);
        unsettled.told_end(gateway(2), "a", vec![], begun);
        assert_eq!(unsettled.0.len(), 1, "of the other there is nothing to tell");
        unsettled.told_end(gateway(3), "a", vec![8], begun + MEMORY);
        assert_eq!(unsettled.0.keys().copied().collect::<Vec<_>>(), [gateway(3)]);
    }
}
