//! The cluster as a program outside of it sees it: gateways to send to and to ask.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lineman_wire::link::{Audience, Body, ClientId, Name, Order, Packet, Query, Secret};
use lineman_wire::php;

use crate::gateway::Gateway;
use crate::{Error, register};

/// How long a list of gateways is good: a new gateway waits no longer for its first message, and a
/// loop of sends does not ask the register each time.
const LIST_AGE: Duration = Duration::from_secs(1);

/// A handle on a cluster. Connections are made when they are first needed, and kept.
///
/// Unknown clients, uids and groups are ignored. `Ok` means that the gateways have been sent the
/// command; they do not confirm it.
#[derive(Debug)]
pub struct Cluster {
    register: String,
    secret_key: Secret,
    timeout: Duration,
    listed: Option<(Instant, Vec<SocketAddr>)>,
    gateways: BTreeMap<SocketAddr, Gateway>,
}

impl Cluster {
    /// Returns the cluster of a register, `host:port`. Nothing is connected yet.
    pub fn new(register: impl Into<String>) -> Self {
        Self {
            register: register.into(),
            secret_key: Secret::default(),
            timeout: Duration::from_secs(5),
            listed: None,
            gateways: BTreeMap::new(),
        }
    }

    /// Sets the cluster's key. Default none.
    #[must_use]
    pub fn secret_key(mut self, key: impl Into<String>) -> Self {
        self.secret_key = Secret::new(key);
        self
    }

    /// Sets how long each connect, send and answer may take. Default 5 s; zero is taken as 1 ms.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout.max(Duration::from_millis(1));
        self
    }

    /// Returns the gateways that the register knows; asks it at most once a second.
    ///
    /// # Errors
    /// [`Error::Register`], [`Error::NoList`].
    pub fn gateways(&mut self) -> Result<Vec<SocketAddr>, Error> {
        if let Some((asked, list)) = &self.listed
            && asked.elapsed() < LIST_AGE
        {
            return Ok(list.clone());
        }
        let list = register::gateways(&self.register, &self.secret_key, self.timeout)?;
        self.gateways.retain(|address, _| list.contains(address));
        self.listed = Some((Instant::now(), list.clone()));
        Ok(list)
    }

    /// Sends a message to every client.
    ///
    /// # Errors
    /// As [`Cluster::gateways`]. [`Error::Gateway`], [`Error::Refused`] or [`Error::Packet`] for the
    /// first gateway that did not take it; the others have it.
    pub fn send_to_all(&mut self, message: impl Into<Body>) -> Result<(), Error> {
        let order = Order::SendToAll { audience: Audience::All, message: message.into() };
        self.order_all(order)
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
        let order = Order::SendToUid { uids: vec![name(uid)?], message: message.into() };
        self.order_all(order)
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
        let (groups, message) = (vec![name(group)?], message.into());
        self.order_all(Order::SendToGroup { groups, exclude: Vec::new(), message })
    }

    /// Sends a message to one client.
    ///
    /// # Errors
    /// [`Error::Gateway`], [`Error::Refused`], [`Error::Packet`].
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
        let farewell = Body::Value(php::Value::Null);
        self.order(client, Order::Kick { connection_id: client.connection_id, farewell })
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

    /// Returns whether a client is connected.
    ///
    /// # Errors
    /// As [`Cluster::send_to_client`]; [`Error::UnexpectedReply`].
    pub fn is_online(&mut self, client: ClientId) -> Result<bool, Error> {
        let query = Query::IsOnline { connection_id: client.connection_id };
        Ok(self.number(address(client), &query)? > 0)
    }

    /// Returns how many clients are connected.
    ///
    /// # Errors
    /// As [`Cluster::gateways`]; as [`Cluster::is_online`] for the first gateway that gave no number.
    pub fn client_count(&mut self) -> Result<u64, Error> {
        self.count(&Query::ClientCountByGroup { group: Bytes::new() })
    }

    /// Returns how many clients are in a group.
    ///
    /// # Errors
    /// As [`Cluster::client_count`]; [`Error::EmptyName`].
    pub fn client_count_in_group(&mut self, group: impl Display) -> Result<u64, Error> {
        self.count(&Query::ClientCountByGroup { group: name(group)?.to_bytes() })
    }
}

impl Cluster {
    fn order(&mut self, client: ClientId, order: Order) -> Result<(), Error> {
        let packet = Packet::from(order);
        self.with_gateway(address(client), |gateway| gateway.send(&packet))
    }

    /// Sends to every gateway, also behind one that fails; the first failure is returned.
    fn order_all(&mut self, order: Order) -> Result<(), Error> {
        let packet = Packet::from(order);
        let mut outcome = Ok(());
        for address in self.gateways()? {
            outcome = outcome.and(self.with_gateway(address, |gateway| gateway.send(&packet)));
        }
        outcome
    }

    fn count(&mut self, query: &Query) -> Result<u64, Error> {
        self.gateways()?.into_iter().map(|address| self.number(address, query)).sum()
    }

    fn number(&mut self, address: SocketAddr, query: &Query) -> Result<u64, Error> {
        let reply = self.with_gateway(address, |gateway| gateway.ask(query.clone()))?;
        let value = reply.value().map_err(|source| Error::Packet { gateway: address, source })?;
        let number = value.as_int().and_then(|number| u64::try_from(number).ok());
        number.ok_or(Error::UnexpectedReply { gateway: address, expected: "a number" })
    }

    /// Uses the connection to a gateway, a new one if need be; one that failed is not used again,
    /// for answers could be left on it.
    fn with_gateway<T>(
        &mut self,
        address: SocketAddr,
        run: impl FnOnce(&mut Gateway) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut gateway = match self.gateways.remove(&address).filter(Gateway::is_open) {
            Some(gateway) => gateway,
            None => Gateway::connect(address, &self.secret_key, self.timeout)?,
        };
        let outcome = run(&mut gateway)?;
        self.gateways.insert(address, gateway);
        Ok(outcome)
    }
}

fn address(client: ClientId) -> SocketAddr {
    SocketAddr::from((client.local_ip, client.local_port))
}

fn name(name: impl Display) -> Result<Name, Error> {
    let name = name.to_string();
    if name.is_empty() || name == "0" { Err(Error::EmptyName) } else { Ok(Name::Text(name)) }
}
