//! Packets off the front of a buffer and back: the protocol of a link.

use bytes::{Buf, BufMut as _, Bytes, BytesMut};

use super::packet::Header;
use super::revision::SessionForm;
use super::{Command, Error, MAX_PACKET, Packet};
use crate::{Protocol, Result};

/// Below this many bytes, ext data and body are copied out of the buffer instead of shared: a
/// session of 100 bytes that a table keeps would hold a read buffer of 64 KiB. Above it the copy
/// costs more than the rest of such a buffer weighs.
const COPY_LIMIT: usize = 16 * 1024;

/// The protocol of a link between gateway and business.
#[derive(Debug, Clone)]
pub struct Codec {
    limit: usize,
    /// The bound of what comes until the peer has introduced itself.
    before_login: Option<usize>,
}

impl Codec {
    /// Returns a codec with `GatewayWorker`'s limit of 10,485,760 bytes a packet.
    pub fn new() -> Self {
        Self::with_limit(MAX_PACKET)
    }

    /// Returns a codec that refuses packets of more than `limit` bytes, read or written.
    pub fn with_limit(limit: usize) -> Self {
        Self { limit, before_login: None }
    }

    /// Returns a codec that refuses packets of more than `limit` bytes until one of them is a login; from
    /// then on its limit is that of [`Codec::new`].
    pub fn until_login(limit: usize) -> Self {
        Self { before_login: Some(limit), ..Self::new() }
    }

    /// Takes one packet off the front of `buffer`; `None` until it is whole.
    ///
    /// # Errors
    /// The header contradicts itself, or the packet is longer than the limit.
    pub fn decode_packet(&self, buffer: &mut BytesMut) -> Result<Option<Packet>, Error> {
        let Some(header) = Header::read(buffer, self.limit)? else { return Ok(None) };
        let Header { own_length, length, ext_length, packet } = header;
        if buffer.len() < length {
            return Ok(None);
        }
        buffer.advance(own_length);
        let rest = buffer.split_to(length - own_length);
        let mut body = match rest.len() {
            // The copy lets go of `rest`, so that the buffer is free to be used again.
            0..COPY_LIMIT => Bytes::copy_from_slice(&rest),
            _ => rest.freeze(),
        };
        let mut ext = body.split_to(ext_length);
        if matches!(packet.session, SessionForm::Known(_)) {
            ext.clear();
        }
        Ok(Some(Packet { ext, body, ..packet }))
    }

    /// Appends one packet to `buffer`.
    ///
    /// # Errors
    /// The packet is longer than the limit; nothing is appended.
    pub fn encode_packet(&self, packet: &Packet, buffer: &mut BytesMut) -> Result<(), Error> {
        let length = packet.wire_length();
        if length > self.limit {
            return Err(Error::PacketTooLong { length, limit: self.limit });
        }
        packet.encode_into(buffer);
        Ok(())
    }
}

impl Default for Codec {
    fn default() -> Self {
        Self::new()
    }
}

impl Protocol for Codec {
    type Inbound = Packet;
    type Outbound = Packet;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Packet>> {
        let Some(limit) = self.before_login else { return Ok(self.decode_packet(buffer)?) };
        let packet = Self::with_limit(limit).decode_packet(buffer)?;
        let login = [Command::WorkerConnect, Command::GatewayClientConnect];
        self.before_login.take_if(|_| packet.as_ref().is_some_and(|p| login.contains(&p.command)));
        Ok(packet)
    }

    fn encode(&mut self, packet: Packet, buffer: &mut BytesMut) -> Result {
        Ok(self.encode_packet(&packet, buffer)?)
    }

    fn name() -> &'static str {
        "link"
    }

    fn max_message_size(&self) -> usize {
        self.before_login.unwrap_or(self.limit)
    }

    fn save(&self, output: &mut BytesMut) -> bool {
        output.put_u8(u8::from(self.before_login.is_some()));
        true
    }

    fn restore(&mut self, saved: &[u8]) -> Result {
        match saved {
            [1] => Ok(()),
            [0] => {
                self.before_login = None;
                Ok(())
            }
            _ => Err("it is in a state that is not known here".into()),
        }
    }
}
