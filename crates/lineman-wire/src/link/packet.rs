//! A packet between gateway and business: 28 bytes of header, ext data, body; between our own ends the client's
//! address in IPv6 and the session's version behind the header.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use super::revision::{SessionForm, SessionVersion};
use super::{ADDRESSES, Command, EXTENSION_VERSION, Error, TYPES};

/// The length of a packet's header, in bytes.
pub const HEADER_LENGTH: usize = 28;

/// Where a packet has its flags.
const FLAGS_AT: usize = 21;

/// The length of a session's version, in bytes.
const VERSION_LENGTH: usize = 8;

/// The length of an address in IPv6, in bytes.
const ADDRESS_LENGTH: usize = 16;

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
    /// Extension 5: the client's address in IPv6, 16 bytes, stands before the ext data. It is
    /// [`Packet::client_ip`](super::Packet::client_ip) that says so, and never [`Packet::flags`](super::Packet::flags).
    pub const ADDRESS: u8 = 0x10;
    /// Extension 5: the session's version, 8 bytes, stands before the ext data. As with the next one, it is
    /// [`Packet::session`](super::Packet::session) that says so.
    pub const VERSION: u8 = 0x20;
    /// Extension 5: the receiver has the session, which is left out.
    pub const KNOWN: u8 = 0x40;
    /// The bits that every peer knows.
    pub const PLAIN: u8 = SCALAR | RAW;
    /// The bits of version 4 that say of which type a message is.
    pub(super) const TYPE: u8 = TEXT | BINARY;
    /// The bits that say what stands before the ext data, or does not.
    pub(super) const FORM: u8 = ADDRESS | VERSION | KNOWN;
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
    /// The client's address, 0.0.0.0 if it has none. One in IPv6 is that toward PHP, too, and toward versions of the
    /// extension below 5.
    pub client_ip: IpAddr,
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
    /// Whether the ext data is a session that the receiver may have, see [`SessionForm`].
    pub session: SessionForm,
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
            client_ip: Ipv4Addr::UNSPECIFIED.into(),
            client_port: 0,
            connection_id,
            flags: flags::SCALAR,
            gateway_port: 0,
            ext: Bytes::new(),
            session: SessionForm::Whole,
            body: Bytes::new(),
        }
    }

    /// Returns a query as the packet of [`Query::Stamped`](super::Query::Stamped).
    #[must_use]
    pub fn stamped(self) -> Self {
        let body = [&*self.body, &[self.command.number()]].concat();
        Self { command: Command::Stamped, body: body.into(), ..self }
    }

    /// Returns how many bytes the packet has on the wire between ends of the newest version.
    pub fn wire_length(&self) -> usize {
        self.length_for(EXTENSION_VERSION)
    }

    /// Returns how many bytes the packet has toward a peer of that version of the extension, see
    /// [`bytes_for`](Self::bytes_for).
    pub fn length_for(&self, version: u32) -> usize {
        let address = if self.real_ip(version).is_some() { ADDRESS_LENGTH } else { 0 };
        let session = self.session.for_version(version);
        let before = HEADER_LENGTH + address + session.version().map_or(0, |_| VERSION_LENGTH);
        let contents = self.ext_for(session).len().saturating_add(self.body.len());
        contents.saturating_add(before)
    }

    /// Returns the ext data as it travels.
    fn ext_for(&self, session: SessionForm) -> &[u8] {
        if matches!(session, SessionForm::Known(_)) { &[] } else { &self.ext }
    }

    /// Appends the packet's bytes.
    ///
    /// It does not look at any limit: compare [`wire_length`](Self::wire_length) first, or send
    /// through [`Codec`](super::Codec), which does. A length that no u32 can hold is written as
    /// the greatest one, which makes every receiver close the link.
    pub fn encode_into(&self, buffer: &mut BytesMut) {
        self.append(EXTENSION_VERSION, buffer);
    }

    /// Returns the packet's bytes; a broadcast is encoded once and its bytes are shared.
    pub fn to_bytes(&self) -> Bytes {
        self.bytes_for(EXTENSION_VERSION)
    }

    /// Returns the packet's bytes as a peer of that version of the extension knows them, 0 for `GatewayWorker`: below
    /// version 4 without the type of a message, below 5 with 0.0.0.0 for an address in IPv6, and with the session.
    pub fn bytes_for(&self, version: u32) -> Bytes {
        let mut buffer = BytesMut::new();
        self.append(version, &mut buffer);
        buffer.freeze()
    }

    /// Takes the type of a message out of the bytes of a command to a gateway: what is left is what
    /// [`bytes_for`](Self::bytes_for) returns for version 0. They are copied only if others share them.
    pub fn plain(packet: Bytes) -> Bytes {
        if packet.get(FLAGS_AT).is_none_or(|flags| flags & flags::TYPE == 0) {
            return packet;
        }
        let copied = |shared: Bytes| BytesMut::from(&*shared);
        let mut packet = packet.try_into_mut().unwrap_or_else(copied);
        if let Some(flags) = packet.get_mut(FLAGS_AT) {
            *flags &= !flags::TYPE;
        }
        packet.freeze()
    }

    /// Returns the client's address if it stands behind the header.
    fn real_ip(&self, version: u32) -> Option<Ipv6Addr> {
        match self.client_ip {
            IpAddr::V6(ip) if version >= ADDRESSES => Some(ip),
            IpAddr::V6(_) | IpAddr::V4(_) => None,
        }
    }

    fn append(&self, version: u32, buffer: &mut BytesMut) {
        let real_ip = self.real_ip(version);
        let session = self.session.for_version(version);
        let mut flags = self.flags & !flags::FORM;
        flags &= if version >= TYPES { u8::MAX } else { flags::PLAIN };
        flags |= if real_ip.is_some() { flags::ADDRESS } else { 0 };
        flags |= session.flags();
        let ext = self.ext_for(session);
        let client_ip = match self.client_ip {
            IpAddr::V4(ip) => ip,
            IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
        };
        let length = self.length_for(version);
        buffer.reserve(length);
        buffer.put_u32(saturate(length));
        buffer.put_u8(self.command.number());
        buffer.put_u32(self.local_ip.to_bits());
        buffer.put_u16(self.local_port);
        buffer.put_u32(client_ip.to_bits());
        buffer.put_u16(self.client_port);
        buffer.put_u32(self.connection_id);
        buffer.put_u8(flags);
        buffer.put_u16(self.gateway_port);
        buffer.put_u32(saturate(ext.len()));
        if let Some(ip) = real_ip {
            buffer.put_slice(&ip.octets());
        }
        if let Some(SessionVersion { changes, written }) = session.version() {
            buffer.put_u32(changes);
            buffer.put_u32(written);
        }
        buffer.put_slice(ext);
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

/// What stands before the ext data of a packet, read and checked against a limit.
#[derive(Debug)]
pub(super) struct Header {
    /// Its own length: that of the fixed part, and of the address and the version behind it, if there are any.
    pub(super) own_length: usize,
    /// Invariant: at least `own_length + ext_length`.
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
        let Some((mut packet, ext)) = fields.rest() else { return Ok(None) };
        let has_address = packet.flags & flags::ADDRESS != 0;
        let has_version = packet.flags & flags::VERSION != 0;
        let is_known = packet.flags & flags::KNOWN != 0;
        packet.flags &= !flags::FORM;
        let own_length = HEADER_LENGTH
            + if has_address { ADDRESS_LENGTH } else { 0 }
            + if has_version { VERSION_LENGTH } else { 0 };
        let Some(contents) = length.checked_sub(own_length) else {
            return Err(Error::PacketTooShort { length });
        };
        let ext_length = usize::try_from(ext).unwrap_or(usize::MAX);
        if ext_length > contents {
            return Err(Error::ExtBeyondPacket { ext: ext_length, length });
        }
        if has_address {
            let Some(ip) = fields.take() else { return Ok(None) };
            packet.client_ip = Ipv6Addr::from(ip).into();
        }
        let mut version = None;
        if has_version {
            let Some((changes, written)) = fields.u32().zip(fields.u32()) else { return Ok(None) };
            version = Some(SessionVersion { changes, written });
        }
        packet.session = SessionForm::new(is_known, version);
        Ok(Some(Self { own_length, length, ext_length, packet }))
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
            client_ip: Ipv4Addr::from_bits(self.u32()?).into(),
            client_port: self.u16()?,
            connection_id: self.u32()?,
            flags: self.u8()?,
            gateway_port: self.u16()?,
            ext: Bytes::new(),
            session: SessionForm::Whole,
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
