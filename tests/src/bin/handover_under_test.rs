//! Services that hand their connections over in a reload: `HANDOVER_WS` and `HANDOVER_TEXT` are their addresses,
//! `HANDOVER_WSS` that of one over TLS, with `HANDOVER_CERTIFICATE` and `HANDOVER_KEY`.
//!
//! A message is answered with its number on its connection before it, which moves with the connection. `who` is
//! answered with the process, `wait` after half a second, and `large N` with a line of so many bytes behind it.

use std::time::Duration;

use lineman::connection::Driver;
use lineman::prelude::*;
use lineman::tls::Tls;
use lineman::websocket::Deflate;
use lineman::worker::Peers;
use serde::{Deserialize, Serialize};

/// What is kept with a connection.
#[derive(Serialize, Deserialize)]
struct Heard {
    messages: u64,
    /// How many processes have had it.
    #[serde(default)]
    processes: u64,
}

fn main() -> Result {
    let context = Deflate::new().min_size(1).client_context_takeover().server_context_takeover();
    let ws = Worker::websocket(std::env::var("HANDOVER_WS")?).compression(context).name("ws");
    let tls = Tls::files(std::env::var("HANDOVER_CERTIFICATE")?, std::env::var("HANDOVER_KEY")?);
    let wss = Worker::websocket(std::env::var("HANDOVER_WSS")?).tls(tls).name("wss");
    let text = Worker::text(std::env::var("HANDOVER_TEXT")?).name("text");
    App::new()
        .name("handover")
        .service(keeping(ws).on_message(async |connection, message: Message| {
            answer(&connection, message.as_text().unwrap_or_default()).await
        }))
        .service(keeping(wss).on_message(async |connection, message: Message| {
            answer(&connection, message.as_text().unwrap_or_default()).await
        }))
        .service(
            keeping(text)
                .on_message(async |connection, line: String| answer(&connection, &line).await),
        )
        .run()
}

/// Has a worker's connections keep what they have heard, and move.
fn keeping<D: Driver>(worker: Worker<Peers<D>>) -> Worker<Peers<D>> {
    worker
        .move_data::<Heard>(1)
        .drain_limit(Duration::from_secs(2))
        .on_connect(async |connection| {
            connection.set_data(Heard { messages: 0, processes: 1 });
            Ok(())
        })
        .on_adopt(async |connection| {
            connection.with_data(|heard: &mut Heard| heard.processes += 1);
            Ok(())
        })
}

async fn answer<D: Driver<Outbound: From<String>>>(
    connection: &Connection<D>,
    message: &str,
) -> Result {
    let heard = connection.with_data(|heard: &mut Heard| {
        heard.messages += 1;
        (heard.messages, heard.processes)
    });
    let (number, processes) = heard.ok_or("it has no data")?;
    match message.split_once(' ') {
        _ if message == "who" => {
            let pid = std::process::id();
            connection.send(format!("{number}:{pid} {processes}"))
        }
        _ if message == "wait" => {
            tokio::time::sleep(Duration::from_millis(500)).await;
            connection.send(format!("{number}:waited"))
        }
        Some(("large", size)) => {
            connection.send(format!("{number}:large"))?;
            connection.send("z".repeat(size.parse()?))
        }
        _ => connection.send(format!("{number}:{message}")),
    }
}
