//! What a gateway speaks: how messages go out on a link or to a client, how a client's messages
//! become packets, and packets what clients understand.

use std::net::SocketAddr;

use bytes::Bytes;
use lineman::BoxError;
use lineman::connection::{Connection, Driver, SendError, WebSocket};
use lineman::websocket::{Accept, Prepared};
use lineman_wire::framed::Framed;
use lineman_wire::link::{Body, Codec, RequestHead};
use lineman_wire::php;
use lineman_wire::raw::Raw;
use lineman_wire::text::ByteLines;
use lineman_wire::websocket::{Message, Request, Utf8Bytes, Version};
use serde::{Deserialize, Serialize};

use super::MessageType;

/// A protocol in which a gateway sends. Public in name only, as [`ClientDialect`] is.
pub trait Dialect: Driver {
    /// A message as it goes out: made once, however many connections get it.
    type Form: 'static;

    /// Sends a message on a connection, in the variant that the connection has negotiated.
    fn deliver(connection: &Connection<Self>, form: &Self::Form) -> Result<(), SendError>;
}

/// A protocol that a gateway can speak with its clients. Public in name only: users meet it as the
/// bound of [`crate::Gateway`], and cannot implement it.
pub trait ClientDialect: Dialect {
    /// The type of messages where none is chosen; binary where there are no types.
    const MESSAGE_TYPE: MessageType;

    /// A message as it goes into a packet.
    fn body(message: Self::Inbound) -> Body;

    /// The request of a handshake, if there is one.
    fn request(opening: &Self::Opening) -> Option<&Request> {
        let _ = opening;
        None
    }

    /// Adds header lines to the answer that opens the connection.
    fn add_headers(
        connection: &Connection<Self>,
        headers: Vec<(String, String)>,
    ) -> lineman::Result {
        let _ = (connection, headers);
        Ok(())
    }

    /// The body of `ON_WEBSOCKET_CONNECT`, if there is a handshake.
    fn handshake(opening: &Self::Opening, remote: SocketAddr, server_port: u16) -> Bytes;

    /// A message as clients understand it.
    fn form(message: Typed) -> Result<Self::Form, BoxError>;

    /// What [`Self::form`] makes it of again, in another process.
    fn typed(form: &Self::Form) -> Typed;
}

/// A message to clients whose type is decided. Only WebSocket tells text and binary apart.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Typed {
    /// Bytes as they go out.
    Wire(#[serde(with = "crate::written")] Bytes),
    /// Text, if it is UTF-8.
    Text(#[serde(with = "crate::written")] Bytes),
    /// Binary.
    Binary(#[serde(with = "crate::written")] Bytes),
}

/// Links: packets in their wire form.
impl Dialect for Codec {
    type Form = Bytes;

    fn deliver(connection: &Connection<Self>, packet: &Bytes) -> Result<(), SendError> {
        connection.send_encoded(packet.clone())
    }
}

/// A message to clients that speak WebSocket.
#[derive(Debug)]
pub enum WebSocketForm {
    /// Bytes as they go out.
    Wire(Bytes),
    /// A message: deflated at most once for all that negotiated the same.
    Message(Prepared),
}

impl Dialect for WebSocket {
    type Form = WebSocketForm;

    fn deliver(connection: &Connection<Self>, form: &WebSocketForm) -> Result<(), SendError> {
        match form {
            WebSocketForm::Wire(wire) => connection.send_encoded(wire.clone()),
            WebSocketForm::Message(message) => connection.send_prepared(message),
        }
    }
}

impl ClientDialect for WebSocket {
    const MESSAGE_TYPE: MessageType = MessageType::AsReceived;

    fn body(message: Message) -> Body {
        Body::from(message)
    }

    fn request(request: &Request) -> Option<&Request> {
        Some(request)
    }

    fn add_headers(
        connection: &Connection<Self>,
        headers: Vec<(String, String)>,
    ) -> lineman::Result {
        if headers.is_empty() {
            return Ok(());
        }
        let add = |accept: Accept, (name, value)| accept.header(name, value);
        connection.accept_with(headers.into_iter().fold(Accept::new(), add))
    }

    fn handshake(request: &Request, remote: SocketAddr, server_port: u16) -> Bytes {
        let headers: Vec<_> = request.headers().collect();
        let version = match request.version() {
            Version::Http10 => "HTTP/1.0",
            Version::Http11 => "HTTP/1.1",
        };
        let head = RequestHead {
            method: request.method(),
            uri: request.target(),
            version,
            headers: &headers,
            // An IPv4 client of a listener for both shows as itself.
            remote: SocketAddr::new(remote.ip().to_canonical(), remote.port()),
            server_port,
        };
        Bytes::from(php::serialize(&php::Value::Array(head.to_php())))
    }

    fn form(message: Typed) -> Result<WebSocketForm, BoxError> {
        let message = match message {
            Typed::Wire(wire) => return Ok(WebSocketForm::Wire(wire)),
            Typed::Text(payload) => Message::from(Utf8Bytes::try_from(payload)?),
            Typed::Binary(payload) => Message::from(payload),
        };
        Ok(WebSocketForm::Message(Prepared::new(message)))
    }

    fn typed(form: &WebSocketForm) -> Typed {
        match form {
            WebSocketForm::Wire(wire) => Typed::Wire(wire.clone()),
            WebSocketForm::Message(prepared) => match prepared.message() {
                Message::Text(text) => Typed::Text(text.clone().into_bytes()),
                Message::Binary(payload) => Typed::Binary(payload.clone()),
            },
        }
    }
}

/// Implements both traits for protocols without a handshake, whose messages are bytes in both directions.
macro_rules! bytes_dialects {
    ($($protocol:ty => $wire:expr),* $(,)?) => {$(
        impl Dialect for $protocol {
            type Form = Bytes;

            fn deliver(connection: &Connection<Self>, wire: &Bytes) -> Result<(), SendError> {
                connection.send_encoded(wire.clone())
            }
        }

        impl ClientDialect for $protocol {
            const MESSAGE_TYPE: MessageType = MessageType::Binary;

            fn body(message: Bytes) -> Body {
                Body::Scalar(message)
            }

            fn handshake((): &(), _: SocketAddr, _: u16) -> Bytes {
                Bytes::new()
            }

            fn form(message: Typed) -> Result<Bytes, BoxError> {
                let wire: fn(Bytes) -> Bytes = $wire;
                Ok(match message {
                    Typed::Wire(wire) => wire,
                    Typed::Text(message) | Typed::Binary(message) => wire(message),
                })
            }

            fn typed(wire: &Bytes) -> Typed {
                Typed::Wire(wire.clone())
            }
        }
    )*};
}

bytes_dialects! {
    // As `GatewayWorker`, it does not look for line breaks within: such a message is several lines.
    ByteLines => |line| joined(&[&line, b"\n"]),
    Framed => |message| {
        // A packet is far shorter than what the prefix can count.
        let length = u32::try_from(message.len() + 4).unwrap_or(u32::MAX);
        joined(&[&length.to_be_bytes(), &message])
    },
    Raw => |bytes| bytes,
}

fn joined(parts: &[&[u8]]) -> Bytes {
    Bytes::from(parts.concat())
}
