//! `cargo xtask check`: formatting, lints, documentation. The first two are part of `test`, too.

use anyhow::{Result, bail};

use crate::step::{cargo, has, run, say};

/// Runs every check; returns what failed.
fn all() -> Vec<String> {
    let mut problems = formatting_and_lints();
    let mut doc = cargo(&["doc", "--workspace", "--no-deps", "--quiet"]);
    note(&mut problems, run(doc.env("RUSTDOCFLAGS", "-D warnings")));
    problems
}

/// Checks formatting and lints, each where the toolchain can; returns what failed.
pub(crate) fn formatting_and_lints() -> Vec<String> {
    let mut problems = Vec::new();
    if has("fmt") {
        note(&mut problems, run(&mut cargo(&["fmt", "--all", "--check"])));
    } else {
        say("skipped: formatting (`rustup component add rustfmt` installs the check)");
    }
    if has("clippy") {
        let clippy = ["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"];
        note(&mut problems, run(&mut cargo(&clippy)));
    } else {
        say("skipped: lints (`rustup component add clippy` installs the check)");
    }
    problems
}

/// Runs the command.
pub(crate) fn command() -> Result<()> {
    report(&all())
}

/// Turns problems that were gone past into the command's failure.
pub(crate) fn report(problems: &[String]) -> Result<()> {
    if problems.is_empty() {
        return Ok(());
    }
    bail!("{}", problems.join("; "))
}

/// Keeps a failure for the end, so that a formatting slip does not hide a failing test.
pub(crate) fn note(problems: &mut Vec<String>, outcome: Result<()>) {
    if let Err(problem) = outcome {
        say(&format!("{problem}; going on"));
        problems.push(problem.to_string());
    }
}
