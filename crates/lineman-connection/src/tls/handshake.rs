//! The handshake: rustls's connection fed record by record, until its secrets can be taken out.
//! Sees no application data.

use std::cell::RefCell;

use bytes::{BufMut as _, BytesMut};
use rustls::{Connection, ConnectionTrafficSecrets, HandshakeKind, KeyLog};

use super::info::{TlsInfo, Version};
use super::record::{HEADER, kind};
use super::state::{Direction, Side, State};
use super::suite::Suite;
use crate::error::TlsError;

thread_local! {
    /// The secrets of the connection that is being stepped. [`Handshake::step`] empties it before and
    /// after: rustls calls its key log inside, on this thread.
    static SECRETS: RefCell<Secrets> = const { RefCell::new(Secrets { client: None, server: None }) };
}

/// The first traffic secrets of TLS 1.3.
#[derive(Default)]
struct Secrets {
    client: Option<Box<[u8]>>,
    server: Option<Box<[u8]>>,
}

/// Takes the traffic secrets from rustls; every configuration of this module has it.
#[derive(Debug)]
pub(super) struct Capture;

impl Capture {
    const CLIENT: &str = "CLIENT_TRAFFIC_SECRET_0";
    const SERVER: &str = "SERVER_TRAFFIC_SECRET_0";
}

impl KeyLog for Capture {
    fn will_log(&self, label: &str) -> bool {
        [Self::CLIENT, Self::SERVER].contains(&label)
    }

    fn log(&self, label: &str, _: &[u8], secret: &[u8]) {
        SECRETS.with_borrow_mut(|secrets| match label {
            Self::CLIENT => secrets.client = Some(secret.into()),
            Self::SERVER => secrets.server = Some(secret.into()),
            _ => {}
        });
    }
}

/// A handshake under way.
pub(super) struct Handshake {
    connection: Connection,
    secrets: Secrets,
    /// What to say to a peer whose first byte is no TLS.
    pub(super) without_tls: fn(u8) -> &'static str,
}

impl Handshake {
    /// Returns the handshake of a connection that has not begun.
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection, secrets: Secrets::default(), without_tls: |_| "" }
    }

    pub(super) fn is_client(&self) -> bool {
        matches!(self.connection, Connection::Client(_))
    }

    /// Puts what rustls has to send to `output`.
    pub(super) fn write(&mut self, output: &mut BytesMut) -> Result<(), TlsError> {
        while self.connection.wants_write() {
            let written = self.connection.write_tls(&mut (&mut *output).writer());
            written
                .map_err(|_| TlsError::Internal("rustls does not give what it wants to send"))?;
        }
        Ok(())
    }

    /// Goes on with one whole record. Returns whether the handshake is done.
    pub(super) fn step(
        &mut self,
        mut record: &[u8],
        output: &mut BytesMut,
    ) -> Result<bool, TlsError> {
        while !record.is_empty() {
            let taken = self.connection.read_tls(&mut record);
            if !taken.is_ok_and(|taken| taken > 0) {
                return Err(TlsError::BadRecord("its handshake messages are too long"));
            }
            SECRETS.take();
            let outcome = self.connection.process_new_packets();
            let Secrets { client, server } = SECRETS.take();
            self.secrets.client = client.or(self.secrets.client.take());
            self.secrets.server = server.or(self.secrets.server.take());
            // On an error rustls has an alert to send.
            self.write(output)?;
            outcome?;
        }
        Ok(!self.connection.is_handshaking())
    }

    /// Says what is wrong with the header of a record that rustls does not get. Once there are keys rustls
    /// has them, and says so by itself, in its own words.
    pub(super) fn refuse(&mut self, error: &TlsError, record: &[u8], output: &mut BytesMut) {
        let Some(alert) = error.alert() else { return };
        if self.connection.protocol_version().is_none() {
            const FATAL: u8 = 2;
            return output.extend_from_slice(&[kind::ALERT, 3, 3, 0, 2, FATAL, alert]);
        }
        let mut header = [0; HEADER];
        header.iter_mut().zip(record).for_each(|(place, byte)| *place = *byte);
        if let Ok(()) = self.step(&header, output).map(drop) {
            tracing::debug!(%error, "rustls does not refuse what we do");
        }
    }

    /// Returns the established state, and what was agreed on.
    pub(super) fn finish(self) -> Result<(State, TlsInfo), TlsError> {
        let info = info(&self.connection)?;
        let suite = self.connection.negotiated_cipher_suite().ok_or_else(incomplete)?.suite();
        let suite = Suite::find(suite.into()).ok_or_else(incomplete)?;
        let (side, ours, theirs) = match &self.connection {
            Connection::Client(_) => (Side::Client, self.secrets.client, self.secrets.server),
            Connection::Server(_) => (Side::Server, self.secrets.server, self.secrets.client),
        };
        let extracted = self.connection.dangerous_extract_secrets()?;
        let sent = direction(suite, ours.as_deref(), &extracted.tx)?;
        let received = direction(suite, theirs.as_deref(), &extracted.rx)?;
        Ok((State::new(suite, side, sent, received), info))
    }
}

fn incomplete() -> TlsError {
    TlsError::Internal("the handshake ended without a suite that is known")
}

fn direction(
    suite: &Suite,
    secret: Option<&[u8]>,
    (sequence, keys): &(u64, ConnectionTrafficSecrets),
) -> Result<Direction, TlsError> {
    use ConnectionTrafficSecrets::{Aes128Gcm, Aes256Gcm, Chacha20Poly1305};
    let (Aes128Gcm { key, iv } | Aes256Gcm { key, iv } | Chacha20Poly1305 { key, iv }) = keys
    else {
        return Err(incomplete());
    };
    let (key, iv) = (key.as_ref(), iv.as_ref());
    match (suite.version, secret) {
        (Version::Tls12, _) => {
            Direction::from_key(suite, key, iv, *sequence).ok_or_else(incomplete)
        }
        (Version::Tls13, Some(secret)) => {
            let direction = Direction::from_secret(suite, secret, *sequence)?;
            if direction.has_key(suite, key, iv) {
                return Ok(direction);
            }
            Err(TlsError::Internal("a traffic secret is not that of its keys"))
        }
        (Version::Tls13, None) => Err(TlsError::Internal("a traffic secret is missing")),
    }
}

fn info(connection: &Connection) -> Result<TlsInfo, TlsError> {
    let suite = connection.negotiated_cipher_suite().ok_or_else(incomplete)?.suite();
    let suite = Suite::find(suite.into()).ok_or_else(incomplete)?;
    let server_name = match connection {
        Connection::Server(server) => server.server_name().map(Into::into),
        Connection::Client(_) => None,
    };
    let peer_certificates = connection.peer_certificates().unwrap_or_default();
    Ok(TlsInfo {
        version: suite.version,
        cipher_suite: suite.name,
        alpn: connection.alpn_protocol().map(Into::into),
        server_name,
        resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
        peer_certificates: peer_certificates.iter().map(|der| Box::from(der.as_ref())).collect(),
    })
}
