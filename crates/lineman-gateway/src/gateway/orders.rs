//! What businesses tell a gateway to do: send, close, bind, join. Nothing is answered, and unknown
//! clients, uids and groups are ignored, as the protocol has it.

use bytes::Bytes;
use lineman::connection::{CloseReason, SendError};
use lineman_wire::link::{Audience, Body, Name, Order};
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
            Order::SendToOne { connection_id, message } => self.send([connection_id], message),
            Order::SendToAll { audience, message } => self.send_to_all(&audience, message),
            Order::SendToUid { uids, message } => self.send_to_uids(&uids, message),
            Order::SendToGroup { groups, exclude, message } => {
                self.send_to_groups(&groups, &exclude, message);
            }
            Order::Kick { connection_id, farewell } => self.kick(connection_id, farewell),
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
            Audience::Only(ids) => return self.send(ids.iter().copied(), message),
            Audience::Except(ids) => ids.iter().copied().collect(),
            Audience::All => FxHashSet::default(),
        };
        let Some(form) = self.encode(message) else { return };
        for (id, client) in self.clients.iter() {
            if except.is_empty() || !except.contains(&id) {
                hand_over(client, &form, self.policy.slow_client, &mut self.counts);
            }
        }
    }

    fn send_to_uids(&mut self, uids: &[Name], message: Body) {
        let Some(form) = self.encode(message) else { return };
        for uid in uids {
            let ids = self.clients.uids.ids(&uid.to_bytes());
            for client in ids.filter_map(|id| self.clients.get(id)) {
                hand_over(client, &form, self.policy.slow_client, &mut self.counts);
            }
        }
    }

    /// A client in two of the groups gets it twice, as `GatewayWorker` does it.
    fn send_to_groups(&mut self, groups: &[Name], but: &[u32], message: Body) {
        let Some(form) = self.encode(message) else { return };
        let except: FxHashSet<u32> = but.iter().copied().collect();
        for group in groups {
            let members = self.clients.groups.ids(&group.to_bytes());
            let wanted = members.filter(|id| !except.contains(id));
            for client in wanted.filter_map(|id| self.clients.get(id)) {
                hand_over(client, &form, self.policy.slow_client, &mut self.counts);
            }
        }
    }

    fn send(&mut self, ids: impl IntoIterator<Item = u32>, message: Body) {
        if let Some(form) = self.encode(message) {
            self.deliver(ids, &form);
        }
    }

    /// Returns a message as clients understand it: made once, shared by all clients that get it.
    fn encode(&self, message: Body) -> Option<C::Form> {
        let form = (self.policy.form)(message);
        form.inspect_err(|error| tracing::warn!(%error, "no form that clients understand")).ok()
    }

    /// Sends what clients understand already.
    pub(super) fn deliver(&mut self, ids: impl IntoIterator<Item = u32>, form: &C::Form) {
        for client in ids.into_iter().filter_map(|id| self.clients.get(id)) {
            hand_over(client, form, self.policy.slow_client, &mut self.counts);
        }
    }

    fn kick(&mut self, id: u32, farewell: Body) {
        let silent = match &farewell {
            Body::Value(php::Value::Null) => true,
            Body::Scalar(text) | Body::Raw(text) => text.is_empty(),
            Body::Value(_) => false,
        };
        if !silent {
            self.send([id], farewell);
        }
        if let Some(client) = self.clients.get(id) {
            client.connection.close(CloseReason::Local);
        }
    }

    fn update_session(&mut self, id: u32, changes: &[u8]) {
        let Some(client) = self.clients.get_mut(id) else { return };
        match merged(&client.session, changes) {
            Ok(session) => client.session = session,
            Err(error) => tracing::warn!(connection_id = id, %error, "session not updated"),
        }
    }
}

/// Sends to one client, with the stated answer if it does not read.
fn hand_over<C: Outlet>(
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
