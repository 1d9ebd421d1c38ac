//! Clients over TLS that is not ours. Those of openssl talk to `tls_under_test`: they ask line by line,
//! and keep what openssl prints about their connection. A stream of rustls carries any protocol.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use lineman_testkit::within;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::version::TLS12;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

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

/// What the kernel holds for a client that does not read: little, so that a server notices soon.
const RECEIVE_BUFFER: u32 = 16 * 1024;

/// Connects to `host:port` with rustls, asking for `localhost` and one of these protocols.
///
/// # Errors
/// When the handshake fails.
pub async fn dial(
    address: &str,
    authority: &Authority,
    protocols: &[&str],
) -> Result<TlsStream<TcpStream>> {
    let builder = ClientConfig::builder().with_root_certificates(roots(authority)?);
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    dial_with(address, config).await
}

/// As [`dial`], with TLS 1.2 and nothing newer.
///
/// # Errors
/// When the handshake fails.
pub async fn dial_tls12(address: &str, authority: &Authority) -> Result<TlsStream<TcpStream>> {
    let builder = ClientConfig::builder_with_protocol_versions(&[&TLS12]);
    let builder = builder.with_root_certificates(roots(authority)?);
    dial_with(address, builder.with_no_client_auth()).await
}

fn roots(authority: &Authority) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority.certificate())?)?;
    Ok(roots)
}

async fn dial_with(address: &str, config: ClientConfig) -> Result<TlsStream<TcpStream>> {
    let connector = TlsConnector::from(Arc::new(config));
    let shake_hands = async {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        let stream = socket.connect(address.parse()?).await?;
        stream.set_nodelay(true)?;
        connector.connect(ServerName::try_from("localhost")?, stream).await.context("no handshake")
    };
    within("a connection over TLS", shake_hands).await?
}
