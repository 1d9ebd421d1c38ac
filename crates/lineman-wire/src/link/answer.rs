//! Answers of gateways as what they mean: what one has said, and what is known from all of a cluster.
//!
//! The hub of `lineman-gateway` calls it, and `lineman-client`. It asks nothing and waits for nothing.

use core::error::Error as StdError;
use core::net::SocketAddr;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::Bytes;

use super::{ClientId, Error, Reply};
use crate::php::{Array, Key, Value};

/// What is known from the gateways that answered a question, and which did not.
///
/// A cluster answers as far as it can: a machine without power does not keep the answers of the others.
/// The code that asks says whether that is enough.
///
/// ```
/// # use lineman_wire::link::{Answers, Error};
/// # fn example(online: Answers<u64, Error>) -> Result<(), Box<dyn std::error::Error>> {
/// // What is known, whatever is missing:
/// println!("at least {} are online", online.value);
/// // All of it, or an error that names the gateways:
/// println!("{} are online", online.complete()?);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Answers<T, E> {
    /// What the gateways that answered know, put together.
    pub value: T,
    /// The gateways whose answer is not in it.
    pub missing: Vec<Missing<E>>,
    /// How many gateways the question concerned, with those that are missing.
    pub asked: usize,
}

/// A gateway that gave no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing<E> {
    /// Which one.
    pub gateway: SocketAddr,
    /// Why: the error of a question to it alone. It names the gateway, too.
    pub reason: E,
}

/// The error of code that needs all answers and did not get them; [`Answers::complete`] returns it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incomplete<E> {
    /// The gateways that gave no answer.
    pub missing: Vec<Missing<E>>,
    /// How many gateways the question concerned, with those.
    pub asked: usize,
}

impl<T, E> Answers<T, E> {
    /// Returns whether every gateway has answered.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }

    /// Returns the value, if every gateway has answered.
    ///
    /// # Errors
    /// The gateways that did not.
    pub fn complete(self) -> Result<T, Incomplete<E>> {
        match self {
            Self { value, missing, .. } if missing.is_empty() => Ok(value),
            Self { missing, asked, .. } => Err(Incomplete { missing, asked }),
        }
    }

    /// Makes another value of what is known.
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> Answers<U, E> {
        let Self { value, missing, asked } = self;
        Answers { value: make(value), missing, asked }
    }
}

impl<E: fmt::Display> fmt::Display for Incomplete<E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} of {} gateways are missing", self.missing.len(), self.asked)?;
        let mut mark = ": ";
        for Missing { reason, .. } in &self.missing {
            write!(formatter, "{mark}{reason}")?;
            mark = "; ";
        }
        Ok(())
    }
}

impl<E: fmt::Debug + fmt::Display> StdError for Incomplete<E> {}

/// A client in a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The group's name.
    pub group: String,
    /// The client.
    pub client: ClientId,
    /// Its uid, if it has one.
    pub uid: Option<String>,
}

impl Member {
    /// Returns the clients of each group.
    pub fn clients_by_group(
        members: impl IntoIterator<Item = Self>,
    ) -> BTreeMap<String, Vec<ClientId>> {
        let mut groups: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for Self { group, client, .. } in members {
            groups.entry(group).or_default().push(client);
        }
        groups
    }

    /// Returns the uids of each group; one whose clients have none is there, without any.
    pub fn uids_by_group(
        members: impl IntoIterator<Item = Self>,
    ) -> BTreeMap<String, BTreeSet<String>> {
        let mut groups: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for Self { group, uid, .. } in members {
            groups.entry(group).or_default().extend(uid);
        }
        groups
    }
}

/// A client with what it is known by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnlineClient {
    /// The client.
    pub id: ClientId,
    /// Its uid, if it has one.
    pub uid: Option<String>,
    /// The groups that it is in.
    pub groups: Vec<String>,
}

/// What one gateway has answered.
///
/// Each way to read it fails if the answer is no PHP value, or is one of another kind.
#[derive(Debug, Clone)]
pub struct GatewayAnswer {
    /// Whose it is. Its clients have ids only if this is IPv4, as every gateway's inner address is.
    pub gateway: SocketAddr,
    /// What it has sent.
    pub reply: Reply,
}

impl GatewayAnswer {
    /// Reads a number.
    ///
    /// # Errors
    /// As of [`GatewayAnswer`].
    pub fn count(&self) -> Result<u64, Error> {
        count(&self.reply.value()?)
    }

    /// Reads numbers by name.
    ///
    /// # Errors
    /// As of [`GatewayAnswer`].
    pub fn counts(&self) -> Result<Vec<(String, u64)>, Error> {
        let entry = |(name, value): (Key, Value)| Ok((name_of(&name), count(&value)?));
        self.array()?.into_iter().map(entry).collect()
    }

    /// Reads a list of clients.
    ///
    /// # Errors
    /// As of [`GatewayAnswer`].
    pub fn client_ids(&self) -> Result<Vec<ClientId>, Error> {
        self.ids(&self.array()?)
    }

    /// Reads lists of clients by name.
    ///
    /// # Errors
    /// As of [`GatewayAnswer`].
    pub fn client_ids_by_name(&self) -> Result<Vec<(String, Vec<ClientId>)>, Error> {
        let entry = |(name, ids): (Key, Value)| Ok((name_of(&name), self.ids(&array(ids)?)?));
        self.array()?.into_iter().map(entry).collect()
    }

