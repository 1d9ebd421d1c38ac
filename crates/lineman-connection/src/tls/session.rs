//! One connection's TLS: a handshake, then an established state. Called by the table and by
//! [`Stream`](super::Stream); it reads and writes nothing itself, and knows no clock.

use std::rc::Rc;

use bytes::{Buf as _, BytesMut};
use rustls::Connection;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use zeroize::Zeroize as _;

use super::handshake::Handshake;
use super::info::TlsInfo;
use super::record::{self, EXPANSION_TLS12, PLAIN_LIMIT, kind};
use super::state::State;
use crate::error::TlsError;

/// One connection's TLS. Small between messages: see the test that holds its size.
#[derive(Debug)]
pub(crate) struct Session {
    phase: Phase,
    info: Option<Rc<TlsInfo>>,
}

/// An established session, written down. It is as secret as the connection.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SavedSession {
    #[serde(with = "serde_bytes")]
    state: Vec<u8>,
    #[serde(default, with = "serde_bytes")]
    alpn: Option<Box<[u8]>>,
    #[serde(default)]
    server_name: Option<Box<str>>,
    #[serde(default)]
    resumed: bool,
    #[serde(default)]
    peer_certificates: Vec<ByteBuf>,
}

impl Drop for SavedSession {
    fn drop(&mut self) {
        self.state.zeroize();
    }
}

enum Phase {
    /// Nothing has come yet, and nothing was sent: what comes may be no TLS at all.
    Fresh(Box<Handshake>),
    /// The handshake is under way.
    Handshake(Box<Handshake>),
    Established(Box<State>),
    Failed,
}

/// What [`Session::receive`] found beside plaintext.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Received {
    /// The handshake ended with these bytes; [`Session::info`] says with what.
    pub(crate) established_now: bool,
    /// The peer has said that nothing more comes. We may still send.
    pub(crate) closed: bool,
}

impl Session {
    pub(super) fn new(connection: impl Into<Connection>) -> Self {
        let handshake = Box::new(Handshake::new(connection.into()));
        Self { phase: Phase::Fresh(handshake), info: None }
    }

    /// Sets what a peer is told whose first byte is no TLS. Default: nothing.
    pub(crate) fn without_tls(mut self, told: fn(u8) -> &'static str) -> Self {
        if let Phase::Fresh(handshake) = &mut self.phase {
            handshake.without_tls = told;
        }
        self
    }

    /// Returns a session that can only fail.
    pub(super) fn failed() -> Self {
        Self { phase: Phase::Failed, info: None }
    }

    /// Begins: a client's first message goes to `output`; a server has none.
    pub(crate) fn start(&mut self, output: &mut BytesMut) -> Result<(), TlsError> {
        match &mut self.phase {
            Phase::Fresh(handshake) => handshake.write(output),
            Phase::Handshake(_) | Phase::Established(_) => Ok(()),
            Phase::Failed => Err(TlsError::NotOpen),
        }
    }

    /// Takes every whole record off the front of `input`; the rest, less than a record, stays there.
    /// Plaintext goes to `plain`, what has to be sent (handshake, alerts, key updates) to `output`.
    ///
    /// # Errors
    /// The connection is over: send what is in `output`, an alert perhaps, and close.
    pub(crate) fn receive(
        &mut self,
        input: &mut BytesMut,
        plain: &mut BytesMut,
        output: &mut BytesMut,
    ) -> Result<Received, TlsError> {
        let outcome = self.take_records(input, plain, output);
        if outcome.is_err() {
            self.phase = Phase::Failed;
        }
        outcome
    }

    /// Encrypts `plain` as records of at most 16 KiB, appended to `output`.
    ///
    /// # Errors
    /// Before the handshake is done and after the session was closed or has failed. With
    /// [`TlsError::Exhausted`] a farewell is in `output`.
    pub(crate) fn seal(&mut self, plain: &[u8], output: &mut BytesMut) -> Result<(), TlsError> {
        match &mut self.phase {
            Phase::Established(state) => state.seal(plain, output),
            Phase::Fresh(_) | Phase::Handshake(_) | Phase::Failed => Err(TlsError::NotOpen),
        }
    }

    /// Tells the peer that nothing more comes: once, and only if there is a session. What the peer
    /// sends can still be received.
    pub(crate) fn close_notify(&mut self, output: &mut BytesMut) {
        if let Phase::Established(state) = &mut self.phase {
            state.close_notify(output);
        }
    }

    /// Returns whether the handshake is done.
    pub(crate) fn is_established(&self) -> bool {
        matches!(self.phase, Phase::Established(_))
    }

    /// Returns whether something of a handshake has come, and not all of it.
    pub(crate) fn is_shaking_hands(&self) -> bool {
        matches!(self.phase, Phase::Handshake(_))
    }

    /// Returns whether we are the client of a handshake that is not done.
    pub(crate) fn awaits_server(&self) -> bool {
        match &self.phase {
            Phase::Fresh(handshake) | Phase::Handshake(handshake) => handshake.is_client(),
            Phase::Established(_) | Phase::Failed => false,
        }
    }

