//! What businesses and clients of the cluster ask a gateway, and the PHP values they get.

use bytes::Bytes;
use lineman_wire::link::{Condition, Field, Query, Reply, Select};
use lineman_wire::php::{Array, Key, Value};

use super::clients::{ConnectedClient, ConnectedClients};
use super::index::Membership;

/// The bytes of a part of an answer: made and sent within some milliseconds.
const PAGE: usize = 1024 * 1024;

/// What a value takes in it beside its text, with its key if that is a number.
const VALUE: usize = 32;

impl<C> ConnectedClients<C> {
    /// Answers a query.
    pub(super) fn answer(&self, query: Query) -> Reply {
        let value = match query {
            Query::Session { connection_id } => return self.session(connection_id),
            Query::AllClientSessions => Value::Array(self.iter().map(session_of).collect()),
            Query::IsOnline { connection_id } => {
                Value::from(u32::from(self.get(connection_id).is_some()))
            }
            Query::ClientIdsByUid { uid } => self.ids_by_uid(&uid),
            Query::BatchClientIdsByUid { uids } => {
                let entry = |uid: Bytes| (Key::from(uid.clone()), self.ids_by_uid(&uid));
                Value::Array(uids.iter().map(|uid| entry(uid.to_bytes())).collect())
            }
            Query::ClientSessionsByGroup { group } => {
                let members = self.groups.ids(&group);
                let known = members.filter_map(|id| Some((id, self.get(id)?)));
                Value::Array(known.map(session_of).collect())
            }
            Query::ClientCountByGroup { group } if group.is_empty() => count(self.len()),
            Query::ClientCountByGroup { group } => self.count_in(&group),
            Query::BatchClientCountByGroup { groups } => {
                let entry = |group: Bytes| (Key::from(group.clone()), self.count_in(&group));
                Value::Array(groups.iter().map(|group| entry(group.to_bytes())).collect())
            }
            Query::GroupIds => {
                let names = self.groups.names().into_iter();
                Value::Array(names.map(|name| number_or_text(name)).collect())
            }
            Query::Select(select) => Value::Array(self.select(&select)),
            Query::Page { after, query } => return self.page(after, *query),
            Query::Stamped(query) => {
                let version = self.roll.borrow().version();
                return Reply::stamped(version, &self.answer(*query));
            }
        };
        Reply::from(&value)
    }

    /// Answers a part of a query: some clients behind `after`, so that the loop goes on between the parts.
    fn page(&self, after: u32, query: Query) -> Reply {
        let Some(clients) = self.clients_of(&query, after) else {
            return Reply::page(0, &self.answer(query));
        };
        let mut clients =
            clients.filter_map(|(place, id)| Some((place, id, self.get(id)?))).peekable();
        let (mut part, mut last, mut bytes) = (Array::new(), 0, 0);
        while let Some((place, id, client)) = clients.next_if(|_| bytes < PAGE) {
            last = place;
            let value = match &query {
                Query::Select(select) => Value::Array(row(client, &select.fields)),
                Query::ClientIdsByUid { .. } => Value::from(id),
                _ => Value::String(client.session.bytes().clone()),
            };
            bytes += VALUE + weight(&value);
            if matches!(query, Query::ClientIdsByUid { .. }) {
                part.push(value);
            } else {
                part.insert(id, value);
            }
        }
        let next = if clients.peek().is_some() { last } else { 0 };
        Reply::page(next, &Reply::from(&Value::Array(part)))
    }

