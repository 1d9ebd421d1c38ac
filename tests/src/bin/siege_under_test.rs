//! The program that the siege attacks: every kind of service in one program, each on a port that the
//! system chooses and `status` says, but for two that are given.
//!
//! - `SIEGE_LISTEN`, `SIEGE_REGISTER`: the addresses of the gateway and of the register;
//! - `SIEGE_CERTIFICATE`, `SIEGE_KEY`: the files of the service `secure`.
//!
//! `plain` serves WebSocket, with compression, and HTTP; `secure` serves HTTP over TLS; `datagrams`
//! echoes lines. What a client says comes back, but for the orders in [`Order`].

use std::env;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::routing::{get, post};
use lineman::prelude::*;
use lineman::tls::Tls;
use lineman::websocket::Deflate;
use lineman_gateway::{Business, Client, Events, Gateway, Hub, Register};

/// How long the handler of `wait` waits.
const WAIT: Duration = Duration::from_millis(20);

/// The group of the clients that said `sit`.
const AUDIENCE: &str = "audience";

/// The key of the inner ports, which no stranger knows.
const KEY: &str = "siege";

const LARGE: usize = 1024 * 1024;

/// What a client may ask for.
enum Order<'a> {
    /// `wait`: no answer, but the handler waits.
    Wait,
    /// `sit`: to hear each fan-out; answered.
    Sit,
    /// `fan BYTES`: a message of so many bytes to that group; answered.
    Fan(usize),
    /// `farewell BYTES`: a message of so many bytes, and the end of the connection behind it.
    Farewell(usize),
    /// `panic`: the handler panics.
    Panic,
    /// `abort`: the process ends at once.
    Abort,
    /// Anything else comes back.
    Echo(&'a str),
}

impl<'a> Order<'a> {
    fn of(message: &'a Message) -> Self {
        let text = message.as_text().unwrap_or_default();
        let (word, size) = text.split_once(' ').unwrap_or((text, ""));
        match (word, size.parse()) {
            ("wait", _) => Self::Wait,
            ("sit", _) => Self::Sit,
            ("fan", Ok(size)) => Self::Fan(size),
            ("farewell", Ok(size)) => Self::Farewell(size),
            ("panic", _) => Self::Panic,
            ("abort", _) => Self::Abort,
            _ => Self::Echo(text),
        }
    }
}

struct Crowd;

impl Events for Crowd {
    type Session = ();

    async fn on_message(&self, hub: &Hub, client: &mut Client, message: Message) -> Result {
        match Order::of(&message) {
            Order::Wait => tokio::time::sleep(WAIT).await,
            Order::Sit => {
                client.join(AUDIENCE)?;
                client.send("seated")?;
            }
            Order::Fan(size) => {
                hub.send_to_group(AUDIENCE, "x".repeat(size))?;
                client.send("sent")?;
            }
            Order::Farewell(size) => {
                client.send("x".repeat(size))?;
                client.close()?;
            }
            Order::Panic => told_to_panic(),
            Order::Abort => std::process::abort(),
            // A long one has been read, which is all that is asked for.
            Order::Echo(text) if text.len() < LARGE => client.send(text)?,
            Order::Echo(_) => {}
        }
        Ok(())
    }
}

async fn answer(connection: Connection<WebSocket>, message: Message) -> Result {
    match Order::of(&message) {
        Order::Wait => tokio::time::sleep(WAIT).await,
        Order::Farewell(size) => {
            connection.send("x".repeat(size))?;
            connection.close(CloseReason::Local);
        }
        Order::Panic => told_to_panic(),
        Order::Abort => std::process::abort(),
        Order::Sit | Order::Fan(_) | Order::Echo(_) => connection.send(message)?,
    }
    Ok(())
}

#[expect(clippy::panic, reason = "what a panic does to others is under test")]
fn told_to_panic() {
    panic!("told to panic")
}

fn pages() -> Router {
    Router::new()
        .route("/", get("hello"))
        .route("/large", get(async || "x".repeat(LARGE)))
        .route("/length", post(async |body: Bytes| body.len().to_string()))
}

fn main() -> Result {
    let register = env::var("SIEGE_REGISTER")?;
    let plain = Worker::websocket("127.0.0.1:0").name("plain").with_http(pages());
    let tls = Tls::files(env::var("SIEGE_CERTIFICATE")?, env::var("SIEGE_KEY")?);
    let datagrams = Worker::datagrams("127.0.0.1:0", Text::default).name("datagrams");
    App::new()
        .name("siege")
        .service(plain.compression(Deflate::new()).on_message(answer))
        .service(Worker::http("127.0.0.1:0", pages()).name("secure").tls(tls))
        .service(datagrams.on_message(async |peer, line| peer.send(line)))
        .service(Register::listen(&register).secret_key(KEY))
        .service(Gateway::websocket(env::var("SIEGE_LISTEN")?).register(&register).secret_key(KEY))
        .service(Business::new(Crowd).count(2).register(&register).secret_key(KEY))
        .run()
}
