//! The clients of other businesses whose end is to be told here, should their gateway die and their business
//! with it. Gateways say which these are. It sends nothing and reads no clock: [`super::inheritance`] does.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use lineman_wire::link::{self, ClientId, SessionForm, Witness, Witnessed};
use rustc_hash::FxHashMap;

/// The clients, by gateway and then by the business that has them.
#[derive(Debug, Default)]
pub(super) struct Heirs {
    by_gateway: BTreeMap<SocketAddr, BTreeMap<String, Estate>>,
    /// Those of gateways that are dead, each with the business that may have told their end.
    claims: BTreeMap<Claim, Estate>,
}

/// Clients that a business has.
#[derive(Debug, Default)]
struct Estate {
    /// Which run of the gateway it was.
    epoch: String,
    gateway_port: u16,
    clients: FxHashMap<u32, (IpAddr, u16, Bytes)>,
}

/// Whose end may be ours to tell: that of the clients of a dead gateway which this business had.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Claim {
    pub(super) gateway: SocketAddr,
    pub(super) worker_key: String,
}

impl Heirs {
    /// A gateway tells of clients.
    pub(super) fn hear(&mut self, gateway: SocketAddr, epoch: &str, witness: Witness) {
        let Witness { worker_key, anew, gateway_port, clients } = witness;
        let estates = self.by_gateway.entry(gateway).or_default();
        let estate = estates.entry(worker_key.clone()).or_default();
        estate.gateway_port = gateway_port;
        epoch.clone_into(&mut estate.epoch);
        if anew {
            estate.clients.clear();
        }
        for client in clients {
            match client {
                Witnessed::Gone { connection_id } => drop(estate.clients.remove(&connection_id)),
                Witnessed::Here { connection_id, ip, port, session } => {
                    estate.clients.insert(connection_id, (ip, port, session));
                }
            }
        }
        if estate.clients.is_empty() {
            estates.remove(&worker_key);
        }
    }

    /// This run of a gateway lives, and chooses its heirs anew.
    pub(super) fn forget(&mut self, gateway: SocketAddr, epoch: &str) {
        self.by_gateway.remove(&gateway);
        self.claims.retain(|claim, estate| claim.gateway != gateway || estate.epoch != epoch);
    }

    /// Gateways have chosen others.
    pub(super) fn resign(&mut self) {
        self.by_gateway.clear();
    }

    /// A gateway is dead; returns what may be ours to tell.
    pub(super) fn claim(&mut self, gateway: SocketAddr) -> Vec<Claim> {
        let estates = self.by_gateway.remove(&gateway).unwrap_or_default();
        let claim = |(worker_key, estate)| {
            let claim = Claim { gateway, worker_key };
            self.claims.insert(claim.clone(), estate);
            claim
        };
        estates.into_iter().map(claim).collect()
    }

    /// Returns whether it is still open who is to tell.
    pub(super) fn is_open(&self, claim: &Claim) -> bool {
        self.claims.contains_key(claim)
    }

    /// Returns whether nothing is open.
    pub(super) fn is_idle(&self) -> bool {
        self.claims.is_empty()
    }

    /// The business lives, and tells the end of its clients itself; or nothing was heard of it, and the clients
    /// that are returned are ours.
    pub(super) fn settle(&mut self, claim: &Claim) -> Vec<link::Client> {
        let Some(Estate { gateway_port, clients, .. }) = self.claims.remove(claim) else {
            return Vec::new();
        };
        let IpAddr::V4(local_ip) = claim.gateway.ip() else { return Vec::new() };
        let client = |(connection_id, (ip, port, session))| {
            let id = ClientId::new(local_ip, claim.gateway.port(), connection_id);
            let form = SessionForm::Whole;
            link::Client { id, ip, port, gateway_port, session, form }
        };
        clients.into_iter().map(client).collect()
    }

    /// Returns how many clients there are.
    pub(super) fn len(&self) -> usize {
        let estates = self.by_gateway.values().flat_map(BTreeMap::values);
        estates.chain(self.claims.values()).map(|estate| estate.clients.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gateway() -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], 4000))
    }

    fn here(connection_id: u32, session: &'static str) -> Witnessed {
        let (ip, port) = (std::net::Ipv4Addr::LOCALHOST.into(), 9);
        Witnessed::Here { connection_id, ip, port, session: session.into() }
    }

    fn hear(heirs: &mut Heirs, worker_key: &str, anew: bool, clients: Vec<Witnessed>) {
        let worker_key = worker_key.to_owned();
        heirs.hear(gateway(), "e", Witness { worker_key, anew, gateway_port: 7, clients });
    }

    fn claim(worker_key: &str) -> Claim {
        Claim { gateway: gateway(), worker_key: worker_key.to_owned() }
    }

    #[test]
    fn what_a_business_had_last_is_inherited_with_its_sessions() {
        let mut heirs = Heirs::default();
        hear(&mut heirs, "b:0", false, vec![here(9, "old")]);
        hear(&mut heirs, "b:0", true, vec![here(1, "a"), here(2, "b")]);
        hear(&mut heirs, "b:0", false, vec![here(1, "c"), Witnessed::Gone { connection_id: 2 }]);
        hear(&mut heirs, "b:1", true, vec![here(3, "")]);
        hear(&mut heirs, "b:2", true, vec![here(4, "")]);
        hear(&mut heirs, "b:2", true, vec![]);
        assert_eq!(heirs.len(), 2);
        assert_eq!(heirs.claim(gateway()), [claim("b:0"), claim("b:1")]);
        assert!(heirs.is_open(&claim("b:0")) && !heirs.is_idle() && heirs.len() == 2);
        let inherited = heirs.settle(&claim("b:0"));
        let facts: Vec<_> = inherited.iter().map(|c| (c.id.connection_id, &*c.session)).collect();
        assert_eq!(facts, [(1, &b"c"[..])]);
        assert!(heirs.settle(&claim("b:0")).is_empty(), "it was settled");
        heirs.forget(gateway(), "another");
        assert!(heirs.is_open(&claim("b:1")), "that one is dead");
        heirs.forget(gateway(), "e");
        assert!(heirs.is_idle() && heirs.len() == 0);
    }
}
