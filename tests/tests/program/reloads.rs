//! Reloads that meet: who waits for whom, who hurries whom, and what each is told. Signals as well.

use anyhow::{Context, Result};
use lineman_testkit::{Client, Status, within};
use lineman_tests::programs::{Server, echo};
use lineman_tests::watched::Watched;
use rustix::process::Signal;

/// Has a reload wait for a client.
async fn waits(server: &Server, arguments: &[&str]) -> Result<(Client, Watched)> {
    let client = server.client().await?;
    let mut reload = Watched::start(&server.program, arguments)?;
    reload.says(&["draining, 1 connection left"]).await?;
    Ok((client, reload))
}

async fn until_log_has(server: &Server, text: &str, times: usize) -> Result<()> {
    let heard = async {
        while server.program.log().matches(text).count() < times {
            tokio::task::yield_now().await;
        }
    };
    within(&format!("{text:?} in the log"), heard).await
}

#[tokio::test]
async fn a_graceful_reload_waits_for_its_clients_and_tells_the_time_left() -> Result<()> {
    let echo = echo()?.knob("ECHO_DRAIN_MS", "100").started().await?;
    let old = echo.program.process("echo/0").await?;
    let mut client = echo.client().await?;
    let mut reload = Watched::start(&echo.program, &["reload", "-g"])?;
    // Of an hour, whatever the limit of the service is.
    reload.says(&["echo/0", "draining, 1 connection left", "59m "]).await?;
    client.send_text("who").await?;
    assert_eq!(client.next_text().await?, old.pid().to_string(), "the old process serves it");
    let mut newcomer = echo.client().await?;
    newcomer.send_text("who").await?;
    assert_ne!(newcomer.next_text().await?, old.pid().to_string());
    client.close().await?;
    let reloaded = reload.ended().await?.expect_code(0)?;
    reloaded.expect_text("1 process replaced, 0 connections closed with 1001")?;
    assert!(!old.is_alive());
    Ok(())
}

#[tokio::test]
async fn a_plain_reload_hurries_a_graceful_one_which_is_told() -> Result<()> {
    let echo = echo()?.knob("ECHO_DRAIN_MS", "100").started().await?;
    let (mut client, graceful) = waits(&echo, &["reload", "-g"]).await?;
    let plain = echo.program.run(&["reload"]);
    let (plain, ended) = tokio::join!(plain, client.ended());
    assert_eq!(ended?.code(), Some(1001));
    plain?.expect_code(0)?.expect_text("1 process replaced")?;
    let graceful = graceful.ended().await?.expect_code(0)?;
    graceful
        .expect_text("hurried by another reload: connections get 100ms at most")?
        .expect_text("1 connection closed with 1001")?;
    assert_eq!(echo.program.status().await?.slot("echo/0")?.generation, 3);
    Ok(())
}

#[tokio::test]
async fn a_reload_in_less_of_a_hurry_leaves_the_one_before_it_alone() -> Result<()> {
    let echo = echo()?.started().await?;
    let (client, first) = waits(&echo, &["reload", "--timeout", "1h"]).await?;
    let second = Watched::start(&echo.program, &["reload", "-g", "--timeout", "2h"])?;
    until_log_has(&echo, "asked to reload meanwhile", 1).await?;
    client.close().await?;
    for reload in [first, second] {
        let reload = reload.ended().await?.expect_code(0)?;
        assert!(!reload.stderr.contains("hurried"), "{reload}");
    }
    Ok(())
}

