//! Reads the capture files; their format is in the README beside them.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use bytes::BytesMut;
use lineman_wire::link::{Codec, Command, Packet};

/// The inner port of the first captured gateway; the second has the next one.
pub(crate) const INNER_PORT: u16 = 22900;

/// Which end of a connection did it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The one that opened the connection.
    Opener,
    /// The one that listens.
    Listener,
}

/// What happened.
#[derive(Debug, Clone)]
pub(crate) enum What {
    /// A connection was opened, between these two addresses.
    Opened { from: SocketAddr, to: SocketAddr },
    /// This end said one complete message.
    Said(End, Vec<u8>),
    /// This end closed.
    Closed(End),
}

/// A line of a capture.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    /// `FILE:LINE: CONNECTION`, for messages.
    pub(crate) place: String,
    /// Seconds since the first packet.
    pub(crate) time: f64,
    /// `R1`, `G2`, `C1`: to the register, to a gateway's inner port, a client to a gateway.
    pub(crate) name: String,
    pub(crate) what: What,
}

/// A file.
#[derive(Debug)]
pub(crate) struct Capture {
    pub(crate) records: Vec<Record>,
}

impl Capture {
    /// Reads what happened before `until` seconds: what follows is the end of the captured programs.
    pub(crate) fn read(name: &str, until: f64) -> Result<Self> {
        let folder = "../crates/lineman-wire/tests/golden/gatewayworker";
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(folder);
        let path = folder.join(format!("{name}.txt"));
        let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
        let text = String::from_utf8_lossy(&bytes);
        let mut records = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let fields: Vec<&str> = line.split(' ').collect();
            let (connection, what) = match fields[..] {
                ["O", _, connection, from, "->", to] => {
                    (connection, What::Opened { from: from.parse()?, to: to.parse()? })
                }
                ["M", _, connection, end, hex] => (connection, What::Said(side(end)?, unhex(hex)?)),
                ["X", _, connection, end, _] => (connection, What::Closed(side(end)?)),
                _ => continue,
            };
            let (place, time) = (format!("{name}:{}: {connection}", number + 1), fields[1]);
            records.push(Record { place, time: time.parse()?, name: connection.to_owned(), what });
        }
        records.retain(|record| record.time < until);
        ensure!(!records.is_empty(), "{name} has no records");
        Ok(Self { records })
    }

    /// Returns what the opener of a connection said first.
    fn first(&self, connection: &str) -> Option<&[u8]> {
        self.records.iter().filter(|record| record.name == connection).find_map(|record| {
            match &record.what {
                What::Said(End::Opener, bytes) => Some(&bytes[..]),
                What::Said(..) | What::Opened { .. } | What::Closed(_) => None,
            }
        })
    }

    /// Returns whether a connection to a gateway is a business's link.
    pub(crate) fn is_link(&self, connection: &str) -> bool {
        self.first(connection).is_some_and(|bytes| bytes[4] == Command::WorkerConnect.number())
    }

    /// Returns whether a connection to the register is a gateway's.
    pub(crate) fn is_gateways(&self, connection: &str) -> bool {
        self.first(connection)
            .is_some_and(|bytes| bytes.starts_with(b"{\"event\":\"gateway_connect\""))
    }

    /// Returns the addresses of a connection.
    pub(crate) fn addresses(&self, connection: &str) -> Result<(SocketAddr, SocketAddr)> {
        let opened = self.records.iter().filter(|record| record.name == connection);
        let mut addresses = opened.filter_map(|record| match record.what {
            What::Opened { from, to } => Some((from, to)),
            What::Said(..) | What::Closed(_) => None,
        });
        addresses.next().with_context(|| format!("{connection} was never opened"))
    }

    /// Returns which gateway a connection to an inner port leads to.
    pub(crate) fn gateway(&self, connection: &str) -> Result<usize> {
        let (_, to) = self.addresses(connection)?;
        Ok(usize::from(to.port().checked_sub(INNER_PORT).context("an inner port")?))
    }
}

fn side(direction: &str) -> Result<End> {
    match direction {
        ">" => Ok(End::Opener),
        "<" => Ok(End::Listener),
        other => bail!("{other:?} is no direction"),
    }
}

fn unhex(digits: &str) -> Result<Vec<u8>> {
    let byte = |pair: &[u8]| Ok(u8::from_str_radix(str::from_utf8(pair)?, 16)?);
    digits.as_bytes().chunks(2).map(byte).collect()
}

/// Reads one packet.
pub(crate) fn packet(bytes: &[u8]) -> Result<Packet> {
    let mut buffer = BytesMut::from(bytes);
    Codec::new().decode_packet(&mut buffer)?.context("a whole packet")
}

/// Compares two messages; the error shows both, and where they part.
pub(crate) fn compare(place: &str, expected: &[u8], got: &[u8]) -> Result<()> {
    if expected == got {
        return Ok(());
    }
    let same = expected.iter().zip(got).take_while(|(a, b)| a == b).count();
    bail!(
        "{place}\n  GatewayWorker: {}\n  Lineman:       {}\n  they part at byte {same}",
        shown(expected),
        shown(got)
    )
}

/// Shows a message: a packet by its fields, anything else as it is, without what is unprintable.
pub(crate) fn shown(bytes: &[u8]) -> String {
    match packet(bytes) {
        Ok(packet) if packet.wire_length() == bytes.len() => format!(
            "{:?} client {} at {}:{} of {}:{} port {} flags {} ext {:?} body {:?}",
            packet.command,
            packet.connection_id,
            packet.client_ip,
            packet.client_port,
            packet.local_ip,
            packet.local_port,
            packet.gateway_port,
            packet.flags,
            packet.ext.escape_ascii().to_string(),
            packet.body.escape_ascii().to_string()
        ),
        _ => bytes.escape_ascii().to_string(),
    }
}
