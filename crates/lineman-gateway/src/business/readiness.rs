//! When a business is ready. At the first start, and after a crash, it waits a moment for the gateways
//! that are listed, and no longer: it may start before they do. As a successor it has to be linked to each gateway
//! that its predecessor is linked to, or its clients there would have no business: the predecessor's
//! [`Briefing`] says which, so that no register is needed for it.

use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use lineman::service::Predecessor;
use serde::{Deserialize, Serialize};

use super::core::Core;
use super::gateway::{KnownGateway, Required};
use crate::Events;

/// How long a process waits for its links by default before it says that it is ready: a working gateway is
/// linked within milliseconds, and one that is listed may be gone.
const LINK_WAIT: Duration = Duration::from_secs(2);

/// How long a successor may take by default: twice a lost packet of a handshake, and half of the time that
/// the master gives a process to get ready.
pub(super) const LINK_LIMIT: Duration = Duration::from_secs(5);

/// The most gateways of a briefing, so that it has a length that the master takes; a successor finds the
/// others by the registers.
const MAX_BRIEFED: usize = 2500;

/// So many of the gateways that are missing are named.
const NAMED: usize = 8;

/// What a business has its successor know.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Briefing {
    /// Gateways that it is linked to, and which said so: those that speak the extension.
    answered: Vec<SocketAddr>,
    /// Gateways of PHP's that it is linked to.
    linked: Vec<SocketAddr>,
    /// Gateways that it knows beside them.
    listed: Vec<SocketAddr>,
}

/// A successor is not as well linked as its predecessor.
#[derive(Debug)]
struct NotLinked(Vec<(SocketAddr, String)>);

impl fmt::Display for NotLinked {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, (gateway, problem)) in self.0.iter().take(NAMED).enumerate() {
            let separator = if nth > 0 { ", " } else { "" };
            write!(formatter, "{separator}gateway {gateway} {problem}")?;
        }
        match self.0.len().saturating_sub(NAMED) {
            0 => Ok(()),
            more => write!(formatter, ", and {more} more"),
        }
    }
}

impl std::error::Error for NotLinked {}

impl<E: Events> Core<E> {
    /// Begins with the gateways that the process before knew; those that it is linked to are required if it
    /// serves.
    pub(super) fn take_over(self: &Rc<Self>, predecessor: &Predecessor) {
        let briefing: Briefing = match serde_json::from_str(&predecessor.briefing) {
            Ok(briefing) => briefing,
            Err(error) => {
                return tracing::warn!(%error, "what the process before knew is not understood");
            }
        };
        let Briefing { answered, linked, listed } = &briefing;
        let known = [answered, linked, listed].into_iter().flatten().copied();
        self.addresses.borrow_mut().take_over(known);
        if predecessor.serves {
            let answered = answered.iter().map(|&gateway| (gateway, Required::Answer));
            let linked = linked.iter().map(|&gateway| (gateway, Required::Link));
            let mut gateways = self.gateways.borrow_mut();
            for (gateway, required) in answered.chain(linked).take(MAX_BRIEFED) {
                gateways.entry(gateway).or_default().required = Some(required);
            }
        }
        self.follow_addresses();
    }

    /// Resolves when the process may say that it is ready; a gateway that is required may take `limit`, for
    /// ever if that is zero.
    ///
    /// # Errors
    /// One of those is missing then.
    pub(super) async fn links_made(&self, limit: Duration) -> lineman::Result {
        let limit = if limit.is_zero() { Duration::MAX } else { limit };
        let wait = LINK_WAIT.min(limit);
        let complete = tokio::time::timeout(wait, self.linked()).await.is_ok();
        if !complete {
            let required = self.until(|| self.missing().is_empty());
            if tokio::time::timeout(limit.saturating_sub(wait), required).await.is_err() {
                return Err(NotLinked(self.missing()).into());
            }
        }
        self.gateways.borrow_mut().values_mut().for_each(|gateway| gateway.required = None);
        if !complete {
            tracing::warn!(?self, "ready, though not linked to every gateway");
        }
        Ok(())
    }

    /// Resolves when it is known where gateways are, and each of them is linked.
    pub(super) async fn linked(&self) {
        self.until(|| {
            let up =
                |known: &KnownGateway| known.link.as_ref().is_some_and(|link| link.up.is_some());
            let gateways = self.gateways.borrow();
            let complete =
                gateways.values().all(|known| (!known.listed || up(known)) && !known.is_missing());
            complete && self.addresses.borrow().is_known()
        })
        .await;
    }

    /// Returns the gateways that are required and missing, and why.
    fn missing(&self) -> Vec<(SocketAddr, String)> {
        let gateways = self.gateways.borrow();
        let missing = gateways.iter().filter(|(_, known)| known.is_missing());
        missing.map(|(&address, known)| (address, known.problem().to_owned())).collect()
    }

    /// Returns what the next process of the slot is to know.
    pub(super) fn briefing(&self) -> Option<String> {
        let mut briefing = Briefing::default();
        for (&address, known) in self.gateways.borrow().iter().take(MAX_BRIEFED) {
            let list = match known.link.as_ref().filter(|link| link.up.is_some()) {
                Some(link) if link.epoch.is_some() => &mut briefing.answered,
                Some(_) => &mut briefing.linked,
                None => &mut briefing.listed,
            };
            list.push(address);
        }
        serde_json::to_string(&briefing).ok()
    }
}
