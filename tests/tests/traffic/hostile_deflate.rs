//! Peers that mean harm by compression and fragments: each gets its answer, memory stays within the
//! bound of a message and comes back, and another client of the process is served throughout.

use std::io::Write;

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::DeflateEncoder;
use lineman_testkit::within;
use lineman_tests::innocent::echoes;
use lineman_tests::programs::{Server, echo};
use lineman_tests::raw::{Raw, frame};

/// The bound of a message here, and what a bomb inflates to: two hundred times that.
const MESSAGE: usize = 1024 * 1024;
const BOMB: usize = 200 * MESSAGE;

/// Bombs at once.
const BOMBS: usize = 50;

/// First bytes of whole frames: compressed binary, and fragments of text.
const COMPRESSED: u8 = 0xc2;
const BINARY: u8 = 0x82;
const FIRST_TEXT: u8 = 0x01;
const MORE: u8 = 0x00;
const PING: u8 = 0x89;

/// What a process with nobody on it holds, generously.
const BASE_BYTES: u64 = 32 * 1024 * 1024;

async fn server() -> Result<Server> {
    let bytes = MESSAGE.to_string();
    let echo = echo()?.knob("ECHO_DEFLATE_FROM", "0").knob("ECHO_MESSAGE_BYTES", bytes);
    echo.knob("ECHO_MESSAGE_MS", "500").started().await
}

fn deflated(size: usize) -> Result<Vec<u8>> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    let zeros = vec![0; 64 * 1024];
    for _ in 0..size / zeros.len() {
        encoder.write_all(&zeros)?;
    }
    Ok(encoder.finish()?)
}

#[tokio::test]
async fn bombs_are_cut_while_they_are_inflated() -> Result<()> {
    let echo = server().await?;
    let mut innocent = echo.client().await?;
    let worker = echo.program.process("echo/0").await?;
    let bomb = frame(COMPRESSED, &deflated(BOMB)?)?;
    let mut peers = Vec::new();
    for _ in 0..BOMBS {
        let mut peer = Raw::websocket_with_deflate(&echo.port.address()).await?;
        peer.send(&bomb).await?;
        peers.push(peer);
    }
    for (number, mut peer) in peers.into_iter().enumerate() {
        assert_eq!(peer.close_code().await.context("a bomb")?, 1009);
        if number % 10 == 0 {
            innocent.send_text("hello").await?;
            assert_eq!(innocent.next_text().await?, "hello");
        }
    }
    let bound = BASE_BYTES + (BOMBS * (MESSAGE + 64 * 1024)) as u64;
    let used = worker.resident_bytes()?;
    assert!(used <= bound, "{used} bytes are used, {bound} are allowed");
    Ok(())
}

/// Connections of a crowd, and how much of a message each leaves unfinished.
const CROWD: usize = 600;
const UNFINISHED: usize = 60 * 1024;

#[tokio::test]
async fn memory_comes_back_when_a_crowd_has_gone() -> Result<()> {
    let echo = echo()?.started().await?;
    let worker = echo.program.process("echo/0").await?;
    let mut innocent = echo.client().await?;
    echoes(&mut innocent).await?;
    let before = worker.resident_bytes()?;
    let mut unfinished = frame(BINARY, &vec![7; 2 * UNFINISHED])?;
    unfinished.truncate(UNFINISHED);
    let mut crowd = Vec::new();
    for _ in 0..CROWD {
        let mut peer = Raw::websocket(&echo.port.address()).await?;
        peer.send(&unfinished).await?;
        crowd.push(peer);
    }
    echoes(&mut innocent).await?;
    let peak = worker.resident_bytes()?;
    assert!(peak > before + (CROWD * UNFINISHED / 2) as u64, "{before}, then {peak}");
    drop(crowd);
    // A fifth more than before, and what the first crowd brought of tables that stay.
    let bound = before + before / 5 + 2 * 1024 * 1024;
    let mut ticks = tokio::time::interval(std::time::Duration::from_millis(50));
    within("memory to come back", async {
        while worker.resident_bytes()? > bound {
            ticks.tick().await;
        }
        echoes(&mut innocent).await
    })
    .await?
}

#[tokio::test]
async fn what_cannot_be_inflated_is_refused() -> Result<()> {
    let echo = server().await?;
    let wrong: [(&str, Vec<u8>, u16); 3] = [
        ("no deflate", frame(COMPRESSED, b"\xff\xff\xff\xff\xff")?, 1007),
        ("text that is no UTF-8", frame(0xc1, b"\x00\x01\x00\xfe\xff\xff\x00")?, 1007),
        ("RSV1 on a ping", frame(0xc9, b"hi")?, 1002),
    ];
    for (what, bytes, expected) in wrong {
        let mut peer = Raw::websocket_with_deflate(&echo.port.address()).await?;
        peer.send(&bytes).await?;
        assert_eq!(peer.close_code().await.context(what)?, expected, "{what}");
    }
    Ok(())
}

#[tokio::test]
async fn fragments_without_end_meet_the_bound_of_a_message() -> Result<()> {
    let echo = server().await?;
    let mut peer = Raw::websocket(&echo.port.address()).await?;
    peer.send(&frame(FIRST_TEXT, b"begin")?).await?;
    let fragment = frame(MORE, &b"x".repeat(60_000))?;
    // It may be closed before it has taken all of them.
    for _ in 0..=MESSAGE / 60_000 {
        peer.send(&fragment).await?;
    }
    assert_eq!(peer.close_code().await?, 1009);
    Ok(())
}

/// Empty fragments, with pings between them, never make a message: its time is the bound.
#[tokio::test]
async fn empty_fragments_without_end_meet_the_time_of_a_message() -> Result<()> {
    let echo = server().await?;
    let mut innocent = echo.client().await?;
    let mut peer = Raw::websocket(&echo.port.address()).await?;
    peer.send(&frame(FIRST_TEXT, b"")?).await?;
    let nothing = [frame(MORE, b"")?, frame(PING, b"")?].concat().repeat(100);
    peer.send(&nothing).await?;
    innocent.send_text("hello").await?;
    assert_eq!(innocent.next_text().await?, "hello");
    peer.until(&[0x88]).await?;
    Ok(())
}

#[tokio::test]
async fn a_conversation_byte_by_byte_is_served() -> Result<()> {
    let echo = echo()?.started().await?;
    let mut peer = Raw::websocket(&echo.port.address()).await?;
    for byte in frame(0x81, b"one by one")? {
        peer.send(&[byte]).await?;
    }
    peer.until(b"\x81\x0aone by one").await
}
