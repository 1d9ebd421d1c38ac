//! The program: its services, and `run`, which is the command line, the master or a worker.

use std::path::PathBuf;
use std::time::Duration;

use crate::Result;
use crate::config::Config;
use crate::service::Service;

/// A program made of services.
///
/// `main` builds it and calls [`App::run`] in every process: in the first one that is the command
/// line and the master, in the ones the master starts it is the worker.
pub struct App {
    pub(crate) config: Config,
    pub(crate) services: Vec<Box<dyn Service>>,
}

impl App {
    /// Returns a program without services, named after its executable.
    pub fn new() -> Self {
        let name = std::env::args_os()
            .next()
            .and_then(|path| Some(PathBuf::from(path).file_stem()?.to_string_lossy().into_owned()))
            .unwrap_or_else(|| "lineman".to_owned());
        let config = Config {
            name,
            runtime_dir: None,
            ready_limit: Duration::from_secs(10),
            stop_limit: Duration::from_secs(2),
            drain_limit: Duration::from_secs(30),
        };
        Self { config, services: Vec::new() }
    }

    /// Sets the program's name, which names its runtime folder. Default: the executable's file name.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.config.name = name.into();
        self
    }

    /// Adds a service. They start together, once every address is bound; see
    /// [`StopOrder`](crate::service::StopOrder) for how they stop.
    #[must_use]
    pub fn service(mut self, service: impl Service) -> Self {
        self.services.push(Box::new(service));
        self
    }

    /// Sets how long a drain waits for connections to end by themselves. Default 30 s.
    #[must_use]
    pub fn drain_limit(mut self, limit: Duration) -> Self {
        self.config.drain_limit = limit;
        self
    }

    /// Plays this process's part: command line and master, or the worker of one slot.
    ///
    /// Returns when the command is done or the master has stopped. A command that fails has said so
    /// on stderr and ends the process with its documented exit code.
    ///
    /// # Errors
    /// In a worker, when what the master handed over does not fit the program.
    pub fn run(self) -> Result {
        if crate::process::is_worker() {
            return crate::process::run(self);
        }
        crate::command::run(&self);
        Ok(())
    }
}

impl Default for App {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for App {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let services: Vec<_> = self.services.iter().map(|service| service.description()).collect();
        formatter
            .debug_struct("App")
            .field("config", &self.config)
            .field("services", &services)
            .finish()
    }
}
