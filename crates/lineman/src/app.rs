//! The program: its services, and `run`, which is the command line, the master or a worker.

use std::ffi::OsString;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use lineman_master::command;
use lineman_master::config::Config;
use lineman_master::master::WorkerArguments;
use lineman_master::master::hooks::{Handover, Hooks};
use lineman_master::process;
use lineman_master::program::Program;

use crate::cli::Arguments;
use crate::config::Watchdog;
use crate::service::Service;
use crate::{LogFormat, Renewed, Result, WorkerExit};

/// A program made of services.
///
/// `main` builds it and calls [`App::run`] in every process: in the first one that is the command
/// line and the master, in the ones the master starts it is the worker.
pub struct App {
    pub(crate) config: Config,
    pub(crate) services: Vec<Box<dyn Service>>,
    pub(crate) hooks: Rc<Hooks>,
    pub(crate) budget: Option<usize>,
}

impl App {
    /// Returns a program without services, named after the file it was called as: links to one
    /// executable, `web-1.2.3` and `web-1.2.4` say, are programs of their own.
    pub fn new() -> Self {
        let name = std::env::args_os()
            .next()
            .and_then(|path| Some(PathBuf::from(path).file_name()?.to_string_lossy().into_owned()))
            .unwrap_or_else(|| "lineman".to_owned());
        let config = Config::new(name);
        Self { config, services: Vec::new(), hooks: Rc::default(), budget: None }
    }

    /// Sets the program's name, which names its runtime folder. Default: the file name it was called
    /// by. It is part of paths: `start` and `check` refuse an empty one, `.`, `..`, and one with a `/`
    /// or a control character.
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

    /// Sets how many bytes each worker process may hold that are unfinished or unsent: what was received
    /// and makes no message yet, messages of 16 KiB and more whose handler waits, send queues, handshakes
    /// of TLS, bodies of HTTP.
    ///
    /// As it fills: at a half, the connections that hold most are not read; at three quarters, new
    /// connections and requests are refused (503, or closed); when it is used up, or new ones were refused
    /// for 5 s, the connections that hold most are closed (1013, where that can be said at once), and a
    /// message for a peer that something waits for already is answered `SendError::Full`. Each is counted
    /// in `status` and summed up in the log.
    ///
    /// Default: a quarter of the memory of the machine, or of the control group if that has less, in equal
    /// parts for all worker processes of the program, but at least 32 MiB.
    #[must_use]
    pub fn budget(mut self, bytes: usize) -> Self {
        self.budget = Some(bytes);
        self
    }

    /// Sets how long a drain waits for connections to end by themselves. Default 30 s.
    #[must_use]
    pub fn drain_limit(mut self, limit: Duration) -> Self {
        self.config.drain_limit = limit;
        self
    }

