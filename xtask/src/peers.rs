//! The peers the tests talk to, in the versions that `tests/peers` names: Python packages and npm's,
//! in folders of their own beside the build. pip and npm are used as the machine configures them.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::step::{repository, run_quietly, say, succeeds};

/// Installs what is not there yet, or in another version.
pub(crate) fn install() -> Result<()> {
    let target = target()?;
    python(&target.join("python-tools"))?;
    node(&target.join("node-tools"))
}

fn python(folder: &Path) -> Result<()> {
    let wanted = repository().join("tests/peers/requirements.txt");
    let works = succeeds(Command::new(folder.join("bin/python")).arg("--version"));
    if works && is_as(folder, &wanted)? {
        return Ok(());
    }
    say("installing the Python peers of the tests");
    run_quietly(Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder))?;
    let mut pip = Command::new(folder.join("bin/python"));
    pip.args(["-m", "pip", "install", "--disable-pip-version-check", "--requirement"]);
    run_quietly(pip.arg(&wanted))?;
    keep(folder, &wanted)
}

fn node(folder: &Path) -> Result<()> {
    let wanted = repository().join("tests/peers/package.json");
    if is_as(folder, &wanted)? {
        return Ok(());
    }
    say("installing the Node peers of the tests");
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    // A lock file would name where it came from; the versions are exact, and depend on no others.
    // Copied under npm's name first and as a sign that all went well last, so npm sees it change.
    fs::copy(&wanted, folder.join("package.json"))?;
    let quiet = ["--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"];
    run_quietly(Command::new("npm").arg("install").args(quiet).current_dir(folder))?;
    keep(folder, &wanted)
}

/// Returns whether a folder was made from a list like this one.
fn is_as(folder: &Path, wanted: &Path) -> Result<bool> {
    let list = fs::read(wanted).with_context(|| format!("cannot read {}", wanted.display()))?;
    Ok(fs::read(installed(folder)).is_ok_and(|installed| installed == list))
}

/// Remembers what a folder was made from, once it is whole.
fn keep(folder: &Path, wanted: &Path) -> Result<()> {
    let copy = installed(folder);
    fs::copy(wanted, &copy).with_context(|| format!("cannot write {}", copy.display()))?;
    Ok(())
}

fn installed(folder: &Path) -> PathBuf {
    folder.join("installed")
}

/// Returns cargo's target folder: this program is in `target/<profile>`, the tests look there too.
fn target() -> Result<PathBuf> {
    let program = env::current_exe().context("cannot say where this program is")?;
    Ok(program.ancestors().nth(2).context("a program in a target folder")?.to_owned())
}
