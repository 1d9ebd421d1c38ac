//! A cluster of several machines on one computer, whose cables can be cut and whose power can fail.
//!
//! Each machine is a network namespace with two cables: one to the other machines, one to the clients,
//! which live in the namespace of the test itself, beside the switches. So a test of machines runs in a process of
//! its own, in a namespace of its own; the computer's network is not touched. It takes root.

mod network;

use std::ffi::OsString;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use lineman_testkit::{Client, Program, Status};
use rustix::fs::inotify;
use tempfile::TempDir;
use tokio::net::unix::pipe;

pub use self::network::{Cut, Traffic};
use self::network::{Namespace, Net};
use crate::programs::built;

/// Where gateways listen for clients, on each machine.
pub const CLIENTS_PORT: u16 = 7272;

/// Where registers listen, on the first two machines.
pub const REGISTER_PORT: u16 = 1236;

/// Where the first gateway of a machine listens for businesses; the second one is next.
pub const LINKS_PORT: u16 = 4000;

/// Set where a test runs in a namespace of its own: to the test's name.
const INSIDE: &str = "TESTS_OF_MACHINES_INSIDE";

/// Several machines, in a namespace of this process's own. Dropping it removes everything.
#[derive(Debug)]
pub struct Site {
    machines: Vec<Machine>,
    _folder: TempDir,
    /// Says when a handler has written something down, on whichever machine: what is cut off shares this disk.
    watch: OwnedFd,
}

/// A machine with a part of a cluster on it.
#[derive(Debug)]
pub struct Machine {
    number: u8,
    of: u8,
    binary: PathBuf,
    variables: Vec<(OsString, OsString)>,
    events: PathBuf,
    /// `None` while it has no power.
    power: Option<Power>,
}

#[derive(Debug)]
struct Power {
    program: Program,
    /// Invariant: the machine's cables lead here.
    namespace: Namespace,
}

impl Site {
    /// Has the test run among `count` machines, at most 100. Returns `None` where there is nothing left to do: the
    /// test cannot run here, which is said, or it has run, in a namespace of its own and a process that is started for it.
    /// So this stands first in a test.
    ///
    /// On each machine `cluster_under_test` is ready to be started, with two gateways and two businesses; machines 1
    /// and 2 have a register each, which all know.
    ///
    /// # Errors
    /// What the test in the other process ended with; when a machine cannot be made.
    pub fn of(count: u8) -> Result<Option<Self>> {
        let thread = std::thread::current();
        let test = thread.name().filter(|name| *name != "main");
        let test = test.context("a test is told by its thread: call this in a #[test]")?;
        if std::env::var(INSIDE).is_ok_and(|inside| inside == test) {
            return Self::here(count).map(Some);
        }
        if !can_unshare() {
            return Ok(None);
        }
        let mut again = Command::new("unshare");
        again.arg("--net").arg(std::env::current_exe()?);
        again.args([test, "--exact", "--nocapture", "--include-ignored"]).env(INSIDE, test);
        let output = again.stdin(Stdio::null()).output()?;
        let [said, complaints] =
            [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
        ensure!(output.status.success(), "in its namespace:\n{said}\n{complaints}");
        ensure!(said.contains("1 passed"), "no test of this name: {said}");
        Ok(None)
    }

    /// Makes `count` machines around this process, which has a network namespace of its own.
    ///
    /// # Errors
    /// When its network is in use, or a machine cannot be made.
    pub fn here(count: u8) -> Result<Self> {
        // A namespace that was made for this leads nowhere yet.
        let routes = std::fs::read_to_string("/proc/thread-self/net/route")?;
        ensure!(routes.lines().count() <= 1, "this network is in use: {routes}");
        network::make_switches(count)?;
        let folder = tempfile::Builder::new().prefix("lineman-machines-").tempdir()?;
        let machines = (1..=count).map(|number| {
            let events = folder.path().join(format!("events-{number}"));
            let binary = built("cluster_under_test", "lineman-tests")?;
            let variables = part_of_cluster(number, count, &events);
            let mut machine = Machine { number, of: count, binary, variables, events, power: None };
            machine.power_on()?;
            Ok(machine)
        });
        let machines = machines.collect::<Result<_>>()?;
        let watch = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)?;
        inotify::add_watch(&watch, folder.path(), inotify::WatchFlags::MODIFY)?;
        Ok(Self { machines, _folder: folder, watch })
    }

