//! Every environment variable Lineman reads, as data: the code takes the names from here and the
//! help text lists them from here.

#[derive(Debug, Clone, Copy)]
pub(crate) struct Variable {
    pub(crate) name: &'static str,
    /// One line for the help text; `None` for those that only the master sets.
    pub(crate) help: Option<&'static str>,
}

/// The folder of lock, control socket and log.
pub(crate) const RUNTIME_DIR: Variable = Variable {
    name: "LINEMAN_RUNTIME_DIR",
    help: Some("folder of pid file, lock and control socket, as --runtime-dir"),
};

pub(crate) const LOG: Variable = Variable {
    name: "LINEMAN_LOG",
    help: Some("log filter, e.g. `warn` or `info,lineman=debug` [default: info]"),
};

/// Where the master answers health probes over HTTP.
pub(crate) const HEALTH: Variable = Variable {
    name: "LINEMAN_HEALTH",
    help: Some("host:port where GET /live and GET /ready are answered [default: nowhere]"),
};

pub(crate) const LOG_FORMAT: Variable =
    Variable { name: "LINEMAN_LOG_FORMAT", help: Some("`text` or `json`, as --log-format") };

pub(crate) const LOG_FILE: Variable =
    Variable { name: "LINEMAN_LOG_FILE", help: Some("the log's file, as --log-file") };

/// The size from which a log file is moved away.
pub(crate) const LOG_MAX_SIZE: Variable = Variable {
    name: "LINEMAN_LOG_MAX_SIZE",
    help: Some("the size at which a log file becomes FILE.1, as --log-max-size"),
};

/// The file of what the program prints.
pub(crate) const STDOUT_FILE: Variable = Variable {
    name: "LINEMAN_STDOUT_FILE",
    help: Some("the file of what the program prints, as --stdout-file"),
};

/// Colour is left out of everything when this is set and not empty (<https://no-color.org>).
pub(crate) const NO_COLOR: Variable =
    Variable { name: "NO_COLOR", help: Some("set to leave colour out of log lines") };

/// The session's folder for sockets, kept by the login manager.
pub(crate) const XDG_RUNTIME_DIR: Variable = Variable { name: "XDG_RUNTIME_DIR", help: None };

/// The user's folder for what outlives a session, such as logs.
pub(crate) const XDG_STATE_HOME: Variable = Variable { name: "XDG_STATE_HOME", help: None };

pub(crate) const HOME: Variable = Variable { name: "HOME", help: None };

/// Set by the master for a worker: `service/index`.
pub(crate) const SLOT: Variable = Variable { name: "LINEMAN_SLOT", help: None };

/// Set by the master for a worker: the master's process, which made its control socket.
pub(crate) const MASTER: Variable = Variable { name: "LINEMAN_MASTER", help: None };

/// Set by the master for a worker: how many processes it ever started for the slot.
pub(crate) const GENERATION: Variable = Variable { name: "LINEMAN_GENERATION", help: None };

/// Set by the master for a worker: how many listeners follow the control socket.
pub(crate) const LISTENERS: Variable = Variable { name: "LINEMAN_LISTENERS", help: None };

/// Set by the master for a worker: the positions of its listeners that a service manager opened, with
/// commas between them. They may be elsewhere than the program wishes.
pub(crate) const GIVEN: Variable = Variable { name: "LINEMAN_GIVEN", help: None };

/// Set by the master for a worker: the descriptor that becomes its stderr. Until then that is a pipe
/// to the master, which so hears what a program says that does not even come to be a worker.
pub(crate) const STDERR: Variable = Variable { name: "LINEMAN_STDERR", help: None };

/// Set by the master for a worker: the form of its log's lines, which a flag may have chosen.
pub(crate) const FORMAT: Variable = Variable { name: "LINEMAN_FORMAT", help: None };

/// Set by the master for a worker: the descriptor of the text that the program hands to its workers.
pub(crate) const HANDED: Variable = Variable { name: "LINEMAN_HANDED", help: None };

