//! The address of a client behind a proxy: the PROXY protocol before everything else, or a header of the
//! HTTP request; believed from trusted addresses alone.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use bytes::BytesMut;
use lineman_wire::forwarded;
use lineman_wire::proxy_protocol::{self, Error};

use super::transport::{Passed, Prelude};
use super::{Address, CloseReason};
use crate::Networks;

/// Which proxies are believed about a client's address, and how they tell it.
///
/// With it, [`Connection::peer_addr`](super::Connection::peer_addr), logs, `connections` and the bounds
/// of one address mean the real client.
///
/// ```
/// # use lineman_connection::connection::Proxies;
/// // HAProxy in front of a service, with `send-proxy-v2`.
/// let proxies = Proxies::trust("10.0.0.0/8, ::1".parse()?).proxy_protocol();
/// # let _ = proxies;
/// # Ok::<(), lineman_connection::BoxError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Proxies {
    trusted: Networks,
    proxy_protocol: bool,
    header: Option<Header>,
    others: Others,
}

/// What happens to addresses that are not trusted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Others {
    /// They are served under their own address; what they say of others is not believed. The default.
    #[default]
    Ignore,
    /// They are closed if they come without being a proxy where the PROXY protocol is spoken, and
    /// refused with 400 if their request has the header.
    Refuse,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Header {
    XForwardedFor,
    Forwarded,
}

impl Header {
    fn name(self) -> &'static str {
        match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
        }
    }
}

impl Proxies {
    /// Returns the setting that trusts these addresses; say which way of telling they use next.
    #[must_use]
    pub fn trust(trusted: Networks) -> Self {
        Self { trusted, proxy_protocol: false, header: None, others: Others::Ignore }
    }

    /// Expects a PROXY header, version 1 or 2, before the first byte of a trusted address, TLS included.
    ///
    /// One that does not come is an error and closes the connection. Where others are ignored, the
    /// first byte of their own decides, so a protocol in which the server speaks first greets them late.
    #[must_use]
    pub fn proxy_protocol(mut self) -> Self {
        self.proxy_protocol = true;
        self
    }

    /// Believes `X-Forwarded-For`: the last address in it that is not trusted is the client's.
    #[must_use]
    pub fn x_forwarded_for(mut self) -> Self {
        self.header = Some(Header::XForwardedFor);
        self
    }

    /// Believes `Forwarded` (RFC 7239): the last address in it that is not trusted is the client's.
    #[must_use]
    pub fn forwarded(mut self) -> Self {
        self.header = Some(Header::Forwarded);
        self
    }

    /// Sets what happens to addresses that are not trusted. Default [`Others::Ignore`].
    #[must_use]
    pub fn others(mut self, others: Others) -> Self {
        self.others = others;
        self
    }

    fn trusts(&self, peer: &Address) -> bool {
        match peer {
            Address::Internet(address) => self.trusted.contains(address.ip()),
            Address::Unix(_) => self.trusted.contains_unix(),
        }
    }

    /// Returns whether the peer will tell the client's address, so that its own does not count.
    pub(super) fn will_tell(&self, peer: &Address) -> bool {
        self.proxy_protocol && self.trusts(peer)
    }

    /// Returns what comes first on a connection from this address.
    pub(super) fn prelude(&self, peer: &Address) -> Option<Box<dyn Prelude>> {
        let believed = self.trusts(peer);
        self.proxy_protocol
            .then(|| Box::new(ProxyHeader { believed, others: self.others }) as Box<dyn Prelude>)
    }

    /// Returns the client's address as the headers of a request tell it, or the peer's own.
    ///
    /// # Errors
    /// When a peer that is not trusted has the header, and is to be refused for it.
    pub(crate) fn client_of<'v>(
        &self,
        peer: &Address,
        lines_of: impl FnOnce(&str) -> Vec<&'v str>,
    ) -> Result<Option<Address>, CloseReason> {
        let Some(header) = self.header else { return Ok(None) };
        let lines = lines_of(header.name());
        if lines.is_empty() {
            return Ok(None);
        }
        if !self.trusts(peer) {
            return match self.others {
                Others::Ignore => Ok(None),
                Others::Refuse => Err(CloseReason::Refused(400)),
            };
        }
        // A proxy on a Unix socket has no address of its own: this one stands for it.
        let unspecified = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        let from = peer.ip().unwrap_or(unspecified);
        let is_trusted = |ip| ip == from || self.trusted.contains(ip);
        let client = match header {
            Header::XForwardedFor => forwarded::x_forwarded_for(from, lines, is_trusted),
            Header::Forwarded => forwarded::forwarded(from, lines, is_trusted),
        };
        // The headers tell no port.
        let known = client != from;
        Ok(known.then(|| Address::from(SocketAddr::new(client, 0))))
    }
}

struct ProxyHeader {
    believed: bool,
    others: Others,
}

impl Prelude for ProxyHeader {
    fn start(&mut self, _output: &mut BytesMut) -> Result<(), CloseReason> {
        if !self.believed && self.others == Others::Refuse {
            return Err(CloseReason::ProxyHeader("the peer is no trusted proxy".to_owned()));
        }
        Ok(())
    }

    fn advance(
        &mut self,
        input: &mut BytesMut,
        _output: &mut BytesMut,
    ) -> Result<Option<Passed>, CloseReason> {
        match proxy_protocol::decode(input) {
            Ok(None) => Ok(None),
            Ok(Some(header)) if self.believed => {
                Ok(Some(Passed { peer: header.source().map(Address::Internet) }))
            }
            Ok(Some(_)) => Ok(Some(Passed::default())),
            Err(Error::Missing) if !self.believed => Ok(Some(Passed::default())),
            Err(error) => Err(CloseReason::ProxyHeader(error.to_string())),
        }
    }
}
