//! Questions about clients, uids and groups: to one gateway, or to all of them at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::future::join_all;
use lineman_wire::link::{ClientId, Condition, Field, MAX_REPLY, Name, Query, Select};
use lineman_wire::php::Value;
use serde::de::DeserializeOwned;

use super::reply::GatewayReply;
use super::{Hub, session};
use crate::cluster::{encode, gateway_of};
use crate::error::HubError;

/// Questions. Each waits up to 5 seconds for the gateways it concerns; when one of them does not
/// answer, the error names it, and there is no partial result. Long answers come in parts, with 5 seconds for
/// each and 64 MiB for all ([`HubError::AnswerTooLong`]); a client that comes or goes meanwhile may be missing.
impl Hub {
    /// Returns whether a client is connected.
    ///
    /// # Errors
    /// No answer: [`HubError::Timeout`], [`HubError::Lost`], [`HubError::Busy`], [`HubError::Full`],
    /// [`HubError::Unlinked`]. One of no use: [`HubError::Reply`], [`HubError::UnexpectedReply`].
    pub async fn is_online(&self, client: ClientId) -> Result<bool, HubError> {
        let query = Query::IsOnline { connection_id: client.connection_id };
        match self.ask_of(client, query).await? {
            Some(answer) => Ok(answer.count()? > 0),
            None => Ok(false),
        }
    }

    /// Returns whether a uid has a client that is connected.
    ///
    /// # Errors
    /// As [`Hub::is_online`].
    pub async fn is_uid_online(&self, uid: impl Display) -> Result<bool, HubError> {
        Ok(!self.client_ids_by_uid(uid).await?.is_empty())
    }

    /// Returns the clients of a uid.
    ///
    /// # Errors
    /// As [`Hub::is_online`].
    pub async fn client_ids_by_uid(&self, uid: impl Display) -> Result<Vec<ClientId>, HubError> {
        let answers = self.ask_all(Query::ClientIdsByUid { uid: Bytes::from(uid.to_string()) });
        flatten(&answers.await?, GatewayReply::client_ids)
    }

    /// Returns a client's uid; `None` if it has none or is not connected.
    ///
    /// # Errors
    /// As [`Hub::is_online`].
    pub async fn uid_by_client_id(&self, client: ClientId) -> Result<Option<String>, HubError> {
        let conditions = vec![Condition::Connections(vec![client.connection_id])];
        let query = Query::Select(Select { fields: vec![Field::Uid], conditions });
        let Some(answer) = self.ask_of(client, query).await? else { return Ok(None) };
        let uid = answer.selected("uid")?.into_iter().find(|(id, _)| *id == client);
        match uid {
            Some((_, Value::Null)) | None => Ok(None),
            Some((_, uid)) => answer.name(&uid).map(Some),
        }
    }

    /// Returns how many clients are connected.
    ///
    /// # Errors
    /// As [`Hub::is_online`].
    pub async fn client_count(&self) -> Result<u64, HubError> {
        self.count(Bytes::new()).await
    }

    /// Returns how many clients are in a group.
    ///
    /// # Errors
    /// As [`Hub::is_online`]; [`HubError::EmptyName`].
    pub async fn client_count_in_group(&self, group: impl Display) -> Result<u64, HubError> {
        self.count(Bytes::from(super::send::name(group)?)).await
    }

    /// Returns all clients.
    ///
    /// # Errors
    /// As [`Hub::is_online`].
    pub async fn client_ids(&self) -> Result<Vec<ClientId>, HubError> {
        let clients = self.select(Field::Groups, Vec::new()).await?;
        Ok(clients.into_iter().map(|(client, _)| client).collect())
    }

    /// Returns the clients in a group.
    ///
    /// # Errors
    /// As [`Hub::is_online`]; [`HubError::EmptyName`].
    pub async fn client_ids_in_group(
        &self,
        group: impl Display,
    ) -> Result<Vec<ClientId>, HubError> {
        let clients = self.select(Field::Uid, in_group(group)?).await?;
        Ok(clients.into_iter().map(|(client, _)| client).collect())
    }

    /// Returns all uids that have a client.
    ///
    /// # Errors
    /// As [`Hub::is_online`].
    pub async fn uids(&self) -> Result<BTreeSet<String>, HubError> {
        self.select_uids(Vec::new()).await
    }

    /// Returns the uids that have a client in a group.
    ///
    /// # Errors
    /// As [`Hub::is_online`]; [`HubError::EmptyName`].
    pub async fn uids_in_group(&self, group: impl Display) -> Result<BTreeSet<String>, HubError> {
        self.select_uids(in_group(group)?).await
    }

    /// Returns the names of all groups that have a client.
    ///
    /// # Errors
    /// As [`Hub::is_online`].
    pub async fn groups(&self) -> Result<BTreeSet<String>, HubError> {
        flatten(&self.ask_all(Query::GroupIds).await?, GatewayReply::names)
    }

    /// Returns a client's session; `None` if the client is not connected.
    ///
    /// # Errors
    /// As [`Hub::is_online`]; [`HubError::Session`] when the session does not fit `T`.
    pub async fn session<T>(&self, client: ClientId) -> Result<Option<T>, HubError>
    where
        T: DeserializeOwned + Default + 'static,
    {
        let query = Query::Session { connection_id: client.connection_id };
        let Some(answer) = self.ask_of(client, query).await? else { return Ok(None) };
        if answer.value()?.is_null() {
            return Ok(None);
        }
        session::decode(&answer.reply.payload).map(Some)
    }

