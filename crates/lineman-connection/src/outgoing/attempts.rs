//! The task behind an outgoing connection: one attempt after the other, each within its limit.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::dial::dial;
use super::handle::Shared;
use super::place::Place;
use super::{Proxy, Reconnect};
use crate::Table;
use crate::connection::{CloseReason, Connection, Driver, Prelude, Serve, Shutdown, Transport};
use crate::tls::{Connector, Session};

/// Everything an attempt needs.
pub(super) struct Attempts<D: Driver> {
    pub(super) table: Table,
    pub(super) serve: Rc<Serve<D>>,
    pub(super) shared: Rc<Shared<D>>,
    pub(super) proxy: Option<Proxy>,
    pub(super) tls: Option<Connector>,
    pub(super) limit: Duration,
    pub(super) reconnect: Option<Reconnect>,
    /// A source of random numbers.
    pub(super) random: Box<dyn Fn() -> u64>,
}

impl<D: Driver> Attempts<D> {
    /// Connects until it is closed for good, or the process goes away.
    pub(super) async fn run(self) {
        tokio::select! {
            () = self.one_after_the_other() => {}
            () = self.table.reached(Shutdown::Closing) => {
                let connection = self.shared.connection.borrow().clone();
                if let Some(connection) = connection {
                    connection.close(CloseReason::GoingAway);
                }
            }
        }
        self.shared.ended.set(true);
    }

    async fn one_after_the_other(&self) {
        let shared = &*self.shared;
        let mut failures = 0;
        loop {
            let up = self.attempt().await;
            let Some(reconnect) = self.reconnect else { return };
            failures = reconnect.failures(failures, up);
            let wait = reconnect.wait(failures, (self.random)());
            tracing::debug!(place = %shared.place, ?wait, failures, "connecting again");
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = shared.until(|shared| shared.ended.get()) => {}
            }
            if shared.ended.get() {
                return;
            }
        }
    }

    /// Makes one connection and waits for its end; returns how long it was up, if it ever was.
    async fn attempt(&self) -> Option<Duration> {
        let shared = &*self.shared;
        let connection = match self.table.reserve(&self.serve) {
            Ok(connection) => connection,
            Err(error) => {
                tracing::error!(%error, "cannot reserve a place for a connection");
                return None;
            }
        };
        shared.is_up.set(false);
        shared.connection.replace(Some(connection.clone()));
        if tokio::time::timeout(self.limit, self.come_up(&connection)).await.is_err() {
            let problem = format!("no answer within {:?}", self.limit);
            connection.fail(CloseReason::ConnectFailed(problem));
        }
        let since = shared.is_up.get().then(Instant::now);
        shared.until(Shared::is_gone).await;
        since.map(|since| since.elapsed())
    }

    /// Resolves when the connection is up or has failed.
    async fn come_up(&self, connection: &Connection<D>) {
        let shared = &*self.shared;
        tokio::select! {
            result = self.dial(connection) => if let Err(problem) = result {
                connection.fail(CloseReason::ConnectFailed(problem));
            },
            () = shared.until(Shared::is_gone) => return,
        }
        shared.until(|shared| shared.is_up.get() || shared.is_gone()).await;
    }

    async fn dial(&self, connection: &Connection<D>) -> Result<(), String> {
        let (place, prelude) = self.way()?;
        let dialled = dial(&place).await;
        let (stream, address) = match &self.proxy {
            Some(_) => dialled.map_err(|problem| format!("proxy {problem}"))?,
            None => dialled?,
        };
        self.serve.tune(&stream).map_err(|error| format!("cannot set up the socket: {error}"))?;
        let transport = Transport::new(stream, prelude, self.session()?);
        let attached = connection.attach(transport, address);
        attached.map_err(|error| format!("cannot watch the socket: {error}"))
    }

    fn session(&self) -> Result<Option<Session>, String> {
        let Some(tls) = &self.tls else { return Ok(None) };
        let session = tls.session(self.shared.place.server_name());
        session.map(Some).map_err(|error| error.to_string())
    }

    /// Returns where to connect to, and what to say there first.
    fn way(&self) -> Result<(Place, Option<Box<dyn Prelude>>), String> {
        match &self.proxy {
            Some(proxy) => Ok((proxy.place()?, Some(proxy.dialogue(&self.shared.place)?))),
            None => Ok((self.shared.place.clone(), None)),
        }
    }
}
