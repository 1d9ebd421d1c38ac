//! HTTP: requests leave the table with their bytes and are served by hyper and a `tower::Service`,
//! an axum `Router` for one. Nothing here parses HTTP.
//!
//! To be read in this order: a connection comes by a listener (`listen`) and gets a task (`serve`), hyper reads and
//! writes its `socket`, which is `counted`, lets only `strict` lines pass and puts words to hyper's own `refusal`, and calls the
//! `guarded` service, which asks the `rules` and bounds the `body`; the `watch` knows by when something has to happen. An `upgrade` goes back to the table.

mod listen;
mod serve;
mod socket;
mod strict;
mod refusal;
mod counted;
mod guarded;
mod own_thread;
mod rules;
mod body;
mod pace;
mod crowd;
mod answer;
mod watch;
mod upgrade;
mod limits;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::rc::Rc;

use http::{Request, Response};
use tower::Service;

use crate::BoxError;
use crate::connection::{Adopt, Front, Table, Transit};

pub use body::Body;
use crowd::Crowd;
pub use limits::Limits;
use upgrade::Upgrades;
use watch::Spoken;

/// What can serve HTTP: every `tower::Service` that takes a request and returns a response, cannot fail
/// (`Error = Infallible`) and is cloned for each connection. An axum `Router` is one. Nothing else
/// implements it.
pub trait WebService<R = Request<Body>>:
    Service<
        R,
        Response = Response<<Self as WebService<R>>::Content>,
        Error = Infallible,
        Future: 'static,
    > + Clone
    + 'static
{
    /// The body of its responses.
    type Content: http_body::Body<Error: Into<BoxError>> + 'static;
}

impl<R, S, B> WebService<R> for S
where
    S: Service<R, Response = Response<B>, Error = Infallible, Future: 'static> + Clone + 'static,
    B: http_body::Body<Error: Into<BoxError>> + 'static,
{
    type Content = B;
}

/// An HTTP service that a worker or a gateway serves, by itself or beside its own protocol.
///
/// The request's extensions hold the client's [`Address`](crate::connection::Address), for axum's `Extension<Address>`.
#[derive(Clone)]
pub struct Http {
    service: Rc<dyn Takeover>,
    limits: Rc<Limits>,
    upgrades: Upgrades,
    crowd: Rc<Crowd>,
}

impl Http {
    /// Wraps a `tower::Service`; it is cloned for each connection.
    pub fn new(service: impl WebService) -> Self {
        let (limits, upgrades, crowd) = (Rc::default(), Upgrades::default(), Rc::default());
        Self { service: Rc::new(service), limits, upgrades, crowd }
    }

    /// Wraps a `tower::Service` that runs on a thread of its own: what blocks or panics there costs
    /// requests, and nothing else of this process. While the thread is blocked, 1,024 requests wait for
    /// it and further ones are answered 503; a panic is answered 500.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn on_own_thread(service: impl WebService + Send) -> io::Result<Self> {
        Ok(Self::new(own_thread::OwnThread::start(service)?))
    }

    /// Sets the bounds of each connection. Default: [`Limits::default`].
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = Rc::new(limits.with_zero_as_none());
        self
    }

    /// Has requests for a WebSocket on these paths go to the table.
    fn websockets(mut self, paths: Vec<(String, Rc<dyn Adopt>)>) -> Self {
        self.upgrades.paths = paths;
        self
    }

    fn header_time(&self) -> std::time::Duration {
        self.limits.header_time
    }

    /// Serves a connection that the table has let go; other requests for a WebSocket go to `rest`.
    fn take(
        &self,
        table: &Table,
        transit: Transit,
        spoken: Spoken,
        front: Rc<Front>,
        rest: Option<Rc<dyn Adopt>>,
    ) {
        let upgrades = Rc::new(Upgrades { rest, ..self.upgrades.clone() });
        let terms = Terms {
            front,
            limits: Rc::clone(&self.limits),
            upgrades,
            crowd: Rc::clone(&self.crowd),
        };
        self.service.take(table, transit, spoken, terms);
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

/// What a listener's connections are served by, beside the service.
struct Terms {
    /// What the listener trusts and bounds.
    front: Rc<Front>,
    limits: Rc<Limits>,
    upgrades: Rc<Upgrades>,
    crowd: Rc<Crowd>,
}

/// Takes a connection out of the table's hands.
trait Takeover {
    fn take(&self, table: &Table, transit: Transit, spoken: Spoken, terms: Terms);
}
