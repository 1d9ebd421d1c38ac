//! Clients of `tls_under_test` that are openssl's: they ask line by line, and keep what openssl prints
//! about their connection.

use anyhow::{Context, Result, ensure};

use crate::certificates::Authority;
use crate::peer::Peer;

/// A connection of `openssl s_client` to a server of lines.
#[derive(Debug)]
pub struct Secure(Peer);

impl Secure {
    /// Connects to `host:port`, asking for `localhost` and trusting this authority.
    ///
    /// # Errors
    /// When openssl is not there.
    pub fn connect(address: &str, authority: &Authority, more: &[&str]) -> Result<Self> {
        let root = authority.certificate();
        let root = root.to_str().context("a path in UTF-8")?;
        // Briefly: otherwise it prints each ticket that comes, in the middle of an answer.
        let common = ["s_client", "-connect", address, "-servername", "localhost", "-brief"];
        let trust = ["-CAfile", root, "-verify_return_error"];
        Ok(Self(Peer::program("openssl", &[&common[..], &trust, more].concat())?))
    }

    /// Asks and returns the answer, which `tls_under_test` puts behind the question.
    ///
    /// # Errors
    /// When none comes.
    pub async fn ask(&mut self, question: &str) -> Result<String> {
        self.0.tell(&format!("{question}\n")).await?;
        let line = self.0.line().await?;
        let answer = line.strip_prefix(question).and_then(|line| line.strip_prefix(": "));
        answer.map(str::to_owned).with_context(|| format!("{question:?} was answered {line:?}"))
    }

    /// Returns the subject of the certificate it was shown, known once something was answered.
    ///
    /// # Errors
    /// When openssl has not said it.
    pub fn subject(&self) -> Result<String> {
        let said = self.0.all_it_said()?;
        let subject = said.lines().find_map(|line| line.strip_prefix("Peer certificate: "));
        subject.map(str::to_owned).with_context(|| format!("no certificate in\n{said}"))
    }

    /// Asks for a renegotiation: what a line does that is `R` alone.
    ///
    /// # Errors
    /// When openssl has ended.
    pub async fn renegotiate(&mut self) -> Result<()> {
        self.0.tell("R\n").await
    }

    /// Waits until openssl has ended by itself, having failed, and returns all it printed.
    ///
    /// # Errors
    /// When it goes on, or ends well.
    pub async fn failed(self) -> Result<String> {
        let (code, output) = self.0.output().await?;
        ensure!(code != Some(0), "it ended well:\n{output}");
        Ok(output)
    }

    /// Closes the connection, and waits until openssl has kept what it was told to keep.
    ///
    /// # Errors
    /// When it does not end well.
    pub async fn close(self) -> Result<()> {
        self.0.ended(lineman_testkit::LIMIT).await.map(drop)
    }
}
