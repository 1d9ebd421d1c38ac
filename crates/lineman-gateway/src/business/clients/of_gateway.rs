//! What happens to all clients of a gateway, or to one that is in its hands: they are held, others', or lost.

use std::net::SocketAddr;

use lineman_wire::link::ClientId;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{ClientEvent, Handling, LinkId, ServedClient, ServedClients, Work};
use crate::cluster::gateway_of;

/// What becomes of clients whose gateway is dead.
#[derive(Default)]
pub(in crate::business) struct LastEvents {
    /// Those that were not known to be gone.
    pub(in crate::business) clients: Vec<u32>,
    /// Events that are to begin now.
    pub(in crate::business) begun: Vec<ClientEvent>,
}

/// What becomes of clients that are given to others.
#[derive(Default)]
pub(in crate::business) struct Forgotten {
    /// Events that are to begin now.
    pub(in crate::business) begun: Vec<ClientEvent>,
    /// Events that will not be handled here.
    pub(in crate::business) dropped: Vec<ClientEvent>,
}

impl<S: Serialize + DeserializeOwned + Default + 'static> ServedClients<S> {
    /// The link is lost: no event begins until it is known whether the gateway is dead.
    pub(in crate::business) fn hold(&mut self, gateway: SocketAddr) {
        for (id, served) in &mut self.by_id {
            served.held |= gateway_of(*id) == gateway;
        }
    }

    /// Returns how many clients of a gateway there are, and how many of their events wait or are being handled.
    pub(in crate::business) fn burden(&self, gateway: SocketAddr) -> (u64, u64) {
        let of_gateway = self.by_id.iter().filter(|(id, _)| gateway_of(**id) == gateway);
        let events = |served: &ServedClient<S>| {
            let busy = usize::from(served.state != Handling::Idle);
            (served.queue.len() + busy) as u64
        };
        of_gateway.fold((0, 0), |(clients, sum), (_, served)| (clients + 1, sum + events(served)))
    }

    /// Returns the clients of a gateway that the application takes for connected, and whose end is not to be
    /// told here.
    pub(in crate::business) fn kept(&self, gateway: SocketAddr) -> Vec<u32> {
        let kept = |(id, served): (&ClientId, &ServedClient<S>)| {
            let ours = matches!(served.state, Handling::Idle | Handling::Busy);
            let turns = |event: &ClientEvent| {
                matches!(event.work, Work::Connect | Work::Return) || event.work.is_last()
            };
            let kept = ours && gateway_of(*id) == gateway && !served.queue.iter().any(turns);
            kept.then_some(id.connection_id)
        };
        self.by_id.iter().filter_map(kept).collect()
    }

    /// The gateway lives, and has given its clients to others. Those whose end has come have it told here.
    pub(in crate::business) fn forget(&mut self, gateway: SocketAddr) -> Forgotten {
        let mut forgotten = Forgotten::default();
        self.by_id.retain(|id, served| {
            if gateway_of(*id) != gateway {
                return true;
            }
            served.held = false;
            if served.is_to_end() {
                forgotten.begun.extend(served.begin_next(&mut self.busy, &mut self.waiting));
                return true;
            }
            forgotten.dropped.extend(served.queue.drain(..));
            match served.state {
                Handling::Idle => return false,
                Handling::Busy => served.state = Handling::Forgotten,
                Handling::Forgotten | Handling::Ending | Handling::Gone => {}
            }
            true
        });
        self.waiting -= forgotten.dropped.len();
        forgotten
    }

    /// A client is gone, and its end was told elsewhere: returns the events that are dropped.
    pub(in crate::business) fn forget_one(&mut self, client: ClientId) -> Vec<ClientEvent> {
        let Some(served) = self.by_id.get_mut(&client) else { return Vec::new() };
        let dropped: Vec<_> = served.queue.drain(..).collect();
        match served.state {
            Handling::Idle => drop(self.by_id.remove(&client)),
            Handling::Busy => served.state = Handling::Forgotten,
            Handling::Forgotten | Handling::Ending | Handling::Gone => {}
        }
        self.waiting -= dropped.len();
        dropped
    }

    /// The gateway is dead: each of its clients gets its last event.
    pub(in crate::business) fn close_all(
        &mut self,
        gateway: SocketAddr,
        link: LinkId,
    ) -> LastEvents {
        let mut ends = LastEvents::default();
        for (id, served) in &mut self.by_id {
            if gateway_of(*id) != gateway
                || !matches!(served.state, Handling::Idle | Handling::Busy)
            {
                continue;
            }
            served.held = false;
            if !served.is_to_end() {
                served.queue.push_back(served.lost(*id, link));
                self.waiting += 1;
                ends.clients.push(id.connection_id);
            }
            ends.begun.extend(served.begin_next(&mut self.busy, &mut self.waiting));
        }
        ends
    }
}
