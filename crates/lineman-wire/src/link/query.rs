//! Commands to a gateway that have an answer, a [`Reply`](super::Reply) each, in their order.

use bytes::Bytes;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::Value;

use super::json::{self, IdSet};
use super::{Command, Error, Name, NameKey, Packet};

/// Something a gateway is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Query {
    /// The sessions of all clients; the answer maps connection id to PHP-serialized session.
    AllClientSessions,
    /// Is the client connected? The answer is 0 or 1.
    IsOnline {
        /// The client.
        connection_id: u32,
    },
    /// The clients of a uid; the answer is a list of connection ids.
    ClientIdsByUid {
        /// The uid.
        uid: Bytes,
    },
    /// The clients of several uids; the answer maps uid to a list of connection ids.
    BatchClientIdsByUid {
        /// The uids; none if the peer's list could not be read.
        uids: Vec<Name>,
    },
    /// The sessions of a group's clients; the answer is as of [`Query::AllClientSessions`].
    ClientSessionsByGroup {
        /// The group.
        group: Bytes,
    },
    /// How many clients are in a group; the answer is a number.
    ClientCountByGroup {
        /// The group; nothing asks for the number of all clients.
        group: Bytes,
    },
    /// Properties of clients; the answer maps connection id to an array of field and value.
    Select(Select),
    /// The names of all groups; the answer is a list in which `42` is a number.
    GroupIds,
    /// How many clients are in each of several groups; the answer maps group to number.
    BatchClientCountByGroup {
        /// The groups; none if the peer's list could not be read.
        groups: Vec<Name>,
    },
    /// Extension, version 2: a part of the answer to a query about many clients. The answer is a
    /// [page](super::Reply::into_page).
    Page {
        /// Where the part before ended, as its answer says; 0 for the first part.
        after: u32,
        /// The query: not a page, and none about a single client.
        query: Box<Query>,
    },
    /// Extension, version 3: another query. The answer is [stamped](super::Reply::into_stamped): it says how many
    /// changes of names there had been, so that the business knows whether it was told of all that it shows.
    Stamped(Box<Query>),
    /// The session of a client; the answer is the session itself, an empty array if there is none,
    /// and null if there is no such client.
    Session {
        /// The client.
        connection_id: u32,
    },
}

/// What [`Query::Select`] asks for.
///
/// If the peer's JSON could not be read, this is the default: no field of any client, which is
/// answered with an empty array, as `GatewayWorker` does then.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Select {
    /// Which properties.
    pub fields: Vec<Field>,
    /// Which clients: those that fulfil one of the conditions, or all if there are no conditions.
    pub conditions: Vec<Condition>,
}

/// A property of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// The uid: a string or null.
    Uid,
    /// The groups: an array from name to name, or null.
    Groups,
    /// The session: a string, PHP-serialized.
    Session,
    /// A name that is not known; its value is null.
    Unknown(String),
}

/// One way to choose clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// The client is in one of the groups.
    Groups(Vec<Name>),
    /// The client has one of the uids.
    Uids(Vec<Name>),
    /// The client is one of these. A condition that is not known reads as an empty list here, so
    /// that it chooses no client.
    Connections(Vec<u32>),
}

impl TryFrom<Packet> for Query {
    type Error = Error;

    /// # Errors
    /// The command is none of these. JSON that cannot be read is no error: a query that is not
    /// answered would shift all answers behind it.
    fn try_from(packet: Packet) -> Result<Self, Error> {
        let Packet { command, connection_id, ext, body, .. } = packet;
        let names = |ext: &[u8]| {
            let list = json::read(command, ext);
            list.and_then(|list| json::names(command, &list)).unwrap_or_default()
        };
        Ok(match command {
            Command::GetAllClientSessions => Self::AllClientSessions,
            Command::IsOnline => Self::IsOnline { connection_id },
            Command::GetClientIdByUid => Self::ClientIdsByUid { uid: ext },
            Command::BatchGetClientIdByUid => Self::BatchClientIdsByUid { uids: names(&ext) },
            Command::GetClientSessionsByGroup => Self::ClientSessionsByGroup { group: ext },
            Command::GetClientCountByGroup => Self::ClientCountByGroup { group: ext },
            Command::Select => Self::Select(Select::read(&ext).unwrap_or_default()),
            Command::GetGroupIdList => Self::GroupIds,
            Command::BatchGetClientCountByGroup => {
                Self::BatchClientCountByGroup { groups: names(&ext) }
            }
            Command::GetSessionByClientId => Self::Session { connection_id },
            Command::Page => {
                let inner = body.first().map_or(command, |number| Command::from(*number));
                if matches!(inner, Command::Page | Command::Stamped) {
                    return Err(Error::UnexpectedCommand(inner));
                }
                let query = Self::try_from(Packet { ext, ..Packet::new(inner, 0) })?;
                Self::Page { after: connection_id, query: Box::new(query) }
            }
            Command::Stamped => {
                let mut body = body;
                let number = body.split_off(body.len().saturating_sub(1));
                let inner = number.first().map_or(command, |number| Command::from(*number));
                if inner == Command::Stamped {
                    return Err(Error::UnexpectedCommand(inner));
                }
                let packet = Packet { ext, body, ..Packet::new(inner, connection_id) };
                Self::Stamped(Box::new(packet.try_into()?))
            }
            other => return Err(Error::UnexpectedCommand(other)),
        })
    }
}

