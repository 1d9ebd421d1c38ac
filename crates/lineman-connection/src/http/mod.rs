//! HTTP: requests leave the table with their bytes and are served by hyper and a `tower::Service`,
//! an axum `Router` for one. Nothing here parses HTTP.
//!
//! To be read in this order: a connection is `Taken` and has a task (`serve`), hyper reads and
//! writes its `socket`, which is `counted`, and calls the `guarded` service, which asks the `rules` and
//! bounds the `body`; the `watch` knows by when something has to happen. An `upgrade` goes back to the table.

mod serve;
mod socket;
mod counted;
mod guarded;
mod rules;
mod body;
mod answer;
mod watch;
mod upgrade;
mod limits;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::fmt;
use std::rc::Rc;

use bytes::Bytes;
use http::{Request, Response};
use tower::Service;

use crate::BoxError;
use crate::connection::{Address, Admission, Front, Past, Table, Transport};

pub use body::Body;
pub use limits::Limits;
pub(crate) use upgrade::{Upgrade, Upgrades};
pub(crate) use watch::Spoken;

/// An HTTP service that a worker or a gateway serves, by itself or beside its own protocol.
///
/// The request's extensions hold the client's [`Address`], for axum's `Extension<Address>`.
#[derive(Clone)]
pub struct Http {
    service: Rc<dyn Takeover>,
    limits: Rc<Limits>,
    upgrades: Upgrades,
}

impl Http {
    /// Wraps a `tower::Service`; it is cloned for each connection.
    pub fn new<S, B>(service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone + 'static,
        S::Future: 'static,
        B: http_body::Body + 'static,
        B::Error: Into<BoxError>,
    {
        let (limits, upgrades) = (Rc::default(), Upgrades::default());
        Self { service: Rc::new(serve::Mounted { service }), limits, upgrades }
    }

    /// Sets the bounds of each connection. Default: [`Limits::default`].
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = Rc::new(limits);
        self
    }

    /// Has requests for a WebSocket on these paths go to the table.
    pub(crate) fn upgrades(mut self, paths: Vec<(String, Rc<dyn Upgrade>)>) -> Self {
        self.upgrades.paths = paths;
        self
    }

    pub(crate) fn header_time(&self) -> std::time::Duration {
        self.limits.header_time
    }

    /// Serves a connection that the table has let go; other requests for a WebSocket go to `rest`.
    pub(crate) fn take(&self, table: &Table, taken: Taken, rest: Option<Rc<dyn Upgrade>>) {
        let upgrades = Rc::new(Upgrades { rest, ..self.upgrades.clone() });
        self.service.take(table, taken, Rc::clone(&self.limits), upgrades);
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Http")
            .field("limits", &self.limits)
            .field("upgrades", &self.upgrades)
            .finish_non_exhaustive()
    }
}

/// Takes a connection out of the table's hands.
trait Takeover {
    fn take(&self, table: &Table, taken: Taken, limits: Rc<Limits>, upgrades: Rc<Upgrades>);
}

/// A connection that becomes HTTP.
pub(crate) struct Taken {
    /// Its number, and what was counted of it.
    pub(crate) past: Past,
    pub(crate) transport: Transport,
    pub(crate) peer: Address,
    pub(crate) spoken: Spoken,
    /// What was read already; hyper gets it first.
    pub(crate) bytes: Bytes,
    /// Its place among the connections of its listener.
    pub(crate) admission: Admission,
    /// What its listener trusts and bounds.
    pub(crate) front: Rc<Front>,
}