    /// Sets an environment variable of the programs on all machines.
    ///
    /// # Errors
    /// As [`Machine::knob`].
    pub fn knob(mut self, name: &str, value: &str) -> Result<Self> {
        for machine in &mut self.machines {
            machine.knob(name, value)?;
        }
        Ok(self)
    }

    /// Starts the programs on all machines, and returns when all are linked with all.
    ///
    /// # Errors
    /// When one does not get up, or does not find the others.
    pub async fn started(self) -> Result<Self> {
        try_join_all(self.machines.iter().map(Machine::start)).await?;
        self.linked().await?;
        Ok(self)
    }

    /// Waits until each business is linked with each gateway, two of each on every machine that is on.
    ///
    /// # Errors
    /// When one is not.
    pub async fn linked(&self) -> Result<()> {
        let on = self.machines.iter().filter(|machine| machine.power.is_some());
        let others = 2 * on.clone().count() as u64;
        let is_linked = |status: &Status| {
            let links = status.slots.iter().filter_map(|slot| slot.gauges.get("links"));
            links.clone().count() == 4 && links.into_iter().all(|&links| links == others)
        };
        for machine in on {
            let what = format!("machine {} to be linked with all", machine.number);
            machine.program()?.until(&what, is_linked).await?;
        }
        Ok(())
    }

    /// Waits until a handler on some machine writes something down ([`Machine::events`]), or has since the last call.
    ///
    /// # Errors
    /// When it cannot be watched.
    pub async fn changed(&self) -> Result<()> {
        // It reads as a pipe does.
        let watch = pipe::Receiver::from_owned_fd_unchecked(self.watch.try_clone()?)?;
        loop {
            watch.readable().await?;
            match watch.try_read(&mut [0; 4096]) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => return Ok(read.map(drop)?),
            }
        }
    }

    /// Returns the machines, in the order of their numbers.
    pub fn machines(&self) -> impl Iterator<Item = &Machine> {
        self.machines.iter()
    }

    /// Returns machine `number`, counted from 1.
    ///
    /// # Errors
    /// When there is none of this number.
    pub fn machine(&mut self, number: u8) -> Result<&mut Machine> {
        let found = self.machines.iter_mut().find(|machine| machine.number == number);
        found.with_context(|| format!("there is no machine {number}"))
    }
}

impl Drop for Site {
    /// Ends the programs while they still have their network, and takes away what this namespace has.
    fn drop(&mut self) {
        for machine in self.machines.drain(..) {
            let (number, on) = (machine.number, machine.power.is_some());
            drop(machine);
            // What stays ends with this process's namespace.
            if on && network::remove(number).is_err() {}
        }
        if network::remove_switches().is_err() {}
    }
}

impl Machine {
    /// Sets an environment variable of its program, which does not run.
    ///
    /// # Errors
    /// When it runs.
    pub fn knob(&mut self, name: &str, value: &str) -> Result<()> {
        self.variables.push((name.into(), value.into()));
        self.made_again()
    }

    /// Has it run another program, with these variables and no others.
    ///
    /// # Errors
    /// When the one before runs, or there is none at this path.
    pub fn plays<N: Into<OsString>, V: Into<OsString>>(
        &mut self,
        binary: PathBuf,
        variables: impl IntoIterator<Item = (N, V)>,
    ) -> Result<()> {
        self.binary = binary;
        let variables = variables.into_iter();
        self.variables = variables.map(|(name, value)| (name.into(), value.into())).collect();
        self.made_again()
    }

    /// A program is as it was made: what is set now takes another one.
    fn made_again(&mut self) -> Result<()> {
        let Some(power) = &self.power else { return Ok(()) };
        ensure!(power.program.processes().is_empty(), "machine {} runs", self.number);
        let program = self.program_in(&power.namespace)?;
        if let Some(power) = &mut self.power {
            power.program = program;
        }
        Ok(())
    }

    /// Starts its program, as a daemon.
    ///
    /// # Errors
    /// When it does not get up, or the machine is off.
    pub async fn start(&self) -> Result<()> {
        self.program()?.start().await.with_context(|| format!("machine {}", self.number))?;
        Ok(())
    }

    /// Returns its program.
    ///
    /// # Errors
    /// When the machine is off.
    pub fn program(&self) -> Result<&Program> {
        let power = self.power.as_ref();
        Ok(&power.with_context(|| format!("machine {} is off", self.number))?.program)
    }

    /// Returns its address among the machines.
    pub fn lan_address(&self) -> Ipv4Addr {
        Net::Lan.address(self.number)
    }

