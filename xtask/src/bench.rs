//! `cargo xtask bench`: builds the servers and the load, then hands over to `benches/`.

use anyhow::Result;
use clap::ValueEnum;

use crate::packages;
use crate::step::{cargo, run as step};

/// Arguments of `bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// What to measure
    what: What,
    /// Passed on: `--runs 5`, `--seconds 2`
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
    };
    let package = ["--profile", "dist", "--package", "lineman-benches"];
    step(cargo(&["build", "--bins"]).args(package))?;
    let run = ["--quiet", "--bin", "lineman-benches", "--", what];
    step(cargo(&["run"]).args(package).args(run).args(&arguments.more))
}
