//! A business whose clients tell it what to do, by the names that `GatewayWorker` has for it: the Rust half of what
//! `tests/peers/business.php` is in PHP.
//!
//! - `{"api": NAME, "args": […]}` is a call; with `"n": NUMBER` its result comes back, `{"n": …, "result": …}`;
//!   `currentClientId` is one that `GatewayWorker` does without;
//! - `{"sess": {…}}` sets fields of the session;
//! - anything else comes back if `CALLS_ECHO` is set.
//!
//! `CALLS_REGISTER` has the register's address, `CALLS_SECRET` the cluster's key, `CALLS_BUSINESSES` the number of
//! processes (1). `CALLS_EVENTS` is a file that gets a line for each event: `connect ID`, `message ID TEXT`, `close ID`.

use std::env;
use std::fs::File;
use std::io::Write as _;

use lineman::prelude::*;
use lineman_gateway::{Business, Client, Events, Hub, Message};
use lineman_wire::link::ClientId;
use lineman_wire::php::Array;
use serde_json::{Value, json};

struct Obedient;

impl Events for Obedient {
    type Session = Array;

    async fn on_connect(&self, _hub: &Hub, client: &mut Client<Array>) -> Result {
        note("connect", client, "")
    }

    async fn on_message(&self, hub: &Hub, client: &mut Client<Array>, message: Message) -> Result {
        note("message", client, message.as_text().unwrap_or("binary"))?;
        let order: Value = message.json().unwrap_or_default();
        if let Some(fields) = order.get("sess").and_then(Value::as_object) {
            for (name, value) in fields {
                let value: lineman_wire::php::Value = serde_json::from_value(value.clone())?;
                client.session.insert(name.as_str(), value);
            }
            return Ok(());
        }
        let Some(api) = order["api"].as_str() else {
            return if env::var("CALLS_ECHO").is_ok() { client.send(message) } else { Ok(()) };
        };
        let call = Call { hub, id: client.id(), arguments: &order["args"] };
        let result = call.make(api).await?;
        match order.get("n") {
            Some(number) => client.send(json!({ "n": number, "result": result })),
            None => Ok(()),
        }
    }

    async fn on_close(&self, _hub: &Hub, client: &mut Client<Array>) -> Result {
        note("close", client, "")
    }
}

/// One call of a client.
struct Call<'a> {
    hub: &'a Hub,
    /// The client that made it.
    id: ClientId,
    arguments: &'a Value,
}

