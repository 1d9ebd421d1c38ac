//! Questions about clients, uids and groups: to one gateway, or to all of them at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use bytes::Bytes;
use lineman_wire::link::{
    self, ClientId, Condition, Field, GatewayAnswer, Member, Missing, Name, OnlineClient, Query,
    Select, session,
};
use serde::de::DeserializeOwned;

use crate::gateway::encode;
use crate::reach::gateway_of;
use crate::send::{name, names};
use crate::{Answers, Cluster, Error};

/// Questions about one client, to its gateway.
///
/// An error is what the gateway did: [`Error::Gateway`], [`Error::Timeout`], [`Error::Silent`],
/// [`Error::Refused`], [`Error::Reply`].
impl Cluster {
    /// Returns whether a client is connected.
    ///
    /// # Errors
    /// No answer.
    pub fn is_online(&mut self, client: ClientId) -> Result<bool, Error> {
        let query = Query::IsOnline { connection_id: client.connection_id };
        let answer = self.ask_of(client, &query)?;
        Ok(answer.count().map_err(unreadable(&answer))? > 0)
    }

    /// Returns a client's uid; `None` if it has none or is not connected.
    ///
    /// # Errors
    /// No answer.
    pub fn uid_by_client_id(&mut self, client: ClientId) -> Result<Option<String>, Error> {
        let conditions = vec![Condition::Connections(vec![client.connection_id])];
        let query = Query::Select(Select { fields: vec![Field::Uid], conditions });
        let answer = self.ask_of(client, &query)?;
        let uids = answer.uids().map_err(unreadable(&answer))?;
        Ok(uids.into_iter().find(|(id, _)| *id == client).map(|(_, uid)| uid))
    }

    /// Returns a client's session; `None` if the client is not connected.
    ///
    /// # Errors
    /// No answer; [`Error::Session`] when the session does not fit `T`.
    pub fn session<T>(&mut self, client: ClientId) -> Result<Option<T>, Error>
    where
        T: DeserializeOwned + Default + 'static,
    {
        let bytes = self.stored_session(client)?;
        bytes.map(|bytes| session::decode(&bytes).map_err(Error::Session)).transpose()
    }

    /// Returns a client's session as it is stored, in PHP's format, whatever is in it; empty if it has none, `None`
    /// if the client is not connected.
    ///
    /// # Errors
    /// No answer.
    pub fn stored_session(&mut self, client: ClientId) -> Result<Option<Bytes>, Error> {
        let query = Query::Session { connection_id: client.connection_id };
        let answer = self.ask_of(client, &query)?;
        Ok(answer.session().map_err(unreadable(&answer))?.cloned())
    }
}

/// Questions to the whole cluster: all gateways side by side.
///
/// What is known comes back with what is missing ([`Answers`]): `cluster.client_count()?.value`, or
/// `cluster.client_count()?.complete()?` where only all of it will do. A gateway of ours gives long answers in parts;
/// a client that comes or goes meanwhile may be missing. All parts of a gateway, or the one answer of a gateway of
/// PHP's, have at most 64 MiB ([`Error::AnswerTooLong`]) and the time of the whole call.
///
/// An error is the caller's, or that no register has ever answered ([`Cluster::gateways`]).
impl Cluster {
    /// Returns whether a uid has a client that is connected. Nothing is missing where it has one: the other
    /// gateways cannot change that.
    ///
    /// # Errors
    /// A name that is too long.
    pub fn is_uid_online(&mut self, uid: impl Display) -> Result<Answers<bool>, Error> {
        let Answers { value, missing, asked } = self.client_ids_by_uid(uid)?;
        let online = !value.is_empty();
        let missing = if online { Vec::new() } else { missing };
        Ok(Answers { value: online, missing, asked })
    }

    /// Returns those of some uids that have a client.
    ///
    /// # Errors
    /// As [`Cluster::is_uid_online`].
    pub fn online_uids(
        &mut self,
        uids: &[impl Display],
    ) -> Result<Answers<BTreeSet<String>>, Error> {
        let clients = self.client_ids_by_uids(uids)?;
        let has_clients = |(uid, ids): (String, Vec<_>)| (!ids.is_empty()).then_some(uid);
        Ok(clients.map(|uids| uids.into_iter().filter_map(has_clients).collect()))
    }

