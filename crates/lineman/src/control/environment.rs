//! Every environment variable Lineman reads, as data: the code takes the names from here and the
//! help text lists them from here.

/// One environment variable.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Variable {
    /// Its name.
    pub(crate) name: &'static str,
    /// One line for the help text; `None` for those that only the master sets.
    pub(crate) help: Option<&'static str>,
}

/// The folder of lock, control socket and log.
pub(crate) const RUNTIME_DIR: Variable = Variable {
    name: "LINEMAN_RUNTIME_DIR",
    help: Some("folder of lock, control socket and log, as --runtime-dir"),
};

/// The filter of log lines.
pub(crate) const LOG: Variable = Variable {
    name: "LINEMAN_LOG",
    help: Some("log filter, e.g. `warn` or `info,lineman=debug` [default: info]"),
};

/// Colour is left out of everything when this is set and not empty (<https://no-color.org>).
pub(crate) const NO_COLOR: Variable =
    Variable { name: "NO_COLOR", help: Some("set to leave colour out of log lines") };

/// The session's folder for sockets, kept by the login manager.
pub(crate) const XDG_RUNTIME_DIR: Variable = Variable { name: "XDG_RUNTIME_DIR", help: None };

/// Set by the master for a worker: `service/index`.
pub(crate) const SLOT: Variable = Variable { name: "LINEMAN_SLOT", help: None };

/// Set by the master for a worker: the master's process, which made its control socket.
pub(crate) const MASTER: Variable = Variable { name: "LINEMAN_MASTER", help: None };

/// Set by the master for a worker: how many processes it ever started for the slot.
pub(crate) const GENERATION: Variable = Variable { name: "LINEMAN_GENERATION", help: None };

/// Set by the master for a worker: how many listeners follow the control socket.
pub(crate) const LISTENERS: Variable = Variable { name: "LINEMAN_LISTENERS", help: None };

/// Set by the master for a worker when it was started with `--self-signed`: the folder of the
/// certificate that all TLS uses.
pub(crate) const SELF_SIGNED: Variable = Variable { name: "LINEMAN_SELF_SIGNED", help: None };

/// Set by `start -d` for the master it starts: report the start on this descriptor.
pub(crate) const REPORT: Variable = Variable { name: "LINEMAN_REPORT", help: None };

/// Those that users set, in the order of the help text.
pub(crate) const FOR_USERS: [Variable; 3] = [RUNTIME_DIR, LOG, NO_COLOR];

/// The first argument of a worker, before its slot: for people who look at `ps`.
pub(crate) const WORKER_VERB: &str = "worker";

/// The descriptor of a worker's control socket, and of a daemon's report socket.
pub(crate) const CONTROL_DESCRIPTOR: i32 = 3;

/// The descriptor of a worker's first listener; the others follow.
pub(crate) const FIRST_LISTENER: i32 = 4;
