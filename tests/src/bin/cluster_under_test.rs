//! A cluster, or a part of one, for the black-box tests: a register, gateways, businesses.
//!
//! - `CLUSTER_SERVICES`: those that run, of `register`, `gateway` and `business`;
//! - `CLUSTER_LISTEN`: the address of the gateway; `CLUSTER_REGISTER`: those of the registers, apart by blanks;
//!   `CLUSTER_REGISTER_LISTEN`: that of the one here, the first of them by default;
//! - `CLUSTER_GATEWAYS`, `CLUSTER_BUSINESSES`: how many there are (1); `CLUSTER_ABANDON`: after how many seconds
//!   the clients of one that is silent move;
//! - `CLUSTER_LINK_TIMEOUT`, `CLUSTER_VERDICT`: after how many seconds a link to a machine that does not answer is
//!   given up (15), and then its gateway counts as dead (5);
//! - `CLUSTER_LAN_IP`, `CLUSTER_START_PORT`: where businesses find the gateways (127.0.0.1, any port);
//!   `CLUSTER_INNER_LISTEN`: where their links are listened for in place of that;
//! - `CLUSTER_SECRET`, `CLUSTER_NAME`: the cluster's key and its name (none);
//! - `CLUSTER_LINK_TLS`: whether links are encrypted (`off`); `CLUSTER_LINK_FILES`: by which certificate, key and
//!   authorities, apart by blanks (by the key);
//! - `CLUSTER_LIMIT`: after how many seconds without a business, or with too few gateways, it is not ready (30);
//! - `CLUSTER_PREFER`: `any` has a gateway give clients to businesses of other machines as well; `CLUSTER_ROUTER`: by
//!   what: `random`, `address`, `uid`, or a parameter of the query; `CLUSTER_PINNED`: to those of this name alone;
//! - `CLUSTER_BUSINESS_NAME`: what the businesses are called (`business`);
//! - `CLUSTER_EVENTS`: a file that gets a line when a client comes or goes: `MICROSECONDS connect|close ID`;
//! - `CLUSTER_SCHEME`: `text` for a gateway whose clients send lines;
//! - `CLUSTER_DEFLATE`: has a gateway for `ws` compress, and take contexts over;
//! - `CLUSTER_PING`: `MILLISECONDS LIMIT DATA`, how clients are pinged (never); `CLUSTER_LINK_PING`: after how many
//!   milliseconds links are (25 s, and never on one machine);
//! - `CLUSTER_CERTIFICATE`, `CLUSTER_KEY`: the gateway's files, if it is for `wss`.
//!
//! What a client says everybody hears, but for `wait`, whose handler takes a minute, and what begins with a
//! slash ([`Crier::order`]). A handshake may take a day: a peer that is turned away sooner was not waited for.

use std::env;
use std::fs::File;
use std::io::Write as _;
use std::str::FromStr;
use std::time::{Duration, UNIX_EPOCH};

use lineman::connection::{Driver, Limits};
use lineman::prelude::*;
use lineman::tls::Tls;
use lineman::websocket::Deflate;
use lineman_gateway::{
    Business, Client, Events, Gateway, Hub, LinkCertificates, LinkTls, Message, Prefer, Register,
    Router,
};

struct Crier;

impl Events for Crier {
    type Session = ();

    async fn on_connect(&self, _hub: &Hub, client: &mut Client) -> Result {
        note("connect", client)
    }

    async fn on_message(&self, hub: &Hub, client: &mut Client, message: Message) -> Result {
        match message.as_text() {
            Some("wait") => {
                tokio::time::sleep(Duration::from_mins(1)).await;
                Ok(())
            }
            Some(text) if text.starts_with('/') => self.order(hub, client, text).await,
            _ => hub.send_to_all(message),
        }
    }

    async fn on_close(&self, _hub: &Hub, client: &mut Client) -> Result {
        note("close", client)
    }
}

impl Crier {
    /// Carries out `/me TEXT` (back to the client alone), `/uid NAME` and `/join GROUP` (answered with the same),
    /// `/to NAME TEXT` and `/group GROUP TEXT`, `/id`, `/where` and `/process` (the machine and the process
    /// of the business) and `/count` (answered with the number, and a line for each gateway that is missing in it).
    async fn order(&self, hub: &Hub, client: &Client, text: &str) -> Result {
        let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
        let (name, message) = rest.split_once(' ').unwrap_or((rest, ""));
        match verb {
            "/me" => client.send(rest),
            "/uid" => {
                client.bind_uid(name)?;
                client.send(text)
            }
            "/join" => {
                client.join(name)?;
                client.send(text)
            }
            "/to" => hub.send_to_uid(name, message),
            "/group" => hub.send_to_group(name, message),
            "/id" => client.send(format!("/id {}", client.id())),
            "/where" => client.send(format!("/where {}", lan_ip())),
            "/process" => client.send(format!("/process {}", std::process::id())),
            "/count" => {
                let clients = hub.client_count().await?;
                let mut answer = vec![format!("/count {}", clients.value)];
                answer.extend(clients.missing.iter().map(|missing| missing.reason.to_string()));
                client.send(answer.join("\n"))
            }
            _ => client.send(format!("{verb} is no order")),
        }
    }
}

/// Writes down that a client came or went, in one piece: several processes write to the file.
fn note(what: &str, client: &Client) -> Result {
    let Ok(path) = env::var("CLUSTER_EVENTS") else { return Ok(()) };
    let line = format!("{} {what} {}\n", UNIX_EPOCH.elapsed()?.as_micros(), client.id());
    Ok(File::options().append(true).create(true).open(path)?.write_all(line.as_bytes())?)
}

