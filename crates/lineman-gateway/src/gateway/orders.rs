//! What businesses tell a gateway to do: send, close, bind, join. Nothing is answered, and unknown
//! clients, uids and groups are ignored, as the protocol has it.

use lineman::connection::CloseReason;
use lineman_wire::link::{Audience, Body, Name, Order};
use lineman_wire::php;
use rustc_hash::FxHashSet;

use super::choices::Forms;
use super::client_session::ClientSession;
use super::core::{Core, Policy};
use super::index::is_name;
use super::outlet::Outlet;

impl<C: Outlet> Core<C> {
    /// Does what an order of a peer says.
    pub(super) fn execute(&mut self, peer: u64, order: Order) {
        match order {
            Order::SendToOne { connection_id, message } => {
                self.send_to_one(peer, connection_id, message);
            }
            Order::SendToAll { audience, message } => {
                self.send(peer, self.audience(audience), message);
            }
            Order::SendToUid { uids, message } => self.send(peer, self.of_uids(&uids), message),
            Order::SendToGroup { groups, exclude, message } => {
                self.send(peer, self.members(&groups, &exclude), message);
            }
            Order::Kick { connection_id, farewell } => {
                // PHP writes no farewell as null; a text without a character is a message, as it is in a send.
                if farewell != Body::Value(php::Value::Null) {
                    self.send_to_one(peer, connection_id, farewell);
                }
                self.close_behind_everything(connection_id, CloseReason::Local);
            }
            Order::Fail { connection_id } => {
                let reason = CloseReason::HandlerFailed("of its business".to_owned());
                self.close_behind_everything(connection_id, reason);
            }
            Order::Destroy { connection_id } => {
                if let Some(client) = self.clients.get(connection_id) {
                    client.connection.abort();
                    self.ended.push(connection_id);
                }
            }
            Order::UpdateSession { connection_id, session } => {
                self.change_session(peer, connection_id, |known| {
                    known.update(&session).map(|()| 0)
                });
            }
            Order::SetSession { connection_id, session } => {
                self.change_session(peer, connection_id, |known| {
                    known.set(session);
                    Ok(0)
                });
            }
            Order::PatchSession { connection_id, patch } => {
                self.change_session(peer, connection_id, |known| known.patch(peer, &patch));
            }
            Order::BindUid { connection_id, uid } if is_name(&uid) => {
                self.clients.bind(connection_id, &uid);
            }
            Order::UnbindUid { connection_id, .. } => self.clients.unbind(connection_id),
            Order::JoinGroup { connection_id, group } if is_name(&group) => {
                self.clients.join(connection_id, &group);
            }
            Order::LeaveGroup { connection_id, group } => {
                self.clients.leave(connection_id, &group);
            }
            Order::Ungroup { group } => self.clients.ungroup(&group),
            Order::BindUid { connection_id, .. } => {
                let problem = "a uid cannot be empty or 0, it is not bound to client";
                self.not_done(peer, &format!("{problem} {connection_id}"));
            }
            Order::JoinGroup { connection_id, .. } => {
                let problem = "a group cannot be empty or 0, it is not joined by client";
                self.not_done(peer, &format!("{problem} {connection_id}"));
            }
        }
    }

    fn audience(&self, audience: Audience) -> Vec<u32> {
        let except = match audience {
            Audience::Only(ids) => return ids,
            Audience::Except(ids) => ids.into_iter().collect(),
            Audience::All => FxHashSet::default(),
        };
        self.clients.iter().map(|(id, _)| id).filter(|id| !except.contains(id)).collect()
    }

    fn of_uids(&self, uids: &[Name]) -> Vec<u32> {
        uids.iter().flat_map(|uid| self.clients.uids.ids(&uid.to_bytes())).collect()
    }

    /// A client in two of the groups gets it twice, as `GatewayWorker` does it.
    fn members(&self, groups: &[Name], but: &[u32]) -> Vec<u32> {
        let except: FxHashSet<u32> = but.iter().copied().collect();
        let members = |group: &Name| self.clients.groups.ids(&group.to_bytes());
        groups.iter().flat_map(members).filter(|id| !except.contains(id)).collect()
    }

    fn send_to_one(&mut self, peer: u64, id: u32, message: Body) {
        if let Some(form) = self.encode(peer, message) {
            self.deliver(id, &form);
        }
    }

    fn send(&mut self, peer: u64, ids: Vec<u32>, message: Body) {
        let length = match &message {
            Body::Scalar(message)
            | Body::Text(message)
            | Body::Binary(message)
            | Body::Raw(message) => message.len(),
            // What an array will be long is not known; arrays are short.
            Body::Value(_) => 1024,
        };
        if let Some(form) = self.encode(peer, message) {
            self.fan_out(ids, form, length);
        }
    }

    /// Returns a message as clients understand it: made once, shared by all clients that get it. One that they
    /// cannot understand is counted; the log has a line for the first, and then for many.
    fn encode(&mut self, peer: u64, message: Body) -> Option<Forms<C::Form>> {
        let Policy { message_type, form, .. } = self.policy;
        let error = match Forms::new(message, message_type, form) {
            Ok(form) => return Some(form),
            Err(error) => error,
        };
        let peer = self.name_of(peer);
        self.counts.refused_messages.add();
        if let Some(count) = self.counts.refused_messages.untold(self.now) {
            tracing::warn!(peer, %error, count, "message to clients refused");
        } else {
            tracing::debug!(peer, %error, "message to clients refused");
        }
        None
    }

    /// Closes a client when everything sent to it before has left.
    fn close_behind_everything(&mut self, id: u32, reason: CloseReason) {
        self.catch_up(id);
        self.end(id, reason);
    }

    /// Changes the session of a client, if it is there; `change` returns how many fields were changed by two.
    fn change_session(
        &mut self,
        peer: u64,
        id: u32,
        change: impl FnOnce(&mut ClientSession) -> Result<u64, php::Error>,
    ) {
        let Some(client) = self.clients.get_mut(id) else { return };
        match change(&mut client.session) {
            Ok(conflicts) => {
                let link = client.link;
                self.note_for_heir(link, id);
                (0..conflicts).for_each(|_| self.counts.session_conflicts.add());
            }
            Err(error) => {
                self.not_done(peer, &format!("session of client {id} not changed: {error}"));
            }
        }
    }
}
