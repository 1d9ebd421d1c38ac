//! The handshake of a client: what it asks for, and the answer it waits for.

use std::rc::Rc;

use bytes::BytesMut;
use lineman_wire::websocket::{
    ClientHandshake, Deflate, Extensions, HandshakeError, HandshakeLimits, ResponseParser,
};

/// What a client asks a server for.
///
/// ```
/// # use lineman_connection::websocket::{ClientRequest, Deflate};
/// let request = ClientRequest::new("example.org:8080", "/chat?room=7")
///     .header("Authorization", "Bearer 7")
///     .subprotocols(["chat"])
///     .compression(Deflate::new());
/// # let _ = request;
/// ```
#[derive(Debug, Clone)]
pub struct ClientRequest {
    host: String,
    target: String,
    headers: Vec<(String, String)>,
    subprotocols: Vec<String>,
    pub(super) deflate: Option<Deflate>,
}

impl ClientRequest {
    /// Asks `host`, with the port if it is not the scheme's own, for `target`: path and query.
    pub fn new(host: impl Into<String>, target: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            target: target.into(),
            headers: Vec::new(),
            subprotocols: Vec::new(),
            deflate: None,
        }
    }

    /// Adds a header line, such as `Origin`, `Cookie` or `Authorization`.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the subprotocols to offer, the preferred one first. Default: none.
    #[must_use]
    pub fn subprotocols<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.subprotocols = names.into_iter().map(Into::into).collect();
        self
    }

    /// Offers permessage-deflate (RFC 7692). Default: no compression.
    #[must_use]
    pub fn compression(mut self, deflate: Deflate) -> Self {
        self.deflate = Some(deflate);
        self
    }

    /// Lets `use_it` work with the handshake that this asks for.
    pub(super) fn with_handshake<R>(
        &self,
        key: [u8; 16],
        use_it: impl FnOnce(&ClientHandshake<'_>) -> R,
    ) -> R {
        let headers: Vec<(&str, &str)> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let subprotocols: Vec<&str> = self.subprotocols.iter().map(String::as_str).collect();
        use_it(&ClientHandshake {
            host: &self.host,
            target: &self.target,
            headers: &headers,
            subprotocols: &subprotocols,
            deflate: self.deflate.as_ref(),
            key,
        })
    }
}

/// A request that is on its way, or was sent and is not answered.
#[derive(Debug)]
pub(super) struct Asking {
    request: Rc<ClientRequest>,
    key: [u8; 16],
    parser: ResponseParser,
}

impl Asking {
    pub(super) fn new(request: Rc<ClientRequest>) -> Self {
        Self { request, key: rand::random(), parser: ResponseParser::new() }
    }

    pub(super) fn write(&self, output: &mut BytesMut) -> Result<(), HandshakeError> {
        self.request.with_handshake(self.key, |handshake| {
            output.extend_from_slice(&handshake.request()?);
            Ok(())
        })
    }

    /// Returns what the server agreed to, once its answer is there.
    pub(super) fn answered(
        &mut self,
        input: &mut BytesMut,
        limits: &HandshakeLimits,
    ) -> Result<Option<(Option<String>, Extensions)>, HandshakeError> {
        let Some(response) = self.parser.parse(input, limits)? else { return Ok(None) };
        self.request.with_handshake(self.key, |handshake| {
            let opened = handshake.check(&response)?;
            Ok(Some((opened.subprotocol.map(str::to_owned), opened.extensions)))
        })
    }
}
