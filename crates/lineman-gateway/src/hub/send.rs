//! Messages to clients: to all, to some, to uids, to groups.

use std::fmt::Display;

use lineman::Result;
use lineman_wire::link::{Audience, Body, ClientId, Name, Order};

use super::{Hub, IntoMessage};
use crate::cluster::{by_gateway, encode};
use crate::error::HubError;

/// Messages. None of these waits; one that a gateway's link has no room for ([`HubError::Full`]) reaches
/// the other gateways all the same. Errors are a [`HubError`], boxed.
impl Hub {
    /// Sends a message to every client.
    ///
    /// # Errors
    /// [`HubError::Message`], [`HubError::TooLong`]. [`HubError::Full`], or [`HubError::Unlinked`] as a link
    /// ends, for the first gateway that did not take it; the others have it.
    pub fn send_to_all(&self, message: impl IntoMessage) -> Result {
        let message = body(message)?;
        Ok(self.publish(&Order::SendToAll { audience: Audience::All, message })?)
    }

    /// Sends a message to every client but these.
    ///
    /// # Errors
    /// As [`Hub::send_to_all`].
    pub fn send_to_all_except(&self, message: impl IntoMessage, except: &[ClientId]) -> Result {
        let message = body(message)?;
        let order = |except| {
            let audience = Audience::Except(except);
            Order::SendToAll { audience, message: message.clone() }
        };
        Ok(self.cluster().publish(&order, except)?)
    }

    /// Sends a message to one client.
    ///
    /// # Errors
    /// [`HubError::Full`] of its gateway's link;
    /// [`HubError::Message`], [`HubError::TooLong`].
    pub fn send_to_client(&self, client: ClientId, message: impl IntoMessage) -> Result {
        let message = body(message)?;
        let connection_id = client.connection_id;
        Ok(self.order_any(client, Order::SendToOne { connection_id, message })?)
    }

    /// Sends a message to some clients: one packet for each gateway.
    ///
    /// # Errors
    /// As [`Hub::send_to_all`].
    pub fn send_to_clients(&self, clients: &[ClientId], message: impl IntoMessage) -> Result {
        let message = body(message)?;
        let mut outcome = Ok(());
        for (gateway, ids) in by_gateway(clients) {
            let audience = Audience::Only(ids);
            let order = Order::SendToAll { audience, message: message.clone() };
            let sent = encode(order).and_then(|packet| self.cluster().send(gateway, packet));
            outcome = outcome.and(match sent {
                Err(HubError::Unlinked { .. }) => Ok(()),
                sent => sent,
            });
        }
        Ok(outcome?)
    }

    /// Sends a message to every client of a uid.
    ///
    /// # Errors
    /// As [`Hub::send_to_all`]; [`HubError::EmptyName`].
    pub fn send_to_uid(&self, uid: impl Display, message: impl IntoMessage) -> Result {
        self.send_to_uids(&[uid], message)
    }

    /// Sends a message to every client of each of the uids.
    ///
    /// # Errors
    /// As [`Hub::send_to_uid`].
    pub fn send_to_uids(&self, uids: &[impl Display], message: impl IntoMessage) -> Result {
        let (uids, message) = (names(uids)?, body(message)?);
        Ok(self.publish(&Order::SendToUid { uids, message })?)
    }

    /// Sends a message to every client of a group.
    ///
    /// ```no_run
    /// # use lineman_gateway::Hub;
    /// # fn example(hub: &Hub) -> lineman::Result {
    /// hub.send_to_group("lobby", "hello")
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Hub::send_to_all`]; [`HubError::EmptyName`].
    pub fn send_to_group(&self, group: impl Display, message: impl IntoMessage) -> Result {
        self.send_to_groups(&[group], message)
    }

    /// Sends a message to every client of a group but these.
    ///
    /// # Errors
    /// As [`Hub::send_to_group`].
    pub fn send_to_group_except(
        &self,
        group: impl Display,
        message: impl IntoMessage,
        except: &[ClientId],
    ) -> Result {
        self.send_to_groups_except(&[group], message, except)
    }

    /// Sends a message to the clients of several groups; one that is in two of them gets it twice.
    ///
    /// # Errors
    /// As [`Hub::send_to_group`].
    pub fn send_to_groups(&self, groups: &[impl Display], message: impl IntoMessage) -> Result {
        let (groups, message) = (names(groups)?, body(message)?);
        Ok(self.publish(&Order::SendToGroup { groups, exclude: Vec::new(), message })?)
    }

    /// Sends a message to the clients of several groups but these; one that is in two of them gets it twice.
    ///
    /// # Errors
    /// As [`Hub::send_to_group`].
    pub fn send_to_groups_except(
        &self,
        groups: &[impl Display],
        message: impl IntoMessage,
        except: &[ClientId],
    ) -> Result {
        let (groups, message) = (names(groups)?, body(message)?);
        let order = |exclude| {
            let (groups, message) = (groups.clone(), message.clone());
            Order::SendToGroup { groups, exclude, message }
        };
        Ok(self.cluster().publish(&order, except)?)
    }
}

pub(super) fn body(message: impl IntoMessage) -> std::result::Result<Body, HubError> {
    message.into_body()
}

/// Returns a uid's or group's name, unless it is one that gateways refuse.
pub(super) fn name(name: impl Display) -> std::result::Result<String, HubError> {
    let name = name.to_string();
    if name.is_empty() || name == "0" { Err(HubError::EmptyName) } else { Ok(name) }
}

pub(super) fn names(list: &[impl Display]) -> std::result::Result<Vec<Name>, HubError> {
    list.iter().map(|item| name(item).map(Name::Text)).collect()
}
