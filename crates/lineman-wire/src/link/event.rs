//! What a gateway tells a business: events of clients, and the answers of the extension.

use core::net::IpAddr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::revision::SessionForm;
use super::{
    Allowance, Body, ClientId, Command, Error, HeldNames, Note, Packet, Witness, flags, json,
};
use crate::php;

/// The client an event is about, as the header of its packet describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// The client's name in the cluster.
    pub id: ClientId,
    /// The client's address, 0.0.0.0 if it has none, and from a gateway below version 5 if it has none in IPv4.
    pub ip: IpAddr,
    /// The client's port.
    pub port: u16,
    /// The port at which its gateway listens for clients.
    pub gateway_port: u16,
    /// The client's session: nothing, or a PHP-serialized array.
    pub session: Bytes,
    /// Which session it is, and whether it is there.
    pub form: SessionForm,
}

/// The body of [`Command::Hello`]: what a gateway says of itself to a business or client of ours that logs in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The version of the extension that the gateway speaks.
    #[serde(rename = "lineman")]
    pub version: u32,
    /// Names this run of the gateway, in hex: client ids begin again in the next one.
    pub epoch: String,
    /// What each client may have unhandled at the business before it is not read; none before version 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<Allowance>,
}

/// A packet from a gateway to a business.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A client has connected; its handshake is yet to come.
    Connect(Client),
    /// A client's websocket handshake has been read; the value is `{get, server, cookie}`.
    WebSocketConnect(Client, php::Value),
    /// A client sent a message.
    Message(Client, Body),
    /// A client is gone.
    Close(Client),
    /// The gateway keeps the link busy; there is nothing to do.
    Ping,
    /// Version 3, each second: answer with [`Control::Alive`](super::Control::Alive).
    Probe,
    /// Extension: the gateway speaks it, too.
    Hello(Hello),
    /// Extension: the client belongs to this business from now on.
    Adopt(Client),
    /// Extension: no event follows.
    Fence,
    /// Extension: everything before the `Sync` has been applied.
    Synced,
    /// Extension 3: the gateway does not take this peer, and closes; the text says why.
    Refused(String),
    /// Version 3: the client of this business is connected, though another one has told its end meanwhile.
    Returned(Client),
    /// Version 3: the client of this business is gone, and another one has told its end.
    Forget(Client),
    /// Version 3: clients of another business, whose end this one may have to tell.
    Witness(Witness),
    /// Version 3: what another business has to say.
    Relay(Note),
    /// Extension, version 3: which uids and groups the gateway has clients of.
    HeldNames(HeldNames),
    /// Extension, version 3: answer with [`Control::Settled`](super::Control::Settled) when the entries before
    /// are known.
    Settle(u32),
    /// Extension, version 3: every business knows the names of all that was bound before the `Settle` of that
    /// number.
    Settled(u32),
    /// A command that is not for a business; to be ignored.
    Unknown(Command),
}

/// How much of a text that is said by a peer, and gets into the log, is read: a sentence or two.
const LONGEST_REASON: usize = 400;

/// Returns what a peer says to people: its beginning, in one line.
pub(super) fn reason(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    text.chars().filter(|letter| !letter.is_control()).take(LONGEST_REASON).collect()
}

impl TryFrom<Packet> for Event {
    type Error = Error;

    /// # Errors
    /// The body is not what the command wants.
    fn try_from(packet: Packet) -> Result<Self, Error> {
        Ok(match packet.command {
            Command::OnConnect => Self::Connect(Client::of(packet)),
            Command::OnMessage => {
                let body = Body::read(packet.flags, packet.body.clone())?;
                Self::Message(Client::of(packet), body)
            }
            Command::OnClose => Self::Close(Client::of(packet)),
            Command::OnWebSocketConnect => {
                let request = php::unserialize(&packet.body, php::Limits::default())?;
                Self::WebSocketConnect(Client::of(packet), request)
            }
            Command::Ping => Self::Ping,
            Command::Probe => Self::Probe,
            Command::Hello => Self::Hello(json::read(packet.command, &packet.body)?),
            Command::Adopt => Self::Adopt(Client::of(packet)),
            Command::Fence => Self::Fence,
            Command::Synced => Self::Synced,
            Command::Refused => Self::Refused(reason(&packet.body)),
            Command::Returned => Self::Returned(Client::of(packet)),
            Command::Forget => Self::Forget(Client::of(packet)),
            Command::Witness => Self::Witness(Witness::read(packet)?),
            Command::Relay => Self::Relay(Note::read(&packet)?),
            Command::HeldNames => Self::HeldNames(packet.try_into()?),
            Command::Settle => Self::Settle(packet.connection_id),
            Command::Settled => Self::Settled(packet.connection_id),
            other => Self::Unknown(other),
        })
    }
}

impl From<Event> for Packet {
    fn from(event: Event) -> Self {
        match event {
            Event::Connect(client) => client.packet(Command::OnConnect),
            Event::WebSocketConnect(client, request) => Self {
                flags: 0,
                body: Bytes::from(php::serialize(&request)),
                ..client.packet(Command::OnWebSocketConnect)
            },
            Event::Message(client, message) => {
                let (flags, body) = message.into_parts();
                Self { flags, body, ..client.packet(Command::OnMessage) }
            }
            Event::Close(client) => client.packet(Command::OnClose),
            Event::Ping => Self::new(Command::Ping, 0),
            Event::Probe => Self::new(Command::Probe, 0),
            Event::Hello(hello) => {
                Self { body: json::write(&hello), ..Self::new(Command::Hello, 0) }
            }
            Event::Adopt(client) => client.packet(Command::Adopt),
            Event::Fence => Self::new(Command::Fence, 0),
            Event::Synced => Self::new(Command::Synced, 0),
            Event::Refused(reason) => {
                Self { body: Bytes::from(reason), ..Self::new(Command::Refused, 0) }
            }
            Event::Returned(client) => client.packet(Command::Returned),
            Event::Forget(client) => client.packet(Command::Forget),
            Event::Witness(witness) => witness.into_packet(),
            Event::Relay(note) => note.into_packet(),
            Event::HeldNames(entries) => entries.into(),
            Event::Settle(number) => Self::new(Command::Settle, number),
            Event::Settled(number) => Self::new(Command::Settled, number),
            Event::Unknown(command) => Self::new(command, 0),
        }
    }
}

impl Client {
    fn of(packet: Packet) -> Self {
        Self {
            id: ClientId::new(packet.local_ip, packet.local_port, packet.connection_id),
            ip: packet.client_ip,
            port: packet.client_port,
            gateway_port: packet.gateway_port,
            session: packet.ext,
            form: packet.session,
        }
    }

    fn packet(self, command: Command) -> Packet {
        Packet {
            command,
            local_ip: self.id.local_ip,
            local_port: self.id.local_port,
            client_ip: self.ip,
            client_port: self.port,
            connection_id: self.id.connection_id,
            flags: flags::SCALAR,
            gateway_port: self.gateway_port,
            ext: self.session,
            session: self.form,
            body: Bytes::new(),
        }
    }
}