    /// Returns the clients of a uid.
    ///
    /// # Errors
    /// As [`Cluster::is_uid_online`].
    pub fn client_ids_by_uid(
        &mut self,
        uid: impl Display,
    ) -> Result<Answers<Vec<ClientId>>, Error> {
        let query = Query::ClientIdsByUid { uid: Bytes::from(uid.to_string()) };
        self.ask_all(&query, GatewayAnswer::client_ids)
    }

    /// Returns the clients of each of some uids; none for one that is not online.
    ///
    /// # Errors
    /// As [`Cluster::is_uid_online`].
    pub fn client_ids_by_uids(
        &mut self,
        uids: &[impl Display],
    ) -> Result<Answers<BTreeMap<String, Vec<ClientId>>>, Error> {
        let uids = uids.iter().map(|uid| Name::Text(uid.to_string())).collect::<Vec<_>>();
        let mut all: BTreeMap<String, Vec<ClientId>> = with_names(&uids);
        let query = Query::BatchClientIdsByUid { uids };
        Ok(self.ask_all(&query, GatewayAnswer::client_ids_by_name)?.map(|found| {
            for (uid, ids) in found {
                all.entry(uid).or_default().extend(ids);
            }
            all
        }))
    }

    /// Returns how many clients are connected.
    ///
    /// # Errors
    /// No register.
    pub fn client_count(&mut self) -> Result<Answers<u64>, Error> {
        self.count(Bytes::new())
    }

    /// Returns how many clients are in a group.
    ///
    /// # Errors
    /// [`Error::EmptyName`], or a name that is too long.
    pub fn client_count_in_group(&mut self, group: impl Display) -> Result<Answers<u64>, Error> {
        self.count(name(group)?.to_bytes())
    }

    /// Returns how many clients are in each of some groups.
    ///
    /// # Errors
    /// [`Error::EmptyName`], or a name that is too long.
    pub fn client_counts_in_groups(
        &mut self,
        groups: &[impl Display],
    ) -> Result<Answers<BTreeMap<String, u64>>, Error> {
        let groups = names(groups)?;
        let mut all: BTreeMap<String, u64> = with_names(&groups);
        let query = Query::BatchClientCountByGroup { groups };
        Ok(self.ask_all(&query, GatewayAnswer::counts)?.map(|found| {
            for (group, count) in found {
                *all.entry(group).or_default() += count;
            }
            all
        }))
    }

    /// Returns all clients.
    ///
    /// # Errors
    /// No register.
    pub fn client_ids(&mut self) -> Result<Answers<Vec<ClientId>>, Error> {
        self.select_ids(Vec::new())
    }

    /// Returns all clients with their uids and groups.
    ///
    /// # Errors
    /// No register.
    pub fn clients(&mut self) -> Result<Answers<Vec<OnlineClient>>, Error> {
        self.ask_all(&names_of_all(), GatewayAnswer::clients)
    }

    /// Returns the clients in a group.
    ///
    /// # Errors
    /// [`Error::EmptyName`], or a name that is too long.
    pub fn client_ids_in_group(
        &mut self,
        group: impl Display,
    ) -> Result<Answers<Vec<ClientId>>, Error> {
        self.client_ids_in_groups(&[group])
    }

    /// Returns the clients that are in one of some groups, each once.
    ///
    /// # Errors
    /// [`Error::EmptyName`], or names that are too long.
    pub fn client_ids_in_groups(
        &mut self,
        groups: &[impl Display],
    ) -> Result<Answers<Vec<ClientId>>, Error> {
        self.select_ids(in_groups(groups)?)
    }

    /// Returns the clients of each group.
    ///
    /// # Errors
    /// No register.
    pub fn client_ids_by_group(
        &mut self,
    ) -> Result<Answers<BTreeMap<String, Vec<ClientId>>>, Error> {
        Ok(self.members()?.map(Member::clients_by_group))
    }

