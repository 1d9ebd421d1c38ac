//! What is sent to clients, and what is done to them.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::SocketAddr;

use bytes::Bytes;
use lineman_wire::link::{Audience, Body, ClientId, Name, Order, session};
use lineman_wire::php;
use serde::Serialize;

use crate::gateway::encode;
use crate::limits::CallClock;
use crate::reach::gateway_of;
use crate::{Answers, Cluster, Error};

/// Messages and other commands.
///
/// Unknown clients, uids and groups are ignored. `Ok` means that the gateways have been sent the command;
/// they do not confirm it. Strings are text and bytes are binary to a client that speaks WebSocket, unless its gateway
/// has another setting; an array, which becomes JSON, and [`Body::Scalar`] have no type, as in PHP. What concerns all gateways reaches those that can be reached, whatever becomes of
/// the others: then [`Error::Incomplete`] names those.
impl Cluster {
    /// Sends a message to every client.
    ///
    /// # Errors
    /// As [`Cluster::gateways`]; [`Error::Incomplete`]; [`Error::TooLong`].
    pub fn send_to_all(&mut self, message: impl Into<Body>) -> Result<(), Error> {
        self.order_all(Order::SendToAll { audience: Audience::All, message: message.into() })
    }

    /// Sends a message to every client but these.
    ///
    /// # Errors
    /// As [`Cluster::send_to_all`].
    pub fn send_to_all_except(
        &mut self,
        message: impl Into<Body>,
        except: &[ClientId],
    ) -> Result<(), Error> {
        let message = message.into();
        self.order_all_except(except, |ids| {
            let audience = if ids.is_empty() { Audience::All } else { Audience::Except(ids) };
            Order::SendToAll { audience, message: message.clone() }
        })
    }

    /// Sends a message to some clients: one packet for each gateway.
    ///
    /// # Errors
    /// [`Error::Incomplete`], [`Error::TooLong`].
    pub fn send_to_clients(
        &mut self,
        clients: &[ClientId],
        message: impl Into<Body>,
    ) -> Result<(), Error> {
        let (message, mut packets) = (message.into(), Vec::new());
        for (gateway, ids) in by_gateway(clients) {
            let order =
                Order::SendToAll { audience: Audience::Only(ids), message: message.clone() };
            packets.push((gateway, encode(order)?));
        }
        Ok(self.send(packets, &self.call()).complete()?)
    }

    /// Sends a message to every client of a uid.
    ///
    /// # Errors
    /// As [`Cluster::send_to_all`]; [`Error::EmptyName`].
    pub fn send_to_uid(
        &mut self,
        uid: impl Display,
        message: impl Into<Body>,
    ) -> Result<(), Error> {
        self.send_to_uids(&[uid], message)
    }

    /// Sends a message to every client of each of the uids.
    ///
    /// # Errors
    /// As [`Cluster::send_to_uid`].
    pub fn send_to_uids(
        &mut self,
        uids: &[impl Display],
        message: impl Into<Body>,
    ) -> Result<(), Error> {
        self.order_all(Order::SendToUid { uids: names(uids)?, message: message.into() })
    }

    /// Sends a message to every client of a group.
    ///
    /// # Errors
    /// As [`Cluster::send_to_uid`].
    pub fn send_to_group(
        &mut self,
        group: impl Display,
        message: impl Into<Body>,
    ) -> Result<(), Error> {
        self.send_to_groups(&[group], message)
    }

    /// Sends a message to the clients of several groups; one that is in two of them gets it twice.
    ///
    /// # Errors
    /// As [`Cluster::send_to_uid`].
    pub fn send_to_groups(
        &mut self,
        groups: &[impl Display],
        message: impl Into<Body>,
    ) -> Result<(), Error> {
        let (groups, message) = (names(groups)?, message.into());
        self.order_all(Order::SendToGroup { groups, exclude: Vec::new(), message })
    }

    /// Sends a message to the clients of several groups but these; one that is in two of them gets it twice.
    ///
    /// # Errors
    /// As [`Cluster::send_to_uid`].
    pub fn send_to_groups_except(
        &mut self,
        groups: &[impl Display],
        message: impl Into<Body>,
        except: &[ClientId],
    ) -> Result<(), Error> {
        let (groups, message) = (names(groups)?, message.into());
        self.order_all_except(except, |exclude| {
            let (groups, message) = (groups.clone(), message.clone());
            Order::SendToGroup { groups, exclude, message }
        })
    }

    /// Sends a message to every client of a group but these.
    ///
    /// # Errors
    /// As [`Cluster::send_to_uid`].
    pub fn send_to_group_except(
        &mut self,
        group: impl Display,
        message: impl Into<Body>,
        except: &[ClientId],
    ) -> Result<(), Error> {
        self.send_to_groups_except(&[group], message, except)
    }

    /// Sends a message to one client.
    ///
    /// # Errors
    /// What its gateway did: [`Error::Gateway`], [`Error::Timeout`], [`Error::Silent`], [`Error::Refused`].
    /// [`Error::TooLong`].
    pub fn send_to_client(
        &mut self,
        client: ClientId,
        message: impl Into<Body>,
    ) -> Result<(), Error> {
        let (connection_id, message) = (client.connection_id, message.into());
        self.order(client, Order::SendToOne { connection_id, message })
    }

    /// Closes a client when everything sent to it before has left.
    ///
    /// # Errors
    /// As [`Cluster::send_to_client`].
    pub fn close_client(&mut self, client: ClientId) -> Result<(), Error> {
        self.close_client_with(client, Body::Value(php::Value::Null))
    }

