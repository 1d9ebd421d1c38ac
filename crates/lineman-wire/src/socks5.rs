//! The client's side of a SOCKS 5 proxy (RFC 1928), `CONNECT` alone, with user and password
//! (RFC 1929) if the proxy wants them.

use std::fmt;
use std::net::IpAddr;

use bytes::{Buf, BufMut, BytesMut};

const VERSION: u8 = 5;
const NO_AUTHENTICATION: u8 = 0;
const USER_AND_PASSWORD: u8 = 2;
const NO_ACCEPTABLE_METHOD: u8 = 0xff;
/// The version of the dialogue about user and password (RFC 1929, 2).
const CREDENTIALS_VERSION: u8 = 1;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// A dialogue with a proxy, until the connection behind it is up.
///
/// ```
/// use bytes::BytesMut;
/// use lineman_wire::socks5::Socks5;
///
/// let mut dialogue = Socks5::new("example.org", 443, None)?;
/// let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
/// dialogue.start(&mut output);
/// input.extend_from_slice(b"\x05\x00");
/// assert_eq!(dialogue.advance(&mut input, &mut output), Ok(None));
/// input.extend_from_slice(b"\x05\x00\x00\x01\0\0\0\0\0\0hello");
/// assert_eq!(dialogue.advance(&mut input, &mut output), Ok(Some(())));
/// assert_eq!(&input[..], b"hello");
/// # Ok::<(), lineman_wire::socks5::Error>(())
/// ```
pub struct Socks5 {
    phase: Phase,
    /// The request of RFC 1929, if there are credentials.
    credentials: Option<Vec<u8>>,
    request: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The proxy chooses a method of authentication.
    Method,
    /// It looks at user and password.
    Credentials,
    /// It connects.
    Reply,
    Done,
}

/// Why the proxy does not connect us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The answer is not SOCKS 5.
    #[error("the proxy does not answer in socks 5")]
    NotSocks5,
    /// The proxy wants a method of authentication that was not offered: user and password, mostly.
    #[error("the proxy accepts no offered method of authentication")]
    Method,
    /// The proxy does not accept user and password.
    #[error("the proxy does not accept the credentials")]
    Credentials,
    /// The proxy could not or would not connect (RFC 1928, 6).
    #[error("the proxy refused: {}", reply(*.0))]
    Refused(u8),
    /// The host name is empty or longer than 255 bytes.
    #[error("the host's name has not 1 to 255 bytes")]
    Host,
    /// User or password is empty or longer than 255 bytes.
    #[error("user or password has not 1 to 255 bytes")]
    CredentialsForm,
}

fn reply(code: u8) -> &'static str {
    match code {
        1 => "general failure",
        2 => "not allowed by its rules",
        3 => "network unreachable",
        4 => "host unreachable",
        5 => "connection refused",
        6 => "time to live expired",
        7 => "command not supported",
        8 => "address type not supported",
        _ => "unknown reason",
    }
}

impl Socks5 {
    /// Makes the dialogue that asks for `host`, an IP address or a name that the proxy resolves, and
    /// `port`; user and password are offered if there are any.
    ///
    /// # Errors
    /// [`Error::Host`] or [`Error::CredentialsForm`] for what has no place in a request.
    pub fn new(host: &str, port: u16, credentials: Option<(&str, &str)>) -> Result<Self, Error> {
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let mut request = vec![VERSION, CONNECT, 0];
        match host.parse::<IpAddr>() {
            Ok(IpAddr::V4(ip)) => {
                request.put_u8(IPV4);
                request.put_slice(&ip.octets());
            }
            Ok(IpAddr::V6(ip)) => {
                request.put_u8(IPV6);
                request.put_slice(&ip.octets());
            }
            Err(_) => {
                request.put_u8(NAME);
                put_short(&mut request, host).ok_or(Error::Host)?;
            }
        }
        request.put_u16(port);
        let credentials = match credentials {
            Some((user, password)) => {
                let mut bytes = vec![CREDENTIALS_VERSION];
                put_short(&mut bytes, user).ok_or(Error::CredentialsForm)?;
                put_short(&mut bytes, password).ok_or(Error::CredentialsForm)?;
                Some(bytes)
            }
            None => None,
        };
        Ok(Self { phase: Phase::Method, credentials, request })
    }

