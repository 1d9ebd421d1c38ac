//! A slot that is down swallows no connection: a neighbour accepts at its listener until it is back.

use anyhow::{Result, ensure};
use lineman_testkit::{Client, Status};
use lineman_tests::programs::{Server, echo};

/// So many that the kernel gives each of four sockets its share: that none of 200 goes to the one
/// that is down has a chance of 10⁻²⁵.
const VISITS: usize = 200;

/// The slot that cannot start while the marker is there.
const DOWN: &str = "echo/2";

async fn four(marker: &std::path::Path, server: Server) -> Result<Server> {
    let server = server.knob("ECHO_COUNT", "4").knob("ECHO_BROKEN_IF", marker);
    server.knob("ECHO_BROKEN_SLOT", "2").started().await
}

/// Connects and is served, whichever socket the kernel chose; returns by which process.
async fn visit(server: &Server) -> Result<i32> {
    let mut client: Client = server.client().await?;
    client.send_text("who").await?;
    let pid = client.next_text().await?.parse()?;
    client.close().await?;
    Ok(pid)
}

#[tokio::test]
async fn every_connect_is_served_while_a_slot_takes_long_to_start() -> Result<()> {
    let server = echo()?;
    let marker = server.program.folder().join("marker");
    let server = four(&marker, server).await?;
    tokio::fs::write(&marker, "wait").await?;
    server.program.kill(DOWN).await?;
    server.program.until("the slot to start", |s| state(s) == "starting").await?;
    for _ in 0..VISITS {
        visit(&server).await?;
    }
    ensure!(state(&server.program.status().await?) != "ready", "the slot was not down");
    tokio::fs::remove_file(&marker).await?;
    server.program.until("the slot to be back", |s| state(s) == "ready").await?;
    Ok(())
}

fn state(status: &Status) -> String {
    status.slot(DOWN).map(|slot| slot.state.clone()).unwrap_or_default()
}

#[tokio::test]
async fn every_connect_is_served_while_a_slot_cannot_come_back() -> Result<()> {
    let server = echo()?;
    let marker = server.program.folder().join("marker");
    let server = four(&marker, server).await?;
    // As long as the marker is there nothing that waits for the slot ends.
    tokio::fs::write(&marker, "not today").await?;
    server.program.kill(DOWN).await?;
    server.program.until("the slot to be in its back-off", |s| state(s) == "backing-off").await?;
    for _ in 0..VISITS {
        visit(&server).await?;
    }
    let status = server.program.until("the slot to fail", |s| state(s) == "failed").await?;
    ensure!(status.slots.iter().filter(|slot| slot.is_ready()).count() == 3);
    for _ in 0..VISITS {
        visit(&server).await?;
    }

    // Its borrower may go as well.
    let pids: Vec<_> = status.slots.iter().filter_map(|slot| slot.pid).collect();
    for slot in ["echo/0", "echo/1", "echo/3"] {
        let old = server.program.kill(slot).await?;
        server.program.replaced(slot, &old).await?;
    }
    for _ in 0..VISITS {
        let pid = visit(&server).await?;
        ensure!(!pids.contains(&pid), "{pid} was killed");
    }

    tokio::fs::remove_file(&marker).await?;
    server.program.reload().await?;
    let status = server.program.until("the slot to serve", |s| state(s) == "ready").await?;
    let back = status.slot(DOWN)?.pid;
    for _ in 0..VISITS {
        if Some(visit(&server).await?) == back {
            return Ok(());
        }
    }
    anyhow::bail!("the slot that is back serves nobody")
}