    /// Sends a client a last message, then closes it.
    ///
    /// # Errors
    /// As [`Cluster::send_to_client`].
    pub fn close_client_with(
        &mut self,
        client: ClientId,
        farewell: impl Into<Body>,
    ) -> Result<(), Error> {
        let (connection_id, farewell) = (client.connection_id, farewell.into());
        self.order(client, Order::Kick { connection_id, farewell })
    }

    /// Drops a client's connection now; what is queued for it is lost.
    ///
    /// # Errors
    /// As [`Cluster::send_to_client`].
    pub fn destroy_client(&mut self, client: ClientId) -> Result<(), Error> {
        self.order(client, Order::Destroy { connection_id: client.connection_id })
    }

    /// Binds a uid to a client, in place of the one it had. A uid may have many clients.
    ///
    /// # Errors
    /// As [`Cluster::send_to_client`]; [`Error::EmptyName`].
    pub fn bind_uid(&mut self, client: ClientId, uid: impl Display) -> Result<(), Error> {
        let (connection_id, uid) = (client.connection_id, name(uid)?.to_bytes());
        self.order(client, Order::BindUid { connection_id, uid })
    }

    /// Takes a client's uid away.
    ///
    /// # Errors
    /// As [`Cluster::send_to_client`].
    pub fn unbind_uid(&mut self, client: ClientId) -> Result<(), Error> {
        let (connection_id, uid) = (client.connection_id, Bytes::new());
        self.order(client, Order::UnbindUid { connection_id, uid })
    }

    /// Adds a client to a group.
    ///
    /// # Errors
    /// As [`Cluster::bind_uid`].
    pub fn join(&mut self, client: ClientId, group: impl Display) -> Result<(), Error> {
        let (connection_id, group) = (client.connection_id, name(group)?.to_bytes());
        self.order(client, Order::JoinGroup { connection_id, group })
    }

    /// Takes a client out of a group.
    ///
    /// # Errors
    /// As [`Cluster::bind_uid`].
    pub fn leave(&mut self, client: ClientId, group: impl Display) -> Result<(), Error> {
        let (connection_id, group) = (client.connection_id, name(group)?.to_bytes());
        self.order(client, Order::LeaveGroup { connection_id, group })
    }

    /// Takes every client out of a group.
    ///
    /// # Errors
    /// As [`Cluster::send_to_uid`].
    pub fn ungroup(&mut self, group: impl Display) -> Result<(), Error> {
        self.order_all(Order::Ungroup { group: name(group)?.to_bytes() })
    }

    /// Replaces a client's session. A handler that runs for the client and writes it later wins.
    ///
    /// # Errors
    /// As [`Cluster::send_to_client`]; [`Error::Session`].
    pub fn set_session<T: Serialize + ?Sized>(
        &mut self,
        client: ClientId,
        value: &T,
    ) -> Result<(), Error> {
        let session = session::encode(value).map_err(Error::Session)?;
        self.order(client, Order::SetSession { connection_id: client.connection_id, session })
    }

    /// Merges fields into a client's session. Maps within it are merged, too; everything else is replaced.
    ///
    /// # Errors
    /// As [`Cluster::set_session`].
    pub fn update_session<T: Serialize + ?Sized>(
        &mut self,
        client: ClientId,
        fields: &T,
    ) -> Result<(), Error> {
        let session = session::encode(fields).map_err(Error::Session)?;
        self.order(client, Order::UpdateSession { connection_id: client.connection_id, session })
    }
}

/// The commands' common parts.
impl Cluster {
    fn send(&mut self, packets: Vec<(SocketAddr, Bytes)>, call: &CallClock) -> Answers<()> {
        let Self { reach, credentials, .. } = self;
        reach.send(packets, credentials, call)
    }

    fn order(&mut self, client: ClientId, order: Order) -> Result<(), Error> {
        let packets = vec![(gateway_of(client), encode(order)?)];
        let failed = self.send(packets, &self.call()).missing.pop();
        failed.map_or(Ok(()), |failed| Err(failed.reason))
    }

    fn order_all(&mut self, order: Order) -> Result<(), Error> {
        let (call, packet) = (self.call(), encode(order)?);
        let gateways = self.list(&call)?;
        let packets = gateways.into_iter().map(|gateway| (gateway, packet.clone())).collect();
        Ok(self.send(packets, &call).complete()?)
    }

    /// Sends to every gateway a command that is made for those of some clients that are behind it.
    fn order_all_except(
        &mut self,
        except: &[ClientId],
        order: impl Fn(Vec<u32>) -> Order,
    ) -> Result<(), Error> {
        let call = self.call();
        let mut except = by_gateway(except);
        // Encoded once for all gateways where nothing is left out.
        let for_others = encode(order(Vec::new()))?;
        let mut packets = Vec::new();
        for gateway in self.list(&call)? {
            let packet = match except.remove(&gateway) {
                Some(ids) => encode(order(ids))?,
                None => for_others.clone(),
            };
            packets.push((gateway, packet));
        }
        Ok(self.send(packets, &call).complete()?)
    }
}

/// Sorts clients by their gateways.
fn by_gateway(clients: &[ClientId]) -> BTreeMap<SocketAddr, Vec<u32>> {
    let mut sorted: BTreeMap<_, Vec<u32>> = BTreeMap::new();
    for client in clients {
        sorted.entry(gateway_of(*client)).or_default().push(client.connection_id);
    }
    sorted
}

/// Returns a uid's or group's name, unless it is one that gateways refuse.
pub(crate) fn name(name: impl Display) -> Result<Name, Error> {
    let name = name.to_string();
    if name.is_empty() || name == "0" { Err(Error::EmptyName) } else { Ok(Name::Text(name)) }
}

pub(crate) fn names(list: &[impl Display]) -> Result<Vec<Name>, Error> {
    list.iter().map(name).collect()
}
