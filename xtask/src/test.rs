//! `cargo xtask test`: what CI runs, and what a developer runs before a push.

use anyhow::Result;

use crate::check::{formatting_and_lints, note, report};
use crate::packages;
use crate::step::cargo;

/// Arguments of `test`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Run the tests alone: neither formatting nor lints
    #[arg(long)]
    tests_only: bool,
    /// Passed on to `cargo test`
    #[arg(last = true, value_name = "ARGUMENTS")]
    pub(crate) cargo_test: Vec<String>,
}

/// Runs everything; the tests run whatever the checks before them say.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    packages::install()?;
    let mut problems = if arguments.tests_only { Vec::new() } else { formatting_and_lints() };
    // The black-box tests start these programs; cargo builds no binary for another package's test.
    run_step(&["build", "--workspace", "--bins"], &[])?;
    note(
        &mut problems,
        run_step(&["test", "--workspace", "--no-fail-fast"], &arguments.cargo_test),
    );
    report(&problems)
}

fn run_step(arguments: &[&str], more: &[String]) -> Result<()> {
    crate::step::run(cargo(arguments).args(more))
}
