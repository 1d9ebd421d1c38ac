//! A packet between gateway and business: 28 bytes of header, ext data, body.

use core::net::Ipv4Addr;
use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use super::{Command, Error};

/// The length of a packet's header, in bytes.
pub const HEADER_LENGTH: usize = 28;

/// Where a packet has its flags.
const FLAGS_AT: usize = 21;

/// The longest packet `GatewayWorker` sends and takes, in bytes.
pub const MAX_PACKET: usize = 10_485_760;

/// The bits of [`Packet::flags`].
pub mod flags {
    /// The body is a string as it is; without the flag it is PHP-serialized.
    pub const SCALAR: u8 = 0x01;
    /// The body is encoded for the client's protocol already.
    pub const RAW: u8 = 0x02;
    /// Extension 4: the body is text, from a WebSocket or for one.
    pub const TEXT: u8 = 0x04;
    /// Extension 4: the body is binary, from a WebSocket or for one.
    pub const BINARY: u8 = 0x08;
    /// The bits that every peer knows.
    pub const PLAIN: u8 = SCALAR | RAW;
}

/// One packet. Towards a gateway, all fields but the command, the connection id and the flags are
/// zero in the header.
#[derive(Clone, PartialEq, Eq)]
pub struct Packet {
    /// What the packet is about.
    pub command: Command,
    /// The gateway's address in the cluster.
    pub local_ip: Ipv4Addr,
    /// The gateway's port in the cluster.
    pub local_port: u16,
    /// The client's address, 0.0.0.0 if it has none in IPv4.
    pub client_ip: Ipv4Addr,
    /// The client's port.
    pub client_port: u16,
    /// The gateway's number for the client, 0 for none.
    pub connection_id: u32,
    /// How to read the body, see [`flags`].
    pub flags: u8,
    /// The port at which the gateway listens for clients.
    pub gateway_port: u16,
    /// The session, a uid, a group, or JSON, as the command wants.
    pub ext: Bytes,
    /// The message.
    pub body: Bytes,
}

impl Packet {
    /// Returns a packet without addresses, ext data and body, as commands to a gateway begin.
    pub fn new(command: Command, connection_id: u32) -> Self {
        Self {
            command,
            local_ip: Ipv4Addr::UNSPECIFIED,
            local_port: 0,
            client_ip: Ipv4Addr::UNSPECIFIED,
            client_port: 0,
            connection_id,
            flags: flags::SCALAR,
            gateway_port: 0,
            ext: Bytes::new(),
            body: Bytes::new(),
        }
    }

    /// Returns a query as the packet of [`Query::Stamped`](super::Query::Stamped).
    #[must_use]
    pub fn stamped(self) -> Self {
        let body = [&*self.body, &[self.command.number()]].concat();
        Self { command: Command::Stamped, body: body.into(), ..self }
    }

    /// Returns how many bytes the packet has on the wire.
    pub fn wire_length(&self) -> usize {
        HEADER_LENGTH.saturating_add(self.ext.len()).saturating_add(self.body.len())
    }

    /// Appends the packet's bytes.
    ///
    /// It does not look at any limit: compare [`wire_length`](Self::wire_length) first, or send
    /// through [`Codec`](super::Codec), which does. A length that no u32 can hold is written as
    /// the greatest one, which makes every receiver close the link.
    pub fn encode_into(&self, buffer: &mut BytesMut) {
        self.append(self.flags, buffer);
    }

    /// Returns the packet's bytes; a broadcast is encoded once and its bytes are shared.
    pub fn to_bytes(&self) -> Bytes {
        let mut buffer = BytesMut::new();
        self.append(self.flags, &mut buffer);
        buffer.freeze()
    }

