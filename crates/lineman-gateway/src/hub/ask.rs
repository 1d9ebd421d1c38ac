//! Questions about clients, uids and groups: to one gateway, or to all of them at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use bytes::Bytes;
use lineman_wire::link::session;
use lineman_wire::link::{ClientId, Condition, Field, GatewayAnswer, Member, Name, Query, Select};
use serde::de::DeserializeOwned;

use super::send::{name, names};
use super::{Answers, Hub};
use crate::error::HubError;

/// Questions about one client, to its gateway. It may be silent for
/// [`answer_limit`](crate::Business::answer_limit); once it was, most questions to it fail at once, until it
/// answers one.
///
/// An error is one of [`HubError::Timeout`], [`HubError::Silent`], [`HubError::Lost`], [`HubError::Busy`],
/// [`HubError::Full`] and [`HubError::Unlinked`] where there is no answer, or [`HubError::Reply`].
impl Hub {
    /// Returns whether a client is connected.
    ///
    /// # Errors
    /// No answer.
    pub async fn is_online(&self, client: ClientId) -> Result<bool, HubError> {
        let query = Query::IsOnline { connection_id: client.connection_id };
        let answer = self.ask_of(client, query).await?;
        let count = answer.map(|answer| answer.count().map_err(unreadable(&answer))).transpose()?;
        Ok(count.is_some_and(|count| count > 0))
    }

    /// Returns a client's uid; `None` if it has none or is not connected.
    ///
    /// # Errors
    /// No answer.
    pub async fn uid_by_client_id(&self, client: ClientId) -> Result<Option<String>, HubError> {
        let conditions = vec![Condition::Connections(vec![client.connection_id])];
        let query = Query::Select(Select { fields: vec![Field::Uid], conditions });
        let Some(answer) = self.ask_of(client, query).await? else { return Ok(None) };
        let uids = answer.uids().map_err(unreadable(&answer))?;
        Ok(uids.into_iter().find(|(id, _)| *id == client).map(|(_, uid)| uid))
    }

    /// Returns a client's session; `None` if the client is not connected.
    ///
    /// # Errors
    /// No answer; [`HubError::Session`] when the session does not fit `T`.
    pub async fn session<T>(&self, client: ClientId) -> Result<Option<T>, HubError>
    where
        T: DeserializeOwned + Default + 'static,
    {
        let query = Query::Session { connection_id: client.connection_id };
        let Some(answer) = self.ask_of(client, query).await? else { return Ok(None) };
        let bytes = answer.session().map_err(unreadable(&answer))?;
        bytes.map(|bytes| session::decode(bytes).map_err(HubError::Session)).transpose()
    }
}

/// Questions to the whole cluster: all gateways at once, each as long as a question about one client.
///
/// What is known comes back with what is missing ([`Answers`]): `hub.client_count().await?.value`, or
/// `hub.client_count().await?.complete()?` where only all of it will do. Long answers come in parts, with the
/// time of an answer for each and 64 MiB for all ([`HubError::AnswerTooLong`]); a client that comes or goes
/// meanwhile may be missing.
///
/// An error is the caller's alone: [`HubError::EmptyName`], [`HubError::TooLong`], [`HubError::Session`].
impl Hub {
    /// Returns whether a uid has a client that is connected. Nothing is missing where it has one: the other
    /// gateways cannot change that.
    ///
    /// # Errors
    /// A name that is too long.
    pub async fn is_uid_online(&self, uid: impl Display) -> Result<Answers<bool>, HubError> {
        let Answers { value, missing, asked } = self.client_ids_by_uid(uid).await?;
        let online = !value.is_empty();
        let missing = if online { Vec::new() } else { missing };
        Ok(Answers { value: online, missing, asked })
    }

    /// Returns those of some uids that have a client.
    ///
    /// # Errors
    /// As [`Hub::is_uid_online`].
    pub async fn online_uids(
        &self,
        uids: &[impl Display],
    ) -> Result<Answers<BTreeSet<String>>, HubError> {
        let clients = self.client_ids_by_uids(uids).await?;
        let has_clients = |(uid, ids): (String, Vec<_>)| (!ids.is_empty()).then_some(uid);
        Ok(clients.map(|uids| uids.into_iter().filter_map(has_clients).collect()))
    }

