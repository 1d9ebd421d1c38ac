//! What businesses tell a gateway to do: send, close, bind, join. Nothing is answered, and unknown
//! clients, uids and groups are ignored, as the protocol has it.

use bytes::Bytes;
use lineman::connection::{CloseReason, SendError};
use lineman_wire::link::{Audience, Body, HEADER_LENGTH, MAX_PACKET, Name, Order};
use lineman_wire::php;
use rustc_hash::FxHashSet;

use super::SlowClient;
use super::clients::ConnectedClient;
use super::core::{Core, Counts};
use super::index::is_name;
use super::outlet::Outlet;

impl<C: Outlet> Core<C> {
    /// Does what an order says.
    pub(super) fn execute(&mut self, order: Order) {
        match order {
            Order::SendToOne { connection_id, message } => self.send_to_one(connection_id, message),
            Order::SendToAll { audience, message } => self.send_to_all(&audience, message),
            Order::SendToUid { uids, message } => self.send_to_uids(&uids, message),
            Order::SendToGroup { groups, exclude, message } => {
                self.send_to_groups(&groups, &exclude, message);
            }
            Order::Kick { connection_id, farewell } => self.kick(connection_id, farewell),
            Order::Fail { connection_id } => {
                let reason = CloseReason::HandlerFailed("of its business".to_owned());
                self.close_behind_everything(connection_id, reason);
            }
            Order::Destroy { connection_id } => {
                if let Some(client) = self.clients.get(connection_id) {
                    client.connection.abort();
                }
            }
            Order::UpdateSession { connection_id, session } => {
                self.update_session(connection_id, &session);
            }
            Order::SetSession { connection_id, session } => {
                if let Some(client) = self.clients.get_mut(connection_id) {
                    client.session = session;
                    let link = client.link;
                    self.note_for_heir(link, connection_id);
                }
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
                tracing::warn!(connection_id, "bind_uid refused: a uid cannot be empty or 0");
            }
            Order::JoinGroup { connection_id, .. } => {
                tracing::warn!(connection_id, "join refused: a group cannot be empty or 0");
            }
        }
    }

    fn send_to_all(&mut self, audience: &Audience, message: Body) {
        let except = match audience {
            Audience::Only(ids) => return self.send(ids.clone(), message),
            Audience::Except(ids) => ids.iter().copied().collect(),
            Audience::All => FxHashSet::default(),
        };
        let ids = self.clients.iter().map(|(id, _)| id).filter(|id| !except.contains(id)).collect();
        self.send(ids, message);
    }

    fn send_to_uids(&mut self, uids: &[Name], message: Body) {
        let ids = |uid: &Name| self.clients.uids.ids(&uid.to_bytes());
        self.send(uids.iter().flat_map(ids).collect(), message);
    }

    /// A client in two of the groups gets it twice, as `GatewayWorker` does it.
    fn send_to_groups(&mut self, groups: &[Name], but: &[u32], message: Body) {
        let except: FxHashSet<u32> = but.iter().copied().collect();
        let members = |group: &Name| self.clients.groups.ids(&group.to_bytes());
        let wanted = groups.iter().flat_map(members).filter(|id| !except.contains(id));
        self.send(wanted.collect(), message);
    }

    fn send_to_one(&mut self, id: u32, message: Body) {
        if let Some(form) = self.encode(message) {
            self.deliver(id, &form);
        }
    }

    fn send(&mut self, ids: Vec<u32>, message: Body) {
        let length = match &message {
            Body::Scalar(text) | Body::Raw(text) => text.len(),
            // What an array will be long is not known; arrays are short.
            Body::Value(_) => 1024,
        };
        if let Some(form) = self.encode(message) {
            self.fan_out(ids, form, length);
        }
    }

    /// Returns a message as clients understand it: made once, shared by all clients that get it.
    fn encode(&self, message: Body) -> Option<C::Form> {
        let form = (self.policy.form)(message);
        form.inspect_err(|error| tracing::warn!(%error, "no form that clients understand")).ok()
    }

    fn kick(&mut self, id: u32, farewell: Body) {
        let silent = match &farewell {
            Body::Value(php::Value::Null) => true,
            Body::Scalar(text) | Body::Raw(text) => text.is_empty(),
            Body::Value(_) => false,
        };
        if !silent {
            self.send_to_one(id, farewell);
        }
        self.close_behind_everything(id, CloseReason::Local);
    }

    /// Closes a client when everything sent to it before has left.
    fn close_behind_everything(&mut self, id: u32, reason: CloseReason) {
        self.catch_up(id);
        if let Some(client) = self.clients.get(id) {
            client.connection.close(reason);
        }
    }

    fn update_session(&mut self, id: u32, changes: &[u8]) {
        let Some(client) = self.clients.get_mut(id) else { return };
        match merged(&client.session, changes) {
            // No packet about the client could carry it.
            Ok(session) if session.len() > MAX_PACKET - HEADER_LENGTH => {
                let length = session.len();
                tracing::warn!(connection_id = id, length, "session not updated: it is too long");
            }
            Ok(session) => {
                client.session = session;
                let link = client.link;
                self.note_for_heir(link, id);
            }
            Err(error) => tracing::warn!(connection_id = id, %error, "session not updated"),
        }
    }
}

/// Sends to one client, with the stated answer if it does not read.
pub(super) fn hand_over<C: Outlet>(
    client: &ConnectedClient<C>,
    form: &C::Form,
    policy: SlowClient,
    counts: &mut Counts,
) {
    match (client.connection.send(form), policy) {
        (Err(SendError::Full), SlowClient::DropMessage) => counts.dropped_messages += 1,
        (Err(SendError::Full), SlowClient::Close) => {
            counts.slow_clients += 1;
            client.connection.close(CloseReason::SlowPeer);
        }
        // Its end is on its way here.
        (Ok(()) | Err(_), _) => {}
    }
}

/// Merges two PHP-serialized arrays; an empty session is an empty array.
fn merged(session: &[u8], changes: &[u8]) -> Result<Bytes, php::Error> {
    let array = |bytes: &[u8]| match bytes {
        b"" => Ok(php::Array::new()),
        bytes => php::unserialize(bytes, php::Limits::default())
            .map(|value| value.into_array().unwrap_or_default()),
    };
    let mut merged = array(session)?;
    merged.replace_recursive(array(changes)?);
    Ok(Bytes::from(php::serialize(&php::Value::Array(merged))))
}