    /// Takes the type of a message out of the bytes of a command to a gateway: what is left is what
    /// [`to_plain_bytes`](Self::to_plain_bytes) returns. They are copied only if others share them.
    pub fn plain(packet: Bytes) -> Bytes {
        if packet.get(FLAGS_AT).is_none_or(|flags| flags & !flags::PLAIN == 0) {
            return packet;
        }
        let copied = |shared: Bytes| BytesMut::from(&*shared);
        let mut packet = packet.try_into_mut().unwrap_or_else(copied);
        if let Some(flags) = packet.get_mut(FLAGS_AT) {
            *flags &= flags::PLAIN;
        }
        packet.freeze()
    }

    /// Returns the packet's bytes as `GatewayWorker` and versions of the extension below 4 know them: without the
    /// type of a message.
    pub fn to_plain_bytes(&self) -> Bytes {
        let mut buffer = BytesMut::new();
        self.append(self.flags & flags::PLAIN, &mut buffer);
        buffer.freeze()
    }

    fn append(&self, flags: u8, buffer: &mut BytesMut) {
        buffer.reserve(self.wire_length());
        buffer.put_u32(saturate(self.wire_length()));
        buffer.put_u8(self.command.number());
        buffer.put_u32(self.local_ip.to_bits());
        buffer.put_u16(self.local_port);
        buffer.put_u32(self.client_ip.to_bits());
        buffer.put_u16(self.client_port);
        buffer.put_u32(self.connection_id);
        buffer.put_u8(flags);
        buffer.put_u16(self.gateway_port);
        buffer.put_u32(saturate(self.ext.len()));
        buffer.put_slice(&self.ext);
        buffer.put_slice(&self.body);
    }
}

/// Shows lengths instead of contents: a login's body holds the cluster's key, and sessions and
/// messages belong to the users.
impl fmt::Debug for Packet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Packet")
            .field("command", &self.command)
            .field("connection_id", &self.connection_id)
            .field("flags", &self.flags)
            .field("ext_length", &self.ext.len())
            .field("body_length", &self.body.len())
            .finish_non_exhaustive()
    }
}

fn saturate(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// The fixed part of a packet, read and checked against a limit.
#[derive(Debug)]
pub(super) struct Header {
    /// Invariant: at least `HEADER_LENGTH + ext_length`.
    pub(super) length: usize,
    pub(super) ext_length: usize,
    /// The packet as far as the header tells, without ext data and body.
    pub(super) packet: Packet,
}

impl Header {
    /// Reads the header at the beginning of `bytes`; `None` until it is there.
    ///
    /// # Errors
    /// The lengths contradict each other or exceed `limit`; found as soon as they are there.
    pub(super) fn read(bytes: &[u8], limit: usize) -> Result<Option<Self>, Error> {
        let mut fields = Fields(bytes);
        let Some(length) = fields.u32() else { return Ok(None) };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length < HEADER_LENGTH {
            return Err(Error::PacketTooShort { length });
        }
        if length > limit {
            return Err(Error::PacketTooLong { length, limit });
        }
        let Some((packet, ext)) = fields.rest() else { return Ok(None) };
        let ext_length = usize::try_from(ext).unwrap_or(usize::MAX);
        if ext_length > length - HEADER_LENGTH {
            return Err(Error::ExtBeyondPacket { ext: ext_length, length });
        }
        Ok(Some(Self { length, ext_length, packet }))
    }
}

/// Integers off the front of a header; `None` where it ends.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    /// Reads what follows the packet's length: the other fields, and the length of the ext data.
    fn rest(&mut self) -> Option<(Packet, u32)> {
        let packet = Packet {
            command: Command::from(self.u8()?),
            local_ip: Ipv4Addr::from_bits(self.u32()?),
            local_port: self.u16()?,
            client_ip: Ipv4Addr::from_bits(self.u32()?),
            client_port: self.u16()?,
            connection_id: self.u32()?,
            flags: self.u8()?,
            gateway_port: self.u16()?,
            ext: Bytes::new(),
            body: Bytes::new(),
        };
        Some((packet, self.u32()?))
    }

    fn u8(&mut self) -> Option<u8> {
        self.take().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }
}
