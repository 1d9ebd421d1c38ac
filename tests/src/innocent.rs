//! Somebody harmless on a worker that others attack: served before, during and after, by the same
//! process, which stays within a bound of memory all the while.

use std::cell::Cell;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lineman_testkit::{Client, Process, Program};
use tokio::time::MissedTickBehavior;

use crate::raw::Raw;

/// How often somebody innocent asks for something: often, and not so that it is an attack itself.
const PACE: Duration = Duration::from_millis(20);

/// What a process with nobody on it holds, generously: buffers, pages, the allocator's arenas.
pub const BASE_BYTES: u64 = 8 * 1024 * 1024;

/// Runs `attack` on the one process of `slot` while `exchange` goes on.
///
/// # Errors
/// When an exchange fails, at whatever time; when the process holds more than `bound` bytes or is
/// replaced; when the attack itself says so.
pub async fn served_throughout<T>(
    program: &Program,
    slot: &str,
    bound: u64,
    mut exchange: impl AsyncFnMut() -> Result<()>,
    attack: impl Future<Output = Result<T>>,
) -> Result<T> {
    let worker = program.process(slot).await?;
    exchange().await.context("nobody is served before the attack")?;
    let is_over = Cell::new(false);
    let attack = async {
        let outcome = attack.await;
        is_over.set(true);
        outcome
    };
    let innocent = async {
        let mut pace = tokio::time::interval(PACE);
        // What was missed is not made up for: that would be a flood.
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !is_over.get() {
            pace.tick().await;
            exchange().await.context("somebody innocent suffered")?;
            bounded(&worker, bound)?;
        }
        Ok(())
    };
    let (outcome, ()) = tokio::try_join!(attack, innocent)?;
    exchange().await.context("nobody is served after the attack")?;
    bounded(&worker, bound)?;
    let now = program.process(slot).await?.pid();
    ensure!(now == worker.pid(), "{slot} was replaced: {} became {now}", worker.pid());
    Ok(outcome)
}

fn bounded(worker: &Process, bound: u64) -> Result<()> {
    let bytes = worker.resident_bytes()?;
    ensure!(bytes <= bound, "{bytes} bytes are held, {bound} were the bound");
    Ok(())
}

/// Says something to an echo server, and hears it.
///
/// # Errors
/// When something else comes back, or nothing.
pub async fn echoes(client: &mut Client) -> Result<()> {
    client.send_text("hello").await?;
    let answer = client.next_text().await?;
    ensure!(answer == "hello", "{answer:?} came back");
    Ok(())
}

/// Asks `http_under_test` for its first page, on a connection that stays open.
///
/// # Errors
/// When something else is answered, or nothing.
pub async fn is_greeted(peer: &mut Raw) -> Result<()> {
    peer.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
    peer.until(b"\r\n\r\nhello").await
}
