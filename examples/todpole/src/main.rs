//! A pond of tadpoles behind gateways: all who open the page swim in it, see one another and talk.
//!
//! `cargo run --bin todpole start`, then open <http://127.0.0.1:8282/>. On the wire it is the tadpole game that is
//! made for `GatewayWorker`, so that the page of either runs with the server of the other.
//!
//! | variable | default | what it is |
//! |---|---|---|
//! | `TODPOLE_LISTEN` | `0.0.0.0:8282` | where clients connect |
//! | `TODPOLE_REGISTER` | `127.0.0.1:1237` | where the register listens |

mod page;
mod pond;
mod word;

use std::time::Duration;

use lineman::prelude::*;
use lineman_gateway::{Business, Gateway, Register};

fn main() -> Result {
    let setting = |name, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let listen = setting("TODPOLE_LISTEN", "0.0.0.0:8282");
    let register = setting("TODPOLE_REGISTER", "127.0.0.1:1237");
    let gateway = Gateway::websocket(&listen)
        .name("todpole-gateway")
        .count(2)
        .http(page::router())
        .ping_interval(Duration::from_secs(10))
        .ping_data(r#"{"type":"ping"}"#)
        .register(&register);
    let business = Business::new(pond::Pond).name("todpole-business").count(2).register(&register);
    App::new().service(Register::listen(&register)).service(gateway).service(business).run()
}
