//! A connection to a register or a gateway, plain or with TLS, whose every step has a limit.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, OnceLock};

use lineman_wire::link::Secret;
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ClientConfig, ClientConnection};

use crate::limits::CallClock;
use crate::link_tls::{LinkCertificates, LinkConfigs, LinkTls};

/// What we show to the cluster: its key, and what TLS begins with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Credentials {
    pub(crate) secret: Secret,
    pub(crate) link_tls: LinkTls,
    pub(crate) certificates: Option<LinkCertificates>,
    /// What the key makes, once it is needed; or why it cannot.
    config: OnceLock<Result<Arc<ClientConfig>, String>>,
}

impl Credentials {
    /// Returns the same with another key, or another way to TLS.
    pub(crate) fn with(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut changed = Self { config: OnceLock::new(), ..self.clone() };
        change(&mut changed);
        changed
    }

    fn session(&self, address: SocketAddr) -> io::Result<Option<Box<ClientConnection>>> {
        if !self.link_tls.connects() {
            return Ok(None);
        }
        // Certificates are renewed behind our back.
        let config = match &self.certificates {
            Some(_) => self.configure(),
            None => self.config.get_or_init(|| self.configure()).clone(),
        };
        let config = config.map_err(io::Error::other)?;
        let name = ServerName::from(address.ip());
        let session = ClientConnection::new(config, name).map_err(io::Error::other)?;
        Ok(Some(Box::new(session)))
    }

    fn configure(&self) -> Result<Arc<ClientConfig>, String> {
        let configs = LinkConfigs::new(&self.secret, self.certificates.as_ref());
        configs.map(|configs| Arc::new(configs.client)).map_err(|error| error.to_string())
    }
}

/// An open connection. Its handshake of TLS is made with the first write.
#[derive(Debug)]
pub(crate) struct LinkStream {
    stream: TcpStream,
    tls: Option<Box<ClientConnection>>,
}

impl LinkStream {
    pub(crate) fn connect(
        address: SocketAddr,
        credentials: &Credentials,
        call: &CallClock,
    ) -> io::Result<Self> {
        let tls = credentials.session(address)?;
        Ok(Self { stream: call.connect(&address)?, tls })
    }

    /// Writes all; the peer has to go on taking it.
    pub(crate) fn write(&mut self, bytes: &[u8], call: &CallClock) -> io::Result<()> {
        let mut timed = Timed { stream: &self.stream, call };
        match &mut self.tls {
            None => timed.write_all(bytes),
            Some(tls) => {
                let begins = tls.is_handshaking();
                let mut secured = rustls::Stream::new(&mut **tls, &mut timed);
                let written = secured.write_all(bytes).and_then(|()| secured.flush());
                written.map_err(|error| explained(error, begins))
            }
        }
    }

    /// Reads what comes next.
    ///
    /// # Errors
    /// The peer says nothing for the limit of an answer, or has ended the connection.
    pub(crate) fn read(&mut self, buffer: &mut [u8], call: &CallClock) -> io::Result<usize> {
        let mut timed = Timed { stream: &self.stream, call };
        let read = match &mut self.tls {
            None => timed.read(buffer),
            Some(tls) => rustls::Stream::new(&mut **tls, &mut timed)
                .read(buffer)
                .map_err(|error| explained(error, false)),
        };
        // TLS has an end of its own.
        if matches!(read, Ok(0)) { Err(io::ErrorKind::UnexpectedEof.into()) } else { read }
    }

    /// Returns the socket, to look at it.
    pub(crate) fn socket(&self) -> &TcpStream {
        &self.stream
    }

    /// Returns the socket, if what is written to it is sent as it is.
    pub(crate) fn plain(&self) -> Option<&TcpStream> {
        self.tls.is_none().then_some(&self.stream)
    }
}

/// Says what is known here of a failure that TLS does not explain.
fn explained(error: io::Error, begins: bool) -> io::Error {
    let of_tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let problem = match of_tls {
        Some(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)) => {
            "TLS: it has another secret key, or certificates (hint: is the secret key right?)"
                .to_owned()
        }
        Some(other) => format!("TLS: {other}"),
        None if begins && crate::error::is_end(&error) => {
            "it ends the connection in the handshake of TLS (hint: is link_tls on there?)"
                .to_owned()
        }
        None => return error,
    };
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

/// A socket whose every step has the limits of a call.
struct Timed<'a> {
    stream: &'a TcpStream,
    call: &'a CallClock,
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.call.read(self.stream, buffer)
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.call.write(self.stream, bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
