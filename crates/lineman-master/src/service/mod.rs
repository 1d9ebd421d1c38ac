//! What a service is to the master: its name, how many processes, where it listens. Described by
//! `lineman`'s services; read by `command`, `master` and `process`. It starts nothing.

use std::time::Duration;

use crate::Error;

pub mod bind;
mod options;
pub(crate) mod sketch;

pub use lineman_os::{Endpoint, Socket, Traffic};
pub(crate) use options::{Families, Sharing};
pub use options::{Keepalive, SocketOptions};

/// The facts of a service, as the master knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// The service's name, unique within the program; slots are called `name/0`, `name/1`, ….
    pub name: String,
    /// What it speaks, for people: `websocket`, `text`, `http`, `register`, `business`, ….
    pub kind: &'static str,
    /// How many processes; 1 or more.
    pub count: usize,
    /// The sockets the master binds and keeps for it.
    pub listeners: Vec<Listen>,
    /// Whether a plain `reload` replaces it.
    pub reload: Reload,
    /// How long a drain may take before connections are cut; `None` is the program's limit.
    pub drain_limit: Option<Duration>,
    /// When `stop` comes to it.
    pub stop_order: StopOrder,
    /// The user its processes run as, by name or number; `None` is the program's, or the master's own.
    pub user: Option<String>,
    /// The group its processes run as; `None` is the program's, or the user's own.
    pub group: Option<String>,
    /// What its processes have in their environment beside the master's.
    pub environment: Vec<(String, String)>,
}

impl Description {
    /// Returns a service of one process that listens on nothing, with every default.
    pub fn new(name: impl Into<String>, kind: &'static str) -> Self {
        Self {
            name: name.into(),
            kind,
            count: 1,
            listeners: Vec::new(),
            reload: Reload::Replace,
            drain_limit: None,
            stop_order: StopOrder::Edge,
            user: None,
            group: None,
            environment: Vec::new(),
        }
    }
}

/// When a service is stopped: what others depend on goes last.
///
/// All services of one order stop side by side; the next order begins when they are gone. So
/// gateways drain while the businesses behind them still serve.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StopOrder {
    /// Holds clients: stops first. The default.
    #[default]
    Edge,
    /// Serves the services that hold clients: a business.
    Middle,
    /// Every other service depends on it: a register. Stops last.
    Core,
}

/// Whether `reload` replaces the processes of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// Each process is replaced, then retired.
    Replace,
    /// Each process is replaced by one that takes over its connections; those that cannot move are retired with
    /// it.
    HandOver,
    /// The processes stay: they hold what a replacement would lose.
    Keep,
}

/// How a worker's service starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartManner {
    /// It serves from then on.
    Fresh,
    /// It is ready to take over what another process of its slot serves, and does nothing of itself before:
    /// accepts nothing, and has no timer run.
    Dormant,
}

/// One address of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// What it is for, when a service has several: `clients`, `links`; shown in `status`.
    pub label: &'static str,
    /// `host:port`, `unix:/path` or `unix:@name`, see [`Endpoint`]; port 0 lets the kernel choose one,
    /// which then stays for the master's life.
    pub address: String,
    /// Where that is set, as errors name it: `gateway.listen, lineman.toml:4`. Empty by default.
    pub set_in: String,
    /// What arrives there.
    pub traffic: Traffic,
    /// How the slots share the address.
    pub ports: Ports,
    /// The scheme people use to reach it: `ws`, `http`, `tcp`, `text`, ….
    pub scheme: &'static str,
    /// Whether a person can open it in a browser; `start` then prints the address to open.
    pub page: bool,
    /// How its sockets are set up.
    pub options: SocketOptions,
}

impl Listen {
    /// Returns an address for connections, shared by all slots, with default options.
    pub fn streams(label: &'static str, scheme: &'static str, address: impl Into<String>) -> Self {
        Self {
            label,
            address: address.into(),
            set_in: String::new(),
            traffic: Traffic::Streams,
            ports: Ports::Shared,
            scheme,
            page: false,
            options: SocketOptions::new(),
        }
    }

    /// Names the scheme as it is with TLS, if the service speaks it.
    #[must_use]
    pub fn with_tls(mut self, tls: bool) -> Self {
        self.scheme = match (tls, self.scheme) {
            (true, "ws") => "wss",
            (true, "http") => "https",
            (true, "text") => "text+tls",
            (true, "framed") => "framed+tls",
            (true, "tcp") => "tls",
            (_, scheme) => scheme,
        };
        self
    }

    /// Returns one of its addresses as errors show it, with the place where it is set.
    pub(crate) fn shown(&self, address: impl std::fmt::Display) -> String {
        if self.set_in.is_empty() {
            address.to_string()
        } else {
            format!("{address} ({})", self.set_in)
        }
    }

    /// Returns the address, parsed.
    ///
    /// # Errors
    /// [`Error::Address`] when it cannot be one.
    pub fn endpoint(&self) -> Result<Endpoint, Error> {
        Ok(self.address.parse()?)
    }
}

/// How the slots of a service share one configured address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ports {
    /// Every slot has an `SO_REUSEPORT` socket on the same port; the kernel spreads connections.
    Shared,
    /// Slot `i` listens on port + `i` (each on a port of its own if the port is 0). Not for a Unix
    /// socket.
    PerSlot,
}

/// One process of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// The service's name.
    pub service: String,
    /// The process's number within the service: 0 to count − 1, kept on respawn.
    pub index: usize,
    /// Counts the processes the master ever started for this slot: 1 for the first.
    pub generation: u64,
}

impl std::fmt::Display for Slot {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", self.service, self.index)
    }
}
