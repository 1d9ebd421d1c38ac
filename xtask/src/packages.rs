//! What the tests need beside the Rust toolchain, from the distribution: a browser and its driver,
//! the programs and languages of the peers. What those need in turn is in `peers.rs`.

use std::process::Command;

use anyhow::{Result, bail};

use crate::peers;
use crate::step::{is_installed, run_quietly, say, succeeds};

/// Something the tests start, and the Debian package it is in.
struct Need {
    sign: Sign,
    package: &'static str,
}

/// How to see that it is there.
enum Sign {
    /// A program on the search path.
    Program(&'static str),
    /// A module that Python can import: Debian takes `venv` apart.
    PythonModule(&'static str),
}

const NEEDS: [Need; 10] = [
    Need { sign: Sign::Program("chromium"), package: "chromium" },
    Need { sign: Sign::Program("chromedriver"), package: "chromium-driver" },
    Need { sign: Sign::Program("curl"), package: "curl" },
    OPENSSL,
    Need { sign: Sign::Program("python3"), package: "python3" },
    Need { sign: Sign::PythonModule("ensurepip"), package: "python3-venv" },
    Need { sign: Sign::Program("node"), package: "nodejs" },
    Need { sign: Sign::Program("npm"), package: "npm" },
    Need { sign: Sign::Program("systemd-analyze"), package: "systemd" },
    IPROUTE,
];

/// Runs peers of a cluster; the tests that need it say so and are skipped where it is not there.
const PHP: Need = Need { sign: Sign::Program("php"), package: "php-cli" };

/// Makes machines of network namespaces, together with `unshare` and `nsenter`, which every Debian has.
const IPROUTE: Need = Need { sign: Sign::Program("bridge"), package: "iproute2" };

/// Makes certificates.
const OPENSSL: Need = Need { sign: Sign::Program("openssl"), package: "openssl" };

/// Counts instructions.
const VALGRIND: Need = Need { sign: Sign::Program("valgrind"), package: "valgrind" };

/// Installs what is missing, or says how to.
pub(crate) fn install() -> Result<()> {
    from_the_distribution("the tests", &NEEDS)?;
    if let Err(error) = from_the_distribution("a part of the tests", &[PHP]) {
        say(&format!("that part is skipped: {error:#}"));
    }
    peers::install()
}

/// As [`install`], for `bench instructions` alone.
pub(crate) fn install_valgrind() -> Result<()> {
    from_the_distribution("the bench", &[VALGRIND])
}

/// As [`install`], for `bench cluster` alone.
pub(crate) fn install_iproute() -> Result<()> {
    from_the_distribution("the bench", &[IPROUTE])
}

/// As [`install`], for `siege` alone.
pub(crate) fn install_openssl() -> Result<()> {
    from_the_distribution("the siege", &[OPENSSL])
}

fn from_the_distribution(purpose: &str, needs: &[Need]) -> Result<()> {
    let missing = needs.iter().filter(|need| !need.sign.is_there());
    let packages: Vec<&str> = missing.map(|need| need.package).collect();
    if packages.is_empty() {
        return Ok(());
    }
    let command = format!("apt-get install --no-install-recommends {}", packages.join(" "));
    if !is_root() || !is_installed("apt-get") {
        bail!(
            "{purpose} cannot do without {}: on Debian or Ubuntu type `sudo {command}`",
            packages.join(" and ")
        );
    }
    say(&format!("installing {}, which {purpose} cannot do without", packages.join(" and ")));
    run_quietly(apt_get().arg("update"))?;
    run_quietly(apt_get().args(["install", "--yes", "--no-install-recommends"]).args(&packages))
}

impl Sign {
    fn is_there(&self) -> bool {
        match self {
            Self::Program(program) => is_installed(program),
            Self::PythonModule(module) => {
                succeeds(Command::new("python3").args(["-c", &format!("import {module}")]))
            }
        }
    }
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
