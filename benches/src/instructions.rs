//! How many instructions a server takes for an echo, counted by callgrind: a figure that a busy machine
//! does not disturb. Each server is counted twice, with few echoes and with many, so that what it does
//! once cancels out.
//!
//! Of ours the worker alone is counted: a reload has the master start it by a script that calls valgrind.
//! The master itself cannot run there, as valgrind before 3.21 knows no pidfds.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};

use crate::contest::{Server, beside_us, free_address, ours, spawn};
use crate::load::exchange;

/// Connections: as many as `bench echo` has.
const CLIENTS: usize = 200;

/// Echoes of each connection in the two counts: some seconds, and enough for what differs from run to run
/// to stay below a hundredth.
const ROUNDS: [usize; 2] = [20, 120];

type Start = fn(&Path) -> anyhow::Result<Server>;

/// Counts for the floor and for ours, and prints both.
#[expect(clippy::print_stdout, reason = "the result is what this program is for")]
pub(crate) fn echo() -> anyhow::Result<()> {
    println!("instructions for one echo: {CLIENTS} connections, 64-byte messages, one in flight");
    let floor = for_one_echo(start_floor).context("floor")?;
    println!("  {:<10} {floor:>8.0}", "floor");
    let ours = for_one_echo(start_ours).context("lineman")?;
    println!("  {:<10} {ours:>8.0}  {:.2} of the floor", "lineman", ours / floor);
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "counts of one measurement")]
fn for_one_echo(start: Start) -> anyhow::Result<f64> {
    let [few, many] = ROUNDS;
    let instructions = count(start, many)?.checked_sub(count(start, few)?);
    let instructions = instructions.context("more echoes took fewer instructions")?;
    Ok(instructions as f64 / (CLIENTS * (many - few)) as f64)
}

/// Returns the instructions of a server from its start to its end, with so many echoes in between.
fn count(start: Start, rounds: usize) -> anyhow::Result<u64> {
    let folder = tempfile::tempdir()?;
    let server = start(folder.path())?;
    exchange(server.address, CLIENTS, rounds)?;
    drop(server);
    let counted = fs::read_to_string(folder.path().join(COUNTED));
    let counted = counted.context("callgrind has counted nothing")?;
    let total = counted.lines().find_map(|line| line.strip_prefix("totals: "));
    Ok(total.context("no total of callgrind")?.trim().parse()?)
}

/// The file that callgrind writes when its program ends.
const COUNTED: &str = "callgrind.out";

fn callgrind(folder: &Path) -> [String; 3] {
    let file = folder.join(COUNTED);
    let file = format!("--callgrind-out-file={}", file.display());
    ["--quiet".to_owned(), "--tool=callgrind".to_owned(), file]
}

fn start_floor(folder: &Path) -> anyhow::Result<Server> {
    let address = free_address()?;
    let mut command = Command::new("valgrind");
    command.args(callgrind(folder)).arg(std::env::current_exe()?);
    command.args(["floor", "echo", &address.to_string()]);
    spawn(command, address, None)
}

fn start_ours(folder: &Path) -> anyhow::Result<Server> {
    let address = free_address()?;
    let (built, program) = (beside_us("bench-echo")?, folder.join("bench-echo"));
    fs::copy(&built, &program)?;
    let mut command = ours(&program, address, folder)?;
    command.args(["start", "-q"]);
    let server = spawn(command, address, None)?;

    let script = program.with_extension("new");
    let [quiet, tool, file] = callgrind(folder);
    let line = format!("exec valgrind {quiet} {tool} '{file}' '{}' \"$@\"", built.display());
    fs::write(&script, format!("#!/bin/sh\n{line}\n"))?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    fs::rename(&script, &program)?;
    let reloaded = ours(&built, address, folder)?.arg("reload").output()?;
    ensure!(reloaded.status.success(), "{}", String::from_utf8_lossy(&reloaded.stderr));
    Ok(server)
}
