//! The name of a client in the whole cluster: which gateway, and its number there.

use core::net::Ipv4Addr;
use std::{fmt, str};

use serde::de::{Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};

use super::Error;

/// A client behind a gateway; 20 hex digits as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId {
    /// The gateway's address in the cluster.
    pub local_ip: Ipv4Addr,
    /// The gateway's port in the cluster.
    pub local_port: u16,
    /// The gateway's number for the client.
    pub connection_id: u32,
}

impl ClientId {
    /// Returns the id of a gateway's client.
    pub fn new(local_ip: Ipv4Addr, local_port: u16, connection_id: u32) -> Self {
        Self { local_ip, local_port, connection_id }
    }
}

/// Writes lower-case digits, as PHP's `bin2hex`.
impl fmt::Display for ClientId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { local_ip, local_port, connection_id } = self;
        write!(formatter, "{:08x}{local_port:04x}{connection_id:08x}", local_ip.to_bits())
    }
}

impl str::FromStr for ClientId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        // `from_str_radix` alone would take a sign.
        if text.len() != 20 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Error::ClientId);
        }
        let (ip, rest) = text.split_at(8);
        let (port, connection_id) = rest.split_at(4);
        Ok(Self {
            local_ip: Ipv4Addr::from_bits(hex(ip)?),
            local_port: u16::try_from(hex(port)?).map_err(|_| Error::ClientId)?,
            connection_id: hex(connection_id)?,
        })
    }
}

fn hex(digits: &str) -> Result<u32, Error> {
    u32::from_str_radix(digits, 16).map_err(|_| Error::ClientId)
}

impl Serialize for ClientId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ClientId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor)
    }
}

struct TextVisitor;

impl Visitor<'_> for TextVisitor {
    type Value = ClientId;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("20 hex digits")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<ClientId, E> {
        text.parse().map_err(E::custom)
    }
}