    /// Runs the processes of every service that names no user of its own as this one, by name or
    /// number; see [`Worker::user`](crate::Worker::user). Default: as the master.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.config.user = Some(user.into());
        self
    }

    /// Sets the group that goes with [`App::user`]. Default: the user's own; for a number that no user
    /// has, the same number.
    #[must_use]
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.config.group = Some(group.into());
        self
    }

    /// Sets what happens to a worker whose loop stands still, because a handler blocks. Default: it is
    /// reported after 5 s, with the handler.
    #[must_use]
    pub fn watchdog(mut self, watchdog: Watchdog) -> Self {
        self.config.watchdog = watchdog;
        self
    }

    /// Sets how long a worker may take to get ready before it is killed. Default 10 s; zero is no limit.
    #[must_use]
    pub fn ready_limit(mut self, limit: Duration) -> Self {
        self.config.ready_limit = lineman_os::limit::zero_is_none(limit);
        self
    }

    /// Ends the program, with exit code 7, when the processes of one slot have ended by themselves so
    /// often in a row: for one whose supervisor acts on that. Default 0: never. A slot then gets its
    /// next process later and later, after 30 s at most (5 s if the one before had been ready), for as
    /// long as it takes; from the eighth failure on it is `failed` in `status`, which exits with 6. A
    /// process that has been ready for ten seconds begins a new row, and so does a reload.
    ///
    /// The other processes close their connections with 1001, as on `stop`. A first start that fails
    /// is not tried again, whatever this says.
    #[must_use]
    pub fn give_up_after(mut self, failures: u32) -> Self {
        self.config.give_up_after = failures;
        self
    }

    /// Sets how long connections get to take their close frame at a stop, or at the end of a drain,
    /// before their process is killed. Default 2 s; zero waits for nothing.
    ///
    /// Half of it is for the connections, and for handlers, callbacks of timers and calls of `blocking`
    /// that have begun; where that is not enough, connections are cut, and handlers have a quarter more.
    /// What is not done then is cut off, counted and logged.
    #[must_use]
    pub fn stop_limit(mut self, limit: Duration) -> Self {
        self.config.stop_limit = limit;
        self
    }

    /// Sets the folder of pid file, lock and control socket, unless the flag `--runtime-dir` or the
    /// environment chooses another; a daemon's log is there as well then. Default: `/run/NAME` for
    /// root, else `$XDG_RUNTIME_DIR/NAME` or, without one, `/tmp/lineman-UID/NAME`.
    #[must_use]
    pub fn runtime_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.config.runtime_dir = Some(folder.into());
        self
    }

    /// Sets the form of the log's lines, unless the flag `--log-format` or the environment chooses
    /// another. Default: text.
    #[must_use]
    pub fn log_format(mut self, format: LogFormat) -> Self {
        self.config.log_format = format;
        self
    }

    /// Sets the log's file, unless the flag `--log-file` or the environment chooses another. It is
    /// created with mode 0600, and opened again when it was moved away or deleted. Default: for a daemon
    /// `/var/log/NAME/NAME.log` if root starts it, else `$XDG_STATE_HOME/NAME/NAME.log`
    /// (`~/.local/state`), or `NAME.log` in a runtime folder that was chosen; else stderr.
    #[must_use]
    pub fn log_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.config.log_file = Some(path.into());
        self
    }

    /// Sets the size in bytes from which the log's file, and that of [`App::stdout_file`], is moved to
    /// `FILE.1`, over the one before it, and a new one is begun; it is looked at once a second. 0 is without limit. The flag
    /// `--log-max-size` or the environment choose another. Default: 100 MiB.
    #[must_use]
    pub fn log_max_size(mut self, bytes: u64) -> Self {
        self.config.log_max_size = bytes;
        self
    }

    /// Sets the file of what the program itself prints to stdout, unless the flag `--stdout-file` or
    /// the environment chooses another. Default: the log's file, if there is one.
    #[must_use]
    pub fn stdout_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.config.stdout_file = Some(path.into());
        self
    }

    /// Hears of each worker process that has ended, and how: for an alarm, say.
    ///
    /// This and the other hooks of the master run on its one thread, which also answers the command
    /// line: they must not wait. One that panics is logged. A program that a hook starts should be
    /// waited for on a thread; a master that is process 1 of a container takes the exit status of
    /// a child that ended ten seconds ago and was not waited for.
    ///
    /// ```no_run
    /// use lineman::prelude::*;
    ///
    /// fn main() -> Result {
    ///     App::new()
    ///         .service(Worker::text("0.0.0.0:1234"))
    ///         .on_worker_exit(|exit| {
    ///             if !exit.asked {
    ///                 eprintln!("{} (pid {}): {}", exit.slot, exit.pid, exit.reason);
    ///             }
    ///         })
    ///         .run()
    /// }
    /// ```
    #[must_use]
    pub fn on_worker_exit(mut self, hook: impl Fn(&WorkerExit) + 'static) -> Self {
        self.hooks_mut().worker_exit = Some(Box::new(hook));
        self
    }

    /// Runs in the master when a reload begins.
    #[must_use]
    pub fn on_master_reload(mut self, hook: impl Fn() + 'static) -> Self {
        self.hooks_mut().reload = Some(Box::new(hook));
        self
    }

    /// Runs in the master when every worker is gone, before it ends.
    #[must_use]
    pub fn on_master_stop(mut self, hook: impl Fn() + 'static) -> Self {
        self.hooks_mut().stop = Some(Box::new(hook));
        self
    }

    /// Hands a text to every worker process, where [`handed_over`](crate::handed_over) returns it before the program
    /// is built: settings that the master has read, so that a process that is started again after a crash has those
    /// in force, and not what stands in an edited file. No file and no log shows it.
    ///
    /// `again` is called in the master as a reload of the whole program begins, and returns the text that is handed
    /// over from then on: to new processes, and to those that stay, before their `on_reload`. An error refuses the
    /// reload, for the reasons it has, and nothing changes; so does a panic. It must not wait.
    #[must_use]
    pub fn hand_over(
        mut self,
        text: impl Into<Rc<str>>,
        again: impl Fn() -> Result<Renewed, Vec<String>> + 'static,
    ) -> Self {
        self.hooks_mut().handover = Some(Handover::new(text, again));
        self
    }

    /// Returns what would make its services fail to start, beside sockets, a line each: as `check` does.
    pub fn problems(&self) -> Vec<String> {
        Program::problems(self)
    }

    fn hooks_mut(&mut self) -> &mut Hooks {
        // Shared only once the program runs, and is not built any more then.
        Rc::get_mut(&mut self.hooks).expect("the program does not run yet")
    }

    /// Sets how long a graceful stop (`stop -g`, SIGTERM) goes on accepting before it drains, while
    /// `ready` is already off, so that load balancers send no more clients here. Default 0. The
    /// drain limit begins after it; a plain stop does not wait.
    #[must_use]
    pub fn drain_delay(mut self, delay: Duration) -> Self {
        self.config.drain_delay = delay;
        self
    }

    /// Has the master answer health probes over HTTP at `address`, `host:port`. Default: nowhere;
    /// the environment variable `LINEMAN_HEALTH` goes before it.
    ///
    /// `GET /live` and `GET /ready` (or `HEAD`) are answered with 200 or 503 and a line of text.
    /// Live: the master's loop answers. Ready: the program has been up as a whole, it was not told
    /// to stop, and every service has a ready process; a reload does not change that. At most 64
    /// probes at a time, 5 s each, 1 s for the request, one to a connection; beyond that the oldest
    /// one that has not asked yet is dropped. Every peer that can connect may ask: choose an address that
    /// only probes reach.
    #[must_use]
    pub fn health(mut self, address: impl Into<String>) -> Self {
        self.config.health = Some(address.into());
        self
    }

    /// Plays this process's part: command line and master, or the worker of one slot.
    ///
    /// Returns when the command is done or the master has stopped. A command that fails has said so
    /// on stderr and ends the process with its documented exit code.
    ///
    /// Call it from a plain `fn main`: master and workers are processes that make a runtime each, and
    /// handlers run in that of their worker.
    ///
    /// # Errors
    /// When it is called inside a runtime of tokio, as under `#[tokio::main]`. In a worker, when what
    /// the master handed over does not fit the program.
    pub fn run(self) -> Result {
        outside_of_a_runtime()?;
        if process::is_worker() {
            return process::run(Box::new(self));
        }
        let arguments = command::parse(&self.config.name, std::env::args_os());
        command::run(&self, &arguments, WorkerArguments::Slot);
        Ok(())
    }

    /// As [`App::run`], with arguments given by code instead of the command line's: `["start"]`.
    ///
    /// Workers, and the daemon of `start -d`, are started with the arguments of this process, and
    /// have to come to this call in the same way.
    ///
    /// ```no_run
    /// use lineman::prelude::*;
    ///
    /// fn main() -> Result {
    ///     let app = App::new().service(Worker::text("0.0.0.0:1234"));
    ///     // Without a command line: a program that only ever runs in the foreground.
    ///     app.run_with(["start", "--quiet"])
    /// }
    /// ```
    ///
    /// # Errors
    /// As [`App::run`].
    pub fn run_with<T: Into<OsString> + Clone>(
        self,
        arguments: impl IntoIterator<Item = T>,
    ) -> Result {
        outside_of_a_runtime()?;
        if process::is_worker() {
            return process::run(Box::new(self));
        }
        let program = std::iter::once(OsString::from(&self.config.name));
        let line = program.chain(arguments.into_iter().map(Into::into));
        let arguments = command::parse(&self.config.name, line);
        command::run(&self, &arguments, WorkerArguments::Same);
        Ok(())
    }

    /// As [`App::run`], with arguments that the program has parsed with its own:
    /// [`cli::Arguments`](crate::cli::Arguments) shows how.
    ///
    /// # Errors
    /// As [`App::run`].
    #[expect(clippy::needless_pass_by_value, reason = "parsed once, used once")]
    pub fn run_command(self, arguments: Arguments) -> Result {
        outside_of_a_runtime()?;
        if process::is_worker() {
            return process::run(Box::new(self));
        }
        command::run(&self, &arguments, WorkerArguments::Same);
        Ok(())
    }
}

/// A runtime cannot be started inside another one: that would panic, far from the code that made the first.
fn outside_of_a_runtime() -> Result {
    match tokio::runtime::Handle::try_current() {
        Err(_) => Ok(()),
        Ok(_) => {
            Err("a program of Lineman's runs outside of a tokio runtime: call it from a plain \
                      `fn main`, without `#[tokio::main]`; each process makes its own runtime"
                .into())
        }
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
            .field("hooks", &self.hooks)
            .field("budget", &self.budget)
            .finish()
    }
}
