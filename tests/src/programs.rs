//! The programs under test, each on reserved ports and not yet started.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use lineman_testkit::{Client, Port, Program};

/// A program and the port its clients use.
#[derive(Debug)]
pub struct Server {
    /// The program.
    pub program: Program,
    /// Where clients connect.
    pub port: Port,
}

impl Server {
    /// Sets an environment variable, a knob of the program.
    #[must_use]
    pub fn knob(mut self, name: &str, value: impl ToString) -> Self {
        self.program = self.program.env(name, value.to_string());
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
    Ok(Server { program, port }.with_port("ECHO_LISTEN"))
}

impl Server {
    fn with_port(self, name: &str) -> Self {
        let address = self.port.address();
        self.knob(name, address)
    }
}

/// Returns the path of a binary of this workspace, in the folder this test was built into.
fn built(name: &str, package: &str) -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let folder = test.ancestors().nth(2).context("a test in a target folder")?;
    let binary = folder.join(name);
    ensure!(
        binary.is_file(),
        "{} is not there: `cargo build -p {package}` builds it (`cargo xtask test` does so first)",
        binary.display()
    );
    Ok(binary)
}
