//! The echo server that `bench echo` measures: the README's, on a port of the bench's
//! choice. For `bench handover` it hands over, and over TLS if there is a certificate.

use lineman::prelude::*;
use lineman::tls::Tls;

fn main() -> Result {
    let listen = std::env::var("BENCH_LISTEN").unwrap_or_else(|_| "127.0.0.1:2346".to_owned());
    let mut worker = Worker::websocket(listen);
    if std::env::var_os("BENCH_HANDOVER").is_some() {
        worker = worker.hand_over_on_reload();
    }
    if let (Ok(certificate), Ok(key)) =
        (std::env::var("BENCH_CERTIFICATE"), std::env::var("BENCH_KEY"))
    {
        worker = worker.tls(Tls::files(certificate, key));
    }
    worker.on_message(async |connection, message| connection.send(message)).run()
}
