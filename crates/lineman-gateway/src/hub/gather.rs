//! How questions get to gateways, and what becomes of their answers.

use std::net::SocketAddr;

use futures_util::future::join_all;
use lineman_wire::link::{self, ClientId, GatewayAnswer, MAX_REPLY, Missing, Query};

use super::{Answers, Hub};
use crate::cluster::{encode, gateway_of};
use crate::error::HubError;

impl Hub {
    /// Asks a client's gateway; `None` if the cluster has no such gateway, so there is no such client.
    pub(super) async fn ask_of(
        &self,
        client: ClientId,
        query: Query,
    ) -> Result<Option<GatewayAnswer>, HubError> {
        let gateway = gateway_of(client);
        if !self.is_linked(gateway) && !self.cluster().known().contains(&gateway) {
            return Ok(None);
        }
        let outcome = self.cluster().ask(gateway, encode(query)?).await;
        let reply = outcome.inspect_err(|_| self.count_missing(1))?;
        Ok(Some(GatewayAnswer { gateway, reply }))
    }

    /// Asks all gateways at once, and reads what each says. One that does not answer, or says what cannot be
    /// read, is missing as a whole.
    ///
    /// # Errors
    /// The caller's: the question is too long.
    pub(super) async fn ask_all<T>(
        &self,
        query: Query,
        read: impl Fn(&GatewayAnswer) -> Result<Vec<T>, link::Error>,
    ) -> Result<Answers<Vec<T>>, HubError> {
        encode(query.clone())?;
        let gateways = self.concerned(&query);
        let questions = gateways.iter().map(|&gateway| self.ask(gateway, &query));
        let (mut value, mut missing) = (Vec::new(), Vec::new());
        for (&gateway, outcome) in gateways.iter().zip(join_all(questions).await) {
            let parts = outcome.and_then(|parts| {
                let read: Result<Vec<_>, _> = parts.iter().map(&read).collect();
                read.map_err(|source| HubError::Reply { gateway, source })
            });
            match parts {
                Ok(parts) => value.extend(parts.into_iter().flatten()),
                Err(reason) => missing.push(Missing { gateway, reason }),
            }
        }
        self.count_missing(missing.len());
        Ok(Answers { value, missing, asked: gateways.len() })
    }

    /// Returns the gateways that may know something. One that cannot be reached may, so that it is missing.
    fn concerned(&self, query: &Query) -> Vec<SocketAddr> {
        let mut gateways = self.cluster().known();
        if let Some(names) = query.names() {
            let holders = self.cluster().holders(&names);
            gateways.retain(|gateway| holders.contains(gateway) || !self.is_linked(*gateway));
        }
        gateways
    }

    /// Asks one gateway; the answer is whole, or comes in parts.
    async fn ask(
        &self,
        gateway: SocketAddr,
        query: &Query,
    ) -> Result<Vec<GatewayAnswer>, HubError> {
        if self.cluster().has_pages(gateway) && query.has_pages() {
            return self.ask_by_pages(gateway, query).await;
        }
        let reply = self.cluster().ask(gateway, encode(query.clone())?).await?;
        Ok(vec![GatewayAnswer { gateway, reply }])
    }

    /// Asks a gateway for one part of an answer after the other, so that neither end holds its loop for
    /// all of it.
    async fn ask_by_pages(
        &self,
        gateway: SocketAddr,
        query: &Query,
    ) -> Result<Vec<GatewayAnswer>, HubError> {
        let (mut parts, mut after, mut bytes) = (Vec::new(), 0, 0);
        loop {
            let page = Query::Page { after, query: Box::new(query.clone()) };
            let page = self.cluster().ask(gateway, encode(page)?).await?.into_page();
            // A part that does not lead on would be asked for again, for ever.
            let page = page.filter(|(next, _)| *next == 0 || *next > after);
            let (next, reply) = page.ok_or_else(|| {
                let source = link::Error::UnexpectedReply { expected: "a part of an answer" };
                HubError::Reply { gateway, source }
            })?;
            bytes += reply.payload.len();
            if bytes > MAX_REPLY {
                return Err(HubError::AnswerTooLong { gateway, limit: MAX_REPLY });
            }
            parts.push(GatewayAnswer { gateway, reply });
            if next == 0 {
                return Ok(parts);
            }
            after = next;
        }
    }
}
