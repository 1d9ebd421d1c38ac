//! Messages to clients: to all, to some, to uids, to groups.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::SocketAddr;

use lineman::Result;
use lineman_wire::link::{Audience, Body, ClientId, Name, Order};

use super::{Hub, HubError, IntoMessage, encode, gateway_of};

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
        Ok(self.order_everywhere(Order::SendToAll { audience: Audience::All, message })?)
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
        Ok(self.except(except, order)?)
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
        let clients = by_gateway(clients);
        let packet = |gateway| match clients.get(&gateway) {
            Some(ids) => {
                let audience = Audience::Only(ids.clone());
                encode(Order::SendToAll { audience, message: message.clone() }).map(Some)
            }
            None => Ok(None),
        };
        Ok(self.each_link(packet)?)
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
        Ok(self.order_everywhere(Order::SendToUid { uids, message })?)
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
        let (groups, message) = (names(&[group])?, body(message)?);
        let order = |exclude| {
            let (groups, message) = (groups.clone(), message.clone());
            Order::SendToGroup { groups, exclude, message }
        };
        Ok(self.except(except, order)?)
    }

    /// Sends a message to the clients of several groups; who is in two of them gets it twice.
    ///
    /// # Errors
    /// As [`Hub::send_to_group`].
    pub fn send_to_groups(&self, groups: &[impl Display], message: impl IntoMessage) -> Result {
        let (groups, message) = (names(groups)?, body(message)?);
        Ok(self.order_everywhere(Order::SendToGroup { groups, exclude: Vec::new(), message })?)
    }

    /// Sends to every gateway the command for those clients of it that are left out. The command
    /// for gateways without such clients is encoded once.
    fn except(
        &self,
        except: &[ClientId],
        order: impl Fn(Vec<u32>) -> Order,
    ) -> std::result::Result<(), HubError> {
        let except = by_gateway(except);
        let for_others = encode(order(Vec::new()))?;
        self.each_link(|gateway| match except.get(&gateway) {
            Some(ids) => encode(order(ids.clone())).map(Some),
            None => Ok(Some(for_others.clone())),
        })
    }
}

pub(super) fn body(message: impl IntoMessage) -> std::result::Result<Body, HubError> {
    Ok(Body::Scalar(message.into_message()?.into_bytes()))
}

/// Returns a uid's or group's name, unless it is one that gateways refuse.
pub(super) fn name(name: impl Display) -> std::result::Result<String, HubError> {
    let name = name.to_string();
    if name.is_empty() || name == "0" { Err(HubError::EmptyName) } else { Ok(name) }
}

fn names(list: &[impl Display]) -> std::result::Result<Vec<Name>, HubError> {
    list.iter().map(|item| name(item).map(Name::Text)).collect()
}

fn by_gateway(clients: &[ClientId]) -> BTreeMap<SocketAddr, Vec<u32>> {
    let mut sorted: BTreeMap<_, Vec<u32>> = BTreeMap::new();
    for client in clients {
        sorted.entry(gateway_of(*client)).or_default().push(client.connection_id);
    }
    sorted
}