/// Set by the master for a worker that takes over: the descriptor of the socket to the process that hands over.
pub(crate) const HANDOVER: Variable = Variable { name: "LINEMAN_HANDOVER", help: None };

/// Set by the master for a worker when it was started with `--self-signed`: the folder of the
/// certificate that all TLS uses.
pub(crate) const SELF_SIGNED: Variable = Variable { name: "LINEMAN_SELF_SIGNED", help: None };

/// Set by `start -d` for the master it starts: report the start on this descriptor.
pub(crate) const REPORT: Variable = Variable { name: "LINEMAN_REPORT", help: None };

/// Set by a master for the program that it executes in its place: the descriptor of what that is to know.
pub(crate) const UPGRADE: Variable = Variable { name: "LINEMAN_UPGRADE", help: None };

/// Set by a master for a program that is to say whether it could: as [`UPGRADE`].
pub(crate) const UPGRADE_CHECK: Variable = Variable { name: "LINEMAN_UPGRADE_CHECK", help: None };

/// Set for the program before, when the one after it could not go on: why.
pub(crate) const UPGRADE_BACK: Variable = Variable { name: "LINEMAN_UPGRADE_BACK", help: None };

/// Set by tests: how long an ended orphan is left to the hook that started it, in milliseconds.
pub(crate) const ORPHAN_GRACE_MS: Variable =
    Variable { name: "LINEMAN_ORPHAN_GRACE_MS", help: None };

/// Set by a service manager: where it hears how the program is, see `sd_notify(3)`.
pub(crate) const NOTIFY_SOCKET: Variable = Variable { name: "NOTIFY_SOCKET", help: None };

/// Set by a service manager: the process that is to ping it; none is any.
pub(crate) const WATCHDOG_PID: Variable = Variable { name: "WATCHDOG_PID", help: None };

/// Set by a service manager: how many sockets it hands over from descriptor 3 on, see
/// `sd_listen_fds(3)`.
pub(crate) const LISTEN_FDS: Variable = Variable { name: "LISTEN_FDS", help: None };

/// Set by a service manager: the process that is meant by [`LISTEN_FDS`].
pub(crate) const LISTEN_PID: Variable = Variable { name: "LISTEN_PID", help: None };

/// Set by a service manager: the names of the sockets of [`LISTEN_FDS`], with colons between them.
pub(crate) const LISTEN_FDNAMES: Variable = Variable { name: "LISTEN_FDNAMES", help: None };

/// Those that a service manager means for the master alone: no worker inherits them.
pub(crate) const FOR_THE_MASTER: [&str; 6] = [
    NOTIFY_SOCKET.name,
    "WATCHDOG_USEC",
    WATCHDOG_PID.name,
    LISTEN_FDS.name,
    LISTEN_PID.name,
    LISTEN_FDNAMES.name,
];

/// Those that the master sets for a worker, which takes them out of its environment: a program that it
/// starts may be one of Lineman's as well, and is no worker.
pub(crate) const FOR_A_WORKER: [&str; 10] = [
    SLOT.name,
    MASTER.name,
    GENERATION.name,
    LISTENERS.name,
    GIVEN.name,
    STDERR.name,
    FORMAT.name,
    HANDED.name,
    HANDOVER.name,
    SELF_SIGNED.name,
];

/// Those that users set, in the order of the help text.
pub(crate) const FOR_USERS: [Variable; 8] =
    [RUNTIME_DIR, HEALTH, LOG, LOG_FORMAT, LOG_FILE, LOG_MAX_SIZE, STDOUT_FILE, NO_COLOR];

/// The first argument of a worker, before its slot: for people who look at `ps`.
pub(crate) const WORKER_VERB: &str = "worker";

/// The descriptor of a worker's control socket, and of a daemon's report socket.
pub(crate) const CONTROL_DESCRIPTOR: i32 = 3;

/// The descriptor of a worker's first listener; the others follow.
pub(crate) const FIRST_LISTENER: i32 = 4;