    /// Appends the greeting.
    pub fn start(&mut self, output: &mut BytesMut) {
        if self.credentials.is_some() {
            output.put_slice(&[VERSION, 2, NO_AUTHENTICATION, USER_AND_PASSWORD]);
        } else {
            output.put_slice(&[VERSION, 1, NO_AUTHENTICATION]);
        }
    }

    /// Takes the proxy's answers off the front of `input` and appends what follows to `output`: `Some`
    /// when the connection is up, `None` to wait for more bytes. What comes after the last answer is
    /// the other end's and stays. At most 262 bytes are waited for.
    ///
    /// # Errors
    /// [`Error`]; the connection must be closed then.
    pub fn advance(
        &mut self,
        input: &mut BytesMut,
        output: &mut BytesMut,
    ) -> Result<Option<()>, Error> {
        loop {
            let advanced = match self.phase {
                Phase::Method => self.method(input, output)?,
                Phase::Credentials => self.checked(input, output)?,
                Phase::Reply => self.reply(input)?,
                Phase::Done => return Ok(Some(())),
            };
            if !advanced {
                return Ok(None);
            }
        }
    }

    fn method(&mut self, input: &mut BytesMut, output: &mut BytesMut) -> Result<bool, Error> {
        let Some((&[version, method], _)) = input.split_first_chunk() else { return Ok(false) };
        match (version, method, &self.credentials) {
            (VERSION, NO_AUTHENTICATION, _) => {
                output.put_slice(&self.request);
                self.phase = Phase::Reply;
            }
            (VERSION, USER_AND_PASSWORD, Some(credentials)) => {
                output.put_slice(credentials);
                self.phase = Phase::Credentials;
            }
            (VERSION, USER_AND_PASSWORD | NO_ACCEPTABLE_METHOD, _) => return Err(Error::Method),
            _ => return Err(Error::NotSocks5),
        }
        input.advance(2);
        Ok(true)
    }

    fn checked(&mut self, input: &mut BytesMut, output: &mut BytesMut) -> Result<bool, Error> {
        let Some((&[version, status], _)) = input.split_first_chunk() else { return Ok(false) };
        // Some proxies answer with the version of SOCKS; the status is what counts.
        if version != CREDENTIALS_VERSION && version != VERSION {
            return Err(Error::NotSocks5);
        }
        if status != 0 {
            return Err(Error::Credentials);
        }
        input.advance(2);
        output.put_slice(&self.request);
        self.phase = Phase::Reply;
        Ok(true)
    }

    fn reply(&mut self, input: &mut BytesMut) -> Result<bool, Error> {
        // A proxy that refuses may leave out the rest.
        let Some((&[version, code], _)) = input.split_first_chunk() else { return Ok(false) };
        if version != VERSION {
            return Err(Error::NotSocks5);
        }
        if code != 0 {
            return Err(Error::Refused(code));
        }
        let Some((&[_, _, _, kind, first], _)) = input.split_first_chunk() else {
            return Ok(false);
        };
        // The address that the proxy connects from, which is not used.
        let size = match kind {
            IPV4 => 4 + 4 + 2,
            IPV6 => 4 + 16 + 2,
            NAME => 4 + 1 + usize::from(first) + 2,
            _ => return Err(Error::NotSocks5),
        };
        if input.len() < size {
            return Ok(false);
        }
        input.advance(size);
        self.phase = Phase::Done;
        Ok(true)
    }
}

/// Appends a text behind its length, which has one byte; `None` if it is empty or too long.
fn put_short(bytes: &mut Vec<u8>, text: &str) -> Option<()> {
    let length = u8::try_from(text.len()).ok().filter(|length| *length > 0)?;
    bytes.put_u8(length);
    bytes.put_slice(text.as_bytes());
    Some(())
}

impl fmt::Debug for Socks5 {
    /// Leaves out the password.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Socks5").field("phase", &self.phase).finish_non_exhaustive()
    }
}
