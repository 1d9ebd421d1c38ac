//! A connection to one gateway: introduces itself, sends commands, asks questions.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::BytesMut;
use lineman_wire::link::{Codec, Login, Packet, Query, Reply, ReplyCodec, Secret};

use crate::{Error, register};

/// An open connection to a gateway.
#[derive(Debug)]
pub(crate) struct Gateway {
    address: SocketAddr,
    stream: TcpStream,
    input: BytesMut,
}

impl Gateway {
    /// Connects and introduces us.
    ///
    /// A gateway does not say whether it takes a key; it closes the connection. So the first
    /// question is asked at once, and its answer tells.
    pub(crate) fn connect(
        address: SocketAddr,
        secret_key: &Secret,
        limit: Duration,
    ) -> Result<Self, Error> {
        let failed = |source| Error::Gateway { gateway: address, source };
        let stream = register::connect(address, limit).map_err(failed)?;
        let mut gateway = Self { address, stream, input: BytesMut::new() };
        if !secret_key.is_empty() {
            gateway.send(&Login::Client { secret_key: secret_key.clone() }.into())?;
            gateway.ask(Query::IsOnline { connection_id: 0 }).map_err(|error| match error {
                Error::Gateway { source, .. } if is_end(&source) => {
                    Error::Refused { gateway: address }
                }
                error => error,
            })?;
        }
        Ok(gateway)
    }

    /// Returns whether the gateway has not closed the connection, as far as can be known.
    pub(crate) fn is_open(&self) -> bool {
        let peek = || {
            self.stream.set_nonblocking(true)?;
            let peeked = self.stream.peek(&mut [0]);
            self.stream.set_nonblocking(false)?;
            peeked
        };
        // Nothing is due: every answer was read. So bytes are as wrong as an end.
        peek().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Sends a packet.
    pub(crate) fn send(&mut self, packet: &Packet) -> Result<(), Error> {
        let mut bytes = BytesMut::new();
        Codec::new()
            .encode_packet(packet, &mut bytes)
            .map_err(|source| Error::Packet { gateway: self.address, source })?;
        self.stream.write_all(&bytes).map_err(|source| self.failed(source))
    }

    /// Asks a question and waits for its answer.
    pub(crate) fn ask(&mut self, query: Query) -> Result<Reply, Error> {
        self.send(&query.into())?;
        let codec = ReplyCodec::new();
        loop {
            let reply = codec
                .decode_reply(&mut self.input)
                .map_err(|source| Error::Packet { gateway: self.address, source })?;
            if let Some(reply) = reply {
                return Ok(reply);
            }
            let mut chunk = [0; 4096];
            let count = match self.stream.read(&mut chunk) {
                Ok(0) => return Err(self.failed(io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.failed(error)),
            };
            self.input.extend_from_slice(chunk.get(..count).unwrap_or_default());
        }
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::Gateway { gateway: self.address, source }
    }
}

/// A gateway that refuses us ends the connection, or resets it because it has not read everything.
fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(error.kind(), Kind::UnexpectedEof | Kind::ConnectionReset | Kind::BrokenPipe)
}
