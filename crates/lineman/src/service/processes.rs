//! The part of a service's builder that concerns its processes: how many, as which user, and what runs
//! in each before, besides and after its connections. `Worker` has it, and every service of `lineman-gateway`.
//!
//! The setters are written once, as a macro that puts them on a builder with a field `processes`: a trait's
//! methods would need an import, and rustdoc would show them on a page of their own.

use std::cell::RefCell;
use std::num::NonZero;
use std::rc::Rc;
use std::thread::available_parallelism;
use std::time::Duration;

use super::{Description, LocalFuture, Reload, Slot};
use crate::Result;

type OnStart = Box<dyn FnOnce(Slot) -> LocalFuture<Result>>;
type OnStop = Box<dyn FnOnce() -> LocalFuture<Result>>;
type OnReload = Rc<dyn Fn() -> LocalFuture<Result>>;

/// The settings of a service that do not concern its connections.
pub struct Processes {
    name: String,
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

impl Processes {
    /// Returns one process that a plain `reload` replaces, with every default.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
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

    /// Returns the service's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns how many processes there are.
    pub fn count(&self) -> usize {
        match self.count {
            Count::Fixed(count) => count,
            Count::PerCore(each) => available_parallelism().map_or(1, NonZero::get) * each,
        }
    }

    /// Returns the service without its listeners.
    pub fn describe(&self, kind: &'static str) -> Description {
        Description {
            count: self.count(),
            reload: self.reload,
            drain_limit: self.drain_limit,
            user: self.user.clone(),
            group: self.group.clone(),
            environment: self.environment.clone(),
            ..Description::new(&self.name, kind)
        }
    }

    /// Runs what comes before the connections; returns what comes besides and after them.
    ///
    /// # Errors
    /// That of the user's `on_start`.
    pub async fn start(self, slot: Slot) -> Result<ProcessHooks> {
        if let Some(handler) = self.on_start {
            handler(slot).await?;
        }
        Ok(ProcessHooks { on_reload: self.on_reload, on_stop: RefCell::new(self.on_stop) })
    }
}

/// The setters, as the macros below call them.
impl Processes {
    /// Sets the name.
    pub fn set_name(&mut self, name: String) {
        self.name = name;
    }

    /// Sets how many processes there are.
    pub fn set_count(&mut self, count: usize) {
        self.count = Count::Fixed(count);
    }

    /// Sets how many processes there are for each core.
    pub fn set_per_core(&mut self, each: usize) {
        self.count = Count::PerCore(each);
    }

    /// Sets the user.
    pub fn set_user(&mut self, user: String) {
        self.user = Some(user);
    }

    /// Sets the group.
    pub fn set_group(&mut self, group: String) {
        self.group = Some(group);
    }

    /// Adds a variable.
    pub fn set_env(&mut self, name: String, value: String) {
        self.environment.push((name, value));
    }

    /// Sets what a plain `reload` does.
    pub fn set_reload(&mut self, reload: Reload) {
        self.reload = reload;
    }

    /// Sets the limit of a drain.
    pub fn set_drain_limit(&mut self, limit: Duration) {
        self.drain_limit = Some(limit);
    }

    /// Sets what runs before.
    pub fn set_on_start(&mut self, handler: impl AsyncFnOnce(Slot) -> Result + 'static) {
        self.on_start = Some(Box::new(|slot| Box::pin(async move { handler(slot).await })));
    }

    /// Sets what runs on `reload`.
    pub fn set_on_reload(&mut self, handler: impl AsyncFn() -> Result + 'static) {
        let handler = Rc::new(handler);
        self.on_reload = Some(Rc::new(move || {
            let handler = Rc::clone(&handler);
            Box::pin(async move { handler().await })
        }));
    }

    /// Sets what runs after.
    pub fn set_on_stop(&mut self, handler: impl AsyncFnOnce() -> Result + 'static) {
        self.on_stop = Some(Box::new(|| Box::pin(async move { handler().await })));
    }
}

impl std::fmt::Debug for Processes {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Processes")
            .field("name", &self.name)
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

/// What users want to run in a process beside its connections.
#[derive(Default)]
pub struct ProcessHooks {
    on_reload: Option<OnReload>,
    on_stop: RefCell<Option<OnStop>>,
}

impl ProcessHooks {
    /// Runs the user's `on_reload`; call it from [`Running::reload`](super::Running::reload).
    pub fn reload(&self) -> LocalFuture<()> {
        let handler = self.on_reload.clone();
        Box::pin(async move {
            if let Some(handler) = handler
                && let Err(error) = handler().await
            {
                tracing::error!(%error, "on_reload failed");
            }
        })
    }

