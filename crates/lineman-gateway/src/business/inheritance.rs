//! Tells the end of clients whose gateway and business are both dead, in the place of that business.
//!
//! Whether the business is dead as well is asked of it, by all gateways that are left: it answers as long as it
//! lives and one of them reaches it.

use std::net::SocketAddr;
use std::rc::Rc;

use lineman_wire::link::{Control, Note, Says, Witness};
use tokio::time::Instant;

use super::clients::{ClientEvent, LinkId, Work};
use super::core::Core;
use super::heirs::Claim;
use super::packets::control;
use crate::Events;

/// How often it is asked, each time for as long as a verdict takes, when it is not certain that the gateway is
/// dead: the longer, the more partitions end before; and as much longer clients that are gone seem to be there.
const TIMES: u32 = 4;

impl<E: Events> Core<E> {
    /// A gateway tells of clients of another business.
    pub(super) fn on_witness(&self, gateway: SocketAddr, link: LinkId, witness: Witness) {
        let epoch = self.with_link(gateway, link, |link| link.epoch.clone()).flatten();
        if let Some(epoch) = epoch.filter(|_| !self.is_draining()) {
            self.heirs.borrow_mut().hear(gateway, &epoch, witness);
        }
    }

    /// Another business has something to say.
    pub(super) fn on_note(self: &Rc<Self>, by: SocketAddr, link: LinkId, note: Note) {
        match note.says {
            Says::Whose => {
                if let Some(connection) = self.with_link(by, link, |link| link.connection.clone()) {
                    control(&connection, Control::Relay(Note { says: Says::Mine, ..note }));
                }
            }
            Says::Mine => {
                let Note { worker_key, gateway, .. } = note;
                let claim = Claim { gateway: gateway.into(), worker_key };
                self.heirs.borrow_mut().settle(&claim);
                self.step_drain();
            }
        }
    }

    /// A gateway is dead: of this run for certain, or because it gave no sign, which `silent` says.
    pub(super) fn claim(self: &Rc<Self>, gateway: SocketAddr, link: LinkId, silent: Option<&str>) {
        let claims = self.heirs.borrow_mut().claim(gateway);
        for claim in claims {
            let (core, silent) = (Rc::clone(self), silent.map(str::to_owned));
            tokio::task::spawn_local(async move {
                for _ in 0..silent.as_ref().map_or(1, |_| TIMES) {
                    core.ask(&claim);
                    tokio::time::sleep(core.verdict_limit).await;
                    if !core.heirs.borrow().is_open(&claim) {
                        return;
                    }
                }
                core.inherit(&claim, link, silent.as_deref());
            });
        }
    }

    fn ask(&self, claim: &Claim) {
        let SocketAddr::V4(gateway) = claim.gateway else { return };
        let gateways = self.gateways.borrow();
        let links = gateways.values().filter_map(|known| known.link.as_ref());
        for link in links.filter(|link| link.version >= 3) {
            let worker_key = claim.worker_key.clone();
            let note = Note { worker_key, gateway, says: Says::Whose };
            control(&link.connection, Control::Relay(note));
        }
    }

    fn inherit(self: &Rc<Self>, claim: &Claim, link: LinkId, silent: Option<&str>) {
        let clients = self.heirs.borrow_mut().settle(claim);
        let Claim { gateway, worker_key } = claim;
        let count = clients.len();
        tracing::warn!(%gateway, business = worker_key, clients = count, "gateway and business are dead, closing their clients");
        if let Some(epoch) = silent {
            let ids = clients.iter().map(|client| client.id.connection_id).collect();
            self.unsettled.borrow_mut().told_end(*gateway, epoch, ids, Instant::now());
        }
        for client in clients {
            let event = ClientEvent { link, client, work: Work::Lost, weight: 0 };
            let begun = self.clients.borrow_mut().arrive(event);
            if let Some(event) = begun {
                self.run(event);
            }
        }
        self.step_drain();
    }
}
