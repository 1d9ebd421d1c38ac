//! No protocol: bytes as they come, for what passes bytes on without understanding them.

use bytes::{Bytes, BytesMut};

use crate::{Protocol, Result};

/// Bytes as they come: a message is what one read gave, and means nothing by itself.
///
/// ```
/// use bytes::{Bytes, BytesMut};
/// use lineman_wire::{Protocol, raw::Raw};
///
/// let mut input = BytesMut::from("any bytes");
/// assert_eq!(Raw.decode(&mut input)?, Some(Bytes::from("any bytes")));
/// assert_eq!(Raw.decode(&mut input)?, None);
/// # Ok::<(), lineman_wire::BoxError>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Raw;

impl Protocol for Raw {
    type Inbound = Bytes;
    type Outbound = Bytes;

    fn name() -> &'static str {
        "raw"
    }

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>> {
        // A copy of the exact size: what is kept must not hold the read buffer.
        let taken = (!buffer.is_empty()).then(|| Bytes::copy_from_slice(buffer));
        buffer.clear();
        Ok(taken)
    }

    fn encode(&mut self, bytes: Bytes, buffer: &mut BytesMut) -> Result {
        buffer.extend_from_slice(&bytes);
        Ok(())
    }

    /// It keeps no state.
    fn save(&self, _output: &mut BytesMut) -> bool {
        true
    }
}
