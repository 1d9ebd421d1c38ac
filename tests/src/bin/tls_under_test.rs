//! Lines over TLS, for the black-box tests. Every knob is an environment variable:
//!
//! - `TLS_LISTEN`: the address; `TLS_COUNT`: processes (1);
//! - `TLS_CERTIFICATE`, `TLS_KEY`: the files;
//! - `TLS_CLIENTS`: clients may show a certificate that an authority in this file has signed;
//! - `TLS_HANDSHAKE_MS`: the limit of that name;
//! - `TLS_KEEPS`: if it is set, the processes stay on a reload; `TLS_MOVES`: their connections move to the new ones.
//!
//! A line is answered by itself, `: `, and what it asks for: `who` (the process's id), `subject` (of the
//! client's certificate), `resumed` (whether this continues an earlier session), or nothing.

use std::env;
use std::time::Duration;

use lineman::connection::Limits;
use lineman::prelude::*;
use lineman::tls::{ClientCertificates, Tls};

fn main() -> Result {
    let mut tls = Tls::files(env::var("TLS_CERTIFICATE")?, env::var("TLS_KEY")?);
    if let Some(authorities) = env::var_os("TLS_CLIENTS") {
        tls = tls.client_certificates(ClientCertificates::Optional(authorities.into()));
    }
    let mut limits = Limits::default();
    if let Ok(millis) = env::var("TLS_HANDSHAKE_MS") {
        limits.handshake_time = Duration::from_millis(millis.parse()?);
    }
    let mut lines = Worker::text(env::var("TLS_LISTEN")?)
        .name("lines")
        .count(env::var("TLS_COUNT").map_or(Ok(1), |count| count.parse())?)
        .tls(tls)
        .limits(limits)
        .on_message(async |connection, line| {
            let found = answer(&connection, &line).unwrap_or_default();
            connection.send(format!("{line}: {found}"))
        });
    if env::var_os("TLS_KEEPS").is_some() {
        lines = lines.keep_on_reload();
    }
    if env::var_os("TLS_MOVES").is_some() {
        lines = lines.hand_over_on_reload();
    }
    App::new().service(lines).run()
}

fn answer(connection: &Connection<Text>, line: &str) -> Option<String> {
    match line {
        "who" => Some(std::process::id().to_string()),
        "subject" => connection.tls()?.peer_subject(),
        "resumed" => Some(connection.tls()?.resumed().to_string()),
        _ => None,
    }
}
