//! The client's side of an HTTP proxy's `CONNECT` (RFC 9110, 9.3.6): ask for a tunnel, read the answer.

use std::fmt;
use std::net::Ipv6Addr;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::BytesMut;

use crate::websocket::{HandshakeError, HandshakeLimits, ResponseParser};

/// A request for a tunnel, until it is answered.
///
/// ```
/// use bytes::BytesMut;
/// use lineman_wire::http_connect::HttpConnect;
///
/// let mut dialogue = HttpConnect::new("example.org", 443, None)?;
/// let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
/// dialogue.start(&mut output);
/// assert!(output.starts_with(b"CONNECT example.org:443 HTTP/1.1\r\n"));
/// input.extend_from_slice(b"HTTP/1.1 200 Connection established\r\n\r\nhello");
/// assert_eq!(dialogue.advance(&mut input, &mut output), Ok(Some(())));
/// assert_eq!(&input[..], b"hello");
/// # Ok::<(), lineman_wire::http_connect::Error>(())
/// ```
pub struct HttpConnect {
    request: String,
    parser: ResponseParser,
}

/// Why there is no tunnel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The proxy wants other credentials, or some (407).
    #[error("the proxy does not accept the credentials (status 407)")]
    Credentials,
    /// The proxy refused with this status.
    #[error("the proxy refused the tunnel with status {0}")]
    Refused(u16),
    /// The proxy's answer is no head of HTTP/1, or a larger one than 16 KiB.
    #[error("the proxy's answer: {0}")]
    Answer(#[from] HandshakeError),
    /// The host cannot stand in a request: it is empty, longer than 255 bytes, or has characters
    /// that a host has not.
    #[error("host {0:?} cannot stand in a request to a proxy")]
    Host(String),
    /// A user name has a colon, or user or password have control characters (RFC 7617, 2).
    #[error("the credentials cannot be sent to an http proxy")]
    CredentialsForm,
}

impl HttpConnect {
    /// Makes the request for `host`, a name or an IP address, and `port`; with user and password if
    /// the proxy wants them (`Proxy-Authorization: Basic`, RFC 7617).
    ///
    /// # Errors
    /// [`Error::Host`] or [`Error::CredentialsForm`] for what cannot be sent.
    pub fn new(host: &str, port: u16, credentials: Option<(&str, &str)>) -> Result<Self, Error> {
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let is_v6 = host.parse::<Ipv6Addr>().is_ok();
        let is_name =
            |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&byte);
        if !is_v6 && (host.is_empty() || host.len() > 255 || !host.bytes().all(is_name)) {
            return Err(Error::Host(host.to_owned()));
        }
        let place = if is_v6 { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let mut request = format!("CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n");
        if let Some((user, password)) = credentials {
            if user.contains(':') || user.chars().chain(password.chars()).any(char::is_control) {
                return Err(Error::CredentialsForm);
            }
            let encoded = STANDARD.encode(format!("{user}:{password}"));
            request.push_str("Proxy-Authorization: Basic ");
            request.push_str(&encoded);
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        Ok(Self { request, parser: ResponseParser::new() })
    }

    /// Appends the request.
    pub fn start(&mut self, output: &mut BytesMut) {
        output.extend_from_slice(self.request.as_bytes());
    }

    /// Reads the proxy's answer off the front of `input`: `Some` when the tunnel is up, `None` to wait
    /// for more bytes. What follows the answer is the tunnel's and stays. Nothing is appended to
    /// `output`; it is there so that all proxies are talked to alike.
    ///
    /// # Errors
    /// [`Error`]; the connection must be closed then.
    pub fn advance(
        &mut self,
        input: &mut BytesMut,
        output: &mut BytesMut,
    ) -> Result<Option<()>, Error> {
        let _ = output;
        let limits = HandshakeLimits::default();
        let Some(response) = self.parser.parse(input, &limits)? else { return Ok(None) };
        match response.status() {
            // A length in this answer is to be ignored: the tunnel begins behind the head.
            200..=299 => Ok(Some(())),
            407 => Err(Error::Credentials),
            status => Err(Error::Refused(status)),
        }
    }
}

impl fmt::Debug for HttpConnect {
    /// Leaves out the request, for the password that may be in it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("HttpConnect").finish_non_exhaustive()
    }
}
