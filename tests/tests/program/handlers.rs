//! What a handler has begun is finished, however its process ends: handlers of messages and ends, a
//! callback of a timer, blocking work; `on_stop` comes after all of it. What takes longer than the
//! limit is cut off, counted and logged.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use lineman_testkit::Client;
use lineman_tests::programs::{Server, echo};

const CLIENTS: usize = 10;

/// An echo whose handlers take so long, and the file with their notes.
async fn echo_at_work(millis: &str) -> Result<(Server, PathBuf)> {
    let echo = echo()?;
    let notes = echo.program.folder().join("notes");
    let echo = echo.knob("ECHO_WORK_MS", millis).knob("ECHO_NOTES", &notes);
    Ok((echo.started().await?, notes))
}

/// Has every client's handler begin, and a timer's callback and blocking work besides.
async fn begun(echo: &Server, notes: &PathBuf) -> Result<Vec<Client>> {
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = echo.client().await?;
        client.send_text("work").await?;
        clients.push(client);
    }
    let mut other = echo.client().await?;
    other.send_text("timer").await?;
    other.send_text("blocking").await?;
    clients.push(other);
    let all_began = || {
        let notes = fs::read_to_string(notes).unwrap_or_default();
        ["message", "timer", "blocking"]
            .iter()
            .map(|name| count(&notes, name, "begins"))
            .sum::<usize>()
    };
    echo.program.until("the handlers to begin", |_| all_began() == CLIENTS + 2).await?;
    Ok(clients)
}

fn count(notes: &str, name: &str, what: &str) -> usize {
    notes.lines().filter(|line| *line == format!("{name} {what}")).count()
}

#[tokio::test]
async fn what_has_begun_is_finished_before_the_process_ends() -> Result<()> {
    for verb in [&["stop"][..], &["stop", "-g"], &["reload"]] {
        let (echo, notes) = echo_at_work("200").await?;
        let old = echo.program.process("echo/0").await?;
        // Some are gone before their handlers are done, and some are closed by the process.
        let mut clients = begun(&echo, &notes).await?;
        if verb == ["stop"] {
            clients.truncate(CLIENTS / 2);
        } else {
            clients.clear();
        }
        echo.program.run(verb).await?.expect_code(0)?;
        old.gone().await?;
        let notes = fs::read_to_string(&notes)?;
        for (name, expected) in
            [("message", CLIENTS), ("close", CLIENTS + 1), ("timer", 1), ("blocking", 1)]
        {
            let ends = count(&notes, name, "ends");
            assert_eq!((count(&notes, name, "begins"), ends), (expected, expected), "{verb:?}");
        }
        assert_eq!(notes.lines().last(), Some("stopped"), "{verb:?}");
    }
    Ok(())
}

#[tokio::test]
async fn what_takes_longer_than_the_limit_is_cut_off_and_counted() -> Result<()> {
    let (echo, notes) = echo_at_work("3600000").await?;
    drop(begun(&echo, &notes).await?);
    let old = echo.program.process("echo/0").await?;
    let stop = echo.program.run(&["stop", "-g", "--timeout", "100ms"]).await?;
    // The blocking work, and the handler that waits for it.
    stop.expect_code(0)?.expect_text(&format!(", {} handlers cut off", CLIENTS + 3))?;
    old.gone().await?;
    let log = echo.program.log();
    let line = log.lines().find(|line| line.contains("did not end in time"));
    assert!(line.context("a line about it")?.contains("unfinished=13"), "{line:?}");
    assert_eq!(fs::read_to_string(&notes)?.lines().last(), Some("stopped"));
    Ok(())
}