    /// Returns the clients of a uid.
    ///
    /// # Errors
    /// As [`Hub::is_uid_online`].
    pub async fn client_ids_by_uid(
        &self,
        uid: impl Display,
    ) -> Result<Answers<Vec<ClientId>>, HubError> {
        let query = Query::ClientIdsByUid { uid: Bytes::from(uid.to_string()) };
        self.ask_all(query, GatewayAnswer::client_ids).await
    }

    /// Returns the clients of each of some uids; none for one that is not online.
    ///
    /// # Errors
    /// As [`Hub::is_uid_online`].
    pub async fn client_ids_by_uids(
        &self,
        uids: &[impl Display],
    ) -> Result<Answers<BTreeMap<String, Vec<ClientId>>>, HubError> {
        let uids = uids.iter().map(|uid| Name::Text(uid.to_string())).collect::<Vec<_>>();
        let mut all: BTreeMap<String, Vec<ClientId>> = with_names(&uids);
        let query = Query::BatchClientIdsByUid { uids };
        Ok(self.ask_all(query, GatewayAnswer::client_ids_by_name).await?.map(|found| {
            for (uid, ids) in found {
                all.entry(uid).or_default().extend(ids);
            }
            all
        }))
    }

    /// Returns how many clients are connected.
    ///
    /// # Errors
    /// None is expected.
    pub async fn client_count(&self) -> Result<Answers<u64>, HubError> {
        self.count(Bytes::new()).await
    }

    /// Returns how many clients are in a group.
    ///
    /// # Errors
    /// [`HubError::EmptyName`], or a name that is too long.
    pub async fn client_count_in_group(
        &self,
        group: impl Display,
    ) -> Result<Answers<u64>, HubError> {
        self.count(Bytes::from(name(group)?)).await
    }

    /// Returns how many clients are in each of some groups.
    ///
    /// # Errors
    /// [`HubError::EmptyName`], or a name that is too long.
    pub async fn client_counts_in_groups(
        &self,
        groups: &[impl Display],
    ) -> Result<Answers<BTreeMap<String, u64>>, HubError> {
        let groups = names(groups)?;
        let mut all: BTreeMap<String, u64> = with_names(&groups);
        let query = Query::BatchClientCountByGroup { groups };
        Ok(self.ask_all(query, GatewayAnswer::counts).await?.map(|found| {
            for (group, count) in found {
                *all.entry(group).or_default() += count;
            }
            all
        }))
    }

    /// Returns all clients.
    ///
    /// # Errors
    /// None is expected.
    pub async fn client_ids(&self) -> Result<Answers<Vec<ClientId>>, HubError> {
        self.select_ids(Vec::new()).await
    }

    /// Returns the clients in a group.
    ///
    /// # Errors
    /// [`HubError::EmptyName`], or a name that is too long.
    pub async fn client_ids_in_group(
        &self,
        group: impl Display,
    ) -> Result<Answers<Vec<ClientId>>, HubError> {
        self.client_ids_in_groups(&[group]).await
    }

    /// Returns the clients that are in one of some groups, each once.
    ///
    /// # Errors
    /// [`HubError::EmptyName`], or names that are too long.
    pub async fn client_ids_in_groups(
        &self,
        groups: &[impl Display],
    ) -> Result<Answers<Vec<ClientId>>, HubError> {
        self.select_ids(in_groups(groups)?).await
    }

    /// Returns the clients of each group.
    ///
    /// # Errors
    /// None is expected.
    pub async fn client_ids_by_group(
        &self,
    ) -> Result<Answers<BTreeMap<String, Vec<ClientId>>>, HubError> {
        Ok(self.members().await?.map(Member::clients_by_group))
    }

    /// Returns all uids that have a client.
    ///
    /// # Errors
    /// None is expected.
    pub async fn uids(&self) -> Result<Answers<BTreeSet<String>>, HubError> {
        self.select_uids(Vec::new()).await
    }

    /// Returns the uids that have a client in a group.
    ///
    /// # Errors
    /// [`HubError::EmptyName`], or a name that is too long.
    pub async fn uids_in_group(
        &self,
        group: impl Display,
    ) -> Result<Answers<BTreeSet<String>>, HubError> {
        self.uids_in_groups(&[group]).await
    }

    /// Returns the uids that have a client in one of some groups.
    ///
    /// # Errors
    /// [`HubError::EmptyName`], or names that are too long.
    pub async fn uids_in_groups(
        &self,
        groups: &[impl Display],
    ) -> Result<Answers<BTreeSet<String>>, HubError> {
        self.select_uids(in_groups(groups)?).await
    }

