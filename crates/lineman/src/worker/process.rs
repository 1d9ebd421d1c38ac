//! The processes of a worker: how many, as whom, and what runs in each before, besides and after
//! its connections.

use std::cell::RefCell;
use std::num::NonZero;
use std::rc::Rc;
use std::thread::available_parallelism;
use std::time::Duration;

use super::Worker;
use crate::Result;
use crate::service::{Description, Inner, LocalFuture, Reload, Running, Service, Slot};

type OnStart = Box<dyn FnOnce(Slot) -> LocalFuture<Result>>;
type OnStop = Box<dyn FnOnce() -> LocalFuture<Result>>;
type OnReload = Rc<dyn Fn() -> LocalFuture<Result>>;

/// The settings of a worker that do not concern its connections.
pub(super) struct Process {
    count: Count,
    reload: Reload,
    drain_limit: Option<Duration>,
    user: Option<String>,
    group: Option<String>,
    environment: Vec<(String, String)>,
    on_start: Option<OnStart>,
    on_reload: Option<OnReload>,
    on_stop: Option<OnStop>,
}

/// How many processes.
#[derive(Debug, Clone, Copy)]
enum Count {
    Fixed(usize),
    PerCore(usize),
}

impl Default for Process {
    fn default() -> Self {
        Self {
            count: Count::Fixed(1),
            reload: Reload::Replace,
            drain_limit: None,
            user: None,
            group: None,
            environment: Vec::new(),
            on_start: None,
            on_reload: None,
            on_stop: None,
        }
    }
}

impl Process {
    /// Returns how many processes there are.
    pub(super) fn count(&self) -> usize {
        match self.count {
            Count::Fixed(count) => count,
            Count::PerCore(each) => available_parallelism().map_or(1, NonZero::get) * each,
        }
    }

    /// Returns the service without its listeners.
    pub(super) fn describe(&self, name: &str, kind: &'static str) -> Description {
        Description {
            count: self.count(),
            reload: self.reload,
            drain_limit: self.drain_limit,
            user: self.user.clone(),
            group: self.group.clone(),
            environment: self.environment.clone(),
            ..Description::new(name, kind)
        }
    }

    /// Runs what comes before the connections; returns what comes besides and after them.
    pub(super) async fn start(self, slot: Slot) -> Result<RunningWorker> {
        if let Some(handler) = self.on_start {
            handler(slot).await?;
        }
        Ok(RunningWorker { on_reload: self.on_reload, on_stop: RefCell::new(self.on_stop) })
    }
}

impl<K> Worker<K>
where
    Self: Service,
{
    /// Names the service, for `status` and logs. Default: the protocol's name.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets how many processes serve it. Default 1; a count of 0 is refused at the start.
    #[must_use]
    pub fn count(mut self, count: usize) -> Self {
        self.process.count = Count::Fixed(count);
        self
    }

    /// Has `each` processes for each core this process may use, counted when the program starts. 0 is
    /// refused at the start.
    #[must_use]
    pub fn per_core(mut self, each: usize) -> Self {
        self.process.count = Count::PerCore(each);
        self
    }

    /// Runs its processes as this user, by name or number, and with the groups of that user.
    ///
    /// The master binds the addresses and writes the log, so it keeps its own. Only root can do this;
    /// a start that cannot fails. Files that handlers and TLS read have to be readable for this user.
    /// A number that no user of the machine has, as is common in containers, is taken as it is, with
    /// [`Worker::group`] as its one group. Default: [`App::user`](crate::App::user).
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.process.user = Some(user.into());
        self
    }

    /// Runs its processes with this group, by name or number. Default: the user's own; for a number
    /// that no user has, the same number.
    #[must_use]
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.process.group = Some(group.into());
        self
    }

    /// Sets an environment variable of its processes.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.process.environment.push((name.into(), value.into()));
        self
    }

    /// Leaves the processes as they are on `reload`. By default each is replaced.
    #[must_use]
    pub fn keep_on_reload(mut self) -> Self {
        self.process.reload = Reload::Keep;
        self
    }

    /// Sets how long a drain waits for this service's connections. Default: the program's limit.
    #[must_use]
    pub fn drain_limit(mut self, limit: Duration) -> Self {
        self.process.drain_limit = Some(limit);
        self
    }

    /// Runs in each process before it serves. An error is a failed start, and `start` reports it.
    #[must_use]
    pub fn on_start(mut self, handler: impl AsyncFnOnce(Slot) -> Result + 'static) -> Self {
        self.process.on_start = Some(Box::new(|slot| Box::pin(async move { handler(slot).await })));
        self
    }

    /// Serves from within a worker that runs, beside its own service: an admin port, say, that only
    /// exists when a configuration wants it. See [`Inner::start`].
    ///
    /// ```no_run
    /// use lineman::prelude::*;
    ///
    /// fn main() -> Result {
    ///     Worker::websocket("0.0.0.0:2346")
    ///         .on_start(async |_slot| {
    ///             let admin = Worker::text("127.0.0.1:0")
    ///                 .on_message(async |connection, line| connection.send(line));
    ///             println!("admin at {}", admin.listen().await?.addresses()[0]);
    ///             Ok(())
    ///         })
    ///         .run()
    /// }
    /// ```
    ///
    /// # Errors
    /// Those of [`Inner::start`].
    pub async fn listen(self) -> Result<Inner> {
        Inner::start(self).await
    }

    /// Runs on `reload` in each process that stays as it is ([`Worker::keep_on_reload`]): to read a
    /// configuration again, say. An error is logged. By default nothing runs.
    #[must_use]
    pub fn on_reload(mut self, handler: impl AsyncFn() -> Result + 'static) -> Self {
        let handler = Rc::new(handler);
        self.process.on_reload = Some(Rc::new(move || {
            let handler = Rc::clone(&handler);
            Box::pin(async move { handler().await })
        }));
        self
    }

    /// Runs in each process when its last connection is closed, before it exits. An error is logged.
    ///
    /// It has half of [`App::stop_limit`](crate::App::stop_limit), so 1 s by default; then the process
    /// exits without it.
    #[must_use]
    pub fn on_stop(mut self, handler: impl AsyncFnOnce() -> Result + 'static) -> Self {
        self.process.on_stop = Some(Box::new(|| Box::pin(async move { handler().await })));
        self
    }
}

/// A worker that serves.
pub(super) struct RunningWorker {
    on_reload: Option<OnReload>,
    on_stop: RefCell<Option<OnStop>>,
}

impl Running for RunningWorker {
    fn reload(&self) -> LocalFuture<()> {
        let handler = self.on_reload.clone();
        Box::pin(async move {
            if let Some(handler) = handler
                && let Err(error) = handler().await
            {
                tracing::error!(%error, "on_reload failed");
            }
        })
    }

    fn stopped(&self) -> LocalFuture<()> {
        let handler = self.on_stop.take();
        Box::pin(async move {
            if let Some(handler) = handler
                && let Err(error) = handler().await
            {
                tracing::error!(%error, "on_stop failed");
            }
        })
    }
}
