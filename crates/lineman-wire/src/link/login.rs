//! How a peer of a gateway introduces itself.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{Command, Error, Packet, Secret, json};

/// The first packet of a link, with the cluster's key.
#[derive(Debug, Clone)]
pub enum Login {
    /// The peer is a business: it wants events.
    Worker {
        /// Names the business at its address: `NAME:ID`.
        worker_key: String,
        /// The cluster's key.
        secret_key: Secret,
        /// Extension: the version the business speaks; PHP has none.
        lineman: Option<u32>,
    },
    /// The peer sends commands and queries only; PHP's repeats this before each of them.
    Client {
        /// The cluster's key.
        secret_key: Secret,
        /// Extension 3: the version the client speaks; PHP has none. The gateway answers with
        /// [`Hello`](super::Hello) or [`Event::Refused`](super::Event::Refused), before any reply.
        lineman: Option<u32>,
    },
}

#[derive(Serialize, Deserialize)]
struct WorkerConnect<'a> {
    worker_key: String,
    #[serde(default)]
    secret_key: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cluster: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lineman: Option<u32>,
}

#[derive(Serialize, Deserialize)]
struct ClientConnect<'a> {
    #[serde(default)]
    secret_key: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cluster: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lineman: Option<u32>,
}

fn shown(secret_key: Cow<'_, str>, cluster: Option<Cow<'_, str>>) -> Secret {
    Secret::of_peer(secret_key, cluster.unwrap_or_default())
}

impl TryFrom<Packet> for Login {
    type Error = Error;

    /// # Errors
    /// The command is no login, or its JSON is broken.
    fn try_from(packet: Packet) -> Result<Self, Error> {
        match packet.command {
            Command::WorkerConnect => {
                let body: WorkerConnect<'_> = json::read(packet.command, &packet.body)?;
                let secret_key = shown(body.secret_key, body.cluster);
                let (worker_key, lineman) = (body.worker_key, body.lineman);
                Ok(Self::Worker { worker_key, secret_key, lineman })
            }
            Command::GatewayClientConnect => {
                let body: ClientConnect<'_> = json::read(packet.command, &packet.body)?;
                let (secret_key, lineman) = (shown(body.secret_key, body.cluster), body.lineman);
                Ok(Self::Client { secret_key, lineman })
            }
            other => Err(Error::UnexpectedCommand(other)),
        }
    }
}

impl From<Login> for Packet {
    fn from(login: Login) -> Self {
        match login {
            Login::Worker { worker_key, secret_key, lineman } => {
                let cluster = secret_key.cluster_name().map(Cow::from);
                let secret_key = secret_key.expose().into();
                let body = json::write(&WorkerConnect { worker_key, secret_key, cluster, lineman });
                Self { body, ..Self::new(Command::WorkerConnect, 0) }
            }
            Login::Client { secret_key, lineman } => {
                let cluster = secret_key.cluster_name().map(Cow::from);
                let secret_key = secret_key.expose().into();
                let body = json::write(&ClientConnect { secret_key, cluster, lineman });
                Self { body, ..Self::new(Command::GatewayClientConnect, 0) }
            }
        }
    }
}
