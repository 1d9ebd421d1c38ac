//! `cargo xtask siege`: builds the attackers and what they attack, then hands over to
//! `tests/src/bin/siege`.

use anyhow::Result;

use crate::packages;
use crate::step::{cargo, run as step};

/// Arguments of `siege`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Passed on: `--minutes 30`, `--only reloads`, `--list`, `--short`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    more: Vec<String>,
}

/// Builds and plays, optimised.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    packages::install_openssl()?;
    let package = ["--release", "--package", "lineman-tests"];
    step(cargo(&["build"]).args(package).arg("--bins"))?;
    let run = ["--quiet", "--bin", "siege", "--"];
    step(cargo(&["run"]).args(package).args(run).args(&arguments.more))
}