impl Call<'_> {
    async fn make(&self, api: &str) -> Result<Value> {
        let done = match api {
            "sendToAll" => self.send_to_all(),
            "sendToClient" => self.hub.send_to_client(self.client(0)?, self.message(1)),
            "sendToCurrentClient" => self.hub.send_to_client(self.id, self.message(0)),
            "sendToUid" => self.hub.send_to_uids(&self.names(0), self.message(1)),
            "sendToGroup" if self.arguments[2].is_array() => {
                let groups = self.names(0);
                self.hub.send_to_groups_except(&groups, self.message(1), &self.clients(2)?)
            }
            "sendToGroup" => self.hub.send_to_groups(&self.names(0), self.message(1)),
            "closeClient" if self.arguments[1].is_null() => self.hub.close_client(self.client(0)?),
            "closeClient" => self.hub.close_client_with(self.client(0)?, self.message(1)),
            "destoryClient" => self.hub.destroy_client(self.client(0)?),
            "bindUid" => self.hub.bind_uid(self.client(0)?, self.name(1)),
            "unbindUid" => self.hub.unbind_uid(self.client(0)?),
            "joinGroup" => self.hub.join(self.client(0)?, self.name(1)),
            "leaveGroup" => self.hub.leave(self.client(0)?, self.name(1)),
            "ungroup" => self.hub.ungroup(self.name(0)),
            "setSession" => self.hub.set_session(self.client(0)?, &self.array(1)?),
            "updateSession" => self.hub.update_session(self.client(0)?, &self.array(1)?),
            _ => return self.ask(api).await,
        };
        // An empty name is refused here, and ignored by a gateway.
        Ok(Value::Bool(done.is_ok()))
    }

    async fn ask(&self, api: &str) -> Result<Value> {
        let (hub, name) = (self.hub, || self.name(0));
        Ok(match api {
            "currentClientId" => self.id.to_string().into(),
            "isOnline" => i32::from(hub.is_online(self.client(0)?).await?).into(),
            "isUidOnline" => i32::from(hub.is_uid_online(name()).await?.value).into(),
            "getClientIdByUid" => hex(hub.client_ids_by_uid(name()).await?.value),
            "getUidByClientId" => json!(hub.uid_by_client_id(self.client(0)?).await?),
            "getAllClientIdCount" => hub.client_count().await?.value.into(),
            "getClientIdCountByGroup" => hub.client_count_in_group(name()).await?.value.into(),
            "getAllClientIdList" => hex(hub.client_ids().await?.value),
            "getClientIdListByGroup" => hex(hub.client_ids_in_groups(&self.names(0)).await?.value),
            "getAllUidList" => json!(hub.uids().await?.value),
            "getUidListByGroup" => json!(hub.uids_in_groups(&self.names(0)).await?.value),
            "getAllGroupIdList" => json!(hub.groups().await?.value),
            "getAllGroupUidList" => json!(hub.uids_by_group().await?.value),
            "getAllGroupClientIdList" => {
                let groups = hub.client_ids_by_group().await?.value;
                json!(
                    groups
                        .into_iter()
                        .map(|(group, ids)| (group, hex(ids)))
                        .collect::<serde_json::Map<_, _>>()
                )
            }
            "getSession" => json!(hub.session::<Array>(self.client(0)?).await?),
            "getAllClientSessions" => sessions(hub.sessions().await?.value),
            "getClientSessionsByGroup" => sessions(hub.sessions_in_group(name()).await?.value),
            other => return Err(format!("{other} is no call").into()),
        })
    }

    fn send_to_all(&self) -> Result {
        let except = self.clients(2)?;
        if self.arguments[1].is_null() {
            return if except.is_empty() {
                self.hub.send_to_all(self.message(0))
            } else {
                self.hub.send_to_all_except(self.message(0), &except)
            };
        }
        let mut clients = self.clients(1)?;
        clients.retain(|client| !except.contains(client));
        self.hub.send_to_clients(&clients, self.message(0))
    }

    /// Returns a message as PHP sends values: what is no array as its string.
    fn message(&self, place: usize) -> Message {
        match &self.arguments[place] {
            Value::String(text) => Message::from(text.as_str()),
            Value::Bool(true) => Message::from("1"),
            Value::Bool(false) => Message::from(""),
            Value::Number(number) => Message::from(number.to_string()),
            other => Message::from(other.to_string()),
        }
    }

    fn name(&self, place: usize) -> String {
        match &self.arguments[place] {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        }
    }

    fn names(&self, place: usize) -> Vec<String> {
        match &self.arguments[place] {
            Value::Array(names) => {
                let call = |name: &Value| Call { arguments: &json!([name]), ..*self }.name(0);
                names.iter().map(call).collect()
            }
            _ => vec![self.name(place)],
        }
    }

    fn client(&self, place: usize) -> Result<ClientId> {
        Ok(self.name(place).parse()?)
    }

    fn clients(&self, place: usize) -> Result<Vec<ClientId>> {
        if self.arguments[place].is_null() {
            return Ok(Vec::new());
        }
        self.names(place).iter().map(|id| Ok(id.parse()?)).collect()
    }

    fn array(&self, place: usize) -> Result<Array> {
        Ok(serde_json::from_value(self.arguments[place].clone())?)
    }
}

fn hex(ids: impl IntoIterator<Item = ClientId>) -> Value {
    ids.into_iter().map(|id| Value::from(id.to_string())).collect()
}

fn sessions(sessions: std::collections::BTreeMap<ClientId, Array>) -> Value {
    let by_id = sessions.into_iter().map(|(id, session)| (id.to_string(), json!(session)));
    Value::Object(by_id.collect())
}

/// Writes an event down in one piece: several processes write to the file.
fn note(what: &str, client: &Client<Array>, text: &str) -> Result {
    let Ok(path) = env::var("CALLS_EVENTS") else { return Ok(()) };
    let text = text.get(..100).unwrap_or(text);
    let line = format!("{what} {} {text}\n", client.id());
    Ok(File::options().append(true).create(true).open(path)?.write_all(line.as_bytes())?)
}

fn main() -> Result {
    Business::new(Obedient)
        .register(env::var("CALLS_REGISTER")?)
        .secret_key(env::var("CALLS_SECRET").unwrap_or_default())
        .count(env::var("CALLS_BUSINESSES").map_or(Ok(1), |count| count.parse())?)
        .run()
}
