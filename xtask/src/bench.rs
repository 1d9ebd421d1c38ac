//! `cargo xtask bench`: builds the servers and the load, then hands over to `benches/`, or to
//! `tests/src/bin/machines` for what takes several machines.

use anyhow::Result;
use clap::ValueEnum;

use crate::packages;
use crate::step::{cargo, run as step};

/// Arguments of `bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// What to measure
    what: What,
    /// Passed on: `--runs 5`, `--seconds 2`; to `handover`: `--tls`, `--quick`; to `cluster`: `--machines 6`, `--only power-cut`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    more: Vec<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum What {
    /// Messages that come back to their sender
    Echo,
    /// Messages that go to everyone in a room
    Chat,
    /// Instructions of an echo, counted by callgrind
    Instructions,
    /// Many connections that move to another process in a reload
    Handover,
    /// A cluster of 3 to 12 machines: power cut, partition, roll, sends, questions, idle
    Cluster,
}

/// Builds and measures, optimised.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let what = match arguments.what {
        What::Echo => "echo",
        What::Chat => "chat",
        What::Instructions => {
            packages::install_valgrind()?;
            "instructions"
        }
        What::Handover => "handover",
        What::Cluster => return cluster(&arguments.more),
    };
    // What it costs to hand over is the kernel's for the most part: it need not be optimised as one.
    let profile = if what == "handover" { "release" } else { "dist" };
    let package = ["--profile", profile, "--package", "lineman-benches"];
    step(cargo(&["build", "--bins"]).args(package))?;
    let run = ["--quiet", "--bin", "lineman-benches", "--", what];
    step(cargo(&["run"]).args(package).args(run).args(&arguments.more))
}

/// The programs of the tests play the machines.
fn cluster(arguments: &[String]) -> Result<()> {
    packages::install_iproute()?;
    let package = ["--release", "--package", "lineman-tests"];
    step(cargo(&["build"]).args(package).arg("--bins"))?;
    let run = ["--quiet", "--bin", "machines", "--"];
    step(cargo(&["run"]).args(package).args(run).args(arguments))
}
