//! The proxy that an outgoing connection goes through, and the dialogue with it, which comes before
//! TLS and before the protocol.

use std::fmt;

use bytes::BytesMut;
use lineman_wire::http_connect::HttpConnect;
use lineman_wire::socks5::Socks5;

use super::place::Place;
use crate::connection::{CloseReason, Passed, Prelude};

/// A proxy: its address, what it speaks, and our credentials there.
#[derive(Clone)]
pub struct Proxy {
    kind: Kind,
    address: String,
    credentials: Option<(String, String)>,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Socks5,
    Http,
}

impl Proxy {
    /// Goes through a SOCKS 5 proxy (RFC 1928) at `host:port` or `unix:/path`; it resolves the name.
    pub fn socks5(address: impl Into<String>) -> Self {
        Self { kind: Kind::Socks5, address: address.into(), credentials: None }
    }

    /// Goes through an HTTP proxy at `host:port` or `unix:/path`, with `CONNECT` (RFC 9110, 9.3.6);
    /// it resolves the name.
    pub fn http(address: impl Into<String>) -> Self {
        Self { kind: Kind::Http, address: address.into(), credentials: None }
    }

    /// Sets user and password (RFC 1929; `Proxy-Authorization: Basic` to an HTTP proxy). They travel
    /// as they are: the way to the proxy is not encrypted. Default: none.
    #[must_use]
    pub fn credentials(self, user: impl Into<String>, password: impl Into<String>) -> Self {
        Self { credentials: Some((user.into(), password.into())), ..self }
    }

    /// Returns where the proxy is.
    pub(super) fn place(&self) -> Result<Place, String> {
        Place::parse(&self.address).map_err(|problem| format!("proxy {}: {problem}", self.address))
    }

    /// Returns a new dialogue that asks for `place`.
    pub(super) fn dialogue(&self, place: &Place) -> Result<Box<dyn Prelude>, String> {
        let Place::Host(host, port) = place else {
            return Err("a proxy cannot reach a unix socket".to_owned());
        };
        let credentials = self.credentials.as_ref();
        let credentials = credentials.map(|(user, password)| (user.as_str(), password.as_str()));
        let steps = match self.kind {
            Kind::Socks5 => Socks5::new(host, *port, credentials)
                .map(Steps::Socks5)
                .map_err(|error| error.to_string())?,
            Kind::Http => HttpConnect::new(host, *port, credentials)
                .map(Steps::Http)
                .map_err(|error| error.to_string())?,
        };
        Ok(Box::new(Dialogue { proxy: self.address.clone(), steps }))
    }
}

impl fmt::Debug for Proxy {
    /// Leaves out the password.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Proxy")
            .field("kind", &self.kind)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// A dialogue with the proxy of that address.
struct Dialogue {
    proxy: String,
    steps: Steps,
}

enum Steps {
    Socks5(Socks5),
    Http(HttpConnect),
}

impl Prelude for Dialogue {
    fn start(&mut self, output: &mut BytesMut) -> Result<(), CloseReason> {
        match &mut self.steps {
            Steps::Socks5(dialogue) => dialogue.start(output),
            Steps::Http(dialogue) => dialogue.start(output),
        }
        Ok(())
    }

    fn advance(
        &mut self,
        input: &mut BytesMut,
        output: &mut BytesMut,
    ) -> Result<Option<Passed>, CloseReason> {
        let advanced = match &mut self.steps {
            Steps::Socks5(dialogue) => {
                dialogue.advance(input, output).map_err(|error| error.to_string())
            }
            Steps::Http(dialogue) => {
                dialogue.advance(input, output).map_err(|error| error.to_string())
            }
        };
        let advanced = advanced.map_err(|problem| {
            CloseReason::ConnectFailed(format!("through {}: {problem}", self.proxy))
        })?;
        Ok(advanced.map(|()| Passed::default()))
    }
}
