//! A chat behind gateways: the page and the WebSocket share one port, people are held by gateways,
//! and the application is the `Chat` that the businesses run.
//!
//! `cargo run --bin chat start`, then open <http://127.0.0.1:7272/>.

mod chat;
mod clock;
mod command;
mod html;
mod page;

use std::env;
use std::time::Duration;

use lineman::prelude::*;
use lineman_gateway::{Business, Gateway, Register};

fn main() -> Result {
    let listen = setting("CHAT_LISTEN", "0.0.0.0:7272");
    let register = setting("CHAT_REGISTER", "127.0.0.1:1236");
    let gateway = Gateway::websocket(listen)
        .name("chat-gateway")
        .count(2)
        .http(page::router())
        .register(&register)
        .ping_interval(Duration::from_secs(10))
        .ping_data(r#"{"type":"ping"}"#);
    App::new()
        .service(Register::listen(&register))
        .service(gateway)
        .service(Business::new(chat::Chat).name("chat-business").count(2).register(&register))
        .run()
}

fn setting(variable: &str, default: &str) -> String {
    env::var(variable).unwrap_or_else(|_| default.to_owned())
}