    /// Reads values by client.
    ///
    /// # Errors
    /// As of [`GatewayAnswer`].
    pub fn by_client(&self) -> Result<Vec<(ClientId, Value)>, Error> {
        let entry = |(id, value): (Key, Value)| Ok((self.client_id(id.as_int())?, value));
        self.array()?.into_iter().map(entry).collect()
    }

    /// Reads sessions by client, each as it is stored.
    ///
    /// # Errors
    /// As of [`GatewayAnswer`].
    pub fn sessions(&self) -> Result<Vec<(ClientId, Bytes)>, Error> {
        let session = |(client, value)| match value {
            Value::String(session) => Ok((client, session)),
            Value::Null => Ok((client, Bytes::new())),
            Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Array(_) => {
                Err(unexpected("sessions"))
            }
        };
        self.by_client()?.into_iter().map(session).collect()
    }

    /// Reads the answer to a `Select`: one of its fields, by client.
    ///
    /// # Errors
    /// As of [`GatewayAnswer`].
    pub fn selected(&self, field: &str) -> Result<Vec<(ClientId, Value)>, Error> {
        let value = |(client, fields): (ClientId, Value)| {
            let fields = fields.into_array().map_err(|_| unexpected("arrays of fields"));
            Ok((client, fields?.remove(field).unwrap_or_default()))
        };
        self.by_client()?.into_iter().map(value).collect()
    }

    /// Reads the uids of the answer to a `Select`, by client; clients without one are left out.
    ///
    /// # Errors
    /// As of [`GatewayAnswer`].
    pub fn uids(&self) -> Result<Vec<(ClientId, String)>, Error> {
        let selected = self.selected("uid")?.into_iter().filter(|(_, uid)| !uid.is_null());
        selected.map(|(client, uid)| Ok((client, name(&uid)?))).collect()
    }

    /// Reads the answer to a `Select` for groups and uids.
    ///
    /// # Errors
    /// As of [`GatewayAnswer`].
    pub fn clients(&self) -> Result<Vec<OnlineClient>, Error> {
        let client = |(id, fields): (ClientId, Value)| {
            let mut fields = fields.into_array().map_err(|_| unexpected("arrays of fields"))?;
            let uid = fields.remove("uid").filter(|uid| !uid.is_null());
            let groups = fields.remove("groups").filter(|groups| !groups.is_null());
            let groups = groups.map(array).transpose()?.unwrap_or_default();
            let uid = uid.as_ref().map(name).transpose()?;
            let groups = groups.values().map(name).collect::<Result<_, _>>()?;
            Ok(OnlineClient { id, uid, groups })
        };
        self.by_client()?.into_iter().map(client).collect()
    }

    /// Reads the answer to a `Select` for groups and uids: each group with each of its clients.
    ///
    /// # Errors
    /// As of [`GatewayAnswer`].
    pub fn members(&self) -> Result<Vec<Member>, Error> {
        let of = |OnlineClient { id, uid, groups }: OnlineClient| {
            groups.into_iter().map(move |group| Member { group, client: id, uid: uid.clone() })
        };
        Ok(self.clients()?.into_iter().flat_map(of).collect())
    }

    /// Reads a list of names; those that look like a number come as one.
    ///
    /// # Errors
    /// As of [`GatewayAnswer`].
    pub fn names(&self) -> Result<Vec<String>, Error> {
        self.array()?.values().map(name).collect()
    }

    /// Reads the answer to the query for a session: as it is stored, `None` if there is no such client.
    ///
    /// # Errors
    /// As of [`GatewayAnswer`].
    pub fn session(&self) -> Result<Option<&Bytes>, Error> {
        Ok((!self.reply.value()?.is_null()).then_some(&self.reply.payload))
    }

    fn array(&self) -> Result<Array, Error> {
        array(self.reply.value()?)
    }

    fn ids(&self, list: &Array) -> Result<Vec<ClientId>, Error> {
        list.values().map(|value| self.client_id(value.as_int())).collect()
    }

    fn client_id(&self, number: Option<i64>) -> Result<ClientId, Error> {
        let number = number.and_then(|number| u32::try_from(number).ok());
        match (self.gateway, number) {
            (SocketAddr::V4(gateway), Some(number)) => {
                Ok(ClientId::new(*gateway.ip(), gateway.port(), number))
            }
            _ => Err(unexpected("connection ids")),
        }
    }
}

fn count(value: &Value) -> Result<u64, Error> {
    let number = value.as_int().and_then(|number| u64::try_from(number).ok());
    number.ok_or(unexpected("a number"))
}

fn array(value: Value) -> Result<Array, Error> {
    value.into_array().map_err(|_| unexpected("an array"))
}

fn name(value: &Value) -> Result<String, Error> {
    match value {
        Value::Int(number) => Ok(number.to_string()),
        Value::String(text) => Ok(String::from_utf8_lossy(text).into_owned()),
        Value::Null | Value::Bool(_) | Value::Float(_) | Value::Array(_) => {
            Err(unexpected("names"))
        }
    }
}

fn name_of(key: &Key) -> String {
    match key {
        Key::Int(number) => number.to_string(),
        Key::String(text) => String::from_utf8_lossy(text).into_owned(),
    }
}

fn unexpected(expected: &'static str) -> Error {
    Error::UnexpectedReply { expected }
}
