//! Many silent WebSocket clients in a process of their own, with its own limit of open files:
//! `audience ADDRESS COUNT`. Says `seated` when all are in, and leaves when its stdin ends. It never
//! sends a message.

use std::io::Read;
use std::net::SocketAddr;

use anyhow::{Context, Result};
use futures_util::{StreamExt, TryStreamExt, stream};
use lineman_tests::audience::{SIDE_BY_SIDE, raise_open_files};
use lineman_tests::raw::Raw;

/// Where the ports of the clients begin: below those that the kernel gives away by itself.
const FIRST_PORT: u16 = 10_000;

/// How many clients have one address.
const PORTS: u16 = 10_000;

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, reason = "the test waits for it")]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let server: SocketAddr = arguments.next().context("an address")?.parse()?;
    let count: u16 = arguments.next().context("a count")?.parse()?;
    raise_open_files()?;
    let seats = stream::iter(0..count).map(|number| async move {
        // Ports of our own choice: the kernel would look for each one among thousands in use.
        let source = [127, 0, 9, u8::try_from(number / PORTS)? + 1];
        let source = SocketAddr::from((source, FIRST_PORT + number % PORTS));
        let entered = Raw::websocket_from(source, server).await;
        entered.with_context(|| format!("client {number} from {source}"))
    });
    let seated: Vec<Raw> = seats.buffer_unordered(SIDE_BY_SIDE).try_collect().await?;
    println!("seated");
    // Nothing else is to be done on this thread.
    std::io::stdin().read_to_end(&mut Vec::new())?;
    drop(seated);
    Ok(())
}
