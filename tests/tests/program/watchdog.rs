//! A loop that stands still is noticed, named, and replaced if the program wishes.

use anyhow::{Result, ensure};
use lineman_testkit::{Client, Program, Status, within};
use lineman_tests::programs::{Server, echo};

async fn logged(program: &Program, text: &str) -> Result<()> {
    let said = async {
        while !program.log().contains(text) {
            tokio::task::yield_now().await;
        }
    };
    within(&format!("{text:?} in the log"), said).await
}

/// Starts the server, and blocks its loop for as long as the file is there.
async fn blocked(server: Server) -> Result<(Server, Client, std::path::PathBuf)> {
    let file = server.program.folder().join("block");
    let server = server.knob("ECHO_BLOCK_WHILE", &file).started().await?;
    tokio::fs::write(&file, "").await?;
    let mut client = server.client().await?;
    client.send_text("block").await?;
    Ok((server, client, file))
}

#[tokio::test]
async fn a_blocked_loop_is_reported_with_its_handler_and_goes_on() -> Result<()> {
    let (server, mut client, file) = blocked(echo()?.knob("ECHO_WATCHDOG_MS", "300")).await?;
    logged(&server.program, "a worker's loop is blocked").await?;
    logged(&server.program, "on_message of connection 1").await?;
    tokio::fs::remove_file(&file).await?;
    assert_eq!(client.next_text().await?, "block", "nobody ended it");
    logged(&server.program, "the loop goes on").await?;
    assert_eq!(server.program.status().await?.slot("echo/0")?.generation, 1);
    Ok(())
}

#[tokio::test]
async fn an_on_start_that_blocks_is_named() -> Result<()> {
    let server = echo()?.knob("ECHO_WATCHDOG_MS", "300");
    let file = server.program.folder().join("block");
    tokio::fs::write(&file, "").await?;
    let server = server.knob("ECHO_BLOCK_START_WHILE", &file);
    let blocked = async {
        logged(&server.program, "a worker's loop is blocked").await?;
        logged(&server.program, "doing=\"on_start").await?;
        anyhow::Ok(tokio::fs::remove_file(&file).await?)
    };
    let (started, blocked) = tokio::join!(server.program.start(), blocked);
    blocked?;
    started?;
    Ok(())
}

#[tokio::test]
async fn a_blocked_process_is_replaced_if_the_program_wishes() -> Result<()> {
    let server = echo()?.knob("ECHO_WATCHDOG_MS", "300").knob("ECHO_WATCHDOG_RESTARTS", "1");
    let (server, mut client, _file) = blocked(server).await?;
    ensure!(client.ended().await?.code().is_none(), "its connections are lost");
    let replaced = |status: &Status| {
        status.slot("echo/0").is_ok_and(|slot| slot.is_ready() && slot.generation == 2)
    };
    let status = server.program.until("the process to be replaced", replaced).await?;
    let reason = status.slot("echo/0")?.last_exit.clone().unwrap_or_default();
    let expected = "killed: its loop was blocked by on_message of connection 1";
    ensure!(reason.starts_with(expected), "{reason}");
    let mut client = server.client().await?;
    client.send_text("hello").await?;
    assert_eq!(client.next_text().await?, "hello");
    Ok(())
}

#[tokio::test]
async fn a_process_that_was_stopped_is_neither_blamed_nor_doubled() -> Result<()> {
    let server = echo()?.knob("ECHO_WATCHDOG_MS", "300").knob("ECHO_WATCHDOG_RESTARTS", "1");
    let server = server.started().await?;
    let process = server.program.process("echo/0").await?;
    process.suspend();
    // Each question waits a second for the answer of a process that gives none.
    for _ in 0..2 {
        let status = server.program.status().await?;
        ensure!(status.slots.len() == 1 && !status.slot("echo/0")?.answered, "{status:#?}");
    }
    process.resume();
    let mut client = server.client().await?;
    client.send_text("who").await?;
    assert_eq!(client.next_text().await?, process.pid().to_string());
    ensure!(!server.program.log().contains("blocked"), "{}", server.program.log());
    Ok(())
}

#[tokio::test]
async fn a_process_that_stays_stopped_is_stalled_and_its_neighbour_serves() -> Result<()> {
    let server = echo()?.knob("ECHO_COUNT", "2").started().await?;
    let process = server.program.process("echo/0").await?;
    process.suspend();
    let is = |state: &'static str| {
        move |status: &Status| status.slot("echo/0").is_ok_and(|slot| slot.state == state)
    };
    server.program.until("the process to be stalled", is("stalled")).await?;
    server.program.run(&["health"]).await?.expect_code(0)?.expect_text("stalled: 1 process")?;
    // The kernel gives each of the two sockets its share.
    for _ in 0..20 {
        let mut client = server.client().await?;
        client.send_text("hello").await?;
        assert_eq!(client.next_text().await?, "hello");
    }
    process.resume();
    server.program.until("the process to answer", is("ready")).await?;
    assert_eq!(server.program.process("echo/0").await?.pid(), process.pid());
    Ok(())
}

#[tokio::test]
async fn a_process_that_stays_stopped_is_replaced_if_the_program_wishes() -> Result<()> {
    let server = echo()?.knob("ECHO_WATCHDOG_MS", "300").knob("ECHO_WATCHDOG_RESTARTS", "1");
    let server = server.started().await?;
    let process = server.program.process("echo/0").await?;
    process.suspend();
    let status = server.program.replaced("echo/0", &process).await?;
    let reason = status.slot("echo/0")?.last_exit.clone().unwrap_or_default();
    assert_eq!(reason, "killed: it answered nothing for 10s");
    Ok(())
}
