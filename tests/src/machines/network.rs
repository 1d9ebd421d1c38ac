//! Network namespaces and the cables between them; the parent module makes machines of these. It
//! changes nothing in the namespace that the host's other programs are in.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd as _;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// The number of the clients' namespace, where machines are counted from 1.
pub(super) const CLIENTS: u8 = 254;

/// One of the two networks that each machine is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Net {
    /// Registers, gateways and businesses among each other.
    Lan,
    /// Clients and gateways.
    Wan,
}

impl Net {
    pub(super) const ALL: [Self; 2] = [Self::Lan, Self::Wan];

    /// Returns its switch, which is a bridge; a machine's port there has the machine's number behind it.
    pub(super) fn switch(self) -> &'static str {
        match self {
            Self::Lan => "lan",
            Self::Wan => "wan",
        }
    }

    fn interface(self) -> &'static str {
        match self {
            Self::Lan => "eth0",
            Self::Wan => "eth1",
        }
    }

    fn third(self) -> u8 {
        match self {
            Self::Lan => 77,
            Self::Wan => 78,
        }
    }

    pub(super) fn address(self, number: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, self.third(), 0, number)
    }

    fn hardware(self, number: u8) -> String {
        format!("02:00:0a:{:02x}:00:{number:02x}", self.third())
    }
}

/// What a broken cable does not carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Neither direction.
    Both,
    /// What the machine sends; it hears all.
    Sent,
    /// What is sent to the machine; all hear it.
    Received,
}

/// A network namespace that nothing is in yet, held by its descriptor: it has no name and leaves nothing
/// behind, however this process ends.
#[derive(Debug)]
pub(super) struct Namespace(File);

impl Namespace {
    pub(super) fn new() -> Result<Self> {
        let mut child = Command::new("unshare")
            .args(["--net", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run unshare")?;
        let (mut input, mut output) = (child.stdin.take(), child.stdout.take());
        // What comes back says that `cat` runs, and so that the namespace is another one.
        let echoed = input.as_mut().context("a pipe")?.write_all(b"!").and_then(|()| {
            let output = output.as_mut().ok_or(std::io::ErrorKind::BrokenPipe)?;
            output.read_exact(&mut [0])
        });
        let namespace = File::open(format!("/proc/{}/ns/net", child.id()));
        drop(input);
        child.wait()?;
        echoed.context("`unshare --net` is not permitted")?;
        Ok(Self(namespace?))
    }

    /// Returns a call of a program in it.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path())).arg(program);
        command
    }

    /// Returns a path to it for programs that this process starts.
    pub(super) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }
}

