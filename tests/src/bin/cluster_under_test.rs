//! A cluster, or a part of one, for the black-box tests: a register, a gateway, a business.
//!
//! - `CLUSTER_SERVICES`: those that run, of `register`, `gateway` and `business`;
//! - `CLUSTER_LISTEN`, `CLUSTER_REGISTER`: the addresses of the gateway and the register;
//! - `CLUSTER_CERTIFICATE`, `CLUSTER_KEY`: the gateway's files, if it is for `wss`.
//!
//! What a client says everybody hears. A handshake may take a day: who is turned away sooner was not
//! waited for.

use std::env;
use std::time::Duration;

use lineman::connection::Limits;
use lineman::prelude::*;
use lineman::tls::Tls;
use lineman_gateway::{Business, Client, Events, Gateway, Hub, Message, Register};

struct Crier;

impl Events for Crier {
    type Session = ();

    async fn on_message(&self, hub: &Hub, _client: &mut Client, message: Message) -> Result {
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
                let gateway =
                    Gateway::websocket(env::var("CLUSTER_LISTEN")?).limits(limits.clone());
                app.service(with_tls(gateway)?.register(&register))
            }
            "business" => app.service(Business::new(Crier).register(&register)),
            other => return Err(format!("{other} is no service of a cluster").into()),
        };
    }
    app.run()
}

fn with_tls(gateway: Gateway) -> Result<Gateway> {
    let Ok(certificate) = env::var("CLUSTER_CERTIFICATE") else { return Ok(gateway) };
    Ok(gateway.tls(Tls::files(certificate, env::var("CLUSTER_KEY")?)))
}