    /// Returns the clients behind a place that a query is about, with their places, if it is one that has parts.
    fn clients_of<'a>(
        &'a self,
        query: &Query,
        after: u32,
    ) -> Option<Box<dyn Iterator<Item = (u32, u32)> + 'a>> {
        let set = match query {
            Query::ClientSessionsByGroup { group } => self.groups.get(group),
            Query::ClientIdsByUid { uid } => self.uids.get(uid),
            Query::AllClientSessions => return Some(Box::new(self.behind(after))),
            Query::Select(Select { conditions, fields }) => match &**conditions {
                _ if fields.is_empty() => None,
                [] => return Some(Box::new(self.behind(after))),
                [Condition::Groups(groups)] => match &**groups {
                    [group] => self.groups.get(&group.to_bytes()),
                    _ => return None,
                },
                _ => return None,
            },
            _ => return None,
        };
        Some(Box::new(set.into_iter().flat_map(move |set| set.behind(after))))
    }

    /// The session itself is the answer, as it is stored.
    fn session(&self, id: u32) -> Reply {
        match self.get(id) {
            None => Reply::from(&Value::Null),
            Some(client) if client.session.bytes().is_empty() => {
                Reply::from(&Value::Array(Array::new()))
            }
            Some(client) => Reply { payload: client.session.bytes().clone() },
        }
    }

    fn ids_by_uid(&self, uid: &[u8]) -> Value {
        Value::Array(self.uids.ids(uid).map(Value::from).collect())
    }

    fn count_in(&self, group: &[u8]) -> Value {
        count(self.groups.get(group).map_or(0, super::ids::IdSet::len))
    }

    /// The clients that fulfil one of the conditions, in the order of the conditions; all without any.
    fn select(&self, select: &Select) -> Array {
        let mut rows = Array::new();
        if select.fields.is_empty() {
            return rows;
        }
        let mut choose = |id: u32| {
            if let Some(client) = self.get(id)
                && !rows.contains_key(id)
            {
                rows.insert(id, row(client, &select.fields));
            }
        };
        if select.conditions.is_empty() {
            self.iter().for_each(|(id, _)| choose(id));
        }
        for condition in &select.conditions {
            match condition {
                Condition::Groups(groups) => {
                    for group in groups {
                        self.groups.ids(&group.to_bytes()).for_each(&mut choose);
                    }
                }
                Condition::Uids(uids) => {
                    for uid in uids {
                        self.uids.ids(&uid.to_bytes()).for_each(&mut choose);
                    }
                }
                Condition::Connections(ids) => ids.iter().copied().for_each(&mut choose),
            }
        }
        rows
    }
}

/// Returns about how many bytes a value takes in an answer.
fn weight(value: &Value) -> usize {
    let key = |key: &Key| match key {
        Key::Int(_) => 0,
        Key::String(text) => text.len(),
    };
    VALUE
        + match value {
            Value::String(text) => text.len(),
            Value::Array(array) => {
                array.iter().map(|(name, value)| key(name) + weight(value)).sum()
            }
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) => 0,
        }
}

fn session_of<C>((id, client): (u32, &ConnectedClient<C>)) -> (Key, Value) {
    (Key::from(id), Value::String(client.session.bytes().clone()))
}

fn row<C>(client: &ConnectedClient<C>, fields: &[Field]) -> Array {
    let value = |field: &Field| match field {
        Field::Uid => client.uid.as_ref().map_or(Value::Null, |uid| Value::from(&*uid.name)),
        Field::Session => Value::String(client.session.bytes().clone()),
        Field::Groups if client.groups.is_empty() => Value::Null,
        Field::Groups => {
            let entry = |group: &Membership| (Key::from(&*group.name), Value::from(&*group.name));
            Value::Array(client.groups.iter().map(entry).collect())
        }
        Field::Unknown(_) => Value::Null,
    };
    fields.iter().map(|field| (field.name(), value(field))).collect()
}

/// A group's name as PHP has it for a key of an array.
fn number_or_text(name: &[u8]) -> Value {
    match Key::from(name) {
        Key::Int(number) => Value::Int(number),
        Key::String(text) => Value::String(text),
    }
}

fn count(number: usize) -> Value {
    Value::Int(i64::try_from(number).unwrap_or(i64::MAX))
}