    /// Returns the uids of each group; a group whose clients have none is there, without any.
    ///
    /// # Errors
    /// None is expected.
    pub async fn uids_by_group(
        &self,
    ) -> Result<Answers<BTreeMap<String, BTreeSet<String>>>, HubError> {
        Ok(self.members().await?.map(Member::uids_by_group))
    }

    /// Returns the names of all groups that have a client.
    ///
    /// # Errors
    /// None is expected.
    pub async fn groups(&self) -> Result<Answers<BTreeSet<String>>, HubError> {
        let names = self.ask_all(Query::GroupIds, GatewayAnswer::names).await?;
        Ok(names.map(|names| names.into_iter().collect()))
    }

    /// Returns the sessions of a group's clients.
    ///
    /// # Errors
    /// As [`Hub::client_count_in_group`]; a session that does not fit `T`.
    pub async fn sessions_in_group<T>(
        &self,
        group: impl Display,
    ) -> Result<Answers<BTreeMap<ClientId, T>>, HubError>
    where
        T: DeserializeOwned + Default + 'static,
    {
        self.sessions_of(Query::ClientSessionsByGroup { group: Bytes::from(name(group)?) }).await
    }

    /// Returns the sessions of all clients.
    ///
    /// # Errors
    /// A session that does not fit `T`.
    pub async fn sessions<T>(&self) -> Result<Answers<BTreeMap<ClientId, T>>, HubError>
    where
        T: DeserializeOwned + Default + 'static,
    {
        self.sessions_of(Query::AllClientSessions).await
    }
}

/// The questions' common parts.
impl Hub {
    async fn count(&self, group: Bytes) -> Result<Answers<u64>, HubError> {
        let query = Query::ClientCountByGroup { group };
        let counts = self.ask_all(query, |answer| Ok(vec![answer.count()?])).await?;
        Ok(counts.map(|counts| counts.iter().sum()))
    }

    async fn sessions_of<T>(&self, query: Query) -> Result<Answers<BTreeMap<ClientId, T>>, HubError>
    where
        T: DeserializeOwned + Default + 'static,
    {
        let Answers { value, missing, asked } =
            self.ask_all(query, GatewayAnswer::sessions).await?;
        let read = |(client, bytes): (_, Bytes)| {
            Ok((client, session::decode(&bytes).map_err(HubError::Session)?))
        };
        let value = value.into_iter().map(read).collect::<Result<_, HubError>>()?;
        Ok(Answers { value, missing, asked })
    }

    async fn select_uids(
        &self,
        conditions: Vec<Condition>,
    ) -> Result<Answers<BTreeSet<String>>, HubError> {
        let uids = self.ask_all(select(Field::Uid, conditions), GatewayAnswer::uids).await?;
        Ok(uids.map(|uids| uids.into_iter().map(|(_, uid)| uid).collect()))
    }

    async fn select_ids(
        &self,
        conditions: Vec<Condition>,
    ) -> Result<Answers<Vec<ClientId>>, HubError> {
        let rows = self.ask_all(select(Field::Uid, conditions), GatewayAnswer::by_client).await?;
        Ok(rows.map(|rows| rows.into_iter().map(|(client, _)| client).collect()))
    }

    /// Returns each group with each of its clients and its uid.
    async fn members(&self) -> Result<Answers<Vec<Member>>, HubError> {
        let fields = vec![Field::Groups, Field::Uid];
        let query = Query::Select(Select { fields, conditions: Vec::new() });
        self.ask_all(query, GatewayAnswer::members).await
    }
}

fn select(field: Field, conditions: Vec<Condition>) -> Query {
    Query::Select(Select { fields: vec![field], conditions })
}

fn in_groups(groups: &[impl Display]) -> Result<Vec<Condition>, HubError> {
    Ok(vec![Condition::Groups(names(groups)?)])
}

/// Returns an entry for each name, so that what no gateway knows is there as well.
fn with_names<T: Default>(names: &[Name]) -> BTreeMap<String, T> {
    names.iter().map(|name| (name.as_text().into_owned(), T::default())).collect()
}

fn unreadable(answer: &GatewayAnswer) -> impl FnOnce(lineman_wire::link::Error) -> HubError {
    let gateway = answer.gateway;
    move |source| HubError::Reply { gateway, source }
}