/// Has no IPv6 in a namespace, this process's or another one, where the kernel has it at all: it would speak on
/// each cable by itself, and nothing is to cross one but what a test sends.
fn silence_ipv6(within: Option<&Namespace>) -> Result<()> {
    let script = "for file in /proc/sys/net/ipv6/conf/*/disable_ipv6; do
        [ ! -e $file ] || echo 1 >$file; done";
    let mut command =
        within.map_or_else(|| Command::new("sh"), |namespace| namespace.command("sh"));
    let output = command.args(["-c", script]).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Makes the switches, in the namespace of this process.
pub(super) fn make_switches(machines: u8) -> Result<()> {
    silence_ipv6(None)?;
    let mut batch = "link set lo up\n".to_owned();
    for net in Net::ALL {
        let (switch, hardware, address) =
            (net.switch(), net.hardware(CLIENTS), net.address(CLIENTS));
        write!(
            batch,
            "link add {switch} address {hardware} type bridge mcast_snooping 0\n\
             addr add {address}/24 dev {switch}\n\
             link set {switch} up\n"
        )?;
        neighbours(&mut batch, net, switch, 1..=machines)?;
    }
    ip(None, &batch)
}

/// Takes the switches away.
pub(super) fn remove_switches() -> Result<()> {
    ip(None, "link del lan\nlink del wan\n")
}

/// Plugs a machine in, with one cable for each network.
pub(super) fn plug_in(namespace: &Namespace, number: u8, machines: u8) -> Result<()> {
    silence_ipv6(Some(namespace))?;
    let (mut outside, mut inside) = (String::new(), "link set lo up\n".to_owned());
    for net in Net::ALL {
        let (switch, interface) = (net.switch(), net.interface());
        let (hardware, address) = (net.hardware(number), net.address(number));
        write!(
            outside,
            "link add {switch}{number} type veth peer name {interface} address {hardware} netns {}\n\
             link set {switch}{number} master {switch} up\n",
            namespace.path()
        )?;
        write!(inside, "addr add {address}/24 dev {interface}\nlink set {interface} up\n")?;
        let others = (1..=machines).filter(|&other| other != number);
        neighbours(&mut inside, net, interface, others.chain([CLIENTS]))?;
    }
    ip(None, &outside)?;
    ip(Some(namespace), &inside)
}

/// Pulls both cables out of the switches: nothing that the machine's kernel says from now on leaves it.
pub(super) fn unplug(number: u8) -> Result<()> {
    ip(None, &format!("link set lan{number} down\nlink set wan{number} down\n"))
}

/// Takes both cables away.
pub(super) fn remove(number: u8) -> Result<()> {
    ip(None, &format!("link del lan{number}\nlink del wan{number}\n"))
}

/// Breaks a machine's cable to the other machines. The ends see no loss of carrier: as if it broke behind the next switch.
pub(super) fn cut(number: u8, cut: Cut) -> Result<()> {
    let port = format!("{}{number}", Net::Lan.switch());
    let hardware = Net::Lan.hardware(number);
    let flags = match cut {
        Cut::Both => "locked on flood off mcast_flood off bcast_flood off",
        Cut::Sent => "locked on flood on mcast_flood on bcast_flood on",
        Cut::Received => "locked off flood off mcast_flood off bcast_flood off",
    };
    // A port that is locked takes frames of known senders only, one that is not flooded gets frames for
    // known receivers only: this one's machine is to be known no more. Added first, as it may not be known now.
    bridge(&format!(
        "link set dev {port} {flags} learning off\n\
         fdb replace {hardware} dev {port} master static\n\
         fdb del {hardware} dev {port} master\n"
    ))
}

/// Mends a machine's cable to the other machines.
pub(super) fn heal(number: u8) -> Result<()> {
    let flags = "locked off flood on mcast_flood on bcast_flood on learning on";
    bridge(&format!("link set dev {}{number} {flags}\n", Net::Lan.switch()))
}

/// A machine that is gone answers no ARP, and a peer in the same network would soon be told that there is no such
/// host. Behind a router it is not, which is the harder case; so everybody knows all others for good.
fn neighbours(
    batch: &mut String,
    net: Net,
    interface: &str,
    numbers: impl Iterator<Item = u8>,
) -> Result<()> {
    for number in numbers {
        let (address, hardware) = (net.address(number), net.hardware(number));
        writeln!(batch, "neigh replace {address} lladdr {hardware} dev {interface} nud permanent")?;
    }
    Ok(())
}

fn ip(within: Option<&Namespace>, batch: &str) -> Result<()> {
    run("ip", within, batch)
}

fn bridge(batch: &str) -> Result<()> {
    run("bridge", None, batch)
}

/// Runs lines of a tool of iproute2, in this process's namespace or another one.
fn run(tool: &str, within: Option<&Namespace>, batch: &str) -> Result<()> {
    let mut command =
        within.map_or_else(|| Command::new(tool), |namespace| namespace.command(tool));
    let command = command.args(["-batch", "-"]);
    let command = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot run {tool}"))?;
    child.stdin.take().context("a pipe")?.write_all(batch.as_bytes())?;
    let output = child.wait_with_output()?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{tool}: {complaint}\nin\n{batch}");
    Ok(())
}

/// What has crossed a machine's cable to the others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Frames that the machine has sent; a large one of the kernel's own counts once.
    pub sent: u64,
    /// Their bytes, heads included.
    pub sent_bytes: u64,
    /// Frames that have got to the machine.
    pub received: u64,
    /// Their bytes, heads included.
    pub received_bytes: u64,
}

pub(super) fn traffic(number: u8) -> Result<Traffic> {
    let table = std::fs::read_to_string("/proc/thread-self/net/dev")?;
    let port = format!("{}{number}:", Net::Lan.switch());
    let line = table.lines().find_map(|line| line.trim_start().strip_prefix(&port));
    let line = line.with_context(|| format!("no {port} in\n{table}"))?;
    let numbers: Vec<u64> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    // Eight of what came in at the port, then eight of what went out: bytes, frames, and faults.
    let [sent_bytes, sent, _, _, _, _, _, _, received_bytes, received, ..] = numbers[..] else {
        bail!("other columns than expected: {line}");
    };
    Ok(Traffic { sent, sent_bytes, received, received_bytes })
}
