//! Clients come, speak, fall silent and go.

use std::net::SocketAddr;

use bytes::Bytes;
use lineman::connection::CloseReason;
use lineman_wire::link::{Body, Command, Packet};

use super::choices::Forms;
use super::client_session::ClientSession;
use super::clients::Presence;
use super::core::{Core, Policy};
use super::heartbeat::Visit;
use super::identity::Departed;
use super::links::{Link, LinkId};
use super::outlet::Outlet;
use super::share::{is_too_long, tell};
use crate::entrance::Binding;

impl<C: Outlet> Core<C> {
    /// A client is there: a business hears `ON_CONNECT`, and `ON_WEBSOCKET_CONNECT` behind it.
    pub(super) fn client_came(&mut self, connection: C, handshake: Bytes, binding: &Binding) {
        let number = connection.id();
        let (held, links, disputes) = (&self.held, &self.links, &self.disputes);
        // An id may not be used again before some business has heard of its client's end.
        let in_use = |id| {
            let departed = |link: &Link| link.departed.contains_key(&id);
            held.remembers(id) || disputes.remember(id) || links.iter().any(departed)
        };
        let route = self.policy.router.key(connection.peer().ip(), &handshake);
        let id = self.clients.insert(number, connection, in_use);
        if let Some(client) = self.clients.get_mut(id) {
            client.route = route;
        }
        self.client_rounds.insert(id);
        // Before a business hears of it: the packet has the session, and names are told first.
        self.clients.apply(id, binding);
        self.held.keep_handshake(id, handshake);
        self.assign(id);
    }

    pub(super) fn client_said(&mut self, connection: u64, message: Body) {
        let Some(id) = self.clients.id_of(connection) else { return };
        let Some(client) = self.clients.get_mut(id) else { return };
        client.beat.reset();
        client.spoken.note(&message);
        let Some(link) = client.link.and_then(|link| self.links.get_mut(link)) else {
            // Held clients are not read; if one is all the same, say so rather than hide it.
            self.counts.lost_events += 1;
            return;
        };
        let peer = client.connection.peer();
        let (flags, body) = message.into_parts();
        let packet = Packet { flags, body, ..self.identity.packet(Command::OnMessage, id, peer) };
        if is_too_long(&packet, &client.session) {
            self.counts.too_long.add();
            self.end(id, CloseReason::TooBig);
        } else if tell(client, link, packet, self.now) {
            self.make_wait(id);
        }
    }

    /// Ends a client: it is told why behind everything that was sent to it, as long as it takes that. To the
    /// cluster it is gone with this input.
    pub(super) fn end(&mut self, id: u32, reason: CloseReason) {
        if let Some(client) = self.clients.get(id) {
            client.connection.close(reason);
            self.ended.push(id);
        }
    }

    /// The clients that were ended are gone.
    pub(super) fn take_out_ended(&mut self) {
        for id in std::mem::take(&mut self.ended) {
            if let Some(client) = self.clients.get(id) {
                self.client_went(client.connection.id());
            }
        }
    }

    /// A client is gone, for whatever reason: `ON_CLOSE`, once. One that was ended before is not known any more.
    pub(super) fn client_went(&mut self, connection: u64) {
        let Some((id, client)) = self.clients.remove(connection) else { return };
        self.client_rounds.remove(id);
        let address = client.connection.peer();
        self.client_left(id, (client.presence, client.link), address, client.session);
    }

    /// A client that is in no table any more had this link and session, and so much was told of it.
    pub(super) fn client_left(
        &mut self,
        id: u32,
        (presence, link): (Presence, Option<LinkId>),
        address: SocketAddr,
        session: ClientSession,
    ) {
        let unsent = self.held.take_unsent(id);
        self.held.forget(id);
        self.stop_waiting(id);
        self.note_for_heir(link, id);
        let departed = Departed { address, session, unsent };
        match presence {
            _ if self.disputes.concern(id) => {
                self.keep_back(id, departed, link, presence);
            }
            Presence::Told => {
                self.disputes.forget(id);
                self.depart(id, departed, link);
            }
            // Nothing was told of it that its end would have to undo.
            Presence::None | Presence::Undone => {
                self.counts.lost_events += departed.unsent.len() as u64;
                self.disputes.forget(id);
                if let Some(link) = link.and_then(|link| self.links.get_mut(link)) {
                    link.clients.remove(&id);
                }
            }
        }
    }

    /// Visits the clients of the next part of the heartbeat's period.
    pub(super) fn beat(&mut self) {
        let due = self.client_rounds.next_part();
        let limit = self.policy.heartbeat.limit;
        let form = match self.heartbeat_data() {
            Some(Ok(form)) => Some(form),
            Some(Err(error)) => return tracing::error!(%error, "cannot send heartbeats"),
            None => None,
        };
        let mut pinged = Vec::new();
        for id in due {
            // A client that is not read cannot answer.
            if !self.is_read(self.clients.get(id).and_then(|client| client.link)) {
                continue;
            }
            let Some(client) = self.clients.get_mut(id) else { continue };
            if client.share.waits() {
                if client.share.tick(limit) {
                    self.end(id, CloseReason::HeartbeatTimeout);
                }
                continue;
            }
            match client.beat.tick(limit) {
                Visit::Wait => {}
                Visit::Ping => pinged.push(id),
                Visit::GiveUp => self.end(id, CloseReason::HeartbeatTimeout),
            }
        }
        if let Some(form) = form {
            for id in pinged {
                self.hand_over(id, &form);
            }
        }
    }

    fn heartbeat_data(&self) -> Option<Result<Forms<C::Form>, lineman::BoxError>> {
        let Policy { heartbeat, message_type, form, .. } = &self.policy;
        let data = &heartbeat.data;
        (!data.is_empty()).then(|| Forms::new(Body::Scalar(data.clone()), *message_type, *form))
    }
}
