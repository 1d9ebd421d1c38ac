//! `cargo xtask conformance`: Autobahn's cases; the tests in `tests/tests/clients/conformance.rs` run them.

use anyhow::Result;

use crate::packages;
use crate::step::{cargo, run as step};

/// Arguments of `conformance`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// All 517 cases, which takes many minutes, and not only those that `test` runs
    #[arg(long)]
    all: bool,
}

/// Installs, builds, runs.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    packages::install()?;
    let package = ["--release", "--package", "lineman-tests"];
    step(cargo(&["build"]).args(package).arg("--bins"))?;
    let mut test = cargo(&["test"]);
    test.args(package).args(["--test", "clients", "--", "conformance::"]);
    if arguments.all {
        test.args(["--ignored", "--test-threads", "1"]);
    }
    step(&mut test)
}
