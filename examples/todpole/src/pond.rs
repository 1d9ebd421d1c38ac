//! The pond: each who comes gets a number, and all hear where each one is, what it says, and that it has left.

use std::hash::{DefaultHasher, Hash, Hasher};

use lineman::Result;
use lineman_gateway::{Client, Events, Hub, Message};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::word::{Place, Word};

/// The handlers of the pond.
#[derive(Debug)]
pub(crate) struct Pond;

/// What is kept of a tadpole.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Session {
    /// Its number; 0 before the welcome.
    id: u64,
}

/// Numbers are exact in a page up to 53 bits.
const ID_BITS: u32 = 53;

impl Events for Pond {
    type Session = Session;

    async fn on_connect(&self, _hub: &Hub, client: &mut Client<Session>) -> Result {
        // PHP's server takes the time in seconds, which two can share.
        let mut hasher = DefaultHasher::new();
        client.id().to_string().hash(&mut hasher);
        client.session.id = hasher.finish() >> (u64::BITS - ID_BITS);
        client.send(json!({ "type": "welcome", "id": client.session.id }))
    }

    /// It swims on; those who were told that it has left see it when it moves.
    async fn on_return(&self, _hub: &Hub, _client: &mut Client<Session>) -> Result {
        Ok(())
    }

    async fn on_message(
        &self,
        hub: &Hub,
        client: &mut Client<Session>,
        message: Message,
    ) -> Result {
        let id = client.session.id;
        match Word::read(message.as_bytes()) {
            Some(Word::Update(Place { x, y, angle, momentum, name })) => hub.send_to_all(json!({
                "type": "update",
                "id": id,
                "angle": angle,
                "momentum": momentum,
                "x": x,
                "y": y,
                "life": 1,
                "name": name.unwrap_or_else(|| format!("Guest.{:04}", id % 10_000)),
                "authorized": false,
            })),
            Some(Word::Message(text)) => {
                hub.send_to_all(json!({ "type": "message", "id": id, "message": text }))
            }
            None => Ok(()),
        }
    }

    async fn on_close(&self, hub: &Hub, client: &mut Client<Session>) -> Result {
        hub.send_to_all(json!({ "type": "closed", "id": client.session.id }))
    }
}
