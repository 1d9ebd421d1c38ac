//! `send` and `broadcast`: a message from the command line, from stdin or from a file.

use std::io::Read as _;
use std::path::PathBuf;

use clap::{ArgGroup, Args};
use lineman_client::{Body, ClientId, Cluster};

use super::report::CommandReport;
use super::targets::{Targets, need_gateways};
use super::{ClusterFlags, CommandFailure};

/// A message that is longer fits into no packet.
const LONGEST: u64 = 10 * 1024 * 1024;

/// Flags of `send`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("to").required(true).multiple(true).args(["uids", "groups", "clients", "all"]))]
pub(crate) struct Send {
    #[command(flatten)]
    to: Targets,
    /// Every client
    #[arg(long, conflicts_with_all = ["uids", "groups", "clients"])]
    all: bool,
    /// Not to this client; for several, several times. With --all or --group
    #[arg(long = "exclude", value_name = "ID", conflicts_with_all = ["uids", "clients"])]
    except: Vec<ClientId>,
    #[command(flatten)]
    what: Content,
    #[command(flatten)]
    pub(super) flags: ClusterFlags,
}

/// Flags of `broadcast`.
#[derive(Debug, Args)]
pub(crate) struct ToAllFlags {
    /// Not to this client; for several, several times
    #[arg(long = "exclude", value_name = "ID")]
    except: Vec<ClientId>,
    #[command(flatten)]
    what: Content,
    #[command(flatten)]
    pub(super) flags: ClusterFlags,
}

/// The message.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true).args(["message", "file"]))]
struct Content {
    /// The message; `-` reads it from stdin
    message: Option<String>,
    /// Read the message from a file
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// It is text, and has to be UTF-8 [default: text if it is UTF-8]
    #[arg(long, conflicts_with = "binary")]
    text: bool,
    /// It is binary, whatever is in it
    #[arg(long)]
    binary: bool,
}

impl Send {
    pub(super) fn run(
        &self,
        cluster: &mut Cluster,
        report: &mut CommandReport,
    ) -> Result<(), CommandFailure> {
        let message = self.what.read()?;
        if self.all {
            return to_all(cluster, report, message, &self.except);
        }
        let Targets { uids, groups, clients } = &self.to;
        if !uids.is_empty() || !groups.is_empty() {
            need_gateways(cluster)?;
        }
        if !uids.is_empty() {
            report.sent(cluster.send_to_uids(uids, message.clone()))?;
        }
        if !groups.is_empty() {
            let message = message.clone();
            report.sent(cluster.send_to_groups_except(groups, message, &self.except))?;
        }
        if !clients.is_empty() {
            report.sent(cluster.send_to_clients(clients, message))?;
        }
        Ok(())
    }
}

impl ToAllFlags {
    pub(super) fn run(
        &self,
        cluster: &mut Cluster,
        report: &mut CommandReport,
    ) -> Result<(), CommandFailure> {
        to_all(cluster, report, self.what.read()?, &self.except)
    }
}

fn to_all(
    cluster: &mut Cluster,
    report: &mut CommandReport,
    message: Body,
    except: &[ClientId],
) -> Result<(), CommandFailure> {
    need_gateways(cluster)?;
    report.sent(cluster.send_to_all_except(message, except))
}

impl Content {
    fn read(&self) -> Result<Body, CommandFailure> {
        match String::from_utf8(self.bytes()?) {
            Ok(text) if !self.binary => Ok(text.into()),
            Ok(text) => Ok(text.into_bytes().into()),
            Err(_) if self.text => {
                Err(CommandFailure::Command("the message is not UTF-8".to_owned()))
            }
            Err(error) => Ok(error.into_bytes().into()),
        }
    }

    fn bytes(&self) -> Result<Vec<u8>, CommandFailure> {
        let mut bytes = Vec::new();
        let (from, read) = match (&self.message, &self.file) {
            (Some(text), _) if text != "-" => return Ok(text.clone().into_bytes()),
            (_, Some(path)) => {
                let file = std::fs::File::open(path);
                let read = file.and_then(|file| file.take(LONGEST + 1).read_to_end(&mut bytes));
                (path.display().to_string(), read)
            }
            _ => ("stdin".to_owned(), std::io::stdin().take(LONGEST + 1).read_to_end(&mut bytes)),
        };
        let problem = match read {
            Ok(length) if length as u64 > LONGEST => format!("it has more than {LONGEST} bytes"),
            Ok(_) => return Ok(bytes),
            Err(error) => error.to_string(),
        };
        Err(CommandFailure::Command(format!("cannot read the message from {from}: {problem}")))
    }
}
