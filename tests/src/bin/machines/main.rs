//! Measures a cluster of several machines, which are network namespaces of its own: what users notice of a power
//! cut, of partitions and of a roll, and what sends, questions and silence cost.
//!
//! `cargo xtask bench cluster` builds and runs it. Each measurement has a process and a namespace of its own.

mod users;
mod pairs;
mod talk;
mod load;
mod power_cut;
mod partition;
mod roll;
mod sends;
mod questions;
mod idle;

use std::fs;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use lineman_tests::machines::Site;
use tokio::task::LocalSet;
use tokio::time::timeout;

/// Longer than any measurement takes that goes on.
const LIMIT: Duration = Duration::from_mins(20);

/// How much of what a measurement complained of is shown, in bytes.
const SHOWN: usize = 8 * 1024;

/// Measures a cluster of machines, on this computer and in namespaces of its own.
#[derive(Debug, Parser)]
#[command(name = "machines")]
struct Arguments {
    /// How many machines there are, two gateways and two businesses on each
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(3..=12))]
    machines: u8,
    /// Measure this alone
    #[arg(long)]
    only: Option<What>,
    /// This process is in a namespace of its own
    #[arg(long, hide = true, requires = "only")]
    inside: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// How long users are without service when a machine loses power, and what handlers hear
    PowerCut,
    /// What handlers hear when a machine is cut off from the others: each direction, 5, 20 and 100 s
    Partition,
    /// Messages lost between connected users while every machine is reloaded, then restarted
    Roll,
    /// Frames and CPU of a send to one user, and to a group of three
    Sends,
    /// How long questions to the whole cluster take after a power cut
    Questions,
    /// How fast all are linked with all, and what silence costs
    Idle,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    if let (Some(what), true) = (arguments.only, arguments.inside) {
        LocalSet::new().run_until(measure(what, arguments.machines)).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let all = What::value_variants().iter().copied();
    let mut code = ExitCode::SUCCESS;
    for what in all.filter(|what| arguments.only.is_none_or(|only| only == *what)) {
        if !in_a_namespace(what, arguments.machines)? {
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}

/// Measures one thing in a process and a namespace of its own; returns whether it went well.
#[expect(
    clippy::print_stderr,
    reason = "what a failed measurement complained of is for the developer"
)]
fn in_a_namespace(what: What, machines: u8) -> Result<bool> {
    let name = what.to_possible_value().context("a name")?;
    let complaints = tempfile::NamedTempFile::new()?;
    let measured = Command::new("unshare")
        .arg("--net")
        .arg(std::env::current_exe()?)
        .args(["--inside", "--only", name.get_name(), "--machines", &machines.to_string()])
        .stdin(Stdio::null())
        .stderr(complaints.reopen()?)
        .status()
        .context("cannot run unshare")?;
    if !measured.success() {
        let text = fs::read(complaints.path())?;
        let shown = &text[text.len().saturating_sub(SHOWN)..];
        eprintln!("{} failed ({measured}):\n{}", name.get_name(), String::from_utf8_lossy(shown));
    }
    Ok(measured.success())
}

async fn measure(what: What, machines: u8) -> Result<()> {
    let measured = async {
        match what {
            What::PowerCut => Box::pin(power_cut::measure(machines)).await,
            What::Partition => Box::pin(partition::measure(machines)).await,
            What::Roll => Box::pin(roll::measure(machines)).await,
            What::Sends => Box::pin(sends::measure(machines)).await,
            What::Questions => Box::pin(questions::measure(machines)).await,
            What::Idle => Box::pin(idle::measure(machines)).await,
        }
    };
    tokio::select! {
        measured = timeout(LIMIT, measured) => measured.context("it does not end")?,
        // What is dropped here ends the programs on the machines, which are daemons.
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            bail!("interrupted")
        }
    }
}

/// Returns machines with a cluster that is up.
async fn cluster(machines: u8) -> Result<Site> {
    // Without a preference there are users whose events another machine handles: what a cut interrupts.
    Site::here(machines)?.knob("CLUSTER_PREFER", "any")?.started().await
}

/// Prints a line of a table.
#[expect(clippy::print_stdout, reason = "the tables are what this program is for")]
fn say(line: &str) {
    println!("{line}");
}
