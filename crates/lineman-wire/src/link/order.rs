//! Commands to a gateway that have no answer.

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;

use super::json::{self, IdSet};
use super::revision::SessionPatch;
use super::{Body, Command, Error, Name, NameKey, Packet};
use crate::php;

/// What a kick's ext data says of a client whose handler has failed: the close code.
const FAILED: &[u8] = b"1011";

/// The clients a message to all is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// Every client of the gateway.
    All,
    /// These connections of the gateway, and no client if there are none.
    Only(Vec<u32>),
    /// All but these connections of the gateway.
    Except(Vec<u32>),
}

/// Something a gateway shall do. Unknown clients, uids and groups are ignored; so are empty uids
/// and groups, and `0`.
#[derive(Debug, Clone, PartialEq)]
pub enum Order {
    /// Sends a message to one client.
    SendToOne {
        /// The client.
        connection_id: u32,
        /// The message.
        message: Body,
    },
    /// Sends a message to all clients, or some.
    SendToAll {
        /// The clients it is for.
        audience: Audience,
        /// The message.
        message: Body,
    },
    /// Sends a farewell, unless it is null, and closes the client.
    Kick {
        /// The client.
        connection_id: u32,
        /// The farewell; PHP writes none as a null value.
        farewell: Body,
    },
    /// Closes the client with 1011: a handler has failed.
    ///
    /// On the wire it is a kick without a farewell that names the code where a kick has nothing; a
    /// gateway in PHP does not look there, and closes as it does for a kick.
    Fail {
        /// The client.
        connection_id: u32,
    },
    /// Closes the client at once.
    Destroy {
        /// The client.
        connection_id: u32,
    },
    /// Merges an array into the client's session, see [`php::Array::replace_recursive`].
    ///
    /// [`php::Array::replace_recursive`]: crate::php::Array::replace_recursive
    UpdateSession {
        /// The client.
        connection_id: u32,
        /// The PHP-serialized array to merge.
        session: Bytes,
    },
    /// Replaces the client's session.
    SetSession {
        /// The client.
        connection_id: u32,
        /// The PHP-serialized array, or nothing.
        session: Bytes,
    },
    /// Extension 5: changes fields of the client's session.
    PatchSession {
        /// The client.
        connection_id: u32,
        /// What changes.
        patch: SessionPatch,
    },
    /// Binds a uid to the client, in place of the one it had.
    BindUid {
        /// The client.
        connection_id: u32,
        /// The uid.
        uid: Bytes,
    },
    /// Takes the client's uid away.
    UnbindUid {
        /// The client.
        connection_id: u32,
        /// What the caller takes for the client's uid; it does not matter.
        uid: Bytes,
    },
    /// Sends a message to every client of some uids.
    SendToUid {
        /// The uids.
        uids: Vec<Name>,
        /// The message.
        message: Body,
    },
    /// Adds the client to a group.
    JoinGroup {
        /// The client.
        connection_id: u32,
        /// The group.
        group: Bytes,
    },
    /// Takes the client out of a group.
    LeaveGroup {
        /// The client.
        connection_id: u32,
        /// The group.
        group: Bytes,
    },
    /// Sends a message to the clients of some groups; a client in two of them gets it twice.
    SendToGroup {
        /// The groups.
        groups: Vec<Name>,
        /// Connections that do not get the message.
        exclude: Vec<u32>,
        /// The message.
        message: Body,
    },
    /// Takes every client out of a group.
    Ungroup {
        /// The group.
        group: Bytes,
    },
}

#[derive(Serialize)]
struct Connections<'a> {
    connections: IdSet<'a>,
}

#[derive(Serialize)]
struct Exclude<'a> {
    exclude: IdSet<'a>,
}

#[derive(Serialize)]
struct Groups<'a> {
    group: &'a [Name],
    exclude: Option<IdSet<'a>>,
}

impl TryFrom<Packet> for Order {
    type Error = Error;

    /// # Errors
    /// The command is none of these, or its ext data or body is not what it wants.
    fn try_from(packet: Packet) -> Result<Self, Error> {
        let Packet { command, connection_id, flags, ext, body, .. } = packet;
        if command == Command::PatchSession {
            let expected = "two numbers and a list of keys";
            let patch = SessionPatch::read(ext, &body).ok_or(Error::Shape { command, expected })?;
            return Ok(Self::PatchSession { connection_id, patch });
        }
        let message = || Body::read(flags, body);
        Ok(match command {
            Command::SendToOne => Self::SendToOne { connection_id, message: message()? },
            Command::SendToAll => {
                Self::SendToAll { audience: Audience::read(&ext)?, message: message()? }
            }
            Command::Kick if ext == FAILED => Self::Fail { connection_id },
            Command::Kick => Self::Kick { connection_id, farewell: message()? },
            Command::Destroy => Self::Destroy { connection_id },
            Command::UpdateSession => Self::UpdateSession { connection_id, session: ext },
            Command::SetSession => Self::SetSession { connection_id, session: ext },
            Command::BindUid => Self::BindUid { connection_id, uid: ext },
            Command::UnbindUid => Self::UnbindUid { connection_id, uid: ext },
            Command::SendToUid => {
                let uids: Value = json::read(command, &ext)?;
                Self::SendToUid { uids: json::names(command, &uids)?, message: message()? }
            }
            Command::JoinGroup => Self::JoinGroup { connection_id, group: ext },
            Command::LeaveGroup => Self::LeaveGroup { connection_id, group: ext },
            Command::SendToGroup => {
                let ext: Value = json::read(command, &ext)?;
                let groups = ext.get("group").unwrap_or(&Value::Null);
                let exclude = ext.get("exclude").unwrap_or(&Value::Null);
                Self::SendToGroup {
                    groups: json::names(command, groups)?,
                    exclude: json::ids_of_keys(command, exclude)?,
                    message: message()?,
                }
            }
            Command::Ungroup => Self::Ungroup { group: ext },
            other => return Err(Error::UnexpectedCommand(other)),
        })
    }
}

