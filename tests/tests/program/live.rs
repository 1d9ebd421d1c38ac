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
async fn the_live_view_follows_the_size_of_its_terminal() -> Result<()> {
    let echo = echo()?.started().await?;
    let mut terminal = Terminal::run(&echo.program, &["status", "-d"], (120, 24))?;
    let process = terminal.process().await?;
    terminal.until("restarts").await?;
    for (size, wanted) in [((60, 10), "echo/0"), ((130, 30), "restarts")] {
        let before = terminal.until(wanted).await?.len();
        terminal.resize(&process, size)?;
        let is_drawn = |seen: &str| seen.get(before..).is_some_and(|seen| seen.contains(wanted));
        terminal.until_it(wanted, is_drawn).await?;
    }
    terminal.types("q").await?;
    terminal.restored(0).await?;
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
async fn a_restart_shows_who_is_left_and_for_how_long() -> Result<()> {
    let echo = echo()?.knob("ECHO_COUNT", "2").started().await?;
    let client = echo.client().await?;
    let mut terminal = Terminal::run(&echo.program, &["restart", "-d", "-g"], (80, 24))?;
    terminal.until("draining  1 connection left").await?;
    terminal.until(" at most").await?;
    client.close().await?;
    let seen = terminal.restored(0).await?;
    assert!(seen.contains("\x1b[2F\x1b[J"), "two lines are written over: {seen:?}");
    let after = seen.rsplit("ended").next().context("what comes after")?;
    assert!(after.contains("ws://"), "the new start is shown: {seen:?}");
    assert_colourless(&seen);
    Ok(())
}

/// The test kit sets `NO_COLOR`.
fn assert_colourless(seen: &str) {
    let ends = |rest: &str| {
        rest.find(|end: char| end.is_alphabetic()).map(|at| rest[at..].starts_with('m'))
    };
    assert!(!seen.split("\x1b[").skip(1).any(|rest| ends(rest) == Some(true)), "{seen:?}");
}

#[tokio::test]
async fn a_reload_shows_the_successor_on_the_same_line() -> Result<()> {
    let echo = echo()?.started().await?;
    let client = echo.client().await?;
    let mut terminal = Terminal::run(&echo.program, &["reload", "-g"], (80, 24))?;
    let is_there = |seen: &str| {
        seen.lines().any(|line| line.contains("1 connection left") && line.contains(" serves"))
    };
    terminal.until_it("both processes", is_there).await?;
    client.close().await?;
    assert_colourless(&terminal.restored(0).await?);
    Ok(())
}

#[tokio::test]
async fn a_restart_into_a_pipe_is_plain_lines() -> Result<()> {
    let echo = echo()?.started().await?;
    let client = echo.client().await?;
    let command = echo.program.command(&["restart", "-d", "-g"]);
    let mut command = tokio::process::Command::from(command);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn()?;
    let mut lines = BufReader::new(child.stderr.take().context("a stderr")?).lines();
    let mut line = async || within("a line", lines.next_line()).await??.context("one more");
    while !line().await?.contains("draining, 1 connection left, ") {}
    client.close().await?;
    loop {
        let line = line().await?;
        assert!(!line.contains('\x1b'), "{line:?}");
        if line.ends_with("ended") {
            break;
        }
    }
    let output = within("the restart to end", child.wait_with_output()).await??;
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && stdout.contains("ws://"), "{stdout}");
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
    // A process that is seen as busy has not answered for a second.
    let late = |status: &Status| lag(status) >= Some(800_000);
    echo.program.until("the lag to be told", late).await?;
    Ok(())
}