#[tokio::test]
async fn of_reloads_that_wait_together_the_gentlest_counts() -> Result<()> {
    let echo = echo()?.knob("ECHO_DRAIN_MS", "100").started().await?;
    let (first_client, first) = waits(&echo, &["reload", "--timeout", "1h"]).await?;
    let mut gentle = Watched::start(&echo.program, &["reload", "-g", "--timeout", "3h"])?;
    until_log_has(&echo, "asked to reload meanwhile", 1).await?;
    // What connects now is a client of the successor, which the next reload replaces.
    let second_client = echo.client().await?;
    let plain = Watched::start(&echo.program, &["reload"])?;
    until_log_has(&echo, "asked to reload meanwhile", 2).await?;
    // It hurries the first one, and joins the gentle one.
    let mut first_client = first_client;
    assert_eq!(first_client.ended().await?.code(), Some(1001));
    first.ended().await?.expect_code(0)?;
    gentle.says(&["draining, 1 connection left, 2h 59m at most"]).await?;
    second_client.close().await?;
    for reload in [gentle, plain] {
        let reload = reload.ended().await?.expect_code(0)?;
        reload.expect_text("0 connections closed with 1001")?;
    }
    assert_eq!(echo.program.status().await?.slot("echo/0")?.generation, 3);
    Ok(())
}

#[tokio::test]
async fn reloads_of_different_services_do_not_wait_for_each_other() -> Result<()> {
    let echo = echo()?;
    let marker = echo.program.folder().join("broken");
    let echo = echo.knob("ECHO_FRAGILE_IF", &marker).started().await?;
    let (mut client, reload) = waits(&echo, &["reload", "-g", "echo"]).await?;
    let other = echo.program.run(&["reload", "fragile"]).await?.expect_code(0)?;
    other.expect_text("1 process replaced")?;
    assert_eq!(echo.program.status().await?.slot("fragile/0")?.generation, 2);
    client.send_text("nobody hurried me").await?;
    assert_eq!(client.next_text().await?, "nobody hurried me");
    client.close().await?;
    let reload = reload.ended().await?.expect_code(0)?;
    assert!(!reload.stderr.contains("hurried"), "{reload}");
    assert!(!reload.stderr.contains("fragile"), "each hears of its own: {reload}");
    Ok(())
}

#[tokio::test]
async fn reloads_during_a_start_follow_it() -> Result<()> {
    let echo = echo()?;
    let marker = echo.program.folder().join("broken");
    let echo = echo.knob("ECHO_BROKEN_IF", &marker);
    tokio::fs::write(&marker, "wait").await?;
    let start = Watched::start(&echo.program, &["start", "-d"])?;
    echo.program.until("the start", |status| status.state == "starting").await?;
    let mut reload = Watched::start(&echo.program, &["reload"])?;
    reload.says(&["the program is starting; this reload follows"]).await?;
    let master = echo.program.master().await?;
    for signal in [Signal::USR1, Signal::USR2] {
        master.signal(signal);
    }
    until_log_has(&echo, "asked to reload during the start", 3).await?;
    tokio::fs::remove_file(&marker).await?;
    start.ended().await?.expect_code(0)?;
    reload.ended().await?.expect_code(0)?.expect_text("1 process replaced")?;
    assert_eq!(echo.program.status().await?.slot("echo/0")?.generation, 2, "one for all three");
    Ok(())
}

#[tokio::test]
async fn what_a_reload_cannot_change_is_said() -> Result<()> {
    let echo = echo()?;
    let marker = echo.program.folder().join("grown");
    let echo = echo.knob("ECHO_GROWN_IF", &marker).knob("ECHO_COUNT", "2").started().await?;
    let reload = echo.program.reload().await?;
    assert!(!reload.stderr.contains("restart"), "nothing has changed: {reload}");

    // As a new binary does.
    tokio::fs::write(&marker, "").await?;
    let reload = echo.program.reload().await?;
    let lines = [
        "echo: the program now wants 3 processes and has 2: `restart` to apply it",
        "another: the program has this service now: `restart` to start it",
    ];
    for line in lines {
        assert_eq!(reload.stderr.matches(line).count(), 1, "once for both successors: {reload}");
        assert_eq!(echo.program.log().matches(line).count(), 1);
    }
    let restarted = echo.program.run(&["restart", "-d"]).await?.expect_code(0)?;
    assert!(!restarted.stderr.contains("restart"), "{restarted}");
    assert_eq!(echo.program.status().await?.slots.len(), 4);
    Ok(())
}

