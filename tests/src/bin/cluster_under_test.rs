//! A cluster behind TLS, for the black-box tests: a register, a gateway for `wss`, a business.
//!
//! - `CLUSTER_LISTEN`, `CLUSTER_REGISTER`: the addresses of the gateway and the register;
//! - `CLUSTER_CERTIFICATE`, `CLUSTER_KEY`: the gateway's files.
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
    let tls = Tls::files(env::var("CLUSTER_CERTIFICATE")?, env::var("CLUSTER_KEY")?);
    let limits = Limits { handshake_time: Duration::from_hours(24), ..Limits::default() };
    App::new()
        .service(Register::listen(&register))
        .service(
            Gateway::websocket(env::var("CLUSTER_LISTEN")?)
                .tls(tls)
                .limits(limits)
                .register(&register),
        )
        .service(Business::new(Crier).register(&register))
        .run()
}
