//! Looks at every address of a cluster, so that an operator sees which refuses, and why.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::gateway::Gateway;
use crate::reach::side_by_side;
use crate::{Cluster, Error, register};

/// An address of the cluster, and what came of asking there.
#[derive(Debug)]
pub struct Checked {
    /// What is there, or should be.
    pub role: CheckedKind,
    /// `host:port`, as it was configured or listed.
    pub address: String,
    /// How long it took, up to the limits.
    pub took: Duration,
    /// The gateways that a register lists; none of a gateway, which has answered.
    pub outcome: Result<BTreeSet<SocketAddr>, Error>,
}

/// What is at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CheckedKind {
    /// A register.
    Register,
    /// The inner port of a gateway.
    Gateway,
}

impl Cluster {
    /// Asks every register for its list, and every gateway that one of them lists, or that is in `also`,
    /// whether it takes our key. All of them side by side, on new connections: registers first.
    ///
    /// A register that does not list a gateway that another one lists, or one of `also`, has failed
    /// ([`Error::Unlisted`]).
    pub fn check(&self, also: &[SocketAddr]) -> Vec<Checked> {
        let (key, limits) = (&self.credentials, self.limits);
        let addresses = self.registers().map(ToOwned::to_owned).collect();
        let meanings =
            side_by_side(addresses, |address: String| match register::meanings(&address) {
                Ok(meanings) if meanings.len() > 1 => {
                    let named = |of: SocketAddr| (format!("{address} ({})", of.ip()), Ok(of));
                    meanings.into_iter().map(named).collect()
                }
                found => vec![(address, found.map(|one| one[0]))],
            });
        let meanings = meanings.into_iter().flatten().collect();
        let mut registers = side_by_side(meanings, |(address, meaning): (String, Result<_, _>)| {
            let begun = Instant::now();
            let ask = |meaning| register::gateways_at(&address, meaning, key, &limits.begin());
            let outcome = meaning.and_then(ask).map(|list| list.into_iter().collect());
            Checked { role: CheckedKind::Register, address, took: begun.elapsed(), outcome }
        });
        let listed = registers.iter().filter_map(|register| register.outcome.as_ref().ok());
        let all: BTreeSet<SocketAddr> = listed.flatten().chain(also).copied().collect();
        for register in &mut registers {
            let Ok(list) = &register.outcome else { continue };
            let missing: Vec<_> = all.difference(list).copied().collect();
            if !missing.is_empty() {
                let address = register.address.clone();
                register.outcome = Err(Error::Unlisted { address, missing });
            }
        }
        let gateways = side_by_side(all.into_iter().collect(), |gateway: SocketAddr| {
            let (begun, call) = (Instant::now(), limits.begin());
            let outcome = Gateway::connect(gateway, key, &call);
            let (address, took) = (gateway.to_string(), begun.elapsed());
            Checked {
                role: CheckedKind::Gateway,
                address,
                took,
                outcome: outcome.map(|_| BTreeSet::new()),
            }
        });
        let mut all: Vec<_> = registers.into_iter().chain(gateways).collect();
        all.sort_by(|one, other| (one.role, &one.address).cmp(&(other.role, &other.address)));
        all
    }
}
