//! Clients of another business whose end a business tells should that one and their gateway both die, and how
//! the two agree which of them does.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4};

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{Command, Error, Packet};

/// How many bytes of clients one packet has, and a session at most: far below the bound of a packet.
const PART: usize = 64 * 1024;

/// What an entry has besides the session, in bytes; one with an address in IPv6 has 12 more.
const ENTRY: usize = 15;

/// What became of one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Witnessed {
    /// The client is the other business's, and this is its session.
    Here {
        /// The client's connection id.
        connection_id: u32,
        /// The client's address, 0.0.0.0 if it has none; in IPv6 only toward version 5.
        ip: IpAddr,
        /// The client's port.
        port: u16,
        /// The client's session: nothing, or a PHP-serialized array.
        session: Bytes,
    },
    /// The client is not the other business's any more.
    Gone {
        /// The client's connection id.
        connection_id: u32,
    },
}

/// News of the clients of one business.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    /// Names that business, as its login did.
    pub worker_key: String,
    /// Whether this is all there is: what was told before is void.
    pub anew: bool,
    /// The port at which the gateway listens for clients.
    pub gateway_port: u16,
    /// The clients.
    pub clients: Vec<Witnessed>,
}

impl Witness {
    /// Splits clients into as many as fit into one packet each. A session of more than 64 KiB is left out, so
    /// that what others remember of a client is bounded.
    pub fn parts(clients: Vec<Witnessed>) -> Vec<Vec<Witnessed>> {
        let (mut parts, mut bytes) = (Vec::new(), 0);
        for mut client in clients {
            if let Witnessed::Here { session, .. } = &mut client
                && session.len() > PART
            {
                *session = Bytes::new();
            }
            bytes += client.length();
            if parts.is_empty() || bytes > PART {
                parts.push(Vec::new());
                bytes = client.length();
            }
            if let Some(part) = parts.last_mut() {
                part.push(client);
            }
        }
        parts
    }

    /// Makes each address in IPv6 0.0.0.0: peers below version 5 know no others.
    pub fn hide_addresses(&mut self) {
        for client in &mut self.clients {
            if let Witnessed::Here { ip: ip @ IpAddr::V6(_), .. } = client {
                *ip = Ipv4Addr::UNSPECIFIED.into();
            }
        }
    }

    pub(super) fn read(packet: Packet) -> Result<Self, Error> {
        let (command, expected) = (packet.command, "clients, each with its length");
        let worker_key = key(command, &packet.ext)?;
        let clients = Witnessed::read_all(packet.body).ok_or(Error::Shape { command, expected })?;
        let anew = packet.connection_id == 1;
        Ok(Self { worker_key, anew, gateway_port: packet.gateway_port, clients })
    }

    pub(super) fn into_packet(self) -> Packet {
        let mut body = BytesMut::with_capacity(self.clients.iter().map(Witnessed::length).sum());
        self.clients.iter().for_each(|client| client.write(&mut body));
        Packet {
            gateway_port: self.gateway_port,
            ext: self.worker_key.into(),
            body: body.freeze(),
            ..Packet::new(Command::Witness, u32::from(self.anew))
        }
    }
}

impl Witnessed {
    fn length(&self) -> usize {
        match self {
            Self::Gone { .. } => ENTRY,
            Self::Here { ip: IpAddr::V4(_), session, .. } => ENTRY + session.len(),
            Self::Here { ip: IpAddr::V6(_), session, .. } => ENTRY + 12 + session.len(),
        }
    }

    fn write(&self, body: &mut BytesMut) {
        match self {
            Self::Gone { connection_id } => {
                body.put_u8(0);
                body.put_u32(*connection_id);
            }
            Self::Here { connection_id, ip, port, session } => {
                body.put_u8(if ip.is_ipv4() { 1 } else { 2 });
                body.put_u32(*connection_id);
                match ip {
                    IpAddr::V4(ip) => body.put_slice(&ip.octets()),
                    IpAddr::V6(ip) => body.put_slice(&ip.octets()),
                }
                body.put_u16(*port);
                // A packet is far shorter than that.
                body.put_u32(u32::try_from(session.len()).unwrap_or(u32::MAX));
                body.put_slice(session);
            }
        }
    }

    /// Reads all of a body; `None` if it is not what it should be.
    fn read_all(mut body: Bytes) -> Option<Vec<Self>> {
        let mut all = Vec::new();
        while body.has_remaining() {
            let kind = body.try_get_u8().ok()?;
            let connection_id = body.try_get_u32().ok()?;
            all.push(match kind {
                0 => Self::Gone { connection_id },
                1 | 2 => {
                    let ip = match kind {
                        1 => Ipv4Addr::from_bits(body.try_get_u32().ok()?).into(),
                        _ => Ipv6Addr::from_bits(body.try_get_u128().ok()?).into(),
                    };
                    let port = body.try_get_u16().ok()?;
                    let length = usize::try_from(body.try_get_u32().ok()?).ok()?;
                    if length > body.remaining() {
                        return None;
                    }
                    // A copy: a slice would keep the sessions of its neighbours in memory as long.
                    let session = Bytes::copy_from_slice(&body.split_to(length));
                    Self::Here { connection_id, ip, port, session }
                }
                _ => return None,
            });
        }
        Some(all)
    }
}

/// What one business has another one told by a gateway that both are linked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// To a gateway, the business that it is for; to a business, the one that it is from: as its login says.
    pub worker_key: String,
    /// The gateway that it is about.
    pub gateway: SocketAddrV4,
    /// What is said.
    pub says: Says,
}

/// What a note says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    /// The gateway is dead: are you there, and tell the end of the clients of it that you had?
    Whose,
    /// I do.
    Mine,
}

impl Note {
    pub(super) fn read(packet: &Packet) -> Result<Self, Error> {
        let (command, expected) = (packet.command, "seven bytes");
        let worker_key = key(command, &packet.ext)?;
        let shape = Error::Shape { command, expected };
        let Some((&[says, a, b, c, d, high, low], _)) = packet.body.split_first_chunk() else {
            return Err(shape);
        };
        let says = match says {
            0 => Says::Whose,
            1 => Says::Mine,
            _ => return Err(shape),
        };
        let port = u16::from_be_bytes([high, low]);
        let gateway = SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), port);
        Ok(Self { worker_key, gateway, says })
    }

    pub(super) fn into_packet(self) -> Packet {
        let mut body = BytesMut::with_capacity(7);
        body.put_u8(match self.says {
            Says::Whose => 0,
            Says::Mine => 1,
        });
        body.put_slice(&self.gateway.ip().octets());
        body.put_u16(self.gateway.port());
        Packet {
            ext: self.worker_key.into(),
            body: body.freeze(),
            ..Packet::new(Command::Relay, 0)
        }
    }
}

fn key(command: Command, ext: &[u8]) -> Result<String, Error> {
    let text = core::str::from_utf8(ext);
    text.map(str::to_owned).map_err(|_| Error::Shape { command, expected: "a business's key" })
}
