//! Ids of clients, ports and addresses: ours in place of the captured ones, and back.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use bytes::{Bytes, BytesMut};
use lineman_wire::link::{Command, Packet, Reply, ReplyCodec};
use lineman_wire::php::{self, Array, Key, Value};
use serde_json::Value as Json;

use super::capture::INNER_PORT;

/// Which of our clients stand for which captured ones.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    /// By gateway and captured id.
    ours: BTreeMap<(usize, u32), u32>,
    /// The ports of our clients, by their captured names.
    ports: BTreeMap<String, u16>,
}

impl Ids {
    /// Keeps the port of a client: events come after its end, too.
    pub(crate) fn remember(&mut self, client: &str, port: u16) {
        self.ports.insert(client.to_owned(), port);
    }

    pub(crate) fn port(&self, client: &str) -> Option<u16> {
        self.ports.get(client).copied()
    }

    /// An id that no client has stays what it is.
    fn ours(&self, gateway: usize, captured: u32) -> u32 {
        self.ours.get(&(gateway, captured)).copied().unwrap_or(captured)
    }

    fn captured(&self, gateway: usize, ours: i64) -> i64 {
        let same = |(place, id): (&(usize, u32), &u32)| {
            (place.0 == gateway && i64::from(*id) == ours).then_some(i64::from(place.1))
        };
        self.ours.iter().find_map(same).unwrap_or(ours)
    }

    /// Puts our ids into what a business or a `GatewayClient` says.
    pub(crate) fn to_ours(&self, gateway: usize, mut packet: Packet) -> Result<Packet> {
        packet.connection_id = self.ours(gateway, packet.connection_id);
        if matches!(packet.command, Command::SendToAll | Command::SendToGroup | Command::Select)
            && !packet.ext.is_empty()
        {
            let mut ext: Json = serde_json::from_slice(&packet.ext)?;
            self.within(gateway, &mut ext)?;
            packet.ext = ext.to_string().into();
        }
        Ok(packet)
    }

    fn within(&self, gateway: usize, json: &mut Json) -> Result<()> {
        for (name, value) in json.as_object_mut().into_iter().flatten() {
            match (name.as_str(), value.as_object()) {
                ("connections" | "exclude" | "connection_id", Some(captured)) => {
                    let ids = captured.keys().map(|id| Ok(self.ours(gateway, id.parse()?)));
                    let ids = ids.map(|id: Result<u32>| id.map(|id| (id.to_string(), id.into())));
                    *value = Json::Object(ids.collect::<Result<_>>()?);
                }
                _ => self.within(gateway, value)?,
            }
        }
        Ok(())
    }

    /// Puts what was captured in place of our ids, ports and addresses in an event, and learns the client's id.
    pub(crate) fn event_to_captured(
        &mut self,
        gateway: usize,
        expected: &Packet,
        mut got: Packet,
    ) -> Result<Packet> {
        if got.command == Command::Ping {
            return Ok(got);
        }
        self.ours.insert((gateway, expected.connection_id), got.connection_id);
        got.connection_id = expected.connection_id;
        got.local_port = INNER_PORT + u16::try_from(gateway)?;
        got.client_port = expected.client_port;
        got.gateway_port = expected.gateway_port;
        if got.command == Command::OnWebSocketConnect {
            let mut body = unserialize(&got.body)?;
            let server = body.as_array_mut().and_then(|body| body.get_mut("server"));
            let server = server.and_then(Value::as_array_mut).context("no server")?;
            server.insert("REMOTE_PORT", i64::from(expected.client_port));
            server.insert("SERVER_PORT", i64::from(expected.gateway_port));
            got.body = Bytes::from(php::serialize(&body));
        }
        Ok(got)
    }

    /// Puts captured ids in place of ours in a reply.
    pub(crate) fn reply_to_captured(
        &self,
        gateway: usize,
        command: Command,
        bytes: &[u8],
    ) -> Result<Vec<u8>> {
        let reply = ReplyCodec::new().decode_reply(&mut BytesMut::from(bytes))?;
        let value = reply.context("a whole reply")?.value()?;
        let value = match (command, value) {
            (
                Command::GetAllClientSessions | Command::GetClientSessionsByGroup | Command::Select,
                Value::Array(by_id),
            ) => {
                let captured = |(id, value): (&Key, &Value)| {
                    let id = id.as_int().context("an id")?;
                    Ok((self.captured(gateway, id), value.clone()))
                };
                let entries = by_id.iter().map(captured).collect::<Result<Vec<_>>>()?;
                Value::Array(Array::from_iter(entries))
            }
            (Command::GetClientIdByUid, Value::Array(ids)) => self.list(gateway, &ids)?,
            (Command::BatchGetClientIdByUid, Value::Array(lists)) => {
                let mut captured = Array::new();
                for (uid, ids) in &lists {
                    let ids = ids.as_array().context("a list")?;
                    captured.insert(uid.clone(), self.list(gateway, ids)?);
                }
                Value::Array(captured)
            }
            (_, value) => value,
        };
        let mut buffer = BytesMut::new();
        Reply::from(&value).encode_into(&mut buffer);
        Ok(buffer.to_vec())
    }

    fn list(&self, gateway: usize, ids: &Array) -> Result<Value> {
        let mut captured = Array::new();
        for id in ids.values() {
            captured.push(self.captured(gateway, id.as_int().context("an id")?));
        }
        Ok(Value::Array(captured))
    }
}

/// Reads a value in PHP's format.
pub(crate) fn unserialize(bytes: &[u8]) -> Result<Value> {
    match php::unserialize(bytes, php::Limits::default()) {
        Ok(value) => Ok(value),
        Err(error) => bail!("{error}: {}", bytes.escape_ascii()),
    }
}
