//! What an operator sees: the live view and progress on a real terminal, lag.

use std::process::Stdio;

use anyhow::{Context, Result};
use lineman_testkit::{Status, within};
use lineman_tests::programs::echo;
use lineman_tests::terminal::Terminal;
use rustix::process::Signal;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};

const ALTERNATE: &str = "\x1b[?1049h";
const ORDINARY: &str = "\x1b[?1049l";

#[tokio::test]
async fn the_live_view_shows_slots_and_gives_the_terminal_back() -> Result<()> {
    let echo = echo()?.knob("ECHO_COUNT", "2").started().await?;
    let mut terminal = Terminal::run(&echo.program, &["status", "-d"], (80, 24))?;
    terminal.until("echo/1").await?;
    terminal.until("0B/0B").await.context("the rates of the second look")?;
    terminal.types("?").await?;
    terminal.until("Ctrl-C").await?;
    terminal.types("q").await?;
    let seen = terminal.restored(0).await?;
    let (entered, left) = (seen.find(ALTERNATE), seen.rfind(ORDINARY));
    assert!(entered.is_some() && entered < left, "{seen:?}");
    Ok(())
}

#[tokio::test]
async fn a_signal_ends_the_live_view_in_order() -> Result<()> {
    let echo = echo()?.started().await?;
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let mut terminal = Terminal::run(&echo.program, &["status", "--live"], (120, 30))?;
        let process = terminal.process().await?;
        terminal.until("echo/0").await?;
        process.signal(signal);
        let seen = terminal.restored(0).await?;
        assert!(seen.contains(ORDINARY), "{seen:?}");
    }
    Ok(())
}

#[tokio::test]
async fn the_live_view_waits_for_a_master_that_is_gone() -> Result<()> {
    let echo = echo()?.started().await?;
    let arguments = ["status", "-d", "--interval", "100ms"];
    let mut terminal = Terminal::run(&echo.program, &arguments, (80, 24))?;
    terminal.until("echo/0").await?;
    echo.program.stop().await?;
    terminal.until("waiting").await?;
    echo.program.start().await?;
    let is_back =
        |seen: &str| seen.rsplit("waiting").next().is_some_and(|rest| rest.contains("service,"));
    terminal.until_it("the sums after the notice", is_back).await?;
    terminal.types("\x03").await?;
    terminal.restored(0).await?;
    Ok(())
}

#[tokio::test]
async fn without_a_terminal_the_live_view_is_json_or_nothing() -> Result<()> {
    let echo = echo()?.started().await?;
    let refused = echo.program.run(&["status", "-d"]).await?.expect_code(2)?;
    assert!(refused.stderr.contains("--json"), "{refused}");
    echo.program.run(&["status", "--interval", "1s"]).await?.expect_code(2)?;

    let mut command = tokio::process::Command::from(echo.program.command(&[
        "status",
        "-d",
        "--json",
        "--interval",
        "100ms",
    ]));
    let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    let mut lines = BufReader::new(child.stdout.take().context("a stdout")?).lines();
    let mut rates = Vec::new();
    for _ in 0..3 {
        let line = within("a line", lines.next_line()).await??.context("one more")?;
        let look: Value = serde_json::from_str(&line)?;
        assert_eq!(look["slots"][0]["slot"], "echo/0");
        rates.push(look["totals"]["messages_in_per_second"].as_f64());
    }
    assert_eq!(rates, [None, Some(0.0), Some(0.0)]);
    echo.program.stop().await?;
    // It follows a program, and this one has ended.
    while within("the end", lines.next_line()).await??.is_some() {}
    assert_eq!(within("the command to end", child.wait()).await??.code(), Some(3));
    Ok(())
}

#[tokio::test]
async fn a_stop_shows_each_slot_on_a_line_of_its_own() -> Result<()> {
    let echo = echo()?.knob("ECHO_COUNT", "2").started().await?;
    let client = echo.client().await?;
    let mut terminal = Terminal::run(&echo.program, &["stop", "-g"], (80, 24))?;
    terminal.until("draining  1 connection left").await?;
    client.close().await?;
    let seen = terminal.restored(0).await?;
    assert!(seen.contains("\x1b[2F\x1b[J"), "two lines are written over: {seen:?}");
    let last = seen.rsplit("\x1b[J").next().context("a last picture")?;
    assert_eq!(last.matches("ended").count(), 2, "{seen:?}");
    Ok(())
}

#[tokio::test]
async fn a_process_that_stood_still_says_for_how_long() -> Result<()> {
    let echo = echo()?.started().await?;
    let lag = |status: &Status| status.slot("echo/0").ok().and_then(|slot| slot.lag_max_us);
    let process = echo.program.process("echo/0").await?;
    process.suspend();
    let is_busy = |status: &Status| status.slot("echo/0").is_ok_and(|slot| !slot.answered);
    let status = echo.program.until("the process to be seen as busy", is_busy).await?;
    assert_eq!(lag(&status), None);
    process.resume();
    // Whoever is seen as busy has not answered for a second.
    let late = |status: &Status| lag(status) >= Some(800_000);
    echo.program.until("the lag to be told", late).await?;
    Ok(())
}
