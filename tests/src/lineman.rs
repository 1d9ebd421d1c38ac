//! The program `lineman` under test, with a file of settings in its runtime folder.

use std::fs;
use std::path::PathBuf;

use anyhow::Result;
use lineman_testkit::{Client, Port, Program};

use crate::programs::{Server, built, part_of_cluster};

/// The program with its file, and reserved ports for a register and a gateway.
#[derive(Debug)]
pub struct Lineman {
    /// The program; each command has `--config` before it.
    pub program: Program,
    /// Where a gateway may listen.
    pub port: Port,
    /// Where a register may listen.
    pub register: Port,
}

impl Lineman {
    /// Returns the program with this file, not yet started: [`Lineman::write`] says what stands for what in it.
    ///
    /// # Errors
    /// When it was not built.
    pub fn new(settings: &str) -> Result<Self> {
        let (port, register) = (Port::reserve()?, Port::reserve()?);
        let program = Program::new(built("lineman", "lineman-server")?)?;
        let file = program.folder().join("lineman.toml");
        let program = program.args([PathBuf::from("--config"), file]);
        let lineman = Self { program, port, register };
        lineman.write(settings)?;
        Ok(lineman)
    }

    /// Returns the path of the file.
    pub fn file(&self) -> PathBuf {
        self.program.folder().join("lineman.toml")
    }

    /// Writes the file anew, with `$GATEWAY` and `$REGISTER` for the addresses of the reserved ports, and `$FOLDER`
    /// for the runtime folder.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, settings: &str) -> Result<()> {
        let folder = self.program.folder().display().to_string();
        let settings = settings
            .replace("$GATEWAY", &self.port.address())
            .replace("$REGISTER", &self.register.address())
            .replace("$FOLDER", &folder);
        Ok(fs::write(self.file(), settings)?)
    }

    /// Starts it as a daemon.
    ///
    /// # Errors
    /// When it does not get up.
    pub async fn started(self) -> Result<Self> {
        self.program.start().await?;
        Ok(self)
    }

    /// Starts a business of `cluster_under_test` that finds the register here, and shows this key.
    ///
    /// # Errors
    /// When it does not get up.
    pub async fn business(&self, secret: &str) -> Result<Server> {
        let business = part_of_cluster("business", &self.register)?;
        business.knob("CLUSTER_SECRET", secret).started().await
    }

    /// Connects a client to the gateway.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn client(&self) -> Result<Client> {
        Client::connect(&self.port.ws()).await
    }
}