    /// Returns what was agreed on, once established.
    pub(crate) fn info(&self) -> Option<&Rc<TlsInfo>> {
        self.info.as_ref()
    }

    /// Takes that out: an entry whose handlers do not ask for it need not keep it.
    pub(crate) fn take_info(&mut self) -> Option<Rc<TlsInfo>> {
        self.info.take()
    }

    /// Returns whether nothing has come or gone yet: a new session is as good as this one.
    pub(crate) fn is_fresh(&self) -> bool {
        matches!(self.phase, Phase::Fresh(_))
    }

    /// Takes the session apart into what can be written down; `None` unless it is established.
    pub(crate) fn into_state(self) -> Option<State> {
        match self.phase {
            Phase::Established(state) => Some(*state),
            Phase::Fresh(_) | Phase::Handshake(_) | Phase::Failed => None,
        }
    }

    /// Goes on with a session that was taken apart.
    pub(crate) fn from_state(state: State) -> Self {
        Self { phase: Phase::Established(Box::new(state)), info: None }
    }

    /// Writes the session down; `None` unless it is established.
    pub(crate) fn save(&self) -> Option<SavedSession> {
        let Phase::Established(state) = &self.phase else { return None };
        let info = self.info.as_deref();
        Some(SavedSession {
            state: state.to_bytes(),
            alpn: info.and_then(|info| info.alpn.clone()),
            server_name: info.and_then(|info| info.server_name.clone()),
            resumed: info.is_some_and(TlsInfo::resumed),
            peer_certificates: info
                .map(|info| &info.peer_certificates)
                .into_iter()
                .flatten()
                .map(|certificate| ByteBuf::from(certificate.to_vec()))
                .collect(),
        })
    }

    /// Goes on with a session that was written down; `None` if it is not understood.
    pub(crate) fn restore(mut saved: SavedSession) -> Option<Self> {
        let state = State::from_bytes(&saved.state)?;
        let (alpn, server_name) = (saved.alpn.take(), saved.server_name.take());
        let certificates = std::mem::take(&mut saved.peer_certificates);
        let peer_certificates =
            certificates.into_iter().map(|bytes| bytes.into_vec().into_boxed_slice()).collect();
        let resumed = saved.resumed;
        let (version, cipher_suite) = (state.suite.version, state.suite.name);
        let info = TlsInfo { version, cipher_suite, alpn, server_name, resumed, peer_certificates };
        let phase = Phase::Established(Box::new(state));
        Some(Self { phase, info: Some(Rc::new(info)) })
    }

    fn take_records(
        &mut self,
        input: &mut BytesMut,
        plain: &mut BytesMut,
        output: &mut BytesMut,
    ) -> Result<Received, TlsError> {
        let mut established_now = false;
        loop {
            match &mut self.phase {
                Phase::Failed => return Err(TlsError::NotOpen),
                Phase::Established(state) => {
                    let received = state.receive(input, plain, output)?;
                    return Ok(Received { established_now, ..received });
                }
                Phase::Fresh(_) => {
                    let Some(&first) = input.first() else { return Ok(Received::default()) };
                    self.begin(first, output)?;
                }
                Phase::Handshake(handshake) => {
                    let whole = record::whole(input, PLAIN_LIMIT + EXPANSION_TLS12);
                    let whole = whole.inspect_err(|error| handshake.refuse(error, input, output));
                    let Some(total) = whole? else { return Ok(Received::default()) };
                    let done = handshake.step(input.get(..total).unwrap_or_default(), output)?;
                    input.advance(total);
                    if done {
                        self.establish()?;
                        established_now = true;
                    }
                }
            }
        }
    }

    /// Looks at the peer's first byte. What is no TLS gets no answer in TLS.
    fn begin(&mut self, first: u8, output: &mut BytesMut) -> Result<(), TlsError> {
        // A client may be answered by an alert at once.
        if first != kind::HANDSHAKE && first != kind::ALERT {
            if let Phase::Fresh(handshake) = &self.phase {
                output.extend_from_slice((handshake.without_tls)(first).as_bytes());
            }
            return Err(TlsError::NotTls { first });
        }
        match std::mem::replace(&mut self.phase, Phase::Failed) {
            Phase::Fresh(handshake) => {
                self.phase = Phase::Handshake(handshake);
                Ok(())
            }
            Phase::Handshake(_) | Phase::Established(_) | Phase::Failed => Err(TlsError::NotOpen),
        }
    }

    fn establish(&mut self) -> Result<(), TlsError> {
        let Phase::Handshake(handshake) = std::mem::replace(&mut self.phase, Phase::Failed) else {
            return Err(TlsError::NotOpen);
        };
        let (state, info) = handshake.finish()?;
        self.phase = Phase::Established(Box::new(state));
        self.info = Some(Rc::new(info));
        Ok(())
    }
}

impl std::fmt::Debug for SavedSession {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("SavedSession").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Phase {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fresh(_) => formatter.write_str("Fresh"),
            Self::Handshake(_) => formatter.write_str("Handshake"),
            Self::Established(state) => state.fmt(formatter),
            Self::Failed => formatter.write_str("Failed"),
        }
    }
}
