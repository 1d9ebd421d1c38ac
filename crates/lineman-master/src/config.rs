//! The program's settings in one place; flags, environment and code translate into it.

use std::path::PathBuf;
use std::time::Duration;

use crate::Error;
use crate::terminal::log::Format;

/// The size from which a log's file is moved away, in bytes: some hundred thousand lines.
const LOG_MAX_SIZE: u64 = 100 * 1024 * 1024;

/// How long a process may be silent at least, whatever the limit: on a machine that is too busy an answer
/// takes seconds.
const SHORTEST_SILENCE: Duration = Duration::from_secs(5);

/// What happens to a worker whose loop stands still: for a handler that blocks, no other connection of
/// its process is served.
///
/// A thread of the process looks after the loop, and the master after the process: one that answers nothing for the
/// limit, 5 s at least, as it is suspended or gets no time, is `stalled` in `status` and in the log, not
/// ready for `health`, and a neighbour accepts for it until it answers again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watchdog {
    pub(crate) limit: Option<Duration>,
    pub(crate) restart: bool,
}

impl Watchdog {
    /// Logs what the loop is doing when it has stood still for `limit`, and again when it goes on. The
    /// default, with 5 s.
    ///
    /// It looks every quarter of `limit`, but not more often than every 200 ms: so it sees it up to two
    /// looks late, and a limit below 200 ms is kept as 200 ms. Zero is [`Watchdog::off`].
    pub fn report(limit: Duration) -> Self {
        Self { limit: Some(limit).filter(|limit| !limit.is_zero()), restart: false }
    }

    /// As [`Watchdog::report`], and the process is killed and replaced: its connections are lost. One
    /// that is stalled is as well, after twice the limit, 10 s at least.
    pub fn restart(limit: Duration) -> Self {
        Self { restart: true, ..Self::report(limit) }
    }

    /// No thread looks after the loop; the process is stalled when it has not answered for 5 s.
    pub fn off() -> Self {
        Self { limit: None, restart: false }
    }

    /// Returns how long a process may answer nothing.
    pub(crate) fn silence(self) -> Duration {
        self.limit.map_or(SHORTEST_SILENCE, |limit| limit.max(SHORTEST_SILENCE))
    }
}

impl Default for Watchdog {
    fn default() -> Self {
        Self::report(Duration::from_secs(5))
    }
}

/// What the master, the workers and the command line go by. Never serialised.
#[derive(Debug, Clone)]
pub struct Config {
    /// The program's name: names the runtime folder. Default: the file name by which it was
    /// called.
    pub name: String,
    /// Where pid file, lock and control socket are. Default: `/run/NAME` for root, else
    /// `$XDG_RUNTIME_DIR/NAME` or `/tmp/lineman-UID/NAME`; environment `LINEMAN_RUNTIME_DIR`, flag
    /// `--runtime-dir`.
    pub runtime_dir: Option<PathBuf>,
    /// The form of the log's lines. Default: text; environment `LINEMAN_LOG_FORMAT`, flag
    /// `--log-format`.
    pub log_format: Format,
    /// The log's file. Default: for a daemon `NAME.log` in `/var/log/NAME` for root, else in
    /// `$XDG_STATE_HOME/NAME` or `~/.local/state/NAME`, or in the runtime folder if that was chosen or
    /// there is no home; else stderr. Environment `LINEMAN_LOG_FILE`, flag `--log-file`.
    pub log_file: Option<PathBuf>,
    /// The size in bytes from which the log's file is moved to `FILE.1`, over the one before it, and a
    /// new one is begun; the same holds for `stdout_file`. 0 is without limit. Default: 100 MiB;
    /// environment `LINEMAN_LOG_MAX_SIZE`, flag `--log-max-size`.
    pub log_max_size: u64,
    /// The file of what the program prints. Default: the log's; environment `LINEMAN_STDOUT_FILE`,
    /// flag `--stdout-file`.
    pub stdout_file: Option<PathBuf>,
    /// The user that processes of services without one of their own run as. Default: the master's.
    pub user: Option<String>,
    /// The group that goes with it. Default: the user's own.
    pub group: Option<String>,
    /// What happens to a worker whose loop stands still. Default: it is reported after 5 s.
    pub watchdog: Watchdog,
    /// How long a worker may take to get ready. Default 10 s.
    pub ready_limit: Duration,
    /// How long connections get to take their close frame on `stop` and at the end of a drain,
    /// before the process is killed. Default 2 s, as Workerman's.
    pub stop_limit: Duration,
    /// How long `stop -g` and `reload` wait for connections to end by themselves before
    /// they are closed with 1001. Default 30 s; flag `--timeout`. `reload -g` waits an hour.
    pub drain_limit: Duration,
    /// How long a graceful stop goes on accepting, and says that it is not ready, before it drains:
    /// load balancers notice meanwhile. Default 0.
    pub drain_delay: Duration,
    /// After how many ends in a row of one slot's processes the program ends itself with exit code 7;
    /// 0 is never. Default 0.
    pub give_up_after: u32,
    /// `host:port` where the master answers health probes over HTTP. Default: nowhere; environment
    /// `LINEMAN_HEALTH`.
    pub health: Option<String>,
}

impl Config {
    /// Returns the default settings of a program of this name.
    pub fn new(name: String) -> Self {
        Self {
            name,
            runtime_dir: None,
            log_format: Format::Text,
            log_file: None,
            log_max_size: LOG_MAX_SIZE,
            stdout_file: None,
            user: None,
            group: None,
            watchdog: Watchdog::default(),
            ready_limit: Duration::from_secs(10),
            stop_limit: Duration::from_secs(2),
            drain_limit: Duration::from_secs(30),
            drain_delay: Duration::ZERO,
            give_up_after: 0,
            health: None,
        }
    }

    /// Makes sure that the name can be a part of a path, and of a line on a terminal.
    pub(crate) fn check_name(&self) -> Result<(), Error> {
        let wrong = |letter: char| letter == '/' || letter.is_control();
        if matches!(&*self.name, "" | "." | "..") || self.name.contains(wrong) {
            return Err(Error::Name { name: self.name.clone() });
        }
        Ok(())
    }
}
