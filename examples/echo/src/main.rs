//! WebSocket echo: every message goes back to its sender.

use lineman::prelude::*;

fn main() -> Result {
    Worker::websocket("0.0.0.0:2346")
        .on_message(async |connection, message| connection.send(message))
        .run()
}
