//! The application: what happens when someone enters a room, says something, or leaves.
//!
//! Message for message the chat demo of `GatewayWorker`, so its page and its PHP back end may stand in
//! for ours. Where that one fails (a text before the login, a login without a room), this one answers
//! `{"type":"error","message":…}` to the sender.

use lineman::Result;
use lineman_gateway::{Client, ClientId, Events, Hub, Message};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::command::{Command, Login, Room, Say, Understood};
use crate::{clock, html};

/// The handlers of the chat.
#[derive(Debug)]
pub(crate) struct Chat;

/// What is kept about a person; empty before the login. Keys are those of the PHP demo.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Session {
    room_id: Room,
    /// Escaped as HTML, as it is shown.
    client_name: String,
}

impl Events for Chat {
    type Session = Session;

    async fn on_message(
        &self,
        hub: &Hub,
        client: &mut Client<Session>,
        message: Message,
    ) -> Result {
        match Command::read(message.as_bytes()) {
            Understood::Command(Command::Login(login)) => enter(hub, client, login).await,
            Understood::Command(Command::Say(say)) => speak(hub, client, say).await,
            Understood::Ignored => Ok(()),
            Understood::Refused(why) => refuse(client, &why),
        }
    }

    async fn on_close(&self, hub: &Hub, client: &mut Client<Session>) -> Result {
        tell_departure(hub, client)
    }

    /// The room was told that this person left.
    async fn on_return(&self, hub: &Hub, client: &mut Client<Session>) -> Result {
        let room = &client.session.room_id;
        if room.is_nowhere() {
            return Ok(());
        }
        hub.send_to_group_except(room.as_str(), arrival(client), &[client.id()])
    }
}

async fn enter(hub: &Hub, client: &mut Client<Session>, login: Login) -> Result {
    let room = &login.room;
    if !client.session.room_id.is_nowhere() && client.session.room_id != *room {
        client.leave(client.session.room_id.as_str())?;
        tell_departure(hub, client)?;
    }
    let name = html::escape(&login.name);
    client.session = Session { room_id: room.clone(), client_name: name.clone() };
    // Members first, the list second: of two who enter at once, each finds the other in the list or
    // hears of the other's login.
    hub.set_session(client.id(), &client.session)?;
    client.join(room.as_str())?;

    let mut people = Map::new();
    // The people of a machine that does not answer are missing; a list without them is better than none.
    for (id, session) in hub.sessions_in_group::<Session>(room.as_str()).await?.value {
        if !session.client_name.is_empty() {
            people.insert(id.to_string(), session.client_name.into());
        }
    }
    people.insert(client.id().to_string(), name.as_str().into());

    let mut news = arrival(client);
    hub.send_to_group_except(room.as_str(), &news, &[client.id()])?;
    news["client_list"] = people.into();
    client.send(&news)
}

async fn speak(hub: &Hub, client: &Client<Session>, say: Say) -> Result {
    let room = &client.session.room_id;
    if room.is_nowhere() {
        return refuse(client, "log in before you say something");
    }
    let content = html::lines(&html::escape(&say.content));
    let message = |content: String| {
        json!({
            "type": "say",
            "from_client_id": client.id().to_string(),
            "from_client_name": client.session.client_name,
            "to_client_id": say.to_client_id,
            "content": content,
            "time": clock::now(),
        })
    };
    if say.to_client_id == "all" {
        return hub.send_to_group(room.as_str(), message(content));
    }
    let Ok(target) = say.to_client_id.parse::<ClientId>() else {
        return refuse(client, "there is nobody of this id");
    };
    match hub.session::<Session>(target).await {
        Ok(Some(session)) if session.room_id == *room => {}
        Ok(_) => return refuse(client, "this person is not in the room"),
        // Their machine may be dead: the one who speaks is told, and stays.
        Err(_) => return refuse(client, "this person is not reachable"),
    }
    if hub.send_to_client(target, message(format!("<b>对你说: </b>{content}"))).is_err() {
        return refuse(client, "this person is not reachable");
    }
    let name = html::escape(&say.to_client_name);
    client.send(message(format!("<b>你对{name}说: </b>{content}")))
}

/// What a room hears of one who enters.
fn arrival(client: &Client<Session>) -> Value {
    json!({
        "type": "login",
        "client_id": client.id().to_string(),
        // Escaped once more than in the list: so does the demo, and its pages count on it.
        "client_name": html::escape(&client.session.client_name),
        "time": clock::now(),
    })
}

fn tell_departure(hub: &Hub, client: &Client<Session>) -> Result {
    let session = &client.session;
    if session.room_id.is_nowhere() {
        return Ok(());
    }
    let news = json!({
        "type": "logout",
        "from_client_id": client.id().to_string(),
        "from_client_name": session.client_name,
        "time": clock::now(),
    });
    hub.send_to_group(session.room_id.as_str(), &news)
}

fn refuse(client: &Client<Session>, why: &str) -> Result {
    client.send(json!({ "type": "error", "message": why }))
}
