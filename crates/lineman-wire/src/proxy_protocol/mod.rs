//! `HAProxy`'s PROXY protocol, versions 1 and 2: a header before the first byte says which client is
//! behind a proxy. (The specification is `proxy-protocol.txt` of `HAProxy`; sections are of that text.)
//!
//! It finds the header and reads it. Whether the peer may be believed is for the caller to know.

mod v1;
mod v2;

use std::net::{IpAddr, SocketAddr};

use bytes::{Buf, Bytes, BytesMut};

/// For which client the proxy accepted the connection, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Addresses {
    /// The proxy speaks for itself, as in a health check (version 2, `LOCAL`): the socket's own
    /// addresses hold.
    Local,
    /// The proxy does not know or does not say (`UNKNOWN`, `UNSPEC`): the socket's own addresses hold.
    Unknown,
    /// A client over TCP (or UDP, which version 2 can name and is read alike).
    Inet {
        /// The client.
        source: SocketAddr,
        /// The address of the proxy that the client connected to.
        destination: SocketAddr,
    },
    /// A client over a Unix socket: paths without their padding, empty if it has none.
    Unix {
        /// The client.
        source: Bytes,
        /// The path that the client connected to.
        destination: Bytes,
    },
}

/// What the client's TLS session with the proxy was (2.2.6, `PP2_TYPE_SSL`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ssl {
    /// Whether the client spoke TLS.
    pub tls: bool,
    /// Whether the client gave a certificate, now or earlier in its session.
    pub certificate: bool,
    /// Whether the proxy has verified that certificate.
    pub verified: bool,
    /// The common name of the certificate's subject.
    pub common_name: Option<String>,
}

/// A whole header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Whose connection it is.
    pub addresses: Addresses,
    /// The host name that the client asked for, its TLS server name (version 2, `PP2_TYPE_AUTHORITY`).
    pub authority: Option<String>,
    /// The client's TLS session, if the proxy tells (version 2).
    pub ssl: Option<Ssl>,
}

/// Why the bytes are no header, or a header cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The connection begins with something else: the peer speaks no PROXY protocol.
    #[error("no proxy protocol header")]
    Missing,
    /// A header of version 1 that breaks its rules (2.1).
    #[error("malformed proxy protocol line: {0}")]
    Line(&'static str),
    /// A header of version 2 that breaks its rules (2.2).
    #[error("malformed proxy protocol header: {0}")]
    Binary(&'static str),
    /// A header of version 2 that is larger than [`MAX_SIZE`].
    #[error("proxy protocol header of {0} bytes is larger than {MAX_SIZE} bytes")]
    TooLarge(usize),
    /// The checksum of a header of version 2 is another one (2.2.4).
    #[error("proxy protocol checksum is wrong")]
    Checksum,
    /// The header to be written has a name or path that is too long for its field.
    #[error("{0} is too long for a proxy protocol header")]
    TooLong(&'static str),
}

/// The largest header that is read, in bytes: a version 2 header with its fixed 16 bytes.
///
/// The format allows 64 KiB. Addresses and a server name take some 500 bytes, client certificates
/// are not in it, and every peer can make us keep this much before we know it.
pub const MAX_SIZE: usize = 16 + 4096;

/// Takes a header of either version off the front of `input`, and nothing behind it.
///
/// `None` means "wait for more bytes" and leaves `input` as it is. At most [`MAX_SIZE`] bytes are
/// waited for. A checksum is verified if there is one.
///
/// ```
/// use bytes::BytesMut;
/// use lineman_wire::proxy_protocol::{Addresses, decode};
///
/// let mut input = BytesMut::from("PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\nGET /");
/// let header = decode(&mut input)?.expect("it is whole");
/// let Addresses::Inet { source, .. } = header.addresses else { unreachable!() };
/// assert_eq!(source.to_string(), "192.0.2.1:56324");
/// assert_eq!(&input[..], b"GET /");
/// # Ok::<(), lineman_wire::proxy_protocol::Error>(())
/// ```
///
/// # Errors
/// Fails as soon as it is certain that no valid header begins here; `input` is left as it is then.
pub fn decode(input: &mut BytesMut) -> Result<Option<Header>, Error> {
    let is_start = |of: &[u8]| input.iter().zip(of).all(|(byte, expected)| byte == expected);
    let read = if is_start(v1::SIGNATURE) {
        v1::read(input)?
    } else if is_start(v2::SIGNATURE) {
        v2::read(input)?
    } else {
        return Err(Error::Missing);
    };
    Ok(read.map(|(header, size)| {
        input.advance(size);
        header
    }))
}

impl Header {
    /// Returns the header of a client over TCP.
    pub fn tcp(source: SocketAddr, destination: SocketAddr) -> Self {
        Self::new(Addresses::Inet { source, destination })
    }

    /// Returns a header that says nothing but the addresses.
    pub fn new(addresses: Addresses) -> Self {
        Self { addresses, authority: None, ssl: None }
    }

    /// Returns the client's address, if the header has one.
    pub fn source(&self) -> Option<SocketAddr> {
        match self.addresses {
            Addresses::Inet { source, .. } => Some(source),
            Addresses::Local | Addresses::Unknown | Addresses::Unix { .. } => None,
        }
    }

    /// Appends the line of version 1, which can name TCP addresses and nothing else.
    pub fn encode_v1(&self, output: &mut BytesMut) {
        output.extend_from_slice(v1::line(&self.addresses).as_bytes());
    }

    /// Appends the binary form of version 2, without a checksum.
    ///
    /// # Errors
    /// [`Error::TooLong`] if a path or name does not fit; nothing is appended then.
    pub fn encode_v2(&self, output: &mut BytesMut) -> Result<(), Error> {
        v2::write(self, output)
    }
}

/// Returns both addresses in one family: an IPv4 address beside an IPv6 one is written as `::ffff:…`.
fn of_one_family(source: SocketAddr, destination: SocketAddr) -> (SocketAddr, SocketAddr) {
    if source.is_ipv4() == destination.is_ipv4() {
        return (source, destination);
    }
    let widen = |address: SocketAddr| match address.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    };
    (widen(source), widen(destination))
}
