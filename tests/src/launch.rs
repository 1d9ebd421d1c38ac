//! Starts a program as the places do where servers live: by a service manager that hands over
//! sockets and hears how it goes, in a container's namespace, under a low limit of open files.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use command_fds::{CommandFdExt, FdMapping};
use lineman_testkit::{Output, Process, within};
use tokio::net::UnixDatagram;

use crate::programs::{Server, built};

/// A foreground `start` of a server's program, its output in the log.
#[derive(Debug)]
pub struct Launch {
    command: Command,
    console: PathBuf,
}

/// What was launched.
#[derive(Debug)]
pub struct Launched {
    child: tokio::process::Child,
    console: PathBuf,
}

impl Launch {
    /// Returns the start of `echo_under_test` as `server` describes it, through the words before the
    /// program: `sh -c 'ulimit -n 40; exec "$0" start'`, or nothing.
    ///
    /// # Errors
    /// When it was not built.
    pub fn echo(server: &Server, before: &[&str]) -> Result<Self> {
        let binary = built("echo_under_test", "lineman-tests")?;
        let console = server.program.folder().join("console.out");
        let output = File::options().create(true).append(true).open(&console)?;
        let mut words = before.iter().map(std::ffi::OsString::from).collect::<Vec<_>>();
        words.extend([binary.into_os_string(), "start".into()]);
        let mut command = Command::new(words.remove(0));
        command
            .args(words)
            .env("LINEMAN_RUNTIME_DIR", server.program.folder())
            .env("NO_COLOR", "1")
            .env("ECHO_LISTEN", server.port.address())
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        Ok(Self { command, console })
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn knob(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Adds an argument of `start`.
    #[must_use]
    pub fn argument(mut self, argument: &str) -> Self {
        self.command.arg(argument);
        self
    }

    /// Hands over sockets from descriptor 3 on; `LISTEN_PID` has to be set by what runs between.
    ///
    /// # Errors
    /// When they cannot be mapped.
    pub fn hand_over(mut self, sockets: Vec<OwnedFd>) -> Result<Self> {
        let count = sockets.len().to_string();
        let mappings = (3..).zip(sockets);
        let mappings = mappings.map(|(child_fd, parent_fd)| FdMapping { parent_fd, child_fd });
        self.command.fd_mappings(mappings.collect())?.env("LISTEN_FDS", count);
        Ok(self)
    }

    /// Starts it.
    ///
    /// # Errors
    /// When the first word is no program.
    pub fn spawn(self) -> Result<Launched> {
        let child = tokio::process::Command::from(self.command).spawn()?;
        Ok(Launched { child, console: self.console })
    }
}

impl Launched {
    /// Takes hold of what was started: the first of the words.
    ///
    /// # Errors
    /// When it has ended.
    pub fn process(&self) -> Result<Process> {
        Process::open(i32::try_from(self.child.id().context("it has ended")?)?)
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ended(mut self) -> Result<Output> {
        let status = within("the program to end", self.child.wait()).await??;
        Ok(Output {
            command: "start".to_owned(),
            code: status.code(),
            stdout: std::fs::read_to_string(&self.console)?,
            stderr: String::new(),
        })
    }
}

/// A service manager, as far as it listens.
#[derive(Debug)]
pub struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
    heard: Vec<String>,
}

impl Manager {
    /// Listens in the server's folder.
    ///
    /// # Errors
    /// When it cannot.
    pub fn listen(server: &Server) -> Result<Self> {
        let path = server.program.folder().join("notify.sock");
        Ok(Self { socket: UnixDatagram::bind(&path)?, path, heard: Vec::new() })
    }

    /// Listens at a name that is no file: `NOTIFY_SOCKET` is `@` and the name.
    ///
    /// # Errors
    /// When it cannot.
    pub fn listen_at_name(name: &str) -> Result<Self> {
        let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
        let socket = std::os::unix::net::UnixDatagram::bind_addr(&address)?;
        socket.set_nonblocking(true)?;
        let path = PathBuf::from(format!("@{name}"));
        Ok(Self { socket: UnixDatagram::from_std(socket)?, path, heard: Vec::new() })
    }

    /// Returns what `NOTIFY_SOCKET` is for the program.
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// Waits for a message that has `line`, and returns it; those before it are passed over.
    ///
    /// # Errors
    /// When none comes: the error shows what did.
    pub async fn hears(&mut self, line: &str) -> Result<String> {
        let found = within(line, async {
            loop {
                let mut message = vec![0; 4096];
                let length = self.socket.recv(&mut message).await?;
                let message = String::from_utf8_lossy(&message[..length]).into_owned();
                self.heard.push(message.clone());
                if message.lines().any(|found| found == line) {
                    return anyhow::Ok(message);
                }
            }
        });
        match found.await {
            Ok(found) => found,
            Err(error) => bail!("{error}; heard: {:#?}", self.heard),
        }
    }

    /// Returns everything heard so far, in order.
    pub fn heard(&self) -> &[String] {
        &self.heard
    }
}