impl From<Order> for Packet {
    fn from(order: Order) -> Self {
        match order {
            Order::SendToOne { connection_id, message } => {
                sending(Command::SendToOne, connection_id, Bytes::new(), message)
            }
            Order::SendToAll { audience, message } => {
                sending(Command::SendToAll, 0, audience.write(), message)
            }
            Order::Kick { connection_id, farewell } => {
                sending(Command::Kick, connection_id, Bytes::new(), farewell)
            }
            Order::Fail { connection_id } => {
                let ext = Bytes::from_static(FAILED);
                sending(Command::Kick, connection_id, ext, Body::Value(php::Value::Null))
            }
            Order::Destroy { connection_id } => Self::new(Command::Destroy, connection_id),
            Order::UpdateSession { connection_id, session } => {
                naming(Command::UpdateSession, connection_id, session)
            }
            Order::SetSession { connection_id, session } => {
                naming(Command::SetSession, connection_id, session)
            }
            Order::PatchSession { connection_id, patch } => {
                let body = patch.body();
                Self { body, ..naming(Command::PatchSession, connection_id, patch.fields) }
            }
            Order::BindUid { connection_id, uid } => naming(Command::BindUid, connection_id, uid),
            Order::UnbindUid { connection_id, uid } => {
                naming(Command::UnbindUid, connection_id, uid)
            }
            Order::SendToUid { uids, message } => {
                sending(Command::SendToUid, 0, json::write(&uids), message)
            }
            Order::JoinGroup { connection_id, group } => {
                naming(Command::JoinGroup, connection_id, group)
            }
            Order::LeaveGroup { connection_id, group } => {
                naming(Command::LeaveGroup, connection_id, group)
            }
            Order::SendToGroup { groups, exclude, message } => {
                let exclude = (!exclude.is_empty()).then_some(IdSet(&exclude));
                let ext = json::write(&Groups { group: &groups, exclude });
                sending(Command::SendToGroup, 0, ext, message)
            }
            Order::Ungroup { group } => naming(Command::Ungroup, 0, group),
        }
    }
}

impl Order {
    /// Returns the keys of the names that it is for: a gateway without clients of any has nothing to do. `None` if
    /// it is not for names.
    pub fn names(&self) -> Option<Vec<NameKey>> {
        let key = |name: &Name, of: fn(&[u8]) -> NameKey| of(name.as_text().as_bytes());
        match self {
            Self::SendToUid { uids, .. } => {
                Some(uids.iter().map(|uid| key(uid, NameKey::of_uid)).collect())
            }
            Self::SendToGroup { groups, .. } => {
                Some(groups.iter().map(|group| key(group, NameKey::of_group)).collect())
            }
            Self::Ungroup { group } => Some(vec![NameKey::of_group(group)]),
            _ => None,
        }
    }

    /// Returns the key of the name that a client gets by it.
    pub fn claim(&self) -> Option<NameKey> {
        match self {
            Self::BindUid { uid, .. } => Some(NameKey::of_uid(uid)),
            Self::JoinGroup { group, .. } => Some(NameKey::of_group(group)),
            _ => None,
        }
    }
}

fn naming(command: Command, connection_id: u32, ext: Bytes) -> Packet {
    Packet { ext, ..Packet::new(command, connection_id) }
}

fn sending(command: Command, connection_id: u32, ext: Bytes, message: Body) -> Packet {
    let (flags, body) = message.into_parts();
    Packet { flags, body, ..naming(command, connection_id, ext) }
}

impl Audience {
    fn read(ext: &[u8]) -> Result<Self, Error> {
        let command = Command::SendToAll;
        if ext.is_empty() {
            return Ok(Self::All);
        }
        let ext: Value = json::read(command, ext)?;
        // PHP sends to all clients if this is anything else; here a broken list is an error.
        if !(ext.is_object() || ext.as_array().is_some_and(Vec::is_empty)) {
            return Err(Error::Shape { command, expected: "an object" });
        }
        let some = |name| ext.get(name).filter(|set| !set.is_null());
        match (some("connections"), some("exclude")) {
            (Some(set), _) => json::ids_of_values(command, set).map(Self::Only),
            (None, Some(set)) => json::ids_of_keys(command, set).map(Self::Except),
            (None, None) => Ok(Self::All),
        }
    }

    fn write(&self) -> Bytes {
        match self {
            Self::All => Bytes::new(),
            Self::Only(ids) => json::write(&Connections { connections: IdSet(ids) }),
            Self::Except(ids) if ids.is_empty() => Bytes::new(),
            Self::Except(ids) => json::write(&Exclude { exclude: IdSet(ids) }),
        }
    }
}
