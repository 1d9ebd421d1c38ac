//! Commands to a running cluster, one at a time: `send`, `broadcast`, `online`, `kick`, `sessions`. They ask its
//! registers for the gateways and go to these, as any program with `lineman-client` does; whose they are, Lineman's or
//! `GatewayWorker`'s, is the same to them. None of them looks at what runs on this machine.

mod place;
mod report;
mod targets;
mod send;
mod online;
mod kick;
mod sessions;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use lineman::cli;
use lineman_client::{Cluster, Error, LinkTls};

pub(crate) use report::CommandEnd;
use report::CommandReport;

/// Returns the help for `--json`: what is known, and what is missing.
macro_rules! json_help {
    ($known:literal) => {
        concat!(
            "With --json, stdout has an object in one line: ",
            $known,
            "`missing`, a list of {\"gateway\": \"IP:PORT\", \"reason\": TEXT}, empty if every gateway has taken \
             part."
        )
    };
}

const SEND_HELP: &str = json_help!("");
const ONLINE_HELP: &str = json_help!(
    "`clients`, `groups` and `gateways`, numbers; with --list `clients`, a list of {id, uid, groups}; of those that are \
     asked for `uids` and `groups` with the number of clients of each, with --list their ids, `ids` with true or false, \
     and `online`, whether each has a client, null if that is not known; and "
);
const KICK_HELP: &str = json_help!("`kicked`, how many kicks were sent; and ");
const SESSIONS_HELP: &str = json_help!(
    "`sessions` by client, null where one cannot be shown, and then `unreadable`, by client, why; and "
);

/// What to do with the cluster.
#[derive(Debug, Subcommand)]
pub(crate) enum ClusterVerb {
    /// Send a message to clients of the cluster, wherever they are connected
    #[command(after_help = SEND_HELP)]
    Send(send::Send),
    /// Send a message to every client of the cluster
    #[command(after_help = SEND_HELP)]
    Broadcast(send::ToAllFlags),
    /// Count the cluster's clients, or ask who is connected
    #[command(after_help = ONLINE_HELP)]
    Online(online::Online),
    /// Close clients of the cluster
    #[command(after_help = KICK_HELP)]
    Kick(kick::Kick),
    /// Show sessions of the cluster's clients
    #[command(after_help = SESSIONS_HELP)]
    Sessions(sessions::Sessions),
}

const REGISTER_HELP: &str = "A register of the cluster; for several, several times. The file of settings is not read \
    then, unless --config names one [default: $LINEMAN_CLUSTER_REGISTER_ADDRESS, else the file's, else 127.0.0.1:1236]";
const KEY_HELP: &str =
    "A file with the cluster's key [default: $LINEMAN_CLUSTER_SECRET_KEY, else the file's]";
const NAME_HELP: &str = "The cluster's name [default: $LINEMAN_CLUSTER_NAME, else the file's]";

const LINK_TLS_HELP: &str = "Whether to connect with TLS: off, accept, use, require, as the cluster's services \
    have it; certificates are those of the environment or the file [default: $LINEMAN_CLUSTER_LINK_TLS, else the file's]";

/// Which cluster it is, how long it may take, and how to print.
#[derive(Debug, Args)]
pub(crate) struct ClusterFlags {
    /// A register of the cluster.
    #[arg(long = "register", value_name = "HOST:PORT", help = REGISTER_HELP)]
    registers: Vec<String>,
    /// A file with the cluster's key.
    #[arg(long, value_name = "FILE", help = KEY_HELP)]
    secret_key_file: Option<PathBuf>,
    /// The cluster's name.
    #[arg(long, value_name = "NAME", help = NAME_HELP)]
    cluster_name: Option<String>,
    /// Whether to connect with TLS.
    #[arg(long, value_name = "MODE", value_parser = LinkTls::NAMES, help = LINK_TLS_HELP)]
    link_tls: Option<String>,
    /// How long each call may take: 30s, 500ms; a plain number is seconds
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = cli::parse_duration)]
    timeout: Duration,
    /// Print JSON, the stable form for scripts
    #[arg(long)]
    json: bool,
}

impl ClusterVerb {
    fn flags(&self) -> &ClusterFlags {
        match self {
            Self::Send(send::Send { flags, .. })
            | Self::Broadcast(send::ToAllFlags { flags, .. })
            | Self::Online(online::Online { flags, .. })
            | Self::Kick(kick::Kick { flags, .. })
            | Self::Sessions(sessions::Sessions { flags, .. }) => flags,
        }
    }

    fn carry_out(
        &self,
        cluster: &mut Cluster,
        report: &mut CommandReport,
    ) -> Result<(), CommandFailure> {
        match self {
            Self::Send(send) => send.run(cluster, report),
            Self::Broadcast(broadcast) => broadcast.run(cluster, report),
            Self::Online(online) => online.run(cluster, report),
            Self::Kick(kick) => kick.run(cluster, report),
            Self::Sessions(sessions) => sessions.run(cluster, report),
        }
    }
}

/// Does it, and prints what came of it.
///
/// # Errors
/// What stands in the way, a line each.
pub(crate) fn run(verb: &ClusterVerb, config: Option<&Path>) -> Result<CommandEnd, Vec<String>> {
    let flags = verb.flags();
    let mut cluster = place::cluster(flags, config)?;
    let mut report = CommandReport::default();
    verb.carry_out(&mut cluster, &mut report).map_err(CommandFailure::into_lines)?;
    report.finish(flags.json)
}

/// Why it cannot be done.
#[derive(Debug)]
enum CommandFailure {
    /// The cluster.
    Cluster(Error),
    /// What the command line says, in words.
    Command(String),
}

impl CommandFailure {
    fn into_lines(self) -> Vec<String> {
        match self {
            // One register is a line, as it is an address to look at.
            Self::Cluster(Error::NoRegister { problems }) => {
                problems.iter().map(ToString::to_string).collect()
            }
            Self::Cluster(error) => vec![error.to_string()],
            Self::Command(problem) => vec![problem],
        }
    }
}

impl From<Error> for CommandFailure {
    fn from(error: Error) -> Self {
        Self::Cluster(error)
    }
}
