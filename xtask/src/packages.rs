//! What the tests need beside the Rust toolchain: a browser and its driver, from the distribution.

use std::process::Command;

use anyhow::{Result, bail};

use crate::step::{is_installed, run_quietly, say};

/// A program the tests start, and the Debian package it is in.
struct Need {
    program: &'static str,
    package: &'static str,
}

const NEEDS: [Need; 2] = [
    Need { program: "chromium", package: "chromium" },
    Need { program: "chromedriver", package: "chromium-driver" },
];

/// Installs what is missing, or says how to.
pub(crate) fn install() -> Result<()> {
    let missing: Vec<&Need> = NEEDS.iter().filter(|need| !is_installed(need.program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
    let command = format!("apt-get install --no-install-recommends {}", packages.join(" "));
    if !is_root() || !is_installed("apt-get") {
        let programs: Vec<&str> = missing.iter().map(|need| need.program).collect();
        bail!(
            "the browser tests need {}: on Debian or Ubuntu type `sudo {command}`",
            programs.join(" and ")
        );
    }
    say(&format!("installing {}, which the browser tests need", packages.join(" and ")));
    run_quietly(apt_get().arg("update"))?;
    run_quietly(apt_get().args(["install", "--yes", "--no-install-recommends"]).args(&packages))
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").arg("--quiet");
    command
}

/// Asks `id`: the standard library does not know, and a library for one number is too much.
fn is_root() -> bool {
    let answer = Command::new("id").arg("--user").output();
    answer.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}
