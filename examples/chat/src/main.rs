//! A chat behind gateways: the page and the WebSocket share one port, people are held by gateways,
//! and the application is the `Chat` that the businesses run.
//!
//! `cargo run --bin chat start`, then open <http://127.0.0.1:7272/>. On several machines (`docs/several-machines.md`)
//! the environment says what each is; a name beginning with `CHAT_` that is not among these is an error:
//!
//! | variable | default | what it is |
//! |---|---|---|
//! | `CHAT_LISTEN` | `0.0.0.0:7272` | where clients connect |
//! | `CHAT_SERVICES` | `register gateway business` | what runs here |
//! | `CHAT_REGISTER` | `127.0.0.1:1236` | the registers, `host:port`, apart by blanks or commas |
//! | `CHAT_REGISTER_LISTEN` | the one of `CHAT_REGISTER` | where the register here listens |
//! | `CHAT_LAN_IP` | `127.0.0.1` | where other machines reach this one: an IPv4 address, or a name |
//! | `CHAT_INNER_LISTEN` | the same | where businesses are listened for, if that differs |
//! | `CHAT_START_PORT` | 0, any | the port of the first gateway for businesses; the others follow it |
//! | `CHAT_CLUSTER` | none | the cluster's name, which keeps another one out that has the same key |
//! | `CHAT_SECRET`, or `CHAT_SECRET_FILE` | none | the cluster's key, or a file that has it |
//! | `CHAT_GATEWAYS`, `CHAT_BUSINESSES` | 2, 2 | how many processes of each run here |

mod chat;
mod clock;
mod command;
mod html;
mod page;
mod settings;

use std::time::Duration;

use lineman::prelude::*;
use lineman_gateway::{Business, ClusterSettings, Gateway, Register};

use settings::Settings;

fn main() -> Result {
    let settings = Settings::from_environment()?;
    let cluster = ClusterSettings::new().cluster(&settings.cluster).secret_key(&settings.secret);
    let cluster = settings.registers.iter().fold(cluster, ClusterSettings::register);
    let mut app = App::new();
    if let Some(listen) = &settings.register_listen {
        app = app.service(Register::listen(listen).cluster_settings(&cluster));
    }
    if let Some(count) = settings.gateways {
        app = app.service(gateway(&settings, count).cluster_settings(&cluster));
    }
    if let Some(count) = settings.businesses {
        let business = Business::new(chat::Chat).name("chat-business").count(count);
        app = app.service(business.cluster_settings(&cluster));
    }
    app.run()
}

fn gateway(settings: &Settings, count: usize) -> Gateway {
    let gateway = Gateway::websocket(&settings.listen)
        .name("chat-gateway")
        .count(count)
        .http(page::router())
        .lan_ip(&settings.lan_ip)
        .start_port(settings.start_port)
        .ping_interval(Duration::from_secs(10))
        .ping_data(r#"{"type":"ping"}"#);
    match &settings.inner_listen {
        Some(listen) => gateway.inner_listen(listen),
        None => gateway,
    }
}