impl From<Query> for Packet {
    fn from(query: Query) -> Self {
        let (command, connection_id, ext) = match query {
            Query::Page { after, query } => {
                let inner = Self::from(*query);
                let body = Bytes::copy_from_slice(&[inner.command.number()]);
                return Self { ext: inner.ext, body, ..Self::new(Command::Page, after) };
            }
            Query::Stamped(query) => return Self::from(*query).stamped(),
            Query::AllClientSessions => (Command::GetAllClientSessions, 0, Bytes::new()),
            Query::IsOnline { connection_id } => (Command::IsOnline, connection_id, Bytes::new()),
            Query::ClientIdsByUid { uid } => (Command::GetClientIdByUid, 0, uid),
            Query::BatchClientIdsByUid { uids } => {
                (Command::BatchGetClientIdByUid, 0, json::write(&uids))
            }
            Query::ClientSessionsByGroup { group } => (Command::GetClientSessionsByGroup, 0, group),
            Query::ClientCountByGroup { group } => (Command::GetClientCountByGroup, 0, group),
            Query::Select(select) => (Command::Select, 0, json::write(&select)),
            Query::GroupIds => (Command::GetGroupIdList, 0, Bytes::new()),
            Query::BatchClientCountByGroup { groups } => {
                (Command::BatchGetClientCountByGroup, 0, json::write(&groups))
            }
            Query::Session { connection_id } => {
                (Command::GetSessionByClientId, connection_id, Bytes::new())
            }
        };
        Self { ext, ..Self::new(command, connection_id) }
    }
}

impl Query {
    /// Returns whether its answer grows with the number of clients, and can come in [parts](Query::Page).
    pub fn has_pages(&self) -> bool {
        matches!(
            self,
            Self::AllClientSessions
                | Self::ClientSessionsByGroup { .. }
                | Self::ClientIdsByUid { .. }
                | Self::Select(_)
        )
    }

    /// Returns the keys of the names that it is about: a gateway without clients of any has nothing to say.
    /// `None` if it is not about names.
    pub fn names(&self) -> Option<Vec<NameKey>> {
        match self {
            Self::ClientIdsByUid { uid } => Some(vec![NameKey::of_uid(uid)]),
            Self::ClientSessionsByGroup { group } => Some(vec![NameKey::of_group(group)]),
            Self::ClientCountByGroup { group } if !group.is_empty() => {
                Some(vec![NameKey::of_group(group)])
            }
            Self::Select(Select { conditions, .. }) if !conditions.is_empty() => {
                let mut names = Vec::new();
                for condition in conditions {
                    names.extend(condition.names()?);
                }
                Some(names)
            }
            Self::Page { query, .. } | Self::Stamped(query) => query.names(),
            _ => None,
        }
    }
}

impl Select {
    fn read(ext: &[u8]) -> Result<Self, Error> {
        let command = Command::Select;
        let ext: Value = json::read(command, ext)?;
        let fields = json::names(command, ext.get("fields").unwrap_or(&Value::Null))?;
        let conditions = match ext.get("where") {
            Some(Value::Object(conditions)) => conditions
                .iter()
                .map(|(name, set)| Condition::read(name, set))
                .collect::<Result<_, _>>()?,
            _ => Vec::new(),
        };
        Ok(Self { fields: fields.into_iter().map(Field::from).collect(), conditions })
    }
}

impl Condition {
    fn names(&self) -> Option<Vec<NameKey>> {
        let keys = |names: &[Name], of: fn(&[u8]) -> NameKey| {
            names.iter().map(|name| of(name.as_text().as_bytes())).collect()
        };
        match self {
            Self::Groups(groups) => Some(keys(groups, NameKey::of_group)),
            Self::Uids(uids) => Some(keys(uids, NameKey::of_uid)),
            Self::Connections(_) => None,
        }
    }

    fn read(name: &str, set: &Value) -> Result<Self, Error> {
        match name {
            "groups" => json::names(Command::Select, set).map(Self::Groups),
            "uid" => json::names(Command::Select, set).map(Self::Uids),
            "connection_id" => json::ids_of_values(Command::Select, set).map(Self::Connections),
            _ => Ok(Self::Connections(Vec::new())),
        }
    }
}

impl Field {
    /// Returns the name in queries and answers.
    pub fn name(&self) -> &str {
        match self {
            Self::Uid => "uid",
            Self::Groups => "groups",
            Self::Session => "session",
            Self::Unknown(name) => name,
        }
    }
}

impl From<Name> for Field {
    fn from(name: Name) -> Self {
        match name.as_text().as_ref() {
            "uid" => Self::Uid,
            "groups" => Self::Groups,
            "session" => Self::Session,
            other => Self::Unknown(other.to_owned()),
        }
    }
}

impl Serialize for Field {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl Serialize for Select {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("fields", &self.fields)?;
        map.serialize_entry("where", &Conditions(&self.conditions))?;
        map.end()
    }
}

struct Conditions<'a>(&'a [Condition]);

impl Serialize for Conditions<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // PHP writes its empty array as a list.
        if self.0.is_empty() {
            return serializer.collect_seq(Vec::<()>::new());
        }
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for condition in self.0 {
            match condition {
                Condition::Groups(groups) => map.serialize_entry("groups", groups)?,
                Condition::Uids(uids) => map.serialize_entry("uid", uids)?,
                Condition::Connections(ids) => map.serialize_entry("connection_id", &IdSet(ids))?,
            }
        }
        map.end()
    }
}
