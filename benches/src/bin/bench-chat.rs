//! The chat that `bench chat` measures: a gateway, and a business that sends what it hears to the
//! sender's room. The first message of a client names its room and comes back.

use lineman::prelude::*;
use lineman_gateway::{Business, Client, Events, Gateway, Hub, Register};
use serde::{Deserialize, Serialize};

struct Rooms;

#[derive(Default, Serialize, Deserialize)]
struct Session {
    room: String,
}

impl Events for Rooms {
    type Session = Session;

    async fn on_message(
        &self,
        hub: &Hub,
        client: &mut Client<Session>,
        message: Message,
    ) -> Result {
        if !client.session.room.is_empty() {
            return hub.send_to_group(&client.session.room, message);
        }
        let number = message.as_text().and_then(|text| text.get(..6)).ok_or("no room")?;
        let room = format!("room{number}");
        client.join(&room)?;
        client.session = Session { room };
        client.send(message)
    }
}

fn main() -> Result {
    let listen = std::env::var("BENCH_LISTEN").unwrap_or_else(|_| "127.0.0.1:7272".to_owned());
    let register = std::env::var("BENCH_REGISTER").unwrap_or_else(|_| "127.0.0.1:1236".to_owned());
    App::new()
        .service(Register::listen(&register))
        .service(Gateway::websocket(listen).register(&register))
        .service(Business::new(Rooms).register(&register))
        .run()
}
