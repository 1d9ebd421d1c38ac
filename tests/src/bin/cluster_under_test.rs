//! A cluster, or a part of one, for the black-box tests: a register, a gateway, a business.
//!
//! - `CLUSTER_SERVICES`: those that run, of `register`, `gateway` and `business`;
//! - `CLUSTER_LISTEN`, `CLUSTER_REGISTER`: the addresses of the gateway and the register;
//! - `CLUSTER_BUSINESSES`: how many there are (1); `CLUSTER_ABANDON`: after how many seconds the clients of
//!   one that is silent move;
//! - `CLUSTER_CERTIFICATE`, `CLUSTER_KEY`: the gateway's files, if it is for `wss`.
//!
//! What a client says everybody hears, but for `wait`: its handler takes a minute. A handshake may take a day: a peer that is
//! turned away sooner was not waited for.

use std::env;
use std::str::FromStr;
use std::time::Duration;

use lineman::connection::Limits;
use lineman::prelude::*;
use lineman::tls::Tls;
use lineman_gateway::{Business, Client, Events, Gateway, Hub, Message, Register};

struct Crier;

impl Events for Crier {
    type Session = ();

    async fn on_message(&self, hub: &Hub, _client: &mut Client, message: Message) -> Result {
        if message.as_text() == Some("wait") {
            tokio::time::sleep(Duration::from_mins(1)).await;
            return Ok(());
        }
        hub.send_to_all(message)
    }
}

fn main() -> Result {
    let register = env::var("CLUSTER_REGISTER")?;
    let limits = Limits { handshake_time: Duration::from_hours(24), ..Limits::default() };
    let mut app = App::new();
    for service in env::var("CLUSTER_SERVICES")?.split_whitespace() {
        app = match service {
            "register" => app.service(Register::listen(&register)),
            "gateway" => {
                let gateway = Gateway::websocket(env::var("CLUSTER_LISTEN")?)
                    .limits(limits.clone())
                    .abandon_limit(Duration::from_secs(knob("CLUSTER_ABANDON", 30)?));
                app.service(with_tls(gateway)?.register(&register))
            }
            "business" => {
                let count = knob("CLUSTER_BUSINESSES", 1)?;
                app.service(Business::new(Crier).count(count).register(&register))
            }
            other => return Err(format!("{other} is no service of a cluster").into()),
        };
    }
    app.run()
}

/// Returns a number of the environment.
fn knob<T: FromStr>(name: &str, default: T) -> Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    env::var(name).map_or(Ok(default), |number| Ok(number.parse()?))
}

fn with_tls(gateway: Gateway) -> Result<Gateway> {
    let Ok(certificate) = env::var("CLUSTER_CERTIFICATE") else { return Ok(gateway) };
    Ok(gateway.tls(Tls::files(certificate, env::var("CLUSTER_KEY")?)))
}
