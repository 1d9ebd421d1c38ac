//! One person in the chat: enters, says things, hears things.

use anyhow::{Context, Result};
use lineman_testkit::Client;
use serde_json::{Value, json};

use crate::programs::Server;

/// Somebody who is in a room.
#[derive(Debug)]
pub struct Person {
    /// The name under which they entered.
    pub name: String,
    /// Their client id, 20 hex digits.
    pub id: String,
    /// Their connection.
    pub client: Client,
}

impl Person {
    /// Connects, and enters `room` under `name`.
    ///
    /// # Errors
    /// When the chat does not let them in.
    pub async fn enter(server: &Server, room: &str, name: &str) -> Result<Self> {
        Self::enter_by(server.client().await?, room, name).await
    }

    /// Enters `room` under `name` by a connection that is open.
    ///
    /// # Errors
    /// When the chat does not let them in.
    pub async fn enter_by(mut client: Client, room: &str, name: &str) -> Result<Self> {
        client.send_json(&json!({ "type": "login", "client_name": name, "room_id": room })).await?;
        // The answer to the newcomer alone has the list of people.
        let answer = client.next_json(|news| news["client_list"].is_object()).await?;
        let id = answer["client_id"].as_str().context("an id of the newcomer")?.to_owned();
        Ok(Self { name: name.to_owned(), id, client })
    }

    /// Returns which gateway holds the connection: its inner port, as the id has it.
    pub fn gateway(&self) -> &str {
        self.id.get(8..12).unwrap_or_default()
    }

    /// Says something to the room.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn say(&mut self, content: &str) -> Result<()> {
        self.client.send_json(&say(content)).await
    }

    /// Says something to one person of the room.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn say_to(&mut self, other: &Self, content: &str) -> Result<()> {
        let mut said = say(content);
        said["to_client_id"] = Value::from(&*other.id);
        said["to_client_name"] = Value::from(&*other.name);
        self.client.send_json(&said).await
    }

    /// Waits until the chat refuses something, and returns why.
    ///
    /// # Errors
    /// When it does not.
    pub async fn is_refused(&mut self) -> Result<String> {
        let refused = self.client.next_json(|news| news["type"] == "error").await?;
        Ok(refused["message"].as_str().context("a reason")?.to_owned())
    }

    /// Waits until `name` says `content`; what others say before is not kept.
    ///
    /// # Errors
    /// When they do not.
    pub async fn hears(&mut self, name: &str, content: &str) -> Result<()> {
        let wanted = |news: &Value| {
            news["type"] == "say" && news["from_client_name"] == name && news["content"] == content
        };
        let heard = self.client.next_json(wanted).await;
        heard.with_context(|| format!("{} did not hear {name} say {content:?}", self.name))?;
        Ok(())
    }

    /// Waits until somebody leaves the room, and returns their name.
    ///
    /// # Errors
    /// When nobody does.
    pub async fn sees_leave(&mut self) -> Result<String> {
        let news = self.client.next_json(|news| news["type"] == "logout").await?;
        Ok(news["from_client_name"].as_str().context("who left")?.to_owned())
    }
}

/// Returns what a page sends to say something to its room.
pub(crate) fn say(content: &str) -> Value {
    json!({ "type": "say", "to_client_id": "all", "to_client_name": "all", "content": content })
}