fn lan_ip() -> String {
    env::var("CLUSTER_LAN_IP").unwrap_or_else(|_| "127.0.0.1".to_owned())
}

/// Has a service encrypt its links, if that is wanted.
macro_rules! secured {
    ($service:expr) => {{
        let service = $service.link_tls(knob("CLUSTER_LINK_TLS", LinkTls::Off)?);
        match env::var("CLUSTER_LINK_FILES") {
            Ok(files) => service.link_certificates(link_files(&files)?),
            Err(_) => service,
        }
    }};
}

fn link_files(files: &str) -> Result<LinkCertificates> {
    let files: Vec<_> = files.split_whitespace().collect();
    let [certificate, key, authorities] = files[..] else { return Err("three files".into()) };
    Ok(LinkCertificates::files(certificate, key, authorities))
}

fn main() -> Result {
    let registers = env::var("CLUSTER_REGISTER")?;
    let secret = env::var("CLUSTER_SECRET").unwrap_or_default();
    let name = env::var("CLUSTER_NAME").unwrap_or_default();
    let mut app = App::new();
    for service in env::var("CLUSTER_SERVICES")?.split_whitespace() {
        app = match service {
            "register" => {
                let first = registers.split_whitespace().next().unwrap_or_default();
                let listen = env::var("CLUSTER_REGISTER_LISTEN").unwrap_or(first.to_owned());
                let register = Register::listen(listen).secret_key(&secret).cluster(&name);
                app.service(secured!(register))
            }
            "gateway" => {
                let listen = env::var("CLUSTER_LISTEN")?;
                if env::var("CLUSTER_SCHEME").is_ok_and(|scheme| scheme == "text") {
                    app.service(gateway(Gateway::text(listen), &registers)?)
                } else {
                    let mut websocket = Gateway::websocket(listen);
                    if env::var_os("CLUSTER_DEFLATE").is_some() {
                        let deflate = Deflate::new().min_size(1).client_context_takeover();
                        websocket = websocket.compression(deflate.server_context_takeover());
                    }
                    app.service(gateway(websocket, &registers)?)
                }
            }
            "business" => {
                let count = knob("CLUSTER_BUSINESSES", 1)?;
                let called =
                    env::var("CLUSTER_BUSINESS_NAME").unwrap_or_else(|_| "business".to_owned());
                let business = Business::new(Crier)
                    .name(called)
                    .count(count)
                    .link_timeout(Duration::from_secs(knob("CLUSTER_LINK_TIMEOUT", 15)?))
                    .verdict_limit(Duration::from_secs(knob("CLUSTER_VERDICT", 5)?))
                    .reach_limit(limit()?);
                let business = secured!(business.secret_key(&secret).cluster(&name));
                app.service(registers.split_whitespace().fold(business, Business::register))
            }
            other => return Err(format!("{other} is no service of a cluster").into()),
        };
    }
    app.run()
}

fn gateway<P: Driver>(gateway: Gateway<P>, registers: &str) -> Result<Gateway<P>> {
    let limits = Limits { handshake_time: Duration::from_hours(24), ..Limits::default() };
    let mut gateway = gateway
        .secret_key(env::var("CLUSTER_SECRET").unwrap_or_default())
        .cluster(env::var("CLUSTER_NAME").unwrap_or_default())
        .count(knob("CLUSTER_GATEWAYS", 1)?)
        .lan_ip(lan_ip())
        .start_port(knob("CLUSTER_START_PORT", 0)?)
        .limits(limits)
        .no_business_limit(limit()?)
        .abandon_limit(Duration::from_secs(knob("CLUSTER_ABANDON", 30)?))
        .link_timeout(Duration::from_secs(knob("CLUSTER_LINK_TIMEOUT", 15)?));
    if env::var("CLUSTER_PREFER").is_ok_and(|which| which == "any") {
        gateway = gateway.prefer(Prefer::Any);
    }
    if let Ok(rule) = env::var("CLUSTER_ROUTER") {
        gateway = gateway.router(match &*rule {
            "random" => Router::Random,
            "address" => Router::HashOfAddress,
            "uid" => Router::HashOfUid,
            _ => Router::HashOfQuery(rule),
        });
    }
    if let Ok(name) = env::var("CLUSTER_PINNED") {
        gateway = gateway.pinned_to(name);
    }
    if let Ok(address) = env::var("CLUSTER_INNER_LISTEN") {
        gateway = gateway.inner_listen(address);
    }
    if let Ok(ping) = env::var("CLUSTER_PING") {
        let (interval, rest) = ping.split_once(' ').ok_or("no limit")?;
        let (limit, data) = rest.split_once(' ').unwrap_or((rest, ""));
        let interval = Duration::from_millis(interval.parse()?);
        gateway = gateway.ping_interval(interval).ping_limit(limit.parse()?).ping_data(data);
    }
    if let Ok(interval) = env::var("CLUSTER_LINK_PING") {
        gateway = gateway.link_ping_interval(Duration::from_millis(interval.parse()?));
    }
    gateway = secured!(registers.split_whitespace().fold(gateway, Gateway::register));
    let Ok(certificate) = env::var("CLUSTER_CERTIFICATE") else { return Ok(gateway) };
    Ok(gateway.tls(Tls::files(certificate, env::var("CLUSTER_KEY")?)))
}

fn limit() -> Result<Duration> {
    Ok(Duration::from_secs(knob("CLUSTER_LIMIT", 30)?))
}

/// Returns a number of the environment.
fn knob<T: FromStr>(name: &str, default: T) -> Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    env::var(name).map_or(Ok(default), |number| Ok(number.parse()?))
}
