//! A contest: starts the servers in turns, each alone on its core, and lets the load loose on them.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::load::{Shape, measure};
use crate::report::{Series, table};
use crate::{Effort, Kind};

/// Compares echo servers.
pub(crate) fn echo(effort: &Effort, clients: usize) -> anyhow::Result<()> {
    for in_flight in [1, 16] {
        let shape = Shape { clients, in_flight, rooms: None };
        let title = format!("echo: {clients} connections, 64-byte messages, {in_flight} in flight");
        contest(&title, "messages/s", Kind::Echo, shape, effort)?;
    }
    Ok(())
}

/// Compares chats: our gateway with a business behind it, against a loop that does both by itself.
pub(crate) fn chat(effort: &Effort) -> anyhow::Result<()> {
    for in_flight in [1, 16] {
        let shape = Shape { clients: 100, in_flight, rooms: Some(10) };
        let title = format!("chat: 100 connections in 10 rooms, {in_flight} in flight");
        contest(&title, "deliveries/s", Kind::Chat, shape, effort)?;
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the result is what this program is for")]
fn contest(
    title: &str,
    unit: &str,
    kind: Kind,
    shape: Shape,
    effort: &Effort,
) -> anyhow::Result<()> {
    let mut series =
        [Series { name: "floor", rates: vec![] }, Series { name: "lineman", rates: vec![] }];
    for _ in 0..effort.runs {
        for one in &mut series {
            let server = if one.name == "floor" { start_floor(kind)? } else { start_ours(kind)? };
            let time = Duration::from_secs_f64(effort.seconds);
            let rate = measure(server.address, shape, time).with_context(|| one.name)?;
            one.rates.push(rate);
        }
    }
    println!("{}", table(title, unit, &series));
    Ok(())
}

/// A server that ends with this value.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    process: Child,
    /// Removed after the process has ended.
    _folder: Option<tempfile::TempDir>,
}

impl Server {
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGINT lets a master take its workers along at once; the floor just ends.
        let pid = rustix::process::Pid::from_child(&self.process);
        let asked = rustix::process::kill_process(pid, rustix::process::Signal::INT);
        let ended = asked.map_err(std::io::Error::from).and_then(|()| self.process.wait());
        if let Err(error) = ended {
            eprint_problem(&error);
        }
    }
}

#[expect(clippy::print_stderr, reason = "a developer's tool")]
fn eprint_problem(error: &std::io::Error) {
    eprintln!("cannot end a server: {error}");
}

fn start_floor(kind: Kind) -> anyhow::Result<Server> {
    let address = free_address()?;
    let mut command = Command::new(std::env::current_exe()?);
    let kind = if kind == Kind::Echo { "echo" } else { "chat" };
    command.args(["floor", kind, &address.to_string()]);
    spawn(command, address, None)
}

fn start_ours(kind: Kind) -> anyhow::Result<Server> {
    let address = free_address()?;
    let folder = tempfile::tempdir()?;
    let name = if kind == Kind::Echo { "bench-echo" } else { "bench-chat" };
    let mut command = ours(&beside_us(name)?, address, folder.path())?;
    command.args(["start", "-q"]);
    spawn(command, address, Some(folder))
}

/// Returns a command of a program of ours; the verb is missing.
pub(crate) fn ours(program: &Path, address: SocketAddr, folder: &Path) -> anyhow::Result<Command> {
    let mut command = Command::new(program);
    command
        .env("BENCH_LISTEN", address.to_string())
        .env("BENCH_REGISTER", free_address()?.to_string())
        .env("LINEMAN_RUNTIME_DIR", folder)
        .env("LINEMAN_LOG", "warn");
    Ok(command)
}

/// Starts a server on the first core and keeps the load on the second.
pub(crate) fn spawn(
    mut command: Command,
    address: SocketAddr,
    folder: Option<tempfile::TempDir>,
) -> anyhow::Result<Server> {
    pin(0)?;
    let process = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
    pin(1)?;
    let process =
        process.with_context(|| format!("cannot start {}", command.get_program().display()))?;
    let server = Server { address, process, _folder: folder };
    // Under valgrind, on a busy machine, a start takes its time.
    let limit = Instant::now() + Duration::from_mins(1);
    while TcpStream::connect(address).is_err() {
        ensure!(Instant::now() < limit, "the server does not listen on {address}");
        std::thread::yield_now();
    }
    Ok(server)
}

thread_local! {
    /// How many cores there are, asked before anything is pinned.
    static CORES: usize = std::thread::available_parallelism().map_or(1, usize::from);
}

/// Pins this process, and what it starts from now on, to one core; on a single core there is no choice.
fn pin(core: usize) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    set.set(core % CORES.with(|&cores| cores));
    sched_setaffinity(None, &set).context("cannot choose a core")
}

pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

pub(crate) fn beside_us(name: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    ensure!(path.exists(), "{name} is not built (`cargo xtask bench` builds it)");
    Ok(path)
}
