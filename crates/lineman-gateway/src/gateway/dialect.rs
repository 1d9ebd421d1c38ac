//! What clients speak: how their messages become packets, and packets what they understand.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use lineman::BoxError;
use lineman::connection::{Driver, WebSocket};
use lineman::websocket::Prepared;
use lineman_wire::link::{Body, RequestHead, php_json};
use lineman_wire::php;
use lineman_wire::text::Text;
use lineman_wire::websocket::{Message, Request, Utf8Bytes, Version};

use super::outlet::Form;

/// A protocol that a gateway can speak with its clients. Public in name only: users meet it as the
/// bound of [`crate::Gateway`], and cannot implement it.
pub trait Dialect: Driver {
    /// The bytes of a message that go into a packet.
    fn payload(message: Self::Inbound) -> Bytes;

    /// The body of `ON_WEBSOCKET_CONNECT`, if there is a handshake.
    fn handshake(opening: &Self::Opening, remote: SocketAddr, server_port: u16) -> Bytes;

    /// What clients understand of a packet's body.
    fn form(body: Body) -> Result<Form, BoxError>;
}

impl Dialect for WebSocket {
    fn payload(message: Message) -> Bytes {
        message.into_bytes()
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

    fn form(body: Body) -> Result<Form, BoxError> {
        let message = match body {
            Body::Raw(wire) => return Ok(Form::Wire(wire)),
            // The packet does not say whether a message is text; what can be text is.
            Body::Scalar(payload) => match Utf8Bytes::try_from(payload.clone()) {
                Ok(text) => Message::from(text),
                Err(_) => Message::from(payload),
            },
            Body::Value(value) => Message::from(php_json::to_string(&value)?),
        };
        Ok(Form::Message(Prepared::new(message)))
    }
}

impl Dialect for Text {
    fn payload(message: String) -> Bytes {
        Bytes::from(message)
    }

    fn handshake((): &(), _: SocketAddr, _: u16) -> Bytes {
        Bytes::new()
    }

    /// As `GatewayWorker`, it does not look for line breaks within: such a message is several lines.
    fn form(body: Body) -> Result<Form, BoxError> {
        let line = match body {
            Body::Raw(wire) => return Ok(Form::Wire(wire)),
            Body::Scalar(line) => line,
            Body::Value(value) => Bytes::from(php_json::to_vec(&value)?),
        };
        let mut wire = BytesMut::with_capacity(line.len() + 1);
        wire.extend_from_slice(&line);
        wire.extend_from_slice(b"\n");
        Ok(Form::Wire(wire.freeze()))
    }
}