    /// Runs the user's `on_stop`, once; call it from [`Running::stopped`](super::Running::stopped).
    pub fn stopped(&self) -> LocalFuture<()> {
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

impl std::fmt::Debug for ProcessHooks {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ProcessHooks")
            .field("on_reload", &self.on_reload.is_some())
            .finish_non_exhaustive()
    }
}

/// Gives a builder with a field `processes` the setters of it, but for the count.
#[macro_export]
#[doc(hidden)]
macro_rules! process_settings {
    () => {
        /// Names the service, for `status` and logs. Default: what it is, or its protocol's name.
        #[must_use]
        pub fn name(mut self, name: impl Into<String>) -> Self {
            self.processes.set_name(name.into());
            self
        }

        /// Runs its processes as this user, by name or number, and with the groups of that user.
        ///
        /// The master binds the addresses and writes the log, so it keeps its own. Only root can do
        /// this; a start that cannot fails. Files that handlers and TLS read have to be readable for
        /// this user. A number that no user of the machine has, as is common in containers, is taken as
        /// it is, with [`group`](Self::group) as its one group. Default: `App::user`.
        #[must_use]
        pub fn user(mut self, user: impl Into<String>) -> Self {
            self.processes.set_user(user.into());
            self
        }

        /// Runs its processes with this group, by name or number. Default: the user's own; for a number
        /// that no user has, the same number.
        #[must_use]
        pub fn group(mut self, group: impl Into<String>) -> Self {
            self.processes.set_group(group.into());
            self
        }

        /// Sets an environment variable of its processes.
        #[must_use]
        pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
            self.processes.set_env(name.into(), value.into());
            self
        }

        /// Leaves the processes as they are on `reload`. By default each is replaced, but for those of a
        /// gateway and of a register, which are always left.
        #[must_use]
        pub fn keep_on_reload(mut self) -> Self {
            self.processes.set_reload($crate::service::Reload::Keep);
            self
        }

        /// Sets how long a drain may take: waiting for connections to end, or for what has come to be
        /// handled. Default: the program's limit.
        #[must_use]
        pub fn drain_limit(mut self, limit: std::time::Duration) -> Self {
            self.processes.set_drain_limit(limit);
            self
        }

        /// Runs in each process before it serves. An error is a failed start, and `start` reports it.
        #[must_use]
        pub fn on_start(
            mut self,
            handler: impl AsyncFnOnce($crate::service::Slot) -> $crate::Result + 'static,
        ) -> Self {
            self.processes.set_on_start(handler);
            self
        }

        /// Runs on `reload` in each process that stays as it is
        /// ([`keep_on_reload`](Self::keep_on_reload)): to read a configuration again, say. An error is
        /// logged. By default nothing runs.
        #[must_use]
        pub fn on_reload(mut self, handler: impl AsyncFn() -> $crate::Result + 'static) -> Self {
            self.processes.set_on_reload(handler);
            self
        }

        /// Runs in each process when its last connection is closed and no handler, callback of a timer
        /// or call of `blocking` is under way, before it exits. An error is logged.
        ///
        /// It has half of `App::stop_limit`, so 1 s by default, and a quarter where connections or handlers
        /// took more than the other half; then the process exits without it.
        #[must_use]
        pub fn on_stop(mut self, handler: impl AsyncFnOnce() -> $crate::Result + 'static) -> Self {
            self.processes.set_on_stop(handler);
            self
        }
    };
}

/// Gives a builder with a field `processes` the setters of their count.
#[macro_export]
#[doc(hidden)]
macro_rules! count_settings {
    () => {
        /// Sets how many processes serve it. Default 1; a count of 0 is refused at the start.
        #[must_use]
        pub fn count(mut self, count: usize) -> Self {
            self.processes.set_count(count);
            self
        }

        /// Has `each` processes for each core this process may use, counted when the program starts. 0
        /// is refused at the start.
        #[must_use]
        pub fn per_core(mut self, each: usize) -> Self {
            self.processes.set_per_core(each);
            self
        }
    };
}