    /// Returns all uids that have a client.
    ///
    /// # Errors
    /// No register.
    pub fn uids(&mut self) -> Result<Answers<BTreeSet<String>>, Error> {
        self.select_uids(Vec::new())
    }

    /// Returns the uids that have a client in a group.
    ///
    /// # Errors
    /// [`Error::EmptyName`], or a name that is too long.
    pub fn uids_in_group(
        &mut self,
        group: impl Display,
    ) -> Result<Answers<BTreeSet<String>>, Error> {
        self.uids_in_groups(&[group])
    }

    /// Returns the uids that have a client in one of some groups.
    ///
    /// # Errors
    /// [`Error::EmptyName`], or names that are too long.
    pub fn uids_in_groups(
        &mut self,
        groups: &[impl Display],
    ) -> Result<Answers<BTreeSet<String>>, Error> {
        self.select_uids(in_groups(groups)?)
    }

    /// Returns the uids of each group; a group whose clients have none is there, without any.
    ///
    /// # Errors
    /// No register.
    pub fn uids_by_group(&mut self) -> Result<Answers<BTreeMap<String, BTreeSet<String>>>, Error> {
        Ok(self.members()?.map(Member::uids_by_group))
    }

    /// Returns the names of all groups that have a client.
    ///
    /// # Errors
    /// No register.
    pub fn groups(&mut self) -> Result<Answers<BTreeSet<String>>, Error> {
        let names = self.ask_all(&Query::GroupIds, GatewayAnswer::names)?;
        Ok(names.map(|names| names.into_iter().collect()))
    }

    /// Returns the sessions of a group's clients.
    ///
    /// # Errors
    /// As [`Cluster::client_count_in_group`]; a session that does not fit `T`.
    pub fn sessions_in_group<T>(
        &mut self,
        group: impl Display,
    ) -> Result<Answers<BTreeMap<ClientId, T>>, Error>
    where
        T: DeserializeOwned + Default + 'static,
    {
        read_all(self.stored_sessions_in_group(group)?)
    }

    /// Returns the sessions of all clients.
    ///
    /// # Errors
    /// A session that does not fit `T`.
    pub fn sessions<T>(&mut self) -> Result<Answers<BTreeMap<ClientId, T>>, Error>
    where
        T: DeserializeOwned + Default + 'static,
    {
        read_all(self.stored_sessions()?)
    }

    /// Returns the sessions of a group's clients as they are stored, in PHP's format, whatever is in them.
    ///
    /// # Errors
    /// As [`Cluster::client_count_in_group`].
    pub fn stored_sessions_in_group(
        &mut self,
        group: impl Display,
    ) -> Result<Answers<BTreeMap<ClientId, Bytes>>, Error> {
        let query = Query::ClientSessionsByGroup { group: name(group)?.to_bytes() };
        self.stored_sessions_of(&query)
    }

    /// Returns the sessions of all clients as they are stored, in PHP's format, whatever is in them.
    ///
    /// # Errors
    /// No register.
    pub fn stored_sessions(&mut self) -> Result<Answers<BTreeMap<ClientId, Bytes>>, Error> {
        self.stored_sessions_of(&Query::AllClientSessions)
    }
}

/// The questions' common parts.
impl Cluster {
    fn count(&mut self, group: Bytes) -> Result<Answers<u64>, Error> {
        let query = Query::ClientCountByGroup { group };
        let counts = self.ask_all(&query, |answer| Ok(vec![answer.count()?]))?;
        Ok(counts.map(|counts| counts.iter().sum()))
    }

    fn stored_sessions_of(
        &mut self,
        query: &Query,
    ) -> Result<Answers<BTreeMap<ClientId, Bytes>>, Error> {
        let sessions = self.ask_all(query, GatewayAnswer::sessions)?;
        Ok(sessions.map(|sessions| sessions.into_iter().collect()))
    }

