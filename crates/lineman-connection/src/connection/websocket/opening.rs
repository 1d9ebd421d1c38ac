//! The handshake of a server: from the request, by way of the handler's decision, to the answer.

use bytes::Bytes;
use lineman_wire::websocket::{Accepted, HandshakeError, Request, ServerHandshake};

use super::options::Options;

/// What a handler adds to the answer that opens a WebSocket, see
/// [`Connection::accept_with`](crate::connection::Connection::accept_with).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accept {
    subprotocol: Option<String>,
    headers: Vec<(String, String)>,
}

impl Accept {
    /// Adds nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Chooses one of the subprotocols that the client offers, whatever the service's options say.
    #[must_use]
    pub fn subprotocol(mut self, name: impl Into<String>) -> Self {
        self.subprotocol = Some(name.into());
        self
    }

    /// Adds a header line, such as `Set-Cookie`.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

/// A request that is fine, and its answer as long as the handler does not change it.
#[derive(Debug)]
pub(super) struct Deciding {
    request: Request,
    pub(super) accepted: Accepted,
    pub(super) subprotocol: Option<String>,
}

impl Deciding {
    pub(super) fn new(request: Request, options: &Options) -> Result<Self, HandshakeError> {
        let accepted = Accepted { answer: Bytes::new(), extensions: <_>::default() };
        let mut deciding = Self { request, accepted, subprotocol: None };
        deciding.accept_with(Accept::new(), options)?;
        Ok(deciding)
    }

    /// Makes the answer.
    pub(super) fn accept_with(
        &mut self,
        accept: Accept,
        options: &Options,
    ) -> Result<(), HandshakeError> {
        let ours = || {
            let mut spoken = options.subprotocols.iter();
            spoken.find(|name| self.request.subprotocols().any(|other| other == *name)).cloned()
        };
        let subprotocol = accept.subprotocol.or_else(ours);
        let headers: Vec<(&str, &str)> = options
            .headers
            .iter()
            .chain(&accept.headers)
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let handshake = ServerHandshake {
            subprotocol: subprotocol.as_deref(),
            headers: &headers,
            deflate: options.deflate.as_ref(),
            leniency: options.leniency,
        };
        self.accepted = handshake.accept(&self.request)?;
        self.subprotocol = subprotocol;
        Ok(())
    }
}
