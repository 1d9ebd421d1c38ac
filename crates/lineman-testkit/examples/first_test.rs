//! What a test with the kit looks like: `cargo run --example first_test -- target/debug/echo`.

use anyhow::{Context, Result, ensure};
use lineman_testkit::{Client, Port, Program};

/// The examples' `echo` listens where this variable says.
const ADDRESS: &str = "ECHO_LISTEN";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let binary = std::env::args().nth(1).context("give the path of an echo server")?;
    let port = Port::reserve()?;
    let echo = Program::new(binary)?.env(ADDRESS, port.address());
    echo.start().await?;

    let mut client = Client::connect(&port.ws()).await?;
    client.send_text("hello").await?;
    ensure!(client.next_text().await? == "hello");
    client.close().await?;

    echo.stop().await?;
    Ok(())
}
