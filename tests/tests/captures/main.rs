//! Captured conversations of `GatewayWorker`'s programs (`lineman-wire/tests/golden`), replayed against our
//! programs over real sockets, each end in its turn: our gateway and register hear what businesses, clients and
//! `GatewayClient` said, our business and client hear what gateway and register said. Every answer has to be the
//! captured one; what differs from run to run, ids of clients, ports and addresses, is put into its terms.
//!
//! The number with each file says how many messages are compared: a replay that skips some would pass otherwise.

mod capture;
mod peer;
mod register;

use anyhow::{Result, ensure};

fn holds(name: &str, expected: usize, compared: usize) -> Result<()> {
    ensure!(compared == expected, "{name}: {compared} messages were compared, not {expected}");
    Ok(())
}

#[tokio::test]
async fn our_register_answers_as_the_captured_one() -> Result<()> {
    for (name, secret, until, killed, expected) in [
        ("01-all-api-one-gateway", "", 19.9, None, 1),
        ("02-secret-key", "s3cret", 5.8, None, 2),
        ("03-gatewayclient-no-secret", "", 5.6, None, 2),
        ("07-failures-and-reload", "", 17.9, Some(13.6), 11),
        ("17-demo-chat", "", 25.5, None, 1),
    ] {
        holds(name, expected, register::replay(name, secret, until, killed).await?)?;
    }
    Ok(())
}

/// A connection that says nothing is closed after 10 s, which makes it the longest of them.
#[tokio::test]
async fn our_register_refuses_as_the_captured_one() -> Result<()> {
    holds("06-register", 13, register::replay("06-register", "k", 16.3, None).await?)
}
