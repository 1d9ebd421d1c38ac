//! What is done to clients: uids, groups, sessions, closing. One packet to the client's gateway.

use std::fmt::Display;

use bytes::Bytes;
use lineman::Result;
use lineman_wire::link::{Body, ClientId, Order, session};
use lineman_wire::php;
use serde::Serialize;

use super::send::{body, name};
use super::{Hub, IntoMessage};
use crate::error::HubError;

/// Changes to one client or group. None of these waits for a gateway; an unknown client is ignored.
/// Errors are a [`HubError`], boxed.
impl Hub {
    /// Binds a uid to a client, in place of the one it had. A uid may have many clients.
    ///
    /// # Errors
    /// The link to the client's gateway is full; a name that is empty, `0`, or too long for a packet.
    pub fn bind_uid(&self, client: ClientId, uid: impl Display) -> Result {
        let (connection_id, uid) = (client.connection_id, Bytes::from(name(uid)?));
        Ok(self.order_any(client, Order::BindUid { connection_id, uid })?)
    }

    /// Waits until every business of the cluster knows the uids and groups of the clients that this process has
    /// bound and joined before: what any of them sends to those names from now on reaches these clients.
    ///
    /// Within a process, and for what is about the client itself, that is so without it; see [`Hub`]. It takes
    /// two ways from each gateway concerned to every business and back, and nothing if there is nothing new.
    ///
    /// ```no_run
    /// # use lineman_gateway::{Client, Hub};
    /// # async fn write_to_database(_: &str) {}
    /// async fn log_in(hub: &Hub, client: &Client, name: &str) -> lineman::Result {
    ///     client.bind_uid(name)?;
    ///     hub.settled().await?;
    ///     // Processes that read this reach the client, too.
    ///     write_to_database(name).await;
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// [`HubError::Timeout`] if a business has not answered its gateway within 5 s, as one whose handlers
    /// block its loop; [`HubError::Full`], [`HubError::Unlinked`] if the gateway's link is full or ends.
    pub async fn settled(&self) -> std::result::Result<(), HubError> {
        self.cluster().settled().await
    }

    /// Takes a client's uid away.
    ///
    /// # Errors
    /// The link to the client's gateway is full.
    pub fn unbind_uid(&self, client: ClientId) -> Result {
        let order = Order::UnbindUid { connection_id: client.connection_id, uid: Bytes::new() };
        Ok(self.order_any(client, order)?)
    }

    /// Adds a client to a group.
    ///
    /// # Errors
    /// As [`Hub::bind_uid`].
    pub fn join(&self, client: ClientId, group: impl Display) -> Result {
        let (connection_id, group) = (client.connection_id, Bytes::from(name(group)?));
        Ok(self.order_any(client, Order::JoinGroup { connection_id, group })?)
    }

    /// Takes a client out of a group.
    ///
    /// # Errors
    /// As [`Hub::bind_uid`].
    pub fn leave(&self, client: ClientId, group: impl Display) -> Result {
        let (connection_id, group) = (client.connection_id, Bytes::from(name(group)?));
        Ok(self.order_any(client, Order::LeaveGroup { connection_id, group })?)
    }

    /// Takes every client out of a group, on all gateways.
    ///
    /// # Errors
    /// As [`Hub::send_to_group`].
    pub fn ungroup(&self, group: impl Display) -> Result {
        Ok(self.publish(&Order::Ungroup { group: Bytes::from(name(group)?) })?)
    }

    /// Closes a client when everything sent to it before has left.
    ///
    /// # Errors
    /// The link to the client's gateway is full.
    pub fn close_client(&self, client: ClientId) -> Result {
        Ok(self.order_any(client, kick(client))?)
    }

    /// Sends a client a last message, then closes it.
    ///
    /// # Errors
    /// As [`Hub::send_to_client`].
    pub fn close_client_with(&self, client: ClientId, farewell: impl IntoMessage) -> Result {
        let (connection_id, farewell) = (client.connection_id, body(farewell)?);
        Ok(self.order_any(client, Order::Kick { connection_id, farewell })?)
    }

    /// Drops a client's connection now; what is queued for it is lost.
    ///
    /// # Errors
    /// The link to the client's gateway is full.
    pub fn destroy_client(&self, client: ClientId) -> Result {
        let order = Order::Destroy { connection_id: client.connection_id };
        Ok(self.order_any(client, order)?)
    }

    /// Replaces a client's session.
    ///
    /// The handlers that run for the client see it with the next event that its gateway sends after
    /// that. What one of them changes before it has seen it is written field by field, so the rest stays as it is
    /// set here; of a field that both write the later write counts (`session_conflicts` in `status`). Behind a gateway
    /// of `GatewayWorker`'s the handlers' session is written whole, and the last writer wins.
    ///
    /// # Errors
    /// The link to the client's gateway is full; a value that is no struct or map, that PHP's format
    /// cannot express, or that is too long for a packet.
    pub fn set_session<T: Serialize + ?Sized>(&self, client: ClientId, value: &T) -> Result {
        let connection_id = client.connection_id;
        let session = session::encode(value).map_err(HubError::Session)?;
        Ok(self.order_any(client, Order::SetSession { connection_id, session })?)
    }

    /// Merges fields into a client's session; the gateway does it, so the other fields stay as they are.
    ///
    /// Maps within the session are merged, too; everything else is replaced.
    ///
    /// # Errors
    /// As [`Hub::set_session`].
    pub fn update_session<T: Serialize + ?Sized>(&self, client: ClientId, fields: &T) -> Result {
        let connection_id = client.connection_id;
        let session = session::encode(fields).map_err(HubError::Session)?;
        Ok(self.order_any(client, Order::UpdateSession { connection_id, session })?)
    }
}

/// The command that closes a client without a farewell.
pub(crate) fn kick(client: ClientId) -> Order {
    Order::Kick { connection_id: client.connection_id, farewell: Body::Value(php::Value::Null) }
}