    fn select_uids(
        &mut self,
        conditions: Vec<Condition>,
    ) -> Result<Answers<BTreeSet<String>>, Error> {
        let uids = self.ask_all(&select(Field::Uid, conditions), GatewayAnswer::uids)?;
        Ok(uids.map(|uids| uids.into_iter().map(|(_, uid)| uid).collect()))
    }

    fn select_ids(&mut self, conditions: Vec<Condition>) -> Result<Answers<Vec<ClientId>>, Error> {
        let rows = self.ask_all(&select(Field::Uid, conditions), GatewayAnswer::by_client)?;
        Ok(rows.map(|rows| rows.into_iter().map(|(client, _)| client).collect()))
    }

    /// Returns each group with each of its clients and its uid.
    fn members(&mut self) -> Result<Answers<Vec<Member>>, Error> {
        self.ask_all(&names_of_all(), GatewayAnswer::members)
    }
}

impl Cluster {
    /// Asks a client's gateway.
    fn ask_of(&mut self, client: ClientId, query: &Query) -> Result<GatewayAnswer, Error> {
        let call = self.call();
        let Self { reach, credentials, .. } = self;
        let mut answers = reach.ask(&[gateway_of(client)], query, credentials, &call);
        let answer = answers.value.pop().and_then(|mut parts| parts.pop());
        match answers.missing.pop() {
            Some(missing) => Err(missing.reason),
            None => Ok(answer.expect("a gateway that was asked answers, or is missing")),
        }
    }

    /// Asks all gateways, and reads what each says. One that does not answer, or says what cannot be read, is
    /// missing.
    fn ask_all<T>(
        &mut self,
        query: &Query,
        read: impl Fn(&GatewayAnswer) -> Result<Vec<T>, link::Error>,
    ) -> Result<Answers<Vec<T>>, Error> {
        // What is too long for a packet is the caller's error, and no gateway's.
        encode(query.clone())?;
        let call = self.call();
        let gateways = self.list(&call)?;
        let Self { reach, credentials, .. } = self;
        let answers = reach.ask(&gateways, query, credentials, &call);
        let Answers { value, mut missing, asked } = answers;
        let mut all = Vec::new();
        for parts in value {
            let read = |part| read(part).map_err(|source| (part.gateway, source));
            match parts.iter().map(read).collect::<Result<Vec<_>, _>>() {
                Ok(parts) => all.extend(parts.into_iter().flatten()),
                Err((gateway, source)) => {
                    missing.push(Missing { gateway, reason: Error::Reply { gateway, source } });
                }
            }
        }
        Ok(Answers { value: all, missing, asked })
    }
}

fn names_of_all() -> Query {
    Query::Select(Select { fields: vec![Field::Groups, Field::Uid], conditions: Vec::new() })
}

/// Reads sessions as a type.
fn read_all<T>(
    stored: Answers<BTreeMap<ClientId, Bytes>>,
) -> Result<Answers<BTreeMap<ClientId, T>>, Error>
where
    T: DeserializeOwned + Default + 'static,
{
    let Answers { value, missing, asked } = stored;
    let read = |(client, bytes): (_, Bytes)| {
        Ok((client, session::decode(&bytes).map_err(Error::Session)?))
    };
    let value = value.into_iter().map(read).collect::<Result<_, Error>>()?;
    Ok(Answers { value, missing, asked })
}

fn select(field: Field, conditions: Vec<Condition>) -> Query {
    Query::Select(Select { fields: vec![field], conditions })
}

/// Returns the condition to be in one of some groups.
fn in_groups(groups: &[impl Display]) -> Result<Vec<Condition>, Error> {
    Ok(vec![Condition::Groups(names(groups)?)])
}

/// Returns an entry for each name, so that what no gateway knows is there as well.
fn with_names<T: Default>(names: &[Name]) -> BTreeMap<String, T> {
    names.iter().map(|name| (name.as_text().into_owned(), T::default())).collect()
}

fn unreadable(answer: &GatewayAnswer) -> impl FnOnce(link::Error) -> Error {
    let gateway = answer.gateway;
    move |source| Error::Reply { gateway, source }
}