#[tokio::test]
async fn workers_leave_the_signals_of_a_reload_to_the_master() -> Result<()> {
    let echo = echo()?.started().await?;
    let worker = echo.program.process("echo/0").await?;
    let mut client = echo.client().await?;
    for (signal, line) in
        [(Signal::USR1, "SIGUSR1 is for the master"), (Signal::USR2, "SIGUSR2 is for the master")]
    {
        worker.signal(signal);
        until_log_has(&echo, line, 1).await?;
    }
    client.send_text("who").await?;
    assert_eq!(client.next_text().await?, worker.pid().to_string());
    Ok(())
}

#[tokio::test]
async fn a_signal_reloads() -> Result<()> {
    let echo = echo()?.knob("ECHO_DRAIN_MS", "100").started().await?;
    let master = echo.program.master().await?;
    let mut client = echo.client().await?;
    master.signal(Signal::USR1);
    assert_eq!(client.ended().await?.code(), Some(1001), "at the drain limit");
    let second = |status: &Status| status.state == "up" && is_ready(status, 2);
    echo.program.until("the first reload", second).await?;

    let mut client = echo.client().await?;
    master.signal(Signal::USR2);
    let draining = |status: &Status| {
        is_ready(status, 3) && status.slots.iter().any(|slot| slot.state == "draining")
    };
    echo.program.until("the old process to drain", draining).await?;
    // Longer than the drain limit, as each of its answers shows.
    client.send_text("slowly").await?;
    assert_eq!(client.next_text().await?, "slowly");
    client.close().await?;
    echo.program.until("the second reload", |status| status.state == "up").await?;
    Ok(())
}

fn is_ready(status: &Status, generation: u64) -> bool {
    status.slot("echo/0").is_ok_and(|slot| slot.is_ready() && slot.generation == generation)
}

#[tokio::test]
async fn a_signal_stops_at_once() -> Result<()> {
    for signal in [Signal::HUP, Signal::INT] {
        let echo = echo()?.started().await?;
        let mut client = echo.client().await?;
        echo.program.master().await?.signal(signal);
        assert_eq!(client.ended().await?.code(), Some(1001), "{signal:?}");
        echo.program.all_gone().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_signal_ends_a_start() -> Result<()> {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT] {
        let echo = echo()?;
        let marker = echo.program.folder().join("broken");
        let echo = echo.knob("ECHO_BROKEN_IF", &marker);
        tokio::fs::write(&marker, "wait").await?;
        let start = Watched::start(&echo.program, &["start", "-d"])?;
        echo.program.until("the start", |status| status.state == "starting").await?;
        echo.program.master().await?.signal(signal);
        let start = start.ended().await?.expect_code(1)?;
        start.expect_text("stopped before everything was up").context(format!("{signal:?}"))?;
        echo.program.all_gone().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_graceful_restart_lets_clients_end_and_starts_again() -> Result<()> {
    let echo = echo()?.started().await?;
    let first = echo.program.master().await?;
    let client = echo.client().await?;
    let mut restart = Watched::start(&echo.program, &["restart", "-d", "-g"])?;
    restart.says(&["draining, 1 connection left"]).await?;
    client.close().await?;
    restart.ended().await?.expect_code(0)?;
    let second = echo.program.master().await?;
    assert_ne!(first.pid(), second.pid());

    // All flags at once, and a client that stays.
    let mut client = echo.client().await?;
    let restart = echo.program.run(&["restart", "-d", "-g", "-q", "--timeout", "500ms"]);
    let (restarted, ended) = tokio::join!(restart, client.ended());
    assert_eq!(ended?.code(), Some(1001));
    let restarted = restarted?.expect_code(0)?;
    assert!(!restarted.stdout.contains("echo/0"), "quiet: {restarted}");
    assert_ne!(echo.program.master().await?.pid(), second.pid());
    Ok(())
}
