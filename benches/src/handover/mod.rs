//! `cargo xtask bench handover`: a process with many connections hands over in a reload. What clients notice of
//! it, what it takes for each connection and of memory, beside a floor that moves descriptors and nothing else.

mod callers;
mod memory;
pub(crate) mod floor;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rustix::process::{Resource, Rlimit, setrlimit};

use self::callers::Callers;
use crate::contest::{Server, beside_us, free_address, ours, spawn};

/// Descriptors of a process beside its connections.
const BESIDE: u64 = 1000;

/// How long the delays without a reload are measured, and those behind one.
const QUIET: Duration = Duration::from_secs(3);

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct HandoverArguments {
    /// Connections that say nothing.
    #[arg(long, default_value_t = 18_000)]
    idle: usize,
    /// Connections that send a message and wait until it is back, again and again.
    #[arg(long, default_value_t = 2000)]
    active: usize,
    /// Milliseconds from one message of a connection to the next.
    #[arg(long, default_value_t = 100)]
    every: u64,
    /// Over TLS.
    #[arg(long)]
    tls: bool,
    /// A tenth of the connections.
    #[arg(long)]
    quick: bool,
}

/// Hands over once, and prints what that cost.
pub(crate) fn run(arguments: &HandoverArguments) -> anyhow::Result<()> {
    let share = if arguments.quick { 10 } else { 1 };
    let (idle, active) = (arguments.idle / share, arguments.active / share);
    ensure!(active > 0, "without active clients no delay can be measured");
    let all = idle + active;
    let most = Some(all as u64 + BESIDE);
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most })
        .with_context(|| format!("{all} connections need more open files than are allowed"))?;
    let floor = floor::measure(all)?;

    let folder = tempfile::tempdir()?;
    let certificate = arguments.tls.then(|| make_certificate(folder.path())).transpose()?;
    let server = start(folder.path(), certificate.as_ref())?;
    let mut callers = Callers::new(active, Duration::from_millis(arguments.every))?;
    callers.connect(server.address, all, certificate.as_ref().map(|(path, _)| path.as_path()))?;

    let end = Instant::now() + QUIET;
    let quiet = callers.talk(|| Instant::now() >= end)?;
    let before = memory::of_children(server.pid())?;
    let mut reload = ours(&beside_us("bench-echo")?, server.address, folder.path())?;
    reload.arg("reload");
    let began = Instant::now();
    let reload = std::thread::spawn(move || (reload.output(), began.elapsed()));
    let watch = memory::Watch::begin(server.pid());
    let during = callers.talk(|| reload.is_finished())?;
    let peak = watch.end()?;
    let (output, whole) = reload.join().map_err(|_| anyhow::anyhow!("no reload"))?;
    let told = Told::of(&output?)?;
    let end = Instant::now() + QUIET;
    callers.talk(|| Instant::now() >= end)?;
    callers.ask_all().context("after the reload")?;

    let carrier = if arguments.tls { "wss" } else { "ws" };
    println(&format!(
        "handover over {carrier}: {idle} idle and {active} active connections of one process, a message each \
         {} ms\n{}\n  {all} answered after it; the reload took {whole:.0?}",
        arguments.every, told.text
    ));
    println("                          before   reload    ratio");
    for (name, share) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)] {
        let name = format!("longest delay, {name}");
        row(&name, "ms", callers::quantile(&quiet, share), callers::quantile(&during, share));
    }
    row("memory (PSS)", "MiB", before, peak);
    println("                           floor      ours    ratio");
    #[expect(clippy::cast_precision_loss, reason = "a count of connections")]
    let (each, paused) = (whole.as_secs_f64() * 1e6 / all as f64, told.pause * 1e6 / all as f64);
    row("reload, each", "us", floor, each);
    row("pause, each", "us", floor, paused);
    Ok(())
}

/// What the reload told of the handover.
struct Told {
    text: String,
    /// In seconds.
    pause: f64,
}

impl Told {
    fn of(output: &Output) -> anyhow::Result<Self> {
        let [text, problem] =
            [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
        ensure!(output.status.success(), "no reload: {text}{problem}");
        let pause = text.split_once("longest pause ").and_then(|(_, rest)| rest.split_once(','));
        let (pause, _) = pause.with_context(|| format!("nothing was handed over: {text}"))?;
        let pause = seconds(pause)?;
        let lines = text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>();
        Ok(Self { text: lines.join("\n"), pause })
    }
}

/// Reads `812us`, `1.2ms`, `40ms` or `1.5s`.
fn seconds(time: &str) -> anyhow::Result<f64> {
    for (unit, factor) in [("us", 1e-6), ("ms", 1e-3), ("s", 1.0)] {
        if let Some(Ok(number)) = time.strip_suffix(unit).map(str::parse::<f64>) {
            return Ok(number * factor);
        }
    }
    anyhow::bail!("{time} is no time")
}

fn row(name: &str, unit: &str, base: f64, ours: f64) {
    println(&format!("  {name:<22} {base:>8.1} {ours:>9.1} {:>8.2}  {unit}", ours / base));
}

#[expect(clippy::print_stdout, reason = "the result is what this program is for")]
fn println(line: &str) {
    println!("{line}");
}

fn start(folder: &Path, certificate: Option<&(PathBuf, PathBuf)>) -> anyhow::Result<Server> {
    let address = free_address()?;
    let mut command = ours(&beside_us("bench-echo")?, address, folder)?;
    command.args(["start", "-q"]).env("BENCH_HANDOVER", "1");
    if let Some((certificate, key)) = certificate {
        command.env("BENCH_CERTIFICATE", certificate).env("BENCH_KEY", key);
    }
    spawn(command, address, None)
}

/// Has openssl make a certificate of `localhost` and its key.
fn make_certificate(folder: &Path) -> anyhow::Result<(PathBuf, PathBuf)> {
    let (certificate, key) = (folder.join("bench.pem"), folder.join("bench.key"));
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-days", "2", "-subj", "/CN=localhost", "-nodes"]);
    command.args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    command.args(["-addext", "subjectAltName=DNS:localhost"]);
    command.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
    let made = command.arg("-out").arg(&certificate).arg("-keyout").arg(&key).output();
    let made = made.context("openssl is not there")?;
    ensure!(made.status.success(), "no certificate: {}", String::from_utf8_lossy(&made.stderr));
    Ok((certificate, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_a_reload_are_read() {
        let read = ["812us", "1.2ms", "40ms", "1.5s"].map(|text| seconds(text).unwrap() * 1e3);
        assert!(read.iter().zip([0.812, 1.2, 40.0, 1500.0]).all(|(a, b)| (a - b).abs() < 1e-6));
        assert!(seconds("soon").is_err());
    }
}
