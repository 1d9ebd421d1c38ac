//! The programs under test, each on reserved ports and not yet started.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use lineman_testkit::{Client, Port, Program};

use crate::certificates::Pair;

/// A program and the port its clients use.
#[derive(Debug)]
pub struct Server {
    /// The program.
    pub program: Program,
    /// Where clients connect.
    pub port: Port,
    /// Where its register listens, if it has one.
    pub register: Option<Port>,
}

impl Server {
    /// Sets an environment variable, a knob of the program.
    #[must_use]
    pub fn knob(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.program = self.program.env(name, value);
        self
    }

    /// Starts it as a daemon.
    ///
    /// # Errors
    /// When it does not get up.
    pub async fn started(self) -> Result<Self> {
        self.program.start().await?;
        Ok(self)
    }

    /// Connects a WebSocket client.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn client(&self) -> Result<Client> {
        Client::connect(&self.port.ws()).await
    }
}

/// Returns `echo_under_test`: an echo server whose knobs are described in its file.
///
/// # Errors
/// When it was not built.
pub fn echo() -> Result<Server> {
    let port = Port::reserve()?;
    let program = Program::new(built("echo_under_test", "lineman-tests")?)?;
    let program = program.env("ECHO_LISTEN", port.address());
    Ok(Server { program, port, register: None })
}

/// Returns `http_under_test`: a server of HTTP, whose routes are described in its file.
///
/// # Errors
/// When it was not built.
pub fn http() -> Result<Server> {
    let port = Port::reserve()?;
    let program = Program::new(built("http_under_test", "lineman-tests")?)?;
    let program = program.env("HTTP_LISTEN", port.address());
    Ok(Server { program, port, register: None })
}

/// Returns `tls_under_test`: lines over TLS with this certificate; its file describes the knobs.
///
/// # Errors
/// When it was not built.
pub fn lines(pair: &Pair) -> Result<Server> {
    let port = Port::reserve()?;
    let program = Program::new(built("tls_under_test", "lineman-tests")?)?;
    let program = program
        .env("TLS_LISTEN", port.address())
        .env("TLS_CERTIFICATE", &pair.certificate)
        .env("TLS_KEY", &pair.key);
    Ok(Server { program, port, register: None })
}

/// Returns `cluster_under_test`: a register, a `gateway` for `wss` and a `business`.
///
/// # Errors
/// When it was not built.
pub fn cluster() -> Result<Server> {
    let register = Port::reserve()?;
    let whole = part_of_cluster("register gateway business", &register)?;
    Ok(Server { register: Some(register), ..whole })
}

/// Returns `cluster_under_test` with some of its services, whose register is at this port.
///
/// # Errors
/// When it was not built.
pub fn part_of_cluster(services: &str, register: &Port) -> Result<Server> {
    let port = Port::reserve()?;
    let program = Program::new(built("cluster_under_test", "lineman-tests")?)?
        .env("CLUSTER_SERVICES", services)
        .env("CLUSTER_LISTEN", port.address())
        .env("CLUSTER_REGISTER", register.address());
    Ok(Server { program, port, register: None })
}

/// Returns the example `web`: HTTP with all that a site needs, and a WebSocket at `/ws`.
///
/// # Errors
/// When it was not built.
pub fn web() -> Result<Server> {
    let port = Port::reserve()?;
    let program = Program::new(built("web", "web")?)?.env("WEB_LISTEN", port.address());
    Ok(Server { program, port, register: None })
}

/// Returns the example `chat`: a register, two gateways (`chat-gateway`), two businesses
/// (`chat-business`).
///
/// # Errors
/// When it was not built.
pub fn chat() -> Result<Server> {
    let (port, register) = (Port::reserve()?, Port::reserve()?);
    let program = Program::new(built("chat", "chat")?)?
        .env("CHAT_LISTEN", port.address())
        .env("CHAT_REGISTER", register.address());
    Ok(Server { program, port, register: Some(register) })
}

/// Returns the example `todpole`: a register, two gateways (`todpole-gateway`), two businesses.
///
/// # Errors
/// When it was not built.
pub fn todpole() -> Result<Server> {
    let (port, register) = (Port::reserve()?, Port::reserve()?);
    let program = Program::new(built("todpole", "todpole")?)?
        .env("TODPOLE_LISTEN", port.address())
        .env("TODPOLE_REGISTER", register.address());
    Ok(Server { program, port, register: Some(register) })
}

/// Returns `siege_under_test`: every kind of service in one program; its file says which.
///
/// # Errors
/// When it was not built.
pub fn siege(pair: &Pair) -> Result<Server> {
    let (port, register) = (Port::reserve()?, Port::reserve()?);
    let program = Program::new(built("siege_under_test", "lineman-tests")?)?
        .env("SIEGE_LISTEN", port.address())
        .env("SIEGE_REGISTER", register.address())
        .env("SIEGE_CERTIFICATE", &pair.certificate)
        .env("SIEGE_KEY", &pair.key);
    Ok(Server { program, port, register: Some(register) })
}

/// Copies a program, by a process that has ended then: a file that this one had open for writing is
/// busy for as long as any process has it that another test's thread has just forked.
///
/// # Errors
/// When it cannot be copied.
pub fn copy(program: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<()> {
    let copied = Command::new("cp").arg(program.as_ref()).arg(to.as_ref()).status()?;
    ensure!(copied.success(), "cp: {copied}");
    Ok(())
}

/// Returns the path of a binary of this workspace, in the folder that this test, or this program, was
/// built into.
///
/// # Errors
/// When it was not built.
pub fn built(name: &str, package: &str) -> Result<PathBuf> {
    let this = std::env::current_exe()?;
    // Cargo builds tests one folder deeper than programs.
    let is_folder = |folder: &&Path| !folder.ends_with("deps");
    let folder = this.ancestors().skip(1).find(is_folder).context("a target folder")?;
    let binary = folder.join(name);
    ensure!(
        binary.is_file(),
        "{} is not there: `cargo build -p {package}` builds it (`cargo xtask test` does so first)",
        binary.display()
    );
    Ok(binary)
}

/// Returns what a client of `cluster_under_test` is answered to an order, without the order.
///
/// # Errors
/// As of the connection.
pub async fn answer(client: &mut Client, order: &str) -> Result<String> {
    client.send_text(order).await?;
    loop {
        let text = client.next_text().await?;
        if let Some(answer) = text.strip_prefix(order) {
            return Ok(answer.trim_start().to_owned());
        }
    }
}

/// Has each client of `cluster_under_test` say something that each of them hears next.
///
/// # Errors
/// When one hears something else; as of the connection.
pub async fn all_hear_each(clients: &mut [Client]) -> Result<()> {
    for speaker in 0..clients.len() {
        let said = format!("from {speaker}");
        clients[speaker].send_text(&said).await?;
        for listener in &mut *clients {
            let heard = listener.next_text().await?;
            ensure!(heard == said, "{heard:?} was heard, and {said:?} was said");
        }
    }
    Ok(())
}