    /// Returns where clients connect.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Net::Wan.address(self.number), CLIENTS_PORT))
    }

    /// Connects a WebSocket client.
    ///
    /// # Errors
    /// When it is refused, or nothing answers.
    pub async fn client(&self) -> Result<Client> {
        Client::connect(&format!("ws://{}/", self.address())).await
    }

    /// Breaks its cable to the other machines; no end is told. Clients reach it as before.
    ///
    /// # Errors
    /// When the machine is off.
    pub fn cut(&self, cut: Cut) -> Result<()> {
        network::cut(self.number, cut)
    }

    /// Mends what [`Machine::cut`] has broken.
    ///
    /// # Errors
    /// When the machine is off.
    pub fn heal(&self) -> Result<()> {
        network::heal(self.number)
    }

    /// Takes its power: everything on it ends, and nothing leaves it that says so.
    ///
    /// # Errors
    /// When it is off, or a process does not end.
    pub async fn power_off(&mut self) -> Result<()> {
        let power = self.power.take().with_context(|| format!("machine {} is off", self.number))?;
        network::unplug(self.number)?;
        for process in power.program.processes() {
            process.kill();
        }
        power.program.all_gone().await?;
        // What the kernel still has to say for the dead stays in the old namespace.
        network::remove(self.number)
    }

    /// Gives it power again: its kernel starts, its program does not yet. Nothing is on its disk.
    ///
    /// # Errors
    /// When it is on.
    pub fn power_on(&mut self) -> Result<()> {
        ensure!(self.power.is_none(), "machine {} is on", self.number);
        let namespace = Namespace::new()?;
        network::plug_in(&namespace, self.number, self.of)?;
        let program = self.program_in(&namespace)?;
        self.power = Some(Power { program, namespace });
        Ok(())
    }

    /// Returns what its handlers have written down, a line for each event: the time in microseconds, `connect` or
    /// `close`, and the client's id.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn events(&self) -> Result<String> {
        match std::fs::read_to_string(&self.events) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
            text => Ok(text?),
        }
    }

    /// Returns what has crossed its cable to the other machines since it was switched on.
    ///
    /// # Errors
    /// When it is off.
    pub fn traffic(&self) -> Result<Traffic> {
        network::traffic(self.number)
    }

    fn program_in(&self, namespace: &Namespace) -> Result<Program> {
        let within = OsString::from(format!("--net={}", namespace.path()));
        let program = Program::new(on_the_path("nsenter")?)?;
        let program = program.args([within.as_os_str(), self.binary.as_os_str()]);
        let variables = self.variables.iter().cloned();
        Ok(variables.fold(program, |program, (name, value)| program.env(name, value)))
    }
}

/// Returns what `cluster_under_test` is told on machine `number` of `of`.
fn part_of_cluster(number: u8, of: u8, events: &Path) -> Vec<(OsString, OsString)> {
    let register = |number: u8| format!("{}:{REGISTER_PORT}", Net::Lan.address(number));
    let registers: Vec<String> = (1..=of.min(2)).map(register).collect();
    let services = if number <= 2 { "register gateway business" } else { "gateway business" };
    let variables: [(&str, OsString); 10] = [
        ("CLUSTER_SERVICES", services.into()),
        ("CLUSTER_LISTEN", format!("0.0.0.0:{CLIENTS_PORT}").into()),
        ("CLUSTER_REGISTER", registers.join(" ").into()),
        ("CLUSTER_REGISTER_LISTEN", register(number).into()),
        ("CLUSTER_LAN_IP", Net::Lan.address(number).to_string().into()),
        ("CLUSTER_START_PORT", LINKS_PORT.to_string().into()),
        ("CLUSTER_GATEWAYS", "2".into()),
        ("CLUSTER_BUSINESSES", "2".into()),
        ("CLUSTER_SECRET", "the key of these machines".into()),
        ("CLUSTER_EVENTS", events.into()),
    ];
    variables.map(|(name, value)| (name.into(), value)).into()
}

fn on_the_path(program: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut files = std::env::split_paths(&path).map(|folder| folder.join(program));
    files.find(|file| file.is_file()).with_context(|| format!("{program} is not installed"))
}

#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn can_unshare() -> bool {
    let why = match Command::new("ip").arg("-Version").output() {
        Err(_) => Some("`ip` is not installed (Debian's iproute2)".to_owned()),
        Ok(_) => Namespace::new().err().map(|error| format!("{error:#}")),
    };
    if let Some(why) = &why {
        eprintln!("SKIPPED, NOTHING WAS CHECKED: no machines can be made here: {why}");
    }
    why.is_none()
}
