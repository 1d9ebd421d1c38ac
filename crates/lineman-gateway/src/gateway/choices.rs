//! What can be chosen of how a gateway treats its clients, and what becomes of a message by the choice of its type.

use bytes::Bytes;
use lineman::BoxError;
use lineman_wire::link::{Body, php_json};
use serde::{Deserialize, Serialize};

use super::dialect::Typed;

/// What happens to a client that reads more slowly than it is sent to, when its send queue
/// ([`Limits::send_queue`](lineman::connection::Limits::send_queue)) is at its bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SlowClient {
    /// It is closed (1013) and counted as `slow_clients`. The default: a client that silently
    /// misses messages shows what is not so, and a reconnect mends it.
    #[default]
    Close,
    /// It misses the message, which is counted as `dropped_messages`; `GatewayWorker`'s way.
    DropMessage,
}

/// Whether clients that speak WebSocket are sent text or binary.
///
/// A browser's page gets text as a string, and binary as a `Blob` or an `ArrayBuffer`. A message that a gateway must
/// not send by this choice is refused, logged and counted as `refused_messages`. What a business has encoded itself,
/// as PHP's `raw` says, goes out as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MessageType {
    /// Always text, as `GatewayWorker` does it by default. What is not UTF-8 is refused, for a client would close the
    /// connection.
    Text,
    /// Always binary.
    Binary,
    /// As a business of Lineman's has sent it: its messages have a type, and keep it. The default.
    ///
    /// What has no type, from PHP, from [`Gateway::ping_data`](crate::Gateway::ping_data) and from an array that
    /// becomes JSON, has the type in which the client has last spoken, and is text until it has; what is not UTF-8 is
    /// binary for everybody.
    #[default]
    AsReceived,
}

/// The type of a client's last message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum PayloadType {
    #[default]
    Text,
    Binary,
}

impl PayloadType {
    /// Notes a message of a client's. Those of other protocols than WebSocket have no type.
    pub(super) fn note(&mut self, message: &Body) {
        match message {
            Body::Text(_) => *self = Self::Text,
            Body::Binary(_) => *self = Self::Binary,
            Body::Scalar(_) | Body::Raw(_) | Body::Value(_) => {}
        }
    }
}

/// A message in the form that clients get.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Forms<F> {
    /// The same for all.
    Same(F),
    /// By the type in which each has last spoken.
    AsSpoken { text: F, binary: F },
}

impl<F> Forms<F> {
    /// Makes it of a packet's body.
    ///
    /// # Errors
    /// The body has no form that clients understand.
    pub(super) fn new(
        body: Body,
        message_type: MessageType,
        form: fn(Typed) -> Result<F, BoxError>,
    ) -> Result<Self, BoxError> {
        let (payload, spoken) = match body {
            Body::Raw(wire) => return form(Typed::Wire(wire)).map(Self::Same),
            Body::Value(value) => (Bytes::from(php_json::to_client(&value)?), None),
            Body::Scalar(payload) => (payload, None),
            Body::Text(payload) => (payload, Some(PayloadType::Text)),
            Body::Binary(payload) => (payload, Some(PayloadType::Binary)),
        };
        let typed = match (message_type, spoken) {
            (MessageType::AsReceived, None) => return Self::as_spoken(payload, form),
            (MessageType::Text, _) | (MessageType::AsReceived, Some(PayloadType::Text)) => {
                Typed::Text(payload)
            }
            (MessageType::Binary, _) | (MessageType::AsReceived, Some(PayloadType::Binary)) => {
                Typed::Binary(payload)
            }
        };
        form(typed).map(Self::Same)
    }

    fn as_spoken(payload: Bytes, form: fn(Typed) -> Result<F, BoxError>) -> Result<Self, BoxError> {
        let text = form(Typed::Text(payload.clone()));
        let binary = form(Typed::Binary(payload))?;
        Ok(match text {
            Ok(text) => Self::AsSpoken { text, binary },
            Err(_) => Self::Same(binary),
        })
    }

    /// Returns the same made of another thing each.
    pub(super) fn map<G, E>(&self, make: impl Fn(&F) -> Result<G, E>) -> Result<Forms<G>, E> {
        Ok(match self {
            Self::Same(form) => Forms::Same(make(form)?),
            Self::AsSpoken { text, binary } => {
                Forms::AsSpoken { text: make(text)?, binary: make(binary)? }
            }
        })
    }

    /// Returns what a client gets that has last spoken so.
    pub(super) fn to(&self, spoken: PayloadType) -> &F {
        match (self, spoken) {
            (Self::Same(form), _) | (Self::AsSpoken { text: form, .. }, PayloadType::Text) => form,
            (Self::AsSpoken { binary, .. }, PayloadType::Binary) => binary,
        }
    }
}