    /// Returns the sessions of a group's clients.
    ///
    /// # Errors
    /// As [`Hub::session`]; [`HubError::EmptyName`].
    pub async fn sessions_in_group<T>(
        &self,
        group: impl Display,
    ) -> Result<BTreeMap<ClientId, T>, HubError>
    where
        T: DeserializeOwned + Default + 'static,
    {
        let group = Bytes::from(super::send::name(group)?);
        self.sessions_of(Query::ClientSessionsByGroup { group }).await
    }

    /// Returns the sessions of all clients.
    ///
    /// # Errors
    /// As [`Hub::session`].
    pub async fn sessions<T>(&self) -> Result<BTreeMap<ClientId, T>, HubError>
    where
        T: DeserializeOwned + Default + 'static,
    {
        self.sessions_of(Query::AllClientSessions).await
    }
}

/// The questions' common parts.
impl Hub {
    async fn count(&self, group: Bytes) -> Result<u64, HubError> {
        let answers = self.ask_all(Query::ClientCountByGroup { group }).await?;
        answers.iter().map(GatewayReply::count).sum()
    }

    async fn sessions_of<T>(&self, query: Query) -> Result<BTreeMap<ClientId, T>, HubError>
    where
        T: DeserializeOwned + Default + 'static,
    {
        let mut sessions = BTreeMap::new();
        for answer in self.ask_all(query).await? {
            for (client, value) in answer.by_client()? {
                sessions.insert(client, session::decode(&answer.session(value)?)?);
            }
        }
        Ok(sessions)
    }

    async fn select_uids(&self, conditions: Vec<Condition>) -> Result<BTreeSet<String>, HubError> {
        let query = Query::Select(Select { fields: vec![Field::Uid], conditions });
        let mut uids = BTreeSet::new();
        for answer in self.ask_all(query).await? {
            for (_, uid) in answer.selected("uid")? {
                if !uid.is_null() {
                    uids.insert(answer.name(&uid)?);
                }
            }
        }
        Ok(uids)
    }

    async fn select(
        &self,
        field: Field,
        conditions: Vec<Condition>,
    ) -> Result<Vec<(ClientId, Value)>, HubError> {
        let name = field.name().to_owned();
        let query = Query::Select(Select { fields: vec![field], conditions });
        flatten(&self.ask_all(query).await?, |answer| answer.selected(&name))
    }

    /// Asks a client's gateway; `None` if no gateway has that address, so there is no such client.
    async fn ask_of(
        &self,
        client: ClientId,
        query: Query,
    ) -> Result<Option<GatewayReply>, HubError> {
        let gateway = gateway_of(client);
        if !self.is_linked(gateway) {
            return Ok(None);
        }
        let reply = self.cluster().ask(gateway, encode(query)?).await?;
        Ok(Some(GatewayReply { gateway, reply }))
    }

    /// Asks all gateways at once.
    async fn ask_all(&self, query: Query) -> Result<Vec<GatewayReply>, HubError> {
        let packet = encode(query.clone())?;
        let questions = self.cluster().gateways().into_iter().map(|gateway| {
            let (query, packet) = (&query, packet.clone());
            async move {
                if self.cluster().has_pages(gateway) && has_pages(query) {
                    return self.ask_by_pages(gateway, query).await;
                }
                let reply = self.cluster().ask(gateway, packet).await?;
                Ok(vec![GatewayReply { gateway, reply }])
            }
        });
        let answers: Result<Vec<_>, HubError> = join_all(questions).await.into_iter().collect();
        Ok(answers?.into_iter().flatten().collect())
    }

    /// Asks a gateway for one part of an answer after the other, so that neither end holds its loop for
    /// all of it.
    async fn ask_by_pages(
        &self,
        gateway: SocketAddr,
        query: &Query,
    ) -> Result<Vec<GatewayReply>, HubError> {
        let (mut parts, mut after, mut bytes) = (Vec::new(), 0, 0);
        loop {
            let page = Query::Page { after, query: Box::new(query.clone()) };
            let page = self.cluster().ask(gateway, encode(page)?).await?.into_page();
            let expected = "a part of an answer";
            // A part that does not lead on would be asked for again, for ever.
            let page = page.filter(|(next, _)| *next == 0 || *next > after);
            let (next, reply) = page.ok_or(HubError::UnexpectedReply { gateway, expected })?;
            bytes += reply.payload.len();
            if bytes > MAX_REPLY {
                return Err(HubError::AnswerTooLong { gateway, limit: MAX_REPLY });
            }
            parts.push(GatewayReply { gateway, reply });
            if next == 0 {
                return Ok(parts);
            }
            after = next;
        }
    }
}

/// Returns whether the answer to a query grows with the number of clients, and can come in parts.
fn has_pages(query: &Query) -> bool {
    use Query as Q;
    matches!(
        query,
        Q::AllClientSessions
            | Q::ClientSessionsByGroup { .. }
            | Q::ClientIdsByUid { .. }
            | Q::Select(_)
    )
}

fn in_group(group: impl Display) -> Result<Vec<Condition>, HubError> {
    Ok(vec![Condition::Groups(vec![Name::Text(super::send::name(group)?)])])
}

fn flatten<T, C: FromIterator<T>>(
    answers: &[GatewayReply],
    read: impl Fn(&GatewayReply) -> Result<Vec<T>, HubError>,
) -> Result<C, HubError> {
    let lists: Vec<Vec<T>> = answers.iter().map(read).collect::<Result<_, _>>()?;
    Ok(lists.into_iter().flatten().collect())
}
