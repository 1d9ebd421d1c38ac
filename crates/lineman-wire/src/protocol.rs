//! The trait that turns a byte stream into messages; users implement it for protocols of their own.

use bytes::BytesMut;

/// Any error, boxed. What user code may return through `?`.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// The most bytes of one message where no limit is set: 10 MiB, as Workerman's `maxPackageSize`.
///
/// Large enough for what programs send as one message, small enough that a handful of hostile
/// peers does not fill a small machine.
pub const DEFAULT_MAX_MESSAGE_SIZE: usize = 10 * 1024 * 1024;

/// The result of code that users write: anything that is an error may be returned with `?`.
pub type Result<T = (), E = BoxError> = std::result::Result<T, E>;

/// Bytes to messages for one connection.
///
/// A value of the type is made for each connection and lives as long as it does, so it may keep
/// state between messages; keep it small, an idle connection owns nothing else. A panic in one of its
/// calls ends the process: what a peer sent must meet no index and no unchecked arithmetic.
///
/// ```
/// use bytes::BytesMut;
/// use lineman_wire::{Protocol, Result};
///
/// struct Lines;
///
/// impl Protocol for Lines {
///     type Inbound = String;
///     type Outbound = String;
///
///     fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<String>> {
///         let Some(end) = buffer.iter().position(|&byte| byte == b'\n') else { return Ok(None) };
///         let line = buffer.split_to(end + 1);
///         Ok(Some(String::from_utf8(line[..end].to_vec())?))
///     }
///
///     fn encode(&mut self, line: String, buffer: &mut BytesMut) -> Result {
///         buffer.extend_from_slice(line.as_bytes());
///         buffer.extend_from_slice(b"\n");
///         Ok(())
///     }
/// }
/// ```
pub trait Protocol: 'static {
    /// What a peer's bytes decode to.
    type Inbound: 'static;
    /// What can be sent.
    type Outbound: 'static;

    /// Takes one whole message off the front of `buffer`.
    ///
    /// `Ok(None)` means "wait for more bytes": leave what belongs to the unfinished message in the
    /// buffer. It is called again with more until it answers `None`.
    ///
    /// # Errors
    /// An error closes the connection; its text goes to the log.
    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Self::Inbound>>;

    /// Appends the wire form of `message` to `buffer`.
    ///
    /// # Errors
    /// An error is returned to the sender, and nothing is sent; what was appended is cut off again.
    fn encode(&mut self, message: Self::Outbound, buffer: &mut BytesMut) -> Result;

    /// The protocol's name, for people: a column of `connections`. Default: the type's.
    fn name() -> &'static str
    where
        Self: Sized,
    {
        std::any::type_name::<Self>().rsplit("::").next().unwrap_or("protocol")
    }

    /// The most bytes an unfinished message may hold, in bytes; beyond it the peer is closed.
    ///
    /// The default is [`DEFAULT_MAX_MESSAGE_SIZE`]: 10 MiB, as Workerman's.
    fn max_message_size(&self) -> usize {
        DEFAULT_MAX_MESSAGE_SIZE
    }

    /// Appends what this value has learned of its connection, beside its settings and the bytes that
    /// are undecoded, so that another process can go on with it; returns whether it could.
    ///
    /// The default cannot: such a connection is not moved. A protocol that keeps no state returns `true`
    /// and appends nothing.
    fn save(&self, output: &mut BytesMut) -> bool {
        let _ = output;
        false
    }

    /// Goes on from what [`Protocol::save`] appended, in another version of the program perhaps; it is
    /// called on a new value, before anything is decoded.
    ///
    /// # Errors
    /// When it is not understood; the connection is not moved then.
    fn restore(&mut self, saved: &[u8]) -> Result {
        if saved.is_empty() {
            Ok(())
        } else {
            Err("a protocol without state was given some".into())
        }
    }
}
