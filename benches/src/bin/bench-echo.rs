//! The echo server that `bench echo` measures: the README's, on a port of the bench's
//! choice.

use lineman::prelude::*;

fn main() -> Result {
    let listen = std::env::var("BENCH_LISTEN").unwrap_or_else(|_| "127.0.0.1:2346".to_owned());
    Worker::websocket(listen).on_message(async |connection, message| connection.send(message)).run()
}
